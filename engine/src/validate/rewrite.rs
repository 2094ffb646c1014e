//! Storing a batch in another codec than the producer chose.

use turgo_net::records::{
    Attributes, BATCH_HEADER_BYTES, BatchView, Compression, Compressor, LOG_OVERHEAD_BYTES, TimestampType,
    write_header_like,
};

use super::{Refusal, ValidateError};

/// What the rewritten batch is to be.
pub(super) struct Target {
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) timestamp_type: TimestampType,
    pub(super) max_timestamp: i64,
}

/// The batch with `payload`, its records uncompressed, in the target's codec. Records keep their bytes.
pub(super) fn rewrite(
    batch: &BatchView<'_>,
    payload: &[u8],
    compressor: &mut Compressor,
    target: Target,
) -> Result<Vec<u8>, Refusal> {
    let mut out = vec![0; BATCH_HEADER_BYTES];
    compressor
        .compress(target.compression, target.level, payload, &mut out)
        .map_err(|_| ValidateError::Compressor(target.compression))?;
    let limit = i32::MAX as usize + LOG_OVERHEAD_BYTES;
    if out.len() > limit {
        return Err(ValidateError::TooLarge {
            bytes: out.len(),
            limit,
        }
        .into());
    }
    // The delete horizon bit and unused ones are not carried over: this is a new batch, written by the broker.
    let attributes = Attributes::default()
        .with_transactional(batch.attributes().is_transactional())
        .with_compression(target.compression)
        .with_timestamp_type(target.timestamp_type);
    write_header_like(&mut out, batch, attributes, target.max_timestamp);
    Ok(out)
}
