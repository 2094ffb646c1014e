//! The fixed part of a batch: a checked view of the header, walking concatenated batches, patching fields in place.

use std::fmt;

use super::Compression;
use super::crc::crc32c_after_prefix_change;

/// Bytes of a v2 batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes before what the length field counts: base offset and the length itself. The same in every format.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Bytes needed to tell the length and the format of what follows, in every format.
pub const MIN_FRAME_BYTES: usize = 17;
/// The only format stored.
pub const MAGIC_V2: i8 = 2;
/// Timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;
/// Producer id of a batch that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// Producer epoch of a batch that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// Base sequence of a batch that is not idempotent, and of control batches.
pub const NO_SEQUENCE: i32 = -1;

/// Smallest length field of any format: what a v0 message of no key and no value takes.
const MIN_LENGTH_FIELD: i32 = 14;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;

/// Bytes from the attributes to the end of the maximum timestamp: all that stamping a batch changes under the CRC.
const STAMPED_BYTES: usize = 22;

const _: () = assert!(MAX_TIMESTAMP_AT + 8 == ATTRIBUTES_AT + STAMPED_BYTES);
const _: () = assert!(COUNT_AT + 4 == BATCH_HEADER_BYTES);

/// Where the timestamps of a batch come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer set one per record.
    #[default]
    CreateTime,
    /// The broker set one for the whole batch, at append; it is in the maximum timestamp.
    LogAppendTime,
}

/// The attributes of a batch.
///
/// Bits 0 to 2 name the compression, bit 3 says LogAppendTime, bit 4 transactional, bit 5 control, bit 6 that the base
/// timestamp is the delete horizon of a compacted batch (KIP-534). Higher bits are unused and kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The number in the compression bits, 0 to 7; 5 to 7 name no codec.
    pub fn compression_id(self) -> u8 {
        (self.0 & Self::COMPRESSION) as u8
    }

    /// The codec, or `None` when the bits name none that exists.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id(self.compression_id())
    }

    /// Who set the timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// The batch is part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// The batch holds a control record (transaction marker) and no user data.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is the time from which tombstones of this batch may go.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with another codec.
    pub fn with_compression(self, compression: Compression) -> Self {
        Attributes((self.0 & !Self::COMPRESSION) | i16::from(compression.id()))
    }

    /// The same with another origin of timestamps.
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(
            Self::LOG_APPEND_TIME,
            timestamp_type == TimestampType::LogAppendTime,
        )
    }

    /// The same with the transactional bit set or cleared.
    pub fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    /// The same with the control bit set or cleared.
    pub fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    fn with(self, bit: i16, on: bool) -> Self {
        Attributes(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Attributes({:#06x} {:?} {:?}",
            self.0,
            self.compression(),
            self.timestamp_type()
        )?;
        for (on, name) in [
            (self.is_transactional(), " transactional"),
            (self.is_control(), " control"),
            (self.has_delete_horizon(), " delete-horizon"),
        ] {
            if on {
                f.write_str(name)?;
            }
        }
        f.write_str(")")
    }
}

/// Why bytes are not a v2 batch. All but `Magic` mean damage or an incomplete read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the batch says it has; `have` of them are there.
    #[error("batch of {need} bytes cut to {have}")]
    Truncated {
        /// Bytes of the whole batch, or of the smallest header when the length is not yet readable.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The length field is below what any format needs.
    #[error("batch length field {0} is impossible")]
    Length(i32),
    /// Not format v2: 0 and 1 are the message sets of before 0.11, anything else is no format.
    #[error("batch of magic {0}")]
    Magic(i8),
    /// A v2 batch too short for its own header.
    #[error("v2 batch of {0} bytes, its header has 61")]
    NoHeader(usize),
}

/// Outline of the next batch or message set entry, of any format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the whole frame, length prefix included; the input may hold fewer.
    pub bytes: usize,
    /// Format: 0, 1, 2, or something unknown.
    pub magic: i8,
}

/// Reads the outline of what `buf` starts with.
///
/// `Ok(None)` when there are too few bytes to tell (below 17), [`BatchError::Length`] when the length is impossible.
/// Whether `buf` holds all of [`Frame::bytes`] is for the caller to check.
pub fn peek_frame(buf: &[u8]) -> Result<Option<Frame>, BatchError> {
    if buf.len() < LOG_OVERHEAD_BYTES {
        return Ok(None);
    }
    let length = i32_at(buf, LENGTH_AT);
    if length < MIN_LENGTH_FIELD {
        return Err(BatchError::Length(length));
    }
    if buf.len() < MIN_FRAME_BYTES {
        return Ok(None);
    }
    Ok(Some(Frame {
        bytes: LOG_OVERHEAD_BYTES + length as usize,
        magic: buf[MAGIC_AT] as i8,
    }))
}

/// One whole v2 batch. Holding one means: the magic is 2, the length field agrees with the slice, the header is there.
/// The CRC is not checked by itself, see [`BatchView::crc_ok`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `buf`; what follows it is not looked at.
    pub fn first(buf: &'a [u8]) -> Result<Self, BatchError> {
        let Some(frame) = peek_frame(buf)? else {
            return Err(BatchError::Truncated {
                need: MIN_FRAME_BYTES,
                have: buf.len(),
            });
        };
        if frame.magic != MAGIC_V2 {
            return Err(BatchError::Magic(frame.magic));
        }
        if frame.bytes < BATCH_HEADER_BYTES {
            return Err(BatchError::NoHeader(frame.bytes));
        }
        match buf.get(..frame.bytes) {
            Some(bytes) => Ok(BatchView { bytes }),
            None => Err(BatchError::Truncated {
                need: frame.bytes,
                have: buf.len(),
            }),
        }
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole batch, its length prefix included.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> i64 {
        i64_at(self.bytes, 0)
    }

    /// The length field: bytes after it.
    pub fn length_field(&self) -> i32 {
        i32_at(self.bytes, LENGTH_AT)
    }

    /// Leader epoch that appended the batch, -1 before that.
    pub fn leader_epoch(&self) -> i32 {
        i32_at(self.bytes, LEADER_EPOCH_AT)
    }

    /// The stored CRC-32C.
    pub fn crc(&self) -> u32 {
        i32_at(self.bytes, CRC_AT) as u32
    }

    /// Compression, origin of timestamps, transactional, control.
    pub fn attributes(&self) -> Attributes {
        Attributes(i16_at(self.bytes, ATTRIBUTES_AT))
    }

    /// Offset of the last record less the base offset. Negative only in bad batches.
    pub fn last_offset_delta(&self) -> i32 {
        i32_at(self.bytes, LAST_OFFSET_DELTA_AT)
    }

    /// Offset of the last record (inclusive); wraps for a hostile base.
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// What record timestamps are relative to, ms.
    pub fn base_timestamp(&self) -> i64 {
        i64_at(self.bytes, BASE_TIMESTAMP_AT)
    }

    /// Largest timestamp of the records, ms, or -1; the append time under LogAppendTime.
    pub fn max_timestamp(&self) -> i64 {
        i64_at(self.bytes, MAX_TIMESTAMP_AT)
    }

    /// Producer id, or [`NO_PRODUCER_ID`].
    pub fn producer_id(&self) -> i64 {
        i64_at(self.bytes, PRODUCER_ID_AT)
    }

    /// Any producer id above -1 makes the batch idempotent.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    /// Producer epoch, or [`NO_PRODUCER_EPOCH`].
    pub fn producer_epoch(&self) -> i16 {
        i16_at(self.bytes, PRODUCER_EPOCH_AT)
    }

    /// Sequence of the first record, or [`NO_SEQUENCE`].
    pub fn base_sequence(&self) -> i32 {
        i32_at(self.bytes, BASE_SEQUENCE_AT)
    }

    /// Sequence of the last record; sequences go from 2^31 - 1 to 0.
    pub fn last_sequence(&self) -> i32 {
        let base = self.base_sequence();
        if base == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        (base.wrapping_add(self.last_offset_delta())) & i32::MAX
    }

    /// Records the batch says it has. Negative only in bad batches.
    pub fn record_count(&self) -> i32 {
        i32_at(self.bytes, COUNT_AT)
    }

    /// The records as stored, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// The CRC-32C that the bytes have now.
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..])
    }

    /// The stored CRC is that of the bytes.
    pub fn crc_ok(&self) -> bool {
        self.crc() == self.computed_crc()
    }
}

impl fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchView")
            .field("base_offset", &self.base_offset())
            .field("total_bytes", &self.total_bytes())
            .field("leader_epoch", &self.leader_epoch())
            .field("crc", &format_args!("{:#010x}", self.crc()))
            .field("attributes", &self.attributes())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("record_count", &self.record_count())
            .finish()
    }
}

/// Batches of `buf`, one after the other; the first error ends the walk.
///
/// A batch cut off at the end is an error here; a fetch response may legally end in one, and
/// [`Batches::remainder`] tells where.
pub fn batches(buf: &[u8]) -> Batches<'_> {
    Batches { rest: buf }
}

/// Iterator of [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Bytes not yet walked; after an error, those of the batch that caused it and all after.
    pub fn remainder(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = BatchView::first(self.rest);
        match result {
            Ok(batch) => self.rest = &self.rest[batch.total_bytes()..],
            Err(_) => self.rest = &[],
        }
        Some(result)
    }
}

/// Sets the base offset of a whole v2 batch; the CRC does not cover it.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    assert_patchable(batch);
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
}

/// Sets the leader epoch of a whole v2 batch; the CRC does not cover it.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    assert_patchable(batch);
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps a whole v2 batch with the append time and corrects the CRC, which must have been right before.
pub fn patch_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes =
        Attributes(i16_at(batch, ATTRIBUTES_AT)).with_timestamp_type(TimestampType::LogAppendTime);
    patch_stamp(batch, attributes, now_ms);
}

/// Says of a whole v2 batch that its records have their own timestamps, of which `max_timestamp` is the largest, and
/// corrects the CRC, which must have been right before.
pub fn patch_create_time(batch: &mut [u8], max_timestamp: i64) {
    let attributes = Attributes(i16_at(batch, ATTRIBUTES_AT)).with_timestamp_type(TimestampType::CreateTime);
    patch_stamp(batch, attributes, max_timestamp);
}

/// Sets the maximum timestamp of a whole v2 batch and corrects the CRC, which must have been right before.
pub fn patch_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    let attributes = Attributes(i16_at(batch, ATTRIBUTES_AT));
    patch_stamp(batch, attributes, max_timestamp);
}

/// Sets the attributes of a whole v2 batch and corrects the CRC, which must have been right before.
pub fn patch_attributes(batch: &mut [u8], attributes: Attributes) {
    let max_timestamp = i64_at(batch, MAX_TIMESTAMP_AT);
    patch_stamp(batch, attributes, max_timestamp);
}

/// Above this many covered bytes correcting the CRC is cheaper than computing it anew; see the example
/// `records_bench`.
const CORRECT_CRC_FROM_BYTES: usize = 4096;

fn patch_stamp(batch: &mut [u8], attributes: Attributes, max_timestamp: i64) {
    assert_patchable(batch);
    let mut old = [0; STAMPED_BYTES];
    old.copy_from_slice(&batch[ATTRIBUTES_AT..ATTRIBUTES_AT + STAMPED_BYTES]);
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.0.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    let covered = &batch[ATTRIBUTES_AT..];
    let new = &covered[..STAMPED_BYTES];
    if new == old {
        return;
    }
    let crc = if covered.len() < CORRECT_CRC_FROM_BYTES {
        crc32c::crc32c(covered)
    } else {
        crc32c_after_prefix_change(i32_at(batch, CRC_AT) as u32, &old, new, covered.len())
    };
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// A patch writes at fixed places; anything but one whole v2 batch would be damaged by it.
fn assert_patchable(batch: &[u8]) {
    assert!(
        batch.len() >= BATCH_HEADER_BYTES
            && batch[MAGIC_AT] as i8 == MAGIC_V2
            && i32_at(batch, LENGTH_AT) as i64 + LOG_OVERHEAD_BYTES as i64 == batch.len() as i64,
        "patching bytes that are not one whole v2 batch"
    );
}

/// Gives `batch`, whose payload is in place behind 61 bytes of room, the header of `like` with other attributes and
/// maximum timestamp, and a CRC of its own. This is how a broker rewrites a batch in another codec.
///
/// Panics when the batch is longer than its length field can say (2 GiB).
pub fn write_header_like(batch: &mut [u8], like: &BatchView<'_>, attributes: Attributes, max_timestamp: i64) {
    write_header(
        batch,
        &HeaderFields {
            base_offset: like.base_offset(),
            leader_epoch: like.leader_epoch(),
            attributes,
            last_offset_delta: like.last_offset_delta(),
            base_timestamp: like.base_timestamp(),
            max_timestamp,
            producer_id: like.producer_id(),
            producer_epoch: like.producer_epoch(),
            base_sequence: like.base_sequence(),
            record_count: like.record_count(),
        },
    );
}

/// Header fields of a batch to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderFields {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Writes header and CRC of the batch that fills `batch`, whose payload is already in place.
///
/// The caller has checked that the length fits the field.
pub(super) fn write_header(batch: &mut [u8], fields: &HeaderFields) {
    let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).expect("checked by the caller");
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &fields.base_offset.to_be_bytes());
    put(LENGTH_AT, &length.to_be_bytes());
    put(LEADER_EPOCH_AT, &fields.leader_epoch.to_be_bytes());
    put(MAGIC_AT, &MAGIC_V2.to_be_bytes());
    put(ATTRIBUTES_AT, &fields.attributes.0.to_be_bytes());
    put(LAST_OFFSET_DELTA_AT, &fields.last_offset_delta.to_be_bytes());
    put(BASE_TIMESTAMP_AT, &fields.base_timestamp.to_be_bytes());
    put(MAX_TIMESTAMP_AT, &fields.max_timestamp.to_be_bytes());
    put(PRODUCER_ID_AT, &fields.producer_id.to_be_bytes());
    put(PRODUCER_EPOCH_AT, &fields.producer_epoch.to_be_bytes());
    put(BASE_SEQUENCE_AT, &fields.base_sequence.to_be_bytes());
    put(COUNT_AT, &fields.record_count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(word)
}
