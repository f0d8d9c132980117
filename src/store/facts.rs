//! Single values by name: the boot number, the worklist's revision, what the device remembers.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

/// What is kept under a name.
pub(super) fn fact(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    Ok(connection.query_row(sql, [name], |row| row.get(0)).optional()?)
}

/// Keeps a value under a name, in place of what was there.
pub(super) fn set_fact(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![name, value])?;
    Ok(())
}
