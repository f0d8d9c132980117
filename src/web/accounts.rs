//! Who may see the page: users with passwords, and sessions, in a small database of their own.
//!
//! Owns `page.sqlite` in the store's folder. A password is kept as an argon2id hash, a session as the
//! SHA-256 of its cookie: neither can be read back. Refuses to know requests.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::config::Role;
use hepalert_study::digest::{Digest, hex};

/// Shortest password taken.
pub const MIN_PASSWORD: usize = 10;
/// Longest: hashing takes time by length.
pub const MAX_PASSWORD: usize = 256;
/// Longest name of a user.
pub const MAX_NAME: usize = 64;
/// 19 MiB and two passes: what OWASP advises for argon2id; some 30 ms.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
const BUSY: Duration = Duration::from_secs(5);
/// Sessions of one user; the oldest end first.
const MAX_SESSIONS: i64 = 20;

const LAYOUT: &str = "
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, created INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    token TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT;";

/// Why an account cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The file.
    #[error("the users of the page: {}", hepalert_study::system::reason(.0))]
    File(#[from] std::io::Error),
    /// The database.
    #[error("the users of the page: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A name that is none.
    #[error("a user's name has 1 to {MAX_NAME} letters, digits, dots, - and _")]
    Name,
    /// A password that is too short or too long.
    #[error("a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")]
    Password,
    /// Hashing failed.
    #[error("the password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub created: Timestamp,
}

/// The roles of all users, without making or changing anything; none where there is no database.
///
/// # Errors
/// [`AccountError`].
pub fn roles(path: &Path) -> Result<Vec<Role>, AccountError> {
    if !path.try_exists()? {
        return Ok(Vec::new());
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY)?;
    let mut statement = connection.prepare("SELECT role FROM users")?;
    let rows = statement.query_map([], |row| role(&row.get::<_, String>(0)?))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The users and their sessions.
pub struct Accounts {
    connection: Mutex<Connection>,
}

impl Accounts {
    /// Opens the database, making it if there is none.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn open(path: &Path) -> Result<Accounts, AccountError> {
        // For its owner alone before SQLite sees it.
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.execute_batch(LAYOUT)?;
        Ok(Accounts { connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a user or gives one another role and password, which ends their sessions. True if the
    /// user is new.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn put(
        &self,
        name: &str,
        role: Role,
        password: &str,
        now: Timestamp,
    ) -> Result<bool, AccountError> {
        if !is_name(name) {
            return Err(AccountError::Name);
        }
        if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&password.chars().count()) {
            return Err(AccountError::Password);
        }
        let salt = SaltString::encode_b64(&random::<16>()?).map_err(AccountError::Hash)?;
        let hash = hasher()?.hash_password(password.as_bytes(), &salt);
        let hash = hash.map_err(AccountError::Hash)?.to_string();
        let mut connection = self.lock();
        let tx = connection.transaction()?;
        tx.execute("DELETE FROM sessions WHERE name = ?1", [name])?;
        let sql = "UPDATE users SET role = ?2, password = ?3 WHERE name = ?1";
        let is_new = tx.execute(sql, params![name, role.name(), hash])? == 0;
        if is_new {
            let sql = "INSERT INTO users (name, role, password, created) VALUES (?1, ?2, ?3, ?4)";
            tx.execute(sql, params![name, role.name(), hash, now.as_millisecond()])?;
        }
        tx.commit()?;
        Ok(is_new)
    }

    /// Removes a user and ends their sessions; false if there is none.
    ///
    /// # Errors
    /// [`AccountError::Sql`].
    pub fn remove(&self, name: &str) -> Result<bool, AccountError> {
        Ok(self.lock().execute("DELETE FROM users WHERE name = ?1", [name])? > 0)
    }

    /// All users, by name.
    ///
    /// # Errors
    /// [`AccountError::Sql`].
    pub fn users(&self) -> Result<Vec<User>, AccountError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT name, role, created FROM users ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            let created = Timestamp::from_millisecond(row.get(2)?);
            Ok(User {
                name: row.get(0)?,
                role: role(&row.get::<_, String>(1)?)?,
                created: created.map_err(|_| rusqlite::Error::InvalidQuery)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The user's role, if name and password are right. Takes as long for a name that is unknown.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn check(&self, name: &str, password: &str) -> Result<Option<Role>, AccountError> {
        if password.chars().count() > MAX_PASSWORD {
            return Ok(None);
        }
        let sql = "SELECT role, password FROM users WHERE name = ?1";
        let found: Option<(String, String)> =
            self.lock().query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((named, hash)) = found else {
            let salt = SaltString::encode_b64(&[0; 16]).map_err(AccountError::Hash)?;
            // What comes out is of no interest, that it takes its time is.
            let _ = hasher()?.hash_password(password.as_bytes(), &salt);
            return Ok(None);
        };
        let hash = PasswordHash::new(&hash).map_err(AccountError::Hash)?;
        let is_right = hasher()?.verify_password(password.as_bytes(), &hash).is_ok();
        Ok(if is_right { Some(role(&named)?) } else { None })
    }

    /// Begins a session; the text is for the cookie and is kept nowhere.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn begin(&self, name: &str, hours: u32, now: Timestamp) -> Result<String, AccountError> {
        let token = hex(&random::<32>()?);
        let expires = now.saturating_add(SignedDuration::from_hours(i64::from(hours)));
        let expires = expires.map_or(i64::MAX, Timestamp::as_millisecond);
        let connection = self.lock();
        let sql = "INSERT INTO sessions (token, name, created, expires) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![kept(&token), name, now.as_millisecond(), expires])?;
        connection.execute("DELETE FROM sessions WHERE expires < ?1", [now.as_millisecond()])?;
        let sql =
            "DELETE FROM sessions WHERE name = ?1 AND token NOT IN (SELECT token FROM sessions
                   WHERE name = ?1 ORDER BY created DESC LIMIT ?2)";
        connection.execute(sql, params![name, MAX_SESSIONS])?;
        Ok(token)
    }

    /// Whose session this is, with the role the user has now.
    ///
    /// # Errors
    /// [`AccountError::Sql`].
    pub fn session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<(String, Role)>, AccountError> {
        let sql = "SELECT users.name, users.role FROM sessions JOIN users USING (name)
                   WHERE token = ?1 AND expires > ?2";
        let values = params![kept(token), now.as_millisecond()];
        let found = self.lock().query_row(sql, values, |row| {
            Ok((row.get::<_, String>(0)?, role(&row.get::<_, String>(1)?)?))
        });
        Ok(found.optional()?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`AccountError::Sql`].
    pub fn end(&self, token: &str) -> Result<(), AccountError> {
        self.lock().execute("DELETE FROM sessions WHERE token = ?1", [kept(token)])?;
        Ok(())
    }
}

/// Whether a user may be called so: it goes into histories and logs.
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good)
}

fn role(name: &str) -> rusqlite::Result<Role> {
    name.parse().map_err(|_| rusqlite::Error::InvalidQuery)
}

fn hasher() -> Result<Argon2<'static>, AccountError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None);
    let params = params.map_err(|error| AccountError::Hash(error.into()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn kept(token: &str) -> String {
    Digest::of(token.as_bytes()).hex()
}

fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_session_lasts_as_long_as_its_time_its_user_and_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.sqlite");
        let accounts = Accounts::open(&path).unwrap();
        assert!(accounts.put("ana", Role::Viewer, "correct horse", at(0)).unwrap());
        assert_eq!(accounts.check("ana", "correct horse").unwrap(), Some(Role::Viewer));
        assert_eq!(accounts.check("ana", "Correct horse").unwrap(), None);
        assert_eq!(accounts.check("bob", "correct horse").unwrap(), None);
        let token = accounts.begin("ana", 2, at(0)).unwrap();
        let found = accounts.session(&token, at(7199)).unwrap();
        assert_eq!(found, Some(("ana".to_owned(), Role::Viewer)));
        assert_eq!(accounts.session(&token, at(7200)).unwrap(), None, "its time is over");
        assert!(!accounts.put("ana", Role::Admin, "another horse", at(1)).unwrap());
        assert_eq!(accounts.session(&token, at(1)).unwrap(), None, "the password is another");
        let token = accounts.begin("ana", 2, at(1)).unwrap();
        accounts.end(&token).unwrap();
        assert_eq!(accounts.session(&token, at(2)).unwrap(), None);
        let token = accounts.begin("ana", 2, at(1)).unwrap();
        assert!(accounts.remove("ana").unwrap() && !accounts.remove("ana").unwrap());
        assert_eq!(accounts.session(&token, at(2)).unwrap(), None, "the user is gone");
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(&token) && !text.contains("correct horse"));
    }

    #[test]
    fn names_and_passwords_have_their_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&folder.path().join("page.sqlite")).unwrap();
        let put = |name: &str, password: &str| accounts.put(name, Role::Viewer, password, at(0));
        assert!(matches!(put("", "long enough"), Err(AccountError::Name)));
        assert!(matches!(put("a\nb", "long enough"), Err(AccountError::Name)));
        assert!(matches!(put("ana", "short"), Err(AccountError::Password)));
        assert!(matches!(put("ana", &"x".repeat(257)), Err(AccountError::Password)));
        assert_eq!(accounts.users().unwrap(), []);
    }
}
