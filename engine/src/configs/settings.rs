//! Settings as the broker uses them: numbers and enumerations instead of text.
//!
//! Built when a topic or the broker's settings change, never on the hot path. A text that does not parse cannot get
//! here (changes are validated, and node files are checked at start); should it, the declared default is used.

use std::collections::BTreeMap;

use super::resolve::Layers;
use super::value::{self, Value};
use super::{ConfigDef, broker_config, topic_config};
use crate::groups::consumer::assignor::Assignor;
use crate::groups::consumer::{ConsumerConfig, MigrationPolicy};

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The record is on stable media.
    Disk,
    /// The broker holds the record in memory.
    Memory,
}

/// Who stamps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker, when it appends.
    LogAppendTime,
}

/// Compression that a topic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompressionType {
    /// Whatever the producer used.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Everything a partition needs to know of its topic's settings. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    /// `delete` is among the cleanup policies.
    pub cleanup_delete: bool,
    /// `compact` is among the cleanup policies.
    pub cleanup_compact: bool,
    /// Compression of stored batches.
    pub compression: CompressionType,
    /// See [`Durability`].
    pub durability: Durability,
    /// How long deletion markers stay readable.
    pub delete_retention_ms: u64,
    /// How long a dropped segment's file stays.
    pub file_delete_delay_ms: u64,
    /// Largest batch accepted.
    pub max_message_bytes: u32,
    /// How far a timestamp may lie ahead of now.
    pub timestamp_after_max_ms: i64,
    /// How far a timestamp may lie behind now.
    pub timestamp_before_max_ms: i64,
    /// Who stamps records.
    pub timestamp_type: TimestampType,
    /// Share of a log that is dirty before it is compacted, 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// Age below which a record is not compacted away.
    pub min_compaction_lag_ms: u64,
    /// Age at which a record must be considered for compaction.
    pub max_compaction_lag_ms: u64,
    /// In-sync replicas that acks=all needs.
    pub min_insync_replicas: u32,
    /// Size that retention leaves; negative: no limit.
    pub retention_bytes: i64,
    /// Age that retention leaves; negative: no limit.
    pub retention_ms: i64,
    /// Size at which a segment rolls.
    pub segment_bytes: u64,
    /// Age at which a segment rolls.
    pub segment_ms: u64,
    /// Most random time off `segment_ms`.
    pub segment_jitter_ms: u64,
}

impl TopicSettings {
    /// The settings of a topic with these overrides on a broker with these layers.
    pub fn resolve(overrides: &BTreeMap<String, String>, layers: &Layers<'_>) -> Self {
        let get = Reader { overrides, layers };
        let policies = get.list("cleanup.policy");
        Self {
            cleanup_delete: policies.iter().any(|p| p == "delete"),
            cleanup_compact: policies.iter().any(|p| p == "compact"),
            compression: match get.text("compression.type").as_str() {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            },
            durability: if get.text("durability") == "memory" {
                Durability::Memory
            } else {
                Durability::Disk
            },
            delete_retention_ms: get.unsigned("delete.retention.ms"),
            file_delete_delay_ms: get.unsigned("file.delete.delay.ms"),
            max_message_bytes: get.small("max.message.bytes"),
            timestamp_after_max_ms: get.number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: get.number("message.timestamp.before.max.ms"),
            timestamp_type: match get.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: get.fraction("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: get.unsigned("min.compaction.lag.ms"),
            max_compaction_lag_ms: get.unsigned("max.compaction.lag.ms"),
            min_insync_replicas: get.small("min.insync.replicas"),
            retention_bytes: get.number("retention.bytes"),
            retention_ms: get.number("retention.ms"),
            segment_bytes: get.unsigned("segment.bytes"),
            segment_ms: get.unsigned("segment.ms"),
            segment_jitter_ms: get.unsigned("segment.jitter.ms"),
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        let none = BTreeMap::new();
        Self::resolve(
            &none,
            &Layers {
                broker: &none,
                cluster: &none,
                node: &none,
            },
        )
    }
}

struct Reader<'a> {
    overrides: &'a BTreeMap<String, String>,
    layers: &'a Layers<'a>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Value {
        let def = topic_config(name).expect("a declared topic setting");
        self.overrides
            .get(name)
            .and_then(|text| value::parse(def, text).ok())
            .or_else(|| {
                self.layers
                    .default_of(def)
                    .and_then(|text| value::parse(def, &text).ok())
            })
            .unwrap_or_else(|| declared_default(def))
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Number(n) => n,
            other => unreachable!("{name} is a number: {other:?}"),
        }
    }

    fn unsigned(&self, name: &str) -> u64 {
        self.number(name).max(0).unsigned_abs()
    }

    fn small(&self, name: &str) -> u32 {
        u32::try_from(self.number(name).max(0)).unwrap_or(u32::MAX)
    }

    fn fraction(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Double(d) => d,
            other => unreachable!("{name} is a fraction: {other:?}"),
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).render()
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(words) => words,
            other => unreachable!("{name} is a list: {other:?}"),
        }
    }
}

fn declared_default(def: &ConfigDef) -> Value {
    def.default
        .and_then(|text| value::parse(def, text).ok())
        .expect("a default that passes its own check")
}

/// A setting with a fractional part; compared by its bits.
#[derive(Debug, Clone, Copy)]
pub struct Fraction(pub f64);

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Fraction {}

/// Everything the broker needs to know of its own settings. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// Whether asking for a missing topic creates it.
    pub auto_create_topics: bool,
    /// Partitions of a topic created without a number.
    pub num_partitions: i32,
    /// Replicas of a topic created without a number.
    pub default_replication_factor: i16,
    /// Whether clients may delete topics.
    pub delete_topic_enable: bool,
    /// Largest request.
    pub socket_request_max_bytes: u32,
    /// Most bytes of a Fetch answer.
    pub fetch_max_bytes: u32,
    /// Idle time that closes a connection; negative: never.
    pub connections_max_idle_ms: i64,
    /// Most connections.
    pub max_connections: u32,
    /// Most connections from one address.
    pub max_connections_per_ip: u32,
    /// Most incremental fetch sessions.
    pub fetch_session_slots: u32,
    /// Most partitions in an answer to DescribeTopicPartitions.
    pub max_request_partition_size_limit: u32,
    /// Whether logs are compacted.
    pub cleaner_enable: bool,
    /// Pause of compaction when there is nothing to do.
    pub cleaner_backoff_ms: u64,
    /// Memory of compaction for its tables of keys, of all cores.
    pub cleaner_dedupe_bytes: u64,
    /// How full such a table may become, 0 to 1.
    pub cleaner_load_factor: Fraction,
    /// Memory of compaction for reading and writing.
    pub cleaner_io_bytes: u32,
    /// Most bytes a second that compaction reads and writes, of all cores.
    pub cleaner_bytes_per_second: Fraction,
    /// How often retention is applied.
    pub retention_check_interval_ms: u64,
    /// How long an idle producer's sequence state is kept.
    pub producer_id_expiration_ms: u64,
    /// Shortest session timeout of a classic member.
    pub group_min_session_timeout_ms: i32,
    /// Longest session timeout of a classic member.
    pub group_max_session_timeout_ms: i32,
    /// Wait of an empty group's first rebalance.
    pub group_initial_rebalance_delay_ms: i32,
    /// Most members of a group.
    pub group_max_size: i32,
    /// Settings of consumer groups of the next protocol.
    pub consumer_groups: ConsumerConfig,
    /// Longest committed metadata text.
    pub offset_metadata_max_bytes: u32,
    /// How long an empty group's offsets are kept.
    pub offsets_retention_ms: i64,
    /// How often offsets are looked at for expiry.
    pub offsets_retention_check_interval_ms: u64,
    /// How long a commit may wait.
    pub offsets_commit_timeout_ms: u64,
    /// Partitions of `__consumer_offsets`.
    pub offsets_topic_partitions: i32,
    /// Replicas of `__consumer_offsets`.
    pub offsets_topic_replication_factor: i16,
    /// Segment size of `__consumer_offsets`.
    pub offsets_topic_segment_bytes: i32,
    /// Longest transaction timeout.
    pub transaction_max_timeout_ms: i32,
    /// How often transactions that took too long are looked for.
    pub transaction_abort_interval_ms: i64,
    /// Idle time after which a transactional id is forgotten.
    pub transactional_id_expiration_ms: i64,
    /// How often idle transactional ids are looked for.
    pub transaction_expire_interval_ms: i64,
    /// Whether partitions ask if a transaction includes them.
    pub transaction_verification: bool,
}

impl NodeSettings {
    /// The settings of a broker with these layers.
    pub fn resolve(layers: &Layers<'_>) -> Self {
        let number = |name: &str| match broker_value(layers, name) {
            Value::Number(n) => n,
            other => unreachable!("{name} is a number: {other:?}"),
        };
        let int = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
        let short = |name: &str| i16::try_from(number(name)).unwrap_or(i16::MAX);
        let small = |name: &str| u32::try_from(number(name).max(0)).unwrap_or(u32::MAX);
        let unsigned = |name: &str| number(name).max(0).unsigned_abs();
        let fraction = |name: &str| match broker_value(layers, name) {
            Value::Double(d) => Fraction(d),
            other => unreachable!("{name} is a fraction: {other:?}"),
        };
        let flag = |name: &str| broker_value(layers, name) == Value::Boolean(true);
        Self {
            auto_create_topics: flag("auto.create.topics.enable"),
            num_partitions: int("num.partitions"),
            default_replication_factor: short("default.replication.factor"),
            delete_topic_enable: flag("delete.topic.enable"),
            socket_request_max_bytes: small("socket.request.max.bytes"),
            fetch_max_bytes: small("fetch.max.bytes"),
            connections_max_idle_ms: number("connections.max.idle.ms"),
            max_connections: small("max.connections"),
            max_connections_per_ip: small("max.connections.per.ip"),
            fetch_session_slots: small("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: small("max.request.partition.size.limit"),
            cleaner_enable: flag("log.cleaner.enable"),
            cleaner_backoff_ms: unsigned("log.cleaner.backoff.ms"),
            cleaner_dedupe_bytes: unsigned("log.cleaner.dedupe.buffer.size"),
            cleaner_load_factor: fraction("log.cleaner.io.buffer.load.factor"),
            cleaner_io_bytes: small("log.cleaner.io.buffer.size"),
            cleaner_bytes_per_second: fraction("log.cleaner.io.max.bytes.per.second"),
            retention_check_interval_ms: unsigned("log.retention.check.interval.ms"),
            producer_id_expiration_ms: unsigned("producer.id.expiration.ms"),
            group_min_session_timeout_ms: int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
            group_max_size: int("group.max.size"),
            consumer_groups: consumer_groups(layers),
            offset_metadata_max_bytes: small("offset.metadata.max.bytes"),
            offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
            offsets_retention_check_interval_ms: unsigned("offsets.retention.check.interval.ms"),
            offsets_commit_timeout_ms: unsigned("offsets.commit.timeout.ms"),
            offsets_topic_partitions: int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: int("offsets.topic.segment.bytes"),
            transaction_max_timeout_ms: int("transaction.max.timeout.ms"),
            transaction_abort_interval_ms: number(
                "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            ),
            transactional_id_expiration_ms: number("transactional.id.expiration.ms"),
            transaction_expire_interval_ms: number(
                "transaction.remove.expired.transaction.cleanup.interval.ms",
            ),
            transaction_verification: flag("transaction.partition.verification.enable"),
        }
    }
}

impl Default for NodeSettings {
    fn default() -> Self {
        let none = BTreeMap::new();
        Self::resolve(&Layers {
            broker: &none,
            cluster: &none,
            node: &none,
        })
    }
}

fn consumer_groups(layers: &Layers<'_>) -> ConsumerConfig {
    let int = |name: &str| match broker_value(layers, name) {
        Value::Number(n) => i32::try_from(n).unwrap_or(i32::MAX),
        other => unreachable!("{name} is a number: {other:?}"),
    };
    let list = |name: &str| match broker_value(layers, name) {
        Value::List(words) => words,
        other => unreachable!("{name} is a list: {other:?}"),
    };
    let known = ConsumerConfig::default();
    let assignors: Vec<Assignor> = list("group.consumer.assignors")
        .iter()
        .filter_map(|name| Assignor::from_name(name))
        .collect();
    ConsumerConfig {
        enabled: list("group.coordinator.rebalance.protocols")
            .iter()
            .any(|protocol| protocol == "consumer"),
        session_timeout_ms: int("group.consumer.session.timeout.ms"),
        heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
        assignment_interval_ms: int("group.consumer.assignment.interval.ms"),
        max_size: usize::try_from(int("group.consumer.max.size")).unwrap_or(0),
        assignors: if assignors.is_empty() {
            known.assignors.clone()
        } else {
            assignors
        },
        migration: MigrationPolicy::from_name(
            &broker_value(layers, "group.consumer.migration.policy").render(),
        )
        .unwrap_or(known.migration),
        ..known
    }
}

fn broker_value(layers: &Layers<'_>, name: &str) -> Value {
    let def = broker_config(name).expect("a declared broker setting");
    layers.value(name).unwrap_or_else(|| declared_default(def))
}

impl NodeSettings {
    /// The part that the group coordinator lives by.
    pub fn groups(&self) -> crate::groups::Config {
        crate::groups::Config {
            min_session_timeout_ms: self.group_min_session_timeout_ms,
            max_session_timeout_ms: self.group_max_session_timeout_ms,
            initial_rebalance_delay_ms: self.group_initial_rebalance_delay_ms,
            max_size: usize::try_from(self.group_max_size).unwrap_or(usize::MAX),
            consumer: self.consumer_groups.clone(),
            offset_metadata_max: self.offset_metadata_max_bytes as usize,
            offsets_retention_ms: self.offsets_retention_ms,
            retention_check_interval_ms: i64::try_from(self.offsets_retention_check_interval_ms)
                .unwrap_or(i64::MAX),
            ..crate::groups::Config::default()
        }
    }

    /// The part that the transaction coordinator lives by.
    pub fn transactions(&self) -> crate::txn::Config {
        crate::txn::Config {
            max_timeout_ms: self.transaction_max_timeout_ms,
            abort_interval_ms: self.transaction_abort_interval_ms,
            id_expiration_ms: self.transactional_id_expiration_ms,
            expire_interval_ms: self.transaction_expire_interval_ms,
            ..crate::txn::Config::default()
        }
    }
}
