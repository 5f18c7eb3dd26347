//! PyHST2's statistics while slices are written, without a second pass over the volume.
//!
//! The second stage of the rule needs the range of the whole volume, known only at the end. So the counts of the first
//! stage are kept, slice by slice: packed and compressed, in memory up to a limit, beyond that in a nameless temporary file
//! beside the volume. Nothing here is needed for correctness: what is not kept (slices of an earlier run) is counted from
//! the file.

use super::counts::SliceHistogram;
use super::stats::{BINS, Extent, Histogram, measure_with};
use crate::shelf::Shelf;
use crate::source::FrameSource;
use crate::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most bytes of memory that [`OnePass`] takes on `threads` threads for slices of `slice_len` values, beside `held` bytes of
/// packed counts: for every thread the counters of a slice and their packed bytes, as they are and compressed, and at the
/// end counters of the volume.
pub(super) fn working_bytes(slice_len: usize, threads: usize, held: u64) -> u64 {
    // A counter in use takes at least two bytes (itself and the zeros behind it), at most five.
    let packed = 5 * slice_len.min(BINS) as u64;
    threads as u64 * (12 * BINS as u64 + 2 * packed) + held
}

/// Where the counts of a slice are.
enum Place {
    /// Not kept.
    Nowhere,
    Memory(Vec<u8>),
    File {
        at: u64,
        len: usize,
    },
}

/// Range and packed counts of a slice; no counts where they are not to be kept.
pub(super) type Counted = (Extent, Option<Vec<u8>>);

/// Ranges and counts of the slices so far.
pub(super) struct OnePass {
    folder: PathBuf,
    extents: Vec<Option<Extent>>,
    places: Vec<Place>,
    spill: Option<File>,
    held: u64,
    spilled: u64,
    memory: u64,
    /// Counters and packed bytes to use again: megabytes each, and a band has many slices.
    counters: Shelf<(SliceHistogram, Vec<u8>)>,
}

impl OnePass {
    /// For a volume in `folder` of which the first `stored` slices are there already; holds up to `memory` bytes of counts.
    pub fn new(folder: &Path, stored: usize, memory: u64) -> OnePass {
        OnePass {
            folder: if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() },
            extents: vec![None; stored],
            places: (0..stored).map(|_| Place::Nowhere).collect(),
            spill: None,
            held: 0,
            spilled: 0,
            memory,
            counters: Shelf::new(Default::default),
        }
    }

    /// Counts whole slices of `one` bytes each, native `f32`; they belong to nothing yet.
    pub fn count(&self, slices: &[u8], one: usize) -> Vec<Counted> {
        let counters = &self.counters;
        slices
            .par_chunks_exact(one.max(1))
            .map(|s| {
                let values = floats(s);
                let extent = Extent::of(&values);
                // Counters of 32 bits: a slice beyond them is counted from the file.
                if extent.finite == 0 || values.len() as u64 > u64::from(u32::MAX) {
                    return (extent, None);
                }
                let mut lent = counters.borrow();
                let (counts, bytes) = &mut *lent;
                counts.begin(extent);
                counts.add(&values);
                let packed = if counts.pack(bytes) { zstd::bulk::compress(bytes, 1).ok() } else { None };
                (extent, packed)
            })
            .collect()
    }

    /// Takes the counts of the next slices.
    pub fn add(&mut self, counted: Vec<Counted>) {
        for (extent, packed) in counted {
            self.extents.push(Some(extent));
            let place = match packed {
                None => Place::Nowhere,
                Some(p) if self.held + p.len() as u64 <= self.memory => {
                    self.held += p.len() as u64;
                    Place::Memory(p)
                }
                Some(p) => self.put_aside(&p),
            };
            self.places.push(place);
        }
    }

    /// Into the temporary file; a disk that has no room for it costs the second pass, not the run.
    fn put_aside(&mut self, packed: &[u8]) -> Place {
        if self.spill.is_none() {
            self.spill = tempfile::tempfile_in(&self.folder).ok();
        }
        let at = self.spilled;
        match &self.spill {
            Some(f) if crate::io::write_all_at(f, packed, at).is_ok() => {
                self.spilled += packed.len() as u64;
                Place::File { at, len: packed.len() }
            }
            _ => Place::Nowhere,
        }
    }

    /// The histogram; `source` is read only for slices whose counts were not kept.
    pub fn finish(&self, source: &dyn FrameSource) -> Result<Histogram> {
        let lost = || Error::caller("the counts of a slice, put aside while writing, do not come back as they were");
        measure_with(source, &self.extents, &|f, volume| {
            let packed: Cow<'_, [u8]> = match self.places.get(f) {
                Some(Place::Memory(p)) => Cow::Borrowed(p),
                Some(Place::File { at, len }) => {
                    let file = self.spill.as_ref().ok_or_else(lost)?;
                    let mut p = vec![0; *len];
                    read_all(file, &mut p, *at).map_err(|e| lost().source(e))?;
                    Cow::Owned(p)
                }
                Some(Place::Nowhere) | None => return Ok(false),
            };
            let extent = self.extents.get(f).copied().flatten().ok_or_else(lost)?;
            // At most five bytes for each of the bins.
            let bytes = zstd::bulk::decompress(&packed, 5 * BINS).map_err(|e| lost().source(e))?;
            volume.add_packed(&extent, &bytes).ok_or_else(lost)?;
            Ok(true)
        })
    }
}

fn read_all(file: &File, mut out: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match crate::io::read_at(file, out, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                out = &mut out[n..];
                at += n as u64;
            }
        }
    }
    Ok(())
}

/// Bytes as floats, copied only where they are not aligned.
fn floats(bytes: &[u8]) -> Cow<'_, [f32]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(v) => Cow::Borrowed(v),
        Err(_) => Cow::Owned(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vol::stats::measure;
    use crate::{DType, Region, Shape};

    const MEMORY: u64 = 64 << 20;

    /// Values in memory; reading slices below `closed` is an error.
    struct Guarded {
        shape: Shape,
        values: Vec<f32>,
        closed: usize,
    }

    impl FrameSource for Guarded {
        fn shape(&self) -> Shape {
            self.shape
        }
        fn dtype(&self) -> DType {
            DType::F32
        }
        fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
            if region.frames.start < self.closed {
                return Err(Error::caller("a second pass"));
            }
            let bytes: &[u8] = bytemuck::cast_slice(&self.values);
            crate::source::copy_box(bytes, &self.shape.full(), region, 4, out);
            Ok(())
        }
    }

    /// Slices of different ranges, one constant, one without a finite value, NaN in one.
    fn values(shape: Shape) -> Vec<f32> {
        let n = shape.frame_len();
        let mut v = Vec::new();
        for f in 0..shape.frames {
            v.extend((0..n).map(|i| ((i * 7919 + f * 31) % 10_007) as f32 * (0.1 + f as f32) - 40.0));
        }
        v[n..2 * n].fill(1.5);
        v[2 * n..3 * n].fill(f32::NAN);
        v[3 * n + 5] = f32::NAN;
        v
    }

    #[test]
    fn one_pass_gives_what_two_passes_give_and_reads_nothing() {
        let shape = Shape::new(9, 40, 50);
        let values = values(shape);
        let open = Guarded { shape, values: values.clone(), closed: 0 };
        let expected = measure(&open, &[]).unwrap();
        let one = shape.frame_len() * 4;
        let dir = tempfile::tempdir().unwrap();
        // All in memory, some in the file, all in the file.
        let mut all = OnePass::new(dir.path(), 0, MEMORY);
        all.add(all.count(bytemuck::cast_slice(&values), one));
        for memory in [MEMORY, all.held / 2, 0] {
            let mut pass = OnePass::new(dir.path(), 0, memory);
            let bytes: &[u8] = bytemuck::cast_slice(&values);
            for piece in bytes.chunks(4 * one) {
                pass.add(pass.count(piece, one));
            }
            let places = |f: fn(&Place) -> bool| pass.places.iter().filter(|p| f(p)).count();
            let (held, filed) =
                (places(|p| matches!(p, Place::Memory(_))), places(|p| matches!(p, Place::File { .. })));
            assert_eq!(held + filed, 8, "the slice without a value has no counts");
            assert!((memory == MEMORY) == (filed == 0) && (memory == 0) == (held == 0), "{memory}: {held} {filed}");
            let closed = Guarded { shape, values: values.clone(), closed: 9 };
            assert_eq!(pass.finish(&closed).unwrap(), expected);
        }
    }

    #[test]
    fn slices_of_an_earlier_run_are_read() {
        let shape = Shape::new(9, 40, 50);
        let values = values(shape);
        let expected = measure(&Guarded { shape, values: values.clone(), closed: 0 }, &[]).unwrap();
        let one = shape.frame_len() * 4;
        let dir = tempfile::tempdir().unwrap();
        let mut pass = OnePass::new(dir.path(), 4, MEMORY);
        pass.add(pass.count(&bytemuck::cast_slice(&values)[4 * one..], one));
        assert_eq!(pass.finish(&Guarded { shape, values: values.clone(), closed: 0 }).unwrap(), expected);
        let closed = Guarded { shape, values, closed: 1 };
        assert!(pass.finish(&closed).unwrap_err().to_string().contains("a second pass"));
    }
}
