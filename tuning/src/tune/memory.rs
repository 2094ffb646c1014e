//! Tuners of memory.

use super::{Item, State, at_least, choice};
use crate::host::Host;

pub(super) fn swap(host: &Host) -> Vec<Item> {
    let mut items = vec![super::setting(
        host,
        "/proc/sys/vm/swappiness",
        super::Form::Words,
        "1",
        |current| current == "0",
    )];
    let swaps = host.reading("/proc/swaps").text().unwrap_or_default();
    let devices: Vec<&str> = swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    items.push(if devices.is_empty() {
        Item::new("swap", State::Ok).current("none")
    } else {
        Item::new("swap", State::Ok).current(devices.join(" ")).note(
            "MemorySwapMax=0 in turgo.service keeps the broker out of it; started otherwise, turn swap off or confine it",
        )
    });
    items
}

pub(super) fn hugepages(host: &Host) -> Vec<Item> {
    let base = "/sys/kernel/mm/transparent_hugepage";
    vec![
        // `never` was somebody's decision and costs no stall.
        choice(host, &format!("{base}/enabled"), &["madvise"], &["never"]),
        choice(
            host,
            &format!("{base}/defrag"),
            &["madvise"],
            &["never", "defer", "defer+madvise"],
        ),
    ]
}

/// Share of memory between the marks of the background reclaimer, in units of 1/10,000: 0.5 %.
const WATERMARKS: u64 = 50;

pub(super) fn watermarks(host: &Host) -> Vec<Item> {
    vec![at_least(host, "/proc/sys/vm/watermark_scale_factor", WATERMARKS)]
}

const WANTED_PER_SHARD: u64 = 2 << 30;

pub(super) fn memory_per_core(host: &Host) -> Vec<Item> {
    let knob = "memory for each shard";
    let Some(memory) = host.facts.memory_bytes else {
        return vec![Item::new(knob, State::Unknown).note("/proc/meminfo cannot be read")];
    };
    let each = memory / host.shards as u64;
    let item = Item::new(knob, State::Ok).current(format!("{} MiB", each >> 20));
    vec![if each < WANTED_PER_SHARD {
        Item {
            state: State::Advice,
            ..item
        }
        .wanted(format!("{} MiB", WANTED_PER_SHARD >> 20))
        .note("less means shorter tails in memory, so more reads from disk: add memory or lower node.cores")
    } else {
        item
    }]
}
