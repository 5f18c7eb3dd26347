//! `tomo copy`: verified copies to users' disks; `--verify` checks any disk against its own record.

use crate::cli::common::Context;
use crate::cli::verify::{self, How};
use crate::cli::{Exit, Tool, human, output};
use crate::disk;
use crate::ops::copy::{
    self, Checker, Done, Failed, Finding, FollowRequest, Followed, Links, OnTheWay, Order, Plan, ReadBackWhen, Request,
    Select, Sparse, Verdict,
};
use crate::ops::ledger;
use crate::quantise::Depth;
use crate::stream::{Cancel, parse_bytes};
use crate::trust::journal::JOURNAL;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tomokit_formats::{Error, Result, durable};

/// Arguments of `tomo copy`.
#[derive(Args, Debug)]
pub struct Copy {
    /// Files and folders to copy, and last the destination folder (all are sources with --to; disks with --verify)
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Destination folder; repeat it to fill several disks from one reading
    #[arg(long, value_name = "DEST")]
    to: Vec<PathBuf>,
    /// Folder on a further disk, to go on with when a destination is full; may be repeated
    #[arg(long, value_name = "DEST")]
    then: Vec<PathBuf>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    following: FollowArgs,
    #[command(flatten)]
    on_the_way: OnTheWayArgs,
}

/// Which files.
#[derive(Args, Debug)]
#[command(next_help_heading = "Choosing files")]
struct SelectArgs {
    /// Copy only what matches, for example *.vol or raw/**; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Copy only the files named in this list, relative to the source (- for standard input)
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// Order of copying
    #[arg(long, value_enum, default_value_t = OrderArg::Name)]
    order: OrderArg,
    /// What becomes of links in the source
    #[arg(long, value_enum, default_value_t = LinksArg::Skip)]
    links: LinksArg,
}

/// What a check does not read.
const OF_COPYING: [&str; 21] = [
    "include",
    "exclude",
    "files_from",
    "order",
    "links",
    "read_back",
    "second_hash",
    "bag",
    "hashdeep",
    "with_checker",
    "dry_run",
    "probe",
    "map_names",
    "overwrite",
    "sparse",
    "limit",
    "retries",
    "checkpoint",
    "recad",
    "tiff",
    "lock",
];

/// How sure.
#[derive(Args, Debug)]
#[command(next_help_heading = "Trust")]
struct TrustArgs {
    /// Check disks against the record on them: missing, changed, extra files. Copies nothing
    #[arg(long, conflicts_with_all = OF_COPYING)]
    verify: bool,
    /// With --verify: compare sizes only
    #[arg(long, requires = "verify", conflicts_with = "record")]
    sizes_only: bool,
    /// With --verify: note on the disk which files were found good and which are damaged; the copy replaces those
    #[arg(long, requires = "verify")]
    record: bool,
    /// When the copies are read back from the disk
    #[arg(long, value_enum, default_value_t = ReadBackArg::Overlapped)]
    read_back: ReadBackArg,
    /// Read every source that is copied twice: notices changes meanwhile that leave size and time alone
    #[arg(long)]
    second_hash: bool,
    /// Make a bag (BagIt) of the destination: files below data/, manifest and tag files
    #[arg(long)]
    bag: bool,
    /// Also write hashdeep.txt, a list in hashdeep's form
    #[arg(long)]
    hashdeep: bool,
    /// Put the program that checks the disk on it, with a page for home; name further ones, for example =tomo-verify.exe
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    with_checker: Vec<OsString>,
}

/// While the experiment runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Following an experiment")]
struct FollowArgs {
    /// Watch the sources and copy files once they are finished, until Ctrl-C
    #[arg(long, conflicts_with_all = ["verify", "dry_run", "files_from"])]
    follow: bool,
    /// A file is finished when nothing changed for so many seconds (and nobody has it open for writing)
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds, requires = "follow")]
    settle: f64,
    /// Look through the sources this often, in seconds; changes the system reports are followed at once
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds, requires = "follow")]
    every: f64,
    /// End with a last pass over everything once nothing happened for so many seconds
    #[arg(long, value_name = "SECONDS", requires = "follow", value_parser = seconds)]
    until_idle: Option<f64>,
}

/// Volumes made smaller on the way.
#[derive(Args, Debug)]
#[command(next_help_heading = "Converting on the way")]
struct OnTheWayArgs {
    /// Write 32-bit volumes (.vol) as 8 or 16 bits with a receipt, as 'tomo recad' does; the float stays at the source
    #[arg(long, value_name = "BITS", num_args = 0..=1, default_missing_value = "8", value_parser = ["8", "16"])]
    recad: Option<String>,
    /// As a folder of TIFF slices instead of .raw
    #[arg(long)]
    tiff: bool,
    /// One grey scale for all volumes: the first one decides and this file keeps it
    #[arg(long, value_name = "FILE.json")]
    lock: Option<PathBuf>,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(v) if (0.0..1e6).contains(&v) => Ok(v),
        _ => Err("write a number of seconds".into()),
    }
}

/// How to write.
#[derive(Args, Debug)]
#[command(next_help_heading = "Copying")]
struct HowArgs {
    /// Do not enter the copies into the ledger ($TOMOKIT_LEDGER, else one per user)
    #[arg(long)]
    no_ledger: bool,
    /// Say what would be copied and what speaks against it, and stop
    #[arg(long)]
    dry_run: bool,
    /// Measure how fast the destinations write, with a file of this size that is removed again
    #[arg(long, value_name = "SIZE", num_args = 0..=1, default_missing_value = "256M", value_parser = size)]
    probe: Option<u64>,
    /// Give files whose name the destination cannot hold another one, and record both
    #[arg(long)]
    map_names: bool,
    /// Replace files on the destination that differ
    #[arg(long)]
    overwrite: bool,
    /// Holes of sparse files
    #[arg(long, value_enum, default_value_t = SparseArg::Keep)]
    sparse: SparseArg,
    /// Read no faster than this per second, for example 50M
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit: Option<u64>,
    /// How often a file that failed is tried again
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    retries: u32,
    /// In large files, mark every so many bytes a place to go on from after an interruption
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = size)]
    checkpoint: u64,
}

fn size(text: &str) -> std::result::Result<u64, String> {
    match parse_bytes(text) {
        Ok(0) => Err("must be more than nothing".into()),
        Ok(n) => Ok(n),
        Err(e) => Err(e.to_string()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArg {
    /// By name
    Name,
    /// Least recently changed first
    Oldest,
    /// Smallest first
    Smallest,
    /// Largest first
    Largest,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LinksArg {
    /// Left out, and said so
    Skip,
    /// What they point to is copied
    Follow,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReadBackArg {
    /// While the next files are copied
    Overlapped,
    /// After everything is written
    End,
    /// Not at all: written, not verified
    No,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SparseArg {
    /// Stay holes where the destination can
    Keep,
    /// Are written as zeros
    Expand,
}

impl Tool for Copy {
    const NAME: &'static str = "copy";
    const ABOUT: &'static str = "Copy to disks and prove it: sums, read-back, resume, several disks at once";
    const EXAMPLES: &'static str =
        "  tomo copy scan1 /media/usb/beamtime              copy, record, read back; again after any interruption
  tomo copy scan1 scan2 --to /media/disk1 --to /media/disk2    two disks from one reading
  tomo copy /data/exp --to /media/disk1 --then /media/disk2    goes on with the second when the first is full
  tomo copy scan1 E:\\beamtime --dry-run --probe    what speaks against it, how fast the disk is
  tomo copy scan1 /media/usb --map-names           names Windows cannot hold get others, recorded
  tomo copy scan1 /media/usb --with-checker        the disk brings along what checks it at home
  tomo copy --verify /media/usb/beamtime           at home: is everything there, and unchanged?
  tomo copy /data/exp /media/usb --follow          during the experiment: files as they are finished
  tomo copy exp /media/usb --recad                 volumes as 8 bits, the float stays
  tomo copy exp /media/usb --include '*.vol' --exclude tmp --order oldest --limit 80M
";

    fn run(self, context: &Context) -> Result<Exit> {
        if self.trust.verify {
            return self.run_verify(context);
        }
        if self.following.follow {
            return self.run_follow(context);
        }
        let mut made = Made::default();
        let plan = copy::plan(&self.request(&mut made, context)?, &context.cancel)?;
        if self.how.dry_run || plan.verdict == Verdict::Refuse {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&plan_text(&plan))?,
            }
            return Ok(match plan.verdict {
                Verdict::Refuse => Exit::No,
                _ if !plan.unreadable().is_empty() => Exit::CouldNot,
                _ => Exit::Done,
            });
        }
        for f in &plan.findings {
            context.warn(&finding(f));
        }
        // A slip in a pattern must not look like a copy that was made.
        let s = &self.select;
        let chosen = !(s.include.is_empty() && s.exclude.is_empty() && s.files_from.is_none());
        let nothing_chosen = chosen && plan.files == 0;
        let named: Vec<PathBuf> = plan.targets.iter().map(|t| t.path.clone()).chain(self.then.clone()).collect();
        let done = match copy::execute(plan, &context.progress, &context.cancel) {
            Ok(done) => done,
            Err(e) => {
                // What arrived before is there, whatever stopped the rest.
                self.to_ledger(&named, context);
                return Err(e);
            }
        };
        self.to_ledger(done.targets.iter().map(|t| &t.path), context);
        for t in done.targets.iter().filter(|t| !self.how.no_ledger && !t.differing.is_empty()) {
            let noted = ledger::default_path().and_then(|l| ledger::rebuild::doubt(&l, &t.path, &t.differing));
            if let Err(e) = noted {
                context.warn(&format!("the ledger does not hear that files of {} changed: {e}", t.path.display()));
            }
        }
        match context.json {
            true => output::json(&done)?,
            false if !context.quiet => output::print(&done_text(&done))?,
            false => {}
        }
        list(&done.failed);
        let safe = done.targets.iter().all(|t| t.safe_to_unplug || t.full);
        Ok(exit_of(&done.failed).merge(if nothing_chosen { Exit::No } else { Exit::Done }).merge(unsafe_exit(safe)))
    }
}

fn list(failed: &[Failed]) {
    for f in failed {
        log::error!("{}: not on {}: {}", f.path, f.target.display(), f.why);
    }
    for f in failed.iter().take(50) {
        let line = format!("{}: not on {}: {}", f.path, f.target.display(), f.why);
        eprintln!("error: {}", human::on_one_line(&line));
    }
    if failed.len() > 50 {
        eprintln!("error: and {} more; all of them are in --json and --log", failed.len() - 50);
    }
}

/// 0: everything arrived; 1: something is not what it should be; 2: something could not be copied.
fn exit_of(failed: &[Failed]) -> Exit {
    match failed {
        [] => Exit::Done,
        _ if failed.iter().all(Failed::is_an_answer) => Exit::No,
        _ => Exit::CouldNot,
    }
}

/// A disk that must not be unplugged yet is never the good end; of a full one it is said, and that it is sealed.
fn unsafe_exit(safe: bool) -> Exit {
    if safe { Exit::Done } else { Exit::CouldNot }
}

impl Copy {
    fn request(&self, made: &mut Made, context: &Context) -> Result<Request> {
        let (mut sources, mut targets) = (self.paths.clone(), self.to.clone());
        if targets.is_empty() {
            targets.extend(sources.pop());
        }
        if sources.is_empty() {
            return Err(Error::caller("copy what, and where to?").hint("tomo copy SOURCE… DESTINATION"));
        }
        for t in targets.iter().chain(&self.then) {
            made.last(t, self.how.dry_run)?;
        }
        Ok(Request {
            select: Select {
                include: self.select.include.clone(),
                exclude: self.select.exclude.clone(),
                files_from: self.select.files_from.clone(),
                order: match self.select.order {
                    OrderArg::Name => Order::Name,
                    OrderArg::Oldest => Order::Oldest,
                    OrderArg::Smallest => Order::Smallest,
                    OrderArg::Largest => Order::Largest,
                },
                links: match self.select.links {
                    LinksArg::Skip => Links::Skip,
                    LinksArg::Follow => Links::Follow,
                },
                skip_unfinished: false,
            },
            spares: self.then.clone(),
            map_names: self.how.map_names,
            overwrite: self.how.overwrite,
            read_back: match self.trust.read_back {
                ReadBackArg::Overlapped => ReadBackWhen::Overlapped,
                ReadBackArg::End => ReadBackWhen::End,
                ReadBackArg::No => ReadBackWhen::No,
            },
            sparse: match self.how.sparse {
                SparseArg::Keep => Sparse::Keep,
                SparseArg::Expand => Sparse::Expand,
            },
            second_hash: self.trust.second_hash,
            rate: self.how.limit,
            retries: self.how.retries,
            look_only: self.how.dry_run,
            bag: self.trust.bag,
            hashdeep: self.trust.hashdeep,
            checkers: self.checkers()?,
            checkpoint: self.how.checkpoint,
            probe: self.how.probe,
            on_the_way: self.on_the_way()?,
            ..Request::new(sources, targets, context.budget)
        })
    }

    fn run_follow(&self, context: &Context) -> Result<Exit> {
        let time = Duration::from_secs_f64;
        let ask = |full: &Path| -> Option<PathBuf> {
            use std::io::IsTerminal;
            if !std::io::stdin().is_terminal() {
                return None;
            }
            eprintln!("{} is full. Folder on the next disk (nothing: stop):", full.display());
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).ok()?;
            let next = PathBuf::from(line.trim());
            next.is_dir().then_some(next)
        };
        let mut made = Made::default();
        let request = FollowRequest {
            copy: self.request(&mut made, context)?,
            settle: time(self.following.settle),
            every: time(self.following.every.max(0.1)),
            until_idle: self.following.until_idle.map(time),
            next: Box::new(ask),
        };
        let done = copy::follow(request, &context.progress, &context.cancel)?;
        self.to_ledger(done.sealed.iter().chain(&done.targets), context);
        match context.json {
            true => output::json(&done)?,
            false if !context.quiet => output::print(&followed_text(&done))?,
            false => {}
        }
        list(&done.failed);
        // Idle for long enough, but there was no last pass: something is away, or could not be read.
        let by_itself = self.following.until_idle.is_some() && !context.cancel.is_cancelled() && done.sealed.is_empty();
        let away = unsafe_exit(done.waiting_for.is_empty() && (done.finalised || !by_itself));
        let safe = unsafe_exit(done.safe_to_unplug || !done.finalised || !done.sealed.is_empty());
        // Between two rounds Ctrl-C is the usual end.
        let stopped = if done.interrupted { Exit::Interrupted } else { Exit::Done };
        Ok(exit_of(&done.failed).merge(away).merge(safe).merge(stopped))
    }

    /// Enters what the targets' records say into the user's ledger. The proof is on the disks: a ledger that cannot be
    /// written is a warning.
    fn to_ledger<'a>(&self, targets: impl IntoIterator<Item = &'a PathBuf>, context: &Context) {
        if self.how.no_ledger {
            return;
        }
        for target in targets.into_iter().filter(|t| t.join(JOURNAL).is_file()) {
            // After Ctrl-C too: it is what was done before that is entered.
            let entered = ledger::default_path().and_then(|l| ledger::rebuild::enter(&l, target, &Cancel::default()));
            if let Err(e) = entered {
                context.warn(&format!("not in the ledger (tomo ledger rebuild {}): {e}", target.display()));
            }
        }
    }

    /// The programs beside this one, and those that were named.
    fn checkers(&self) -> Result<Vec<Checker>> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for given in &self.trust.with_checker {
            if !given.is_empty() {
                paths.push(given.into());
                continue;
            }
            let own =
                std::env::current_exe().map_err(|e| Error::caller("this program does not find itself").source(e))?;
            let beside = own.parent().map(Checker::beside).unwrap_or_default();
            // A program of all tools checks disks as well, when it is called so.
            paths.extend(if beside.is_empty() { vec![own] } else { beside });
        }
        paths.iter().map(|p| Checker::of(p)).collect()
    }

    fn on_the_way(&self) -> Result<Option<OnTheWay>> {
        let a = &self.on_the_way;
        let depth = match a.recad.as_deref() {
            Some("16") => Depth::Sixteen,
            Some(_) => Depth::Eight,
            None if a.tiff => Depth::Eight,
            None if a.lock.is_some() => return Err(Error::caller("--lock goes with --recad or --tiff")),
            None => return Ok(None),
        };
        Ok(Some(OnTheWay { depth, tiff: a.tiff, lock: a.lock.clone() }))
    }

    fn run_verify(&self, context: &Context) -> Result<Exit> {
        if !self.to.is_empty() || !self.then.is_empty() {
            return Err(Error::caller("--verify copies nothing: name the disks to check"));
        }
        let how = How { sizes_only: self.trust.sizes_only, record: self.trust.record };
        verify::check_all(&self.paths, how, context, |report| {
            if self.how.no_ledger || report.sizes_only {
                return;
            }
            // Only what is there is brought up to date: a machine that checks a disk need not keep a ledger.
            let ledger = ledger::default_path().ok().filter(|l| l.exists());
            let noted = ledger.map_or(Ok(()), |l| ledger::rebuild::checked(&l, report));
            if let Err(e) = noted {
                context.warn(&format!("the ledger does not hear of this check: {e}"));
            }
        })
    }
}

/// Folders made for this copy. Those in which nothing came to be go again: a copy that is refused leaves nothing.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes the last part of a destination, never the parts before it: `/media/usb` that is not there is a disk that is
    /// not mounted, and writing there would fill the system's disk.
    fn last(&mut self, target: &Path, dry: bool) -> Result<()> {
        durable::refuse_name(target)?;
        if target.exists() {
            return Ok(());
        }
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() || disk::awaits_a_disk(parent) {
            return Err(Error::caller("the destination folder does not exist")
                .path(target)
                .hint("create it first; is the disk mounted?"));
        }
        if dry {
            return Ok(());
        }
        std::fs::create_dir(target).map_err(|e| Error::io(target, "creating the destination folder", e))?;
        self.0.push(target.to_owned());
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Only an empty folder can be removed so.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn finding(f: &Finding) -> String {
    let at = f.target.as_ref().map(|t| format!("{t}: ")).unwrap_or_default();
    let count = if f.count == 0 { String::new() } else { format!("{}: ", human::count(f.count, "file")) };
    let mut text = format!("{at}{count}{}", f.text);
    if !f.examples.is_empty() {
        let more = if f.count > f.examples.len() as u64 { ", …" } else { "" };
        text += &format!(": {}{more}", f.examples.join(", "));
    }
    text
}

fn plan_text(p: &Plan) -> String {
    let mut t = match p.verdict {
        Verdict::Go => "go",
        Verdict::Warn => "go, with warnings",
        Verdict::Refuse => "REFUSED: nothing is copied",
    }
    .to_owned();
    t += &format!("\n  {}, {}", human::count(p.files, "file"), human::bytes(p.bytes));
    if p.holes > 0 {
        t += &format!(" ({} of them holes of sparse files)", human::bytes(p.holes));
    }
    t.push('\n');
    for target in &p.targets {
        let what = match &target.volume {
            Some(v) => {
                let free = v.room().map_or("room not told".into(), |room| format!("{} free", human::bytes(room)));
                // Windows' name of the device says nothing to anybody.
                let place = if cfg!(windows) { &v.mount_point } else { &v.device };
                format!("{} on {}, {free}", v.fs, place.display())
            }
            None => "unknown file system".into(),
        };
        t += &format!("  {}  ({what})\n", target.path.display());
        t += &format!(
            "    to copy   {}, {}\n",
            human::count(target.copy_files, "file"),
            human::bytes(target.copy_bytes)
        );
        if target.verify_files > 0 {
            let (files, bytes) = (human::count(target.verify_files, "file"), human::bytes(target.verify_bytes));
            t += &format!("    to read   {files}, {bytes}, there already\n");
        }
        if target.convert_files > 0 {
            let bytes = human::bytes(target.convert_bytes);
            t += &format!("    to shrink {} on the way, to {bytes}\n", human::count(target.convert_files, "volume"));
        }
        if target.done_files > 0 {
            t += &format!(
                "    done      {}, {}\n",
                human::count(target.done_files, "file"),
                human::bytes(target.done_bytes)
            );
        }
        t += &format!("    takes     {} in whole clusters\n", human::bytes(target.needed_bytes));
        t += &format!("    read-back level '{}'\n", target.read_back);
        if let Some(probe) = &target.probe {
            let rate = human::bytes(probe.rate.write_per_s as u64);
            t += &format!(
                "    writes    {rate}/s: {} to copy\n",
                human::duration(Duration::from_secs_f64(probe.seconds))
            );
        }
    }
    for f in &p.findings {
        let mark = if f.verdict == Verdict::Refuse { "refused" } else { "warning" };
        t += &format!("  {mark}: {}\n", human::on_one_line(&finding(f)));
    }
    t
}

fn done_text(d: &Done) -> String {
    let mut t = String::new();
    for target in &d.targets {
        let rate = target.copied_bytes as f64 / d.seconds.max(1e-3);
        t += &format!(
            "{}: {}, {} in {} ({}/s)\n",
            target.path.display(),
            human::count(target.copied_files, "file"),
            human::bytes(target.copied_bytes),
            human::duration(Duration::from_secs_f64(d.seconds)),
            human::bytes(rate as u64),
        );
        let mut also = Vec::new();
        if target.skipped_files > 0 {
            also.push(format!("{} were verified there before", target.skipped_files));
        }
        if target.adopted_files > 0 {
            also.push(format!("{} were there already, with the same contents", target.adopted_files));
        }
        if target.resumed_bytes > 0 {
            also.push(format!("{} went on from an earlier run", human::bytes(target.resumed_bytes)));
        }
        if target.hole_bytes > 0 {
            also.push(format!("{} stayed holes", human::bytes(target.hole_bytes)));
        }
        if !also.is_empty() {
            t += &format!("  also      {}\n", also.join("; "));
        }
        t += &match target.level {
            Some(level) if level >= target.wanted => {
                let files = human::count(target.verified_files, "file");
                format!("  verified  {files} read back from the disk (level: {level})\n")
            }
            Some(level) => format!(
                "  read back {}, but only at level '{level}': this says little about the disk. Unmount and mount it, \
                 then: tomo copy --verify {}\n",
                human::count(target.verified_files, "file"),
                target.path.display(),
            ),
            None if target.copied_files + target.adopted_files == 0 => String::new(),
            None => format!("  NOT read back; later: tomo copy --verify {}\n", target.path.display(),),
        };
        let recorded = human::count(target.recorded_files, "file");
        t += &format!("  record    {recorded}, {} of them verified\n", target.recorded_verified);
        if let Some(why) = &target.stopped {
            t += &format!("  stopped   {why}\n");
        }
        t += match (target.safe_to_unplug, target.is_server) {
            (true, false) => "  Safe to unplug once ejected: everything is flushed, the end was read again.\n",
            (true, true) => "  Safe to leave: the server was given everything, the end was read again.\n",
            (false, _) => "  NOT safe to unplug.\n",
        };
    }
    if !d.failed.is_empty() {
        let is = if d.failed.len() == 1 { "is" } else { "are" };
        t += &format!("{} {is} NOT copied or NOT good, see below\n", human::count(d.failed.len() as u64, "file"));
    }
    t
}

fn followed_text(f: &Followed) -> String {
    let mut t = format!(
        "{}, {} copied in {}, {}; {} read back and good",
        human::count(f.copied_files, "file"),
        human::bytes(f.copied_bytes),
        human::count(f.rounds, "round"),
        human::duration(Duration::from_secs_f64(f.seconds)),
        f.verified_files,
    );
    if f.again > 0 {
        t += &format!("; {} changed and were copied again", f.again);
    }
    t += if f.finalised {
        "\n  The last pass over everything is done.\n"
    } else {
        "\n  Not finalised: for the last pass give the same command without --follow.\n"
    };
    for d in &f.sealed {
        t += &format!("  full and sealed: {}\n", d.display());
    }
    let what = if f.finalised { "still open or incomplete at the source" } else { "not on the disks yet" };
    for u in f.unfinished.iter().take(20) {
        t += &format!("  {what}: {u}\n");
    }
    if let Some(more @ 1..) = f.unfinished_files.checked_sub(20) {
        t += &format!("  {what}: {more} more\n");
    }
    for w in &f.waiting_for {
        t += &format!("  away: {w}\n");
    }
    t += if f.safe_to_unplug {
        "  Safe to unplug once ejected: everything is flushed, the end was read again.\n"
    } else {
        "  NOT safe to unplug: give the same command without --follow.\n"
    };
    t
}
