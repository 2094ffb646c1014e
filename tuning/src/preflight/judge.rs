//! What the facts mean for a broker: findings with advice. Pure.

use super::facts::{Facts, Limit};
use super::{Finding, Inputs, Probes, Verdict};
use crate::sys::{self, DiskFault};

/// Oldest kernel whose io_uring has what the runtime uses.
const KERNEL_LEAST: (u32, u32) = (5, 8);
/// Oldest kernel the project is tested near to.
const KERNEL_WANTED: (u32, u32) = (5, 15);
/// Below this the runtime does not start a core.
const MEMLOCK_LEAST: u64 = 512 << 10;
/// Registered buffers of a core need about this.
const MEMLOCK_PER_SHARD: u64 = 1 << 20;
/// Files beside connections: segments, journal, rings.
const FILES_BESIDE: u64 = 4_096;
const FILES_LEAST: u64 = 256;
const MEMORY_LEAST: u64 = 256 << 20;
const MEMORY_PER_SHARD: u64 = 1 << 30;
const SPACE_LEAST: u64 = 64 << 20;
const SLOW_FLUSH_US: u32 = 5_000;

/// All findings, in the order in which they are shown.
pub fn judge(facts: &Facts, probes: &Probes, inputs: &Inputs) -> Vec<Finding> {
    let mut findings = Vec::new();
    kernel(facts, &mut findings);
    io_uring(facts, probes, &mut findings);
    memlock(facts, probes, inputs, &mut findings);
    open_files(facts, inputs, &mut findings);
    cpus(facts, inputs, &mut findings);
    memory(facts, inputs, &mut findings);
    clock(facts, &mut findings);
    filesystem(facts, &mut findings);
    disk(probes, inputs, &mut findings);
    space(probes, inputs, &mut findings);
    findings
}

fn push(findings: &mut Vec<Finding>, code: &'static str, verdict: Verdict, message: String, advice: &str) {
    let advice = Some(advice.to_string()).filter(|advice| !advice.is_empty());
    findings.push(Finding {
        code,
        verdict,
        message,
        advice,
    });
}

fn kernel(facts: &Facts, out: &mut Vec<Finding>) {
    let shown = facts.kernel_release.as_deref().unwrap_or("unknown");
    match facts.kernel {
        Some(version) if version < KERNEL_LEAST => push(
            out,
            "kernel",
            Verdict::Fatal,
            format!("Linux {shown} is too old"),
            "Use Linux 5.15 or later; 5.8 is the oldest that can work.",
        ),
        Some(version) if version < KERNEL_WANTED => push(
            out,
            "kernel",
            Verdict::Warning,
            format!("Linux {shown} is old for io_uring"),
            "Use Linux 5.15 or later: earlier ones lack fixes that long-running rings need.",
        ),
        Some(_) => push(out, "kernel", Verdict::Ok, format!("Linux {shown}"), ""),
        None => push(
            out,
            "kernel",
            Verdict::Warning,
            "the kernel's version cannot be read".into(),
            "Mount /proc, so that start-up checks can look.",
        ),
    }
}

fn io_uring(facts: &Facts, probes: &Probes, out: &mut Vec<Finding>) {
    match &probes.ring {
        Ok(probe) if probe.missing.is_empty() => {
            push(out, "io_uring", Verdict::Ok, "io_uring is available".into(), "")
        }
        Ok(probe) => push(
            out,
            "io_uring",
            Verdict::Fatal,
            format!("io_uring lacks operations: {}", probe.missing.join(", ")),
            "Use Linux 5.15 or later, or lift the restriction a sandbox puts on rings.",
        ),
        Err(errno) => {
            let (why, advice) = ring_refused(*errno, facts.io_uring_disabled);
            push(
                out,
                "io_uring",
                Verdict::Fatal,
                format!("io_uring cannot be used: {why}"),
                &advice,
            );
        }
    }
}

/// Why making a ring failed, and what to do.
pub(crate) fn ring_refused(errno: i32, disabled: Option<u32>) -> (String, String) {
    let filter = "A seccomp filter is the usual cause. Docker and Podman: run with --security-opt seccomp=FILE, \
                  where FILE is the default profile plus io_uring_setup, io_uring_enter and io_uring_register \
                  (or seccomp=unconfined). Kubernetes: a Localhost seccompProfile with the same calls. systemd: add \
                  the three calls to SystemCallFilter=.";
    match (errno, disabled) {
        (libc::EPERM, Some(2)) => (
            "kernel.io_uring_disabled is 2".into(),
            "Allow it on the host: sysctl -w kernel.io_uring_disabled=0, and put the line into /etc/sysctl.d.".into(),
        ),
        (libc::EPERM, Some(1)) => (
            "kernel.io_uring_disabled is 1, and this user is not in its group".into(),
            "Run sysctl -w kernel.io_uring_disabled=0 on the host, or put the broker's group id into \
             kernel.io_uring_group."
                .into(),
        ),
        (libc::EPERM | libc::EACCES, _) => ("the call is not permitted".into(), filter.into()),
        (libc::ENOSYS, _) => (
            "the call does not exist here".into(),
            format!("Either the kernel was built without CONFIG_IO_URING, or a sandbox hides it. {filter}"),
        ),
        (libc::ENOMEM, _) => (
            "no memory may be locked for a ring".into(),
            "Raise the limit of locked memory: LimitMEMLOCK=infinity in the unit, --ulimit memlock=-1 for Docker, \
             `ulimit -l unlimited` in a shell."
                .into(),
        ),
        (libc::EMFILE | libc::ENFILE, _) => {
            ("no file may be opened any more".into(), "Raise the limit of open files: LimitNOFILE=, `ulimit -n`.".into())
        }
        (errno, _) => (sys::words(errno), format!("Unexpected error {errno} of io_uring_setup. {filter}")),
    }
}

fn memlock(facts: &Facts, probes: &Probes, inputs: &Inputs, out: &mut Vec<Finding>) {
    let advice = "Raise it: LimitMEMLOCK=infinity in the unit, --ulimit memlock=-1 for Docker, \
                  `ulimit -l unlimited` in a shell.";
    if facts.may_lock_all {
        return push(
            out,
            "memlock",
            Verdict::Ok,
            "any amount of memory may be locked".into(),
            "",
        );
    }
    let refused = probes
        .ring
        .as_ref()
        .is_ok_and(|ring| ring.register_buffers.is_some());
    match facts.memlock {
        Some(Limit::Unlimited) => push(
            out,
            "memlock",
            Verdict::Ok,
            "any amount of memory may be locked".into(),
            "",
        ),
        Some(Limit::Value(limit)) if limit < MEMLOCK_LEAST => push(
            out,
            "memlock",
            Verdict::Fatal,
            format!(
                "only {} of memory may be locked; a core needs {}",
                show(limit),
                show(MEMLOCK_LEAST)
            ),
            advice,
        ),
        Some(Limit::Value(limit)) if limit < MEMLOCK_PER_SHARD * inputs.shards as u64 || refused => push(
            out,
            "memlock",
            Verdict::Warning,
            format!(
                "only {} of memory may be locked; cores run without registered buffers",
                show(limit)
            ),
            advice,
        ),
        Some(Limit::Value(limit)) => {
            push(
                out,
                "memlock",
                Verdict::Ok,
                format!("{} of memory may be locked", show(limit)),
                "",
            );
        }
        None if refused => push(
            out,
            "memlock",
            Verdict::Warning,
            "no buffer could be registered with a ring; cores run without".into(),
            advice,
        ),
        None => {}
    }
}

fn open_files(facts: &Facts, inputs: &Inputs, out: &mut Vec<Finding>) {
    let advice = "Raise it: LimitNOFILE= in the unit, --ulimit nofile= for Docker, `ulimit -n` in a shell; or lower \
                  network.max_connections.";
    let wanted = inputs.connections as u64 + FILES_BESIDE;
    match facts.open_files {
        None => {}
        Some(limit) if limit.allows(wanted) => {
            let shown = match limit {
                Limit::Unlimited => "any number of".to_string(),
                Limit::Value(limit) => limit.to_string(),
            };
            push(
                out,
                "open_files",
                Verdict::Ok,
                format!("{shown} files may be open"),
                "",
            );
        }
        Some(limit) => {
            let Limit::Value(limit) = limit else { return };
            let verdict = if limit < FILES_LEAST {
                Verdict::Fatal
            } else {
                Verdict::Warning
            };
            let message = format!(
                "{limit} files may be open; {} connections and the log's files may need {wanted}",
                inputs.connections
            );
            push(out, "open_files", verdict, message, advice);
        }
    }
}

fn cpus(facts: &Facts, inputs: &Inputs, out: &mut Vec<Finding>) {
    let Some(cpus) = facts.cpus else { return };
    let shards = inputs.shards;
    if shards > cpus {
        let message = format!("{shards} shards share {cpus} CPUs");
        return push(
            out,
            "cpus",
            Verdict::Warning,
            message,
            "Shards on one CPU wait for each other; lower node.cores (--cores).",
        );
    }
    match facts.cpu_quota {
        Some(quota) if quota < shards as f64 => push(
            out,
            "cpus",
            Verdict::Warning,
            format!("{shards} shards, but a quota of {quota:.1} CPUs"),
            "A quota stops all shards for the rest of each period. Assign whole CPUs instead (cpuset), or lower \
             node.cores and set node.pin_cores = false.",
        ),
        _ => push(out, "cpus", Verdict::Ok, format!("{shards} of {cpus} CPUs"), ""),
    }
}

fn memory(facts: &Facts, inputs: &Inputs, out: &mut Vec<Finding>) {
    let Some(memory) = facts.memory_bytes else { return };
    let each = memory / inputs.shards.max(1) as u64;
    if memory < MEMORY_LEAST {
        push(
            out,
            "memory",
            Verdict::Fatal,
            format!("{} of memory is not enough", show(memory)),
            "Give the machine or the container at least 256 MiB, better 1 GiB for each core.",
        );
    } else if each < MEMORY_PER_SHARD {
        push(
            out,
            "memory",
            Verdict::Warning,
            format!("{} of memory, {} for each core", show(memory), show(each)),
            "1 GiB for each core keeps tails in memory; less means reads from disk and earlier back-pressure. Lower \
             node.cores or add memory.",
        );
    } else {
        push(
            out,
            "memory",
            Verdict::Ok,
            format!("{} of memory", show(memory)),
            "",
        );
    }
}

fn clock(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(source) = facts.clock_source.as_deref() else {
        return;
    };
    if matches!(source, "hpet" | "acpi_pm" | "jiffies" | "pit" | "refined-jiffies") {
        push(
            out,
            "clock",
            Verdict::Warning,
            format!("the clock source is {source}: reading the time is a slow system call"),
            "Choose tsc in /sys/devices/system/clocksource/clocksource0/current_clocksource, if it is offered there.",
        );
    }
}

fn filesystem(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(found) = &facts.filesystem else { return };
    let place = format!("{} on {}", found.kind, found.mount_point.display());
    let (verdict, message, advice) = match found.kind.as_str() {
        "ext4" | "xfs" => (Verdict::Ok, place, ""),
        "tmpfs" | "ramfs" | "rootfs" => (
            Verdict::Fatal,
            format!("the data directory is on {place}: that is memory, and a restart loses it"),
            "Put the data on ext4 or XFS: --data DIR, or node.data_dir in the file. For records that need not \
             survive, durability=memory on a topic is faster and says so.",
        ),
        "overlay" | "aufs" => (
            Verdict::Warning,
            format!("the data directory is on {place}: the layer of a container, deleted with it"),
            "Mount a volume on ext4 or XFS and put the data there (docker run -v turgo-data:/data, --data /data).",
        ),
        "btrfs" | "zfs" | "bcachefs" => (
            Verdict::Warning,
            format!("the data directory is on {place}, which writes to a new place each time"),
            "Use ext4 or XFS: files written ahead then make a flush one write. On btrfs, chattr +C on the empty \
             directory helps.",
        ),
        kind if kind.starts_with("nfs")
            || kind.starts_with("fuse")
            || matches!(kind, "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" | "glusterfs") =>
        {
            (
                Verdict::Warning,
                format!("the data directory is on {place}: a flush means what the other side makes of it"),
                "Use a local disk with ext4 or XFS.",
            )
        }
        _ => (
            Verdict::Warning,
            format!("the data directory is on {place}, on which Turgo is not tested"),
            "Use ext4 or XFS.",
        ),
    };
    push(out, "filesystem", verdict, message, advice);
    if found
        .options
        .split(',')
        .any(|option| matches!(option, "nobarrier" | "barrier=0"))
    {
        push(
            out,
            "barriers",
            Verdict::Warning,
            format!(
                "{} is mounted without barriers: the disk may keep flushed data in a volatile cache",
                found.source
            ),
            "Remount with barrier=1, unless every cache below is protected against loss of power.",
        );
    }
}

fn disk(probes: &Probes, inputs: &Inputs, out: &mut Vec<Finding>) {
    let place = inputs.data_dir.display();
    match &probes.disk {
        None => {}
        Some(Ok(times)) => {
            let Some((median, worst)) = super::median_and_worst(times) else {
                return;
            };
            let message = format!(
                "a durable 4 KiB write takes {} us (median of {}, worst {worst})",
                median,
                times.len()
            );
            if median > SLOW_FLUSH_US {
                let advice = "Every acknowledgement waits at least that long, whatever the broker does. Use an SSD, \
                              better one with power-loss protection.";
                push(out, "flush", Verdict::Warning, message, advice);
            } else {
                push(out, "flush", Verdict::Ok, message, "");
            }
        }
        Some(Err(fault)) => {
            let (code, message, advice) = disk_fault(*fault, &place.to_string());
            push(out, code, Verdict::Fatal, message, &advice);
        }
    }
}

fn disk_fault(fault: DiskFault, place: &str) -> (&'static str, String, String) {
    match fault {
        DiskFault::Create(errno) => {
            let advice = match errno {
                libc::EACCES | libc::EPERM => {
                    format!("Give the broker's user the directory: chown -R USER {place}; or choose another with --data.")
                }
                libc::EROFS => "The filesystem is read-only: look into the kernel's log for the reason, repair and remount it.".into(),
                libc::ENOSPC | libc::EDQUOT => "Free some space: not even a 64 KiB file fits.".into(),
                libc::ENOTDIR => "Part of the path is a file; choose another directory with --data.".into(),
                _ => "Choose a directory on a local disk with --data.".into(),
            };
            ("data_dir", format!("cannot write in {place}: {}", sys::words(errno)), advice)
        }
        DiskFault::Direct(errno) => (
            "direct_io",
            format!("{place} has no direct IO (O_DIRECT): {}", sys::words(errno)),
            "Put the data on ext4 or XFS: --data DIR, or node.data_dir in the file.".into(),
        ),
        DiskFault::Prepare(errno) => (
            "data_dir",
            format!("writing 64 KiB in {place} failed: {}", sys::words(errno)),
            match errno {
                libc::ENOSPC | libc::EDQUOT => "Free some space.".into(),
                _ => "Look into the kernel's log; the device may be failing.".into(),
            },
        ),
        DiskFault::Write(libc::EINVAL) => (
            "direct_io",
            format!("{place} refuses direct writes of 4 KiB"),
            "The device's blocks are larger, or the filesystem has no real direct IO. Use a disk with blocks of 512 \
             or 4096 bytes and ext4 or XFS."
                .into(),
        ),
        DiskFault::Write(errno) => (
            "direct_io",
            format!("a direct write in {place} failed: {}", sys::words(errno)),
            "Look into the kernel's log; the device may be failing.".into(),
        ),
        DiskFault::Differs => (
            "direct_io",
            format!("{place} gave back other bytes than were written"),
            "Do not use this device: check it, its cabling and the machine's memory.".into(),
        ),
    }
}

fn space(probes: &Probes, inputs: &Inputs, out: &mut Vec<Finding>) {
    let Some(space) = probes.space else { return };
    let free = space.free_bytes;
    let journal_bytes = inputs
        .journal_bytes_per_shard
        .saturating_mul(inputs.shards as u64);
    let share = free as f64 * 100.0 / space.total_bytes.max(1) as f64;
    let shown = format!("{} ({share:.0} %) free for data", show(free));
    if inputs.fresh && free < SPACE_LEAST {
        // With data there it must start: deleting is how space comes back.
        return push(
            out,
            "space",
            Verdict::Fatal,
            shown,
            "Free some space or choose another directory with --data: a start needs at least 64 MiB.",
        );
    }
    if share <= inputs.produce_stop_free_percent {
        let message = format!(
            "{shown}; producing stops at {} %",
            inputs.produce_stop_free_percent
        );
        return push(
            out,
            "space",
            Verdict::Warning,
            message,
            "Records are refused until space is freed: shorten retention, trim or delete topics, or grow the disk.",
        );
    }
    if inputs.fresh && free < journal_bytes {
        let message = format!("{shown}; the journals alone grow to {}", show(journal_bytes));
        return push(
            out,
            "space",
            Verdict::Warning,
            message,
            "Lower journal.ring_bytes or node.cores, or use a larger disk.",
        );
    }
    push(out, "space", Verdict::Ok, shown, "");
}

/// Bytes for people, rounded.
pub(super) fn show(bytes: u64) -> String {
    let units: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (factor, unit) in units {
        if bytes >= factor {
            let value = bytes as f64 / factor as f64;
            return if value < 10.0 && !bytes.is_multiple_of(factor) {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
    }
    format!("{bytes} B")
}
