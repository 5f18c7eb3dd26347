//! Zero blocks: exact zeros where there should be values. The legitimate zeros around the field are known from
//! [`Normal`]; what is found here was lost, by a disk, a copy or a card that did not finish.
//!
//! Two rules. In volumes where zeros do not occur inside the field (floats with noise), any cell of zeros there counts.
//! Where zero is a value (integers, clipped floats), cells count that had no zero in the slice before, are all zero
//! for some slices, and have no zero in the slice after: many at once, so that no grain or pore looks like it. At the
//! first and the last slice there is none before or after: there they count where zeros inside the field are rare.

use super::kernel::{Bits, CELL, Frame, Look};
use super::normal::Normal;
use super::zero_shape::{is_piece, is_straight};
use super::{Finding, Kind, Weight};
use std::collections::BTreeMap;
use std::ops::Range;
use tomokit_formats::{FrameSource, Region, Result};

/// Bytes of zeros inside the field that make a finding by the first rule: the smallest sector of a disk.
const SECTOR: usize = 512;
/// The same by the second rule, in one stroke.
pub(super) const MANY: usize = 32;
/// What a slice beside the sample holds, of what others do, where air is zero but for a speck here and there.
const EMPTY: f64 = 0.02;
/// Strokes whose shape is looked at.
const AGAIN: usize = 256;
/// At an end, what is not one rectangle or one piece of the file is a loss only where it is less than this of the field.
const SMALL: usize = 8;

/// Lost cells of one slice, or of one stroke of slices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lost {
    pub(super) cells: usize,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) columns: Range<usize>,
    /// All cells of the field between the first and the last are lost: a piece of the file, not a tile.
    whole: bool,
}

impl Lost {
    fn of(cells: &Bits, field: &Bits, frame: &Frame) -> Option<Lost> {
        let per_row = frame.cells_per_row();
        let (mut n, mut first, mut last) = (0, None, 0);
        let (mut left, mut right) = (usize::MAX, 0);
        for (w, word) in cells.words().iter().enumerate() {
            let mut bits = *word;
            while bits != 0 {
                let c = w * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                n += 1;
                first.get_or_insert(c);
                last = c;
                left = left.min(c % per_row);
                right = right.max(c % per_row + 1);
            }
        }
        let first = first?;
        let between = (first..=last).filter(|c| field.has(*c)).count();
        Some(Lost {
            cells: n,
            first,
            last,
            columns: left * CELL..(right * CELL).min(frame.cols),
            whole: n * 100 >= between * 95,
        })
    }

    fn join(&mut self, c: usize, frame: &Frame) {
        let x = c % frame.cells_per_row() * CELL;
        self.cells += 1;
        self.first = self.first.min(c);
        self.last = self.last.max(c);
        self.columns = self.columns.start.min(x)..self.columns.end.max((x + CELL).min(frame.cols));
    }

    pub(super) fn rows(&self, frame: &Frame) -> Range<usize> {
        self.first / frame.cells_per_row()..self.last / frame.cells_per_row() + 1
    }
}

/// Cells that a lost sector fills at least: it may begin and end within one, of a row each.
fn few(frame: &Frame) -> usize {
    (SECTOR / frame.dtype.size() / CELL).saturating_sub(2).max(2)
}

/// Follows the cells from slice to slice.
pub struct Tracker<'a> {
    frame: &'a Frame,
    normal: &'a Normal,
    /// First rule: slice and what it lost.
    lost: Vec<(usize, Lost)>,
    /// Slices that are wholly zero.
    zero: Vec<usize>,
    /// … and that hold next to nothing.
    empty: Vec<usize>,
    /// Second rule: solid in the last slice that was not wholly zero.
    solid: Bits,
    active: Bits,
    since: Vec<u32>,
    strokes: BTreeMap<(u32, u32), Lost>,
    before: Option<u32>,
    /// Second rule: zero from the first slice on; where most of these ended at once, with them; and how many ended.
    opening: Option<Bits>,
    opened: Option<(u32, Bits)>,
    ended: usize,
}

impl<'a> Tracker<'a> {
    pub fn new(frame: &'a Frame, normal: &'a Normal) -> Self {
        let cells = if normal.strict || normal.flat { 0 } else { frame.cells() };
        Tracker {
            frame,
            normal,
            lost: Vec::new(),
            zero: Vec::new(),
            empty: Vec::new(),
            solid: Bits::new(cells),
            active: Bits::new(cells),
            since: vec![0; cells],
            strokes: BTreeMap::new(),
            before: None,
            opening: None,
            opened: None,
            ended: 0,
        }
    }

    /// Takes slices in order. True where the slice lost something by the first rule, or holds next to nothing.
    pub fn add(&mut self, z: usize, l: &Look) -> bool {
        if l.all_zero() {
            self.zero.push(z);
            return true;
        }
        let empty = (l.voxels - l.zeros) as f64 <= EMPTY * self.normal.filled * l.voxels as f64;
        if empty {
            self.empty.push(z);
        }
        if self.normal.strict {
            let mut gone = l.zero_cells.clone();
            gone.words_mut().iter_mut().zip(self.normal.solid.words()).for_each(|(g, s)| *g &= s);
            if gone.count() >= few(self.frame)
                && let Some(lost) = Lost::of(&gone, &self.normal.solid, self.frame)
            {
                self.lost.push((z, lost));
                return true;
            }
        } else if !self.normal.flat {
            self.follow(z as u32, l);
            if self.normal.rare {
                self.follow_opening(z as u32, l);
            }
        }
        empty
    }

    /// Cells that are zero from the first slice on, until many have values in the same slice.
    fn follow_opening(&mut self, z: u32, l: &Look) {
        let Some(opening) = &mut self.opening else {
            self.opening = Some(l.zero_cells.within(&self.normal.solid));
            return;
        };
        let ended = opening.within(&l.solid_cells);
        *opening = opening.within(&l.zero_cells);
        self.ended += ended.count();
        if self.opened.as_ref().is_none_or(|(_, most)| ended.count() > most.count()) {
            self.opened = Some((z, ended));
        }
    }

    fn follow(&mut self, z: u32, l: &Look) {
        let Tracker { frame, solid, active, since, strokes, before, .. } = self;
        for w in 0..solid.words().len() {
            let (zero, full) = (l.zero_cells.words()[w], l.solid_cells.words()[w]);
            let begun = match before {
                Some(b) => {
                    let begun = zero & solid.words()[w] & !active.words()[w];
                    each_bit(begun, w, |c| since[c] = *b);
                    begun
                }
                None => 0,
            };
            let going = active.words()[w] | begun;
            each_bit(going & full, w, |c| {
                #[allow(clippy::reversed_empty_ranges)] // no column yet: the first one joined sets both ends
                let new = || Lost { cells: 0, first: c, last: c, columns: usize::MAX..0, whole: false };
                strokes.entry((since[c], z)).or_insert_with(new).join(c, frame);
            });
            active.words_mut()[w] = going & zero;
            solid.words_mut()[w] = full;
        }
        *before = Some(z);
        // Strokes that stayed small are forgotten once they cannot grow any more.
        if strokes.len() > 10_000 {
            strokes.retain(|k, s| k.1 == z || s.cells >= MANY);
        }
    }

    /// The findings; reads the borders of blocks again to place them to the byte. Returns them with the slices concerned.
    pub fn findings(&self, source: &dyn FrameSource, looked_at: &[usize]) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        let slices = source.shape().frames;
        let spread = looked_at.len() < slices;
        if self.zero.len() == looked_at.len() && !looked_at.is_empty() {
            let what = if slices == 1 { "every value is zero" } else { "every voxel looked at is zero" };
            return Ok(vec![Finding::new(Kind::ZeroVolume, Weight::Broken, what).at(0..slices)]);
        }
        for group in self.groups(spread, &self.at_the_ends(source, looked_at)?) {
            out.push(self.describe(&group, source, looked_at)?);
        }
        // Each is looked at again: of a foam the largest are enough.
        let mut strokes: Vec<_> = self.strokes.iter().filter(|(_, s)| s.cells >= MANY).collect();
        strokes.sort_by_key(|(_, s)| std::cmp::Reverse(s.cells));
        strokes.truncate(AGAIN);
        for ((since, until), lost) in strokes {
            let (a, b) = (*since as usize + 1, *until as usize);
            let here = looked_at[(looked_at.partition_point(|z| *z < a) + looked_at.partition_point(|z| *z < b)) / 2];
            if !is_straight(source, self.frame, lost, here, a - 1)? {
                continue;
            }
            let r = lost.rows(self.frame);
            let text = format!(
                "zero block: {} zero between {} that are not: rows {}-{}, columns {}-{} ({} voxels at least)",
                slices_are(&(a..b)),
                if b - a == 1 { "slices" } else { "neighbours" },
                r.start,
                r.end - 1,
                lost.columns.start,
                lost.columns.end - 1,
                lost.cells * CELL * (b - a)
            );
            out.push(Finding::new(Kind::ZeroBlock, Weight::Broken, text).at(a..b));
        }
        Ok(out)
    }

    /// Second rule, at the ends: what is zero in the first slices, or in the last ones, of all that is zero there most since
    /// the same slice. A sample that tapers off is so little by little.
    fn at_the_ends(&self, source: &dyn FrameSource, looked_at: &[usize]) -> Result<Vec<(usize, Lost)>> {
        if !self.normal.rare {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        let mut add = |cells: &Bits, all: usize, whole: usize, slices: &dyn Fn(usize) -> bool| -> Result<()> {
            let n = cells.count();
            if n >= MANY
                && 2 * n >= all
                && let Some(lost) = Lost::of(cells, &self.normal.solid, self.frame)
            {
                // Beside the others a slice may have been cut, farther off it is air.
                let air = |z: usize| self.empty.binary_search(&z).is_ok() && z.abs_diff(whole) > 1;
                let concerned =
                    || looked_at.iter().copied().filter(|z| slices(*z) && !self.zero.contains(z) && !air(*z));
                let few = n * SMALL < self.normal.solid.count();
                let mut is_lost = true;
                // Where a sample ends flat, a speck in its air shows it, in one slice or another.
                for z in concerned().step_by(concerned().count().div_ceil(64).max(1)) {
                    is_lost &= is_piece(source, self.frame, &lost, z)?
                        || few && is_straight(source, self.frame, &lost, z, whole)?;
                }
                if is_lost {
                    out.extend(concerned().map(|z| (z, lost.clone())));
                }
            }
            Ok(())
        };
        if let Some((until, cells)) = &self.opened {
            add(cells, self.ended, *until as usize, &|z| z < *until as usize)?;
        }
        let going = self.active.within(&self.normal.solid);
        let places = || (0..self.since.len()).filter(|c| going.has(*c));
        let mut since: BTreeMap<u32, usize> = BTreeMap::new();
        places().for_each(|c| *since.entry(self.since[c]).or_default() += 1);
        if let Some((most, _)) = since.into_iter().max_by_key(|s| s.1) {
            let mut cells = Bits::new(self.since.len());
            places().filter(|c| self.since[*c] == most).for_each(|c| cells.set(c));
            add(&cells, going.count(), most as usize, &|z| z > most as usize)?;
        }
        // What ends alike at both ends is the sample.
        let at = |end: Option<&usize>| end.is_some_and(|z| self.zero.contains(z) || out.iter().any(|(o, _)| o == z));
        if at(looked_at.first()) && at(looked_at.last()) {
            out.clear();
        }
        Ok(out)
    }

    /// Neighbouring slices that are zero or lost something, as one block each.
    fn groups(&self, spread: bool, ends: &[(usize, Lost)]) -> Vec<Group> {
        let mut all: Vec<(usize, Option<&Lost>)> = self.zero.iter().map(|z| (*z, None)).collect();
        all.extend(self.lost.iter().chain(ends).map(|(z, l)| (*z, Some(l))));
        all.sort_by_key(|a| a.0);
        let mut groups: Vec<Group> = Vec::new();
        for (z, lost) in all {
            let joins = groups.last().is_some_and(|g| {
                !spread && g.slices.end == z && {
                    // A tile goes on as a tile of the same place; a piece of the file up to the end of its slice.
                    match (g.parts.last().and_then(|p| p.as_ref()), lost) {
                        (Some(a), Some(b)) if a.whole && b.whole => {
                            a.last + 2 * self.frame.cells_per_row() >= self.last_solid()
                                && b.first <= self.first_solid()
                        }
                        (Some(a), Some(b)) => !a.whole && !b.whole && a.columns == b.columns,
                        (Some(a), None) => a.whole && a.last + 2 * self.frame.cells_per_row() >= self.last_solid(),
                        (None, Some(b)) => b.whole && b.first <= self.first_solid(),
                        (None, None) => true,
                    }
                }
            });
            match groups.last_mut() {
                Some(g) if joins => {
                    g.slices.end = z + 1;
                    g.parts.push(lost.cloned());
                }
                _ => groups.push(Group { slices: z..z + 1, parts: vec![lost.cloned()] }),
            }
        }
        groups
    }

    fn first_solid(&self) -> usize {
        (0..self.frame.cells()).find(|c| self.normal.solid.has(*c)).unwrap_or(0)
    }

    fn last_solid(&self) -> usize {
        (0..self.frame.cells()).rev().find(|c| self.normal.solid.has(*c)).unwrap_or(0)
    }

    fn describe(&self, g: &Group, source: &dyn FrameSource, looked_at: &[usize]) -> Result<Finding> {
        let end = source.shape().frames;
        let slices = g.slices.clone();
        if g.parts.iter().all(Option::is_none) {
            let at_an_end = slices.start == 0 || slices.end == end;
            // In floats with noise there is no air that a threshold emptied.
            let beside = |z: usize| self.empty.binary_search(&z).is_ok();
            let in_air = !self.normal.strict && (slices.start.checked_sub(1).is_some_and(beside) || beside(slices.end));
            let both_ends = self.zero.contains(&0) && self.zero.contains(&(end - 1));
            let weight = match (self.normal.strict, self.normal.flat, at_an_end) {
                _ if self.normal.sparse || in_air => Weight::Remark,
                _ if (self.normal.padded || !self.normal.strict) && at_an_end && both_ends => Weight::Remark,
                (true, ..) => Weight::Broken,
                // Drawings and cut-outs end where they end.
                (false, true, true) => Weight::Remark,
                (false, true, false) => Weight::Suspicious,
                (false, false, true) if self.normal.filled < 0.5 => Weight::Remark,
                (false, false, true) => Weight::Suspicious,
                (false, false, false) => Weight::Broken,
            };
            let bytes = span(source, &slices);
            let whole = if looked_at.len() < end { " (of those looked at)" } else { "" };
            let place =
                bytes.as_ref().map_or(String::new(), |b| format!(", bytes {} to {} of the file", b.start, b.end));
            let text = format!("{} entirely zero{whole}{place}{}", slices_are(&slices), aligned_text(&exact(&bytes)));
            return Ok(Finding::new(Kind::ZeroSlices, weight, text)
                .at(slices.clone())
                .bytes(bytes)
                .file(file_of(source, &slices)));
        }
        let first = g.parts.first().and_then(|p| p.as_ref());
        let last = g.parts.last().and_then(|p| p.as_ref());
        let tile = g.parts.iter().flatten().any(|p| !p.whole);
        // Where zero is a value, a sample may end so, but not in the middle of a row of the file.
        let inside = |l: &Lost| l.first > self.first_solid() || l.last < self.last_solid();
        let sure = self.normal.strict || !tile && g.parts.iter().flatten().any(inside);
        let weight = if sure { Weight::Broken } else { Weight::Suspicious };
        if tile {
            let parts = || g.parts.iter().flatten();
            let rows = parts().map(|p| p.rows(self.frame)).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            let cols = parts().map(|p| p.columns.clone()).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            let (rows, cols) = (rows.unwrap_or(0..0), cols.unwrap_or(0..0));
            let cols = self.exact_columns(source, slices.start, &rows, cols)?;
            let text = format!(
                "zero tile: {}, rows {}-{}, columns {}-{} inside the field",
                slices_word(&slices),
                rows.start,
                rows.end - 1,
                cols.start,
                cols.end - 1
            );
            return Ok(Finding::new(Kind::ZeroBlock, weight, text).at(slices.clone()).file(file_of(source, &slices)));
        }
        let from = self.border(source, slices.start, first.map(|l| l.first), true)?;
        let to = self.border(source, slices.end - 1, last.map(|l| l.last), false)?;
        let name = |row: usize, z: usize| format!("row {row} of slice {z}");
        let row = |l: Option<&Lost>, default: usize, f: fn(Range<usize>) -> usize| {
            l.map_or(default, |l| f(l.rows(self.frame)))
        };
        let text = format!(
            "zero block: from {} to {}",
            name(row(first, 0, |r| r.start), slices.start),
            name(row(last, self.frame.rows - 1, |r| r.end - 1), slices.end - 1)
        );
        let bytes = from.as_ref().zip(to.as_ref()).map(|(a, b)| a.end..b.start);
        let place = bytes.as_ref().map_or(String::new(), |b| format!(", bytes {} to {} of the file", b.start, b.end));
        let text = text + &place + &aligned_text(&from.zip(to));
        Ok(Finding::new(Kind::ZeroBlock, weight, text).at(slices.clone()).bytes(bytes).file(file_of(source, &slices)))
    }

    /// Where the zeros of a tile begin and end in its first row, to the voxel.
    fn exact_columns(
        &self,
        source: &dyn FrameSource,
        z: usize,
        rows: &Range<usize>,
        cols: Range<usize>,
    ) -> Result<Range<usize>> {
        let mut v = vec![0f32; self.frame.cols];
        let y = (rows.start + rows.end) / 2;
        source.read_f32(&Region::of_rows(source.shape(), z..z + 1, y..y + 1), &mut Vec::new(), &mut v)?;
        let zero = |x: &usize| v[*x] == 0.0;
        if !cols.clone().any(|x| zero(&x)) {
            return Ok(cols);
        }
        let start = (0..cols.start).rev().take_while(zero).last().unwrap_or(cols.start);
        let end = (cols.end..self.frame.cols).take_while(zero).last().map_or(cols.end, |x| x + 1);
        Ok(start..end)
    }

    /// Where a block may begin or end: byte offsets between which only zeros lie that are legitimate as well. `cell`:
    /// the outermost lost cell of that slice; none where the slice is wholly zero.
    fn border(
        &self,
        source: &dyn FrameSource,
        z: usize,
        cell: Option<usize>,
        begins: bool,
    ) -> Result<Option<Range<u64>>> {
        let Some(offset) = source.place(z).and_then(|p| p.offset) else { return Ok(None) };
        let size = self.frame.dtype.size() as u64;
        let n = self.frame.rows * self.frame.cols;
        let Some(cell) = cell else {
            let end = offset + n as u64 * size;
            return Ok(Some(if begins { offset..offset } else { end..end }));
        };
        let per_row = self.frame.cells_per_row();
        let voxel = |c: usize| c / per_row * self.frame.cols + c % per_row * CELL;
        // One row before and after is enough to find the nearest value, unless rows are empty; then all that are.
        let mut v = vec![0f32; n];
        source.read_f32(&Region::of_frames(source.shape(), z..z + 1), &mut Vec::new(), &mut v)?;
        let at = |i: usize| offset + i as u64 * size;
        Ok(Some(if begins {
            let inner = voxel(cell);
            let outer = (0..inner).rev().find(|i| v[*i] != 0.0).map_or(0, |i| i + 1);
            at(outer)..at(inner)
        } else {
            let inner = (voxel(cell) + CELL).min((cell / per_row + 1) * self.frame.cols);
            let outer = (inner..n).find(|i| v[*i] != 0.0).unwrap_or(n);
            at(inner)..at(outer)
        }))
    }
}

/// Slices that belong together, and what each lost (`None`: everything).
struct Group {
    slices: Range<usize>,
    parts: Vec<Option<Lost>>,
}

fn each_bit(mut bits: u64, word: usize, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(word * 64 + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

/// Bytes of whole slices that follow each other in one file.
pub fn span(source: &dyn FrameSource, slices: &Range<usize>) -> Option<Range<u64>> {
    let first = source.place(slices.start)?;
    let last = source.place(slices.end - 1)?;
    let frame = source.shape().frame_len() as u64 * source.dtype().size() as u64;
    let (a, b) = (first.offset?, last.offset? + frame);
    (first.file == last.file && b - a == slices.len() as u64 * frame).then_some(a..b)
}

/// The file of the first of some slices, where a stack is made of many.
pub fn file_of(source: &dyn FrameSource, slices: &Range<usize>) -> Option<std::path::PathBuf> {
    let here = source.place(slices.start)?.file;
    let all = source.shape().frames;
    (all > 1 && source.place(if slices.start == 0 { all - 1 } else { 0 })?.file != here).then_some(here)
}

/// `slice 7 is`, `slices 7-9 are`.
pub fn slices_are(r: &Range<usize>) -> String {
    format!("{} {}", slices_word(r), if r.len() == 1 { "is" } else { "are" })
}

/// `slice 7`, `slices 7-9`.
pub fn slices_word(r: &Range<usize>) -> String {
    if r.len() == 1 { format!("slice {}", r.start) } else { format!("slices {}-{}", r.start, r.end - 1) }
}

fn exact(bytes: &Option<Range<u64>>) -> Option<(Range<u64>, Range<u64>)> {
    bytes.clone().map(|b| (b.start..b.start, b.end..b.end))
}

/// Both borders lie on multiples of a block size: the largest such, if any. A border known only to lie in a range
/// counts where a multiple lies in it, and the range is no longer than half a block.
fn aligned_text(borders: &Option<(Range<u64>, Range<u64>)>) -> String {
    let Some((a, b)) = borders else { return String::new() };
    let on = |r: &Range<u64>, block: u64| r.end / block * block >= r.start && r.end - r.start <= block / 2;
    let fits = (12..=26).rev().map(|k| 1u64 << k).find(|block| on(a, *block) && on(b, *block));
    match fits {
        Some(block) if block >= 1 << 20 => format!(", both ends on multiples of {} MiB", block >> 20),
        Some(block) => format!(", both ends on multiples of {} KiB", block >> 10),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_is_said_only_where_it_means_something() {
        let text = |a: Range<u64>, b: Range<u64>| aligned_text(&Some((a, b)));
        assert_eq!(text(8192..8192, 20480..20480), ", both ends on multiples of 4 KiB");
        assert_eq!(text(8000..8200, 65530..65536), ", both ends on multiples of 8 KiB");
        assert_eq!(text(8193..8195, 20480..20480), "");
        assert_eq!(text(100..1 << 30, 0..1 << 30), "");
        assert_eq!(text(4 << 20..4 << 20, 8 << 20..8 << 20), ", both ends on multiples of 4 MiB");
    }
}
