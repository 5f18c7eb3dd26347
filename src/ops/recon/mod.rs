//! Reconstruction of a scan into a volume: parallel-beam filtered backprojection, streamed in bands of detector rows.
//!
//! ```text
//!  rows of all projections ─► flats, darks, −log ─► FbpPlan::execute ─► SliceSink
//!        read (band n+1)         compute (band n)                        write (band n−1)
//! ```
//!
//! One band is read once; its height comes from the memory budget. Slice z of the volume is detector row z, or made of
//! several rows (`gather`).
//! Guarantees: the same bytes for any band height and number of threads; nothing under the final name until whole;
//! counts of clipped and missing values are part of the result.

mod axis;
mod bands;
mod check;
mod clock;
mod feed;
mod floor;
mod gather;
mod journal;
mod look;
mod plan;
mod provenance;
mod recipe;
mod run;
mod score;
mod setup;
mod shifts;
mod sweep;

pub use axis::{AxisFound, find_axis};
pub use check::BadSlices;
pub use feed::Tally;
pub use floor::{Floor, floor};
pub use look::{Look, LookPlan, look, plan_look};
pub use plan::{Grid, Plan, plan};
pub use provenance::SUFFIX as RECORD;
pub use recipe::Recipe;
pub use run::{Done, execute, execute_into};
pub use score::Score;
pub use setup::{Setup, extended_width, setup};
pub use shifts::Shifts;
pub use sweep::{AxisRange, Sweep, SweepPlan, Tried, plan_sweep, sweep};

use crate::correct::Combine;
use crate::ops::view::{Roi, SliceRange};
use crate::quantise::GreyMap;
use crate::recon::{Filter, Padding, Unit};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tomokit_formats::{CreateOptions, OpenOptions};

/// Where the rotation axis comes from.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum AxisChoice {
    /// What the scan records, else found from opposite projections.
    RecordedOrFound,
    /// Found from opposite projections, whatever is recorded.
    Find,
    /// This column, 0 = centre of the first.
    At(f64),
}

/// Which detector row to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum SliceChoice {
    /// The middle one.
    Middle,
    /// This one.
    Row(usize),
}

/// Full or extended field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FieldChoice {
    /// By what the scan says, else by angular range and axis.
    Auto,
    /// Every projection shows the whole sample.
    Full,
    /// 360° with the axis near one edge.
    Extended,
}

/// What to reconstruct and how. As JSON it holds the choices, not the files: see [`Recipe`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Scan folder or file.
    #[serde(skip)]
    pub scan: PathBuf,
    /// Volume to write.
    #[serde(skip)]
    pub output: PathBuf,
    /// How to read the scan.
    pub open: OpenOptions,
    /// Output format by name; by extension where absent.
    #[serde(skip)]
    pub to: Option<String>,
    /// Writer options; shape, type and metadata are filled in by [`plan()`].
    #[serde(skip, default = "recipe::no_output")]
    pub create: CreateOptions,
    /// Rotation axis.
    pub axis: AxisChoice,
    /// Detector rows to reconstruct.
    pub slices: Option<SliceRange>,
    /// Part of every slice, x and y.
    pub roi: Option<Roi>,
    /// Movement from projection to projection.
    pub shifts: Option<Shifts>,
    /// Angular range in degrees to assume instead of what the scan says: angles `k × range / projections`.
    pub range_deg: Option<f64>,
    /// Angles in degrees instead of what the scan says, one per projection.
    pub angles_deg: Option<Vec<f64>>,
    /// Added to every angle, degrees.
    pub angle_offset_deg: f64,
    /// Detector pixel in µm instead of what the scan says.
    pub pixel_um: Option<f64>,
    /// Columns and rows of the slice in voxels; the detector's width (or the extended field's) where absent.
    pub size: Option<[usize; 2]>,
    /// Edge of a voxel in detector pixels; 1 where absent. So many detector rows make one slice.
    pub bin: Option<usize>,
    /// How far the axis leans towards higher columns on its way to higher rows, degrees.
    pub tilt_deg: f64,
    /// The slice keeps the detector's frame instead of having the axis in its middle.
    pub detector_frame: bool,
    /// Full or extended field.
    pub field: FieldChoice,
    /// Columns of the hand-over between opposite projections in an extended field; all of the overlap where absent.
    pub overlap_px: Option<f64>,
    /// Filter.
    pub filter: Filter,
    /// Cut-off of the filter's window, fraction of Nyquist.
    pub cutoff: f64,
    /// Beyond the ends of the projections.
    pub padding: Padding,
    /// Unit of the values; cm⁻¹ where the pixel size is known, else per pixel.
    pub unit: Option<Unit>,
    /// Keep voxels outside the region that every projection sees.
    pub no_mask: bool,
    /// Reproduce PyHST2's own numerical choices (FBFILTER = 0 on a CPU).
    pub pyhst: bool,
    /// How a set of flats becomes one.
    pub flats: Combine,
    /// How the darks become one.
    pub darks: Combine,
    /// Transmission below this is raised to it before the logarithm; the scan's own value or 1e-6 where absent.
    pub zero_clip: Option<f64>,
    /// Write grey values of 8 or 16 bits between these limits instead of float32.
    pub grey: Option<GreyMap>,
    /// Read the output back and compare its hash with what was written.
    #[serde(skip)]
    pub verify: bool,
}
