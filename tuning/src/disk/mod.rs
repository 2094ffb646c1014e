//! How long a durable write takes: the floor under every acknowledgement.
//!
//! [`shell::measure`] looks at everything the broker asks of a disk and takes half a minute; its [`result`] is stored
//! beside the data, and [`load`] gives it to `turgo serve` at start. [`durable_writes`] is the quick look of other tools.

pub mod plan;
pub mod result;
pub mod shell;
mod sys;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys as kernel;
use result::{Measured, NAME};

/// Least and most time of a measurement.
pub const TIMES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory, or any other on the disk meant. It must exist.
    pub directory: PathBuf,
    /// About how long.
    pub time: Duration,
}

/// Where a measurement is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub count: usize,
    /// What comes now.
    pub what: String,
}

/// Why there is no measurement. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such directory.
    NoDirectory(PathBuf),
    /// It cannot be written in.
    Create {
        /// The directory.
        place: PathBuf,
        /// Error of the system.
        errno: i32,
    },
    /// It is memory, whose speed says nothing.
    Memory {
        /// The directory.
        place: PathBuf,
        /// Type of the filesystem.
        kind: String,
    },
    /// There is no direct IO.
    NoDirect {
        /// The directory.
        place: PathBuf,
        /// Error of the system.
        errno: i32,
    },
    /// There is no room.
    NoSpace {
        /// The directory.
        place: PathBuf,
        /// Free bytes needed.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// Rings are refused.
    NoRing {
        /// Error of the system.
        errno: i32,
        /// `kernel.io_uring_disabled`.
        disabled: Option<u32>,
    },
    /// A step failed.
    Failed {
        /// The directory.
        place: PathBuf,
        /// The step.
        what: String,
        /// Error of the system.
        errno: Option<i32>,
        /// Its words.
        why: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoDirectory(place) => {
                write!(
                    f,
                    "{} is no directory that exists; make it first",
                    place.display()
                )
            }
            Refused::Create { place, errno } => {
                let advice = match *errno {
                    libc::EACCES | libc::EPERM => "run as the broker's user or as root",
                    libc::EROFS => "the filesystem is read-only",
                    libc::ENOSPC | libc::EDQUOT => "free some space",
                    _ => "choose another directory",
                };
                let (place, words) = (place.display(), kernel::words(*errno));
                write!(f, "cannot write in {place}: {words}; {advice}")
            }
            Refused::Memory { place, kind } => write!(
                f,
                "{} is on {kind}: that is memory, and its speed says nothing about durable writes. Name a directory on the \
                 disk that will hold the data",
                place.display()
            ),
            Refused::NoDirect { place, errno } => write!(
                f,
                "{} has no direct IO (O_DIRECT): {}. What is measured through the page cache is the cache; use ext4 or XFS",
                place.display(),
                kernel::words(*errno)
            ),
            Refused::NoSpace { place, needed, free } => write!(
                f,
                "{} has {} MiB free and {} are needed; free some space or name another directory on the same disk",
                place.display(),
                free >> 20,
                needed >> 20
            ),
            Refused::NoRing { errno, disabled } => {
                let (why, advice) = crate::preflight::ring_refused(*errno, *disabled);
                write!(f, "io_uring cannot be used: {why}. {advice}")
            }
            Refused::Failed {
                place,
                what,
                errno,
                why,
            } => {
                let advice = match errno {
                    Some(libc::ENOSPC | libc::EDQUOT) => "free some space",
                    Some(libc::EINVAL) => {
                        "the filesystem refuses direct writes of 4 KiB; use ext4 or XFS on blocks of 512 or 4096 bytes"
                    }
                    Some(libc::EOPNOTSUPP) => "the filesystem cannot allocate space; use ext4 or XFS",
                    _ => "look into the kernel's log; the device may be failing",
                };
                write!(f, "{}: {what} failed: {why}; {advice}", place.display())
            }
        }
    }
}

impl std::error::Error for Refused {}

/// The stored result of a data directory, as the broker may use it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// Of this device.
    Valid(Box<Measured>),
    /// There, but not to be believed, for this reason.
    Ignored(String),
    /// There is none.
    Absent,
}

/// Reads the result stored in `directory` and compares the device.
pub fn load(directory: &Path) -> Stored {
    let path = directory.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Stored::Absent,
        Err(error) => return Stored::Ignored(format!("{}: {error}", path.display())),
    };
    judge(&path, &text, &shell::identity(directory))
}

fn judge(path: &Path, text: &str, now: &crate::host::Identity) -> Stored {
    let ignored = |why: String| {
        let again = path.parent().unwrap_or(path).display();
        Stored::Ignored(format!(
            "{} is ignored: {why}; measure again with `turgo tune disk {again}`",
            path.display()
        ))
    };
    match result::parse(text) {
        Err(why) => ignored(why),
        Ok(found) => match found.identity.matches(now) {
            Ok(()) => Stored::Valid(Box::new(found)),
            Err(why) => ignored(format!("it was measured on another device: {why}")),
        },
    }
}

/// Nanoseconds of `count` direct synchronous writes of 4 KiB at depth 1 to pre-written files in `directory`, in the
/// order measured, at a resolution of a microsecond. Nothing is left behind.
pub fn durable_writes(directory: &Path, count: usize) -> std::io::Result<Vec<u64>> {
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let some = kernel::probe_disk(directory, Duration::from_secs(1))
            .map_err(|fault| std::io::Error::other(format!("{}: {fault:?}", directory.display())))?;
        times.extend(some.into_iter().map(|us| u64::from(us) * 1_000));
    }
    times.truncate(count);
    Ok(times)
}
