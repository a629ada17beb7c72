//! The file: what survives, what is refused, and what a bad disk does to it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, StorageBackend, backends::FileBackend};

use super::*;

/// A folder in memory if the machine has one: for tests with many syncs that are not about syncs.
pub(crate) fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("livos.redb")
    }

    fn open(&self) -> Result<Embedded, OpenError> {
        Embedded::open(self.file(), EmbeddedConfig::default())
    }
}

const NUMBERS: Table = Table::new("numbers");

async fn set(file: &Embedded, name: &'static str, value: u64) -> Result<(), StorageError> {
    file.write(move |tables| tables.put(NUMBERS, name.as_bytes(), &value.to_be_bytes())).await
}

async fn read(file: &Embedded, name: &'static str) -> u64 {
    file.read(move |tables| tables.view(NUMBERS, name.as_bytes(), number)).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new();
    let file = folder.open().unwrap();
    let writes = (0..200u64).map(|n| {
        let file = file.clone();
        tokio::spawn(async move {
            file.write(move |tables| {
                let sum = tables.view(NUMBERS, b"sum", number)?.unwrap_or(0) + n;
                tables.put(NUMBERS, b"sum", &sum.to_be_bytes())
            })
            .await
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    file.close().await;
    assert!(matches!(set(&file, "late", 1).await, Err(StorageError::Closed)), "closed for every clone");
    assert_eq!(read(&folder.open().unwrap(), "sum").await, 199 * 200 / 2);
}

#[tokio::test]
async fn a_second_opener_is_refused_with_the_reason() {
    let folder = Folder::new();
    let _first = folder.open().unwrap();
    let second = folder.open().unwrap_err();
    assert!(matches!(second, OpenError::Locked(_)), "{second:?}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
}

#[tokio::test]
async fn a_damaged_file_is_found_when_it_is_opened_and_left_as_it_is() {
    let folder = Folder::new();
    let file = folder.open().unwrap();
    for n in 0..50 {
        set(&file, "n", n).await.unwrap();
    }
    file.close().await;
    let sound = fs::read(folder.file()).unwrap();
    let mut refused = 0;
    for at in (0..sound.len()).step_by(509) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0xff;
        fs::write(folder.file(), &damaged).unwrap();
        match folder.open() {
            Err(error @ OpenError::Corrupt { .. }) => {
                refused += 1;
                assert!(error.to_string().contains("newest backup"), "{error}");
            }
            // A byte that holds nothing, or the older of the two commits.
            Ok(file) => {
                assert!(read(&file, "n").await >= 48, "an older commit is as far back as it goes");
                file.close().await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
    fs::write(folder.file(), b"not a file of this kind").unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Corrupt { .. })));
    assert_eq!(fs::read(folder.file()).unwrap(), b"not a file of this kind");
}

/// Without the check, damage is met when the damaged page is read, long after it happened.
#[tokio::test]
async fn the_check_on_open_finds_damage_that_opening_does_not_meet() {
    let folder = Folder::new();
    let file = folder.open().unwrap();
    for n in 0..50 {
        set(&file, "n", n).await.unwrap();
    }
    file.close().await;
    let sound = fs::read(folder.file()).unwrap();
    let opens = |verify: bool| {
        let config = EmbeddedConfig { verify, ..EmbeddedConfig::default() };
        Embedded::open(folder.file(), config).ok()
    };
    let mut found = 0;
    for at in (0..sound.len()).step_by(509) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0xff;
        fs::write(folder.file(), &damaged).unwrap();
        let checked = opens(true);
        let found_by_check = checked.is_none();
        if let Some(file) = checked {
            file.close().await;
        }
        fs::write(folder.file(), &damaged).unwrap();
        if let Some(file) = opens(false) {
            found += u32::from(found_by_check);
            file.close().await;
        }
    }
    assert!(found > 0, "nothing was found that opening alone would not have found");
    assert!(EmbeddedConfig::default().verify);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();
    let missing = folder.0.path().join("nowhere/livos.redb");
    let error = Embedded::open(&missing, EmbeddedConfig::default()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    // Root may write anything, so only other users meet this refusal.
    fs::write(folder.file(), b"").unwrap();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o444)).unwrap();
    match folder.open() {
        Err(error) => assert!(error.to_string().contains("can't be written"), "{error}"),
        Ok(_) => assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o444),
    }
}

/// A disk that is full while it is told to be.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_told_loses_nothing_and_is_gone_on_from() {
    let folder = Folder::new();
    let full = Arc::new(AtomicBool::new(false));
    let (path, disk_full) = (folder.file(), Arc::clone(&full));
    let opener = Box::new(move || {
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let disk = Disk { file: FileBackend::new(file)?, full: Arc::clone(&disk_full) };
        Database::builder().create_with_backend(disk)
    });
    let file = Embedded::start(opener().unwrap(), opener, EmbeddedConfig::default()).unwrap();
    set(&file, "kept", 7).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = set(&file, "kept", 8).await.unwrap_err();
        assert!(matches!(refused, StorageError::DiskFull | StorageError::Io(_)), "{refused:?}");
    }
    full.store(false, Ordering::SeqCst);
    // The first write after it may still find the file closed, and opens it again.
    let _ = set(&file, "other", 1).await;
    set(&file, "other", 2).await.unwrap();
    assert_eq!((read(&file, "kept").await, read(&file, "other").await), (7, 2));
}

#[tokio::test]
async fn a_backup_is_taken_while_work_goes_on_and_opens_as_it_was() {
    let folder = Folder::new();
    let file = folder.open().unwrap();
    set(&file, "n", 1).await.unwrap();
    let copy = folder.0.path().join("backup.redb");
    let (backed_up, _) = tokio::join!(file.backup(&copy), set(&file, "other", 5));
    backed_up.unwrap();
    set(&file, "n", 2).await.unwrap();
    let copy = Embedded::open(&copy, EmbeddedConfig::default()).unwrap();
    assert_eq!((read(&copy, "n").await, read(&file, "n").await), (1, 2));
    let nowhere = file.backup(folder.0.path().join("nowhere/backup.redb")).await;
    assert!(matches!(nowhere, Err(StorageError::Io(_))), "{nowhere:?}");
}
