//! Questions to the ledger. Answers are counted by SQLite; lists are handed over row by row, so that a million files need
//! no memory.

use super::{Ledger, failed, find, name_out, path_bytes};
use crate::disk::Volume;
use rusqlite::{Row, params};
use serde::Serialize;
use std::path::Path;
use tomokit_formats::Result;

/// A disk and what is on it.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// Serial of the volume.
    pub serial: Option<String>,
    /// Where it was mounted last.
    pub place: String,
    /// Label.
    pub label: Option<String>,
    /// File system.
    pub fs: String,
    /// Size of the volume.
    pub bytes: u64,
    /// Room left when seen last.
    pub available: u64,
    /// Seconds since 1970.
    pub last_seen: i64,
    /// Files recorded.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Scans they belong to.
    pub scans: u64,
    /// Files never verified, or found damaged since.
    pub unverified: u64,
    /// The oldest verification; `None` where nothing was ever verified.
    pub verified_since: Option<i64>,
}

impl Disk {
    /// Label, else serial, else place.
    pub fn name(&self) -> &str {
        self.label.as_deref().or(self.serial.as_deref()).unwrap_or(&self.place)
    }
}

/// A scan and where it is.
#[derive(Clone, Debug, Serialize)]
pub struct Scan {
    /// Name.
    pub scan: String,
    /// Files: of each content as many as the disk that holds most of them.
    pub files: u64,
    /// Their bytes; further disks do not count.
    pub bytes: u64,
    /// Verified copies of the file that has the fewest.
    pub copies: u64,
    /// Names of the disks that hold any of it.
    pub disks: String,
    /// When anything of it was copied last.
    pub copied: i64,
}

/// A file on a disk.
#[derive(Clone, Debug, Serialize)]
pub struct File {
    /// Label, serial or place of the disk.
    pub disk: String,
    /// Serial of the disk.
    pub serial: Option<String>,
    /// Name on it; bytes that are no text are replaced.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
    /// Scan.
    pub scan: String,
    /// Where it came from.
    pub source: Option<String>,
    /// Seconds since 1970.
    pub copied: i64,
    /// Seconds since 1970.
    pub verified: Option<i64>,
    /// How far the reading back went.
    pub level: Option<String>,
    /// Disks with a verified copy of the same content.
    pub copies: u64,
}

const DISKS: &str = "SELECT d.serial, d.place, d.label, d.fs, d.bytes, d.available, d.last_seen, count(c.path), \
    coalesce(sum(c.bytes), 0), count(DISTINCT c.scan), count(c.path) - count(c.verified), min(c.verified) \
    FROM disks d LEFT JOIN copies c ON c.disk = d.id";

/// Name of a disk in a query.
const NAME: &str = "coalesce(d.label, d.serial, d.place)";

/// Disks with a verified copy of the content of row `c`.
const COPIES: &str = "(SELECT count(DISTINCT o.disk) FROM copies o WHERE o.sha256 = c.sha256 AND o.bytes = c.bytes \
    AND o.verified IS NOT NULL)";

/// What the file of row `c` is called where it was copied from: its own name where the disk cannot hold that.
const AT_SOURCE: &str = "replace(CAST(c.source AS TEXT), rtrim(CAST(c.source AS TEXT), \
    replace(CAST(c.source AS TEXT), '/', '')), '')";

fn disk(r: &Row<'_>) -> rusqlite::Result<Disk> {
    Ok(Disk {
        serial: r.get(0)?,
        place: r.get(1)?,
        label: r.get(2)?,
        fs: r.get(3)?,
        bytes: count(r, 4)?,
        available: count(r, 5)?,
        last_seen: r.get(6)?,
        files: count(r, 7)?,
        file_bytes: count(r, 8)?,
        scans: count(r, 9)?,
        unverified: count(r, 10)?,
        verified_since: r.get(11)?,
    })
}

fn count(r: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(r.get::<_, i64>(column)?.unsigned_abs())
}

fn text(r: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&name_out(r.get_ref(column)?)).into_owned())
}

/// What to look for among files.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Part of a name, of that at the source, or of a scan's name; with `*`, `?` or `[…]` a pattern for the whole name or its last part. Letters
    /// count as equal in either case unless they are a pattern.
    pub pattern: Option<String>,
    /// Only contents with fewer verified copies than this.
    pub fewer_than: Option<u64>,
    /// Only files copied from below this folder (absolute).
    pub below: Option<std::path::PathBuf>,
}

impl Ledger {
    /// Every disk.
    pub fn disks(&self) -> Result<Vec<Disk>> {
        let on = self.on("reading the ledger");
        let sql = format!("{DISKS} GROUP BY d.id ORDER BY d.first_seen, d.id");
        let mut q = self.db.prepare(&sql).map_err(&on)?;
        q.query_map([], disk).map_err(&on)?.collect::<rusqlite::Result<_>>().map_err(&on)
    }

    /// What is known of a volume.
    pub fn known(&self, v: &Volume) -> Result<Option<Disk>> {
        let on = self.on("reading the ledger");
        let Some(id) = find(&self.db, v.serial.as_deref(), &v.mount_point.to_string_lossy()).map_err(&on)? else {
            return Ok(None);
        };
        self.db.query_row(&format!("{DISKS} WHERE d.id = ?1 GROUP BY d.id"), [id], disk).map(Some).map_err(&on)
    }

    /// Every scan with its disks, by name.
    pub fn scans(&self) -> Result<Vec<Scan>> {
        let on = self.on("reading the ledger");
        // One row per content and disk first: a scan may hold files of equal content, and names may differ from disk to disk.
        // Of one source, though, a disk may hold several copies.
        let sql = format!(
            "WITH on_disks AS (SELECT scan, sha256, bytes, max(copied) AS copied, \
                 count(DISTINCT coalesce(source, path)) AS files, max(verified IS NOT NULL) AS good \
                 FROM copies GROUP BY scan, sha256, bytes, disk), \
             contents AS (SELECT scan, bytes, max(copied) AS copied, max(files) AS files, sum(good) AS copies \
                 FROM on_disks GROUP BY scan, sha256, bytes), \
             sums AS (SELECT scan, sum(files) AS files, sum(files * bytes) AS bytes, min(copies) AS copies, \
                 max(copied) AS copied FROM contents GROUP BY scan), \
             pairs AS (SELECT DISTINCT scan, disk FROM copies), \
             named AS (SELECT p.scan, {NAME} AS name FROM pairs p JOIN disks d ON d.id = p.disk ORDER BY p.scan, name), \
             places AS (SELECT scan, group_concat(name, ', ') AS disks FROM named GROUP BY scan) \
             SELECT s.scan, s.files, s.bytes, s.copies, s.copied, places.disks \
             FROM sums s JOIN places ON places.scan = s.scan ORDER BY s.scan"
        );
        let mut q = self.db.prepare(&sql).map_err(&on)?;
        let rows = q.query_map([], |r| {
            Ok(Scan {
                scan: r.get(0)?,
                files: count(r, 1)?,
                bytes: count(r, 2)?,
                copies: count(r, 3)?,
                copied: r.get(4)?,
                disks: r.get::<_, Option<String>>(5)?.unwrap_or_default(),
            })
        });
        rows.map_err(&on)?.collect::<rusqlite::Result<_>>().map_err(&on)
    }

    /// Files on a disk whose names begin so, and that are verified.
    pub(super) fn verified_below(&self, disk: super::DiskId, inside: &[u8]) -> Result<u64> {
        let on = self.on("reading the ledger");
        let sql = "SELECT count(*) FROM copies WHERE disk = ?1 AND verified IS NOT NULL \
                   AND substr(CAST(path AS BLOB), 1, length(?2)) = ?2";
        self.db.query_row(sql, params![disk.0, inside], |r| count(r, 0)).map_err(on)
    }

    /// Hands every file that is looked for to `each`, in order of disks and names.
    pub fn files(&self, search: &Search, mut each: impl FnMut(File) -> Result<()>) -> Result<()> {
        let on = |e| failed(&self.path, "reading the ledger", e);
        let part = |p: &String| format!("%{}%", p.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        let glob = search.pattern.as_ref().filter(|p| p.contains(['*', '?', '[']));
        // Brackets are in names, too.
        let like = search.pattern.as_ref().filter(|p| !p.contains(['*', '?'])).map(part);
        let below = search.below.as_ref().map(|b| {
            let mut bytes = path_bytes(b);
            if bytes.last() != Some(&b'/') {
                bytes.push(b'/');
            }
            bytes
        });
        let sql = format!(
            "SELECT {NAME}, d.serial, c.path, c.bytes, c.sha256, c.scan, c.source, c.copied, c.verified, c.level, \
             {COPIES} AS n FROM copies c JOIN disks d ON d.id = c.disk WHERE \
             (coalesce(?1, ?2) IS NULL OR CAST(c.path AS TEXT) GLOB ?1 OR CAST(c.path AS TEXT) GLOB '*/' || ?1 \
             OR c.scan GLOB ?1 OR {AT_SOURCE} GLOB ?1 \
             OR CAST(c.path AS TEXT) LIKE ?2 ESCAPE '\\' OR c.scan LIKE ?2 ESCAPE '\\' \
             OR {AT_SOURCE} LIKE ?2 ESCAPE '\\') AND \
             (?3 IS NULL OR n < ?3) AND (?4 IS NULL OR substr(CAST(c.source AS BLOB), 1, length(?4)) = ?4) \
             ORDER BY d.id, c.path"
        );
        let mut q = self.db.prepare(&sql).map_err(on)?;
        let fewer = search.fewer_than.map(super::signed);
        let mut rows = q.query(params![glob, like, fewer, below]).map_err(on)?;
        while let Some(r) = rows.next().map_err(on)? {
            each(file(r).map_err(on)?)?;
        }
        Ok(())
    }

    /// Verified copies of a source as it is now (same place, size and time), at best; `None` where it was never copied.
    pub fn copies_of_source(&self, source: &Path, bytes: u64, mtime_ns: i64) -> Result<Option<u64>> {
        self.of_source(source, bytes, mtime_ns, "")
    }

    /// As [`Ledger::copies_of_source`], of copies that were not found damaged: `None` where there is no other.
    pub fn sound_copies_of_source(&self, source: &Path, bytes: u64, mtime_ns: i64) -> Result<Option<u64>> {
        let doubts = super::write::has_doubts(&self.db).map_err(self.on("reading the ledger"))?;
        let sound = "AND NOT EXISTS (SELECT 1 FROM not_good n WHERE n.disk = c.disk AND n.path = c.path)";
        self.of_source(source, bytes, mtime_ns, if doubts { sound } else { "" })
    }

    fn of_source(&self, source: &Path, bytes: u64, mtime_ns: i64, and: &str) -> Result<Option<u64>> {
        let on = self.on("reading the ledger");
        let sql = format!(
            "SELECT max({COPIES}) FROM copies c WHERE c.source = ?1 AND c.bytes = ?2 \
             AND (c.mtime IS NULL OR abs(c.mtime - ?3) < 2000000000) {and}"
        );
        let source = path_bytes(source);
        let mut q = self.db.prepare_cached(&sql).map_err(&on)?;
        let n: Option<i64> =
            q.query_row(params![super::NameIn(&source), super::signed(bytes), mtime_ns], |r| r.get(0)).map_err(&on)?;
        Ok(n.map(i64::unsigned_abs))
    }
}

fn file(r: &Row<'_>) -> rusqlite::Result<File> {
    Ok(File {
        disk: r.get(0)?,
        serial: r.get(1)?,
        path: text(r, 2)?,
        bytes: count(r, 3)?,
        sha256: r.get(4)?,
        scan: r.get(5)?,
        source: match r.get_ref(6)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(text(r, 6)?),
        },
        copied: r.get(7)?,
        verified: r.get(8)?,
        level: r.get(9)?,
        copies: count(r, 10)?,
    })
}

/// What was never copied, or has changed since.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NeverCopied {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first few.
    pub examples: Vec<std::path::PathBuf>,
}

/// Files below a folder (absolute) that no disk holds as they are now: same place, size and time. Walks the folder; links are not
/// followed.
pub fn never_copied(ledger: &Ledger, folder: &Path, cancel: &crate::stream::Cancel) -> Result<NeverCopied> {
    let mut never = NeverCopied::default();
    super::walk(folder, cancel, |path, bytes, mtime_ns| {
        if ledger.copies_of_source(path, bytes, mtime_ns)?.is_none() {
            never.files += 1;
            never.bytes += bytes;
            if never.examples.len() < 5 {
                never.examples.push(path.to_owned());
            }
        }
        Ok(())
    })?;
    Ok(never)
}
