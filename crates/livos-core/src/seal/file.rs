//! The file of the keys, readable only by its owner.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{KeyError, KeyId, KeyRing};
use crate::secret::Secret;

/// The longest key file that is read, in bytes: far more than [`KeyRing::MOST`] keys and some
/// comments.
const MAX_FILE: u64 = 64 * 1024;
const HEADING: &str = "# The keys that open the sealed secrets, the newest first. Whoever has them and the data has the secrets:\n\
                       # keep this file out of the backups of the data, and a copy of it in another place.\n";

/// A key file. Its methods block for as long as a small file takes.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file at this path, whether it is there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the keys. Refuses a file that others than its owner may read; mode 0440 passes,
    /// because that is how systemd shows a credential that one user may read by an access list.
    pub fn load(&self) -> Result<KeyRing, KeyFileError> {
        let file = File::open(&self.path).map_err(|error| self.io("read", error))?;
        let about = file.metadata().map_err(|error| self.io("read", error))?;
        if !about.is_file() {
            return Err(self.io("read", io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = about.permissions().mode() & 0o777;
            if mode & 0o077 != 0 && mode != 0o440 {
                return Err(KeyFileError::Exposed { path: self.path.clone(), mode });
            }
        }
        // Reserved whole: a string that grows would leave keys behind in memory.
        let mut text = String::with_capacity(usize::try_from(about.len().min(MAX_FILE)).unwrap_or(0) + 1);
        let read = file.take(MAX_FILE).read_to_string(&mut text);
        let text = Secret::new(text);
        read.map_err(|error| self.io("read", error))?;
        KeyRing::parse(&text).map_err(|source| KeyFileError::Keys { path: self.path.clone(), source })
    }

    /// Creates the file with one new key, mode 0600. Fails if it exists.
    pub fn create(&self) -> Result<KeyRing, KeyFileError> {
        let ring = self.keys(KeyRing::generate())?;
        // Linked and not renamed: if two processes start at the same time, one creates the file and
        // both use its key.
        self.write(&ring, |new, path| fs::hard_link(new, path).and_then(|()| fs::remove_file(new)))?;
        Ok(ring)
    }

    /// Reads the keys; creates the file first if it is missing. For the first start of a server
    /// that was asked to: a new key file in the place of a lost one opens nothing that is sealed.
    pub fn load_or_create(&self) -> Result<KeyRing, KeyFileError> {
        match self.load() {
            Err(error) if error.is_absent() => match self.create() {
                Err(error) if error.is_taken() => self.load(),
                made => made,
            },
            loaded => loaded,
        }
    }

    /// Puts a new key in front, which seals from the next start on, and answers the new ring. The
    /// file is replaced as a whole or not at all.
    pub fn rotate(&self) -> Result<KeyRing, KeyFileError> {
        let ring = self.keys(self.load()?.rotated())?;
        self.write(&ring, |new, path| fs::rename(new, path))?;
        Ok(ring)
    }

    /// Removes an old key, and answers the new ring. What it sealed can't be opened any more:
    /// reseal first.
    pub fn retire(&self, key: KeyId) -> Result<KeyRing, KeyFileError> {
        let ring = self.keys(self.load()?.without(key))?;
        self.write(&ring, |new, path| fs::rename(new, path))?;
        Ok(ring)
    }

    /// Writes the ring to a temporary file, durably, and renames it into place.
    fn write(
        &self,
        ring: &KeyRing,
        place: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), KeyFileError> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.new", std::process::id(), ring.newest()));
        let new = self.path.with_file_name(name);
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&new)?;
            file.write_all(HEADING.as_bytes())?;
            file.write_all(ring.text().expose().as_bytes())?;
            file.sync_all()?;
            place(&new, &self.path)?;
            match self.path.parent() {
                Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => {
                    File::open(folder)?.sync_all()
                }
                _ => Ok(()),
            }
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            self.io("written", error)
        })
    }

    fn io(&self, what: &'static str, error: io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.path.clone(), what, source: Arc::new(error) }
    }

    fn keys(&self, ring: Result<KeyRing, KeyError>) -> Result<KeyRing, KeyFileError> {
        ring.map_err(|source| KeyFileError::Keys { path: self.path.clone(), source })
    }
}

/// Why a key file can't be used. Contains nothing of a key.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system refused.
    #[error("the key file {} can't be {what}", path.display())]
    Io {
        /// The path of the key file.
        path: PathBuf,
        /// What was tried, for the message.
        what: &'static str,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Others than its owner may read it, so it may be known already.
    #[error("the key file {} may be read by others (mode {mode:04o}): chmod 600 it, and rotate the key where they may have", path.display())]
    Exposed {
        /// The path of the key file.
        path: PathBuf,
        /// Its permission bits, as in 0644.
        mode: u32,
    },
    /// Its content is no key ring, or the named key is not in it.
    #[error("the key file {} can't be used so", path.display())]
    Keys {
        /// The path of the key file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

impl KeyFileError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether there is one already.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}
