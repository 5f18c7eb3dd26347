//! Arguments shared by the tools, and the context they run in.

use crate::cli::Exit;
use crate::cli::progress::Bars;
use crate::stream::{Budget, Cancel, parse_bytes};
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};
use tomokit_formats::{ByteOrder, CreateOptions, DType, Error, OpenOptions, Result, Shape, io};

/// No machine has more cores; beyond, starting threads takes longer than the work.
const MOST_THREADS: usize = 1024;

/// How to run: the same for every tool.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Memory to stay within, for example 4G or 25% [default: half of what is free]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// No progress, no remarks; errors only
    #[arg(long, short)]
    quiet: bool,
    /// Also write what happens to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// How to read what the files do not tell.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Reading")]
pub struct InputArgs {
    /// Dimensions of a headerless file: columns x rows x slices, for example 2048x2048x1000
    #[arg(long, value_name = "XxYxZ", value_parser = parse_dims)]
    dims: Option<Shape>,
    /// Type of a headerless file: uint8, uint16, float32, …
    #[arg(long, value_name = "TYPE", value_parser = parse_dtype)]
    dtype: Option<DType>,
    /// A headerless file holds the most significant byte first
    #[arg(long)]
    big_endian: bool,
    /// Bytes to skip at the start of a headerless file
    #[arg(long, value_name = "BYTES", value_parser = |s: &str| parse_bytes(s).map_err(|e| e.to_string()))]
    skip: Option<u64>,
    /// Insist on this format instead of recognising it
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
    /// Dataset inside an HDF5 file (or write FILE.h5:/path)
    #[arg(long, value_name = "PATH")]
    dataset: Option<String>,
    /// Projections of an HDF5 scan, where they are not found by themselves
    #[arg(long, value_name = "PATH")]
    image_path: Option<String>,
    /// Angles of an HDF5 scan, where they are not found by themselves
    #[arg(long, value_name = "PATH")]
    angle_path: Option<String>,
    /// Turn the rows of projections upside down
    #[arg(long)]
    flip_rows: bool,
    /// Never map files into memory (network disks that come and go)
    #[arg(long)]
    no_mmap: bool,
}

impl InputArgs {
    /// As options for the readers; decoded data may be cached within a small share of the budget.
    pub fn options(&self, budget: Budget) -> OpenOptions {
        OpenOptions {
            shape: self.dims,
            dtype: self.dtype,
            byte_order: self.big_endian.then_some(ByteOrder::Big),
            skip: self.skip,
            dataset: self.dataset.clone(),
            image_path: self.image_path.clone(),
            angle_path: self.angle_path.clone(),
            flip_rows: self.flip_rows,
            format: self.format.clone(),
            no_mmap: self.no_mmap,
            lenient: false,
            cache_bytes: budget.share(0.1),
        }
    }
}

/// How to write.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Writing")]
pub struct OutputArgs {
    /// Format to write: vol (floats only), raw, tiff, nexus, edf, npy, png; tomo convert also writes scans: flyscan, nxtomo, dxchange, edf-scan, tiff-scan [default: by the extension]
    #[arg(long, value_name = "FORMAT")]
    pub to: Option<String>,
    /// Kind of file where a format has several: series, multipage, bigtiff, imagej (TIFF); series, multi (EDF)
    #[arg(long, value_name = "KIND")]
    pub variant: Option<String>,
    /// Compression: none, deflate, zstd (as far as the format has it)
    #[arg(long, value_name = "NAME")]
    pub compression: Option<String>,
    /// Replace an output that exists
    #[arg(long)]
    pub overwrite: bool,
    /// Go on where an interrupted run stopped
    #[arg(long)]
    pub resume: bool,
    /// Print what would be done and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Read the output back and compare every value
    #[arg(long)]
    pub verify: bool,
    /// First number of per-slice files
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = file_number)]
    pub start_number: usize,
    /// No .mhd, .nhdr and ImageJ macro beside headerless volumes
    #[arg(long)]
    pub no_sidecars: bool,
}

impl OutputArgs {
    /// As options for the writers; shape, type and metadata are the caller's.
    pub fn create(&self, base: CreateOptions) -> CreateOptions {
        CreateOptions {
            overwrite: self.overwrite,
            resume: self.resume,
            start_number: self.start_number,
            compression: self.compression.clone(),
            variant: self.variant.clone(),
            sidecars: !self.no_sidecars,
            ..base
        }
    }
}

fn parse_dims(text: &str) -> std::result::Result<Shape, String> {
    let parts: Option<Vec<usize>> =
        text.split(['x', 'X', '×', ',']).map(|p| p.trim().parse().ok().filter(|n| *n > 0)).collect();
    match parts.as_deref() {
        Some([x, y, z]) => Ok(Shape::new(*z, *y, *x)),
        Some([x, y]) => Ok(Shape::new(1, *y, *x)),
        _ => Err("write columns x rows x slices, for example 2048x2048x1000".into()),
    }
}

fn parse_dtype(text: &str) -> std::result::Result<DType, String> {
    DType::parse(text).ok_or_else(|| {
        let known: Vec<_> = DType::ALL.iter().map(|d| d.name()).collect();
        format!("unknown type; known: {}", known.join(", "))
    })
}

/// Parses a count that cannot be zero.
pub fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("a whole number of at least 1".into()),
    }
}

/// Parses the first number of a series: together with the number of files it still has to be one that people read.
fn file_number(text: &str) -> std::result::Result<usize, String> {
    const MOST: usize = 999_999_999;
    text.parse().ok().filter(|n| *n <= MOST).ok_or_else(|| format!("a whole number from 0 to {MOST}"))
}

/// Parses a type name for other argument structs.
pub fn dtype_arg(text: &str) -> std::result::Result<DType, String> {
    parse_dtype(text)
}

/// Refuses a log that the command names a second time: as input, output, picture or lock.
fn refuse_named_twice(log: &Path, words: impl Iterator<Item = std::ffi::OsString>) -> Result<()> {
    let whole = |p: &Path| std::path::absolute(p).unwrap_or_else(|_| p.to_owned());
    let is_log = |word: &std::ffi::OsString| {
        // --option=FILE
        let text = word.to_string_lossy();
        let value = text.strip_prefix("--").and_then(|t| t.split_once('=')).map(|(_, value)| value.to_owned());
        let path = value.map_or_else(|| PathBuf::from(word), PathBuf::from);
        whole(&path) == whole(log)
    };
    if words.filter(is_log).count() > 1 {
        return Err(Error::caller("the log is a file that the same command names a second time")
            .path(log)
            .hint("name another file for --log"));
    }
    Ok(())
}

/// A log is added to, and only a log: a volume named by mistake would never be the same again.
fn open_log(path: &Path) -> Result<std::fs::File> {
    let failed = |e| Error::io(path, "opening the log file", e);
    match io::open_plain(path) {
        Ok(file) => {
            let mut start = Vec::new();
            file.take(10).read_to_end(&mut start).map_err(failed)?;
            // 12:34:56 [
            let like = |(i, b): (usize, &u8)| match i {
                2 | 5 => *b == b':',
                8 => *b == b' ',
                9 => *b == b'[',
                _ => b.is_ascii_digit(),
            };
            let is_log = start.len() == 10 && start.iter().enumerate().all(like);
            if !is_log && !start.is_empty() {
                return Err(Error::caller("this file is no log of tomokit: nothing is added to it")
                    .path(path)
                    .hint("name another file for --log"));
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(failed)
}

/// What a tool runs in.
pub struct Context {
    /// Memory to stay within.
    pub budget: Budget,
    /// Set by Ctrl-C.
    pub cancel: Cancel,
    /// The terminal's progress.
    pub progress: Bars,
    /// Print JSON.
    pub json: bool,
    /// Say nothing but errors.
    pub quiet: bool,
    tool: &'static str,
}

impl Context {
    /// Sets up threads, budget, log file and the Ctrl-C handler.
    pub fn new(args: &RunArgs, tool: &'static str) -> Result<Context> {
        if let Some(path) = &args.log {
            refuse_named_twice(path, std::env::args_os().skip(1))?;
            let file = open_log(path)?;
            let _ = simplelog::WriteLogger::init(log::LevelFilter::Info, simplelog::Config::default(), file);
            let given: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
            log::info!("tomokit {} {tool}: {}", env!("CARGO_PKG_VERSION"), given.join(" "));
        }
        if let Some(n) = args.threads {
            if !(1..=MOST_THREADS).contains(&n) {
                return Err(Error::caller("--threads cannot be used")
                    .expected(format!("1 to {MOST_THREADS}"))
                    .found(n));
            }
            let _ = rayon::ThreadPoolBuilder::new().num_threads(n).build_global();
        }
        // A file that grew to its limit (ulimit -f) is an error like a full disk, not the end of the program.
        #[cfg(unix)]
        // SAFETY: no handler of ours is replaced; the call then fails with EFBIG.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
        let budget = match &args.memory {
            Some(text) => Budget::parse(text)?,
            None => Budget::of_this_machine(),
        };
        let cancel = Cancel::default();
        let flag = cancel.clone();
        // A second Ctrl-C does not wait for the current block. Unfinished outputs carry no final name either way.
        let _ = ctrlc::set_handler(move || {
            if flag.is_cancelled() {
                eprintln!("error: interrupted twice, stopped at once; unfinished outputs are left as .part");
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            flag.cancel();
        });
        Ok(Context { budget, cancel, progress: Bars::new(args.quiet), json: args.json, quiet: args.quiet, tool })
    }

    /// Last words to the log.
    pub fn close(&self, exit: Exit) -> Exit {
        log::info!("{} ends with exit code {}", self.tool, exit.code());
        exit
    }

    /// Prints a warning unless quiet.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            super::report::warn(text);
        } else {
            log::warn!("{text}");
        }
    }
}
