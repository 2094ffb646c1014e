//! Workloads with a name: the published ones and those that others found to hurt.
//!
//! Rates and sizes are as published; `--scale` makes them fit a machine, and the report says so. The list in
//! `docs/benchmarks.md` tells where each is from.

use crate::schedule::Shape;
use crate::spec::{Acks, Workload};
use crate::values::{Keys, Size};

/// A preset and why it exists.
pub struct Preset {
    /// Name.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    make: fn() -> Workload,
}

const KIB: usize = 1024;
const GIB: u64 = 1 << 30;

/// What most published workloads share: 1 KiB, three copies, acks=all, tail readers.
fn published(rate: f64, partitions: u32, producers: u32, consumers: u32, seconds: f64) -> Workload {
    Workload {
        rate: Some(rate),
        partitions,
        producers,
        groups: 1,
        consumers,
        size: Size::Fixed(KIB),
        linger_us: 1_000,
        batch_bytes: 128 * KIB,
        warmup_s: 30.0,
        duration_s: seconds,
        ..Workload::default()
    }
}

/// All presets.
pub const ALL: &[Preset] = &[
    Preset {
        name: "ack-latency",
        about: "1,000 records/s of 1 KiB, each a batch of its own: what an acknowledgement costs beside the flush",
        make: || Workload {
            rate: Some(1_000.0),
            batch_records: 1,
            duration_s: 60.0,
            ..Workload::default()
        },
    },
    Preset {
        name: "ping-pong",
        about: "one record in flight (closed loop), for comparison with tools that can do nothing else",
        make: || Workload {
            rate: None,
            shape: Shape::Closed,
            in_flight: 1,
            batch_records: 1,
            duration_s: 30.0,
            ..Workload::default()
        },
    },
    Preset {
        name: "steady-200k",
        about: "200,000/s x 1 KiB, 100 partitions, 4 producers, 4 consumers (Confluent's OMB results, 2020)",
        make: || published(200_000.0, 100, 4, 4, 600.0),
    },
    Preset {
        name: "release-625k",
        about: "625,000/s x 1 KiB, 100 partitions, 16 producers, 8 consumers (Redpanda's release smoke test)",
        make: || published(625_000.0, 100, 16, 8, 300.0),
    },
    Preset {
        name: "batch-1g",
        about: "1 GB/s in batches of 250 x 1,000 B from 16 producers (Iggy's published benchmark)",
        make: || Workload {
            rate: Some(1_000_000.0),
            burst: 250,
            batch_records: 250,
            batch_bytes: 512 * KIB,
            size: Size::Fixed(1_000),
            topics: 16,
            partitions: 1,
            producers: 16,
            idempotent: true,
            warmup_s: 10.0,
            duration_s: 60.0,
            ..Workload::default()
        },
    },
    Preset {
        name: "small-batches",
        about: "30,000/s x 100 B, each record a batch, 100 partitions, 10 producers (Redpanda's test)",
        make: || Workload {
            rate: Some(30_000.0),
            batch_records: 1,
            linger_us: 1_000,
            partitions: 100,
            producers: 10,
            groups: 1,
            consumers: 10,
            size: Size::Fixed(100),
            sticky: false,
            warmup_s: 30.0,
            duration_s: 60.0,
            ..Workload::default()
        },
    },
    Preset {
        name: "many-producers",
        about: "500 MB/s from 50 producers, 288 partitions (Vanlightly 1: a rival degraded from 4 producers to 50)",
        make: || published(488_000.0, 288, 50, 50, 600.0),
    },
    Preset {
        name: "few-producers",
        about: "the same from 4 producers",
        make: || published(488_000.0, 288, 4, 4, 600.0),
    },
    Preset {
        name: "soak",
        about: "1 GB/s for 12 hours (Vanlightly 2: latency rose as the drives collected garbage)",
        make: || published(977_000.0, 288, 4, 4, 12.0 * 3600.0),
    },
    Preset {
        name: "retention-boundary",
        about: "500 MB/s over topics that keep 16 GiB for each partition: watch p95 when deleting begins (Vanlightly 3)",
        make: || {
            let mut w = published(488_000.0, 16, 4, 4, 3600.0);
            w.topic_configs
                .insert("retention.bytes".into(), (16 * GIB).to_string());
            w.topic_configs.insert("segment.bytes".into(), GIB.to_string());
            w
        },
    },
    Preset {
        name: "keyed-small-batches",
        about: "500 MB/s with keys over 800 partitions from 100 producers (Vanlightly 4: small batches)",
        make: || Workload {
            keys: Keys::Uniform(1_000_000),
            ..published(488_000.0, 800, 100, 100, 600.0)
        },
    },
    Preset {
        name: "acks1-limit",
        about: "acks=1 from 10 producers, rising to 2 GB/s (Vanlightly 5: the drive's limit)",
        make: || Workload {
            acks: Acks::Leader,
            idempotent: false,
            shape: Shape::Ramp { from: 100_000.0 },
            ..published(2_000_000.0, 100, 10, 10, 600.0)
        },
    },
    Preset {
        name: "backlog-drain",
        about: "100 GiB of backlog drained by two groups while producers keep 500 MB/s (Vanlightly 6)",
        make: || Workload {
            backlog_bytes: 100 * GIB,
            drain: true,
            groups: 2,
            ..published(488_000.0, 100, 4, 4, 1800.0)
        },
    },
    Preset {
        name: "catch-up-reads",
        about: "50,000/s x 1 KiB with tail readers, while another reads 20 GiB of old data over and over",
        make: || Workload {
            backlog_bytes: 20 * GIB,
            catch_up: 1,
            ..published(50_000.0, 16, 4, 4, 300.0)
        },
    },
    Preset {
        name: "compaction",
        about: "20,000/s over 100,000 keys into compacted topics with small segments, beside tail readers",
        make: || {
            let mut w = published(20_000.0, 16, 4, 4, 300.0);
            w.keys = Keys::Uniform(100_000);
            w.topic_configs.insert("cleanup.policy".into(), "compact".into());
            w.topic_configs
                .insert("segment.bytes".into(), (64 << 20).to_string());
            w
        },
    },
    Preset {
        name: "many-partitions",
        about: "5,000/s x 1 KiB spread record by record over 1,000 partitions",
        make: || Workload {
            rate: Some(5_000.0),
            partitions: 1_000,
            sticky: false,
            warmup_s: 10.0,
            duration_s: 60.0,
            ..Workload::default()
        },
    },
    Preset {
        name: "hot-shard",
        about: "50,000/s of zipf(1.1) keys over 100 partitions: some partitions get most of it",
        make: || Workload {
            keys: Keys::Zipf(100_000, 1.1),
            ..published(50_000.0, 100, 4, 4, 120.0)
        },
    },
    Preset {
        name: "fan-out",
        about: "20,000/s read by five groups",
        make: || Workload {
            groups: 5,
            ..published(20_000.0, 16, 4, 2, 120.0)
        },
    },
    Preset {
        name: "idle-connections",
        about: "5,000/s beside 10,000 connections that do nothing",
        make: || Workload {
            idle_connections: 10_000,
            ..published(5_000.0, 16, 1, 1, 60.0)
        },
    },
    Preset {
        name: "churn",
        about: "5,000/s beside 200 connections opened and closed per second",
        make: || Workload {
            churn: 200.0,
            ..published(5_000.0, 16, 1, 1, 60.0)
        },
    },
    Preset {
        name: "bursts",
        about: "50,000/s on average, all of it in the first 100 ms of each second",
        make: || Workload {
            shape: Shape::Burst {
                on_ms: 100,
                off_ms: 900,
            },
            ..published(50_000.0, 16, 4, 4, 60.0)
        },
    },
];

/// The workload of a preset.
///
/// # Errors
/// There is none of that name.
pub fn find(name: &str) -> Result<Workload, String> {
    match ALL.iter().find(|p| p.name == name) {
        Some(preset) => Ok(Workload {
            name: name.to_owned(),
            // One name for each, so that presets do not share topics.
            topic: format!("turgo-bench-{name}"),
            ..(preset.make)()
        }),
        None => {
            let near = ALL
                .iter()
                .find(|p| p.name.contains(name) || name.contains(p.name));
            let hint = near.map_or(String::new(), |p| format!(" (did you mean {}?)", p.name));
            Err(format!(
                "no preset {name:?}{hint}: `turgo bench presets` lists them"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_at_any_scale() {
        for preset in ALL {
            let mut workload = find(preset.name).expect(preset.name);
            assert_eq!(workload.check(), Ok(()), "{}", preset.name);
            workload.scale(0.001);
            assert_eq!(workload.check(), Ok(()), "{}", preset.name);
        }
        assert!(
            find("steady")
                .expect_err("no such preset")
                .contains("steady-200k")
        );
    }
}
