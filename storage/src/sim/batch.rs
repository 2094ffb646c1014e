//! Kafka v2 batches for simulated producers. The records inside are noise; storage does not look at them.

use super::rng::Rng;

/// Bytes of a batch header.
pub const HEADER: usize = 61;

/// What a simulated producer puts into a header.
#[derive(Debug, Clone, Copy)]
pub struct BatchSpec {
    /// Whole size in bytes, at least [`HEADER`].
    pub bytes: usize,
    /// Offsets the batch takes.
    pub records: i32,
    /// Producer id; -1 for none.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// First sequence number; -1 for none.
    pub base_sequence: i32,
    /// Timestamp of the first record, milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp, milliseconds.
    pub max_timestamp: i64,
}

/// A valid batch as a client would send it: base offset 0, no leader epoch, noise for records.
pub fn build(spec: &BatchSpec, rng: &mut Rng) -> Vec<u8> {
    assert!(spec.bytes >= HEADER && spec.records > 0);
    let mut out = vec![0; spec.bytes];
    rng.fill(&mut out[HEADER..]);
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0i64.to_be_bytes());
    put(8, &((spec.bytes - 12) as i32).to_be_bytes());
    put(12, &(-1i32).to_be_bytes());
    put(16, &[2]);
    put(21, &0i16.to_be_bytes());
    put(23, &(spec.records - 1).to_be_bytes());
    put(27, &spec.base_timestamp.to_be_bytes());
    put(35, &spec.max_timestamp.to_be_bytes());
    put(43, &spec.producer_id.to_be_bytes());
    put(51, &spec.producer_epoch.to_be_bytes());
    put(53, &spec.base_sequence.to_be_bytes());
    put(57, &spec.records.to_be_bytes());
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The batch as it must come back: with its place and leader epoch filled in, and nothing else changed.
pub fn placed(batch: &[u8], base_offset: i64, leader_epoch: i32) -> Vec<u8> {
    let mut out = batch.to_vec();
    out[..8].copy_from_slice(&base_offset.to_be_bytes());
    out[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    out
}

/// Cuts concatenated batches apart; an error says where they stop making sense.
pub fn split(mut bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < HEADER {
            return Err(format!("{} bytes after the last whole batch", bytes.len()));
        }
        let len = i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        let whole = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(12);
        if whole < HEADER || whole > bytes.len() {
            return Err(format!("a batch of {whole} bytes where {} remain", bytes.len()));
        }
        let (batch, rest) = bytes.split_at(whole);
        out.push(batch);
        bytes = rest;
    }
    Ok(out)
}

/// Offset of a batch's first record.
pub fn base_offset(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"))
}

/// Offset of a batch's last record.
pub fn last_offset(batch: &[u8]) -> i64 {
    base_offset(batch) + i64::from(i32::from_be_bytes(batch[23..27].try_into().expect("four bytes")))
}

/// Largest timestamp of a batch, milliseconds.
pub fn max_timestamp(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[35..43].try_into().expect("eight bytes"))
}
