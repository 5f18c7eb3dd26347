//! Where the frames of each part go: which dataset, and at which frame numbers.
//!
//! Layouts differ in how they mix parts (one stack with an image key, or a stack per kind); all of them are a list of
//! datasets and, per part, runs of frames. Several parts in one dataset share its type, chosen so that no value changes.

use crate::nexus::h5out::Stack;
use crate::scan_out::Part;
use crate::{DType, Error, Result, Shape};

/// The datasets of a scan and the runs of every part.
#[derive(Default)]
pub struct Places {
    stacks: Vec<Stack>,
    parts: Vec<(Part, DType, usize, Vec<Run>)>,
}

/// Frames of a part from number `first` on go to the dataset from number `at` on, until the next run starts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Run {
    /// First frame, counted within the part.
    pub first: usize,
    /// Where it goes, counted within the dataset.
    pub at: usize,
}

impl Places {
    /// Adds a dataset; the number returned names it in [`Places::part`].
    pub fn stack(&mut self, stack: Stack) -> usize {
        self.stacks.push(stack);
        self.stacks.len() - 1
    }

    /// Says where a part of type `dtype` goes; `runs` in order of `first`, starting at 0.
    pub fn part(&mut self, part: Part, dtype: DType, stack: usize, runs: Vec<Run>) {
        self.parts.push((part, dtype, stack, runs));
    }

    /// Writes frames of a part, starting at its frame number `first`.
    pub fn put(&self, shape: Shape, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        let Some((_, dtype, stack, runs)) = self.parts.iter().find(|p| p.0 == part) else {
            return Err(Error::caller(format!("{part:?} has no place in this layout")));
        };
        let stack = &self.stacks[*stack];
        let per_frame = shape.frame_len() * dtype.size();
        let end = first + frames.len() / per_frame.max(1);
        for (i, run) in runs.iter().enumerate() {
            let run_end = runs.get(i + 1).map_or(usize::MAX, |r| r.first);
            let (a, b) = (first.max(run.first), end.min(run_end));
            if a >= b {
                continue;
            }
            let bytes = &frames[(a - first) * per_frame..(b - first) * per_frame];
            let at = run.at + (a - run.first);
            if *dtype == stack.dtype() {
                stack.put(at, bytes)?;
            } else {
                let wide = dtype.convert_lossless(bytes, stack.dtype()).ok_or_else(|| {
                    Error::caller(format!("{} does not fit {} without loss", dtype.name(), stack.dtype().name()))
                })?;
                stack.put(at, &wide)?;
            }
        }
        Ok(())
    }
}
