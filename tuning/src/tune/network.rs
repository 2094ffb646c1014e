//! Tuners of interfaces and sockets.

use super::disk::spread;
use super::{Item, State, at_least, exact, mask};
use crate::host::cpus::Cpus;
use crate::host::{Host, Nic};

/// Flows remembered for receive flow steering, all queues together (the kernel's document suggests this many).
const FLOWS: u64 = 32_768;
const BACKLOG: u64 = 4_096;
/// Largest socket buffer wanted, bytes.
const BUFFER: u64 = 16 << 20;

/// One item saying that no interface is meant, if so.
fn none(host: &Host) -> Option<Vec<Item>> {
    host.nics.is_empty().then(|| {
        vec![Item::new("interfaces", State::NotApplicable).note(
            "clients come over loopback only (network.listen), or no interface is up; name one with --nic",
        )]
    })
}

pub(super) fn irqs(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let mut items = Vec::new();
    for nic in &host.nics {
        let irqs = host.queue_irqs(&format!("{}/device", nic.path()));
        if irqs.is_empty() {
            items.push(
                Item::new(format!("interrupts of {}", nic.name), State::NotApplicable)
                    .note("none listed: a virtual interface, or one whose driver polls"),
            );
        }
        items.extend(spread(host, &irqs, &host.shard_cpus));
    }
    items
}

/// Whether the hardware has a receive queue for each shard: then its interrupts place the packets, and steering in
/// software would only add a hop.
fn has_queue_for_each(host: &Host, nic: &Nic) -> bool {
    nic.receive.len() >= host.shard_cpus.len()
}

pub(super) fn steering(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    if host.shard_cpus.len() < 2 {
        return vec![
            Item::new("steering", State::NotApplicable).note("one shard: there is one place for a packet"),
        ];
    }
    let mut items = Vec::new();
    let mut in_software = false;
    for nic in &host.nics {
        if nic.receive.is_empty() {
            items
                .push(Item::new(format!("queues of {}", nic.name), State::NotApplicable).note("none listed"));
            continue;
        }
        if has_queue_for_each(host, nic) {
            items.push(
                Item::new(format!("receive queues of {}", nic.name), State::Ok)
                    .current(nic.receive.len().to_string())
                    .note("one for each shard: the hardware steers"),
            );
        } else {
            in_software = true;
            for &queue in &nic.receive {
                items.push(mask(host, &nic.rx(queue, "rps_cpus"), &host.shard_cpus));
                let flows = FLOWS / nic.receive.len().next_power_of_two() as u64;
                items.push(at_least(host, &nic.rx(queue, "rps_flow_cnt"), flows));
            }
        }
        // Each CPU sends through a queue of its own, or shares one with few others.
        if nic.send.len() > 1 {
            for (index, &queue) in nic.send.iter().enumerate() {
                let knob = nic.tx(queue, "xps_cpus");
                let cpus = host.shard_cpus.iter().enumerate();
                let own = Cpus::of(
                    cpus.filter(|(at, _)| at % nic.send.len() == index)
                        .map(|(_, cpu)| cpu),
                );
                if !own.is_empty() {
                    items.push(mask(host, &knob, &own));
                }
            }
        }
    }
    if in_software {
        items.push(at_least(host, "/proc/sys/net/core/rps_sock_flow_entries", FLOWS));
    }
    items
}

pub(super) fn depth(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let mut items = Vec::new();
    for nic in &host.nics {
        for (file, note) in [
            (
                "gro_flush_timeout",
                "nanoseconds that received packets wait to be joined; with napi_defer_hard_irqs it trades interrupts for delay",
            ),
            (
                "napi_defer_hard_irqs",
                "times that polling goes on without an interrupt; above 0 it needs gro_flush_timeout",
            ),
        ] {
            let knob = format!("{}/{file}", nic.path());
            if let Some(current) = host.reading(&knob).text() {
                items.push(Item::new(knob, State::Advice).current(current).note(note));
            }
        }
        items.push(
            Item::new(format!("rings and interrupt delay of {}", nic.name), State::Advice).note(format!(
                "look at `ethtool -g {0}` and `ethtool -c {0}`: rings as large as the hardware has them, adaptive-rx off and \
                 rx-usecs low for latency, on for throughput; `ethtool -K {0} ntuple on` where flow steering in hardware exists",
                nic.name
            )),
        );
    }
    for name in ["busy_poll", "busy_read"] {
        let knob = format!("/proc/sys/net/core/{name}");
        if let Some(current) = host.reading(&knob).text() {
            items.push(Item::new(knob, State::Advice).current(current).note(
                "microseconds to spin for packets; shards wait in io_uring, which spins on its own terms: leave it at 0",
            ));
        }
    }
    items
}

pub(super) fn listen_queues(host: &Host) -> Vec<Item> {
    vec![
        at_least(host, "/proc/sys/net/core/somaxconn", BACKLOG),
        at_least(host, "/proc/sys/net/ipv4/tcp_max_syn_backlog", BACKLOG),
        at_least(host, "/proc/sys/net/core/netdev_max_backlog", BACKLOG),
    ]
}

pub(super) fn tcp(host: &Host) -> Vec<Item> {
    let mut items = vec![exact(host, "/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0")];
    for name in ["tcp_rmem", "tcp_wmem"] {
        let knob = format!("/proc/sys/net/ipv4/{name}");
        let Some(current) = host.reading(&knob).text() else {
            continue;
        };
        let words: Vec<&str> = current.split_whitespace().collect();
        let most = words.last().and_then(|word| word.parse::<u64>().ok());
        let item = Item::new(knob, State::Ok).current(words.join(" "));
        items.push(match most {
            Some(most) if most < BUFFER => Item {
                state: State::Advice,
                ..item
            }
            .wanted(format!("a maximum of {BUFFER}"))
            .note("bounds what one connection has under way: matters beyond 1 Gbit/s times the round trip"),
            _ => item,
        });
    }
    items
}
