//! Interrupts: which device raises each, and whether the kernel keeps its affinity to itself.

use super::parent;
use crate::files::{Files, reading};

/// One interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irq {
    /// Its number.
    pub number: u32,
    /// Who raises it, as `/proc/interrupts` says: `nvme0q3`, `eth0-TxRx-1`, `virtio1-req.0`.
    pub name: String,
    /// The kernel chose its CPUs when the driver asked for them and refuses others.
    pub is_managed: bool,
}

impl Irq {
    /// Path of its affinity mask.
    pub fn affinity(&self) -> String {
        format!("/proc/irq/{}/smp_affinity", self.number)
    }

    /// Number of the queue it belongs to, by its name's last digits.
    pub fn queue(&self) -> Option<usize> {
        let name = self.name.split('@').next().unwrap_or(&self.name);
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        name[name.len() - digits..].parse().ok()
    }

    /// Neither configuration nor administration: it says that work is done.
    fn is_of_a_queue(&self) -> bool {
        const OTHERS: [&str; 10] = [
            "config", "control", "event", "async", "admin", "misc", "fdir", "lsc", "aen", "cmd",
        ];
        let name = self.name.to_ascii_lowercase();
        !OTHERS.iter().any(|other| name.contains(other)) && is_nvme(&self.name) != Some(0)
    }
}

/// Queue of an interrupt `nvme0q3`.
fn is_nvme(name: &str) -> Option<u32> {
    let (number, queue) = name.strip_prefix("nvme")?.split_once('q')?;
    number.parse::<u32>().ok()?;
    queue.parse().ok()
}

/// All interrupts with a number, in rising order.
pub fn read(files: &dyn Files) -> Vec<Irq> {
    let table = reading(files, "/proc/interrupts").text().unwrap_or_default();
    let mut lines = table.lines();
    let cpus = lines.next().map_or(0, |head| head.split_whitespace().count());
    let irq = |line: &str| {
        let (number, rest) = line.trim_start().split_once(':')?;
        let number = number.parse().ok()?;
        // Counts of each CPU, the controller, the hardware's number, then the name, which may hold spaces.
        let name = rest
            .split_whitespace()
            .skip(cpus + 2)
            .collect::<Vec<_>>()
            .join(" ");
        // With one controller's word less or more the name is still the end.
        let name = name.rsplit(' ').next().unwrap_or("").to_string();
        let is_managed = managed(files, number, &name);
        Some(Irq {
            number,
            name,
            is_managed,
        })
    };
    lines.filter_map(irq).collect()
}

/// The kernel says so where debugging is mounted and readable. Elsewhere the names tell: queues of NVMe (since Linux
/// 4.8) and of virtio-blk are spread by the block layer, queue by queue, over all CPUs.
fn managed(files: &dyn Files, number: u32, name: &str) -> bool {
    match reading(files, &format!("/sys/kernel/debug/irq/irqs/{number}")).text() {
        Some(state) => state.contains("IRQD_AFFINITY_MANAGED"),
        None => {
            is_nvme(name).is_some_and(|queue| queue > 0)
                || name.starts_with("virtio") && name.contains("-req.")
        }
    }
}

/// Interrupts of the queues of the device at `path`: the nearest directory above that lists message interrupts.
pub fn of_device<'a>(files: &dyn Files, path: &str, all: &'a [Irq]) -> Vec<&'a Irq> {
    let mut at = match files.resolve(path) {
        Ok(at) => at,
        Err(_) => return Vec::new(),
    };
    let numbers = loop {
        if !at.starts_with("/sys/devices/") {
            return Vec::new();
        }
        let numbers: Vec<u32> = files
            .list(&format!("{at}/msi_irqs"))
            .unwrap_or_default()
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        if !numbers.is_empty() {
            break numbers;
        }
        // Old line interrupts: 0 means none.
        let line = reading(files, &format!("{at}/irq")).text();
        if let Some(number) = line.and_then(|text| text.parse::<u32>().ok()).filter(|n| *n > 0) {
            break vec![number];
        }
        at = parent(&at).to_string();
    };
    all.iter()
        .filter(|irq| numbers.contains(&irq.number) && irq.is_of_a_queue())
        .collect()
}
