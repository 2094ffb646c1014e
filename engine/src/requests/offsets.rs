//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords: questions about offsets, asked of the owners.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use turgo_net::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use turgo_net::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use turgo_storage::PartitionId;
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::shard::Shard;
use crate::shard::ops::{Answer, EpochQuery, OffsetAnswer, OffsetQuery, Op, TrimQuery};

/// The partition that a name and an index mean, or why there is none.
fn resolve<E: Env>(shard: &Shard<E>, topic: &str, index: i32) -> Result<PartitionId, ErrorCode> {
    let metadata = shard.metadata();
    let topic = metadata
        .topic(topic)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    match u32::try_from(index) {
        Ok(index) if (index as usize) < topic.partitions.len() => Ok(PartitionId {
            topic: topic.id,
            partition: index,
        }),
        _ => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

/// Asks each owner its share of `queries` and puts the answers into slot order. `answers` holds those that are
/// known already; a slot that nobody answered is NOT_LEADER_OR_FOLLOWER.
async fn ask<E: Env, Q: Copy>(
    shard: &Rc<Shard<E>>,
    queries: Vec<Q>,
    part: impl Fn(&Q) -> (u32, PartitionId),
    op: impl Fn(Vec<Q>) -> Op,
    mut answers: Vec<OffsetAnswer>,
) -> std::vec::IntoIter<OffsetAnswer> {
    let slots = answers.len() + queries.len();
    let mut by_core: Vec<Vec<Q>> = vec![Vec::new(); shard.cores];
    for query in queries {
        by_core[shard.owner(&part(&query).1)].push(query);
    }
    for (core, queries) in by_core.into_iter().enumerate() {
        if !queries.is_empty()
            && let Some(Answer::Offsets(more)) = shard.call(core, op(queries)).await
        {
            answers.extend(more);
        }
    }
    answers.sort_unstable_by_key(|a| a.slot);
    let mut complete = Vec::with_capacity(slots);
    let mut answers = answers.into_iter().peekable();
    for slot in 0..slots as u32 {
        complete.push(
            answers
                .next_if(|a| a.slot == slot)
                .unwrap_or_else(|| OffsetAnswer::none(slot, ErrorCode::NOT_LEADER_OR_FOLLOWER)),
        );
    }
    complete.into_iter()
}

pub(super) async fn list_offsets<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = ListOffsetsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let (mut queries, mut answers) = (Vec::new(), Vec::new());
    let mut slot = 0;
    let mut repeated = HashMap::new();
    for topic in &request.topics {
        for part in &topic.partitions {
            *repeated
                .entry((topic.name.as_ref(), part.partition_index))
                .or_insert(0_u32) += 1;
        }
    }
    for topic in &request.topics {
        for part in &topic.partitions {
            let repeated = repeated[&(topic.name.as_ref(), part.partition_index)];
            match resolve(shard, &topic.name, part.partition_index) {
                _ if repeated > 1 => answers.push(OffsetAnswer::none(slot, ErrorCode::INVALID_REQUEST)),
                _ if !known_mark(part.timestamp, call.version) => {
                    answers.push(OffsetAnswer::none(slot, ErrorCode::UNSUPPORTED_VERSION));
                }
                Ok(id) => queries.push(OffsetQuery {
                    slot,
                    id,
                    leader_epoch: part.current_leader_epoch,
                    timestamp: part.timestamp,
                    read_committed: request.isolation_level == 1,
                }),
                Err(error) => answers.push(OffsetAnswer::none(slot, error)),
            }
            slot += 1;
        }
    }
    let mut answers = ask(shard, queries, |q| (q.slot, q.id), Op::Offsets, answers).await;
    let topics = request
        .topics
        .iter()
        .map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|part| {
                    let answer = answers.next().expect("one answer per slot");
                    shard.stats.error(call.api as i16, answer.error.0);
                    ListOffsetsPartitionResponse {
                        partition_index: part.partition_index,
                        error_code: answer.error.0,
                        timestamp: answer.timestamp,
                        offset: answer.offset,
                        leader_epoch: if call.version >= 4 {
                            answer.leader_epoch
                        } else {
                            -1
                        },
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    call.encode(&ListOffsetsResponse {
        topics,
        ..Default::default()
    })
}

/// The negative timestamps that a version knows (KIP-734, KIP-405, KIP-1005, KIP-1023).
fn known_mark(timestamp: i64, version: i16) -> bool {
    match timestamp {
        -3 => version >= 7,
        -4 => version >= 8,
        -5 => version >= 9,
        -6 => version >= 11,
        other => other >= -2,
    }
}

pub(super) async fn epochs<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        OffsetForLeaderEpochRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let (mut queries, mut answers) = (Vec::new(), Vec::new());
    let mut slot = 0;
    for topic in &request.topics {
        for part in &topic.partitions {
            match resolve(shard, &topic.topic, part.partition) {
                Ok(id) => queries.push(EpochQuery {
                    slot,
                    id,
                    current_epoch: part.current_leader_epoch,
                    epoch: part.leader_epoch,
                }),
                Err(error) => answers.push(OffsetAnswer::none(slot, error)),
            }
            slot += 1;
        }
    }
    let mut answers = ask(shard, queries, |q| (q.slot, q.id), Op::EpochEnds, answers).await;
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|part| {
                    let answer = answers.next().expect("one answer per slot");
                    EpochEndOffset {
                        error_code: answer.error.0,
                        partition: part.partition,
                        leader_epoch: answer.leader_epoch,
                        end_offset: answer.offset,
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    call.encode(&OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    })
}

pub(super) async fn delete_records<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DeleteRecordsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let (mut queries, mut answers) = (Vec::new(), Vec::new());
    let mut slot = 0;
    for topic in &request.topics {
        for part in &topic.partitions {
            let internal = shard.metadata().topic(&topic.name).is_some_and(|t| t.internal);
            match resolve(shard, &topic.name, part.partition_index) {
                Ok(_) if internal => {
                    answers.push(OffsetAnswer::none(slot, ErrorCode::INVALID_TOPIC_EXCEPTION));
                }
                Ok(id) => queries.push(TrimQuery {
                    slot,
                    id,
                    offset: part.offset,
                }),
                Err(error) => answers.push(OffsetAnswer::none(slot, error)),
            }
            slot += 1;
        }
    }
    let mut answers = ask(shard, queries, |q| (q.slot, q.id), Op::Trim, answers).await;
    let topics = request
        .topics
        .iter()
        .map(|topic| DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|part| {
                    let answer = answers.next().expect("one answer per slot");
                    DeleteRecordsPartitionResult {
                        partition_index: part.partition_index,
                        low_watermark: answer.offset,
                        error_code: answer.error.0,
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    call.encode(&DeleteRecordsResponse {
        topics,
        ..Default::default()
    })
}
