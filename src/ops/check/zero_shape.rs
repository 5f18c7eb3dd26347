//! What was lost has straight edges: a piece of the file ends in the middle of a row and fills all rows between, a tile is a
//! rectangle. A cavity, a crack, the end of a sample whose air is exactly zero have edges of their own.

use super::kernel::{CELL, Frame};
use super::zeros::{Lost, MANY};
use std::ops::Range;
use tomokit_formats::{FrameSource, Region, Result};

/// Edges that lie in one column, give or take so many voxels: a pore, a dark voxel beside the lost ones is zero as well.
const NEAR: usize = 1;
/// Part of the rows that end where most do; the others go on …
const MOST: f64 = 0.5;
/// … for next to none ends before: a speck in the air of a gap would end it.
const ALL: f64 = 0.98;

fn slice(source: &dyn FrameSource, frame: &Frame, z: usize) -> Result<Vec<f32>> {
    let mut v = vec![0f32; frame.rows * frame.cols];
    source.read_f32(&Region::of_frames(source.shape(), z..z + 1), &mut Vec::new(), &mut v)?;
    Ok(v)
}

/// True where slice `z` holds nothing but zeros in the rectangle around what was lost, or from its first to its last voxel in
/// the order of the file.
pub(super) fn is_piece(source: &dyn FrameSource, frame: &Frame, lost: &Lost, z: usize) -> Result<bool> {
    let v = slice(source, frame, z)?;
    let none = |r: Range<usize>| v[r].iter().all(|v| *v == 0.0);
    let (rows, per_row) = (lost.rows(frame), frame.cells_per_row());
    let voxel = |c: usize| c / per_row * frame.cols + c % per_row * CELL;
    let end = (voxel(lost.last) + CELL).min((lost.last / per_row + 1) * frame.cols);
    let in_rectangle =
        || rows.clone().all(|y| none(y * frame.cols + lost.columns.start..y * frame.cols + lost.columns.end));
    Ok(none(voxel(lost.first)..end) || in_rectangle())
}

/// True where what is zero in slice `z`, and was not in slice `whole`, has straight edges in at least one group of rows.
pub(super) fn is_straight(
    source: &dyn FrameSource,
    frame: &Frame,
    lost: &Lost,
    z: usize,
    whole: usize,
) -> Result<bool> {
    let (now, before) = (slice(source, frame, z)?, slice(source, frame, whole)?);
    let row = |y: usize| {
        let r = y * frame.cols..(y + 1) * frame.cols;
        run(&now[r.clone()], &before[r], &lost.columns)
    };
    let gone: Vec<(usize, Range<usize>)> = lost.rows(frame).filter_map(|y| row(y).map(|r| (y, r))).collect();
    Ok(gone.chunk_by(|a, b| a.0 + 1 == b.0).any(|group| {
        if group.len() <= 2 {
            return group.iter().map(|(_, r)| r.len()).sum::<usize>() >= MANY * CELL;
        }
        // The first and the last row may be lost in part.
        let inner = &group[1..group.len() - 1];
        // The edge of most rows, and how many have it.
        let common = |edge: &dyn Fn(&Range<usize>) -> usize| {
            let mut edges: Vec<usize> = inner.iter().map(|(_, r)| edge(r)).collect();
            edges.sort_unstable();
            let near = |e: usize| edges.partition_point(|o| *o <= e + NEAR) - edges.partition_point(|o| o + NEAR < e);
            let most = edges.iter().map(|e| (near(*e), *e)).max().unwrap_or_default();
            (most.1, most.0 as f64 >= MOST * inner.len() as f64)
        };
        let ((start, starts), (end, ends)) = (common(&|r| r.start), common(&|r| r.end));
        let reaches = |r: &Range<usize>| r.start <= start + NEAR && r.end + NEAR >= end;
        let all = inner.iter().filter(|(_, r)| reaches(r)).count() as f64 >= ALL * inner.len() as f64;
        starts && ends && all
    }))
}

/// The run of zeros that lost most between these columns: a cell or more of it were none before.
fn run(now: &[f32], before: &[f32], columns: &Range<usize>) -> Option<Range<usize>> {
    let (mut best, mut most): (Option<Range<usize>>, usize) = (None, CELL - 1);
    let mut x = 0;
    while x < now.len() {
        let end = (x..now.len()).find(|i| now[*i] != 0.0).unwrap_or(now.len());
        let here = x.max(columns.start)..end.min(columns.end).max(x.max(columns.start));
        let values = before[here].iter().filter(|v| **v != 0.0).count();
        if values > most {
            (best, most) = (Some(x..end), values);
        }
        x = end + 1;
    }
    best
}
