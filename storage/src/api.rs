//! Plain values that cross the border of this crate: identities, settings, outcomes and errors.
//!
//! Nothing here does IO. The engine builds [`StoreConfig`] and [`LogSettings`], and reads the rest.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

/// One partition of one topic, for its whole life. A topic that is deleted and created again has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic's uuid.
    pub topic: [u8; 16],
    /// The partition's number in its topic, from 0.
    pub partition: u32,
}

/// Number of a frame in one core's journal: dense, from 1, never reused for another durable frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

/// A partition whose durable end moved: offsets below `durable_end` are on stable media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub id: PartitionId,
    /// Exclusive.
    pub durable_end: i64,
}

/// When the newest durable group went to the device and came back, on [`crate::Env::now_ns`]'s clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commit {
    /// Its write was submitted.
    pub submitted_ns: u64,
    /// It and all before it were complete.
    pub completed_ns: u64,
}

/// Called with the logs whose durable end moved, once per completed group and in LSN order. It must not call back into
/// the store; it may wake tasks that do.
pub type OnCommit = Rc<dyn Fn(&[Advance])>;

/// What an acknowledgement of a log stands for; the engine applies it, storage journals both alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The batch is in a complete journal group.
    #[default]
    Disk,
    /// The batch is in memory; a crash may take it back.
    Memory,
}

/// Settings of one log. They are not stored here: the engine gives them again after every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// A segment is closed before it would grow beyond this many bytes of batches (`segment.bytes`).
    pub segment_bytes: u64,
    /// A segment older than this is closed by the next append (`segment.ms`).
    pub segment_ms: u64,
    /// Total bytes kept, oldest segments go first; negative: no limit (`retention.bytes`).
    pub retention_bytes: i64,
    /// Age in milliseconds, by maximum timestamp, beyond which a segment goes; negative: never (`retention.ms`).
    pub retention_ms: i64,
    /// See [`Durability`].
    pub durability: Durability,
    /// Milliseconds between a segment's removal from the log and the removal of its file (`file.delete.delay.ms`).
    pub file_delete_delay_ms: u64,
    /// Of each key only the newest record is kept (`cleanup.policy` has `compact`).
    pub compact: bool,
    /// Share of a log that must be dirty before it is compacted, in millionths (`min.cleanable.dirty.ratio`).
    pub min_cleanable_ppm: u32,
    /// Milliseconds, by timestamp, in which a record is not compacted away (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// Milliseconds, by timestamp, after which a log with a dirty record is compacted whatever its share
    /// (`max.compaction.lag.ms`).
    pub max_compaction_lag_ms: i64,
    /// Milliseconds a tombstone or marker stays after the pass that found it to be the last (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// A log the broker itself needs (metadata, group offsets): accepted while produce is refused for want of space.
    pub system: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3600 * 1000,
            durability: Durability::Disk,
            file_delete_delay_ms: 60_000,
            compact: false,
            min_cleanable_ppm: 500_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
            system: false,
        }
    }
}

/// Configuration of one core's store. Paths are relative to the data directory.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// Directory of this shard, for example `gen-0001/shard-000`. See [`crate::Layout`].
    pub dir: String,
    /// Number of this shard.
    pub shard: u32,
    /// Number of the generation of shards this one belongs to.
    pub generation: u32,
    /// Identity of the data directory.
    pub directory_id: [u8; 16],
    /// Make a new, empty shard if `dir` holds none. Off under [`crate::prepare`], which makes the shards itself: a
    /// shard that then misses its superblock is damaged, not new.
    pub create: bool,
    /// Bytes of one journal file, a multiple of 4 KiB.
    pub journal_file_bytes: u64,
    /// Journal files the ring may grow to, at least 4.
    pub journal_files_max: u32,
    /// Journal files a new shard starts with, at least 4.
    pub journal_files_initial: u32,
    /// Bytes written with zeros, synchronously, when a new shard is made; the rest is written in the background.
    pub prewrite_at_start: u64,
    /// Largest acceptable batch in bytes, header included; a larger one is [`AppendError::TooLarge`].
    pub max_batch_bytes: u32,
    /// Bytes at which an open group is closed, if no single batch needs more.
    pub group_bytes: u32,
    /// Groups in flight (R4), 1 to 4.
    pub window: u32,
    /// Quiet time after which a SEAL group proves the last group complete (R5).
    pub seal_idle: Duration,
    /// Memory for this core's storage, shared out as in `docs/storage.md`.
    pub memory_bytes: u64,
    /// Most bytes of batches in a chunk, if no single batch needs more.
    pub chunk_bytes: u32,
    /// Bytes read at once for a catching-up consumer.
    pub read_ahead_bytes: u32,
    /// Concurrent catch-up reads per core.
    pub read_depth: u32,
    /// Concurrent chunk writes of the drain.
    pub drain_depth: u32,
    /// Bytes drained after which a checkpoint is due.
    pub checkpoint_bytes: u64,
    /// Segment files kept open.
    pub max_open_files: usize,
    /// Aborted transactions a log keeps in memory; those of older segments are read from their footers beyond it.
    pub aborted_in_memory: usize,
    /// Idle time after which a producer id is forgotten (`producer.id.expiration.ms`).
    pub producer_expiration_ms: i64,
    /// Free share of the filesystem, in percent, below which produce stops.
    pub low_space_percent: u8,
    /// Free share, in percent, below which only deletion runs.
    pub no_space_percent: u8,
    /// Free share, in percent points, by which a limit must be exceeded again before it is lifted.
    pub space_hysteresis_percent: u8,
    /// How often free space is looked at.
    pub space_interval: Duration,
    /// The operator accepts that partitions found damaged at start have lost acknowledged records.
    pub accept_loss: bool,
    /// Ordering rules to break on purpose, so that the tests of recovery can show that they would notice.
    pub faults: PlantedFaults,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: "gen-0001/shard-000".into(),
            shard: 0,
            generation: 1,
            directory_id: [0; 16],
            create: true,
            journal_file_bytes: 64 << 20,
            journal_files_max: 16,
            journal_files_initial: 4,
            prewrite_at_start: 4 << 20,
            max_batch_bytes: 8 << 20,
            group_bytes: 1 << 20,
            window: 2,
            seal_idle: Duration::from_millis(5),
            memory_bytes: 512 << 20,
            chunk_bytes: 1 << 20,
            read_ahead_bytes: 1 << 20,
            read_depth: 8,
            drain_depth: 4,
            checkpoint_bytes: 64 << 20,
            max_open_files: 256,
            aborted_in_memory: 4096,
            producer_expiration_ms: 24 * 3600 * 1000,
            low_space_percent: 5,
            no_space_percent: 2,
            space_hysteresis_percent: 1,
            space_interval: Duration::from_secs(1),
            accept_loss: false,
            faults: PlantedFaults::default(),
        }
    }
}

/// Bugs that tests plant: each field switches one ordering rule off. All false in a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlantedFaults {
    /// R2: acknowledge a group when its write is submitted.
    pub ack_before_complete: bool,
    /// R2: acknowledge a group although a lower one is incomplete.
    pub ack_out_of_order: bool,
    /// R3: open the journal without O_DSYNC.
    pub journal_not_durable: bool,
    /// R4: ignore the window of groups in flight.
    pub no_window: bool,
    /// R7 (b): publish a checkpoint without syncing the segments it names.
    pub checkpoint_before_segment_sync: bool,
    /// R7 (c): switch the superblock without syncing the checkpoint file and its directory.
    pub superblock_before_checkpoint_sync: bool,
    /// R7 (e): let the journal reuse files before the superblock names the checkpoint.
    pub reuse_before_superblock: bool,
    /// R8: unlink segments before LOG_START or DROP is durable.
    pub unlink_before_durable: bool,
    /// Recovery: do not raise the epoch and write no fence.
    pub no_fence: bool,
    /// Recovery: do not look for later groups; every end is clean.
    pub no_look_ahead: bool,
    /// Recovery: do not check the body of a group.
    pub no_body_crc: bool,
    /// Recovery: apply frames that a log's checkpoint holds already.
    pub replay_applies_all: bool,
    /// R8: publish a checkpoint without syncing the directories of new segments.
    pub no_directory_sync: bool,
    /// I8: checkpoint a truncated log before what lies below the truncation is drained.
    pub no_truncation_settling: bool,
    /// I12: serve chunks without checking their bytes.
    pub no_chunk_crc: bool,
    /// I14: leave bytes behind in the pad of a group.
    pub dirty_pads: bool,
    /// R8: journal SEG_SWAP before its output is on stable media.
    pub swap_before_sync: bool,
    /// Compaction: remove tombstones in the first pass.
    pub tombstones_at_once: bool,
    /// Compaction: go beyond the last stable offset.
    pub clean_beyond_stable: bool,
    /// Compaction: keep the records of aborted transactions, but not their markers.
    pub aborted_kept: bool,
}

/// What admission must do now, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// Accept everything.
    #[default]
    Normal,
    /// Much is dirty; the drain runs at full speed. Accept everything.
    SoftDirty,
    /// Stop reading from producing clients until this ends; appends may fail with [`AppendError::Busy`].
    HardDirty,
    /// Free space is short: refuse produce (56, `KAFKA_STORAGE_ERROR`); fetch, retention and deletion go on.
    LowSpace,
    /// Free space is nearly gone: only deletion runs.
    NoSpace,
}

/// Where an appended batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The frame; the batch is durable once [`crate::Store::durable_lsn`] reaches it.
    pub lsn: Lsn,
}

/// What [`crate::Log::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Whole batches in offset order, several per part; empty at the end of what may be read.
    Ready(Vec<Bytes>),
    /// The offset is not in memory: call [`crate::Log::read_disk`].
    Disk,
}

/// What [`crate::Log::retention`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Segments removed from the log.
    pub segments: u32,
    /// Bytes of batches they held.
    pub bytes: u64,
    /// The log's start afterwards.
    pub start_offset: i64,
}

/// Why a batch was not appended: who acts next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Client: split the batch (10, `MESSAGE_TOO_LARGE`).
    #[error("batch of {bytes} bytes is larger than the store's limit of {max}")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// `StoreConfig::max_batch_bytes`.
        max: u32,
    },
    /// Client: the batch's header does not describe its bytes (87, `INVALID_RECORD`).
    #[error("malformed batch: {0}")]
    Malformed(&'static str),
    /// Client: resend later; memory or journal is full (a retriable error, for example 7 or 56).
    #[error("undrained data is at its limit")]
    Busy,
    /// Operator: free disk space (56, `KAFKA_STORAGE_ERROR`).
    #[error("the data directory is short of space")]
    NoSpace,
    /// Client: the partition is gone (3, `UNKNOWN_TOPIC_OR_PARTITION`).
    #[error("the log was dropped")]
    Dropped,
    /// Client: refresh metadata and retry; the store is closing (6, `NOT_LEADER_OR_FOLLOWER`).
    #[error("the store is closing")]
    Closed,
    /// Bug: the leader epoch went back.
    #[error("leader epoch {got} is below {current}")]
    StaleEpoch {
        /// Newest epoch of the log.
        current: i32,
        /// The one given.
        got: i32,
    },
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Client: reset; the offset is outside `start..=end` (1, `OFFSET_OUT_OF_RANGE`).
    #[error("offset is outside {start}..={end}")]
    OutOfRange {
        /// First offset of the log.
        start: i64,
        /// Next offset to be written.
        end: i64,
    },
    /// Operator: bytes on disk fail their checksum; they are never served (2 or 56).
    #[error("{path} at {position}: {what}")]
    Corrupt {
        /// Segment file.
        path: String,
        /// Position of the chunk in it.
        position: u64,
        /// The check that failed.
        what: &'static str,
    },
    /// Operator: the device failed to read (56, `KAFKA_STORAGE_ERROR`).
    #[error("{path}: {error}")]
    Device {
        /// Segment file.
        path: String,
        /// The system's error.
        error: String,
    },
    /// Client: the partition is gone (3, `UNKNOWN_TOPIC_OR_PARTITION`).
    #[error("the log was dropped")]
    Dropped,
}

/// Why an operation on the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Bug: a log of this id exists.
    #[error("the log exists")]
    Exists,
    /// Client: the partition is gone.
    #[error("the log was dropped")]
    Dropped,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// Bug or client: the offset is outside the log.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange {
        /// The one given.
        offset: i64,
        /// First offset of the log.
        start: i64,
        /// Next offset to be written.
        end: i64,
    },
    /// Operator: the operation needs disk space that is not there.
    #[error("out of disk space: {0}")]
    NoSpace(String),
    /// Operator: the device or filesystem failed where nothing acknowledged is at stake.
    #[error("{0}")]
    Io(String),
}

/// Why a store did not open. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Operator: a configuration value is unusable.
    #[error("storage configuration: {0}")]
    Config(String),
    /// Operator: the system refused an operation.
    #[error("{what}: {error}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Operator: files are missing, foreign or unreadable in a way that nothing explains.
    #[error("{0}")]
    Damaged(String),
    /// Operator: acknowledged records of these partitions are lost or unreadable. Restore the directory from a
    /// replica or backup, or accept the loss (`accept_loss`).
    #[error(
        "{count} partitions may have lost acknowledged records ({reason}); restore the data directory, or start once \
         with loss accepted to go on with what is left",
        count = .partitions.len()
    )]
    Suspect {
        /// The partitions concerned.
        partitions: Vec<PartitionId>,
        /// The evidence.
        reason: String,
    },
}

/// How the journal's end was judged (`docs/storage.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// (a) Nothing follows the last valid group.
    #[default]
    CleanEnd,
    /// (b) Groups in flight at the crash lie behind a hole; nothing in them was acknowledged.
    InFlightHole,
    /// (c) Something that may have been acknowledged is missing.
    Damage,
}

/// What recovery found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The shard was made by this start.
    pub created: bool,
    /// The previous process closed the store properly.
    pub clean: bool,
    /// How the journal's end was judged.
    pub verdict: Verdict,
    /// Epoch of the store from now on.
    pub epoch: u64,
    /// Logs that exist.
    pub logs: usize,
    /// Valid groups found in the journal.
    pub groups: u64,
    /// Frames applied.
    pub frames: u64,
    /// Bytes of valid groups read.
    pub bytes: u64,
    /// Groups behind the end that were discarded (verdict (b)).
    pub discarded_groups: u64,
    /// Partitions whose loss was accepted.
    pub suspects: Vec<PartitionId>,
    /// Nanoseconds from opening to serving.
    pub took_ns: u64,
}

/// Percentiles of one latency or size, since the store opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

/// Gauges, counters and distributions of one store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoreMetrics {
    /// Logs.
    pub logs: usize,
    /// Latency of journal writes, submission to completion, microseconds.
    pub journal_write_us: Summary,
    /// Bytes written per group.
    pub group_bytes: Summary,
    /// From the first append into a group to the group's completion, microseconds.
    pub commit_wait_us: Summary,
    /// Groups completed.
    pub groups: u64,
    /// Batches appended.
    pub batches: u64,
    /// Bytes of batches appended.
    pub appended_bytes: u64,
    /// Bytes in memory that no segment holds yet.
    pub dirty_bytes: u64,
    /// Bytes in memory that a segment holds too.
    pub clean_bytes: u64,
    /// Bytes of the catch-up cache.
    pub catchup_bytes: u64,
    /// Bytes of live journal files.
    pub journal_live_bytes: u64,
    /// Bytes of the journal ring.
    pub journal_ring_bytes: u64,
    /// Bytes of the ring's files whose pages were all written once: groups there need no filesystem metadata.
    pub journal_written_bytes: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Bytes of chunks written.
    pub drained_bytes: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Reads from disk.
    pub disk_reads: u64,
    /// Bytes read from disk.
    pub disk_read_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of batches in all logs.
    pub log_bytes: u64,
    /// Free bytes of the filesystem at the last look.
    pub free_bytes: u64,
    /// Bytes of the filesystem.
    pub total_bytes: u64,
    /// See [`Pressure`].
    pub pressure: Pressure,
    /// Corrupt chunks met by reads.
    pub corrupt_chunks: u64,
    /// Passes of compaction that ended well.
    pub compactions: u64,
    /// Bytes of batches that passes replaced.
    pub compacted_in_bytes: u64,
    /// Bytes of batches that passes kept.
    pub compacted_out_bytes: u64,
}
