//! The 61-byte header of a Kafka record batch, format v2. All integers are big-endian, alignment 1.
//!
//! | at | field | type |
//! |-|-|-|
//! | 0 | base offset | i64 |
//! | 8 | batch length: bytes after this field | i32 |
//! | 12 | partition leader epoch | i32 |
//! | 16 | magic: 2 | i8 |
//! | 17 | CRC-32C of bytes 21 to the end | u32 |
//! | 21 | attributes | i16 |
//! | 23 | last offset delta | i32 |
//! | 27 | base timestamp | i64 |
//! | 35 | max timestamp | i64 |
//! | 43 | producer id | i64 |
//! | 51 | producer epoch | i16 |
//! | 53 | base sequence | i32 |
//! | 57 | record count | i32 |
//! | 61 | records | |
//!
//! Base offset and leader epoch lie before the CRC's range: the broker writes both without touching it.

use rend::unaligned::{i16_ube, i32_ube, i64_ube, u32_ube};
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;

use super::Invalid;
use super::fixed::layout;

/// Bytes of a batch header.
pub const HEADER_BYTES: usize = 61;
/// Bytes of a batch that its `batch_length` does not count.
pub const LENGTH_OVERHEAD: usize = 12;
/// Attribute bit: max timestamp is the time of append (`message.timestamp.type`).
pub const LOG_APPEND_TIME: i16 = 0x08;
/// Attribute bit: part of a transaction.
pub const TRANSACTIONAL: i16 = 0x10;
/// Attribute bit: control batch.
pub const CONTROL: i16 = 0x20;

/// The header, viewed in place.
#[derive(Debug, Portable, CheckBytes, Clone, Copy, PartialEq, Eq)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct KafkaBatchHeader {
    /// Offset of the first record.
    pub base_offset: i64_ube,
    /// Bytes after this field.
    pub batch_length: i32_ube,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32_ube,
    /// Format version, 2.
    pub magic: i8,
    /// CRC-32C of everything after it.
    pub crc: u32_ube,
    /// Compression in bits 0..3, then flags.
    pub attributes: i16_ube,
    /// Offset of the last record, from the base.
    pub last_offset_delta: i32_ube,
    /// Timestamp that record deltas count from.
    pub base_timestamp: i64_ube,
    /// Largest record timestamp, or the time of append.
    pub max_timestamp: i64_ube,
    /// Producer id, -1 for none.
    pub producer_id: i64_ube,
    /// Producer epoch, -1 for none.
    pub producer_epoch: i16_ube,
    /// Sequence of the first record, -1 for none.
    pub base_sequence: i32_ube,
    /// Records in the batch.
    pub record_count: i32_ube,
}

layout!(KafkaBatchHeader, 61, 1, {
    base_offset: 0, batch_length: 8, leader_epoch: 12, magic: 16, crc: 17, attributes: 21, last_offset_delta: 23,
    base_timestamp: 27, max_timestamp: 35, producer_id: 43, producer_epoch: 51, base_sequence: 53, record_count: 57,
});

impl KafkaBatchHeader {
    /// Views the header at the start of `bytes`; none if there are fewer than 61.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        super::sys::view_kafka(bytes)
    }
}

/// The header as plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Size of the whole batch in bytes, this header included.
    pub bytes: usize,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// CRC-32C of bytes 21 to the end.
    pub crc: u32,
    /// Compression in bits 0..3, then flags.
    pub attributes: i16,
    /// Offset of the last record, from the base; not negative.
    pub last_offset_delta: i32,
    /// Timestamp that record deltas count from.
    pub base_timestamp: i64,
    /// Largest record timestamp, or the time of append.
    pub max_timestamp: i64,
    /// Producer id, -1 for none.
    pub producer_id: i64,
    /// Producer epoch, -1 for none.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 for none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may hold more batches behind this one. The whole batch must be
    /// there; its CRC is not checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let raw = KafkaBatchHeader::view(bytes).ok_or(Invalid("batch header cut short"))?;
        if raw.magic != 2 {
            return Err(Invalid("batch format is not 2"));
        }
        let length =
            usize::try_from(raw.batch_length.to_native()).map_err(|_| Invalid("negative batch length"))?;
        let total = length + LENGTH_OVERHEAD;
        if total < HEADER_BYTES {
            return Err(Invalid("batch shorter than its header"));
        }
        if total > bytes.len() {
            return Err(Invalid("batch cut short"));
        }
        let last_offset_delta = raw.last_offset_delta.to_native();
        if last_offset_delta < 0 {
            return Err(Invalid("negative last offset delta"));
        }
        Ok(Self {
            base_offset: raw.base_offset.to_native(),
            bytes: total,
            leader_epoch: raw.leader_epoch.to_native(),
            crc: raw.crc.to_native(),
            attributes: raw.attributes.to_native(),
            last_offset_delta,
            base_timestamp: raw.base_timestamp.to_native(),
            max_timestamp: raw.max_timestamp.to_native(),
            producer_id: raw.producer_id.to_native(),
            producer_epoch: raw.producer_epoch.to_native(),
            base_sequence: raw.base_sequence.to_native(),
            record_count: raw.record_count.to_native(),
        })
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// True for a control batch (a transaction marker).
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// True for a batch of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// True if the batch's own CRC-32C matches its bytes.
    pub fn crc_matches(&self, batch: &[u8]) -> bool {
        batch
            .get(21..self.bytes)
            .is_some_and(|covered| super::crc(covered) == self.crc)
    }
}

/// Writes base offset and leader epoch into a batch's first 16 bytes.
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}
