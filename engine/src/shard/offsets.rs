//! Questions about offsets, answered by the core that owns the partition.

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::records::{BatchView, Decompressor, ScanError};
use turgo_storage::env::Env;
use turgo_storage::{BatchHeader, PartitionId};

use crate::shard::fetch::{fenced, read_error};
use crate::shard::ops::{EpochQuery, LogSize, OffsetAnswer, OffsetQuery, TrimQuery};
use crate::shard::partition::Partition;
use crate::shard::{MAX_DECOMPRESSED, Shard};
use crate::validate::timestamp_lookup::{Found, first_at_max, first_at_or_after};

/// Timestamps that stand for a place (`ListOffsetsRequest`, KIP-79, KIP-734, KIP-405, KIP-1005, KIP-1023).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

impl<E: Env> Shard<E> {
    pub(crate) async fn offsets_owned(&self, queries: &[OffsetQuery]) -> Vec<OffsetAnswer> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(match self.partition(&query.id) {
                None => OffsetAnswer::none(query.slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                Some(partition) => match fenced(query.leader_epoch, partition.leader_epoch.get()) {
                    Some(error) => OffsetAnswer::none(query.slot, error),
                    None => lookup_offset(&partition, query).await,
                },
            });
        }
        answers
    }

    pub(crate) fn epoch_ends_owned(&self, queries: &[EpochQuery]) -> Vec<OffsetAnswer> {
        let answer = |query: &EpochQuery| {
            let Some(partition) = self.partition(&query.id) else {
                return OffsetAnswer::none(query.slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            };
            if let Some(error) = fenced(query.current_epoch, partition.leader_epoch.get()) {
                return OffsetAnswer::none(query.slot, error);
            }
            let (leader_epoch, offset) = partition.epoch_end(query.epoch);
            OffsetAnswer {
                offset,
                leader_epoch,
                ..OffsetAnswer::none(query.slot, ErrorCode::NONE)
            }
        };
        queries.iter().map(answer).collect()
    }

    pub(crate) async fn trim_owned(&self, queries: &[TrimQuery]) -> Vec<OffsetAnswer> {
        let mut last = None;
        let answers = queries
            .iter()
            .map(|query| {
                let Some(partition) = self.partition(&query.id) else {
                    return OffsetAnswer::none(query.slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                };
                if !partition.settings().cleanup_delete {
                    return OffsetAnswer::none(query.slot, ErrorCode::POLICY_VIOLATION);
                }
                let to = if query.offset == -1 {
                    partition.high_watermark()
                } else {
                    query.offset
                };
                if to < 0 || to > partition.high_watermark() {
                    return OffsetAnswer::none(query.slot, ErrorCode::OFFSET_OUT_OF_RANGE);
                }
                if to > partition.log.start_offset() {
                    match partition.log.advance_start(to) {
                        Ok(lsn) => last = last.max(Some(lsn)),
                        Err(_) => return OffsetAnswer::none(query.slot, ErrorCode::KAFKA_STORAGE_ERROR),
                    }
                }
                OffsetAnswer {
                    offset: partition.log.start_offset(),
                    ..OffsetAnswer::none(query.slot, ErrorCode::NONE)
                }
            })
            .collect();
        if let Some(lsn) = last {
            // A failed journal ends the process, so there is nothing to handle here.
            let _ = self.store.wait_durable(lsn).await;
        }
        answers
    }

    pub(crate) fn sizes_owned(&self) -> Vec<(PartitionId, LogSize)> {
        let partitions = self.partitions.borrow();
        partitions
            .values()
            .map(|p| {
                (
                    p.id,
                    LogSize {
                        bytes: p.log.size_bytes(),
                    },
                )
            })
            .collect()
    }
}

async fn lookup_offset<E: Env>(partition: &Partition<E>, query: &OffsetQuery) -> OffsetAnswer {
    let log = &partition.log;
    let end = if query.read_committed {
        partition.last_stable_offset()
    } else {
        partition.high_watermark()
    };
    let at = |offset, timestamp, leader_epoch| OffsetAnswer {
        slot: query.slot,
        error: ErrorCode::NONE,
        offset,
        timestamp,
        leader_epoch,
    };
    let found = match query.timestamp {
        LATEST => return at(end, -1, partition.leader_epoch.get()),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.start_offset();
            // A log that never had a record is in the leader's epoch all the same.
            let epoch = match log.epoch_at(start) {
                -1 => partition.leader_epoch.get(),
                epoch => epoch,
            };
            return at(start, -1, epoch);
        }
        // Nothing is tiered.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return at(-1, -1, -1),
        MAX_TIMESTAMP => match log.max_timestamp_batch().await {
            Ok(batch) => find(batch, |batch, decompressor| {
                first_at_max(batch, decompressor, MAX_DECOMPRESSED)
            }),
            Err(error) => return OffsetAnswer::none(query.slot, read_error(&error)),
        },
        timestamp => {
            let look = |batch: Option<Bytes>| {
                find(batch, |batch, decompressor| {
                    first_at_or_after(
                        batch,
                        timestamp,
                        log.start_offset(),
                        decompressor,
                        MAX_DECOMPRESSED,
                    )
                })
            };
            match log.offset_for_timestamp(timestamp).await {
                // The log may start inside this batch, behind the record that was meant: then a later batch has it.
                Ok(Some(batch)) => match (look(Some(batch.clone())), BatchHeader::parse(&batch)) {
                    (Ok(None), Ok(header)) => {
                        match log
                            .offset_for_timestamp_from(timestamp, header.last_offset() + 1)
                            .await
                        {
                            Ok(batch) => look(batch),
                            Err(error) => return OffsetAnswer::none(query.slot, read_error(&error)),
                        }
                    }
                    (found, _) => found,
                },
                Ok(None) => Ok(None),
                Err(error) => return OffsetAnswer::none(query.slot, read_error(&error)),
            }
        }
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return OffsetAnswer::none(query.slot, error),
    };
    match found {
        // What is not committed does not exist for a reader.
        Some(Found { offset, timestamp }) if offset < end => at(offset, timestamp, log.epoch_at(offset)),
        _ => at(-1, -1, -1),
    }
}

/// Looks into a batch that the log found. Batches were validated before they were stored, so one that cannot be read
/// is damaged.
fn find(
    batch: Option<Bytes>,
    look: impl Fn(&BatchView<'_>, &mut Decompressor) -> Result<Option<Found>, ScanError>,
) -> Result<Option<Found>, ErrorCode> {
    let Some(batch) = batch else { return Ok(None) };
    let view = BatchView::first(&batch).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    look(&view, &mut Decompressor::new()).map_err(|_| ErrorCode::CORRUPT_MESSAGE)
}
