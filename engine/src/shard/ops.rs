//! What one core asks of another. Plain values: they are moved through channels, never serialised.

use std::sync::Arc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_storage::PartitionId;

use crate::groups::messages::{Caller, Request, Response};
use crate::metadata::MetaRecord;
use crate::sessions::{Round, SessionError, Told, Update};
use crate::txn::messages as txn;

/// A batch of one partition on its way to the core that owns it. `records` is a lease on the receive buffer.
#[derive(Debug, Clone)]
pub struct PartProduce {
    /// Position in the request, carried back in [`Produced`].
    pub slot: u32,
    /// Where it goes.
    pub id: PartitionId,
    /// Kafka record batches as received, not yet validated; `None` where the request has null.
    pub records: Option<Bytes>,
}

/// All batches of one Produce request for one core.
#[derive(Debug)]
pub struct ProduceOp {
    /// The request's version, which decides what is allowed in a batch.
    pub version: i16,
    /// As in the request: 0, 1 or -1.
    pub acks: i16,
    /// What is not committed by then, on the shards' clock in milliseconds, is answered with REQUEST_TIMED_OUT.
    pub deadline_ms: u64,
    /// As in the request.
    pub transactional_id: Option<Arc<str>>,
    /// At least one.
    pub parts: Vec<PartProduce>,
}

/// The answer for one partition of a Produce.
#[derive(Debug, Clone)]
pub struct Produced {
    /// See [`PartProduce::slot`].
    pub slot: u32,
    /// `NONE` once the batch is as durable as the topic asks for.
    pub error: ErrorCode,
    /// Offset of the first record, -1 on error.
    pub base_offset: i64,
    /// Milliseconds, for topics that stamp on append; else -1.
    pub log_append_time_ms: i64,
    /// First offset still kept.
    pub log_start: i64,
    /// Records that made the batch fail: index in the batch and reason.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// Why it failed, for people.
    pub message: Option<String>,
    /// On success: the partition, and the high watermark that commits the batch.
    pub committed_at: (PartitionId, i64),
}

/// The partition of what was not appended.
const NOWHERE: PartitionId = PartitionId {
    topic: [0; 16],
    partition: 0,
};

impl Produced {
    /// A refusal.
    pub fn refused(slot: u32, error: ErrorCode, message: Option<String>) -> Produced {
        Produced {
            slot,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start: -1,
            record_errors: Vec::new(),
            message,
            committed_at: (NOWHERE, 0),
        }
    }
}

/// One partition of a Fetch.
#[derive(Debug, Clone)]
pub struct PartFetch {
    /// Position in the request.
    pub slot: u32,
    /// Which partition.
    pub id: PartitionId,
    /// First offset wanted.
    pub offset: i64,
    /// Bytes wanted from this partition.
    pub max_bytes: usize,
    /// The client's idea of the leader epoch, -1 for none.
    pub leader_epoch: i32,
    /// Epoch of the last record that the client has, -1 for none (KIP-595).
    pub last_epoch: i32,
}

/// The partitions of one Fetch that one core owns, with the long poll's terms.
#[derive(Debug)]
pub struct FetchOp {
    /// In request order.
    pub parts: Vec<PartFetch>,
    /// Ceiling for all partitions together; one batch is returned whatever its size.
    pub max_bytes: usize,
    /// Answer once so many bytes are there.
    pub min_bytes: usize,
    /// Answer at this time on the shards' clock, in milliseconds, whatever is there.
    pub deadline_ms: u64,
    /// Fetch version below 10: zstd topics are refused.
    pub no_zstd: bool,
    /// Nothing at or above the last stable offset, and aborted transactions are told.
    pub read_committed: bool,
}

/// The answer for one partition of a Fetch.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Position in the request.
    pub slot: u32,
    /// `NONE` or why there are no records.
    pub error: ErrorCode,
    /// End of what consumers may read.
    pub high_watermark: i64,
    /// End of what consumers of committed records may read.
    pub last_stable: i64,
    /// First offset still kept.
    pub log_start: i64,
    /// Epoch and end offset where the client's log departs from ours.
    pub diverging: Option<(i32, i64)>,
    /// Whole batches, leased.
    pub chunks: Vec<Bytes>,
    /// For a reader of committed records: producer id and first offset of aborted transactions among `chunks`, by
    /// rising first offset.
    pub aborted: Vec<(i64, i64)>,
}

impl Fetched {
    /// A partition without records.
    pub fn error(slot: u32, error: ErrorCode) -> Fetched {
        Fetched {
            slot,
            error,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            diverging: None,
            chunks: Vec::new(),
            aborted: Vec::new(),
        }
    }
    /// Bytes of records.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// One partition of ListOffsets.
#[derive(Debug, Clone, Copy)]
pub struct OffsetQuery {
    /// Position in the request.
    pub slot: u32,
    /// Which partition.
    pub id: PartitionId,
    /// The client's idea of the leader epoch, -1 for none.
    pub leader_epoch: i32,
    /// Milliseconds, or one of the negative marks.
    pub timestamp: i64,
    /// True if the answer must not pass the last stable offset.
    pub read_committed: bool,
}

/// The answer for one partition of ListOffsets, OffsetForLeaderEpoch or DeleteRecords.
#[derive(Debug, Clone, Copy)]
pub struct OffsetAnswer {
    /// Position in the request.
    pub slot: u32,
    /// `NONE` or why there is no offset.
    pub error: ErrorCode,
    /// -1 if nothing matches.
    pub offset: i64,
    /// -1 if not applicable.
    pub timestamp: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
}

impl OffsetAnswer {
    /// An answer without an offset.
    pub fn none(slot: u32, error: ErrorCode) -> OffsetAnswer {
        OffsetAnswer {
            slot,
            error,
            offset: -1,
            timestamp: -1,
            leader_epoch: -1,
        }
    }
}

/// One partition of OffsetForLeaderEpoch.
#[derive(Debug, Clone, Copy)]
pub struct EpochQuery {
    /// Position in the request.
    pub slot: u32,
    /// Which partition.
    pub id: PartitionId,
    /// The client's idea of the current epoch, -1 for none.
    pub current_epoch: i32,
    /// The epoch whose end is asked for.
    pub epoch: i32,
}

/// One partition of DeleteRecords.
#[derive(Debug, Clone, Copy)]
pub struct TrimQuery {
    /// Position in the request.
    pub slot: u32,
    /// Which partition.
    pub id: PartitionId,
    /// New first offset; -1 for the high watermark.
    pub offset: i64,
}

/// The end of a transaction for one partition.
#[derive(Debug, Clone, Copy)]
pub struct MarkerWrite {
    /// Carried back with the result.
    pub slot: u32,
    /// Where it goes.
    pub id: PartitionId,
    /// Producer of the transaction.
    pub producer_id: i64,
    /// Epoch of the marker.
    pub producer_epoch: i16,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
    /// Commit or abort.
    pub commit: bool,
    /// Level of the transaction: from 2 on the marker's epoch is above that of the records (KIP-890).
    pub level: i16,
}

/// The answer for one partition of DescribeProducers.
#[derive(Debug, Clone)]
pub struct ProducerAnswer {
    /// Position in the request.
    pub slot: u32,
    /// `None` if the partition is not there.
    pub producers: Option<Vec<turgo_storage::ProducerEntry>>,
}

/// Producers that a partition knows, for metrics and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSize {
    /// Bytes of all batches kept.
    pub bytes: u64,
}

/// How far the metadata log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataLog {
    /// Its end, exclusive.
    pub end: i64,
    /// End of what is committed.
    pub high_watermark: i64,
    /// Epoch that its batches carry.
    pub leader_epoch: i32,
}

/// A request from one core to another.
#[derive(Debug)]
pub enum Op {
    /// Append batches.
    Produce(ProduceOp),
    /// Read batches, waiting for them if need be.
    Fetch(FetchOp),
    /// Tell when the end of any partition differs from the one given, or the deadline came.
    Watch {
        /// Partition and known end.
        parts: Vec<(PartitionId, i64)>,
        /// The ends are last stable offsets, not high watermarks.
        read_committed: bool,
        /// On the shards' clock, milliseconds.
        deadline_ms: u64,
    },
    /// Look offsets up.
    Offsets(Vec<OffsetQuery>),
    /// Ends of leader epochs.
    EpochEnds(Vec<EpochQuery>),
    /// Move log starts.
    Trim(Vec<TrimQuery>),
    /// Sizes of all logs of the core.
    Sizes,
    /// Metadata records that are committed; apply them.
    Apply {
        /// In log order.
        records: Arc<Vec<MetaRecord>>,
        /// They are the whole log.
        first: bool,
    },
    /// For the group coordinator of an internal partition.
    Group(PartitionId, Caller, Request),
    /// For all group coordinators of the core.
    Groups(Caller, Request),
    /// For the transaction coordinator of an internal partition.
    Txn(PartitionId, txn::Request),
    /// For all transaction coordinators of the core.
    Txns(txn::Request),
    /// Offsets of a transaction, for the group coordinator of an internal partition; with the transactional id.
    TxnOffsets(PartitionId, String, Caller, Request),
    /// Write markers.
    Markers(Vec<MarkerWrite>),
    /// Slots and partitions whose producers are asked for.
    Producers(Vec<(u32, PartitionId)>),
    /// Something to be decided by the controller, on core 0.
    Propose(super::control::Proposal),
    /// A closed set of producer ids for this core, on core 0.
    ProducerIds,
    /// A request of a fetch session that lives on the core.
    BeginRound(Update),
    /// What the answer to that request tells.
    FinishRound {
        /// The session.
        id: i32,
        /// Its epoch since the request.
        epoch: i32,
        /// Partitions in the answer.
        told: Vec<Told>,
    },
    /// Forget a fetch session.
    CloseSession(i32),
    /// How far the metadata log is, on core 0.
    MetadataLog,
}

/// The answer to an [`Op`], variant by variant.
#[derive(Debug)]
pub enum Answer {
    /// To `Produce`.
    Produced(Vec<Produced>),
    /// To `Fetch`.
    Fetched(Vec<Fetched>),
    /// To `Apply` and `CloseSession`.
    Done,
    /// To `Watch`.
    Watched {
        /// False if only the deadline came.
        moved: bool,
    },
    /// To `Offsets`, `EpochEnds`, `Trim`.
    Offsets(Vec<OffsetAnswer>),
    /// To `Sizes`.
    Sizes(Vec<(PartitionId, LogSize)>),
    /// To `Group` and `TxnOffsets`.
    Group(Response),
    /// To `Groups`, one per coordinator.
    Groups(Vec<Response>),
    /// To `Txn`.
    Txn(txn::Response),
    /// To `Txns`, one per coordinator.
    Txns(Vec<txn::Response>),
    /// To `Markers`: slot and result.
    Markers(Vec<(u32, ErrorCode)>),
    /// To `Producers`.
    Producers(Vec<ProducerAnswer>),
    /// To `Propose`.
    Proposed(super::control::Verdict),
    /// To `ProducerIds`: first id and count.
    ProducerIds(Option<(i64, i64)>),
    /// To `BeginRound`.
    Round(Result<Option<Round>, SessionError>),
    /// To `MetadataLog`; `None` before it is open.
    MetadataLog(Option<MetadataLog>),
    /// To `FinishRound`.
    RoundFinished(Result<(), SessionError>),
}

/// What travels between cores.
#[derive(Debug)]
pub enum Message {
    /// A request; `call` comes back with the answer.
    Call {
        /// Who waits.
        from: usize,
        /// Number of the call at `from`.
        call: u64,
        /// What to do.
        op: Op,
        /// When it was left for the other core.
        at_ns: u64,
    },
    /// An answer.
    Return {
        /// Number of the call at its origin.
        call: u64,
        /// The result.
        answer: Answer,
        /// When it was left for the other core.
        at_ns: u64,
    },
    /// A connection for the receiving core to serve.
    Connection(super::Accepted),
}
