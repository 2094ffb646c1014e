//! Flags that make a workload.

use std::sync::Arc;

use clap::Args;
use turgo_net::records::Compression;

use crate::schedule::Shape;
use crate::shell::runner::RunError;
use crate::slo::duration;
use crate::spec::{Acks, Assignment, Pacing, Transactions, Workload};
use crate::values::{Keys, Size};
use crate::{omb, presets, units};

/// What to run. Flags change a preset or a file; without either they change a default of one producer, one partition,
/// 1,000 records/s.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkloadArgs {
    /// Begin with a preset (`turgo bench presets` lists them)
    #[arg(long, value_name = "NAME", conflicts_with = "omb")]
    pub preset: Option<String>,
    /// Begin with a workload file of the OpenMessaging benchmark
    #[arg(long, value_name = "FILE")]
    pub omb: Option<String>,
    /// A driver file of the OpenMessaging benchmark
    #[arg(long, value_name = "FILE", requires = "omb")]
    pub omb_driver: Option<String>,
    /// Multiply rates and volumes of the preset or file
    #[arg(long, value_name = "FACTOR")]
    pub scale: Option<f64>,

    /// Topic, or the first part of the names of several
    #[arg(long, help_heading = "Topics")]
    pub topic: Option<String>,
    /// Topics
    #[arg(long, help_heading = "Topics", value_name = "N")]
    pub topics: Option<u32>,
    /// Partitions of each topic
    #[arg(long, help_heading = "Topics", value_name = "N")]
    pub partitions: Option<u32>,
    /// Copies of each partition; the cluster's default otherwise
    #[arg(long, help_heading = "Topics", value_name = "N")]
    pub replication: Option<i16>,
    /// Topic setting, NAME=VALUE; may be repeated
    #[arg(long = "set", help_heading = "Topics", value_name = "NAME=VALUE")]
    pub configs: Vec<String>,
    /// Use topics that exist; else they are made anew and deleted afterwards
    #[arg(long, help_heading = "Topics")]
    pub existing: bool,
    /// Leave the topics in place
    #[arg(long, help_heading = "Topics")]
    pub keep: bool,

    /// Producers, dealt out over the topics; each has its own connections
    #[arg(
        long,
        visible_alias = "connections",
        help_heading = "Producers",
        value_name = "N"
    )]
    pub producers: Option<u32>,
    /// Records per second of all producers together, or max: as fast as answers allow (closed loop)
    #[arg(long, help_heading = "Producers", value_name = "RATE")]
    pub rate: Option<String>,
    /// constant, poisson, burst:ON_MS/OFF_MS, ramp:FROM, step:RATExSECONDS,..., replay:FILE or closed
    #[arg(long, help_heading = "Producers", value_name = "SHAPE")]
    pub schedule: Option<String>,
    /// Records due at once at each arrival
    #[arg(long, help_heading = "Producers", value_name = "N")]
    pub burst: Option<u32>,
    /// none, roundrobin:N, uniform:N, zipf:N,S or hot:N,K,SHARE
    #[arg(long, help_heading = "Producers", value_name = "KEYS")]
    pub keys: Option<String>,
    /// Each record without key to the next partition, instead of a batch's worth to each
    #[arg(long, help_heading = "Producers")]
    pub round_robin: bool,
    /// Bytes of values: N, FROM-TO or BYTES:WEIGHT,...
    #[arg(long, help_heading = "Producers", value_name = "BYTES")]
    pub size: Option<String>,
    /// Share of each value that does not compress, 0 to 1
    #[arg(long, help_heading = "Producers", value_name = "SHARE")]
    pub random_share: Option<f64>,
    /// Cut values from this file
    #[arg(long, help_heading = "Producers", value_name = "FILE")]
    pub payload_file: Option<String>,
    /// 0, 1 or all
    #[arg(long, help_heading = "Producers", value_name = "ACKS")]
    pub acks: Option<String>,
    /// Idempotent producers; true unless --acks or --window exclude it
    #[arg(long, help_heading = "Producers", value_name = "BOOL")]
    pub idempotence: Option<bool>,
    /// Transactions that are committed after this time each
    #[arg(long, help_heading = "Producers", value_name = "TIME")]
    pub transactions: Option<String>,
    /// Share of the transactions that is aborted, 0 to 1
    #[arg(
        long,
        help_heading = "Producers",
        value_name = "SHARE",
        requires = "transactions"
    )]
    pub abort_share: Option<f64>,
    /// Time that a batch waits for more records, for example 5ms
    #[arg(long, help_heading = "Producers", value_name = "TIME")]
    pub linger: Option<String>,
    /// A batch is sent when it has this many bytes
    #[arg(long, help_heading = "Producers", value_name = "BYTES", value_parser = units::bytes::<usize>)]
    pub batch_bytes: Option<usize>,
    /// A batch is sent when it has this many records
    #[arg(long, help_heading = "Producers", value_name = "N")]
    pub batch: Option<u32>,
    /// Unanswered produce requests of each producer and broker
    #[arg(
        long,
        visible_alias = "in-flight",
        help_heading = "Producers",
        value_name = "N"
    )]
    pub window: Option<usize>,
    /// A produce request carries batches up to this many bytes
    #[arg(long, help_heading = "Producers", value_name = "BYTES", value_parser = units::bytes::<usize>)]
    pub request_bytes: Option<usize>,
    /// Bytes of records that a producer builds ahead of the broker
    #[arg(long, help_heading = "Producers", value_name = "BYTES", value_parser = units::bytes::<usize>)]
    pub buffer_bytes: Option<usize>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, help_heading = "Producers", value_name = "CODEC")]
    pub compression: Option<String>,
    /// Level of the codec
    #[arg(long, help_heading = "Producers", value_name = "N")]
    pub level: Option<i32>,

    /// Groups that each read everything (fan-out)
    #[arg(long, help_heading = "Consumers", value_name = "N")]
    pub groups: Option<u32>,
    /// Consumers of each group
    #[arg(long, help_heading = "Consumers", value_name = "N")]
    pub consumers: Option<u32>,
    /// Let the group protocol assign partitions, instead of dealing them out
    #[arg(long, help_heading = "Consumers")]
    pub group_protocol: bool,
    /// Time that a fetch waits for data
    #[arg(long, help_heading = "Consumers", value_name = "TIME")]
    pub fetch_wait: Option<String>,
    /// Bytes that a fetch waits for
    #[arg(long, help_heading = "Consumers", value_name = "BYTES", value_parser = units::bytes::<i32>)]
    pub fetch_min_bytes: Option<i32>,
    /// Bytes of a fetch answer at most
    #[arg(long, help_heading = "Consumers", value_name = "BYTES", value_parser = units::bytes::<i32>)]
    pub fetch_max_bytes: Option<i32>,
    /// Bytes of values written before the run at full speed
    #[arg(long, help_heading = "Consumers", value_name = "BYTES", value_parser = units::bytes::<u64>)]
    pub backlog: Option<u64>,
    /// Consumers begin at the start of the backlog
    #[arg(long, help_heading = "Consumers", requires = "backlog")]
    pub drain: bool,
    /// Readers that read from the start over and over beside the load
    #[arg(long, help_heading = "Consumers", value_name = "N")]
    pub catch_up: Option<u32>,

    /// Connections that do nothing
    #[arg(long, help_heading = "Connections", value_name = "N")]
    pub idle_connections: Option<u32>,
    /// Connections opened and closed per second beside the load
    #[arg(long, help_heading = "Connections", value_name = "RATE")]
    pub churn: Option<f64>,

    /// Seconds before measuring begins
    #[arg(long, help_heading = "Run", value_name = "SECONDS", value_parser = units::seconds)]
    pub warmup: Option<f64>,
    /// Seconds that are measured
    #[arg(
        long,
        visible_alias = "duration",
        help_heading = "Run",
        value_name = "SECONDS",
        value_parser = units::seconds
    )]
    pub seconds: Option<f64>,
    /// Seconds that answers and readers get after the end
    #[arg(long, help_heading = "Run", value_name = "SECONDS", value_parser = units::seconds)]
    pub drain_time: Option<f64>,
    /// Length of an interval
    #[arg(long, help_heading = "Run", value_name = "TIME")]
    pub interval: Option<String>,
    /// Load threads
    #[arg(long, help_heading = "Run", value_name = "N")]
    pub threads: Option<usize>,
    /// CPUs that load threads are pinned to, for example 1 or 2,3
    #[arg(long, help_heading = "Run", value_name = "CPUS", value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// auto, spin or sleep: how the next intended time is awaited
    #[arg(long, help_heading = "Run", value_name = "HOW")]
    pub pacing: Option<String>,
    /// Schedules, values and keys follow from it
    #[arg(long, help_heading = "Run", value_name = "N")]
    pub seed: Option<u64>,
    /// Read everything back after the run if no consumer did
    #[arg(long, help_heading = "Run", value_name = "BOOL")]
    pub verify: Option<bool>,
}

fn time(flag: &str, text: &str) -> Result<std::time::Duration, String> {
    duration(text).ok_or_else(|| format!("{flag} {text:?}: give a time such as 500us, 5ms or 2s"))
}

/// Recorded times: one number for each line, ns from the start.
fn replay(path: &str) -> Result<Shape, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("schedule replay:{path}: {e}"))?;
    let mut times = Vec::new();
    for (line, number) in text.lines().filter(|l| !l.trim().is_empty()).zip(1..) {
        let t: u64 = line
            .trim()
            .parse()
            .map_err(|_| format!("schedule replay:{path}: line {number} is no number of nanoseconds"))?;
        if times.last().is_some_and(|last| *last > t) {
            return Err(format!(
                "schedule replay:{path}: line {number} is earlier than the line before"
            ));
        }
        times.push(t);
    }
    Ok(Shape::Replay(Arc::new(times)))
}

impl WorkloadArgs {
    /// The workload.
    ///
    /// # Errors
    /// What cannot be meant, and what to say instead.
    pub fn build(&self) -> Result<Workload, RunError> {
        self.try_build().map_err(RunError::Usage)
    }

    fn try_build(&self) -> Result<Workload, String> {
        let mut w = match (&self.preset, &self.omb) {
            (Some(name), _) => presets::find(name)?,
            (None, Some(path)) => omb::read(path, self.omb_driver.as_deref())?,
            (None, None) => Workload::default(),
        };
        if let Some(scale) = self.scale {
            if !(scale.is_finite() && scale > 0.0) {
                return Err("--scale must be above 0".into());
            }
            w.scale(scale);
            w.name = format!("{} (scale {scale})", w.name);
        }
        self.topics(&mut w)?;
        self.producers(&mut w)?;
        self.consumers(&mut w)?;
        self.run(&mut w)?;
        w.check()?;
        Ok(w)
    }

    fn topics(&self, w: &mut Workload) -> Result<(), String> {
        set(&mut w.topic, &self.topic);
        set(&mut w.topics, &self.topics);
        set(&mut w.partitions, &self.partitions);
        set(&mut w.replication, &self.replication);
        for config in &self.configs {
            let (name, value) = config
                .split_once('=')
                .ok_or_else(|| format!("--set {config:?}: say NAME=VALUE"))?;
            w.topic_configs
                .insert(name.trim().to_owned(), value.trim().to_owned());
        }
        w.existing |= self.existing;
        w.keep |= self.keep;
        Ok(())
    }

    fn producers(&self, w: &mut Workload) -> Result<(), String> {
        set(&mut w.producers, &self.producers);
        if let Some(rate) = &self.rate {
            w.rate = match rate.as_str() {
                "max" => None,
                text => Some(
                    text.parse()
                        .map_err(|_| format!("--rate {text:?}: give a number or max"))?,
                ),
            };
        }
        if let Some(shape) = &self.schedule {
            w.shape = match shape.strip_prefix("replay:") {
                Some(path) => replay(path)?,
                None => Shape::parse(shape)?,
            };
        }
        set(&mut w.burst, &self.burst);
        if let Some(keys) = &self.keys {
            w.keys = Keys::parse(keys)?;
        }
        w.sticky &= !self.round_robin;
        if let Some(size) = &self.size {
            w.size = Size::parse(size)?;
        }
        set(&mut w.random_share, &self.random_share);
        if self.payload_file.is_some() {
            w.payload_file.clone_from(&self.payload_file);
        }
        if let Some(acks) = &self.acks {
            w.acks = Acks::parse(acks)?;
        }
        set(&mut w.in_flight, &self.window);
        // What excludes idempotence switches it off, unless it was asked for.
        w.idempotent = self
            .idempotence
            .unwrap_or(w.idempotent && w.acks == Acks::All && w.in_flight <= 5);
        if let Some(every) = &self.transactions {
            w.transactions = Some(Transactions {
                every_ms: time("--transactions", every)?.as_millis() as u64,
                abort_share: self.abort_share.unwrap_or(0.0),
            });
        }
        if let Some(linger) = &self.linger {
            w.linger_us = time("--linger", linger)?.as_micros() as u64;
        }
        set(&mut w.batch_bytes, &self.batch_bytes);
        if let Some(batch) = self.batch {
            w.batch_records = batch;
            // So many records of this size fit; and they are due together, as one batch.
            let bytes = (w.size.mean() as usize + 100) * batch as usize;
            w.batch_bytes = w.batch_bytes.max(bytes);
            w.burst = self.burst.unwrap_or(batch.max(1));
        }
        set(&mut w.request_bytes, &self.request_bytes);
        set(&mut w.buffer_bytes, &self.buffer_bytes);
        if let Some(codec) = &self.compression {
            w.compression = *Compression::ALL
                .iter()
                .find(|c| c.name() == codec)
                .ok_or_else(|| format!("--compression {codec:?}: say none, gzip, snappy, lz4 or zstd"))?;
        }
        if self.level.is_some() {
            w.level = self.level;
        }
        Ok(())
    }

    fn consumers(&self, w: &mut Workload) -> Result<(), String> {
        set(&mut w.groups, &self.groups);
        set(&mut w.consumers, &self.consumers);
        if self.consumers.is_some() && self.groups.is_none() && w.groups == 0 {
            w.groups = 1;
        }
        if self.group_protocol {
            w.assignment = Assignment::Group;
        }
        if let Some(wait) = &self.fetch_wait {
            w.fetch_wait_ms = time("--fetch-wait", wait)?.as_millis() as i32;
        }
        set(&mut w.fetch_min_bytes, &self.fetch_min_bytes);
        set(&mut w.fetch_max_bytes, &self.fetch_max_bytes);
        set(&mut w.backlog_bytes, &self.backlog);
        w.drain |= self.drain;
        set(&mut w.catch_up, &self.catch_up);
        set(&mut w.idle_connections, &self.idle_connections);
        set(&mut w.churn, &self.churn);
        Ok(())
    }

    fn run(&self, w: &mut Workload) -> Result<(), String> {
        set(&mut w.warmup_s, &self.warmup);
        set(&mut w.duration_s, &self.seconds);
        set(&mut w.drain_s, &self.drain_time);
        if let Some(interval) = &self.interval {
            w.interval_ms = time("--interval", interval)?.as_millis() as u64;
        }
        set(&mut w.threads, &self.threads);
        if !self.cpus.is_empty() {
            w.cpus.clone_from(&self.cpus);
        }
        if let Some(pacing) = &self.pacing {
            w.pacing = match pacing.as_str() {
                "auto" => Pacing::Auto,
                "spin" => Pacing::Spin,
                "sleep" => Pacing::Sleep,
                _ => return Err(format!("--pacing {pacing:?}: say auto, spin or sleep")),
            };
        }
        set(&mut w.seed, &self.seed);
        set(&mut w.verify, &self.verify);
        Ok(())
    }
}

fn set<T: Clone>(place: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_they_name_and_nothing_else() {
        let args = WorkloadArgs {
            rate: Some("max".into()),
            batch: Some(16),
            window: Some(64),
            configs: vec!["flush.messages=1".into()],
            linger: Some("5ms".into()),
            ..WorkloadArgs::default()
        };
        let w = args.build().expect("valid");
        assert_eq!(
            (w.rate, w.batch_records, w.burst, w.in_flight),
            (None, 16, 16, 64)
        );
        assert_eq!(
            (w.idempotent, w.linger_us),
            (false, 5000),
            "64 in flight exclude idempotence"
        );
        assert_eq!(w.topic_configs["flush.messages"], "1");
        assert!(w.batch_bytes >= 16 * 1024);
        assert_eq!(w.partitions, Workload::default().partitions);
    }

    #[test]
    fn wrong_flags_are_usage_errors_that_say_what_to_do() {
        let refuse = |args: WorkloadArgs, word: &str| {
            let error = args.build().expect_err(word);
            assert_eq!(error.code(), 2);
            assert!(error.to_string().contains(word), "{error}");
        };
        let base = WorkloadArgs::default;
        refuse(
            WorkloadArgs {
                rate: Some("fast".into()),
                ..base()
            },
            "a number or max",
        );
        refuse(
            WorkloadArgs {
                preset: Some("nope".into()),
                ..base()
            },
            "turgo bench presets",
        );
        refuse(
            WorkloadArgs {
                omb: Some("/nonexistent.yaml".into()),
                ..base()
            },
            "/nonexistent.yaml",
        );
        refuse(
            WorkloadArgs {
                schedule: Some("replay:/nonexistent".into()),
                ..base()
            },
            "/nonexistent",
        );
        refuse(
            WorkloadArgs {
                compression: Some("zip".into()),
                ..base()
            },
            "gzip",
        );
        refuse(
            WorkloadArgs {
                configs: vec!["x".into()],
                ..base()
            },
            "NAME=VALUE",
        );
        refuse(
            WorkloadArgs {
                linger: Some("5".into()),
                ..base()
            },
            "5ms",
        );
        refuse(
            WorkloadArgs {
                idempotence: Some(true),
                window: Some(9),
                ..base()
            },
            "--window",
        );
    }
}
