//! LivOS.
