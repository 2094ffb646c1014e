//! Files that repeat settings after each start of the machine, for those who do not run `turgo-tune.service`.
//!
//! One file for each tuner and kind: `sysctl.d` for `/proc/sys`, rules of udev for queues of block devices (they come
//! and go), `tmpfiles.d` for the rest of `/sys`. Interrupts have no file: their numbers change from start to start, and
//! the service places them anew.

use super::{Change, Report};

/// The files for everything that `report` would set or finds set already, with the tuner of each.
pub fn files(report: &Report) -> Vec<(String, Change)> {
    let mut files = Vec::new();
    for found in &report.tuners {
        let (mut sysctl, mut udev, mut tmpfiles) = (Vec::new(), Vec::new(), Vec::new());
        for item in &found.items {
            let Some(Change::Set { path, value, .. }) = &item.keep else {
                continue;
            };
            if let Some(name) = path.strip_prefix("/proc/sys/") {
                sysctl.push(format!("{} = {value}", name.replace('/', ".")));
            } else if let Some((device, file)) = queue(path) {
                udev.push(format!(
                    "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"{device}\", ATTR{{queue/{file}}}=\"{value}\""
                ));
            } else if path.starts_with("/sys/") {
                tmpfiles.push(format!("w {path} - - - - {value}"));
            }
        }
        let name = found.name;
        let mut add = |path: String, lines: Vec<String>| {
            if lines.is_empty() {
                return;
            }
            let content = format!(
                "# Written by `turgo tune apply --persist {name}`; `turgo tune undo {name}` takes it away.\n{}\n",
                lines.join("\n")
            );
            files.push((name.to_string(), Change::File { path, content }));
        };
        add(format!("/etc/sysctl.d/60-turgo-{name}.conf"), sysctl);
        add(format!("/etc/udev/rules.d/60-turgo-{name}.rules"), udev);
        add(format!("/etc/tmpfiles.d/turgo-{name}.conf"), tmpfiles);
    }
    files
}

/// Device and file of a path in the queue of a block device.
fn queue(path: &str) -> Option<(&str, &str)> {
    let (device, file) = path.strip_prefix("/sys/")?.split_once("/queue/")?;
    Some((device.rsplit('/').next()?, file))
}
