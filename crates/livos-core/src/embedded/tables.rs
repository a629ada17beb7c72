//! The tables of the file, and the encodings of their keys. All are bytes to bytes, so that no
//! change of a library can change the format.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `entries` | key of the store | version, expiry, value |
//! | `counters` | key of the store, 0, field | number |
//! | `expiries` | expiry, key | nothing |
//! | `jobs` | id | row |
//! | `ready` | kind, 0, urgency, id | nothing |
//! | `waiting` | due, id | nothing |
//! | `dedupe` | kind, 0, key | id, expiry |
//! | `forgets` | expiry, key of `dedupe` | nothing |
//! | `dead` | id | row |
//! | `kinds` | kind | leased, and the tokens of its rate limit |
//! | `repeats` | name | definition and next time, as JSON |
//! | `numbers` | name | number |
//! | `cursors` | name | fence, position |

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::StorageError;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const ENTRIES: Definition = TableDefinition::new("entries");
const COUNTERS: Definition = TableDefinition::new("counters");
const EXPIRIES: Definition = TableDefinition::new("expiries");
const JOBS: Definition = TableDefinition::new("jobs");
const READY: Definition = TableDefinition::new("ready");
const WAITING: Definition = TableDefinition::new("waiting");
const DEDUPE: Definition = TableDefinition::new("dedupe");
const FORGETS: Definition = TableDefinition::new("forgets");
const DEAD: Definition = TableDefinition::new("dead");
const KINDS: Definition = TableDefinition::new("kinds");
const REPEATS: Definition = TableDefinition::new("repeats");
const NUMBERS: Definition = TableDefinition::new("numbers");
const CURSORS: Definition = TableDefinition::new("cursors");

/// All tables, for backup.
pub(super) const ALL: [Definition; 13] = [
    ENTRIES, COUNTERS, EXPIRIES, JOBS, READY, WAITING, DEDUPE, FORGETS, DEAD, KINDS, REPEATS, NUMBERS,
    CURSORS,
];

/// A table of bytes.
pub(crate) type Bytes<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
/// One row, copied out.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// The tables, open for writing.
pub(crate) struct Tables<'txn> {
    pub(crate) entries: Bytes<'txn>,
    pub(crate) counters: Bytes<'txn>,
    pub(crate) expiries: Bytes<'txn>,
    pub(crate) jobs: Bytes<'txn>,
    pub(crate) ready: Bytes<'txn>,
    pub(crate) waiting: Bytes<'txn>,
    pub(crate) dedupe: Bytes<'txn>,
    pub(crate) forgets: Bytes<'txn>,
    pub(crate) dead: Bytes<'txn>,
    pub(crate) kinds: Bytes<'txn>,
    pub(crate) repeats: Bytes<'txn>,
    pub(crate) numbers: Bytes<'txn>,
    pub(crate) cursors: Bytes<'txn>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            counters: transaction.open_table(COUNTERS)?,
            expiries: transaction.open_table(EXPIRIES)?,
            jobs: transaction.open_table(JOBS)?,
            ready: transaction.open_table(READY)?,
            waiting: transaction.open_table(WAITING)?,
            dedupe: transaction.open_table(DEDUPE)?,
            forgets: transaction.open_table(FORGETS)?,
            dead: transaction.open_table(DEAD)?,
            kinds: transaction.open_table(KINDS)?,
            repeats: transaction.open_table(REPEATS)?,
            numbers: transaction.open_table(NUMBERS)?,
            cursors: transaction.open_table(CURSORS)?,
        })
    }

    /// A number by name; zero where it was never set.
    pub(crate) fn number(&self, name: &str) -> Result<u64, StorageError> {
        let stored = self.numbers.get(name.as_bytes())?;
        Ok(stored.map_or(0, |bytes| number(bytes.value())))
    }

    pub(crate) fn set_number(&mut self, name: &str, value: u64) -> Result<(), StorageError> {
        self.numbers.insert(name.as_bytes(), value.to_be_bytes().as_slice())?;
        Ok(())
    }
}

/// The tables as of the last commit.
pub(crate) struct Snapshot(ReadTransaction);

/// The first rows of a table from `from` on, below `end` where there is one.
pub(crate) fn rows(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    end: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>, StorageError> {
    let range = match end {
        Some(end) => table.range::<&[u8]>(from..end)?,
        None => table.range::<&[u8]>(from..)?,
    };
    let copied = |row| {
        let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = row?;
        Ok((key.value().to_vec(), value.value().to_vec()))
    };
    range.take(limit).map(copied).collect()
}

macro_rules! readable {
    ($($name:ident = $table:ident),*) => {$(
        pub(crate) fn $name(&self) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, StorageError> {
            Ok(self.0.open_table($table)?)
        }
    )*};
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }

    readable!(
        entries = ENTRIES,
        counters = COUNTERS,
        ready = READY,
        waiting = WAITING,
        dead = DEAD,
        kinds = KINDS,
        cursors = CURSORS
    );

    pub(super) fn table(
        &self,
        definition: Definition,
    ) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, StorageError> {
        Ok(self.0.open_table(definition)?)
    }
}

/// The eight bytes at the beginning as a number; zero of a shorter slice.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// The first key after all that begin with `prefix`; none where there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// A key that sorts by a number, such as a time, and then by itself.
pub(crate) fn indexed(number: u64, key: &[u8]) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), key].concat()
}
