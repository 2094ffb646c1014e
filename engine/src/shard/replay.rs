//! Reading a whole log of the broker's own records: metadata at start, group offsets when a coordinator loads.

use turgo_net::records::{BatchView, Decompressor, batches};
use turgo_storage::env::Env;
use turgo_storage::{Log, ReadOutcome};

/// Bytes read at a time.
const STEP: usize = 1 << 20;
/// Ceiling of a decompressed batch; the broker itself writes none compressed.
const DECOMPRESSED: usize = 64 << 20;

/// One record of the log.
pub struct Replayed<'a> {
    /// Its offset.
    pub offset: i64,
    /// Producer id of its batch if the batch is transactional.
    pub producer_id: Option<i64>,
    /// True in a control batch.
    pub control: bool,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// Value, if any.
    pub value: Option<&'a [u8]>,
}

/// Calls `each` for every committed record in offset order. Errors are sentences for the operator.
pub async fn replay<E: Env>(
    log: &Log<E>,
    mut each: impl FnMut(Replayed<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut decompressor = Decompressor::new();
    let (mut at, end) = (log.start_offset(), log.durable_end());
    while at < end {
        let chunks = match log.read(at, STEP, end, true) {
            Ok(ReadOutcome::Ready(chunks)) => chunks,
            Ok(ReadOutcome::Disk) => log
                .read_disk(at, STEP, end, true)
                .await
                .map_err(|e| e.to_string())?,
            Err(error) => return Err(error.to_string()),
        };
        let before = at;
        for chunk in &chunks {
            for batch in batches(chunk) {
                let batch = batch.map_err(|e| format!("batch at offset {at}: {e}"))?;
                records(&batch, &mut decompressor, at, &mut each)?;
                at = batch.last_offset() + 1;
            }
        }
        if at == before {
            // Compaction left nothing from here on.
            break;
        }
    }
    Ok(())
}

fn records(
    batch: &BatchView<'_>,
    decompressor: &mut Decompressor,
    from: i64,
    each: &mut impl FnMut(Replayed<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let attributes = batch.attributes();
    let producer_id = attributes.is_transactional().then(|| batch.producer_id());
    let records = batch
        .records(decompressor, DECOMPRESSED)
        .map_err(|e| format!("batch at offset {}: {e}", batch.base_offset()))?;
    for record in records {
        let record = record.map_err(|e| format!("batch at offset {}: {e}", batch.base_offset()))?;
        // The first batch may begin below the log start.
        if record.offset >= from {
            each(Replayed {
                offset: record.offset,
                producer_id,
                control: attributes.is_control(),
                key: record.key,
                value: record.value,
            })?;
        }
    }
    Ok(())
}
