//! What the machine is: read from `/proc` and `/sys` below a root that tests replace.
//!
//! A missing or unreadable file is `None`, never an error: kernels and containers differ in what they show.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// None.
    Unlimited,
    /// At most this.
    Value(u64),
}

impl Limit {
    /// Whether at least `wanted` is allowed.
    pub fn allows(self, wanted: u64) -> bool {
        match self {
            Limit::Unlimited => true,
            Limit::Value(value) => value >= wanted,
        }
    }
}

/// The filesystem below the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// Type: `ext4`, `xfs`, `tmpfs`.
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What is mounted: a device for most.
    pub source: String,
    /// `MAJOR:MINOR` of the device; major 0 for filesystems that have none of their own.
    pub device: String,
    /// Options of the mount and of the filesystem, comma separated.
    pub options: String,
}

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Facts {
    /// `6.18.4-generic`.
    pub kernel_release: Option<String>,
    /// First two numbers of the release.
    pub kernel: Option<(u32, u32)>,
    /// `kernel.io_uring_disabled`: 0 open, 1 privileged only, 2 off. Absent before Linux 6.6.
    pub io_uring_disabled: Option<u32>,
    /// CPUs in the affinity mask.
    pub cpus: Option<usize>,
    /// CPUs' worth of time the control groups allow.
    pub cpu_quota: Option<f64>,
    /// Memory of the machine or the least limit of a control group, bytes.
    pub memory_bytes: Option<u64>,
    /// Soft limit of locked memory.
    pub memlock: Option<Limit>,
    /// The limit of locked memory does not apply (CAP_IPC_LOCK).
    pub may_lock_all: bool,
    /// Soft limit of open files.
    pub open_files: Option<Limit>,
    /// `tsc` and the like.
    pub clock_source: Option<String>,
    /// Filesystem of the data directory.
    pub filesystem: Option<Filesystem>,
}

const CAP_IPC_LOCK: u32 = 14;

/// Reads everything below `root`; `data` is an existing absolute path as the process sees it.
pub fn read(root: &Path, data: &Path) -> Facts {
    let status = text(root, "proc/self/status").unwrap_or_default();
    let limits = text(root, "proc/self/limits").unwrap_or_default();
    let release = text(root, "proc/sys/kernel/osrelease");
    let capabilities = field(&status, "CapEff")
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0);
    let groups = Groups::read(root);
    Facts {
        kernel: release.as_deref().and_then(version),
        kernel_release: release,
        io_uring_disabled: number(root, "proc/sys/kernel/io_uring_disabled")
            .and_then(|n| u32::try_from(n).ok()),
        cpus: field(&status, "Cpus_allowed_list").and_then(count_list),
        cpu_quota: groups.cpu_quota(root),
        memory_bytes: memory(root, &groups),
        memlock: limit(&limits, "Max locked memory"),
        may_lock_all: capabilities & (1 << CAP_IPC_LOCK) != 0,
        open_files: limit(&limits, "Max open files"),
        clock_source: text(
            root,
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
        filesystem: text(root, "proc/self/mountinfo").and_then(|table| mount_of(&table, data)),
    }
}

fn text(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim_end().to_string())
}

fn number(root: &Path, path: &str) -> Option<u64> {
    text(root, path)?.parse().ok()
}

/// First two numbers of `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The value of `Name:\tvalue`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// How many numbers `0-3,8` names.
fn count_list(list: &str) -> Option<usize> {
    let mut count = 0usize;
    for part in list.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Soft limit from the table in `/proc/self/limits`.
fn limit(table: &str, name: &str) -> Option<Limit> {
    let value = table
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?;
    if value == "unlimited" {
        Some(Limit::Unlimited)
    } else {
        value.parse().ok().map(Limit::Value)
    }
}

/// Control group directories of this process, relative to the root, from the leaf to the top.
struct Groups {
    unified: Vec<String>,
    memory: Vec<String>,
    cpu: Vec<String>,
}

impl Groups {
    fn read(root: &Path) -> Self {
        let mut groups = Groups {
            unified: Vec::new(),
            memory: Vec::new(),
            cpu: Vec::new(),
        };
        for line in text(root, "proc/self/cgroup").unwrap_or_default().lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if id == "0" && controllers.is_empty() {
                groups.unified = ancestors("sys/fs/cgroup", path);
                groups.unified.extend(ancestors("sys/fs/cgroup/unified", path));
            }
            for controller in controllers.split(',') {
                match controller {
                    "memory" => groups.memory = ancestors("sys/fs/cgroup/memory", path),
                    "cpu" => groups.cpu = ancestors("sys/fs/cgroup/cpu", path),
                    _ => {}
                }
            }
        }
        groups
    }

    /// The least quota on the way to the top.
    fn cpu_quota(&self, root: &Path) -> Option<f64> {
        let unified = self.unified.iter().filter_map(|group| {
            let text = text(root, &format!("{group}/cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.trim().parse::<f64>().ok()?)
        });
        let old = self.cpu.iter().filter_map(|group| {
            let quota: f64 = text(root, &format!("{group}/cpu.cfs_quota_us"))?.parse().ok()?;
            let period: f64 = text(root, &format!("{group}/cpu.cfs_period_us"))?.parse().ok()?;
            (quota > 0.0).then(|| quota / period)
        });
        unified
            .chain(old)
            .filter(|share| share.is_finite() && *share > 0.0)
            .reduce(f64::min)
    }
}

/// Inside a container the path of the group may not exist below the mount; the top then speaks for it.
fn ancestors(top: &str, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = path.trim_end_matches('/');
    while !rest.is_empty() {
        all.push(format!("{top}{rest}"));
        rest = rest.rfind('/').map_or("", |slash| &rest[..slash]);
    }
    all.push(top.to_string());
    all
}

fn memory(root: &Path, groups: &Groups) -> Option<u64> {
    let table = text(root, "proc/meminfo")?;
    let total = field(&table, "MemTotal")?
        .split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)?;
    let unified = groups
        .unified
        .iter()
        .filter_map(|group| number(root, &format!("{group}/memory.max")));
    let old = groups
        .memory
        .iter()
        .filter_map(|group| number(root, &format!("{group}/memory.limit_in_bytes")));
    Some(
        unified
            .chain(old)
            .filter(|limit| *limit > 0)
            .fold(total, u64::min),
    )
}

/// The mount that holds `path`: the longest mount point above it, the latest of equals.
fn mount_of(table: &str, path: &Path) -> Option<Filesystem> {
    let mut best: Option<Filesystem> = None;
    for line in table.lines() {
        // ID parent major:minor root MOUNT-POINT OPTIONS [tags] - TYPE SOURCE SUPER-OPTIONS
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(point), Some(options), Some(kind)) = (left.get(4), left.get(5), right.first()) else {
            continue;
        };
        let point = PathBuf::from(unescape(point));
        if !path.starts_with(&point) {
            continue;
        }
        if best
            .as_ref()
            .is_none_or(|best| point.components().count() >= best.mount_point.components().count())
        {
            best = Some(Filesystem {
                kind: kind.to_string(),
                mount_point: point,
                source: right.get(1).map_or_else(String::new, |source| unescape(source)),
                device: left.get(2).unwrap_or(&"").to_string(),
                options: format!("{options},{}", right.get(2).unwrap_or(&""))
                    .trim_end_matches(',')
                    .to_string(),
            });
        }
    }
    best
}

/// Spaces and the like are octal in mountinfo: `\040`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
