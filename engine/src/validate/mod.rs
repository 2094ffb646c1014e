//! What a broker checks of the records of a Produce request, and what it changes in them, before they are appended.
//!
//! The produce path calls [`Validator::validate`] once per partition, with the bytes as they came and the rules of the
//! topic. The answer is one whole v2 batch, to be given an offset and appended, or a [`Refusal`] for the response. The
//! list offsets path calls [`timestamp_lookup`].
//!
//! What always holds of a batch that is let through: its CRC is right, it has as many records as it says, their offset
//! deltas count from 0 without a gap, every record parses to its last byte, and the maximum timestamp is that of the
//! records (CreateTime) or the append time (LogAppendTime). Consumers, lookups and compaction build on that.
//!
//! Left to others: producer sequences and epochs (storage), transactions and whether the request may write
//! transactional batches at all (see [`is_transactional`]), authorisation, acks.
//!
//! Where the answers differ from Apache Kafka 4.3 is listed in `docs/protocol-validation.md`.

mod error;
mod rewrite;
pub mod timestamp_lookup;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use turgo_net::records::{
    BatchError, BatchView, Compression, Compressor, Decompressor, NO_TIMESTAMP, RecordMeta, RecordScan,
    ScanError, TimestampType, patch_create_time, patch_log_append_time, peek_frame,
};

use error::RecordErrors;
pub use error::{MAX_RECORD_ERRORS, RecordRefusal, Refusal, ValidateError};

/// What `compression.type` of a topic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicCompression {
    /// Keep what the producer chose.
    #[default]
    Producer,
    /// Store with this codec, at this level when the batch has to be rewritten.
    Codec(Compression, Option<i32>),
}

/// The settings of a topic that decide about batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRules {
    /// `max.message.bytes`: largest batch as stored, header included.
    pub max_message_bytes: usize,
    /// `segment.bytes`: a batch above it fits no segment.
    pub segment_bytes: usize,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie in the future.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` has `compact`: records need keys.
    pub compacted: bool,
    /// The topic is the broker's own; clients do not write to it.
    pub internal: bool,
}

impl Default for TopicRules {
    /// Kafka's defaults.
    fn default() -> Self {
        TopicRules {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            compression: TopicCompression::Producer,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            internal: false,
        }
    }
}

/// Checks batches, one after the other. Holds the memory that decompressing and rewriting need; one per core.
#[derive(Debug)]
pub struct Validator {
    decompressor: Decompressor,
    compressor: Compressor,
    max_decompressed_bytes: usize,
}

/// First Produce version that may carry zstd (KIP-110).
const ZSTD_FROM_VERSION: i16 = 7;

/// A batch that may be appended.
#[derive(Debug)]
pub struct Validated<'a> {
    original: BatchView<'a>,
    change: Change,
    record_count: i32,
    max_timestamp: i64,
    max_timestamp_delta: i32,
}

/// What is to be done to the client's bytes before they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The maximum timestamp becomes that of the records; attributes say CreateTime.
    MaxTimestamp(i64),
    /// The batch gets the append time.
    LogAppendTime(i64),
    /// These bytes take its place: another codec, and with it whatever else the rules ask for.
    Rewritten(Vec<u8>),
}

impl<'a> Validated<'a> {
    /// The batch as the client sent it. Its size and timestamps are not yet those that are stored.
    pub fn original(&self) -> BatchView<'a> {
        self.original
    }

    /// What is to be done to it.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Records in the batch; at least 1.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// The largest timestamp as stored: of the records or, under LogAppendTime, the append time; -1 when none has one.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Offset delta of the first record that has [`Validated::max_timestamp`].
    pub fn max_timestamp_delta(&self) -> i32 {
        self.max_timestamp_delta
    }

    /// Bytes of the batch as it is stored.
    pub fn stored_bytes(&self) -> usize {
        match &self.change {
            Change::Rewritten(bytes) => bytes.len(),
            _ => self.original.total_bytes(),
        }
    }

    /// Applies the change in place to the bytes given to [`Validator::validate`], saving the copy that
    /// [`Validated::into_batch`] makes; the batch is then the first [`Validated::stored_bytes`] of them.
    /// For [`Change::Rewritten`] nothing is done and `false` returned.
    pub fn apply(change: &Change, batch: &mut [u8]) -> bool {
        match change {
            Change::None => true,
            Change::MaxTimestamp(max_timestamp) => {
                patch_create_time(batch, *max_timestamp);
                true
            }
            Change::LogAppendTime(now_ms) => {
                patch_log_append_time(batch, *now_ms);
                true
            }
            Change::Rewritten(_) => false,
        }
    }

    /// The batch to append: the client's bytes when nothing changes, else a copy that is stamped or rewritten.
    pub fn into_batch(self) -> Cow<'a, [u8]> {
        let mut batch = match self.change {
            Change::None => return Cow::Borrowed(self.original.bytes()),
            Change::Rewritten(bytes) => return Cow::Owned(bytes),
            Change::MaxTimestamp(_) | Change::LogAppendTime(_) => self.original.bytes().to_vec(),
        };
        Self::apply(&self.change, &mut batch);
        Cow::Owned(batch)
    }
}

/// The partition's records start with a transactional batch. A request with one needs a transactional id, and fails as
/// a whole with TRANSACTIONAL_ID_AUTHORIZATION_FAILED without; asked before anything is validated.
pub fn is_transactional(records: &[u8]) -> bool {
    BatchView::first(records).is_ok_and(|batch| batch.attributes().is_transactional())
}

impl Validator {
    /// `max_decompressed_bytes` bounds what one batch may decompress to, and with it the time it can cost.
    pub fn new(max_decompressed_bytes: usize) -> Self {
        Validator {
            decompressor: Decompressor::new(),
            compressor: Compressor::new(),
            max_decompressed_bytes,
        }
    }

    /// Checks the records of one partition of a Produce request of `api_version`; `None` is the null of the protocol.
    ///
    /// The checks and their order are Kafka's, because the first failure decides the error code.
    pub fn validate<'a>(
        &mut self,
        records: Option<&'a [u8]>,
        api_version: i16,
        rules: &TopicRules,
        now_ms: i64,
    ) -> Result<Validated<'a>, Refusal> {
        if rules.internal {
            return Err(ValidateError::InternalTopic.into());
        }
        let batch = only_batch(records.unwrap_or_default(), api_version)?;
        check_whole(&batch, rules)?;
        let source = check_header(&batch)?;

        let mut walk = Walk::new(&batch, rules, now_ms);
        let target = match rules.compression {
            TopicCompression::Producer => source,
            TopicCompression::Codec(codec, _) => codec,
        };
        let change = if source == target {
            let scan = RecordScan::new(&batch, &mut self.decompressor, self.max_decompressed_bytes)
                .map_err(|error| scan_error(error, source))?;
            walk.all(scan, source)?;
            walk.change(&batch)
        } else {
            let payload = match source {
                Compression::None => batch.payload(),
                _ => self
                    .decompressor
                    .decompress(source, batch.payload(), self.max_decompressed_bytes)
                    .map_err(|error| scan_error(error.into(), source))?,
            };
            walk.all(RecordScan::over(payload, batch.record_count()), Compression::None)?;
            let level = match rules.compression {
                TopicCompression::Codec(_, level) => level,
                TopicCompression::Producer => None,
            };
            let rewritten = rewrite::rewrite(
                &batch,
                payload,
                &mut self.compressor,
                rewrite::Target {
                    compression: target,
                    level,
                    timestamp_type: rules.timestamp_type,
                    max_timestamp: walk.stored_max_timestamp(),
                },
            )?;
            if rewritten.len() > rules.max_message_bytes {
                return Err(ValidateError::TooLarge {
                    bytes: rewritten.len(),
                    limit: rules.max_message_bytes,
                }
                .into());
            }
            Change::Rewritten(rewritten)
        };
        let validated = Validated {
            original: batch,
            change,
            record_count: batch.record_count(),
            max_timestamp: walk.stored_max_timestamp(),
            max_timestamp_delta: walk.stored_max_delta(),
        };
        if validated.stored_bytes() > rules.segment_bytes {
            let (bytes, limit) = (validated.stored_bytes(), rules.segment_bytes);
            return Err(ValidateError::LargerThanSegment { bytes, limit }.into());
        }
        Ok(validated)
    }
}

/// The one batch that a partition of a Produce request holds. Bytes after it that are no further batch are dropped.
fn only_batch(records: &[u8], api_version: i16) -> Result<BatchView<'_>, Refusal> {
    check_frame(records)?;
    let batch = match BatchView::first(records) {
        Ok(batch) => batch,
        Err(BatchError::Magic(magic)) => return Err(ValidateError::OldFormat { magic }.into()),
        Err(BatchError::Truncated { .. }) => return Err(ValidateError::NotOneBatch.into()),
        Err(BatchError::Length(length)) => return Err(ValidateError::Length(length).into()),
        Err(BatchError::NoHeader(bytes)) => return Err(ValidateError::NoHeader(bytes).into()),
    };
    if api_version < ZSTD_FROM_VERSION && batch.attributes().compression() == Some(Compression::Zstd) {
        return Err(ValidateError::ZstdTooEarly { api_version }.into());
    }
    let rest = &records[batch.total_bytes()..];
    check_frame(rest)?;
    match peek_frame(rest) {
        Ok(Some(frame)) if frame.bytes <= rest.len() => Err(ValidateError::NotOneBatch.into()),
        _ => Ok(batch),
    }
}

/// Damage that the outline of a frame shows, whether or not all of it is there.
fn check_frame(buf: &[u8]) -> Result<(), Refusal> {
    match peek_frame(buf) {
        Err(BatchError::Length(length)) => Err(ValidateError::Length(length).into()),
        Ok(Some(frame)) if !(0..=2).contains(&frame.magic) => {
            Err(ValidateError::UnknownFormat(frame.magic).into())
        }
        _ => Ok(()),
    }
}

/// What is asked of the batch as a block of bytes.
fn check_whole(batch: &BatchView<'_>, rules: &TopicRules) -> Result<(), Refusal> {
    if batch.base_offset() != 0 {
        return Err(ValidateError::BaseOffset(batch.base_offset()).into());
    }
    if batch.total_bytes() > rules.max_message_bytes {
        let (bytes, limit) = (batch.total_bytes(), rules.max_message_bytes);
        return Err(ValidateError::TooLarge { bytes, limit }.into());
    }
    let computed = batch.computed_crc();
    if batch.crc() != computed {
        return Err(ValidateError::Checksum {
            stored: batch.crc(),
            computed,
        }
        .into());
    }
    Ok(())
}

/// What is asked of the header; returns the codec.
fn check_header(batch: &BatchView<'_>) -> Result<Compression, Refusal> {
    let attributes = batch.attributes();
    let Some(compression) = attributes.compression() else {
        return Err(ValidateError::UnknownCodec(attributes.compression_id()).into());
    };
    let (count, last_offset_delta) = (batch.record_count(), batch.last_offset_delta());
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(ValidateError::Count {
            count,
            last_offset_delta,
        }
        .into());
    }
    if attributes.is_control() {
        return Err(ValidateError::Control.into());
    }
    if batch.has_producer_id() && batch.base_sequence() < 0 {
        return Err(ValidateError::Sequence(batch.base_sequence()).into());
    }
    Ok(compression)
}

fn scan_error(error: ScanError, codec: Compression) -> Refusal {
    match error {
        ScanError::Record(error) => ValidateError::Record(error).into(),
        ScanError::Compression(error) => ValidateError::from_compression(error, codec).into(),
    }
}

/// Going through the records of a batch: what is checked of each, and what is learnt.
struct Walk {
    base_timestamp: i64,
    /// Timestamps inside are accepted; -1, no timestamp, always is.
    earliest: i64,
    latest: i64,
    compacted: bool,
    /// A producer set the append time bit; on LogAppendTime topics that is refused, record by record.
    claims_append_time: bool,
    append_time: Option<i64>,
    next_delta: i32,
    max_timestamp: i64,
    max_delta: i32,
    errors: RecordErrors,
}

impl Walk {
    fn new(batch: &BatchView<'_>, rules: &TopicRules, now_ms: i64) -> Self {
        let create_time = rules.timestamp_type == TimestampType::CreateTime;
        let (earliest, latest) = if create_time {
            (
                now_ms.saturating_sub(rules.timestamp_before_max_ms),
                now_ms.saturating_add(rules.timestamp_after_max_ms),
            )
        } else {
            (i64::MIN, i64::MAX)
        };
        Walk {
            base_timestamp: batch.base_timestamp(),
            earliest,
            latest,
            compacted: rules.compacted,
            claims_append_time: !create_time
                && batch.attributes().timestamp_type() == TimestampType::LogAppendTime,
            append_time: (!create_time).then_some(now_ms),
            next_delta: 0,
            max_timestamp: NO_TIMESTAMP,
            max_delta: 0,
            errors: RecordErrors::default(),
        }
    }

    /// Goes through all records; malformed ones win over refused ones, as nothing after them can be judged.
    fn all(&mut self, mut scan: RecordScan<'_>, codec: Compression) -> Result<(), Refusal> {
        while let Some(meta) = scan.next_record().map_err(|error| scan_error(error, codec))? {
            self.record(&meta)?;
        }
        scan.finish().map_err(|error| scan_error(error, codec))?;
        match std::mem::take(&mut self.errors).refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    #[inline]
    fn record(&mut self, meta: &RecordMeta) -> Result<(), Refusal> {
        let delta = self.next_delta;
        if meta.offset_delta != delta {
            return Err(ValidateError::OffsetDelta {
                expected: delta,
                actual: meta.offset_delta,
            }
            .into());
        }
        // The count of the header is an int32 and the scan stops at it.
        self.next_delta = delta.wrapping_add(1);
        let timestamp = self.base_timestamp.wrapping_add(meta.timestamp_delta);
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_delta = delta;
        }
        if self.compacted && !meta.has_key {
            self.errors.null_key(delta);
        } else if (timestamp < self.earliest || timestamp > self.latest) && timestamp != NO_TIMESTAMP {
            self.errors
                .timestamp(delta, timestamp, self.earliest, self.latest);
        } else if self.claims_append_time {
            self.errors.append_time(delta);
        }
        Ok(())
    }

    fn stored_max_timestamp(&self) -> i64 {
        self.append_time.unwrap_or(self.max_timestamp)
    }

    fn stored_max_delta(&self) -> i32 {
        if self.append_time.is_some() {
            0
        } else {
            self.max_delta
        }
    }

    fn change(&self, batch: &BatchView<'_>) -> Change {
        match self.append_time {
            Some(now_ms) => Change::LogAppendTime(now_ms),
            None if batch.max_timestamp() == self.max_timestamp
                && batch.attributes().timestamp_type() == TimestampType::CreateTime =>
            {
                Change::None
            }
            None => Change::MaxTimestamp(self.max_timestamp),
        }
    }
}
