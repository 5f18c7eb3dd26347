//! The grey pages of one file as a stack: a run of plain frames (ImageJ), plain pages, or strips and tiles to decode.
//!
//! Guarantees: a box costs the rows it touches where bytes are plain, else the strips or tiles it touches; strips of
//! different frames are decoded in parallel. Every frame of a plain run is known to lie within the file.

use super::describe::Description;
use super::file::File;
use super::page::{Directory, plural};
use crate::io::{NOT_READ, ReadAt};
use crate::mmap::Map;
use crate::source::{Access, FrameSource};
use crate::{About, ByteOrder, DType, Error, Region, Result, Shape, Warnings};
use rayon::prelude::*;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the frames lie.
enum Layout {
    /// One after the other as plain bytes from this offset.
    Run(u64),
    /// Each page by itself; plain ones with the offset of their run.
    Pages(Vec<(Directory, Option<u64>)>),
}

/// Stack of grey frames in one TIFF file.
pub(super) struct Stack {
    file: Arc<ReadAt>,
    order: ByteOrder,
    shape: Shape,
    dtype: DType,
    layout: Layout,
    access: Access,
    map: Option<Map>,
}

impl Stack {
    /// Takes the pages equal to the first (size, type); oddities go to `warnings`.
    pub(super) fn open(mut file: File, about: &Description, map: bool, warnings: &mut Warnings) -> Result<Stack> {
        let (at, order) = (file.at.clone(), file.order());
        if let Some(e) = file.take_broken() {
            let n = file.pages().len();
            return Err(
                e.hint(format!("the file is damaged or truncated; its first {n} page{} can be found", plural(n)))
            );
        }
        if let Some((page, tag)) = file.cut() {
            let text = format!("truncated: the values of tag {tag} of page {page} reach beyond the end of the file");
            warnings.add(About::Damaged, text);
        }
        let total = file.pages().len();
        let mut pages = file.into_pages();
        let key = |p: &Directory| (p.rows, p.cols, p.samples, p.bits, p.format, p.subfile & 1);
        let Some(first) = pages.first().cloned() else {
            return Err(Error::file(at.path(), "a TIFF file without pages"));
        };
        if let Some(why) = first.not_grey() {
            return Err(Error::unsupported(at.path(), format!("a grey image is needed, this page is {why}"))
                .at(first.at)
                .hint("convert it to greyscale with the program that wrote it"));
        }
        let dtype = first.check(&at)?;
        if let Some(odd) = pages.iter().find(|p| key(p) != key(&first)) {
            let text = format!(
                "{} of {total} pages differ from the first ({} × {}, {} bits), for example one of {} × {}, {} bits, and are left out: their {NOT_READ}",
                pages.iter().filter(|p| key(p) != key(&first)).count(),
                first.rows,
                first.cols,
                first.bits,
                odd.rows,
                odd.cols,
                odd.bits
            );
            warnings.add(About::Unlike, text);
        }
        pages.retain(|p| key(p) == key(&first));
        let beneath = pages.iter().fold(0u64, |n, p| n.saturating_add(p.sub_ifds));
        if beneath > 0 {
            let with = pages.iter().filter(|p| p.sub_ifds > 0).count();
            let text = format!(
                "{beneath} further images (SubIFDs) hang on {with} of {} pages and are left out: their {NOT_READ}",
                pages.len()
            );
            warnings.add(About::NotRead, text);
        }
        if let Some(p) = pages.iter().find(|p| p.not_grey().is_some()) {
            return Err(Error::unsupported(at.path(), "grey and colour pages in one stack").at(p.at));
        }
        for p in &pages {
            p.check(&at)?;
        }
        let one = Shape::new(1, first.rows, first.cols);
        let frame_bytes = one
            .len()?
            .checked_mul(dtype.size() as u64)
            .ok_or_else(|| Error::limit("a page beyond any real size").path(at.path()))?;
        let mut plain = Vec::with_capacity(pages.len());
        for p in &pages {
            let run = p.contiguous(&at, order)?;
            if let Some(start) = run
                && start.checked_add(frame_bytes).is_none_or(|end| end > at.len())
            {
                return Err(Error::file(at.path(), format!("page {} is not whole", plain.len()))
                    .at(start)
                    .expected(format!("{frame_bytes} bytes"))
                    .found(format!("{} bytes", at.len().saturating_sub(start)))
                    .hint("the file is truncated: copy it again or ask for the original"));
            }
            if run.is_none() {
                p.check_room(&at, order)?;
            }
            plain.push(run);
        }
        let mut frames = pages.len();
        let mut run = plain[0]
            .filter(|start| plain.iter().enumerate().all(|(i, p)| *p == start.checked_add(i as u64 * frame_bytes)));
        if let Some(n) = about.images.filter(|n| *n > frames as u64) {
            match run {
                Some(start) => match run_of(&at, first.at, start, frame_bytes, n)? {
                    Some(n) => frames = n,
                    None => warnings.push(format!("the description speaks of {n} images, the file holds one")),
                },
                None => {
                    run = None;
                    warnings.push(format!("the description speaks of {n} images, the file holds {frames} pages"));
                }
            }
        }
        if let [c, z, t] = about.hyper.map(|n| n.unwrap_or(1))
            && [c, z, t].iter().filter(|n| **n > 1).count() > 1
        {
            warnings.push(format!(
                "a hyperstack of {c} channels × {z} slices × {t} times: planes follow each other as stored"
            ));
        }
        if first.stk_planes > 1 {
            let text = format!(
                "a MetaMorph stack of {} planes: only the first is read; the others' {NOT_READ}",
                first.stk_planes
            );
            warnings.add(About::NotRead, text);
        }
        if first.orientation > 1 && first.orientation <= 8 {
            warnings
                .push(format!("the orientation tag ({}) is not applied: rows are read as stored", first.orientation));
        }
        let shape = Shape { frames, ..one };
        shape.len().map_err(|e| e.or_path(at.path()))?;
        let access = match plain.iter().position(Option::is_none) {
            None => Access::PLAIN,
            Some(i) => access_of(&pages[i]),
        };
        let layout = match run {
            Some(start) => Layout::Run(start),
            None => Layout::Pages(pages.into_iter().zip(plain).collect()),
        };
        let map = if map && access == Access::PLAIN { Map::open_local(&at) } else { None };
        Ok(Stack { file: at, order, shape, dtype, layout, access, map })
    }

    /// Offset of a plain frame.
    fn plain_at(&self, frame: usize) -> Option<u64> {
        match &self.layout {
            Layout::Run(start) => Some(start + frame as u64 * self.frame_bytes()),
            Layout::Pages(pages) => pages.get(frame)?.1,
        }
    }

    fn frame_bytes(&self) -> u64 {
        (self.shape.frame_len() * self.dtype.size()) as u64
    }

    /// Reads a box of one plain frame lying at `at`.
    fn read_plain(&self, at: u64, rows: &Range<usize>, cols: &Range<usize>, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        let (pitch, width) = (self.shape.cols * size, cols.len() * size);
        let start = at + (rows.start * pitch + cols.start * size) as u64;
        if width == pitch {
            self.file.read_exact_at(out, start)?;
        } else if width * 4 >= pitch {
            // One call for all rows costs less than the bytes it reads too many.
            let mut band = vec![0u8; (rows.len() - 1) * pitch + width];
            self.file.read_exact_at(&mut band, start)?;
            for (to, from) in out.chunks_exact_mut(width).zip(band.chunks(pitch)) {
                to.copy_from_slice(&from[..width]);
            }
        } else {
            for (r, to) in out.chunks_exact_mut(width).enumerate() {
                self.file.read_exact_at(to, start + (r * pitch) as u64)?;
            }
        }
        self.order.to_native(out, size);
        Ok(())
    }

    /// Reads a band of rows within one grid row of strips or tiles.
    fn read_band(&self, page: &Directory, rows: &Range<usize>, cols: &Range<usize>, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        let down = rows.start / page.chunk_rows;
        let within = rows.start - down * page.chunk_rows..rows.end - down * page.chunk_rows;
        let across = page.grid()[0];
        let touched = cols.start / page.chunk_cols..cols.end.div_ceil(page.chunk_cols);
        let table = page.chunks(&self.file, self.order, down * across + touched.start..down * across + touched.end)?;
        for (k, chunk) in touched.zip(table) {
            let left = k * page.chunk_cols;
            let (from, to) = (cols.start.max(left), cols.end.min(left + page.chunk_cols));
            let (bytes, skip) = if page.is_plain() {
                (page.read_plain(&self.file, self.order, chunk, within.clone())?, 0)
            } else {
                (page.decode_chunk(&self.file, self.order, chunk, down)?, within.start)
            };
            let pitch = page.chunk_cols * size;
            let rows_in = bytes.chunks_exact(pitch).skip(skip);
            for (dst, src) in out.chunks_exact_mut(cols.len() * size).zip(rows_in) {
                dst[(from - cols.start) * size..(to - cols.start) * size]
                    .copy_from_slice(&src[(from - left) * size..(to - left) * size]);
            }
        }
        Ok(())
    }
}

/// Number of frames of a run announced by a description: `n` where they are all there, `None` where the text was
/// plainly copied from elsewhere (one frame, and nothing behind it but perhaps the directory at `ifd`).
fn run_of(file: &ReadAt, ifd: u64, start: u64, frame: u64, n: u64) -> Result<Option<usize>> {
    let there = (file.len() - start) / frame;
    if n <= there {
        return Ok(Some(n as usize));
    }
    let behind = file.len() - start - frame;
    if there == 1 && (ifd >= start + frame || behind < 16) {
        return Ok(None);
    }
    Err(Error::file(file.path(), "the file ends before the last image its description announces")
        .at(start)
        .expected(format!("{n} images of {frame} bytes"))
        .found(format!("{there} whole images"))
        .hint("the file is truncated: copy it again or ask for the original"))
}

/// What a box costs where pages are not one plain run.
fn access_of(page: &Directory) -> Access {
    let cols = page.chunk_cols.min(page.cols);
    let unit = match (page.is_plain(), page.tiled) {
        (true, true) => Shape::new(1, 1, cols),
        (true, false) => Shape::new(1, 1, 1),
        (false, _) => Shape::new(1, page.chunk_rows.min(page.rows), cols),
    };
    Access { unit, decoded: !page.is_plain(), parallel: true }
}

impl FrameSource for Stack {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn access(&self) -> Access {
        self.access
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape, self.dtype.size(), out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let (rows, cols) = (&region.rows, &region.cols);
        if let Layout::Run(_) = self.layout
            && rows.len() == self.shape.rows
            && cols.len() == self.shape.cols
            && let Some(at) = self.plain_at(region.frames.start)
        {
            self.file.read_exact_at(out, at)?;
            self.order.to_native(out, self.dtype.size());
            return Ok(());
        }
        // Jobs own disjoint pieces of `out`: whole frames where plain, else one grid row of strips or tiles each.
        let row_bytes = cols.len() * self.dtype.size();
        let (mut rest, mut jobs) = (out, Vec::new());
        for f in region.frames.clone() {
            let plain = self.plain_at(f);
            let step = match (&self.layout, plain) {
                (Layout::Pages(p), None) => p[f].0.chunk_rows,
                _ => self.shape.rows,
            };
            let mut row = rows.start;
            while row < rows.end {
                let end = ((row / step + 1) * step).min(rows.end);
                let (piece, tail) = std::mem::take(&mut rest).split_at_mut((end - row) * row_bytes);
                rest = tail;
                jobs.push((f, plain, row..end, piece));
                row = end;
            }
        }
        let run = |(f, plain, rows, piece): (usize, Option<u64>, Range<usize>, &mut [u8])| match (&self.layout, plain) {
            (_, Some(at)) => self.read_plain(at, &rows, cols, piece),
            (Layout::Pages(p), None) => self.read_band(&p[f].0, &rows, cols, piece),
            (Layout::Run(_), None) => Err(Error::caller(format!("there is no frame {f}")).path(self.file.path())),
        };
        if self.access.decoded && jobs.len() > 1 {
            jobs.into_par_iter().try_for_each(run)
        } else {
            jobs.into_iter().try_for_each(run)
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.path().to_owned()]
    }

    fn mapped(&self, frames: Range<usize>) -> Option<&[u8]> {
        let map = self.map.as_ref()?;
        let size = self.dtype.size();
        if frames.is_empty() || frames.end > self.shape.frames || (self.order != ByteOrder::NATIVE && size > 1) {
            return None;
        }
        let start = self.plain_at(frames.start)?;
        let bytes = self.frame_bytes();
        let in_line = |(i, f): (usize, usize)| self.plain_at(f) == start.checked_add(i as u64 * bytes);
        if !matches!(self.layout, Layout::Run(_)) && !frames.clone().enumerate().all(in_line) {
            return None;
        }
        let end = start.checked_add(bytes.checked_mul(frames.len() as u64)?)?;
        (start.is_multiple_of(size as u64)).then(|| map.bytes().get(start as usize..end as usize)).flatten()
    }

    fn release(&self, frames: Range<usize>) {
        // Frames of a page layout need not be in line: each gives back its own run.
        if let Some(map) = &self.map {
            for f in frames {
                if let Some(at) = self.plain_at(f) {
                    let at = at as usize;
                    map.release(at..at.saturating_add(self.frame_bytes() as usize));
                }
            }
        }
    }
}
