//! The ledger: one SQLite file that remembers which file and scan is on which disk, and when it was last verified there. It
//! answers without the disks being plugged in.
//!
//! It is a catalogue, never the proof: the proof is the record on each disk, and from those the ledger can be built again.
//! It is written in whole transactions and read by any SQLite (`SELECT * FROM copies`). Names that are no
//! UTF-8 are stored as BLOB, all others as TEXT.
//!
//! | part | what |
//! |---|---|
//! | here | the file and its tables |
//! | `write` | entering copies and what checks found |
//! | [`ask`] | questions: disks, scans, find, missing |
//! | [`export`] | CSV and HTML |
//! | [`rebuild`], `records` | from the disks' records |

pub mod ask;
pub mod export;
pub mod rebuild;
mod records;
mod write;

use crate::disk::{Volume, same_serial};
use crate::stream::Cancel;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ToSql, params};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tomokit_formats::io::open_plain;
use tomokit_formats::{Error, Result};
pub use write::{Found, Seen};

/// Marks the file as ours (`tomo` in ASCII).
const APPLICATION: i32 = 0x746f_6d6f;
/// Version of the tables.
const VERSION: i32 = 1;
/// How long to wait for another program that is writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is said of a ledger that SQLite cannot read.
const DAMAGED: &str = "the ledger is damaged";

const TABLES: &str = "
CREATE TABLE disks (
    id INTEGER PRIMARY KEY,
    serial TEXT,                  -- of the volume; NULL where the system does not tell
    place TEXT NOT NULL,          -- where it was mounted last; identifies what has no serial
    label TEXT,
    fs TEXT NOT NULL,
    bytes INTEGER NOT NULL,       -- size of the volume
    available INTEGER NOT NULL,   -- room left when seen last
    first_seen INTEGER NOT NULL,  -- seconds since 1970, UTC
    last_seen INTEGER NOT NULL
);
CREATE TABLE copies (
    disk INTEGER NOT NULL REFERENCES disks(id),
    path NOT NULL,                -- on the disk, below its mount point, with '/'
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    scan TEXT NOT NULL,
    source,                       -- where it was copied from, absolute
    mtime INTEGER,                -- of the source, nanoseconds since 1970
    copied INTEGER NOT NULL,      -- seconds since 1970, UTC
    verified INTEGER,             -- read back and found equal; NULL: never
    level TEXT,                   -- how far the reading went: cache, file, device, remount
    PRIMARY KEY (disk, path)
) WITHOUT ROWID;
CREATE INDEX copies_by_content ON copies (sha256, bytes);
CREATE INDEX copies_by_source ON copies (source);
";

/// A file on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Name on the disk, relative to the mount point, parts joined by `/`; any bytes.
    pub path: Vec<u8>,
    /// Size.
    pub bytes: u64,
    /// Digest of the content, lower-case hexadecimal.
    pub sha256: String,
    /// Scan it belongs to, see [`scan_of`].
    pub scan: String,
    /// Where it came from, absolute; `None` where that is not known any more.
    pub source: Option<PathBuf>,
    /// Modification time of the source, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// When it was written, seconds since 1970.
    pub copied: i64,
    /// When it was read back and found equal, seconds since 1970.
    pub verified: Option<i64>,
    /// How far that reading went, in a word.
    pub level: Option<String>,
    /// Which session of the record on the disk wrote it; tells a copy from an earlier one of the same contents.
    pub session: Option<u32>,
}

/// The scan a file belongs to, from its name relative to the folder that was copied: the first folder, or the copied folder
/// itself for files directly in it.
pub fn scan_of(copied_folder: &Path, relative: &[u8]) -> String {
    let mut parts = relative.split(|b| *b == b'/');
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => String::from_utf8_lossy(folder).into_owned(),
        _ => copied_folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

/// Bytes of a path, with `/` between the parts on every system.
pub fn path_bytes(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_encoded_bytes().to_vec();
    match cfg!(windows) {
        true => bytes.into_iter().map(|b| if b == b'\\' { b'/' } else { b }).collect(),
        false => bytes,
    }
}

/// A name as SQLite stores it: text where it is text.
struct NameIn<'a>(&'a [u8]);

impl ToSql for NameIn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let is_text = std::str::from_utf8(self.0).is_ok();
        Ok(ToSqlOutput::Borrowed(if is_text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) }))
    }
}

/// The bytes of a text or BLOB column.
fn name_out(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Text(b) | ValueRef::Blob(b) => b.to_vec(),
        _ => Vec::new(),
    }
}

/// SQLite has signed numbers only; no file is that large.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Number of a disk in this ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskId(i64);

/// An open ledger.
pub struct Ledger {
    db: Connection,
    path: PathBuf,
}

/// Where the ledger is unless the user says otherwise: `$TOMOKIT_LEDGER`, else in the user's own data folder.
pub fn default_path() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(file) = set("TOMOKIT_LEDGER") {
        return Ok(file);
    }
    let data = match cfg!(windows) {
        true => set("APPDATA"),
        false => set("XDG_DATA_HOME").or_else(|| std::env::home_dir().map(|h| h.join(".local/share"))),
    };
    data.map(|d| d.join("tomokit").join("ledger.sqlite")).ok_or_else(|| {
        Error::caller("no folder for the ledger: this user has no home").hint("name a file with --ledger")
    })
}

/// Records copies on a volume in one transaction; the ledger is made where there is none. For long copies keep a [`Ledger`]
/// open and call [`Ledger::record`] every few hundred files.
pub fn record(ledger: &Path, volume: &Volume, copies: &[Copy]) -> Result<()> {
    let mut ledger = Ledger::open_or_create(ledger)?;
    let disk = ledger.disk(volume)?;
    ledger.record(disk, copies)
}

impl Ledger {
    /// Opens a ledger that exists.
    ///
    /// # Errors
    /// There is none; it is damaged; no ledger at all, or another program's database; another program is writing for longer than ten seconds.
    pub fn open(path: &Path) -> Result<Ledger> {
        if !path.exists() {
            return Err(Error::caller("there is no ledger here")
                .path(path)
                .hint("'tomo copy' writes one, 'tomo ledger rebuild DISK…' makes one from the manifests on disks"));
        }
        Self::at(path, OpenFlags::SQLITE_OPEN_READ_WRITE, PATIENCE)
    }

    /// Opens a ledger, or makes an empty one with the folder around it.
    pub fn open_or_create(path: &Path) -> Result<Ledger> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "making the ledger's folder", e))?;
        }
        Self::at(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, PATIENCE)
    }

    fn at(path: &Path, flags: OpenFlags, patience: Duration) -> Result<Ledger> {
        refuse_other_files(path)?;
        let on = |e| failed(path, "opening the ledger", e);
        let mut db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(on)?;
        db.busy_timeout(patience).map_err(on)?;
        let number = |db: &Connection, name: &str| db.pragma_query_value(None, name, |r| r.get::<_, i32>(0));
        let mut application = number(&db, "application_id").map_err(on)?;
        if application == 0 {
            // New, another program's, or being made by another run at this moment: only one of them sees it empty.
            let t = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(on)?;
            application = number(&t, "application_id").map_err(on)?;
            if application == 0 && number(&t, "schema_version").map_err(on)? == 0 {
                t.execute_batch(TABLES).map_err(on)?;
                t.pragma_update(None, "application_id", APPLICATION).map_err(on)?;
                t.pragma_update(None, "user_version", VERSION).map_err(on)?;
                application = APPLICATION;
            }
            t.commit().map_err(on)?;
        }
        if application != APPLICATION {
            return Err(Error::file(path, "an SQLite file of another program, not a ledger").hint("name another file"));
        }
        let version = number(&db, "user_version").map_err(on)?;
        if version != VERSION {
            return Err(Error::unsupported(path, "a ledger of another version of tomokit")
                .expected(format!("version {VERSION}"))
                .found(version));
        }
        Ok(Ledger { db, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn on(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |e| failed(&self.path, what, e)
    }

    /// Reads the whole file and checks that it is sound.
    pub fn check(&self) -> Result<()> {
        let said: String =
            self.db.pragma_query_value(None, "quick_check", |r| r.get(0)).map_err(self.on("checking the ledger"))?;
        if said == "ok" { Ok(()) } else { Err(damaged(&self.path).found(said)) }
    }

    /// The disk of a volume: by its serial, or by its place where it has none. Label, size and room are brought up to date.
    pub fn disk(&mut self, v: &Volume) -> Result<DiskId> {
        let on = |e| failed(&self.path, "recording a disk", e);
        let place = v.mount_point.to_string_lossy().into_owned();
        let now = now();
        let t = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(on)?;
        let known = find(&t, v.serial.as_deref(), &place).map_err(on)?;
        let id = match known {
            Some(id) => {
                t.execute(
                    "UPDATE disks SET serial = ?2, place = ?3, label = ?4, fs = ?5, bytes = ?6, available = ?7, \
                     last_seen = ?8 WHERE id = ?1",
                    params![id, v.serial, place, v.label, v.fs.to_string(), signed(v.total), signed(v.available), now],
                )
                .map_err(on)?;
                id
            }
            None => {
                t.execute(
                    "INSERT INTO disks (serial, place, label, fs, bytes, available, first_seen, last_seen) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                    params![v.serial, place, v.label, v.fs.to_string(), signed(v.total), signed(v.available), now],
                )
                .map_err(on)?;
                t.last_insert_rowid()
            }
        };
        t.commit().map_err(on)?;
        Ok(DiskId(id))
    }
}

/// A disk by serial, else by place among those without one.
fn find(db: &Connection, serial: Option<&str>, place: &str) -> rusqlite::Result<Option<i64>> {
    let Some(serial) = serial else {
        let sql = "SELECT id FROM disks WHERE serial IS NULL AND place = ?1";
        return db.query_row(sql, [place], |r| r.get(0)).optional();
    };
    let mut all = db.prepare("SELECT id, serial FROM disks WHERE serial IS NOT NULL")?;
    let mut rows = all.query([])?;
    while let Some(r) = rows.next()? {
        if same_serial(serial, r.get_ref(1)?.as_str().unwrap_or_default()) {
            return Ok(Some(r.get(0)?));
        }
    }
    Ok(None)
}

fn damaged(path: &Path) -> Error {
    Error::file(path, DAMAGED)
        .hint("plug in the disks and run 'tomo ledger rebuild DISK…': it is made anew from their manifests, this one is kept beside it")
}

/// Refuses somebody's own file, named by mistake, before SQLite takes it for a new or a damaged ledger. A ledger is empty, or
/// has the head of an SQLite file, or, where the head itself is damaged, is named like one.
fn refuse_other_files(path: &Path) -> Result<()> {
    const HEAD: &[u8; 16] = b"SQLite format 3\0";
    let known = |e: &std::ffi::OsStr| ["sqlite", "sqlite3", "db"].iter().any(|k| e.eq_ignore_ascii_case(k));
    let mut head = Vec::new();
    let read = open_plain(path).and_then(|f| f.take(HEAD.len() as u64).read_to_end(&mut head));
    // What cannot be read is left to SQLite to tell.
    if read.is_err() || head.is_empty() || head == HEAD || path.extension().is_some_and(known) {
        return Ok(());
    }
    Err(Error::caller("this is no ledger").path(path).hint("name another file with --ledger, or move this one away"))
}

/// What went wrong, in words a user can act on.
fn failed(path: &Path, what: &str, e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path).source(e),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::new(tomokit_formats::Fault::System, "another program is writing the ledger")
                .path(path)
                .hint("wait for it to end, or use a ledger of your own with --ledger")
                .source(e)
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::new(tomokit_formats::Fault::System, format!("{what} failed"))
                .path(path)
                .hint("check that the file and its folder may be written, or name another with --ledger")
                .source(e)
        }
        Some(ErrorCode::DiskFull) => Error::io(path, what, std::io::ErrorKind::StorageFull.into()).source(e),
        _ => Error::new(tomokit_formats::Fault::System, format!("{what} failed")).path(path).source(e),
    }
}

/// The one spelling of a source: absolute, links resolved, `C:\…` and not `\\?\C:\…`. The path must exist.
pub fn source_path(path: &Path) -> Result<PathBuf> {
    let full = path.canonicalize().map_err(|e| Error::io(path, "opening", e))?;
    Ok(crate::disk::plain_path(&full))
}

/// Calls `each` for every file below `folder` with its size and modification time in nanoseconds since 1970. Links are not
/// followed; what disappears meanwhile is left out, what cannot be listed is an error.
pub(crate) fn walk(folder: &Path, cancel: &Cancel, mut each: impl FnMut(&Path, u64, i64) -> Result<()>) -> Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        cancel.check()?;
        let (entry, meta) = match entry.and_then(|e| e.metadata().map(|m| (e, m))) {
            Ok(both) => both,
            Err(e) if e.depth() > 0 && e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) => {
                continue;
            }
            Err(e) => {
                let path = e.path().unwrap_or(folder).to_owned();
                let cause = e.into_io_error().unwrap_or_else(|| std::io::Error::other("a link leads in a circle"));
                return Err(Error::io(path, "listing", cause));
            }
        };
        if meta.is_file() {
            let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            let ns = since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
            each(entry.path(), meta.len(), ns)?;
        }
    }
    Ok(())
}

/// Seconds since 1970, UTC.
pub(crate) fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// `2026-11-21 14:05` in UTC.
pub fn when(unix: i64) -> String {
    let t = time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}-{:02} {:02}:{:02}", t.year(), u8::from(t.month()), t.day(), t.hour(), t.minute())
}

#[cfg(test)]
mod tests;
