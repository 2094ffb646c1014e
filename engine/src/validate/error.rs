//! Why records are refused, and how that is told to the producer.

use std::borrow::Cow;
use std::fmt;

use turgo_net::ErrorCode;
use turgo_net::records::{Compression, CompressionError, RecordError};

/// Record errors told in one answer; Java only uses them to tell guilty records from their neighbours.
pub const MAX_RECORD_ERRORS: usize = 1000;

/// Why a partition's records are refused. All of them are the client's to act on; what it should do is said by
/// [`ValidateError::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// The topic belongs to the broker (17, `INVALID_TOPIC_EXCEPTION`).
    #[error("clients cannot write to internal topics")]
    InternalTopic,
    /// No batch, part of one, or more than one (87, `INVALID_RECORD`).
    #[error("a partition of a produce request must hold exactly one whole record batch")]
    NotOneBatch,
    /// A message set of before Kafka 0.11 (87, `INVALID_RECORD`).
    #[error("magic {magic} is not supported, record batches must have magic 2")]
    OldFormat {
        /// 0 or 1.
        magic: i8,
    },
    /// No format that ever was (2, `CORRUPT_MESSAGE`).
    #[error("unknown magic {0}")]
    UnknownFormat(i8),
    /// The length field is below what any format needs (2, `CORRUPT_MESSAGE`).
    #[error("impossible batch length {0}")]
    Length(i32),
    /// Shorter than its own header (2, `CORRUPT_MESSAGE`).
    #[error("batch of {0} bytes is shorter than its header")]
    NoHeader(usize),
    /// The CRC-32C differs (2, `CORRUPT_MESSAGE`).
    #[error("batch checksum {stored:#010x} but its bytes have {computed:#010x}")]
    Checksum {
        /// In the batch.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// Offsets are the broker's to give (87, `INVALID_RECORD`).
    #[error("base offset must be 0 in a produce request, not {0}")]
    BaseOffset(i64),
    /// Above `max.message.bytes`, as sent or as rewritten (10, `MESSAGE_TOO_LARGE`; Java splits the batch on it).
    #[error("batch of {bytes} bytes is above the topic's limit of {limit}")]
    TooLarge {
        /// Of the batch.
        bytes: usize,
        /// `max.message.bytes`.
        limit: usize,
    },
    /// Expands beyond what the broker is willing to decompress (10, `MESSAGE_TOO_LARGE`).
    #[error("batch decompresses to more than {limit} bytes")]
    ExpandsTooMuch {
        /// The broker's limit.
        limit: usize,
    },
    /// Above `segment.bytes` (18, `RECORD_LIST_TOO_LARGE`).
    #[error("batch of {bytes} bytes is above the segment size of {limit}")]
    LargerThanSegment {
        /// Of the batch.
        bytes: usize,
        /// `segment.bytes`.
        limit: usize,
    },
    /// zstd before Produce v7 (76, `UNSUPPORTED_COMPRESSION_TYPE`).
    #[error("zstd needs produce version 7, this is version {api_version}")]
    ZstdTooEarly {
        /// Of the request.
        api_version: i16,
    },
    /// Attributes name a codec that does not exist (76, `UNSUPPORTED_COMPRESSION_TYPE`).
    #[error("unknown compression type {0}")]
    UnknownCodec(u8),
    /// The payload is not what its codec writes (87, `INVALID_RECORD`).
    #[error("{codec} data is damaged: {what}")]
    Compressed {
        /// The codec named by the batch.
        codec: Compression,
        /// What is wrong.
        what: &'static str,
    },
    /// The codec of the topic failed on good data (-1, `UNKNOWN_SERVER_ERROR`): the broker's fault, out of memory or a
    /// level that was not checked when it was set.
    #[error("compressing with {0} failed")]
    Compressor(Compression),
    /// Count and last offset delta contradict each other or are not positive (87, `INVALID_RECORD`).
    #[error("record count {count} does not go with last offset delta {last_offset_delta}")]
    Count {
        /// Of the header.
        count: i32,
        /// Of the header.
        last_offset_delta: i32,
    },
    /// Markers are the broker's to write (87, `INVALID_RECORD`).
    #[error("clients cannot write control batches")]
    Control,
    /// An idempotent batch needs a sequence (87, `INVALID_RECORD`).
    #[error("base sequence {0} in a batch with a producer id")]
    Sequence(i32),
    /// A record is malformed (87, `INVALID_RECORD`).
    #[error("malformed record: {0}")]
    Record(RecordError),
    /// Offset deltas do not count from 0 (87, `INVALID_RECORD`).
    #[error("record with offset delta {actual} where {expected} was due")]
    OffsetDelta {
        /// The position of the record in the batch.
        expected: i32,
        /// What it says.
        actual: i32,
    },
    /// Some records are refused and named, none of them for its timestamp (87, `INVALID_RECORD`).
    #[error("{count} records refused")]
    Records {
        /// How many, named or not.
        count: u32,
    },
    /// Some records are refused and named, at least one for its timestamp (32, `INVALID_TIMESTAMP`).
    #[error("{count} records refused, among them some with an invalid timestamp")]
    Timestamps {
        /// How many, named or not.
        count: u32,
    },
}

impl ValidateError {
    /// The error code sent for the partition.
    pub fn code(&self) -> ErrorCode {
        match self {
            ValidateError::Compressor(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
            ValidateError::UnknownFormat(_)
            | ValidateError::Length(_)
            | ValidateError::NoHeader(_)
            | ValidateError::Checksum { .. } => ErrorCode::CORRUPT_MESSAGE,
            ValidateError::TooLarge { .. } | ValidateError::ExpandsTooMuch { .. } => {
                ErrorCode::MESSAGE_TOO_LARGE
            }
            ValidateError::InternalTopic => ErrorCode::INVALID_TOPIC_EXCEPTION,
            ValidateError::LargerThanSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
            ValidateError::Timestamps { .. } => ErrorCode::INVALID_TIMESTAMP,
            ValidateError::ZstdTooEarly { .. } | ValidateError::UnknownCodec(_) => {
                ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
            }
            ValidateError::NotOneBatch
            | ValidateError::OldFormat { .. }
            | ValidateError::BaseOffset(_)
            | ValidateError::Compressed { .. }
            | ValidateError::Count { .. }
            | ValidateError::Control
            | ValidateError::Sequence(_)
            | ValidateError::Record(_)
            | ValidateError::OffsetDelta { .. }
            | ValidateError::Records { .. } => ErrorCode::INVALID_RECORD,
        }
    }

    /// True if Kafka refuses such records before it looks at the log, so that the answer has no log start offset.
    pub fn precedes_the_log(&self) -> bool {
        matches!(
            self,
            ValidateError::InternalTopic
                | ValidateError::NotOneBatch
                | ValidateError::OldFormat { .. }
                | ValidateError::ZstdTooEarly { .. }
                | ValidateError::UnknownFormat(_)
                | ValidateError::Length(_)
                | ValidateError::NoHeader(_)
                | ValidateError::Checksum { .. }
                | ValidateError::TooLarge { .. }
                | ValidateError::ExpandsTooMuch { .. }
                | ValidateError::LargerThanSegment { .. }
        )
    }

    pub(super) fn from_compression(error: CompressionError, codec: Compression) -> Self {
        match error {
            CompressionError::UnknownCodec(id) => ValidateError::UnknownCodec(id),
            CompressionError::Corrupt { codec, what } => ValidateError::Compressed { codec, what },
            CompressionError::TooLarge { ceiling } => ValidateError::ExpandsTooMuch { limit: ceiling },
            CompressionError::Codec(_) => ValidateError::Compressor(codec),
        }
    }
}

/// A record that is refused, by its place in the batch (`BatchIndexAndErrorMessage`, from Produce v8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRefusal {
    /// Position in the batch, from 0.
    pub batch_index: i32,
    /// Why, for people.
    pub message: Cow<'static, str>,
}

/// The refusal of a partition's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why; gives the error code and, as text, the error message (from Produce v8).
    pub error: ValidateError,
    /// The records at fault in their order, at most [`MAX_RECORD_ERRORS`]; empty unless single records are.
    pub record_errors: Vec<RecordRefusal>,
}

impl From<ValidateError> for Refusal {
    fn from(error: ValidateError) -> Self {
        Refusal {
            error,
            record_errors: Vec::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refusal {}

/// Refused records, as they are met.
#[derive(Debug, Default)]
pub(super) struct RecordErrors {
    named: Vec<RecordRefusal>,
    count: u32,
    timestamps: bool,
}

impl RecordErrors {
    #[cold]
    pub(super) fn null_key(&mut self, batch_index: i32) {
        self.add(batch_index, || {
            Cow::Borrowed("records of a compacted topic need a key")
        });
    }

    #[cold]
    pub(super) fn timestamp(&mut self, batch_index: i32, timestamp: i64, earliest: i64, latest: i64) {
        self.timestamps = true;
        self.add(batch_index, || {
            Cow::Owned(format!(
                "timestamp {timestamp} is outside of {earliest} to {latest}, what the topic accepts now"
            ))
        });
    }

    #[cold]
    pub(super) fn append_time(&mut self, batch_index: i32) {
        self.timestamps = true;
        self.add(batch_index, || {
            Cow::Borrowed("producers cannot set the log append time")
        });
    }

    fn add(&mut self, batch_index: i32, message: impl FnOnce() -> Cow<'static, str>) {
        self.count += 1;
        if self.named.len() < MAX_RECORD_ERRORS {
            self.named.push(RecordRefusal {
                batch_index,
                message: message(),
            });
        }
    }

    /// `None` when no record was refused.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let count = self.count;
        let error = match (count, self.timestamps) {
            (0, _) => return None,
            (_, true) => ValidateError::Timestamps { count },
            (_, false) => ValidateError::Records { count },
        };
        Some(Refusal {
            error,
            record_errors: self.named,
        })
    }
}
