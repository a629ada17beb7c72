//! Tables of bytes in the file, read and written the same way in a write transaction and in a
//! snapshot.
//!
//! A feature declares its tables as constants and describes their keys there; nothing is registered
//! here. A table that was never written reads as empty. All tables are bytes to bytes, so that no
//! change of a library can change the format.

use std::cell::RefCell;

use redb::{
    ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    TableHandle, WriteTransaction,
};

use super::StorageError;

type Definition<'name> = TableDefinition<'name, &'static [u8], &'static [u8]>;
type Open<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;
type Shown = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// One row, copied out.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// The name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table(&'static str);

impl Table {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self(name)
    }

    fn definition(self) -> Definition<'static> {
        Definition::new(self.0)
    }
}

/// What can be read in a transaction.
pub(crate) trait Read {
    /// Passes the value under `key` to `view`.
    fn view<T>(
        &self,
        table: Table,
        key: &[u8],
        view: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError>;

    /// Visits rows in order from `from` on, below `end` if there is one, until `visit` answers
    /// false.
    fn walk(
        &self,
        table: Table,
        from: &[u8],
        end: Option<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError>;

    /// How many rows the table has.
    fn len(&self, table: Table) -> Result<u64, StorageError>;

    /// The value under `key`, copied.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.view(table, key, <[u8]>::to_vec)
    }

    /// The first `limit` rows from `from` on, below `end` if there is one.
    fn rows(
        &self,
        table: Table,
        from: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StorageError> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.walk(table, from, end, |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                rows.len() < limit
            })?;
        }
        Ok(rows)
    }
}

fn view<T>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    view: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, StorageError> {
    Ok(table.get(key)?.map(|row| view(row.value())))
}

fn walk(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    end: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), StorageError> {
    let range = match end {
        Some(end) => table.range::<&[u8]>(from..end)?,
        None => table.range::<&[u8]>(from..)?,
    };
    for row in range {
        let (key, value) = row?;
        if !visit(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}

/// The write transaction of one batch. A table is opened by its first use and stays open, because
/// opening one for each operation would cost more than most operations do.
pub(crate) struct Tables<'txn> {
    transaction: &'txn WriteTransaction,
    open: RefCell<Vec<(Table, Open<'txn>)>>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn new(transaction: &'txn WriteTransaction) -> Self {
        Self { transaction, open: RefCell::default() }
    }

    fn with<T>(
        &self,
        table: Table,
        work: impl FnOnce(&mut Open<'txn>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut open = self.open.borrow_mut();
        let at = match open.iter().position(|(known, _)| *known == table) {
            Some(at) => at,
            None => {
                open.push((table, self.transaction.open_table(table.definition())?));
                open.len() - 1
            }
        };
        work(&mut open[at].1)
    }

    /// Writes a row, whatever was there.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.with(table, |table| Ok(table.insert(key, value).map(drop)?))
    }

    /// Removes a row; false if there was none.
    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) -> Result<bool, StorageError> {
        self.with(table, |table| Ok(table.remove(key)?.is_some()))
    }

    /// Removes a row and answers its value.
    pub(crate) fn take(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.with(table, |table| Ok(table.remove(key)?.map(|row| row.value().to_vec())))
    }
}

/// While a row is viewed or visited, the same tables must not be used: there is one at a time.
impl Read for Tables<'_> {
    fn view<T>(
        &self,
        table: Table,
        key: &[u8],
        viewing: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        self.with(table, |table| view(table, key, viewing))
    }

    fn walk(
        &self,
        table: Table,
        from: &[u8],
        end: Option<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        self.with(table, |table| walk(table, from, end, visit))
    }

    fn len(&self, table: Table) -> Result<u64, StorageError> {
        self.with(table, |table| Ok(table.len()?))
    }
}

/// The tables as of the last commit.
pub(crate) struct Snapshot(ReadTransaction);

impl Snapshot {
    pub(super) fn of(database: &impl ReadableDatabase) -> Result<Self, StorageError> {
        Ok(Self(database.begin_read()?))
    }

    /// `None` for a table that was never written.
    fn table(&self, definition: Definition<'_>) -> Result<Option<Shown>, StorageError> {
        match self.0.open_table(definition) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies every table into another file, including those of features that are switched off.
    pub(super) fn copy_to(&self, transaction: &WriteTransaction) -> Result<(), StorageError> {
        for handle in self.0.list_tables()? {
            let definition = Definition::new(handle.name());
            let mut copy = transaction.open_table(definition)?;
            let Some(table) = self.table(definition)? else { continue };
            for row in table.iter()? {
                let (key, value) = row?;
                copy.insert(key.value(), value.value())?;
            }
        }
        Ok(())
    }
}

impl Read for Snapshot {
    fn view<T>(
        &self,
        table: Table,
        key: &[u8],
        viewing: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        match self.table(table.definition())? {
            Some(table) => view(&table, key, viewing),
            None => Ok(None),
        }
    }

    fn walk(
        &self,
        table: Table,
        from: &[u8],
        end: Option<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        self.table(table.definition())?.map_or(Ok(()), |table| walk(&table, from, end, visit))
    }

    fn len(&self, table: Table) -> Result<u64, StorageError> {
        self.table(table.definition())?.map_or(Ok(0), |table| Ok(table.len()?))
    }
}

/// The first eight bytes as a number; zero if there are fewer.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// The first key after all keys that begin with `prefix`; `None` if there is no such key.
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
