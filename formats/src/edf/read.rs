//! Walks the blocks of one EDF file and reads pixels out of them.
//!
//! Guarantees: every frame found is listed with what is wrong with it; a frame that is cut short is an error when read,
//! never padded; memory does not grow with the data. Leaves to others: one stack out of the frames ([`super::stack`]).

use super::header::{self, External, Header, Layout, Refusal};
use super::store::Store;
use crate::io::NOT_READ;
use crate::source::copy_box;
use crate::{About, ByteOrder, DType, Error, Fault, Region, Result, Shape, Warning, Warnings};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Blanks allowed before a header's brace.
const MAX_BLANKS: usize = 64 << 10;

/// Frames listed of one file; more is no detector's work.
const MAX_FRAMES: usize = 10_000_000;

/// One image (or 3-D block) of a file: its place and nature.
#[derive(Clone, Debug)]
pub struct Frame {
    /// First byte of its header.
    pub header_at: u64,
    /// Length of its header, braces and line end included.
    pub header_len: u64,
    /// Dimensions, slowest first: `[rows, cols]` or `[…, rows, cols]`.
    pub dims: Vec<usize>,
    /// Type of the values.
    pub dtype: DType,
    /// Byte order in the file.
    pub order: ByteOrder,
    /// First byte of the data in [`Self::store`].
    data_at: u64,
    /// Bytes the dimensions call for.
    pub bytes: u64,
    /// Bytes that are there.
    pub available: u64,
    store: usize,
    defect: Option<(Fault, String)>,
}

impl Frame {
    /// Rows and columns of one image.
    pub fn image(&self) -> (usize, usize) {
        match self.dims[..] {
            [.., r, c] => (r, c),
            _ => (0, 0),
        }
    }

    /// Images in this block: 1, or the product of the third and further dimensions.
    pub fn slices(&self) -> usize {
        self.dims[..self.dims.len() - 2].iter().product()
    }

    /// Bytes of one image.
    pub fn slice_bytes(&self) -> u64 {
        let (r, c) = self.image();
        r as u64 * c as u64 * self.dtype.size() as u64
    }

    /// True where every byte is there and the header is understood.
    pub fn is_whole(&self) -> bool {
        self.defect.is_none() && self.available >= self.bytes
    }
}

/// An opened EDF file. Cheap for plain files: headers are read, pixels are not.
pub struct File {
    path: PathBuf,
    stores: Vec<Store>,
    frames: Vec<Frame>,
    general: Option<Header>,
    first: Header,
    warnings: Warnings,
}

/// A header found in a file.
struct Block {
    header: Header,
    at: u64,
    data_at: u64,
}

/// What stands at an offset where a header may begin.
enum Next {
    Block(Block),
    /// Only blanks and NULs up to the end, or nothing at all.
    End(u64),
    /// A header that begins and does not end before the file does; why.
    Cut(String),
    /// Something else; why.
    Other(String),
}

impl File {
    /// Opens a file (plain, `.gz` or `.bz2`) and lists its frames.
    ///
    /// # Errors
    /// Where the first header is missing, endless or not understood.
    pub fn open(path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let mut file = File {
            path: path.to_owned(),
            stores: vec![Store::open(path)?],
            frames: Vec::new(),
            general: None,
            first: Header::default(),
            warnings: Warnings::default(),
        };
        let mut outside: HashMap<String, Result<usize, String>> = HashMap::new();
        let mut at = 0u64;
        loop {
            let n = file.frames.len();
            if n >= MAX_FRAMES {
                return Err(Error::limit(format!("more than {MAX_FRAMES} frames in one file")).path(path).at(at));
            }
            let block = match next_block(&mut file.stores[0], path, at)? {
                Next::Block(b) => b,
                Next::End(_) if n == 0 => {
                    return Err(Error::file(path, "there is no image in this file")
                        .expected("an EDF header beginning with '{'")
                        .found(if file.general.is_some() { "a general block only" } else { "nothing" }));
                }
                Next::Other(why) | Next::Cut(why) if n == 0 => {
                    let mut e = Error::file(path, format!("not an EDF file of the ESRF kind: {why}")).at(at);
                    if why.contains("end of the header") {
                        e = e.hint("the file is truncated or no EDF file: copy it again or ask for the original");
                    }
                    return Err(e);
                }
                Next::End(blanks) => {
                    if blanks > 0 {
                        file.warnings.push(file.blank_end(blanks));
                    }
                    break;
                }
                Next::Cut(why) => {
                    file.lost(at, why);
                    break;
                }
                Next::Other(why) => {
                    let text = format!("bytes after frame {} are ignored, from byte {at} ({why}): {NOT_READ}", n - 1);
                    file.warnings.add(About::Trailing, text);
                    break;
                }
            };
            at = match file.take(block, &mut outside)? {
                Some(next) => next,
                None => break,
            };
        }
        if let Some(cut) = file.cut().map(str::to_owned) {
            file.warnings.add(About::Damaged, cut);
        }
        Ok(file)
    }

    /// Blanks after the last frame are padding, unless they are as long as an image: NULs may be one that is black.
    fn blank_end(&self, blanks: u64) -> Warning {
        match self.frames.last().map(Frame::slice_bytes) {
            Some(image) if image > 0 && blanks >= image => {
                let text =
                    format!("{blanks} blank bytes after the last frame, as long as an image: {blanks} {NOT_READ}");
                Warning::new(About::Trailing, text)
            }
            _ => format!("{blanks} blank bytes after the last frame: ignored").into(),
        }
    }

    /// Records one block; answers where the next one should begin, or `None` where the walk must stop.
    fn take(&mut self, block: Block, outside: &mut HashMap<String, Result<usize, String>>) -> Result<Option<u64>> {
        let n = self.frames.len();
        let path = self.path.clone();
        let mut notes = Warnings::default();
        if n == 0 && self.general.is_none() && block.header.get("EDF_DataFormatVersion").is_some() {
            let skip = header::declared_bytes(&block.header, &mut notes).unwrap_or(0);
            let next = block.data_at.saturating_add(skip);
            // A lone block with a version and dimensions but nothing after it is an image after all.
            let lone = block.header.get("Dim_1").is_some()
                && !matches!(next_block(&mut self.stores[0], &path, next)?, Next::Block(_));
            if !lone {
                if skip > 0 {
                    let text = format!("the general block has data of its own: its {skip} {NOT_READ}");
                    self.warnings.add(About::NotRead, text);
                }
                self.general = Some(block.header);
                return Ok(Some(next));
            }
        }
        let merged = match &self.general {
            Some(g) => block.header.over(g),
            None => block.header,
        };
        let header_len = block.data_at - block.at;
        if let Some(text) = merged.get("EDF_HeaderSize") {
            match header::integer(text) {
                Some(a) if a == header_len => {}
                Some(a) => notes.push(format!("EDF_HeaderSize = {a}, but the header ends after {header_len} bytes")),
                None => notes.push(format!("EDF_HeaderSize = '{text}' is not a number: ignored")),
            }
        }
        let declared = header::declared_bytes(&merged, &mut Warnings::default());
        let next = match header::layout(&merged, &mut notes) {
            Ok(l) => self.place(l, declared, &block.at, block.data_at, outside, &mut notes)?,
            Err(refusal) => {
                let (fault, why) = match refusal {
                    Refusal::Broken(w) => (Fault::File, w),
                    Refusal::Unsupported(w) => (Fault::Unsupported, w),
                };
                if n == 0 {
                    return Err(Error::new(fault, why).path(&path).at(block.at));
                }
                notes.push(why.clone());
                self.frames.push(Frame {
                    header_at: block.at,
                    header_len,
                    dims: vec![0, 0],
                    dtype: DType::U8,
                    order: ByteOrder::Little,
                    data_at: block.data_at,
                    bytes: 0,
                    available: 0,
                    store: 0,
                    defect: Some((fault, why)),
                });
                declared.map(|d| block.data_at.saturating_add(d))
            }
        };
        if n == 0 {
            self.first = merged;
        }
        self.warnings.extend(notes.into_iter().map(|w| w.of(format!("frame {n}"))));
        Ok(next)
    }

    /// A frame was begun here and cut off within its header: it counts, of the size of the first, and fails when read.
    fn lost(&mut self, at: u64, why: String) {
        let n = self.frames.len();
        let Some(first) = self.frames.first() else { return };
        let (rows, cols) = first.image();
        self.warnings.add(About::Damaged, format!("frame {n}: cannot be read: {why}"));
        self.frames.push(Frame {
            header_at: at,
            header_len: 0,
            dims: vec![rows, cols],
            bytes: first.slice_bytes(),
            data_at: at,
            available: 0,
            store: 0,
            defect: Some((Fault::File, why)),
            ..*first
        });
    }

    /// Finds the data of a frame and where they end.
    fn place(
        &mut self,
        l: Layout,
        declared: Option<u64>,
        header_at: &u64,
        data_at: u64,
        outside: &mut HashMap<String, Result<usize, String>>,
        notes: &mut Warnings,
    ) -> Result<Option<u64>> {
        let mut frame = Frame {
            header_at: *header_at,
            header_len: data_at - *header_at,
            dims: l.dims,
            dtype: l.dtype,
            order: l.order,
            data_at,
            bytes: l.bytes,
            available: 0,
            store: 0,
            defect: None,
        };
        let next;
        if let Some(External { name, position, size }) = l.external {
            // The binary part of this block is normally empty; only what it announces is skipped.
            let own = declared.filter(|d| *d < l.bytes).unwrap_or(0);
            if own > 0 {
                let text = format!("its data are in another file; of those in this one, {own} {NOT_READ}");
                notes.add(About::NotRead, text);
            }
            next = Some(data_at.saturating_add(own));
            let slot = outside.entry(name.clone()).or_insert_with(|| {
                let p = self.path.with_file_name(&name);
                let same = p == self.path;
                match Store::open(&p) {
                    _ if same => Err(format!("EDF_BinaryFileName = '{name}' is the file itself")),
                    Ok(s) => {
                        self.stores.push(s);
                        Ok(self.stores.len() - 1)
                    }
                    Err(e) => Err(format!("the data are in another file that cannot be opened: {e}")),
                }
            });
            match slot {
                Ok(i) => {
                    frame.store = *i;
                    frame.data_at = position;
                    let end = position.saturating_add(l.bytes);
                    let there = self.stores[*i].available(end)?.saturating_sub(position);
                    frame.available = there.min(l.bytes).min(size.unwrap_or(u64::MAX));
                }
                Err(why) => frame.defect = Some((Fault::File, why.clone())),
            }
        } else {
            let end = data_at.saturating_add(l.bytes);
            let there = self.stores[0].available(end)?;
            frame.available = there.saturating_sub(data_at).min(l.bytes);
            next = Some(match declared {
                Some(d) if d != l.bytes => self.settle(&mut frame, d, there, notes)?,
                _ => end,
            });
        }
        if let Some((_, why)) = &frame.defect {
            notes.add(About::Damaged, format!("cannot be read: {why}"));
        } else if frame.available < frame.bytes {
            let whole = frame.available / frame.slice_bytes().max(1);
            let mut text = format!("truncated: {} bytes expected, {} found", frame.bytes, frame.available);
            if frame.slices() > 1 {
                text.push_str(&format!("; {whole} of {} slices are whole", frame.slices()));
            }
            notes.add(About::Damaged, text);
        }
        let cut = frame.available < frame.bytes && frame.store == 0 && frame.defect.is_none();
        self.frames.push(frame);
        // After a frame that runs into the end of the file nothing can follow.
        Ok(next.filter(|n| !cut || self.stores[0].available(n.saturating_add(1)).is_ok_and(|a| a > *n)))
    }

    /// The announced size and the dimensions disagree: believes whichever is followed by a header or the end.
    fn settle(&mut self, frame: &mut Frame, declared: u64, there: u64, notes: &mut Warnings) -> Result<u64> {
        let path = self.path.clone();
        let by_size = frame.data_at.saturating_add(declared);
        let by_dims = frame.data_at.saturating_add(frame.bytes);
        let mut fits = |at: u64| -> Result<bool> {
            Ok(at <= there.max(self.stores[0].available(at)?)
                && matches!(next_block(&mut self.stores[0], &path, at)?, Next::Block(_) | Next::End(0)))
        };
        let follow_size = fits(by_size)?;
        let what = format!("the header announces {declared} bytes, the dimensions call for {}", frame.bytes);
        if declared < frame.bytes && follow_size {
            frame.available = frame.available.min(declared);
            notes.push(format!("{what}: the frame is too short"));
            return Ok(by_size);
        }
        if follow_size && !fits(by_dims)? {
            let left = declared.saturating_sub(frame.bytes);
            notes.add(About::NotRead, format!("{what}: the rest is skipped, {left} {NOT_READ}"));
            return Ok(by_size);
        }
        notes.push(format!("{what}: the dimensions are believed"));
        Ok(by_dims)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files the values lie in: this one and those its headers name (EDF_BinaryFileName).
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.stores.iter().map(Store::path)
    }

    /// All frames, in file order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Header of the first frame, over the general block's defaults.
    pub fn header(&self) -> &Header {
        &self.first
    }

    /// The general block, where the file has one.
    pub fn general(&self) -> Option<&Header> {
        self.general.as_ref()
    }

    /// What was odd, one line each.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Why a compressed file ended before its time, if it did.
    pub fn cut(&self) -> Option<&str> {
        self.stores[0].cut()
    }

    /// True for `.gz` and `.bz2`.
    pub fn is_packed(&self) -> bool {
        self.stores[0].is_packed()
    }

    /// Header of any frame, read again from the file, over the general block's defaults.
    pub fn header_of(&self, frame: usize) -> Result<Header> {
        let f = self.frame(frame)?;
        let mut text = vec![0u8; f.header_len as usize];
        self.stores[0].read_exact_at(&mut text, f.header_at)?;
        let start = text.iter().position(|&b| b == b'{').map_or(0, |i| i + 1);
        let end = header::find_end(&text, start).map_or(text.len(), |e| e.0);
        let own = Header::parse(text.get(start..end).unwrap_or_default());
        Ok(match &self.general {
            Some(g) => own.over(g),
            None => own,
        })
    }

    fn frame(&self, i: usize) -> Result<&Frame> {
        self.frames.get(i).ok_or_else(|| {
            let e = Error::caller(format!("there is no frame {i}")).path(&self.path);
            e.found(format!("{} frames", self.frames.len()))
        })
    }

    /// Reads one whole frame: dimensions (slowest first), type, values in native byte order.
    ///
    /// # Errors
    /// Where the frame is cut short or not understood; nothing is allocated for bytes that are not there.
    pub fn read_frame(&self, i: usize) -> Result<(Vec<usize>, DType, Vec<u8>)> {
        let f = self.frame(i)?;
        self.check(i, f.bytes)?;
        let mut out = vec![0u8; f.bytes as usize];
        self.stores[f.store].read_exact_at(&mut out, f.data_at)?;
        f.order.to_native(&mut out, f.dtype.size());
        Ok((f.dims.clone(), f.dtype, out))
    }

    /// Refuses a frame with a defect or with fewer than `need` bytes.
    fn check(&self, i: usize, need: u64) -> Result<()> {
        let f = self.frame(i)?;
        if let Some((fault, why)) = &f.defect {
            let e = Error::new(*fault, format!("frame {i} cannot be read: {why}")).path(&self.path).at(f.header_at);
            return Err(self.hint(i, e));
        }
        if f.available < need {
            let e = Error::file(&self.path, format!("frame {i} is truncated"))
                .at(f.data_at.saturating_add(f.available))
                .expected(format!("{} bytes of data", f.bytes))
                .found(format!("{} bytes", f.available));
            return Err(self.hint(i, e));
        }
        Ok(())
    }

    /// What to do about a frame that cannot be read.
    fn hint(&self, i: usize, e: Error) -> Error {
        // Slices are frames only as long as no block holds several.
        if i > 0 && i + 1 == self.frames.len() && self.frames.iter().all(|f| f.slices() == 1) {
            return e.hint(format!("the file was cut off: copy it again, or take what is whole with --slices 0:{i}"));
        }
        e.hint("the file was cut off (full disk, broken copy): copy it again or leave this frame out")
    }

    /// Reads a box of one image of frame `i` into `out`, native byte order.
    pub fn read_box(
        &self,
        i: usize,
        slice: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [u8],
    ) -> Result<()> {
        let f = self.frame(i)?;
        // The whole image must be there, even for a band that would be: half a projection is no projection.
        let size = f.dtype.size();
        let base = (slice as u64).saturating_mul(f.slice_bytes());
        self.check(i, base.saturating_add(f.slice_bytes()))?;
        let (all_rows, all_cols) = f.image();
        let region = Region { frames: 0..1, rows: rows.clone(), cols: cols.clone() };
        region.check(Shape::new(1, all_rows, all_cols), size, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let store = &self.stores[f.store];
        let at = |r: usize, c: usize| f.data_at + base + ((r * all_cols + c) * size) as u64;
        if cols.len() == all_cols {
            store.read_exact_at(out, at(rows.start, 0))?;
        } else if (all_cols - cols.len()) * size > 4096 {
            for (k, line) in out.chunks_exact_mut(cols.len() * size).enumerate() {
                store.read_exact_at(line, at(rows.start + k, cols.start))?;
            }
        } else {
            // Narrow gaps: fewer, larger reads are faster than one per row.
            let step = ((256 << 10) / (all_cols * size)).max(1);
            let mut scratch = Vec::new();
            let mut r = rows.start;
            for part in out.chunks_mut(step * cols.len() * size) {
                let n = part.len() / (cols.len() * size);
                scratch.resize(n * all_cols * size, 0);
                store.read_exact_at(&mut scratch, at(r, 0))?;
                let have = Region { frames: 0..1, rows: r..r + n, cols: 0..all_cols };
                let want = Region { frames: 0..1, rows: r..r + n, cols: cols.clone() };
                copy_box(&scratch, &have, &want, size, part);
                r += n;
            }
        }
        f.order.to_native(out, size);
        Ok(())
    }
}

/// Looks for a header at `at`, blanks before it allowed.
fn next_block(store: &mut Store, path: &Path, at: u64) -> Result<Next> {
    let mut limit = header::MAX_HEADER;
    let mut text: Vec<u8> = Vec::new();
    let mut start = None; // of the text after the brace
    let mut searched = 0;
    loop {
        let from = at.saturating_add(text.len() as u64);
        let have = store.available(from.saturating_add(4096))?.saturating_sub(from).min(4096) as usize;
        let old = text.len();
        text.resize(old + have, 0);
        store.read_exact_at(&mut text[old..], from).map_err(|e| e.or_path(path))?;
        if start.is_none() {
            match text.iter().position(|b| !(b.is_ascii_whitespace() || *b == 0)) {
                Some(i) if text[i] == b'{' => {
                    start = Some(i + 1);
                    searched = i + 1;
                }
                Some(i) => {
                    return Ok(Next::Other(format!("no '{{' but byte 0x{:02x} at byte {}", text[i], at + i as u64)));
                }
                None if have == 0 => return Ok(Next::End(text.len() as u64)),
                None if text.len() > MAX_BLANKS => return Ok(Next::Other("no '{' among many blanks".into())),
                None => continue,
            }
        }
        let Some(begin) = start else {
            continue;
        };
        if let Some((brace, data)) = header::find_end(&text, searched) {
            let header = Header::parse(&text[begin..brace]);
            return Ok(Next::Block(Block { header, at, data_at: at + data as u64 }));
        }
        searched = text.len().saturating_sub(2).max(begin);
        if limit == header::MAX_HEADER
            && let Some(n) = Header::parse(&text[begin..]).announced_len()
        {
            limit = limit.max((n as usize).min(header::MAX_ANNOUNCED)) + 1;
        }
        if have == 0 {
            return Ok(Next::Cut("the file stops before the end of the header ('}' and a line end)".into()));
        }
        if text.len() > limit {
            return Ok(Next::Other(format!("no end of the header ('}}' and a line end) within {limit} bytes")));
        }
    }
}
