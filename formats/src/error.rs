//! The one error type of the project. An error says whose fault it is, which file, where in it, what was expected and
//! what was found, and gives one hint for what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for results with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is. Tools map it to an exit code and readers of logs to the person to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The file breaks its format's rules (truncated, corrupt, contradictory).
    File,
    /// The file is valid but uses something this reader does not support.
    Unsupported,
    /// The operating system refused: missing file, permission, full disk, I/O error.
    System,
    /// A limit protects the machine: sizes beyond the memory budget or beyond reason.
    Limit,
    /// The request makes no sense: bad option, region outside the volume, output exists.
    Caller,
    /// The user asked to stop.
    Interrupted,
}

/// An error with its place and a hint. Built step by step: `Error::file(path, "…").at(4).expected("…").found("…").hint("…")`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    expected: Option<String>,
    found: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a path; prefer the constructors that name the file.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            fault,
            message: message.into(),
            path: None,
            offset: None,
            expected: None,
            found: None,
            hint: None,
            source: None,
        }))
    }

    /// The file at `path` is broken.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::new(Fault::File, message).path(path)
    }

    /// The file at `path` is fine but needs something we do not have.
    pub fn unsupported(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::new(Fault::Unsupported, message).path(path)
    }

    /// The caller asked for something impossible.
    pub fn caller(message: impl Into<String>) -> Self {
        Self::new(Fault::Caller, message)
    }

    /// A size limit was met.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(Fault::Limit, message)
    }

    /// The user interrupted the run.
    pub fn interrupted() -> Self {
        Self::new(Fault::Interrupted, "interrupted")
    }

    /// An operating-system error while doing `what` (for example "reading") with `path`. Well-known kinds get a hint.
    pub fn io(path: impl AsRef<Path>, what: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let hint = match source.kind() {
            K::NotFound => Some("check the spelling and that the disk or network share is connected"),
            K::PermissionDenied if cfg!(windows) => Some(
                "close the programs that have it open, see whether it is read-only, or choose a folder of your own",
            ),
            K::PermissionDenied => Some("check who owns the file and folder; on a data PC choose a folder of your own"),
            K::ResourceBusy => Some("another program has it open: close that, then start the same command again"),
            _ if cfg!(windows) && matches!(source.raw_os_error(), Some(32 | 33)) => {
                Some("another program has it open: close that, then start the same command again")
            }
            K::StorageFull | K::QuotaExceeded => {
                Some("free space on the target or choose another disk; nothing was left under the final name")
            }
            K::ReadOnlyFilesystem => {
                Some("the target is read-only: choose another folder or remount the disk for writing")
            }
            _ => None,
        };
        let mut e = Self::new(Fault::System, format!("{what} failed")).path(path).source(source);
        e.0.hint = hint.map(str::to_owned);
        e
    }

    /// Names the file.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_owned());
        self
    }

    /// Names the file unless one is named already.
    pub fn or_path(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path.get_or_insert_with(|| path.as_ref().to_owned());
        self
    }

    /// Byte offset in the file.
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// What a correct file would hold.
    pub fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    /// What it holds.
    pub fn found(mut self, found: impl fmt::Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    /// What to do next, one sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The error underneath.
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// The advice that goes with the error, if any.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The file concerned, if known.
    pub fn file_path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// True where the operating system said the disk is full.
    pub fn is_storage_full(&self) -> bool {
        use std::io::ErrorKind as K;
        matches!(self.system(), Some(K::StorageFull | K::QuotaExceeded))
    }

    /// True where the operating system does not let this user look.
    pub fn is_denied(&self) -> bool {
        self.system() == Some(std::io::ErrorKind::PermissionDenied)
    }

    fn system(&self) -> Option<std::io::ErrorKind> {
        self.0.source.as_ref()?.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    }
}

impl fmt::Display for Error {
    /// The head of the chain only: `path: at byte 512: message (expected …, found …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &self.0;
        if let Some(p) = &i.path {
            write!(f, "{}: ", p.display())?;
        }
        if let Some(o) = i.offset {
            write!(f, "at byte {o}: ")?;
        }
        f.write_str(&i.message)?;
        match (&i.expected, &i.found) {
            (Some(e), Some(w)) => write!(f, " (expected {e}, found {w})"),
            (Some(e), None) => write!(f, " (expected {e})"),
            (None, Some(w)) => write!(f, " (found {w})"),
            (None, None) => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn StdError + 'static))
    }
}

/// Adds the path to an `io::Result`: `file.read_exact(..).on(path, "reading")?`.
pub trait OnPath<T> {
    /// Turns the I/O error into an [`Error`] naming `path` and what was being done.
    fn on(self, path: impl AsRef<Path>, what: &str) -> Result<T>;
}

impl<T> OnPath<T> for std::io::Result<T> {
    fn on(self, path: impl AsRef<Path>, what: &str) -> Result<T> {
        self.map_err(|e| Error::io(path, what, e))
    }
}
