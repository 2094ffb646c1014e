//! The machine as tuners need it: CPUs, devices under the data, network interfaces, interrupts, what confines us.
//!
//! [`Host::read`] looks once, through [`Files`]; tuners judge what it holds and read single settings through
//! [`Host::reading`]. What is missing is `None` or empty, never an error.

pub mod cpus;
mod devices;
mod irqs;
mod nics;

use std::path::PathBuf;

use serde::Serialize;

use crate::files::{Files, Reading, reading};
use crate::preflight::facts::{self, Facts};
use cpus::Cpus;
pub use devices::{Device, Identity};
pub use irqs::Irq;
pub use nics::Nic;

/// Which interfaces carry clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Every one with hardware (or a hypervisor) behind it that is up: the broker listens on all addresses.
    All,
    /// These. Empty: clients come over loopback only.
    Named(Vec<String>),
}

impl Interfaces {
    /// Those that carry clients of a broker that listens on `addresses`, on this machine.
    pub fn of_listener(addresses: &[std::net::IpAddr]) -> Self {
        if addresses.iter().any(|address| address.is_unspecified()) {
            return Interfaces::All;
        }
        let known = crate::sys::addresses().unwrap_or_default();
        let mut names: Vec<String> = known
            .into_iter()
            .filter(|(_, address)| !address.is_loopback() && addresses.contains(address))
            .map(|(name, _)| name)
            .collect();
        names.dedup();
        Interfaces::Named(names)
    }
}

/// What the broker is going to use of the machine.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Where the machine's files are; `/`, except in tests.
    pub root: PathBuf,
    /// Data directory, absolute; it need not exist.
    pub data_dir: PathBuf,
    /// Interfaces of the listeners.
    pub interfaces: Interfaces,
    /// Shards; `None`: one for each CPU.
    pub shards: Option<usize>,
    /// Whether shards are bound to CPUs.
    pub pin_cores: bool,
}

/// What was found.
pub struct Host<'a> {
    files: &'a dyn Files,
    /// What the start-up checks read too: kernel, quota, memory, limits, filesystem.
    pub facts: Facts,
    /// CPUs that exist and are on.
    pub online: Cpus,
    /// CPUs this process may use (affinity, cpuset).
    pub allowed: Cpus,
    /// CPUs the shards will be bound to.
    pub shard_cpus: Cpus,
    /// Shards that will run.
    pub shards: usize,
    /// Whether shards are bound to CPUs.
    pub pin_cores: bool,
    /// NUMA nodes that are on, with their CPUs.
    pub nodes: Vec<Cpus>,
    /// Which kind of container this is, if it is one.
    pub container: Option<String>,
    /// Whether a hypervisor runs below.
    pub is_virtual: bool,
    /// Block devices under the data, from the top of the stack to its members.
    pub devices: Vec<Device>,
    /// Interfaces that carry clients, members of bonds included.
    pub nics: Vec<Nic>,
    /// All interrupts.
    pub irqs: Vec<Irq>,
    /// Identity of this boot; volatile settings die with it.
    pub boot_id: String,
    /// Data directory, absolute.
    pub data_dir: PathBuf,
}

/// The part of [`Host`] that output shows.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Kind of container.
    pub container: Option<String>,
    /// Whether a hypervisor runs below.
    pub is_virtual: bool,
    /// CPUs this process may use, as a list.
    pub cpus: String,
    /// NUMA nodes.
    pub numa_nodes: usize,
    /// Shards that will run.
    pub shards: usize,
    /// CPUs the shards will be bound to, as a list.
    pub shard_cpus: String,
    /// CPUs' worth of time the control groups allow.
    pub cpu_quota: Option<f64>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Its filesystem's type.
    pub filesystem: Option<String>,
    /// Block devices under it.
    pub devices: Vec<String>,
    /// Interfaces of the listeners.
    pub nics: Vec<String>,
}

impl<'a> Host<'a> {
    /// Looks at the machine behind `files`.
    pub fn read(files: &'a dyn Files, scope: &Scope) -> Self {
        let data_dir = if files.is_live() {
            let part = crate::preflight::existing_part(&scope.data_dir);
            part.canonicalize().unwrap_or(part)
        } else {
            scope.data_dir.clone()
        };
        let facts = facts::read(&scope.root, &data_dir);
        let text = |path: &str| reading(files, path).text();
        let online = text("/sys/devices/system/cpu/online").and_then(|list| Cpus::from_list(&list));
        let allowed = text("/proc/self/status").and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Cpus::from_list(line)
        });
        let online = online.or_else(|| allowed.clone()).unwrap_or_default();
        let allowed = allowed.map_or_else(|| online.clone(), |allowed| allowed.and(&online));
        let shards = scope.shards.unwrap_or(allowed.len()).max(1);
        let irqs = irqs::read(files);
        Host {
            shard_cpus: Cpus::of(allowed.iter().take(shards)),
            shards,
            pin_cores: scope.pin_cores,
            nodes: nodes(files),
            container: container(files),
            is_virtual: is_virtual(files),
            devices: devices::under(files, facts.filesystem.as_ref()),
            nics: nics::read(files, &scope.interfaces),
            irqs,
            boot_id: text("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            data_dir: scope.data_dir.clone(),
            files,
            facts,
            online,
            allowed,
        }
    }

    /// Reads one setting.
    pub fn reading(&self, path: &str) -> Reading {
        reading(self.files, path)
    }

    /// The files behind this.
    pub fn files(&self) -> &'a dyn Files {
        self.files
    }

    /// Names in a directory; none if it is not there.
    pub fn list(&self, path: &str) -> Vec<String> {
        self.files.list(path).unwrap_or_default()
    }

    /// Whether a file or directory is there.
    pub fn has(&self, path: &str) -> bool {
        self.files.resolve(path).is_ok()
    }

    /// Interrupts of the device at `path` below `/sys`, those of its queues only.
    pub fn queue_irqs(&self, path: &str) -> Vec<&Irq> {
        irqs::of_device(self.files, path, &self.irqs)
    }

    /// What output shows of it.
    pub fn seen(&self) -> Seen {
        Seen {
            kernel: self.facts.kernel_release.clone(),
            container: self.container.clone(),
            is_virtual: self.is_virtual,
            cpus: self.allowed.to_string(),
            numa_nodes: self.nodes.len(),
            shards: self.shards,
            shard_cpus: self.shard_cpus.to_string(),
            cpu_quota: self.facts.cpu_quota,
            data_dir: self.data_dir.clone(),
            filesystem: self.facts.filesystem.as_ref().map(|found| found.kind.clone()),
            devices: self.devices.iter().map(|device| device.name.clone()).collect(),
            nics: self.nics.iter().map(|nic| nic.name.clone()).collect(),
        }
    }
}

fn nodes(files: &dyn Files) -> Vec<Cpus> {
    let online = reading(files, "/sys/devices/system/node/online").text();
    let Some(online) = online.and_then(|list| Cpus::from_list(&list)) else {
        return Vec::new();
    };
    online
        .iter()
        .map(|node| {
            let list = reading(files, &format!("/sys/devices/system/node/node{node}/cpulist")).text();
            list.and_then(|list| Cpus::from_list(&list)).unwrap_or_default()
        })
        .collect()
}

/// Containers leave marks: files of their runtimes, a variable of the first process, the name of the control group.
fn container(files: &dyn Files) -> Option<String> {
    if files.resolve("/.dockerenv").is_ok() {
        return Some("docker".into());
    }
    if files.resolve("/run/.containerenv").is_ok() {
        return Some("podman".into());
    }
    if let Some(kind) = reading(files, "/run/systemd/container").text() {
        return Some(kind);
    }
    let environment = reading(files, "/proc/1/environ").text().unwrap_or_default();
    if let Some(kind) = environment
        .split('\0')
        .find_map(|variable| variable.strip_prefix("container="))
    {
        return Some(kind.to_string());
    }
    let groups = reading(files, "/proc/1/cgroup").text().unwrap_or_default();
    ["kubepods", "docker", "lxc", "containerd", "libpod"]
        .into_iter()
        .find(|kind| groups.contains(&format!("/{kind}")))
        .map(str::to_string)
}

fn is_virtual(files: &dyn Files) -> bool {
    if files.resolve("/sys/hypervisor/type").is_ok() {
        return true;
    }
    let cpus = reading(files, "/proc/cpuinfo").text().unwrap_or_default();
    cpus.lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// `path` without its last part.
fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

/// Last part of `path`.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Identity of the device under the data.
pub fn identity(host: &Host) -> Identity {
    Identity::of(host.files, host.facts.filesystem.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_choose_their_interfaces() {
        let of = |text: &str| Interfaces::of_listener(&[text.parse().unwrap()]);
        assert_eq!(of("0.0.0.0"), Interfaces::All);
        assert_eq!(of("::"), Interfaces::All);
        assert_eq!(of("127.0.0.1"), Interfaces::Named(Vec::new()));
        // Every address that this machine has leads to its interface; 203.0.113.0/24 is for documents.
        for (name, address) in crate::sys::addresses().unwrap() {
            if !address.is_loopback() {
                let Interfaces::Named(names) = Interfaces::of_listener(&[address]) else {
                    panic!("{address}")
                };
                assert!(names.contains(&name), "{address}: {names:?}");
            }
        }
        assert_eq!(of("203.0.113.7"), Interfaces::Named(Vec::new()));
    }
}
