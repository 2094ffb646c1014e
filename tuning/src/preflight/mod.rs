//! Start-up checks: can this machine run a broker, how well, and what should the operator change.
//!
//! `turgo serve` calls [`raise_limits`] and [`check`] before anything else. Readers work below a root that
//! tests replace; the ring and disk probes touch the real machine, take a few milliseconds and leave
//! nothing behind. A fatal finding means that starting would fail or lose data.

pub(crate) mod facts;
mod judge;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use crate::sys::{DiskFault, RingProbe, Space};
pub use facts::{Facts, Filesystem, Limit};
pub(crate) use judge::ring_refused;

/// Longest time of the flush measurement.
const FLUSH_BUDGET: Duration = Duration::from_millis(40);

/// What the broker is going to do, as far as the checks depend on it.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// `/`, except in tests.
    pub root: PathBuf,
    /// Data directory; where it does not exist yet, its nearest existing parent is looked at.
    pub data_dir: PathBuf,
    /// Whether the data directory holds nothing yet.
    pub fresh: bool,
    /// Shards that will run; 0: one for each CPU.
    pub shards: usize,
    /// Client connections that may be open.
    pub connections: usize,
    /// Journal of each shard, bytes.
    pub journal_bytes_per_shard: u64,
    /// Free space at which producing stops, percent.
    pub produce_stop_free_percent: f64,
}

impl Inputs {
    /// Checks of `data_dir` on this machine with one shard for each CPU.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Inputs {
            root: PathBuf::from("/"),
            data_dir: data_dir.into(),
            fresh: true,
            shards: 0,
            connections: 1_000,
            journal_bytes_per_shard: 0,
            produce_stop_free_percent: 5.0,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will run, with a cost that the advice names.
    Warning,
    /// It must not start.
    Fatal,
}

/// One check's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, for scripts.
    pub code: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, in a sentence's half.
    pub message: String,
    /// What to do, in sentences; absent when all is well.
    pub advice: Option<String>,
}

/// What the probes of the real machine showed.
#[derive(Debug, Clone)]
pub struct Probes {
    /// A trial ring, or the errno that refused it.
    pub ring: Result<RingProbe, i32>,
    /// Microseconds of durable 4 KiB writes; `None`: not measured, as no ring could be had.
    pub disk: Option<Result<Vec<u32>, DiskFault>>,
    /// Space of the data directory's filesystem.
    pub space: Option<Space>,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Findings in a fixed order.
    pub findings: Vec<Finding>,
    /// What the machine's files say.
    pub facts: Facts,
    /// Median of the measured durable 4 KiB writes, microseconds.
    pub flush_median_us: Option<u32>,
    /// Slowest of them.
    pub flush_worst_us: Option<u32>,
    /// Free space for data, bytes.
    pub free_bytes: Option<u64>,
}

impl Report {
    /// Whether the broker must not start.
    pub fn is_fatal(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.verdict == Verdict::Fatal)
    }

    /// Findings that the operator should read.
    pub fn complaints(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Ok)
    }

    /// What is well, in one line.
    pub fn summary(&self) -> String {
        let good: Vec<&str> = self
            .findings
            .iter()
            .filter(|finding| {
                finding.verdict == Verdict::Ok && finding.code != "io_uring" && finding.code != "open_files"
            })
            .filter(|finding| finding.code != "memlock")
            .map(|finding| finding.message.as_str())
            .collect();
        good.join("; ")
    }
}

impl fmt::Display for Report {
    /// The summary, then each complaint with its advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.summary();
        if !summary.is_empty() {
            writeln!(f, "{summary}")?;
        }
        for finding in self.complaints() {
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Fatal => "error",
        };
        writeln!(f, "{word}: {} [{}]", self.message, self.code)?;
        match &self.advice {
            Some(advice) => writeln!(f, "    {advice}"),
            None => Ok(()),
        }
    }
}

/// Raises this process's soft limits of open files and locked memory to the hard ones.
pub fn raise_limits() {
    crate::sys::raise_limits();
}

/// Looks at the machine: below 100 ms, unless a single flush takes that long.
pub fn check(inputs: &Inputs) -> Report {
    let place = existing_part(&inputs.data_dir);
    let seen = std::path::absolute(&place)
        .and_then(|path| path.canonicalize())
        .unwrap_or_else(|_| place.clone());
    let facts = facts::read(&inputs.root, &seen);
    let ring = crate::sys::probe_ring();
    let volatile = facts
        .filesystem
        .as_ref()
        .is_some_and(|found| matches!(found.kind.as_str(), "tmpfs" | "ramfs"));
    // What is refused for its kind need not be measured.
    let disk = (ring.is_ok() && !volatile).then(|| crate::sys::probe_disk(&place, FLUSH_BUDGET));
    let space = crate::sys::space(&place).ok();
    report(facts, Probes { ring, disk, space }, inputs)
}

/// Judges facts and probes; pure.
pub fn report(facts: Facts, probes: Probes, inputs: &Inputs) -> Report {
    let mut inputs = inputs.clone();
    if inputs.shards == 0 {
        inputs.shards = facts.cpus.unwrap_or(1).max(1);
    }
    let findings = judge::judge(&facts, &probes, &inputs);
    let times = probes.disk.as_ref().and_then(|disk| disk.as_ref().ok());
    let flush = times.and_then(|times| median_and_worst(times));
    Report {
        findings,
        facts,
        flush_median_us: flush.map(|(median, _)| median),
        flush_worst_us: flush.map(|(_, worst)| worst),
        free_bytes: probes.space.map(|space| space.free_bytes),
    }
}

fn median_and_worst(times: &[u32]) -> Option<(u32, u32)> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

/// `path` or its nearest parent that exists.
pub(crate) fn existing_part(path: &Path) -> PathBuf {
    let mut part = path;
    loop {
        if part.as_os_str().is_empty() {
            return PathBuf::from(".");
        }
        if part.exists() {
            return part.to_path_buf();
        }
        match part.parent() {
            Some(parent) => part = parent,
            None => return PathBuf::from("/"),
        }
    }
}
