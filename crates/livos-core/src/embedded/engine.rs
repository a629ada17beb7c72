//! The writer thread and its batches, and the readers.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock, atomic::AtomicBool},
    thread,
    time::Duration,
};

use redb::{Builder, Database, DatabaseError};
use tokio::sync::{mpsc, oneshot};

use super::{
    OpenError, StorageError,
    table::{Snapshot, Tables},
};
use crate::bell::Bell;

/// How an embedded file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedConfig {
    /// Operations that may wait for the writer; further callers wait for room. 1024: some
    /// milliseconds of work.
    pub waiting: usize,
    /// The most operations of one commit. 256: more would delay the first of them by more than a
    /// sync takes.
    pub batch: usize,
    /// Bytes of the page cache. 32 MiB: the working set of a small server.
    pub cache: usize,
    /// Whether every checksum is verified whenever the file is opened, and not only after a crash.
    /// True: a damaged file is found before it is written to.
    pub verify: bool,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { waiting: 1024, batch: 256, cache: 32 << 20, verify: true }
    }
}

impl EmbeddedConfig {
    /// This many operations may wait for the writer; at least one.
    #[must_use]
    pub fn with_waiting(mut self, operations: usize) -> Self {
        self.waiting = operations.max(1);
        self
    }

    /// At most this many operations in one commit; at least one.
    #[must_use]
    pub fn with_batch(mut self, operations: usize) -> Self {
        self.batch = operations.max(1);
        self
    }

    /// This many bytes for the page cache.
    #[must_use]
    pub fn with_cache(mut self, bytes: usize) -> Self {
        self.cache = bytes;
        self
    }

    /// Verifies every checksum when the file is opened, or only after a crash.
    #[must_use]
    pub fn with_verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }
}

/// An open file. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Embedded {
    writer: mpsc::Sender<Box<dyn Operation>>,
    database: Arc<RwLock<Slot>>,
    pub(crate) opening: Arc<Opening>,
    /// Rung when a job of the queue in this file becomes ready.
    pub(crate) bell: Bell,
}

/// What the queue of a file knows since the file was opened.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// The number of the last lease that was given before.
    pub last_lease: OnceLock<u64>,
    /// Whether those leases were taken over.
    pub reclaimed: AtomicBool,
}

/// The database, or why there is none.
enum Slot {
    Open(Database),
    /// It failed and could not be reopened yet.
    Broken,
    Closed,
}

impl Slot {
    fn get(&self) -> Result<&Database, StorageError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Broken => Err(StorageError::Io("it could not be opened again after it failed".into())),
            Self::Closed => Err(StorageError::Closed),
        }
    }
}

/// A part of a transaction, and the caller who waits for it.
trait Operation: Send {
    /// Applies it to the tables.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError>;
    /// Answers the caller: the transaction was committed, or had no effect.
    fn answer(self: Box<Self>, committed: Result<(), StorageError>);
}

struct Write<F, T> {
    operation: Option<F>,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, StorageError>>,
}

impl<T, F> Operation for Write<F, T>
where
    T: Send,
    F: FnOnce(&mut Tables<'_>) -> Result<T, StorageError> + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError> {
        if let Some(operation) = self.operation.take() {
            self.value = Some(operation(tables)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StorageError>) {
        let Self { value, answer, .. } = *self;
        // The work of a caller that is gone stays durable.
        let _ = answer.send(committed.and_then(|()| value.ok_or(StorageError::Closed)));
    }
}

/// Opens the database, also after it failed.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

impl Embedded {
    /// Opens or creates the file. It is locked against all other processes until it is closed.
    ///
    /// Blocks while the file is checked: some hundred megabytes a second.
    pub fn open(path: impl AsRef<Path>, config: EmbeddedConfig) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        let file = path.clone();
        let opener: Opener = Box::new(move || {
            Builder::new()
                .set_cache_size(config.cache)
                .set_check_integrity_on_open(config.verify)
                .create(&file)
        });
        let database = open_guarded(&opener).map_err(|why| why.into_open_error(path.clone()))?;
        sync_folder(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Self::start(database, opener, config).map_err(|source| OpenError::Io { path, source })
    }

    /// The same in memory, gone with the last clone: for tests and for data that may be lost.
    pub fn in_memory(config: EmbeddedConfig) -> io::Result<Self> {
        let opener: Opener = Box::new(move || {
            Builder::new()
                .set_cache_size(config.cache)
                .create_with_backend(redb::backends::InMemoryBackend::new())
        });
        let database = opener().map_err(|error| io::Error::other(error.to_string()))?;
        Self::start(database, opener, config)
    }

    pub(super) fn start(database: Database, opener: Opener, config: EmbeddedConfig) -> io::Result<Self> {
        probe(&database).map_err(|error| io::Error::other(error.to_string()))?;
        let (writer, operations) = mpsc::channel(config.waiting.max(1));
        let database = Arc::new(RwLock::new(Slot::Open(database)));
        let thread = Writer { database: Arc::clone(&database), opener, batch: config.batch.max(1) };
        // The thread ends when the last sender is gone.
        thread::Builder::new().name("livos-embedded".into()).spawn(move || thread.run(operations))?;
        Ok(Self { writer, database, opening: Arc::default(), bell: Bell::new() })
    }

    /// Closes the file after all earlier operations. Every clone answers [`StorageError::Closed`]
    /// from then on, and another process may open it.
    pub async fn close(&self) {
        // After all operations that already wait.
        let _ = self.write(|_| Ok(())).await;
        let database = Arc::clone(&self.database);
        let close = move || *database.write().unwrap_or_else(PoisonError::into_inner) = Slot::Closed;
        let _ = tokio::task::spawn_blocking(close).await;
    }

    /// Applies `operation` in the next transaction, and answers once it is durable. It is carried
    /// out even if the caller is dropped meanwhile.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Tables<'_>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (answer, answered) = oneshot::channel();
        let write = Write { operation: Some(operation), value: None, answer };
        self.writer.send(Box::new(write)).await.map_err(|_| StorageError::Closed)?;
        answered.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Reads the last commit, on a thread that may wait for the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Snapshot) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let database = Arc::clone(&self.database);
        let read = move || {
            let database = database.read().unwrap_or_else(PoisonError::into_inner);
            operation(&Snapshot::of(database.get()?)?)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StorageError::Closed))
    }

    /// Copies the last commit into a new file while work goes on. The file appears whole or not at
    /// all.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), StorageError> {
        let (to, part) = (to.as_ref().to_owned(), to.as_ref().with_extension("part"));
        self.read(move |snapshot| {
            let io = |error: io::Error| StorageError::from_io(&error);
            match fs::remove_file(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
            let copy = Database::create(&part).map_err(|error| StorageError::Io(error.to_string()))?;
            let transaction = copy.begin_write()?;
            snapshot.copy_to(&transaction)?;
            transaction.commit()?;
            drop(copy);
            fs::rename(&part, &to).map_err(io)?;
            sync_folder(&to).map_err(io)
        })
        .await
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// Commits nothing, to find out whether the file can be written.
fn probe(database: &Database) -> Result<(), StorageError> {
    Ok(database.begin_write()?.commit()?)
}

/// A new file name is durable once its folder was synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

enum NotOpened {
    Database(DatabaseError),
    Panicked,
}

impl NotOpened {
    fn into_open_error(self, path: PathBuf) -> OpenError {
        match self {
            Self::Database(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                OpenError::Locked(path)
            }
            Self::Database(DatabaseError::Storage(redb::StorageError::Io(source))) => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    OpenError::ReadOnly { path, source }
                }
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    OpenError::Corrupt { path, reason: source.to_string() }
                }
                _ => OpenError::Io { path, source },
            },
            Self::Database(error) => OpenError::Corrupt { path, reason: error.to_string() },
            Self::Panicked => OpenError::Corrupt { path, reason: "its pages contradict each other".into() },
        }
    }
}

/// The library may panic on damaged pages; that is an error of the file.
fn open_guarded(opener: &Opener) -> Result<Database, NotOpened> {
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(opener));
    opened.map_err(|_| NotOpened::Panicked)?.map_err(NotOpened::Database)
}

struct Writer {
    database: Arc<RwLock<Slot>>,
    opener: Opener,
    batch: usize,
}

impl Writer {
    fn run(self, mut operations: mpsc::Receiver<Box<dyn Operation>>) {
        let mut batch = Vec::with_capacity(self.batch);
        while operations.blocking_recv_many(&mut batch, self.batch) > 0 {
            metrics::histogram!("livos_embedded_batch_operations").record(batch.len() as f64);
            let committed = self.commit(&mut batch);
            if let Err(error) = &committed
                && !matches!(error, StorageError::Closed)
            {
                tracing::error!(%error, operations = batch.len(), "a commit failed");
                metrics::counter!("livos_embedded_failed_commits_total").increment(1);
                self.reopen();
            }
            for operation in batch.drain(..) {
                operation.answer(committed.clone());
            }
        }
    }

    /// One transaction for the whole batch.
    fn commit(&self, batch: &mut [Box<dyn Operation>]) -> Result<(), StorageError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let attempt = || -> Result<(), StorageError> {
            let transaction = database.get()?.begin_write()?;
            let mut tables = Tables::new(&transaction);
            batch.iter_mut().try_for_each(|operation| operation.apply(&mut tables))?;
            drop(tables);
            Ok(transaction.commit()?)
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| Err(StorageError::Io("the writer panicked".into())))
    }

    /// After an error, the library refuses everything until the file is reopened, which also finds
    /// the last whole commit.
    fn reopen(&self) {
        const ATTEMPTS: u32 = 3;
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*database, Slot::Closed) {
            return;
        }
        // It must be closed first, or its own lock would keep it out.
        *database = Slot::Broken;
        for attempt in 0..ATTEMPTS {
            match open_guarded(&self.opener) {
                Ok(opened) if probe(&opened).is_ok() => {
                    *database = Slot::Open(opened);
                    return;
                }
                Ok(_) => tracing::error!(attempt, "the file can't be written yet"),
                Err(NotOpened::Database(error)) => {
                    tracing::error!(%error, attempt, "the file could not be opened again");
                }
                Err(NotOpened::Panicked) => tracing::error!(attempt, "the file is damaged"),
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
