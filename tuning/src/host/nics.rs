//! Network interfaces that carry clients.

use super::Interfaces;
use crate::files::{Files, reading};

/// An interface with queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`.
    pub name: String,
    /// Receive queues: numbers in `queues/rx-N`, rising.
    pub receive: Vec<usize>,
    /// Send queues: numbers in `queues/tx-N`, rising.
    pub send: Vec<usize>,
}

impl Nic {
    /// Its directory.
    pub fn path(&self) -> String {
        format!("/sys/class/net/{}", self.name)
    }

    /// Path of a file of receive queue `queue`.
    pub fn rx(&self, queue: usize, file: &str) -> String {
        format!("{}/queues/rx-{queue}/{file}", self.path())
    }

    /// Path of a file of send queue `queue`.
    pub fn tx(&self, queue: usize, file: &str) -> String {
        format!("{}/queues/tx-{queue}/{file}", self.path())
    }
}

/// The interfaces meant, with every member of a bond in place of the bond.
pub fn read(files: &dyn Files, wanted: &Interfaces) -> Vec<Nic> {
    let names = match wanted {
        Interfaces::Named(names) => names.clone(),
        Interfaces::All => {
            let all = files.list("/sys/class/net").unwrap_or_default();
            all.into_iter().filter(|name| carries(files, name)).collect()
        }
    };
    let mut members: Vec<String> = Vec::new();
    for name in names {
        let slaves = reading(files, &format!("/sys/class/net/{name}/bonding/slaves")).text();
        match slaves {
            Some(slaves) => members.extend(slaves.split_whitespace().map(str::to_string)),
            None => members.push(name),
        }
    }
    members.sort_unstable();
    members.dedup();
    members
        .into_iter()
        .filter(|name| name != "lo")
        .map(|name| {
            let queues = files
                .list(&format!("/sys/class/net/{name}/queues"))
                .unwrap_or_default();
            let numbers = |kind: &str| {
                let mut numbers: Vec<usize> = queues
                    .iter()
                    .filter_map(|queue| queue.strip_prefix(kind)?.parse().ok())
                    .collect();
                numbers.sort_unstable();
                numbers
            };
            Nic {
                receive: numbers("rx-"),
                send: numbers("tx-"),
                name,
            }
        })
        .collect()
}

/// Up, with a device behind it or bonded from such.
fn carries(files: &dyn Files, name: &str) -> bool {
    let path = format!("/sys/class/net/{name}");
    let up = reading(files, &format!("{path}/operstate")).text();
    let real =
        files.resolve(&format!("{path}/device")).is_ok() || files.resolve(&format!("{path}/bonding")).is_ok();
    real && up.as_deref() == Some("up")
}
