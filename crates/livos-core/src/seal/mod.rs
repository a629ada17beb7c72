//! Secrets at rest: sealed values in the store, readable only with a key that lies elsewhere.
//!
//! A stolen file, backup or Redis dump must not be a list of working tokens. So whatever opens a
//! door (OAuth tokens, webhook secrets) goes through a [`SealedStore`], which encrypts it with
//! XChaCha20-Poly1305 under a key of a [`KeyRing`]. The name of the record is authenticated with
//! it: a value that was moved to another record does not open there, so a pairing code can't be
//! turned into an owner's token by somebody who can write the file.
//!
//! A sealed value is, in this order, with all numbers big-endian:
//!
//! | bytes | what |
//! | ---: | --- |
//! | 3 | `LvS` |
//! | 1 | version of the format, 1 |
//! | 8 | id of the key: the beginning of its SHA-256 |
//! | 8 | mark of the record: the beginning of the SHA-256 of its name |
//! | 4 | length of the text |
//! | 24 | nonce, random |
//! | … | the text, encrypted |
//! | 16 | tag, over all of this and the whole name |
//!
//! What is not hidden: that there is a secret, its length, and when it was written. What is not
//! prevented: anyone who can write the store can put back an older value of the same record, or
//! remove it.
//!
//! # Keys
//!
//! A key file holds one key a line, the newest first, and nobody but its owner may read it. Keep it
//! out of the backups of the data. Rotation:
//!
//! 1. [`KeyFile::rotate`] puts a new key in front. Processes that start from now on seal with it,
//!    and open what older keys sealed.
//! 2. Start every process again, so that none seals with the old key any more.
//! 3. [`SealedStore::reseal`] brings every record under the newest key. It may be stopped and begun
//!    again at any time.
//! 4. [`KeyFile::retire`] removes the old key. What is still sealed with it can't be opened any
//!    more, and step 3 names such records.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use livos_core::{
//!     embedded::{Embedded, EmbeddedConfig},
//!     seal::{KeyRing, SealedStore},
//!     secret::Secret,
//!     store::{EmbeddedStore, Family, Lifetime},
//!     time::{Clock, SystemClock},
//! };
//!
//! const TOKENS: Family =
//!     Family::new("oauth", "token", Lifetime::For(Duration::from_secs(86_400)), "access tokens");
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default())?);
//! let sealed = SealedStore::new(Arc::new(store), KeyRing::generate()?);
//! let (now, key) = (SystemClock.now(), TOKENS.key("anna")?);
//! sealed.put(now, &key, Secret::new("ya29.token")).await?;
//! let entry = sealed.get(now, &key).await?.expect("it was put");
//! assert_eq!(entry.secret.expose(), b"ya29.token");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;
mod format;
mod key_id;
mod ring;
mod store;
#[cfg(test)]
mod tests;

pub use self::{
    file::{KeyFile, KeyFileError},
    format::{MAX_SECRET, SealError},
    key_id::KeyId,
    ring::{KeyError, KeyRing},
    store::{Resealed, SealedEntry, SealedError, SealedStore},
};
