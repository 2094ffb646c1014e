//! Batches for tests and benchmarks: well-formed headers and CRCs over opaque records.

use crate::format::kafka::HEADER_BYTES;

/// A batch of `records` records that is `bytes` long (at least the header), stamped `timestamp`.
pub fn batch(records: i32, bytes: usize, timestamp: i64) -> Vec<u8> {
    producer_batch(records, bytes, timestamp, -1, -1, -1)
}

/// As [`batch`], from an idempotent producer.
pub fn producer_batch(
    records: i32,
    bytes: usize,
    timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) -> Vec<u8> {
    let bytes = bytes.max(HEADER_BYTES);
    let mut batch = Vec::with_capacity(bytes);
    batch.extend_from_slice(&0_i64.to_be_bytes());
    batch.extend_from_slice(&((bytes - 12) as i32).to_be_bytes());
    batch.extend_from_slice(&0_i32.to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(&0_i16.to_be_bytes());
    batch.extend_from_slice(&(records - 1).to_be_bytes());
    batch.extend_from_slice(&timestamp.to_be_bytes());
    batch.extend_from_slice(&timestamp.to_be_bytes());
    batch.extend_from_slice(&producer_id.to_be_bytes());
    batch.extend_from_slice(&producer_epoch.to_be_bytes());
    batch.extend_from_slice(&base_sequence.to_be_bytes());
    batch.extend_from_slice(&records.to_be_bytes());
    let mut word = (timestamp as u64) ^ 0x9e37_79b9_7f4a_7c15 ^ (bytes as u64);
    while batch.len() < bytes {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        let left = bytes - batch.len();
        batch.extend_from_slice(&word.to_le_bytes()[..left.min(8)]);
    }
    let crc = crate::format::crc(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Sets attribute bits of a batch and its CRC anew.
fn with_attributes(mut batch: Vec<u8>, attributes: i16) -> Vec<u8> {
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = crate::format::crc(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// As [`producer_batch`], in a transaction.
pub fn transactional_batch(
    records: i32,
    bytes: usize,
    timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) -> Vec<u8> {
    let batch = producer_batch(
        records,
        bytes,
        timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
    );
    with_attributes(batch, crate::format::kafka::TRANSACTIONAL)
}

/// A control batch with the marker of a transaction's end (KIP-98).
pub fn marker(
    commit: bool,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Vec<u8> {
    // Attributes, distances of timestamp and offset; key: version, type; value: version, epoch; no headers.
    let mut record = vec![0, 0, 0, 8, 0, 0, 0, u8::from(commit), 12, 0, 0];
    record.extend_from_slice(&coordinator_epoch.to_be_bytes());
    record.push(0);
    let mut batch = producer_batch(1, HEADER_BYTES, timestamp, producer_id, producer_epoch, -1);
    batch.push((record.len() * 2) as u8);
    batch.extend_from_slice(&record);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    with_attributes(
        batch,
        crate::format::kafka::TRANSACTIONAL | crate::format::kafka::CONTROL,
    )
}
