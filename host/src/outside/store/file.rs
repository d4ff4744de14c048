//! Opens, locks, checks and copies the database file.
//!
//! Touches: files, sqlite, processes.
//! Change here: when a log is opened under other conditions, or the schema gets a new migration.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::{ReadError, StoreError, derived};

const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("../../../migrations/0001-events.sql")),
    M::up(include_str!("../../../migrations/0002-journals.sql")),
    M::up(include_str!("../../../migrations/0003-triage.sql")),
    M::up(include_str!("../../../migrations/0004-fleet.sql")),
    M::up(include_str!("../../../migrations/0005-applications.sql")),
    M::up(include_str!("../../../migrations/0006-reviews.sql")),
    M::up(include_str!("../../../migrations/0007-results.sql")),
    M::up(include_str!("../../../migrations/0008-appends.sql")),
    M::up(include_str!("../../../migrations/0009-editions.sql")),
    M::up(include_str!("../../../migrations/0010-updates.sql")),
];

/// Statements that stay prepared on a connection: more than there are for all that a fact can mean to derived tables.
const STATEMENTS: usize = 128;
/// How long one connection waits for another before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// `lock` beside the database, held. It tells the process that has it; after a clean end, how the database was left.
pub struct Lock {
    file: File,
    /// Nothing has touched the database since a clean end.
    pub is_as_left: bool,
}

impl Lock {
    /// Once the last connection of the writer is closed.
    pub fn leave(mut self, database: &Path) {
        // Without a mark the next start looks at every page: slower, and as good.
        if let Some(mark) = mark(database) {
            let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
            cleared
                .and_then(|()| self.file.write_all(mark.as_bytes()))
                .ok();
        }
    }
}

/// Which file it is, how long, and when it was written last; none while something waits in the write-ahead log.
fn mark(database: &Path) -> Option<String> {
    let waits = std::fs::metadata(beside(database, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let found = std::fs::metadata(database).ok().filter(|_| !waits)?;
    Some(format!(
        "left {} {} {}.{:09}",
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec()
    ))
}

/// Takes `lock` beside the database, and creates the directory first where it is missing.
pub fn take_lock(database: &Path) -> Result<Lock, StoreError> {
    let directory = directory_of(database);
    create_directory(&directory).map_err(failed("create", &directory))?;
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let mut lock = options
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(&path, &mut lock)),
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    let mut left = String::new();
    // What cannot be read is no mark.
    let is_as_left = lock.read_to_string(&mut left).is_ok() && mark(database) == Some(left);
    // For the message of the next one who wants it.
    let noted = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| write!(lock, "{}", std::process::id()));
    noted.map_err(failed("write", &path))?;
    Ok(Lock {
        file: lock,
        is_as_left,
    })
}

/// The process that writes this database, if one is alive; whether it may be asked is another matter.
pub fn holder(database: &Path) -> Option<i32> {
    let lock = std::fs::read_to_string(directory_of(database).join("lock")).ok()?;
    let pid = lock.parse().ok().filter(|pid| *pid > 0)?;
    let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    // Somebody else's process may not be signalled, but it is there.
    matches!(alive, Ok(()) | Err(nix::errno::Errno::EPERM)).then_some(pid)
}

fn held(path: &Path, lock: &mut File) -> StoreError {
    let mut pid = String::new();
    let known = lock.read_to_string(&mut pid).is_ok() && pid.parse::<u32>().is_ok();
    StoreError::Held {
        lock: path.to_owned(),
        holder: if known {
            format!(" (pid {pid})")
        } else {
            String::new()
        },
    }
}

fn directory_of(database: &Path) -> PathBuf {
    match database.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A directory that exists is left as it is: it may be somebody else's.
fn create_directory(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // Without this a power cut could take the whole new directory, and acknowledged events with it.
    match directory.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Opens the database for the one writer, brings its schema up to date, and refuses what is damaged. Every page is looked
/// at, unless the database is as a writer left it in good order: that takes as long as the log is large.
pub fn open_for_writing(path: &Path, is_as_left: bool) -> Result<Connection, StoreError> {
    create_private(path).map_err(failed("create", path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(refused(path))?;
    prepare_for_writing(&connection).map_err(refused(path))?;
    if !is_as_left {
        check_pages(path, &connection)?;
    }
    let found = schema(path, &connection)?;
    refuse_newer(path, found)?;
    Migrations::from_slice(MIGRATIONS)
        .to_latest(&mut connection)
        .map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => refused(path)(err),
            other => StoreError::Damaged {
                path: path.to_owned(),
                finding: other.to_string(),
            },
        })?;
    if found < known_schema() {
        fill(&mut connection).map_err(told(path))?;
    }
    Ok(connection)
}

/// A table that is new has to hold what the events before it say.
fn fill(connection: &mut Connection) -> Result<(), ReadError> {
    let tx = connection.transaction()?;
    derived::rebuild(&tx)?;
    Ok(tx.commit()?)
}

/// SQLite would create the file readable for all; its -wal and -shm take after it.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn prepare_for_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
}

/// Opens a connection that can only read, the file as it stands.
pub fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    if !path.is_file() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(refused(path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY).map_err(refused(path))?;
    Ok(connection)
}

/// A reader cannot migrate, so the schema must be exactly the one it knows.
pub fn require_current_schema(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let found = schema(path, connection)?;
    refuse_newer(path, found)?;
    if found < known_schema() {
        return Err(StoreError::Outdated {
            path: path.to_owned(),
            found,
            known: known_schema(),
        });
    }
    Ok(())
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), StoreError> {
    if found > known_schema() {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: known_schema(),
        });
    }
    Ok(())
}

fn known_schema() -> i64 {
    MIGRATIONS.len() as i64
}

fn schema(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(refused(path))
}

fn check_pages(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let finding: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(refused(path))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        finding,
    })
}

/// Bytes on disk, of what is not folded back into the database too.
pub fn size(path: &Path) -> u64 {
    let of = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    of(path) + of(&beside(path, "-wal"))
}

/// A file that is named after another, as SQLite names its own after the database.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Copies the database to `to` while it is in use; `to` appears only when it is complete and on disk.
pub fn copy(connection: &Connection, from: &Path, to: &Path) -> Result<(), ReadError> {
    if to.exists() {
        let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(failed("write a backup to", to)(taken).into());
    }
    let partial = beside(to, ".partial");
    let copied = copy_to(connection, from, &partial).and_then(|()| {
        std::fs::rename(&partial, to).map_err(failed("rename a backup to", to))?;
        let directory = directory_of(to);
        let synced = File::open(&directory).and_then(|d| d.sync_all());
        synced.map_err(failed("sync", &directory))
    });
    if copied.is_err() {
        // What is left of a failed backup is of no use; the error that matters is the first one.
        std::fs::remove_file(&partial).ok();
    }
    copied.map_err(ReadError::from)
}

fn copy_to(connection: &Connection, from: &Path, partial: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove", partial)(error));
        }
        _ => {}
    }
    // Empty and private first: SQLite takes an empty file as a new database.
    create_private(partial).map_err(failed("create", partial))?;
    let target = partial
        .to_str()
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidFilename))
        .map_err(failed("write a backup to", partial))?;
    connection
        .execute("VACUUM INTO ?1", [target])
        .map_err(refused(from))?;
    // SQLite leaves the copy to the page cache.
    File::open(partial)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", partial))
}

/// The error with the file it concerns.
pub fn told(path: &Path) -> impl Fn(ReadError) -> StoreError {
    let path = path.to_owned();
    move |error| match error {
        ReadError::Sqlite(error) => refused(&path)(error),
        ReadError::Told(error) => *error,
    }
}

/// Names the file and what to do with what SQLite said about it.
pub fn refused(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged {
                path,
                finding: source.to_string(),
            },
            _ => StoreError::Sqlite { path, source },
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File {
        doing,
        path,
        source,
    }
}
