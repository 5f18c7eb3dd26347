//! One slice with several axes: the lanes of a batch are the axes. Another axis is another phase of every sample, the same
//! for all directions, so one reading, one correction and one filtering serve all, and so do the positions on the grid.
//!
//! In a full field the transform of a projection does not depend on the axis at all: it is made once, a projection per
//! lane, and kept. In an extended field the blending of opposite projections follows the axis: then the projections are
//! blended and transformed for every lane.

use super::vector::{Cx, Vector};

/// What differs from lane to lane.
pub(super) struct LaneAxes {
    /// `exp(2πi m delta / len)`: for every sample the lanes' real parts, then their imaginary parts.
    phases: *const f32,
    /// Blending of an extended field: the smooth step of `clamp(start + slope * (column - moved), 0, 1)`.
    blend: Option<([f32; 16], [f32; 16])>,
}

// SAFETY: the phases are only read, and whoever made this keeps them alive and unchanged.
unsafe impl Sync for LaneAxes {}

impl LaneAxes {
    /// Fills `phases` (`samples * 2 * lanes` floats) for axes that lie `deltas` columns from the plan's; `slopes` are
    /// those of the blending, with the axes themselves.
    pub(super) fn new(
        len: usize,
        samples: usize,
        lanes: usize,
        deltas: &[f64],
        blend: Option<(&[f64], &[f64])>,
        phases: &mut [f32],
    ) -> LaneAxes {
        for (m, p) in phases.chunks_exact_mut(2 * lanes).take(samples).enumerate() {
            for l in 0..lanes {
                let turn = deltas.get(l).map_or(0.0, |d| m as f64 * d / len as f64);
                let (sin, cos) = (std::f64::consts::TAU * turn.fract()).sin_cos();
                (p[l], p[lanes + l]) = (cos as f32, sin as f32);
            }
        }
        let blend = blend.map(|(axes, slopes)| {
            let (mut start, mut slope) = ([0f32; 16], [0f32; 16]);
            for (l, (a, s)) in axes.iter().zip(slopes).enumerate().take(lanes) {
                (start[l], slope[l]) = ((0.5 - s * a) as f32, *s as f32);
            }
            (start, slope)
        });
        LaneAxes { phases: phases.as_ptr(), blend }
    }

    /// The lanes' phases of sample `m`.
    ///
    /// # Safety
    /// `m` is below the number of samples, `V` has as many lanes as this was made for; as for [`Vector`].
    #[inline(always)]
    pub(super) unsafe fn phase<V: Vector>(&self, m: usize) -> Cx<V> {
        // SAFETY: inside, by the caller's word.
        unsafe { Cx::load(self.phases.add(m * 2 * V::LANES)) }
    }

    /// Weighs `cols` columns of a projection whose axis is moved by `moved` columns.
    ///
    /// # Safety
    /// `x` has room for `cols` vectors; as for [`Vector`].
    #[inline(always)]
    pub(super) unsafe fn blend<V: Vector>(&self, moved: f32, cols: usize, x: *mut f32) {
        let Some((start, slope)) = &self.blend else { return };
        let mut w = [0f32; 16];
        for c in 0..cols {
            let at = c as f32 - moved;
            for l in 0..V::LANES {
                let t = (start[l] + slope[l] * at).clamp(0.0, 1.0);
                w[l] = t * t * (3.0 - 2.0 * t);
            }
            // SAFETY: the caller gives room for `cols` vectors, which have at most 16 lanes.
            unsafe {
                let p = x.add(c * V::LANES);
                V::load(p).mul(V::load(w.as_ptr())).store(p);
            }
        }
    }
}
