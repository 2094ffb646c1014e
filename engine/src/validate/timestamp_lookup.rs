//! Finding records by timestamp inside a batch: the last step of ListOffsets, precise to the record.
//!
//! The log finds the batch by its maximum timestamp; this module walks the records. Under LogAppendTime all records
//! have the batch's maximum timestamp, whatever their deltas say, so the first one is the answer.

use turgo_net::records::{BatchView, Decompressor, RecordScan, ScanError, TimestampType};

/// A record found, by offset and timestamp in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Offset of the record; the batch carries its base offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: i64,
}

/// The first record of `batch` with timestamp >= `target` and offset >= `from_offset` (the start of the log: records
/// below it are gone though their batch is there).
///
/// `Ok(None)` when there is none, which for a batch found by its maximum timestamp means that it lies below
/// `from_offset`. Errors mean a damaged batch, as nothing is stored unchecked.
pub fn first_at_or_after(
    batch: &BatchView<'_>,
    target: i64,
    from_offset: i64,
    decompressor: &mut Decompressor,
    ceiling: usize,
) -> Result<Option<Found>, ScanError> {
    find(batch, from_offset, decompressor, ceiling, |timestamp| {
        timestamp >= target
    })
}

/// The first record of `batch` that has its maximum timestamp, for ListOffsets of -3.
pub fn first_at_max(
    batch: &BatchView<'_>,
    decompressor: &mut Decompressor,
    ceiling: usize,
) -> Result<Option<Found>, ScanError> {
    let max_timestamp = batch.max_timestamp();
    find(batch, batch.base_offset(), decompressor, ceiling, |timestamp| {
        timestamp == max_timestamp
    })
}

fn find(
    batch: &BatchView<'_>,
    from_offset: i64,
    decompressor: &mut Decompressor,
    ceiling: usize,
    wanted: impl Fn(i64) -> bool,
) -> Result<Option<Found>, ScanError> {
    if batch.last_offset() < from_offset || batch.record_count() <= 0 {
        return Ok(None);
    }
    let batch_time =
        (batch.attributes().timestamp_type() == TimestampType::LogAppendTime).then(|| batch.max_timestamp());
    if batch_time.is_some_and(|timestamp| !wanted(timestamp)) {
        return Ok(None);
    }
    // Compaction leaves gaps in a batch, so even the first record's offset is only known from the record.
    let mut scan = RecordScan::new(batch, decompressor, ceiling)?;
    while let Some(meta) = scan.next_record()? {
        let offset = batch.base_offset().wrapping_add(i64::from(meta.offset_delta));
        let timestamp =
            batch_time.unwrap_or_else(|| batch.base_timestamp().wrapping_add(meta.timestamp_delta));
        if offset >= from_offset && wanted(timestamp) {
            return Ok(Some(Found { offset, timestamp }));
        }
    }
    Ok(None)
}
