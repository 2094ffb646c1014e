//! Writing batches: for the tools, the load generator, internal topics and tests.

use super::batch::{
    Attributes, BATCH_HEADER_BYTES, HeaderFields, LOG_OVERHEAD_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, TimestampType, write_header,
};
use super::compression::{Compression, CompressionError, Compressor};
use super::iter::Header;
use super::varint::{put_varint, put_varlong, varlong_bytes};

/// Why a record or batch cannot be written. The caller sends what it has and starts another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The batch would pass what its 32-bit length or counts can say.
    #[error("batch full")]
    Full,
    /// One record alone is beyond a 32-bit length.
    #[error("record too large")]
    RecordTooLarge,
    /// The codec failed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Largest batch built: the length field is an int32.
const MAX_BATCH_BYTES: usize = i32::MAX as usize;

/// Collects records and writes them as one batch. Reusable: [`BatchBuilder::clear`] keeps settings and memory.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    records: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    append_time: Option<i64>,
    base_offset: i64,
    leader_epoch: i32,
    attributes: Attributes,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    compression: Compression,
    level: Option<i32>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch: offset 0, no producer, no compression, CreateTime.
    pub fn new() -> Self {
        BatchBuilder {
            records: Vec::new(),
            count: 0,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            append_time: None,
            base_offset: 0,
            leader_epoch: -1,
            attributes: Attributes::default(),
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            compression: Compression::None,
            level: None,
        }
    }

    /// Compresses with `compression` at `level` (the codec's default when `None`).
    pub fn compression(mut self, compression: Compression, level: Option<i32>) -> Self {
        self.compression = compression;
        self.level = level;
        self
    }

    /// Makes the batch idempotent.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Sets the transactional, control and other bits; compression and timestamp type come from their own settings.
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Marks the batch transactional.
    pub fn transactional(mut self, on: bool) -> Self {
        self.attributes = self.attributes.with_transactional(on);
        self
    }

    /// Marks the batch as control batch.
    pub fn control(mut self, on: bool) -> Self {
        self.attributes = self.attributes.with_control(on);
        self
    }

    /// Gives the whole batch an append time (LogAppendTime), ms.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.append_time = Some(now_ms);
        self
    }

    /// Offset of the first record; 0 in a batch for a produce request.
    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Leader epoch; -1 in a batch for a produce request.
    pub fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Sets the sequence of the first record of the next batch built.
    pub fn set_base_sequence(&mut self, base_sequence: i32) {
        self.base_sequence = base_sequence;
    }

    /// Records so far.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// There are no records yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were built now without compression.
    pub fn uncompressed_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.records.len()
    }

    /// Drops the records and keeps settings and memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.count = 0;
        self.base_timestamp = NO_TIMESTAMP;
        self.max_timestamp = NO_TIMESTAMP;
    }

    /// Appends a record. After an error the batch is as it was.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), BuildError> {
        let base_timestamp = if self.count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let offset_delta = self.count;
        let body = 1
            + varlong_bytes(timestamp_delta)
            + varlong_bytes(i64::from(offset_delta))
            + nullable_bytes(key)
            + nullable_bytes(value)
            + varlong_bytes(headers.len() as i64)
            + headers
                .iter()
                .map(|h| nullable_bytes(Some(h.key)) + nullable_bytes(h.value))
                .sum::<usize>();
        let length = i32::try_from(body).map_err(|_| BuildError::RecordTooLarge)?;
        let after = self.uncompressed_bytes() + varlong_bytes(i64::from(length)) + body;
        if after > MAX_BATCH_BYTES || self.count == i32::MAX {
            return Err(if self.count == 0 {
                BuildError::RecordTooLarge
            } else {
                BuildError::Full
            });
        }
        self.base_timestamp = base_timestamp;
        self.max_timestamp = if self.count == 0 {
            timestamp
        } else {
            self.max_timestamp.max(timestamp)
        };
        self.count += 1;
        let out = &mut self.records;
        put_varint(out, length);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for header in headers {
            put_nullable(out, Some(header.key));
            put_nullable(out, header.value);
        }
        debug_assert_eq!(
            BATCH_HEADER_BYTES + out.len(),
            after,
            "a record takes the room computed for it"
        );
        Ok(())
    }

    /// Writes the batch; the records stay until [`BatchBuilder::clear`].
    pub fn build(&self, compressor: &mut Compressor) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::new();
        self.build_into(compressor, &mut out)?;
        Ok(out)
    }

    /// Appends the batch to `out`; after an error `out` is as it was.
    pub fn build_into(&self, compressor: &mut Compressor, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let start = out.len();
        out.resize(start + BATCH_HEADER_BYTES, 0);
        if let Err(error) = compressor.compress(self.compression, self.level, &self.records, out) {
            out.truncate(start);
            return Err(error.into());
        }
        if out.len() - start > MAX_BATCH_BYTES + LOG_OVERHEAD_BYTES {
            out.truncate(start);
            return Err(BuildError::Full);
        }
        self.finish(&mut out[start..], self.compression);
        Ok(())
    }

    /// Writes the batch without compression, whatever was set; cannot fail.
    pub fn build_uncompressed(&self) -> Vec<u8> {
        let mut out = vec![0; BATCH_HEADER_BYTES];
        out.extend_from_slice(&self.records);
        self.finish(&mut out, Compression::None);
        out
    }

    fn finish(&self, batch: &mut [u8], compression: Compression) {
        let timestamp_type = if self.append_time.is_some() {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        };
        write_header(
            batch,
            &HeaderFields {
                base_offset: self.base_offset,
                leader_epoch: self.leader_epoch,
                attributes: self
                    .attributes
                    .with_compression(compression)
                    .with_timestamp_type(timestamp_type),
                last_offset_delta: self.count - 1,
                base_timestamp: self.base_timestamp,
                max_timestamp: self.append_time.unwrap_or(self.max_timestamp),
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: self.base_sequence,
                record_count: self.count,
            },
        );
    }
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varlong_bytes(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}
