//! What is known of a slice, and the geometry of slices.

use tomokit_formats::DType;

/// Voxels per cell, along a row. One cache line of floats: the smallest piece that tells a lost block from chance.
pub const CELL: usize = 16;
/// Largest edge of the reduced picture of a slice.
pub const THUMB: usize = 32;
/// Voxels that are no finite number and are remembered by place, per slice.
pub(super) const PLACES: usize = 4;

/// Geometry of the slices of one volume.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Type.
    pub dtype: DType,
    /// Rows of the reduced picture.
    pub thumb_rows: usize,
    /// Columns of the reduced picture.
    pub thumb_cols: usize,
    /// Value that counts as saturated: the largest of an integer type, or where the camera's range ends.
    pub top: f32,
}

impl Frame {
    /// Slices of `rows × cols`, with reduced pictures of at most `thumb` pixels along an edge.
    pub fn new(rows: usize, cols: usize, dtype: DType, thumb: usize) -> Frame {
        let per_row = cols.div_ceil(CELL);
        let top = match dtype {
            DType::U8 => 255.0,
            DType::U16 => 65535.0,
            DType::I16 => 32767.0,
            _ => f32::NAN,
        };
        Frame { rows, cols, dtype, thumb_rows: rows.min(thumb).max(1), thumb_cols: per_row.min(thumb).max(1), top }
    }

    /// Cells per row.
    pub fn cells_per_row(&self) -> usize {
        self.cols.div_ceil(CELL)
    }

    /// Cells per slice.
    pub fn cells(&self) -> usize {
        self.rows * self.cells_per_row()
    }

    /// Pixels of a reduced picture.
    pub fn thumb_len(&self) -> usize {
        self.thumb_rows * self.thumb_cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols * self.dtype.size()
    }
}

/// A set of cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bits(pub(super) Vec<u64>);

impl Bits {
    /// `n` cells, none in the set.
    pub fn new(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    /// Puts a cell in.
    #[inline(always)]
    pub fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    /// Puts those in whose bits are set, the lowest standing for cell `i`.
    #[inline(always)]
    pub(super) fn set_word(&mut self, i: usize, bits: u64) {
        let (at, by) = (i / 64, i % 64);
        if bits != 0 {
            self.0[at] |= bits << by;
            let beyond = (bits >> 1) >> (63 - by);
            if beyond != 0 {
                self.0[at + 1] |= beyond;
            }
        }
    }

    /// Is it in?
    #[inline(always)]
    pub fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Those that are in the other set too.
    pub fn within(&self, o: &Bits) -> Bits {
        Bits(self.0.iter().zip(&o.0).map(|(a, b)| a & b).collect())
    }

    /// Words, for operations on whole sets.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Words, to change.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// What is known of one slice after it was looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Voxels.
    pub voxels: u64,
    /// Voxels that are exactly zero.
    pub zeros: u64,
    /// Voxels that are not a number.
    pub nan: u64,
    /// Voxels that are infinite.
    pub infinite: u64,
    /// Sum of finite values.
    pub sum: f64,
    /// Smallest finite value; +∞ where there is none.
    pub min: f32,
    /// Largest finite value; −∞ where there is none.
    pub max: f32,
    /// Neighbours along a row that are equal and not zero: what no camera and no reconstruction makes in numbers.
    pub equal: u64,
    /// Voxels at the largest value of an integer type.
    pub saturated: u64,
    /// Stretches of rows without any pattern.
    pub noise: u64,
    /// The first row that holds one.
    pub noise_from: Option<usize>,
    /// Depends on every byte and its place.
    pub print: u64,
    /// First places that hold no finite number: row, column.
    pub odd: Vec<(usize, usize)>,
    /// Reduced picture: sums of finite values.
    pub thumb: Vec<f32>,
    /// Cells of zeros only.
    pub zero_cells: Bits,
    /// Cells without a zero.
    pub solid_cells: Bits,
    /// First cell of each column of the reduced picture, and one past the last.
    pub(super) edges: Vec<usize>,
    pub(super) hash: [u32; 32],
    /// One row as floats.
    pub(super) scratch: Vec<f32>,
    /// One row of whole numbers, cell by cell: which voxels are zero; half sums, two per cell.
    pub(super) cells: (Vec<u16>, Vec<u64>),
}

impl Look {
    /// Nothing seen yet.
    pub fn new(frame: &Frame) -> Look {
        let mut l = Look {
            voxels: 0,
            zeros: 0,
            nan: 0,
            infinite: 0,
            sum: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            equal: 0,
            saturated: 0,
            noise: 0,
            noise_from: None,
            print: 0,
            odd: Vec::new(),
            thumb: vec![0.0; frame.thumb_len()],
            zero_cells: Bits::new(frame.cells()),
            solid_cells: Bits::new(frame.cells()),
            edges: (0..=frame.thumb_cols).map(|t| t * frame.cells_per_row() / frame.thumb_cols).collect(),
            hash: [0; 32],
            scratch: Vec::new(),
            cells: Default::default(),
        };
        l.reset();
        l
    }

    /// Starts over with the same buffers.
    pub fn reset(&mut self) {
        (self.voxels, self.zeros, self.nan, self.infinite, self.equal, self.saturated) = (0, 0, 0, 0, 0, 0);
        (self.sum, self.print, self.noise, self.noise_from) = (0.0, 0, 0, None);
        (self.min, self.max) = (f32::INFINITY, f32::NEG_INFINITY);
        self.odd.clear();
        self.thumb.fill(0.0);
        self.zero_cells.clear();
        self.solid_cells.clear();
        self.hash = std::array::from_fn(|i| i as u32);
    }

    /// Every voxel is exactly zero.
    pub fn all_zero(&self) -> bool {
        self.zeros == self.voxels
    }

    /// Ends a slice.
    pub fn close(&mut self) {
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for w in self.hash {
            h = (h ^ u64::from(w)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        self.print = h;
    }
}
