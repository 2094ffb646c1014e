//! Produce.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use turgo_net::{ErrorCode, Records};
use turgo_storage::PartitionId;
use turgo_storage::env::Env;

use super::{Call, Client, Close};
use crate::shard::Shard;
use crate::shard::ops::{PartProduce, ProduceOp, Produced};
use crate::shard::produce::Submitted;
use crate::shard::txn::Writer;

/// Bounds of the time that a producer may have its answer withheld, milliseconds. The lower bound is there because
/// Apache Kafka with one replica never lets an append time out, and a device may take a while to flush.
const TIMEOUT_MS: std::ops::RangeInclusive<i32> = 100..=5 * 60 * 1000;

/// A Produce whose batches are appended or on their way.
pub struct ProduceInFlight {
    call: Call,
    acks: i16,
    refused: Vec<Produced>,
    submitted: Submitted,
}

pub(super) fn begin<E: Env>(
    shard: &Rc<Shard<E>>,
    client: &Client,
    call: Call,
) -> Result<ProduceInFlight, Close> {
    let mut reader = call.reader();
    let request = ProduceRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let acks = request.acks;
    let timeout_ms = request.timeout_ms.clamp(*TIMEOUT_MS.start(), *TIMEOUT_MS.end());
    // Asked of the whole request: one such batch refuses all partitions.
    let misuse = misuse(&request);
    let mut refused = Vec::new();
    let mut parts = Vec::with_capacity(request.topic_data.len());
    let metadata = shard.metadata();
    let mut slot = 0;
    for topic in &request.topic_data {
        let known = if call.version >= 13 {
            metadata
                .topic_by_id(&topic.topic_id.0)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            metadata
                .topic(&topic.name)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        for part in &topic.partition_data {
            let this = slot;
            slot += 1;
            let verdict = if let Some(error) = misuse {
                Err(error)
            } else {
                known.and_then(|topic| {
                    let index = u32::try_from(part.index)
                        .ok()
                        .filter(|index| (*index as usize) < topic.partitions.len())
                        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                    if !(-1..=1).contains(&acks) {
                        return Err(ErrorCode::INVALID_REQUIRED_ACKS);
                    }
                    // Internal topics are written by their coordinators only, as in Kafka.
                    if topic.internal {
                        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
                    }
                    Ok(PartitionId {
                        topic: topic.id,
                        partition: index,
                    })
                })
            };
            match verdict {
                Ok(id) => {
                    let records = match part.records {
                        Records::Slice(bytes) => Some(call.frame.slice_ref(bytes)),
                        _ => None,
                    };
                    parts.push(PartProduce {
                        slot: this,
                        id,
                        records,
                    });
                }
                Err(error) => refused.push(Produced::refused(this, error, None)),
            }
        }
    }
    drop(metadata);
    let transactional_id = request.transactional_id.as_deref().map(Into::into);
    drop(request);
    client.affinity.note(shard.owners(parts.iter().map(|p| &p.id)));
    let terms = ProduceOp {
        version: call.version,
        acks,
        deadline_ms: shard.now_ms() + timeout_ms as u64,
        transactional_id,
        parts,
    };
    let submitted = shard.produce_submit(terms);
    Ok(ProduceInFlight {
        call,
        acks,
        refused,
        submitted,
    })
}

impl ProduceInFlight {
    /// Waits for the batches and gives the answer; `None` for acks=0.
    pub async fn finish<E: Env>(self, shard: &Rc<Shard<E>>) -> Result<Option<Vec<Bytes>>, Close> {
        let ProduceInFlight {
            call,
            acks,
            refused,
            submitted,
        } = self;
        let mut results = submitted.finish(shard).await;
        results.extend(refused);
        for result in &results {
            shard.stats.error(call.api as i16, result.error.0);
        }
        if acks == 0 {
            // What merely takes long may still become durable, and nobody waits for it.
            let failed = |r: &&Produced| !r.error.is_none() && r.error != ErrorCode::REQUEST_TIMED_OUT;
            return match results.iter().find(failed) {
                Some(failed) => Err(Close::SilentFailure(failed.error)),
                None => Ok(None),
            };
        }
        results.sort_unstable_by_key(|r| r.slot);
        // Decoding again costs less than keeping names: the frame is still here.
        let mut reader = call.reader();
        let request = ProduceRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
        let mut results = results.into_iter();
        let responses = request
            .topic_data
            .into_iter()
            .map(|topic| TopicProduceResponse {
                partition_responses: topic
                    .partition_data
                    .iter()
                    .map(|part| partition_response(part.index, results.next()))
                    .collect(),
                name: topic.name,
                topic_id: topic.topic_id,
                ..Default::default()
            })
            .collect();
        call.encode(&ProduceResponse {
            responses,
            ..Default::default()
        })
        .map(Some)
    }
}

fn partition_response<'a>(index: i32, result: Option<Produced>) -> PartitionProduceResponse<'a> {
    // A core that is shutting down answers nothing.
    let result = result.unwrap_or_else(|| Produced::refused(0, ErrorCode::NOT_LEADER_OR_FOLLOWER, None));
    PartitionProduceResponse {
        index,
        error_code: result.error.0,
        base_offset: result.base_offset,
        log_append_time_ms: result.log_append_time_ms,
        log_start_offset: result.log_start,
        record_errors: result
            .record_errors
            .into_iter()
            .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: message.map(Into::into),
                ..Default::default()
            })
            .collect(),
        error_message: result.message.map(Into::into),
        ..Default::default()
    }
}

/// Why the transactional batches of a request cannot be: nobody is named whose they are, or they are of several
/// producers. Anything too short for a header is refused later.
fn misuse(request: &ProduceRequest<'_>) -> Option<ErrorCode> {
    let mut writers = request
        .topic_data
        .iter()
        .flat_map(|t| &t.partition_data)
        .filter_map(|part| match part.records {
            Records::Slice(bytes) => Writer::of(Some(bytes)),
            _ => None,
        });
    let first = writers.next()?;
    if request.transactional_id.is_none() {
        return Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    (!writers.all(|writer| writer.is_same(&first))).then_some(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
}
