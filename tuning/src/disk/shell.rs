//! Measures the disk under a directory: makes files without names, runs the steps of [`plan`](super::plan), keeps time.
//!
//! `turgo tune disk` calls [`measure`] and [`store`]. Everything is written inside the directory, to files that lose their
//! names as soon as they are open, so an end at any moment leaves nothing behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::plan::{self, CHUNK, Kind, Step};
use super::result::{self, Latency, Measured, NAME, Row};
use super::sys::{self, Timed, Work};
use super::{Options, Progress, Refused};
use crate::files::Below;
use crate::host::Identity;
use crate::preflight::{existing_part, facts};
use crate::sys as kernel;

/// Sizes of the file that stands for the journal, bytes: what is wanted and what is enough.
const FILE: u64 = 256 << 20;
const FILE_LEAST: u64 = 16 << 20;
/// Free space that stays untouched, bytes.
const SPARE: u64 = 64 << 20;

/// The files that are used, none of which has a name.
struct Place {
    /// Opened with `O_DSYNC`.
    durable: File,
    /// The same file without.
    plain: File,
    /// A second one, for what goes on beside.
    beside: File,
    /// Allocated, not written; opened with `O_DSYNC`.
    allocated: File,
    len: u64,
}

/// Identity of the device under `directory`, as `turgo serve` compares it.
pub fn identity(directory: &Path) -> Identity {
    let Ok(files) = Below::new(Path::new("/")) else {
        return Identity::default();
    };
    let place = existing_part(directory);
    let place = place.canonicalize().unwrap_or(place);
    let facts = facts::read(Path::new("/"), &place);
    Identity::of(&files, facts.filesystem.as_ref())
}

/// Measures the disk under `options.directory`, telling `progress` before each step.
pub fn measure(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Measured, Refused> {
    let directory = &options.directory;
    let began = Instant::now();
    let facts = look(directory)?;
    let kind = facts
        .filesystem
        .as_ref()
        .map_or_else(String::new, |found| found.kind.clone());
    let steps = plan::steps(options.time.mul_f64(0.9));
    let count = steps.len() + 1;
    progress(Progress {
        done: 0,
        count,
        what: "writing ahead".into(),
    });
    let place = prepare(directory, options.time / 4)?;
    let waited_before = cpu_wait();
    let stepping = Instant::now();
    let mut rows = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        progress(Progress {
            done: index + 1,
            count,
            what: name(step),
        });
        let timed = take(&place, step).map_err(|error| Refused::Failed {
            place: directory.clone(),
            what: name(step),
            errno: error.raw_os_error(),
            why: error.to_string(),
        })?;
        rows.push(row(step, &timed));
    }
    let cpu_wait_percent = match (waited_before, cpu_wait()) {
        (Some(before), Some(after)) => {
            let share = after.saturating_sub(before) as f64 / stepping.elapsed().as_micros().max(1) as f64;
            Some((share * 100.0).clamp(0.0, 100.0).round() as u32)
        }
        _ => None,
    };
    let floor = rows
        .iter()
        .find(|row| row.kind == Kind::WriteDurable.name() && row.block_bytes == 4096 && row.depth == 1)
        .map(|row| row.latency)
        .unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Measured {
        version: result::VERSION,
        date: result::date(now.as_secs()),
        kernel: facts.kernel_release.unwrap_or_default(),
        seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        cpu_wait_percent,
        notes: result::doubts(&rows, &kind, cpu_wait_percent),
        identity: identity(directory),
        floor,
        suggested: result::suggest(&rows, cpu_wait_percent),
        bandwidth: result::bandwidth(&rows),
        measured: rows,
    })
}

/// Microseconds during which some task of this machine waited for a CPU (pressure stall information), if it is counted.
fn cpu_wait() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some"))?;
    some.rsplit("total=").next()?.trim().parse().ok()
}

/// Refuses what cannot be measured honestly, before anything is written.
fn look(directory: &Path) -> Result<facts::Facts, Refused> {
    let place = directory.to_path_buf();
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Refused::NoDirectory(place)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Refused::Create {
                place,
                errno: libc::EACCES,
            });
        }
        Err(_) => return Err(Refused::NoDirectory(place)),
    }
    let real = directory.canonicalize().unwrap_or_else(|_| place.clone());
    let facts = facts::read(Path::new("/"), &real);
    if let Some(found) = &facts.filesystem
        && matches!(found.kind.as_str(), "tmpfs" | "ramfs" | "rootfs" | "devtmpfs")
    {
        return Err(Refused::Memory {
            place,
            kind: found.kind.clone(),
        });
    }
    if let Err(errno) = kernel::probe_ring() {
        return Err(Refused::NoRing {
            errno,
            disabled: facts.io_uring_disabled,
        });
    }
    Ok(facts)
}

fn prepare(directory: &Path, budget: Duration) -> Result<Place, Refused> {
    let place = directory.to_path_buf();
    let space = kernel::space(directory).map_err(|error| Refused::Create {
        place: place.clone(),
        errno: error.raw_os_error().unwrap_or(0),
    })?;
    // Three files at most.
    let most = space.free_bytes.saturating_sub(SPARE) / 3;
    let len = FILE.min(most) / CHUNK as u64 * CHUNK as u64;
    if len < FILE_LEAST {
        return Err(Refused::NoSpace {
            place,
            needed: FILE_LEAST * 3 + SPARE,
            free: space.free_bytes,
        });
    }
    let durable = Named::create(directory, "a")?;
    let [with_sync, plain] =
        [libc::O_DIRECT | libc::O_DSYNC, libc::O_DIRECT].map(|flags| durable.open(flags));
    let (with_sync, plain) = (with_sync?, plain?);
    drop(durable);
    let beside = Named::create(directory, "b")?;
    let second = beside.open(libc::O_DIRECT)?;
    drop(beside);
    let third = Named::create(directory, "c")?;
    let allocated = third.open(libc::O_DIRECT | libc::O_DSYNC)?;
    drop(third);
    let failed = |error: io::Error| Refused::Failed {
        place: directory.to_path_buf(),
        what: "writing ahead".into(),
        errno: error.raw_os_error(),
        why: error.to_string(),
    };
    let started = Instant::now();
    let len = write_ahead(&plain, len, budget, started).map_err(failed)?;
    // As long as the first, which was cut if the device is slow.
    write_ahead(&second, len, Duration::MAX, started).map_err(failed)?;
    sys::allocate(&allocated, len).map_err(failed)?;
    allocated.sync_all().map_err(failed)?;
    Ok(Place {
        durable: with_sync,
        plain,
        beside: second,
        allocated,
        len,
    })
}

/// Writes up to `len` bytes, at least [`FILE_LEAST`], for as long as the budget lasts; says how many.
fn write_ahead(file: &File, len: u64, budget: Duration, started: Instant) -> io::Result<u64> {
    let mut buffer = kernel::AlignedBuffer::new(CHUNK);
    buffer.bytes_mut().fill(0xa5);
    let mut at = 0;
    while at < len && (at < FILE_LEAST || started.elapsed() < budget) {
        file.write_all_at(buffer.bytes_mut(), at)?;
        at += CHUNK as u64;
    }
    file.sync_all()?;
    Ok(at)
}

/// A file that loses its name when this goes.
struct Named {
    path: PathBuf,
}

impl Named {
    fn create(directory: &Path, letter: &str) -> Result<Self, Refused> {
        let path = directory.join(format!(".turgo-measure-{}-{letter}", std::process::id()));
        let created = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        match created {
            Ok(_) => Ok(Named { path }),
            Err(error) => Err(Refused::Create {
                place: directory.to_path_buf(),
                errno: error.raw_os_error().unwrap_or(0),
            }),
        }
    }

    fn open(&self, flags: i32) -> Result<File, Refused> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&self.path)
            .map_err(|error| Refused::NoDirect {
                place: self.path.parent().unwrap_or(&self.path).to_path_buf(),
                errno: error.raw_os_error().unwrap_or(0),
            })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn take(place: &Place, step: &Step) -> io::Result<Timed> {
    let work = Work {
        file: match step.kind {
            Kind::WriteDurable => &place.durable,
            Kind::WriteAllocated => &place.allocated,
            Kind::WriteThenSync | Kind::Write | Kind::Read | Kind::ReadRandom => &place.plain,
        },
        len: if step.kind == Kind::WriteAllocated {
            // A half each for the two sizes: what was written once is no longer unwritten.
            place.len / 2
        } else {
            place.len
        },
        kind: step.kind,
        block: step.block_bytes,
        depth: step.depth,
    };
    if step.kind == Kind::WriteAllocated {
        place.allocated.set_len(0)?;
        sys::allocate(&place.allocated, place.len)?;
        place.allocated.sync_all()?;
    }
    let Some(beside) = step.beside else {
        return sys::run(&work, step.time, None);
    };
    let other = Work {
        file: &place.beside,
        len: place.len,
        kind: beside.kind,
        block: CHUNK,
        depth: beside.depth,
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| sys::run(&other, Duration::MAX, Some(&stop)));
        let timed = sys::run(&work, step.time, None);
        stop.store(true, Ordering::Relaxed);
        let other = running
            .join()
            .map_err(|_| io::Error::other("the thread beside ended"))?;
        other.and(timed)
    })
}

fn name(step: &Step) -> String {
    let beside = step.beside.map_or_else(String::new, |beside| {
        format!(", beside {} of 1 MiB", shown(beside))
    });
    format!(
        "{} {} KiB, {} at once{beside}",
        step.kind.name(),
        step.block_bytes >> 10,
        step.depth
    )
}

fn shown(beside: plan::Beside) -> String {
    format!("{} {}", beside.kind.name(), beside.depth)
}

/// Percentiles of a histogram of nanoseconds.
fn latency(times: &Histogram<u64>) -> Latency {
    let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
    Latency {
        samples: times.len(),
        p50_us: us(times.value_at_quantile(0.5)),
        p99_us: us(times.value_at_quantile(0.99)),
        p999_us: us(times.value_at_quantile(0.999)),
        max_us: us(times.max()),
    }
}

fn row(step: &Step, timed: &Timed) -> Row {
    let seconds = timed.elapsed.as_secs_f64().max(1e-9);
    let [first, second] = timed.bytes;
    Row {
        kind: step.kind.name().into(),
        block_bytes: step.block_bytes as u64,
        depth: step.depth as u32,
        beside: step.beside.map_or_else(String::new, shown),
        bytes_per_second: ((first + second) as f64 / seconds) as u64,
        // What ends after the step's time counts for its second half, which is then longer.
        late_bytes_per_second: (second as f64 / (seconds - step.time.as_secs_f64() / 2.0).max(1e-9)) as u64,
        latency: latency(&timed.times),
    }
}

/// Puts the result beside the data, durably.
pub fn store(directory: &Path, found: &Measured) -> Result<PathBuf, Refused> {
    let path = directory.join(NAME);
    let aside = directory.join(format!("{NAME}.new"));
    let write = || -> io::Result<()> {
        std::fs::write(&aside, result::print(found))?;
        File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| Refused::Create {
        place: directory.to_path_buf(),
        errno: error.raw_os_error().unwrap_or(0),
    })?;
    Ok(path)
}
