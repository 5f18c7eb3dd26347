//! A copy one can trust: one read of the source, sums on the way, several targets at once, a record on each disk,
//! read-back past the caches, resumed after anything.
//!
//! [`plan`] looks at every file and target and says go, warn or refuse before the first byte; [`execute`] copies. Memory
//! is a fixed set of blocks plus some two hundred bytes per file, whatever the files' sizes.
//!
//! | part | what |
//! |---|---|
//! | `gather` | which files, in which order |
//! | `plan`, `suits`, `room`, `names` | what each target needs, holds already and cannot hold |
//! | `target` | a destination folder at work: held, locked, its record open |
//! | `engine` | one pass, over bounded queues: `reading`, sums (`flow`), a writer per target (`writing`) |
//! | `ahead` | asking for what will be read next |
//! | `past`, `mapped` | large files past the cache; to ntfs-3g through a memory map |
//! | `partial` | going on in the middle of a file |
//! | `commit` | sync, record, final name, in batches |
//! | `readback` | the second stage: what is on the disk |
//! | `onway`, `standing` | volumes made smaller on the way |
//! | `follow`, `ready` | while the experiment runs: files as they are finished |
//! | `run`, `jobs` | passes, retries, full disks, "safe to unplug" |
//! | `outcome` | what became of it |
//! | `check` | any disk against its own record |
//! | `checker`, `made` | the program that does so, put on the disk; files of our own making |

mod ahead;
mod check;
mod checker;
mod commit;
mod engine;
mod finish;
mod flow;
mod follow;
mod gather;
mod jobs;
mod made;
mod mapped;
mod names;
mod onway;
mod outcome;
mod partial;
mod past;
mod plan;
mod readback;
mod reading;
mod ready;
mod room;
mod run;
mod spelling;
mod standing;
mod suits;
mod target;
mod writing;

pub use check::{CheckReport, CheckRequest, Damage, Looked, Outcome, check};
pub use checker::{Checker, FOLDER as CHECKER_FOLDER, PROGRAM as CHECKER};
pub use follow::{FollowRequest, Followed, follow};
pub use gather::{Gathered, Item, Links, Order, Select, Source};
pub use onway::OnTheWay;
pub use outcome::{Done, Failed, TargetDone};
pub use plan::{Finding, Plan, Probe, TargetPlan, Todo, Verdict, plan};
pub use run::execute;

use crate::stream::Budget;
use std::path::PathBuf;

/// When targets are read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadBackWhen {
    /// While the next files are being copied.
    #[default]
    Overlapped,
    /// After everything is written.
    End,
    /// Not at all: files stay "written, not verified".
    No,
}

/// What becomes of the holes of sparse files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sparse {
    /// Holes stay holes where the target can.
    #[default]
    Keep,
    /// Holes are written as zeros.
    Expand,
}

/// What to copy and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Files and folders.
    pub sources: Vec<PathBuf>,
    /// Destination folders, all of which get everything.
    pub targets: Vec<PathBuf>,
    /// Folders on further disks: when a target is full, the copy goes on with the next of these.
    pub spares: Vec<PathBuf>,
    /// Which files, in which order.
    pub select: Select,
    /// Give files whose name a target cannot hold another one.
    pub map_names: bool,
    /// Replace files on the target that differ and are not ours.
    pub overwrite: bool,
    /// When targets are read back.
    pub read_back: ReadBackWhen,
    /// Holes.
    pub sparse: Sparse,
    /// Read every source twice, to notice changes that leave size and time alone.
    pub second_hash: bool,
    /// Bytes per second to stay below.
    pub rate: Option<u64>,
    /// How often a file that failed for a passing reason is tried again.
    pub retries: u32,
    /// Make a bag (BagIt) of each target.
    pub bag: bool,
    /// Also write a list in hashdeep's form.
    pub hashdeep: bool,
    /// Programs that check disks, to be put on the targets.
    pub checkers: Vec<Checker>,
    /// Bytes between two marks in a large file from which an interrupted copy goes on.
    pub checkpoint: u64,
    /// Measure how fast the targets write and read, for so many bytes each.
    pub probe: Option<u64>,
    /// Volumes become smaller on the way instead of being copied as they are.
    pub on_the_way: Option<OnTheWay>,
    /// Only a plan is wanted: a destination folder that the copy would make need not be there.
    pub look_only: bool,
    /// Too little room is no reason to refuse: copy what fits.
    pub fill: bool,
    /// Memory for blocks.
    pub budget: Budget,
}

impl Request {
    /// With everything as it is unless told otherwise.
    pub fn new(sources: Vec<PathBuf>, targets: Vec<PathBuf>, budget: Budget) -> Request {
        Request {
            sources,
            targets,
            spares: Vec::new(),
            select: Select::default(),
            map_names: false,
            overwrite: false,
            read_back: ReadBackWhen::default(),
            sparse: Sparse::default(),
            second_hash: false,
            rate: None,
            retries: 3,
            bag: false,
            hashdeep: false,
            checkers: Vec::new(),
            checkpoint: 128 << 20,
            probe: None,
            on_the_way: None,
            look_only: false,
            fill: false,
            budget,
        }
    }
}
