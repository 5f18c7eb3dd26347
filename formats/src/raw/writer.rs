//! Writes plain values slice by slice, with a journal that makes an interrupted run resumable, and `.raw` + `.raw.info`.
//!
//! Guarantees: the journal names only slices that were synced to disk before, so neither a kill nor a power cut leads
//! to a resume over missing data; the sidecars are on the disk before the data file gets its final name, and get
//! theirs after it, the `.info` last.

use super::info::{c_exponent, edges_comment, order_name};
use crate::direct::Direct;
use crate::durable::{PART, PartFile, refuse_existing, stage_small, write_small};
use crate::error::OnPath;
use crate::io::with_suffix;
use crate::model::VolumeStats;
use crate::sink::{CreateOptions, SliceSink};
use crate::{ByteOrder, DType, Error, Result, Shape, VolumeMeta};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes and time between two entries of the journal: each costs a sync. Where few bytes come in, time alone decides.
const JOURNAL_BYTES: u64 = 64 << 20;
const JOURNAL_TIME: Duration = Duration::from_secs(2);
const JOURNAL_AT_LEAST: Duration = Duration::from_secs(10);

/// State of a `.part`, stored as `name.part.json`.
#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Journal {
    shape: Shape,
    dtype: DType,
    meta: VolumeMeta,
    /// Whole slices known to be on disk.
    slices: usize,
}

/// A headerless file being written.
#[derive(Debug)]
pub struct FlatWriter {
    part: Option<PartFile>,
    direct: Direct,
    journal_path: PathBuf,
    journal: Journal,
    slice_bytes: u64,
    stored: usize,
    next: usize,
    since_journal: u64,
    journalled: Instant,
    keep: bool,
}

impl FlatWriter {
    /// Starts or resumes `path`; `sidecars` are refused now if they exist, rather than after hours of writing.
    ///
    /// # Errors
    /// `Caller` where an output exists and `overwrite` is off, or the shape is empty; `Limit` for impossible shapes.
    pub fn create(path: &Path, options: &CreateOptions, sidecars: &[PathBuf]) -> Result<FlatWriter> {
        let (shape, dtype) = (options.shape, options.dtype);
        if shape.is_empty() {
            return Err(Error::caller(format!("cannot write a volume of {shape}")).path(path));
        }
        shape.len().map_err(|e| e.or_path(path))?;
        for s in sidecars {
            refuse_existing(s, options.overwrite)?;
        }
        let slice_bytes = shape.frame_len() as u64 * dtype.size() as u64;
        let mut journal = Journal { shape, dtype, meta: options.meta.clone(), slices: 0 };
        let journal_path = with_suffix(path, &format!("{PART}.json"));
        let mut stored = 0;
        if options.resume {
            let part_len = fs::metadata(with_suffix(path, PART)).map(|m| m.len()).unwrap_or(0);
            let old = fs::read(&journal_path).ok().and_then(|b| serde_json::from_slice::<Journal>(&b).ok());
            if let Some(old) = old
                && old.slices <= shape.frames
                && (old.slices as u64).checked_mul(slice_bytes).is_some_and(|n| n <= part_len)
                && old == (Journal { slices: old.slices, ..journal.clone() })
            {
                stored = old.slices;
            }
        }
        let part = if stored > 0 {
            let p = PartFile::resume(path, options.overwrite)?;
            p.set_len(stored as u64 * slice_bytes)?;
            p
        } else {
            refuse_existing(path, options.overwrite)?;
            // The journal goes first: it must never describe data of another run.
            match fs::remove_file(&journal_path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(&journal_path, "removing", e));
                }
                _ => PartFile::create(path, options.overwrite)?,
            }
        };
        journal.slices = stored;
        let direct = Direct::new(&part, shape.frames as u64 * slice_bytes, stored as u64 * slice_bytes);
        Ok(FlatWriter {
            part: Some(part),
            direct,
            journal_path,
            journal,
            slice_bytes,
            stored,
            next: stored,
            since_journal: 0,
            journalled: Instant::now(),
            keep: false,
        })
    }

    /// Slices an earlier run left.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// Bytes of one slice.
    pub fn slice_bytes(&self) -> u64 {
        self.slice_bytes
    }

    /// The unfinished file.
    pub fn part(&self) -> Result<&PartFile> {
        self.part.as_ref().ok_or_else(|| Error::caller("the output is committed already"))
    }

    /// Appends whole slices.
    ///
    /// # Errors
    /// `Caller` where `first` is not the next slice, or the bytes are not whole slices or too many.
    pub fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let target = self.part()?.target().to_owned();
        let count = slices.len() as u64 / self.slice_bytes;
        if first != self.next
            || !(slices.len() as u64).is_multiple_of(self.slice_bytes)
            || first as u64 + count > self.journal.shape.frames as u64
        {
            return Err(Error::caller("slices must come whole and in order")
                .path(target)
                .expected(format!("slice {} of {}, {} bytes each", self.next, self.journal.shape, self.slice_bytes))
                .found(format!("slice {first}, {} bytes", slices.len())));
        }
        let part = self.part.as_ref().ok_or_else(|| Error::caller("the output is committed already"))?;
        self.direct.write(part, slices, first as u64 * self.slice_bytes)?;
        if first as u64 + count == self.journal.shape.frames as u64 {
            self.direct.flush(part)?;
        }
        self.next += count as usize;
        self.since_journal += slices.len() as u64;
        let since = self.journalled.elapsed();
        if since >= JOURNAL_AT_LEAST || self.since_journal >= JOURNAL_BYTES && since >= JOURNAL_TIME {
            self.write_journal()?;
        }
        Ok(())
    }

    fn write_journal(&mut self) -> Result<()> {
        let part = self.part.as_ref().ok_or_else(|| Error::caller("the output is committed already"))?;
        self.direct.flush(part)?;
        part.file()?.sync_data().on(part.part_path(), "syncing to disk")?;
        self.journal.slices = self.next;
        let text = serde_json::to_vec(&self.journal)
            .map_err(|e| Error::caller("the journal cannot be written").path(&self.journal_path).source(e))?;
        write_small(&self.journal_path, &text, true)?;
        self.since_journal = 0;
        self.journalled = Instant::now();
        Ok(())
    }

    /// Cuts off what is no whole slice and names the rest in the journal. On a full disk the cut makes room for that; where
    /// it does not, one slice more does.
    fn leave_whole_slices(&mut self) -> Result<()> {
        let part = self.part.as_ref().ok_or_else(|| Error::caller("the output is committed already"))?;
        if self.direct.flush(part).is_err() {
            self.next = self.next.min((self.direct.settled() / self.slice_bytes) as usize);
        }
        self.direct = Direct::default();
        self.part()?.set_len(self.next as u64 * self.slice_bytes)?;
        let first = self.write_journal();
        if first.is_ok() || self.next == 0 {
            return first;
        }
        self.next -= 1;
        self.part()?.set_len(self.next as u64 * self.slice_bytes)?;
        self.write_journal()
    }

    /// Keeps the `.part` on drop.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Fails unless every slice was written.
    pub fn check_complete(&self) -> Result<()> {
        if self.next != self.journal.shape.frames {
            return Err(Error::caller("the volume is not complete")
                .path(self.part()?.target())
                .expected(format!("{} slices", self.journal.shape.frames))
                .found(format!("{}", self.next)));
        }
        Ok(())
    }

    /// Gives the data its final name. Old sidecars that would describe the old data go away first, so that they
    /// never stand beside new data.
    pub fn commit(mut self, old: &[&Path]) -> Result<PathBuf> {
        self.check_complete()?;
        for path in old {
            match fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(path, "removing the old sidecar", e));
                }
                _ => {}
            }
        }
        let part = self.part.take().ok_or_else(|| Error::caller("the output is committed already"))?;
        let path = part.commit()?;
        let _ = fs::remove_file(&self.journal_path);
        Ok(path)
    }
}

impl FlatWriter {
    /// [`commit`](Self::commit), then the sidecars in this order: they are on the disk already, so that only renaming
    /// is left once the data carry their final name.
    pub fn commit_with(self, old: &[&Path], sidecars: Vec<PartFile>) -> Result<Vec<PathBuf>> {
        let mut files = vec![self.commit(old)?];
        for s in sidecars {
            files.push(s.commit()?);
        }
        Ok(files)
    }
}

impl Drop for FlatWriter {
    fn drop(&mut self) {
        if self.part.is_none() {
            return;
        }
        if self.keep && self.leave_whole_slices().is_ok() {
            if let Some(p) = &mut self.part {
                p.keep();
            }
        } else {
            let _ = fs::remove_file(&self.journal_path);
        }
    }
}

/// Most bytes of memory that a [`FlatWriter`] takes beside the slices handed over.
pub(crate) fn working_bytes(options: &CreateOptions) -> u64 {
    let size = options.shape.len().unwrap_or(u64::MAX).saturating_mul(options.dtype.size() as u64);
    crate::direct::working_bytes(size)
}

/// `.raw` with its sidecars.
pub struct RawSink {
    writer: FlatWriter,
    options: CreateOptions,
    path: PathBuf,
}

impl RawSink {
    /// Starts `path`.
    pub fn create(path: &Path, options: &CreateOptions) -> Result<RawSink> {
        let mut sidecars = vec![with_suffix(path, ".info")];
        if options.sidecars {
            sidecars.extend(crate::sidecar::names(path, options.dtype));
        }
        Ok(RawSink {
            writer: FlatWriter::create(path, options, &sidecars)?,
            options: options.clone(),
            path: path.to_owned(),
        })
    }
}

impl SliceSink for RawSink {
    fn stored(&self) -> usize {
        self.writer.stored()
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        self.writer.put(first, slices)
    }

    fn keep_partial(&mut self) {
        self.writer.keep();
    }

    fn finish(self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        let RawSink { writer, options, path } = *self;
        let info = with_suffix(&path, ".info");
        writer.check_complete()?;
        let mut staged = Vec::new();
        if options.sidecars {
            staged = crate::sidecar::stage_all(&path, options.shape, options.dtype, &options.meta, true)?;
        }
        let text = info_text(options.shape, options.dtype, &options.meta, stats);
        staged.push(stage_small(&info, text.as_bytes(), true)?);
        writer.commit_with(&[&info], staged)
    }
}

/// The `.raw.info`: PyHST2's keys and pymicro's DATA_TYPE first, so that old readers stop where they always did.
pub fn info_text(shape: Shape, dtype: DType, meta: &VolumeMeta, stats: Option<&VolumeStats>) -> String {
    let mut t = format!(
        "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X = {}\nNUM_Y = {}\nNUM_Z = {}\nDATA_TYPE = {}\nBYTEORDER = {}\n",
        shape.cols,
        shape.rows,
        shape.frames,
        dtype.name(),
        order_name(ByteOrder::NATIVE)
    );
    if let Some([.., x]) = meta.voxel_um {
        let _ = writeln!(t, "voxelSize = {}", c_exponent(x, 6));
    }
    t += &edges_comment(meta.voxel_um);
    if let Some(g) = &meta.grey {
        let _ = writeln!(t, "# physical value = GREY_SLOPE * grey + GREY_OFFSET");
        let unit: String = g.unit.chars().filter(|c| !c.is_control() && !['#', '!'].contains(c)).collect();
        let _ = writeln!(t, "GREY_SLOPE = {}\nGREY_OFFSET = {}\nGREY_UNIT = {unit}", g.slope, g.offset);
    }
    if let Some(s) = stats {
        for (key, v) in super::info::STATS.iter().zip([s.min, s.max, s.s1, s.s2, s.big_s1, s.big_s2]) {
            let _ = writeln!(t, "{key} = {}", c_exponent(v, 8));
        }
    }
    t
}
