//! Block devices under a filesystem: the device itself, the disk a partition is on, members of md and dm stacks.

use serde::{Deserialize, Serialize};

use super::{last, parent};
use crate::files::{Files, reading};
use crate::preflight::Filesystem;

/// Deepest stack followed (partition on LVM on RAID on partitions is four); a loop of links ends here.
const DEPTH: usize = 8;

/// A block device with a request queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `nvme0n1`, `vda`, `md0`, `dm-3`.
    pub name: String,
    /// Its directory in `/sys/devices`.
    pub path: String,
    /// Whether it is made of other devices.
    pub is_stacked: bool,
}

impl Device {
    /// Path of a file of its queue.
    pub fn queue(&self, file: &str) -> String {
        format!("{}/queue/{file}", self.path)
    }

    /// Whether it sits behind the NVMe driver.
    pub fn is_nvme(&self) -> bool {
        self.name.starts_with("nvme")
    }

    /// Whether a hypervisor stands behind it: what it says about its nature is the hypervisor's guess.
    pub fn is_paravirtual(&self) -> bool {
        self.path.contains("/virtio") || self.name.starts_with("xvd")
    }
}

/// What tells one device from another over restarts; empty where the device does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Names now: `nvme0n1`, or `md0 sda sdb`.
    pub device: String,
    /// Models.
    #[serde(default)]
    pub model: String,
    /// Serial numbers or world-wide names.
    #[serde(default)]
    pub serial: String,
    /// Firmware revisions.
    #[serde(default)]
    pub firmware: String,
    /// Size of the device at the top, bytes.
    pub size_bytes: u64,
    /// Type of the filesystem.
    pub filesystem: String,
}

impl Identity {
    /// Of what lies under a filesystem.
    pub fn of(files: &dyn Files, filesystem: Option<&Filesystem>) -> Self {
        let devices = under(files, filesystem);
        let each = |names: &[&str]| {
            let one = |device: &Device| {
                let texts = names
                    .iter()
                    .filter_map(|name| reading(files, &format!("{}/{name}", device.path)).text());
                texts
                    .map(|text| text.trim().to_string())
                    .find(|text| !text.is_empty())
            };
            devices.iter().filter_map(one).collect::<Vec<_>>().join(" ")
        };
        let sectors = devices
            .first()
            .and_then(|device| reading(files, &format!("{}/size", device.path)).text());
        Identity {
            device: devices
                .iter()
                .map(|device| device.name.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            model: each(&["device/model"]),
            serial: each(&["device/serial", "serial", "wwid", "device/wwid"]),
            firmware: each(&["device/firmware_rev", "device/rev"]),
            size_bytes: sectors.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 512,
            filesystem: filesystem.map_or_else(String::new, |found| found.kind.clone()),
        }
    }

    /// Whether both are the same device under the same type of filesystem; `Err` says what differs. Names do not
    /// count, as they change with the order of discovery, unless nothing else tells.
    pub fn matches(&self, now: &Identity) -> Result<(), String> {
        let pairs = [
            ("filesystem", &self.filesystem, &now.filesystem),
            ("model", &self.model, &now.model),
            ("serial number", &self.serial, &now.serial),
            ("firmware", &self.firmware, &now.firmware),
        ];
        for (what, then, now) in pairs {
            if then != now {
                return Err(format!("its {what} was {then:?} and is {now:?}"));
            }
        }
        if self.size_bytes != now.size_bytes {
            return Err(format!(
                "its size was {} bytes and is {}",
                self.size_bytes, now.size_bytes
            ));
        }
        if self.serial.is_empty() && self.device != now.device {
            return Err(format!("it was {:?} and is {:?}", self.device, now.device));
        }
        Ok(())
    }
}

/// Devices under `filesystem`, the top first.
pub fn under(files: &dyn Files, filesystem: Option<&Filesystem>) -> Vec<Device> {
    let Some(filesystem) = filesystem else {
        return Vec::new();
    };
    // By number; by name for filesystems that hide their device's number (btrfs).
    let by_number = files.resolve(&format!("/sys/dev/block/{}", filesystem.device));
    let by_name = || {
        let source = files.resolve(&filesystem.source);
        let source = source.unwrap_or_else(|_| filesystem.source.clone());
        files.resolve(&format!("/sys/class/block/{}", last(&source)))
    };
    let mut devices = Vec::new();
    if let Ok(path) = by_number.or_else(|_| by_name()) {
        add(files, &path, DEPTH, &mut devices);
    }
    devices
}

fn add(files: &dyn Files, path: &str, depth: usize, devices: &mut Vec<Device>) {
    // A partition has no queue; its disk is the directory above.
    let path = if files.resolve(&format!("{path}/partition")).is_ok() {
        parent(path)
    } else {
        path
    };
    if depth == 0 || devices.iter().any(|device| device.path == path) {
        return;
    }
    let members = files.list(&format!("{path}/slaves")).unwrap_or_default();
    devices.push(Device {
        name: last(path).to_string(),
        path: path.to_string(),
        is_stacked: !members.is_empty(),
    });
    for member in members {
        if let Ok(path) = files.resolve(&format!("{path}/slaves/{member}")) {
            add(files, &path, depth - 1, devices);
        }
    }
}
