//! Where a run took place: everything about the machine that a figure depends on and that can be read without rights.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The generator's machine. What could not be read is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Facts by name, in the order of the report.
    pub facts: BTreeMap<String, String>,
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned()).filter(|t| !t.is_empty())
}

/// The value of `key : value` in a /proc file.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (k, v) = line.split_once(':')?;
        (k.trim() == key).then(|| v.trim().to_owned())
    })
}

impl Environment {
    /// Looks at this machine; `dir` lies on the device of interest, if known.
    pub fn look(dir: Option<&Path>) -> Environment {
        let mut facts = BTreeMap::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                facts.insert(name.to_owned(), value);
            }
        };
        put("tool", Some(format!("turgo {}", env!("CARGO_PKG_VERSION"))));
        let uname = rustix::system::uname();
        put(
            "kernel",
            Some(format!(
                "{} {}",
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            )),
        );
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        put("cpu", field(&cpuinfo, "model name"));
        put("microcode", field(&cpuinfo, "microcode"));
        put(
            "hypervisor",
            Some(
                if cpuinfo.contains(" hypervisor") {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
            ),
        );
        put(
            "cpus",
            std::thread::available_parallelism().ok().map(|n| n.to_string()),
        );
        put(
            "smt",
            read("/sys/devices/system/cpu/smt/active")
                .map(|v| if v == "1" { "on" } else { "off" }.to_owned()),
        );
        put(
            "governor",
            read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        );
        put(
            "turbo",
            read("/sys/devices/system/cpu/intel_pstate/no_turbo")
                .map(|v| if v == "1" { "off" } else { "on" }.to_owned())
                .or_else(|| {
                    read("/sys/devices/system/cpu/cpufreq/boost")
                        .map(|v| if v == "1" { "on" } else { "off" }.to_owned())
                }),
        );
        put(
            "memory",
            read("/proc/meminfo").and_then(|t| field(&t, "MemTotal")),
        );
        put(
            "clocksource",
            read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        );
        put("mitigations", mitigations());
        put("kernel command line", read("/proc/cmdline"));
        put("load before", read("/proc/loadavg"));
        put(
            "cgroup cpu limit",
            read("/sys/fs/cgroup/cpu.max").filter(|v| !v.starts_with("max")),
        );
        if let Some(dir) = dir {
            for (name, value) in storage(dir) {
                put(name, value);
            }
        }
        Environment { facts }
    }
}

/// How many known CPU weaknesses are mitigated.
fn mitigations() -> Option<String> {
    let entries = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities").ok()?;
    let (mut on, mut open) = (0, 0);
    for entry in entries.flatten() {
        match read(entry.path()) {
            Some(t) if t.starts_with("Mitigation") => on += 1,
            Some(t) if t.starts_with("Vulnerable") => open += 1,
            _ => {}
        }
    }
    Some(format!("{on} mitigated, {open} open"))
}

/// Filesystem and device below `dir`.
fn storage(dir: &Path) -> Vec<(&'static str, Option<String>)> {
    let Ok(dir) = dir.canonicalize() else {
        return Vec::new();
    };
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let mut best: Option<(usize, String, String)> = None;
    for line in mounts.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        if let [device, point, kind, options, ..] = parts[..]
            && dir.starts_with(point)
            && best.as_ref().is_none_or(|b| point.len() >= b.0)
        {
            best = Some((point.len(), device.to_owned(), format!("{kind} ({options})")));
        }
    }
    let Some((_, device, filesystem)) = best else {
        return Vec::new();
    };
    let name = device.trim_start_matches("/dev/").to_owned();
    // A partition's queue belongs to its disk.
    let disk = std::fs::canonicalize(format!("/sys/class/block/{name}"))
        .ok()
        .and_then(|p| {
            let own = p.join("queue").is_dir();
            if own {
                Some(p)
            } else {
                p.parent().map(Path::to_path_buf)
            }
        });
    let queue = |file: &str| disk.as_ref().and_then(|d| read(d.join("queue").join(file)));
    vec![
        ("filesystem", Some(filesystem)),
        ("device", Some(device)),
        (
            "disk model",
            disk.as_ref().and_then(|d| read(d.join("device/model"))),
        ),
        (
            "disk firmware",
            disk.as_ref().and_then(|d| read(d.join("device/firmware_rev"))),
        ),
        ("disk scheduler", queue("scheduler")),
        ("disk write cache", queue("write_cache")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_its_root_a_filesystem() {
        let env = Environment::look(Some(Path::new("/")));
        for name in ["tool", "kernel", "cpus", "memory", "filesystem"] {
            assert!(env.facts.contains_key(name), "{name} is missing: {env:?}");
        }
    }
}
