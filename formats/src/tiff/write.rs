//! Writing volumes as TIFF: one file per slice, one multi-page file, or ImageJ's one-directory stack.
//!
//! | variant | output |
//! |---|---|
//! | `series` | folder `OUT/` with `OUT_0000.tif` …; the default for a name without `.tif` |
//! | `multipage` | one file, classic TIFF below 4 GB and BigTIFF above; the default for a name with `.tif` |
//! | `bigtiff` | one BigTIFF file whatever the size |
//! | `imagej` | one classic file with one directory and plain frames behind it, of any size; only ImageJ and we read frame 2 |
//!
//! Guarantees: outputs carry their final names only when whole; plain frames lie in one run (mappable); a resumed run
//! goes on after the last slice known to be whole. Leaves to [`super::encode`]: bytes of directories and strips.

use super::describe::{self, Record};
use super::encode::{Packing, Pages};
use crate::direct::WholeFiles;
use crate::durable::{PartDir, PartFile, series_names};
use crate::error::OnPath;
use crate::io::{begin_writeback, write_all_at};
use crate::model::VolumeStats;
use crate::sink::{CreateOptions, SliceSink};
use crate::{DType, Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Variants by name, the default first.
pub(super) static VARIANTS: &[&str] = &["series", "multipage", "bigtiff", "imagej"];

/// Room for header and directory before the frames of a single file: one page of memory, so that frames can be mapped.
const FRONT: u64 = 4096;

/// The variant asked for, or the one a name stands for, and where it goes.
fn place(path: &Path, variant: Option<&str>) -> (String, PathBuf) {
    let tif = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tif") || e.eq_ignore_ascii_case("tiff"));
    let slash = path.as_os_str().to_string_lossy().ends_with(['/', std::path::MAIN_SEPARATOR]);
    let variant = variant.unwrap_or(if tif && !slash { "multipage" } else { "series" });
    let target = match variant {
        "series" if tif && slash => path.components().collect::<PathBuf>().join(""),
        "series" if tif => path.with_extension(""),
        "multipage" | "bigtiff" | "imagej" if !tif => crate::io::with_suffix(path, ".tif"),
        _ => path.components().collect(),
    };
    (variant.to_owned(), target)
}

/// See [`FormatSpec::settle`](crate::registry::FormatSpec::settle).
pub(crate) fn settle(path: &Path, options: &mut CreateOptions) -> PathBuf {
    let (variant, target) = place(path, options.variant.as_deref());
    options.variant = Some(variant);
    target
}

/// True where the output of this name is a folder of files, one per slice.
pub(crate) fn is_series(path: &Path, variant: Option<&str>) -> bool {
    place(path, variant).0 == "series"
}

/// Starts writing.
pub(super) fn create(path: &Path, options: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    let (variant, target) = place(path, options.variant.as_deref());
    let shape = options.shape;
    shape.len()?;
    if shape.is_empty() || shape.rows > u32::MAX as usize || shape.cols > u32::MAX as usize {
        return Err(Error::caller("a TIFF image needs 1 to 4294967295 rows and columns").path(path).found(shape));
    }
    let packing = Packing::parse(options.compression.as_deref()).map_err(|e| e.or_path(path))?;
    let pages = Pages { shape, dtype: options.dtype, packing, big: false };
    match variant.as_str() {
        "series" => Ok(Box::new(SeriesSink::create(target.components().as_path(), pages, options)?)),
        "multipage" | "bigtiff" => {
            let file = target;
            // Directories take at most about 300 bytes plus 16 per strip; compressed strips may grow a little.
            let strips = (shape.rows.div_ceil(pages.strip_rows())) as u64;
            let frame = pages.page_bytes() as u64;
            let page = (frame + frame / 500).saturating_add(strips.saturating_mul(600) + 512);
            let most = page.saturating_mul(shape.frames as u64).saturating_add(1 << 20);
            let big = variant == "bigtiff" || most > u64::from(u32::MAX);
            Ok(Box::new(FileSink::create(&file, Pages { big, ..pages }, options, false)?))
        }
        "imagej" => {
            let file = target;
            let readable = matches!(options.dtype, DType::U8 | DType::U16 | DType::I16 | DType::F32);
            if !readable || packing != Packing::None || pages.page_bytes() > i32::MAX as usize {
                return Err(Error::caller(
                    "ImageJ's own stack holds plain uint8, int16, uint16 or float32 frames below 2 GB",
                )
                .path(&file)
                .found(format!("{} {shape}, compression {packing:?}", options.dtype.name()))
                .hint("write the 'multipage' variant instead, or convert the type"));
            }
            Ok(Box::new(FileSink::create(&file, pages, options, true)?))
        }
        other => Err(Error::caller(format!("unknown TIFF variant '{other}'"))
            .path(path)
            .hint(format!("known variants: {}", VARIANTS.join(", ")))),
    }
}

/// Checks the arguments of a `put` and returns how many slices it holds.
fn slices_of(pages: &Pages, next: usize, first: usize, bytes: &[u8]) -> Result<usize> {
    let page = pages.page_bytes();
    let n = bytes.len() / page;
    if first != next || !bytes.len().is_multiple_of(page) || n > pages.shape.frames - next {
        return Err(Error::caller("slices must arrive whole and in order")
            .expected(format!("slice {next} of {}", pages.shape.frames))
            .found(format!("slice {first}, {} bytes", bytes.len())));
    }
    Ok(n)
}

fn incomplete(pages: &Pages, next: usize, path: &Path) -> Result<()> {
    if next == pages.shape.frames {
        return Ok(());
    }
    Err(Error::caller("not all slices were written").path(path).expected(pages.shape.frames).found(next))
}

/// Compresses the strips of whole slices in parallel; per slice its strips in order.
fn pack_all(pages: &Pages, slices: &[u8]) -> Result<Vec<Vec<Vec<u8>>>> {
    let strip = pages.strip_rows() * pages.shape.cols * pages.dtype.size();
    slices.par_chunks(pages.page_bytes()).map(|s| s.par_chunks(strip).map(|rows| pages.pack(rows)).collect()).collect()
}

/// One file per slice in a folder.
struct SeriesSink {
    dir: PartDir,
    pages: Pages,
    text: String,
    voxel_um: Option<[f64; 3]>,
    stem: std::ffi::OsString,
    start: usize,
    digits: usize,
    /// Front of every plain slice: header, directory, padding.
    front: Vec<u8>,
    /// How plain slices are written where there are many large ones.
    whole: Option<WholeFiles>,
    stored: usize,
    next: usize,
}

impl SeriesSink {
    fn create(folder: &Path, mut pages: Pages, o: &CreateOptions) -> Result<Self> {
        let Some(stem) = folder.file_name().map(ToOwned::to_owned) else {
            return Err(Error::caller("a folder for slices needs a name").path(folder));
        };
        pages.big = pages.page_bytes() as u64 > u64::from(u32::MAX) - (1 << 20);
        let last = o.start_number.checked_add(pages.shape.frames - 1);
        let last = last.ok_or_else(|| Error::caller("the first slice number is too large"))?;
        let text = describe::write(&Record { run: None, meta: &o.meta, range: None, imagej: !pages.big });
        // The directory comes first, its length does not depend on the offset it points to.
        let at = pages.header_len();
        let probe = pages.directory(at, &[(0, 0)], &text, o.meta.voxel_um, false)?;
        let data = (at + probe.len() as u64).next_multiple_of(64);
        let mut front = pages.header(at);
        front.extend(pages.directory(at, &[(data, pages.page_bytes() as u64)], &text, o.meta.voxel_um, false)?);
        front.resize(data as usize, 0);
        let dir = PartDir::create(folder, o.overwrite, o.resume, series_names(folder))?;
        let each = front.len() as u64 + pages.page_bytes() as u64;
        let whole = WholeFiles::new(dir.path(), pages.shape.frames, each).filter(|_| pages.packing == Packing::None);
        let mut sink = SeriesSink {
            dir,
            whole,
            pages,
            text,
            voxel_um: o.meta.voxel_um,
            stem,
            start: o.start_number,
            digits: last.to_string().len().max(4),
            front,
            stored: 0,
            next: 0,
        };
        if o.resume {
            sink.stored = (0..sink.pages.shape.frames).take_while(|i| sink.is_whole(*i)).count();
            // The last slice may have been cut by a power failure after its length was set: write it again.
            sink.stored = sink.stored.saturating_sub(1);
            sink.next = sink.stored;
        }
        Ok(sink)
    }

    fn path(&self, i: usize) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(format!("_{:0w$}.tif", self.start + i, w = self.digits));
        self.dir.path().join(name)
    }

    /// True where slice `i` lies in the unfinished folder as we would write it.
    fn is_whole(&self, i: usize) -> bool {
        let path = self.path(i);
        if self.pages.packing != Packing::None {
            let page = super::File::open(path).and_then(|f| f.read_page(0));
            return page.is_ok_and(|p| {
                p.dtype == self.pages.dtype && p.shape == [self.pages.shape.rows, self.pages.shape.cols]
            });
        }
        let Ok(file) = crate::io::ReadAt::open(path) else {
            return false;
        };
        file.len() == self.front.len() as u64 + self.pages.page_bytes() as u64
            && file.head(self.front.len()).is_ok_and(|h| h == self.front)
    }

    fn write(&self, i: usize, slice: &[u8]) -> Result<()> {
        let path = self.path(i);
        if let Some(whole) = &self.whole
            && whole.write(&path, [&self.front, slice])?
        {
            return Ok(());
        }
        let file = std::fs::File::create(&path).on(&path, "creating")?;
        let write =
            |bytes: &[u8], at: u64| write_all_at(&file, bytes, at).map_err(|e| Error::io(&path, "writing", e).at(at));
        if self.pages.packing == Packing::None {
            write(&self.front, 0)?;
            write(slice, self.front.len() as u64)?;
            begin_writeback(&file, 0, (self.front.len() + slice.len()) as u64);
            return Ok(());
        }
        let packed = pack_all(&self.pages, slice)?.swap_remove(0);
        let (mut at, mut strips) = (self.pages.header_len(), Vec::with_capacity(packed.len()));
        let mut body = Vec::new();
        for strip in &packed {
            strips.push((at, strip.len() as u64));
            at += strip.len() as u64;
            body.extend_from_slice(strip);
        }
        body.resize(body.len() + (at.next_multiple_of(8) - at) as usize, 0);
        let at = at.next_multiple_of(8);
        let ifd = self.pages.directory(at, &strips, &self.text, self.voxel_um, false)?;
        write(&[self.pages.header(at), body, ifd].concat(), 0)
    }
}

impl SliceSink for SeriesSink {
    fn stored(&self) -> usize {
        self.stored
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let n = slices_of(&self.pages, self.next, first, slices)?;
        let page = self.pages.page_bytes();
        let write = |(i, s): (usize, &[u8])| self.write(first + i, s);
        if self.whole.is_some() {
            // Past the cache a disk wants more than one thing to do at once.
            let share = n.div_ceil(WholeFiles::WRITERS);
            let parts = slices.par_chunks(share * page).enumerate();
            parts.try_for_each(|(i, p)| p.chunks(page).enumerate().try_for_each(|(j, s)| write((i * share + j, s))))?;
        } else if self.pages.packing == Packing::None {
            // Plain bytes: several threads writing are slower than one where cores or the disk are busy (measured).
            slices.chunks(page).enumerate().try_for_each(write)?;
        } else {
            slices.par_chunks(page).enumerate().try_for_each(write)?;
        }
        self.next += n;
        Ok(())
    }

    fn keep_partial(&mut self) {
        self.dir.keep();
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        incomplete(&self.pages, self.next, self.dir.target())?;
        sync_files(self.dir.path(), (0..self.pages.shape.frames).map(|i| self.path(i)))?;
        Ok(vec![self.dir.commit()?])
    }
}

/// Brings written files to the disk before their folder gets its final name: one call per file system on Linux, one
/// per file elsewhere.
fn sync_files(dir: &Path, files: impl Iterator<Item = PathBuf>) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let _ = files;
        let d = std::fs::File::open(dir).on(dir, "opening")?;
        // SAFETY: the descriptor is open for the duration of the call, which takes nothing else.
        if unsafe { libc::syncfs(d.as_raw_fd()) } != 0 {
            return Err(Error::io(dir, "syncing to disk", std::io::Error::last_os_error()));
        }
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        for path in files {
            let f = std::fs::OpenOptions::new().write(true).open(&path).on(&path, "opening")?;
            f.sync_all().on(&path, "syncing to disk")?;
        }
        Ok(())
    }
}

/// All slices in one file: frames first (from [`FRONT`]), directories behind them, or the one directory of an ImageJ
/// stack in front.
struct FileSink {
    part: PartFile,
    pages: Pages,
    meta: crate::VolumeMeta,
    one_ifd: bool,
    /// Strips of every compressed page; plain pages follow from their number.
    strips: Vec<Vec<(u64, u64)>>,
    /// Where the next bytes go.
    end: u64,
    stored: usize,
    next: usize,
}

impl FileSink {
    fn create(path: &Path, pages: Pages, o: &CreateOptions, one_ifd: bool) -> Result<Self> {
        let plain = pages.packing == Packing::None;
        let part =
            if o.resume && plain { PartFile::resume(path, o.overwrite)? } else { PartFile::create(path, o.overwrite)? };
        let mut sink =
            FileSink { part, pages, meta: o.meta.clone(), one_ifd, strips: Vec::new(), end: FRONT, stored: 0, next: 0 };
        // The unfinished file says what it is meant to become, so that only its like is resumed.
        let mark = sink.mark();
        let mut found = vec![0u8; FRONT as usize];
        let len = sink.part.len()?;
        let file = sink.part.file()?;
        if len >= FRONT && crate::io::read_at(file, &mut found, 0).is_ok_and(|n| n == found.len()) && found == mark {
            let whole = ((len - FRONT) / pages.page_bytes() as u64).min(pages.shape.frames as u64) as usize;
            sink.stored = whole.saturating_sub(1); // the last one may have been cut by a power failure
            sink.next = sink.stored;
            sink.end = FRONT + sink.stored as u64 * pages.page_bytes() as u64;
        } else {
            sink.part.set_len(0)?;
            sink.part.write_at(&mark, 0)?;
        }
        Ok(sink)
    }

    /// First bytes of the unfinished file: not a TIFF yet.
    fn mark(&self) -> Vec<u8> {
        let p = &self.pages;
        let kind = if self.one_ifd { "imagej" } else { "pages" };
        let mut m = format!("unfinished TIFF {kind} {} {} big={} {:?}\n", p.shape, p.dtype.name(), p.big, p.packing)
            .into_bytes();
        m.resize(FRONT as usize, 0);
        m
    }

    fn page_strips(&self, i: usize) -> Vec<(u64, u64)> {
        let bytes = self.pages.page_bytes() as u64;
        self.strips.get(i).cloned().unwrap_or_else(|| vec![(FRONT + i as u64 * bytes, bytes)])
    }

    /// The directories of all pages, written behind the frames; returns where the first lies.
    fn write_directories(&mut self, text: &str) -> Result<u64> {
        let first = self.end.next_multiple_of(8);
        let (mut at, mut buf) = (first, Vec::new());
        for i in 0..self.pages.shape.frames {
            let text = if i == 0 { text } else { "" };
            let last = i + 1 == self.pages.shape.frames;
            let ifd =
                self.pages.directory(at + buf.len() as u64, &self.page_strips(i), text, self.meta.voxel_um, !last)?;
            buf.extend(ifd);
            if buf.len() > 1 << 20 || last {
                self.part.write_at(&buf, at)?;
                at += buf.len() as u64;
                buf.clear();
            }
        }
        self.end = at;
        Ok(first)
    }
}

impl SliceSink for FileSink {
    fn stored(&self) -> usize {
        self.stored
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let n = slices_of(&self.pages, self.next, first, slices)?;
        if self.pages.packing == Packing::None {
            self.part.write_at(slices, self.end)?;
            self.end += slices.len() as u64;
        } else {
            for page in pack_all(&self.pages, slices)? {
                let mut strips = Vec::with_capacity(page.len());
                for strip in &page {
                    strips.push((self.end, strip.len() as u64));
                    self.part.write_at(strip, self.end)?;
                    self.end += strip.len() as u64;
                }
                self.strips.push(strips);
            }
        }
        self.next += n;
        Ok(())
    }

    fn keep_partial(&mut self) {
        if self.pages.packing == Packing::None {
            self.part.keep();
        }
    }

    fn finish(mut self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        incomplete(&self.pages, self.next, self.part.target())?;
        let record = Record {
            run: (self.pages.packing == Packing::None).then_some(self.pages.shape.frames),
            meta: &self.meta.clone(),
            range: stats.map(|s| (s.min, s.max)).filter(|(a, b)| a.is_finite() && b.is_finite()),
            imagej: !self.pages.big,
        };
        let text = describe::write(&record);
        let mut front = vec![0u8; FRONT as usize];
        if self.one_ifd {
            let at = self.pages.header_len();
            let ifd = self.pages.directory(at, &self.page_strips(0), &text, self.meta.voxel_um, false)?;
            let head = [self.pages.header(at), ifd].concat();
            if head.len() > front.len() {
                return Err(Error::caller("the description is too long for an ImageJ stack")
                    .path(self.part.target())
                    .expected("about 3500 bytes")
                    .found(text.len()));
            }
            front[..head.len()].copy_from_slice(&head);
        } else {
            let head = self.write_directories(&text)?;
            let head = self.pages.header(head);
            front[..head.len()].copy_from_slice(&head);
        }
        // A resumed file may be longer than what was written now.
        self.part.set_len(self.end)?;
        self.part.write_at(&front, 0)?;
        Ok(vec![self.part.commit()?])
    }
}
