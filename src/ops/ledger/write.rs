//! Entering into the ledger: copies, and what checks of disks found.
//!
//! A check that finds a file not good need not write on the disk, whose record then goes on calling it verified. So the ledger
//! keeps by itself which copies are not good, until they are copied anew or read again and good.

use super::{Copy, DiskId, Ledger, NameIn, failed, name_out, path_bytes, signed};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tomokit_formats::Result;

/// Made where it is wanted: ledgers of earlier versions lack it, most never need it.
const NOT_GOOD: &str = "CREATE TABLE IF NOT EXISTS not_good (
    disk INTEGER NOT NULL REFERENCES disks(id),
    path NOT NULL,
    session INTEGER,              -- which copy it was: the session of the disk's record that wrote it
    found INTEGER NOT NULL,       -- seconds since 1970, UTC
    PRIMARY KEY (disk, path)
) WITHOUT ROWID";

/// What is known already is not written again: most of a disk, each time something is copied to it.
const PUT: &str = "INSERT INTO copies (disk, path, bytes, sha256, scan, source, mtime, copied, verified, level) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (disk, path) DO UPDATE SET \
    verified = CASE WHEN excluded.verified IS NOT NULL OR excluded.sha256 <> sha256 \
                    THEN excluded.verified ELSE verified END, \
    level = CASE WHEN excluded.verified IS NOT NULL OR excluded.sha256 <> sha256 \
                 THEN excluded.level ELSE level END, \
    source = coalesce(excluded.source, source), mtime = coalesce(excluded.mtime, mtime), \
    bytes = excluded.bytes, sha256 = excluded.sha256, scan = excluded.scan, copied = excluded.copied \
    WHERE (bytes, sha256, scan, copied) IS NOT (excluded.bytes, excluded.sha256, excluded.scan, excluded.copied) \
       OR source IS NOT coalesce(excluded.source, source) OR mtime IS NOT coalesce(excluded.mtime, mtime) \
       OR (excluded.verified IS NOT NULL AND (verified, level) IS NOT (excluded.verified, excluded.level))";

/// A file that was read again and is what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Digest of the content, lower-case hexadecimal.
    pub sha256: String,
    /// When, seconds since 1970.
    pub when: i64,
    /// How far the reading went, in a word.
    pub level: String,
}

/// What a check found of a file on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is what it was.
    Good(Seen),
    /// It is not, or cannot be read.
    NotGood {
        /// Which session wrote it, where the disk's record says so.
        session: Option<u32>,
        /// When that was found, seconds since 1970.
        when: i64,
    },
}

impl Ledger {
    fn transaction(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.db.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Records copies on a disk, all or none. A name that is known already is replaced; a verification that is known stays
    /// where the content is the same and none is given; one of before the copy was found not good counts for nothing.
    pub fn record(&mut self, disk: DiskId, copies: &[Copy]) -> Result<()> {
        let path = self.path.clone();
        let on = |e| failed(&path, "recording copies", e);
        let t = self.transaction().map_err(on)?;
        let doubts = any_not_good(&t, disk).map_err(on)?;
        {
            let mut put = t.prepare_cached(PUT).map_err(on)?;
            for c in copies {
                let doubtful = doubts && is_not_good(&t, disk, c).map_err(on)?;
                let source = c.source.as_deref().map(path_bytes);
                put.execute(params![
                    disk.0,
                    NameIn(&c.path),
                    signed(c.bytes),
                    c.sha256,
                    c.scan,
                    source.as_deref().map(NameIn),
                    c.mtime_ns,
                    c.copied,
                    c.verified.filter(|_| !doubtful),
                    c.level.as_deref().filter(|_| !doubtful)
                ])
                .map_err(on)?;
            }
        }
        t.commit().map_err(on)
    }

    /// Notes what a check of a disk found, by name.
    pub fn seen(&mut self, disk: DiskId, files: &[(Vec<u8>, Found)]) -> Result<()> {
        let path = self.path.clone();
        let on = |e| failed(&path, "noting a check", e);
        let t = self.transaction().map_err(on)?;
        let mut doubts = any_not_good(&t, disk).map_err(on)?;
        for (path, found) in files {
            match found {
                Found::Good(s) => {
                    let sql =
                        "UPDATE copies SET verified = ?4, level = ?5 WHERE disk = ?1 AND path = ?2 AND sha256 = ?3";
                    let mut update = t.prepare_cached(sql).map_err(on)?;
                    update.execute(params![disk.0, NameIn(path), s.sha256, s.when, s.level]).map_err(on)?;
                    if doubts {
                        trust_again(&t, disk, path).map_err(on)?;
                    }
                }
                Found::NotGood { session, when } => {
                    t.execute(
                        "UPDATE copies SET verified = NULL, level = NULL WHERE disk = ?1 AND path = ?2",
                        params![disk.0, NameIn(path)],
                    )
                    .map_err(on)?;
                    t.execute_batch(NOT_GOOD).map_err(on)?;
                    t.execute(
                        "INSERT OR REPLACE INTO not_good (disk, path, session, found) VALUES (?1, ?2, ?3, ?4)",
                        params![disk.0, NameIn(path), session, when],
                    )
                    .map_err(on)?;
                    doubts = true;
                }
            }
        }
        t.commit().map_err(on)
    }

    /// Forgets names on a disk that are not there any more.
    pub fn forget(&mut self, disk: DiskId, paths: &[Vec<u8>]) -> Result<()> {
        let path = self.path.clone();
        let on = |e| failed(&path, "forgetting copies", e);
        let t = self.transaction().map_err(on)?;
        let doubts = any_not_good(&t, disk).map_err(on)?;
        for p in paths {
            t.execute("DELETE FROM copies WHERE disk = ?1 AND path = ?2", params![disk.0, NameIn(p)]).map_err(on)?;
            if doubts {
                trust_again(&t, disk, p).map_err(on)?;
            }
        }
        t.commit().map_err(on)
    }

    /// Forgets the names on a disk that `keep` says no to.
    pub fn keep(&mut self, disk: DiskId, mut keep: impl FnMut(&[u8]) -> bool) -> Result<()> {
        const AT_ONCE: usize = 10_000;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (mut gone, mut last) = (Vec::new(), None);
            let mut read = 0;
            self.names_on(disk, after.as_deref(), AT_ONCE, |name| {
                read += 1;
                if read == AT_ONCE {
                    last = Some(name.to_vec());
                }
                if !keep(name) {
                    gone.push(name.to_vec());
                }
            })?;
            after = last;
            self.forget(disk, &gone)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Names recorded for a disk, in order, so many behind one of them.
    fn names_on(&self, disk: DiskId, after: Option<&[u8]>, most: usize, mut each: impl FnMut(&[u8])) -> Result<()> {
        let on = self.on("reading the ledger");
        let sql = "SELECT path FROM copies WHERE disk = ?1 AND (?2 IS NULL OR path > ?2) ORDER BY path LIMIT ?3";
        let mut q = self.db.prepare_cached(sql).map_err(&on)?;
        let mut rows = q.query(params![disk.0, after.map(NameIn), most as i64]).map_err(&on)?;
        while let Some(r) = rows.next().map_err(&on)? {
            each(&name_out(r.get_ref(0).map_err(&on)?));
        }
        Ok(())
    }
}

/// Was anything ever found not good, on any disk?
pub(super) fn has_doubts(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'not_good'")?.exists([])
}

/// Is anything known to be not good on this disk? Mostly not, and files then need not be asked about one by one.
fn any_not_good(t: &Transaction<'_>, disk: DiskId) -> rusqlite::Result<bool> {
    if has_doubts(t)? {
        t.prepare_cached("SELECT 1 FROM not_good WHERE disk = ?1 LIMIT 1")?.exists([disk.0])
    } else {
        Ok(false)
    }
}

/// True where this very copy was found not good, and not verified since. Of another copy nothing is held against it.
fn is_not_good(t: &Transaction<'_>, disk: DiskId, c: &Copy) -> rusqlite::Result<bool> {
    let mut q = t.prepare_cached("SELECT session, found FROM not_good WHERE disk = ?1 AND path = ?2")?;
    let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, Option<u32>>(0)?, r.get::<_, i64>(1)?));
    let Some((session, found)) = q.query_row(params![disk.0, NameIn(&c.path)], row).optional()? else {
        return Ok(false);
    };
    let same_copy = session.is_none() || c.session.is_none() || session == c.session;
    if same_copy && c.verified.is_none_or(|v| v <= found) {
        return Ok(true);
    }
    trust_again(t, disk, &c.path)?;
    Ok(false)
}

fn trust_again(t: &Transaction<'_>, disk: DiskId, path: &[u8]) -> rusqlite::Result<()> {
    let sql = "DELETE FROM not_good WHERE disk = ?1 AND path = ?2";
    t.prepare_cached(sql)?.execute(params![disk.0, NameIn(path)]).map(drop)
}
