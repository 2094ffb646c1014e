//! Kafka record batches, format v2 ("magic 2"): reading, checking, building, compressing.
//!
//! Pure functions over bytes. The produce path validates with [`BatchView`] and [`RecordScan`], the fetch and lookup
//! paths iterate with [`BatchView::records`], and the tools, the load generator and the internal topics write with
//! [`BatchBuilder`]. Nothing here knows of topics, offsets assigned or error codes; those belong to the engine.
//!
//! # Layout of a batch (big endian; KIP-98)
//!
//! | at | bytes | field | patched in place |
//! |-|-|-|-|
//! | 0 | 8 | base offset | freely, outside the CRC |
//! | 8 | 4 | batch length: bytes that follow this field | no |
//! | 12 | 4 | partition leader epoch | freely, outside the CRC |
//! | 16 | 1 | magic, always 2 | no |
//! | 17 | 4 | CRC-32C of everything from byte 21 to the end | with what it covers |
//! | 21 | 2 | attributes, see [`Attributes`] | changes the CRC |
//! | 23 | 4 | last offset delta | no |
//! | 27 | 8 | base timestamp, ms since 1970, -1 for none | no |
//! | 35 | 8 | maximum timestamp, ms | changes the CRC |
//! | 43 | 8 | producer id, -1 for none | no |
//! | 51 | 2 | producer epoch, -1 for none | no |
//! | 53 | 4 | base sequence, -1 for none | no |
//! | 57 | 4 | record count | no |
//! | 61 | | records, compressed as one block when the attributes say so | |
//!
//! # Layout of a record (varints are zigzag, as in protocol buffers)
//!
//! length varint, then in that many bytes: attributes int8, timestamp delta varlong, offset delta varint, key length
//! varint (below 0: null) and key, value length varint (below 0: null) and value, header count varint, and for each
//! header key length varint and key, value length varint (below 0: null) and value.
//!
//! # What always holds
//!
//! Input is hostile: no length or count is believed before it is checked against the bytes that are left, nothing
//! panics, and memory is bounded by the input or by a stated ceiling, compressed data included.

mod batch;
mod builder;
mod compression;
mod control;
mod crc;
mod iter;
mod scan;
mod varint;

#[cfg(test)]
mod tests;

pub use batch::{
    Attributes, BATCH_HEADER_BYTES, BatchError, BatchView, Batches, Frame, LOG_OVERHEAD_BYTES, MAGIC_V2,
    MIN_FRAME_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, batches,
    patch_attributes, patch_base_offset, patch_create_time, patch_leader_epoch, patch_log_append_time,
    patch_max_timestamp, peek_frame, write_header_like,
};
pub use builder::{BatchBuilder, BuildError};
pub use compression::{Compression, CompressionError, Compressor, DecompressStream, Decompressor};
pub use control::{ControlRecord, EndTxnMarker, control_record_key, end_txn_batch};
pub use crc::{crc32c_after_prefix_change, crc32c_combine};
pub use iter::{Header, HeaderIter, Headers, Record, RecordIter, RecordsError};
pub use scan::{RecordError, RecordMeta, RecordScan, ScanError};
