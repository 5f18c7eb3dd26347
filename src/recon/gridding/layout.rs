//! The grid: how fine, how wide the kernel, and where the slice lies in its period.

use super::fft;
use super::kernel::{self, Kernel};
use super::problem::Problem;
use std::ops::Range;

/// The grid.
pub(super) struct Layout {
    pub(super) kernel: Kernel,
    /// Period along u (image rows) and v (image columns).
    pub(super) gu: usize,
    pub(super) gv: usize,
    /// Columns on each side and rows below and above that catch the kernel's overhang.
    pub(super) margin: usize,
    /// Elements per grid row.
    pub(super) row: usize,
    pub(super) size: (usize, usize),
    pub(super) region: (Range<usize>, Range<usize>),
}

impl Layout {
    /// Region's image rows, counted from the middle.
    pub(super) fn region_rows(&self) -> Range<i64> {
        let c = (self.size.1 / 2) as i64;
        self.region.1.start as i64 - c..self.region.1.end as i64 - c
    }

    pub(super) fn region_cols(&self) -> Range<i64> {
        let c = (self.size.0 / 2) as i64;
        self.region.0.start as i64 - c..self.region.0.end as i64 - c
    }

    pub(super) fn rows(&self) -> usize {
        self.gv / 2 + 1 + 2 * self.margin
    }
}

impl Layout {
    /// The cheapest kernel and grid that keep the tolerance.
    pub(super) fn choose(p: &Problem) -> Layout {
        // Of the whole slice, whatever the region: a part must have the values of the whole.
        let mut best: Option<(f64, Layout)> = None;
        for width in kernel::MIN_WIDTH..=kernel::MAX_WIDTH {
            let margin = width / 2 + 1;
            // At least 32, so that the margins on both sides are apart.
            // Finer grids err less: the smallest that will do. At three times the image's size nothing more is gained.
            let fit = |n: usize| {
                let mut g = fft::good_len((n * 23).div_ceil(20).max(32), 2);
                while Kernel::new(width, g as f64 / n as f64).error(g as f64 / n as f64) > p.tolerance {
                    if g > 3 * n && width < kernel::MAX_WIDTH {
                        return None;
                    }
                    g = fft::good_len(g + 1, 2);
                }
                Some(g)
            };
            let (Some(gu), Some(gv)) = (fit(p.size.1), fit(p.size.0)) else { continue };
            // In nanoseconds per slice on one 2.6 GHz core, with which the parts were measured; only ratios matter.
            let (u, v) = (gu as f64, gv as f64);
            let spread = p.angles.len() as f64 * p.last() as f64 * (0.08 * (width * width) as f64 + 0.3);
            let transform = u * v / 2.0 * 2.2 + p.size.1 as f64 * v / 2.0 * 2.6;
            let cost = spread + transform;
            if best.as_ref().is_none_or(|(c, _)| cost < *c) {
                let finer = (u / p.size.1 as f64).min(v / p.size.0 as f64);
                let kernel = Kernel::new(width, finer);
                let row = gu + 2 * margin + 1;
                best = Some((cost, Layout { kernel, gu, gv, margin, row, size: p.size, region: p.region.clone() }));
            }
        }
        // The widest kernel never gives up.
        best.map(|(_, layout)| layout).expect("a kernel and a grid")
    }
}
