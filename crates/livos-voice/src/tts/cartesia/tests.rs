//! A client and its twin over streams in memory, in virtual time.
