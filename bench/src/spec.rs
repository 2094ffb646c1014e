//! What a run does: the workload, complete and checked.
//!
//! Made by the command line from a preset, an OpenMessaging file or nothing, with flags on top; read by the runner.
//! [`Workload::check`] refuses what cannot be meant, before anything is contacted.

use std::collections::BTreeMap;

use serde::Serialize;
use turgo_net::records::Compression;

use crate::schedule::Shape;
use crate::stamp::STAMP_BYTES;
use crate::values::{Keys, Size};

/// When a produce request counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Acks {
    /// When its last byte is with the socket.
    #[serde(rename = "0")]
    None,
    /// When the leader has it.
    #[serde(rename = "1")]
    Leader,
    /// When all in-sync replicas have it.
    #[serde(rename = "all")]
    All,
}

impl Acks {
    /// The number in the protocol.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }

    /// Reads `0`, `1`, `all` or `-1`.
    pub fn parse(text: &str) -> Result<Acks, String> {
        match text {
            "0" => Ok(Acks::None),
            "1" => Ok(Acks::Leader),
            "all" | "-1" => Ok(Acks::All),
            _ => Err(format!("acks {text:?}: say 0, 1 or all")),
        }
    }
}

/// How consumers get their partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Dealt out by this tool.
    Manual,
    /// By the classic group protocol.
    Group,
}

/// How the generator waits for the next intended time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// Spin where there is a core to spare, else sleep.
    Auto,
    /// Sleep until shortly before, then spin.
    Spin,
    /// Sleep only.
    Sleep,
}

/// Transactions of the producers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Transactions {
    /// Milliseconds between commits.
    pub every_ms: u64,
    /// Share that is aborted instead, 0 to 1.
    pub abort_share: f64,
}

/// Everything about a run but the endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// For people.
    pub name: String,
    /// Topics are called this, with a number behind it if there are several.
    pub topic: String,
    /// How many.
    pub topics: u32,
    /// Of each topic.
    pub partitions: u32,
    /// Of each partition; -1: the cluster's default.
    pub replication: i16,
    /// Topic settings made when topics are created.
    pub topic_configs: BTreeMap<String, String>,
    /// Use topics that exist and leave them; else they are made anew and deleted afterwards.
    pub existing: bool,
    /// Leave the topics that were made.
    pub keep: bool,

    /// Producers in all, dealt out over the topics.
    pub producers: u32,
    /// Records per second of all together; `None`: as fast as answers allow (closed loop).
    pub rate: Option<f64>,
    /// How arrivals are spread.
    pub shape: Shape,
    /// Records that are due at once at each arrival.
    pub burst: u32,
    /// Keys.
    pub keys: Keys,
    /// Without keys: fill a batch in one partition, then go on (Kafka's clients); else each record to the next.
    pub sticky: bool,
    /// Size of values.
    pub size: Size,
    /// Share of each value that does not compress.
    pub random_share: f64,
    /// A file that values are cut from.
    pub payload_file: Option<String>,
    /// When a record counts as acknowledged.
    pub acks: Acks,
    /// A repeated batch is written once.
    pub idempotent: bool,
    /// Transactions; implies idempotence.
    pub transactions: Option<Transactions>,
    /// A batch waits this long for more records, microseconds.
    pub linger_us: u64,
    /// A batch is sent when it has this many bytes before compression.
    pub batch_bytes: usize,
    /// A batch is sent when it has this many records; 0: only bytes count.
    pub batch_records: u32,
    /// Unanswered produce requests of each producer and broker.
    pub in_flight: usize,
    /// A produce request carries batches up to this many bytes.
    pub request_bytes: usize,
    /// Record bytes that a producer builds ahead of the broker; beyond, records wait unbuilt.
    pub buffer_bytes: usize,
    /// Codec of batches.
    #[serde(serialize_with = "codec_name")]
    pub compression: Compression,
    /// Level of the codec.
    pub level: Option<i32>,

    /// Groups that each read everything.
    pub groups: u32,
    /// Consumers of each group.
    pub consumers: u32,
    /// How they get their partitions.
    pub assignment: Assignment,
    /// A fetch waits this long for data, ms.
    pub fetch_wait_ms: i32,
    /// A fetch waits for this many bytes.
    pub fetch_min_bytes: i32,
    /// A fetch answer has at most about this many bytes.
    pub fetch_max_bytes: i32,
    /// The same for each partition.
    pub fetch_partition_bytes: i32,
    /// Bytes of values written before the run, at full speed.
    pub backlog_bytes: u64,
    /// Consumers begin at the start of the backlog (drain) instead of at its end.
    pub drain: bool,
    /// Readers beside the tail that read from the start of the log over and over.
    pub catch_up: u32,

    /// Connections that do nothing.
    pub idle_connections: u32,
    /// Connections opened and closed per second beside the load.
    pub churn: f64,

    /// Not measured, seconds.
    pub warmup_s: f64,
    /// Measured, seconds.
    pub duration_s: f64,
    /// Answers still out at the end are awaited this long, seconds.
    pub drain_s: f64,
    /// Length of an interval, ms.
    pub interval_ms: u64,
    /// Load threads; 0: one for each CPU this process may use, at most one per producer or consumer.
    pub threads: usize,
    /// CPUs that load threads are pinned to, in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    /// How they wait.
    pub pacing: Pacing,
    /// Schedules, values and keys follow from it.
    pub seed: u64,
    /// Read everything back after the run if no consumer did.
    pub verify: bool,
}

fn codec_name<S: serde::Serializer>(codec: &Compression, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(codec.name())
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            name: "custom".into(),
            topic: "turgo-bench".into(),
            topics: 1,
            partitions: 1,
            replication: -1,
            topic_configs: BTreeMap::new(),
            existing: false,
            keep: false,
            producers: 1,
            rate: Some(1000.0),
            shape: Shape::Constant,
            burst: 1,
            keys: Keys::None,
            sticky: true,
            size: Size::Fixed(1024),
            random_share: 1.0,
            payload_file: None,
            acks: Acks::All,
            idempotent: true,
            transactions: None,
            linger_us: 0,
            batch_bytes: 16 << 10,
            batch_records: 0,
            in_flight: 5,
            request_bytes: 1 << 20,
            buffer_bytes: 32 << 20,
            compression: Compression::None,
            level: None,
            groups: 0,
            consumers: 1,
            assignment: Assignment::Manual,
            fetch_wait_ms: 500,
            fetch_min_bytes: 1,
            fetch_max_bytes: 4 << 20,
            fetch_partition_bytes: 1 << 20,
            backlog_bytes: 0,
            drain: false,
            catch_up: 0,
            idle_connections: 0,
            churn: 0.0,
            warmup_s: 2.0,
            duration_s: 10.0,
            drain_s: 30.0,
            interval_ms: 1000,
            threads: 0,
            cpus: Vec::new(),
            pacing: Pacing::Auto,
            seed: 1,
            verify: true,
        }
    }
}

impl Workload {
    /// Name of topic `index`.
    pub fn topic_name(&self, index: u32) -> String {
        if self.topics == 1 {
            self.topic.clone()
        } else {
            format!("{}-{index}", self.topic)
        }
    }

    /// The run is a closed loop: it omits what a stall would have delayed.
    pub fn closed(&self) -> bool {
        self.rate.is_none() || self.shape == Shape::Closed
    }

    /// Multiplies rates and volumes.
    pub fn scale(&mut self, by: f64) {
        self.rate = self.rate.map(|r| r * by);
        self.shape = self.shape.scaled(by);
        self.backlog_bytes = (self.backlog_bytes as f64 * by) as u64;
        self.idle_connections = (f64::from(self.idle_connections) * by).ceil() as u32;
        self.churn *= by;
    }

    /// # Errors
    /// What cannot be meant, and what to say instead.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |bad: bool, why: &str| if bad { Err(why.to_owned()) } else { Ok(()) };
        wrong(
            self.topics == 0 || self.partitions == 0,
            "at least 1 topic and 1 partition are needed",
        )?;
        wrong(
            u64::from(self.topics) * u64::from(self.partitions) > 1_000_000,
            "more than 1,000,000 partitions: lower --topics or --partitions",
        )?;
        wrong(
            self.producers == 0 && self.groups == 0,
            "neither producers nor consumers: set --producers or --groups",
        )?;
        wrong(
            self.producers > 0 && self.producers < self.topics,
            "fewer producers than topics: each producer writes to one topic, so raise --producers",
        )?;
        wrong(
            self.rate.is_some_and(|r| !(r.is_finite() && r > 0.0)),
            "--rate must be above 0; leave it out, or say max, for as fast as answers allow",
        )?;
        wrong(self.burst == 0, "--burst must be at least 1")?;
        wrong(self.in_flight == 0, "--window must be at least 1")?;
        wrong(
            self.idempotent && self.in_flight > 5,
            "idempotence allows 5 unanswered requests: lower --window or say --idempotence false",
        )?;
        wrong(
            self.idempotent && self.acks != Acks::All,
            "idempotence needs --acks all; or say --idempotence false",
        )?;
        wrong(
            self.transactions.is_some() && !self.idempotent,
            "transactions need --idempotence true",
        )?;
        wrong(
            self.transactions
                .is_some_and(|t| t.every_ms == 0 || !(0.0..=1.0).contains(&t.abort_share)),
            "transactions last at least 1 ms and a share lies between 0 and 1",
        )?;
        wrong(
            !(0.0..=1.0).contains(&self.random_share),
            "--random-share lies between 0 and 1",
        )?;
        wrong(
            self.batch_bytes == 0 || self.batch_bytes > 1 << 30,
            "--batch-bytes lies between 1 and 1 GiB",
        )?;
        wrong(
            self.groups > 0 && self.consumers == 0,
            "a group needs consumers: set --consumers",
        )?;
        wrong(
            !(self.duration_s > 0.0
                && self.duration_s.is_finite()
                && self.warmup_s >= 0.0
                && self.warmup_s.is_finite()),
            "--seconds must be above 0 and --warmup not below",
        )?;
        wrong(self.interval_ms < 10, "--interval must be at least 10 ms")?;
        wrong(
            !(self.churn >= 0.0 && self.churn <= 100_000.0),
            "--churn lies between 0 and 100000 connections per second",
        )?;
        wrong(
            self.existing && self.backlog_bytes > 0 && self.drain,
            "--drain needs topics of its own: leave --existing out",
        )
    }

    /// Values carry their stamp in a record header because some are too short.
    pub fn stamp_apart(&self) -> bool {
        match &self.size {
            Size::Fixed(n) => *n < STAMP_BYTES,
            Size::Range(from, _) => *from < STAMP_BYTES,
            Size::Weighted(pairs) => pairs.iter().any(|(n, _)| *n < STAMP_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_contradictions_are_not() {
        assert_eq!(Workload::default().check(), Ok(()));
        let refuse = |change: fn(&mut Workload), word: &str| {
            let mut workload = Workload::default();
            change(&mut workload);
            let error = workload.check().expect_err(word);
            assert!(error.contains(word), "{error}");
        };
        refuse(|w| w.rate = Some(0.0), "--rate");
        refuse(|w| w.in_flight = 6, "--window");
        refuse(|w| w.acks = Acks::Leader, "--acks all");
        refuse(|w| (w.topics, w.producers) = (3, 2), "--producers");
        refuse(|w| (w.topics, w.partitions) = (1001, 1000), "1,000,000");
        refuse(|w| w.duration_s = f64::NAN, "--seconds");
        refuse(|w| (w.producers, w.groups) = (0, 0), "--producers");
    }

    #[test]
    fn scaling_changes_rates_and_volumes_only() {
        let mut w = Workload {
            rate: Some(1000.0),
            backlog_bytes: 100,
            idle_connections: 10,
            ..Workload::default()
        };
        w.scale(0.01);
        assert_eq!(
            (w.rate, w.backlog_bytes, w.idle_connections, w.partitions),
            (Some(10.0), 1, 1, 1)
        );
    }
}
