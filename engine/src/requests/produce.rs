//! Produce and InitProducerId.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
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
    let unauthorised = request.transactional_id.is_none()
        && request
            .topic_data
            .iter()
            .flat_map(|t| &t.partition_data)
            .any(|p| is_transactional(&p.records));
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
            let verdict = if unauthorised {
                Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
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
                    // With a transactional id: no transaction is ever open, as none can be begun.
                    if is_transactional(&part.records) {
                        return Err(ErrorCode::INVALID_TXN_STATE);
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
    drop(request);
    client.affinity.note(shard.owners(parts.iter().map(|p| &p.id)));
    let terms = ProduceOp {
        version: call.version,
        acks,
        deadline_ms: shard.now_ms() + timeout_ms as u64,
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

/// True if the first batch says that it is part of a transaction. Anything too short for a header is refused later.
fn is_transactional(records: &Records<'_>) -> bool {
    const MAGIC: usize = 16;
    const ATTRIBUTES_LOW: usize = 22;
    const TRANSACTIONAL: u8 = 1 << 4;
    let Records::Slice(bytes) = records else {
        return false;
    };
    matches!((bytes.get(MAGIC), bytes.get(ATTRIBUTES_LOW)), (Some(2), Some(attributes)) if attributes & TRANSACTIONAL != 0)
}

pub(super) async fn init_producer_id<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = InitProducerIdRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let failed = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.0,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let half_given = (request.producer_id == -1) != (request.producer_epoch == -1);
    let response = if request.transactional_id.is_some() || half_given {
        // Transactions are not served, and a retriable error would keep the client waiting for ever.
        failed(ErrorCode::INVALID_REQUEST)
    } else {
        match shard.next_producer_id().await {
            Some(producer_id) => InitProducerIdResponse {
                producer_id,
                producer_epoch: 0,
                ..Default::default()
            },
            None => failed(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    };
    shard.stats.error(call.api as i16, response.error_code);
    call.encode(&response)
}
