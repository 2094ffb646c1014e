//! Transaction APIs of producers: between the wire and the coordinators.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use turgo_net::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};
use turgo_net::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use turgo_net::messages::txn_offset_commit as wire_offsets;
use turgo_storage::env::Env;

use super::{Call, Client, Close, groups};
use crate::groups::messages::{
    CommitPartition, CommitTopic, Request as GroupRequest, Response as GroupResponse, TxnOffsetCommitRequest,
};
use crate::metadata::CONSUMER_OFFSETS;
use crate::shard::Shard;
use crate::shard::ops::{Answer, Op};
use crate::txn::messages::{
    AddPartitions, EndTxn, InitProducerId, Producer, Request, Response, TV0, TV2, Topics,
};

/// EndTxn from this version on raises the epoch (KIP-890).
const END_RAISES_FROM: i16 = 5;
/// AddPartitionsToTxn from this version on comes from brokers, for several transactions at once.
const BATCHED_FROM: i16 = 4;

/// PRODUCER_FENCED came with KIP-588; before, the same was INVALID_PRODUCER_EPOCH.
fn fenced_as(error: ErrorCode, known: bool) -> ErrorCode {
    if error == ErrorCode::PRODUCER_FENCED && !known {
        ErrorCode::INVALID_PRODUCER_EPOCH
    } else {
        error
    }
}

async fn ask_producer<E: Env>(shard: &Rc<Shard<E>>, id: &str, request: Request) -> Producer {
    match shard.ask_txn(id, request).await {
        Response::Producer(producer) => producer,
        _ => groups::mismatched(),
    }
}

pub(super) async fn init_producer_id<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = InitProducerIdRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let given = (request.producer_id, request.producer_epoch);
    let producer = if (given.0 == -1) != (given.1 == -1) {
        Producer::refused(ErrorCode::INVALID_REQUEST)
    } else if let Some(id) = request.transactional_id {
        let id = id.into_owned();
        let init = InitProducerId {
            transactional_id: id.clone(),
            timeout_ms: request.transaction_timeout_ms,
            expected: (given != (-1, -1)).then_some(given),
        };
        ask_producer(shard, &id, Request::InitProducerId(init)).await
    } else {
        match shard.next_producer_id().await {
            Some(id) => Producer {
                error: ErrorCode::NONE,
                id,
                epoch: 0,
            },
            None => Producer::refused(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    };
    let error = fenced_as(producer.error, call.version >= 4);
    shard.stats.error(call.api as i16, error.0);
    call.encode(&InitProducerIdResponse {
        error_code: error.0,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        ..Default::default()
    })
}

/// Topics of a request, each once; and those partitions that do not exist.
fn split<E: Env>(shard: &Shard<E>, topics: &[AddPartitionsToTxnTopic<'_>]) -> (Topics, bool) {
    let mut all_exist = true;
    let mut merged: Topics = Vec::with_capacity(topics.len());
    for topic in topics {
        all_exist &= topic
            .partitions
            .iter()
            .all(|p| shard.partition_named(&topic.name, *p).is_some());
        match merged.iter_mut().find(|(name, _)| *name == topic.name) {
            Some((_, partitions)) => partitions.extend(&topic.partitions),
            None => merged.push((topic.name.to_string(), topic.partitions.clone())),
        }
    }
    (merged, all_exist)
}

fn topic_results(
    results: Vec<(String, Vec<(i32, ErrorCode)>)>,
    known: bool,
) -> Vec<AddPartitionsToTxnTopicResult<'static>> {
    results
        .into_iter()
        .map(|(name, partitions)| AddPartitionsToTxnTopicResult {
            name: name.into(),
            results_by_partition: partitions
                .into_iter()
                .map(|(partition_index, error)| AddPartitionsToTxnPartitionResult {
                    partition_index,
                    partition_error_code: fenced_as(error, known).0,
                })
                .collect(),
        })
        .collect()
}

/// One transaction of AddPartitionsToTxn.
async fn add_one<E: Env>(
    shard: &Rc<Shard<E>>,
    mut add: AddPartitions,
    topics: &[AddPartitionsToTxnTopic<'_>],
) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
    let (merged, all_exist) = split(shard, topics);
    if !all_exist {
        // All or nothing, as in Kafka: what exists is not tried.
        let code = |topic: &str, partition| match shard.partition_named(topic, partition) {
            Some(_) => ErrorCode::OPERATION_NOT_ATTEMPTED,
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        };
        return merged
            .into_iter()
            .map(|(topic, partitions)| {
                let codes = partitions.into_iter().map(|p| (p, code(&topic, p))).collect();
                (topic, codes)
            })
            .collect();
    }
    add.topics = merged;
    let id = add.transactional_id.clone();
    match shard.ask_txn(&id, Request::AddPartitions(add)).await {
        Response::Added(added) => added,
        _ => groups::mismatched(),
    }
}

pub(super) async fn add_partitions<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        AddPartitionsToTxnRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    if call.version < BATCHED_FROM {
        let add = AddPartitions {
            transactional_id: request.v3_and_below_transactional_id.into_owned(),
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            level: TV0,
            ..AddPartitions::default()
        };
        let added = add_one(shard, add, &request.v3_and_below_topics).await;
        for (_, error) in added.iter().flat_map(|(_, partitions)| partitions) {
            shard.stats.error(call.api as i16, error.0);
        }
        return call.encode(&AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: topic_results(added, call.version >= 2),
            ..Default::default()
        });
    }
    let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let add = AddPartitions {
            transactional_id: transaction.transactional_id.clone().into_owned(),
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            verify_only: transaction.verify_only,
            level: TV2,
            ..AddPartitions::default()
        };
        let added = add_one(shard, add, &transaction.topics).await;
        for (_, error) in added.iter().flat_map(|(_, partitions)| partitions) {
            shard.stats.error(call.api as i16, error.0);
        }
        results_by_transaction.push(AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id,
            topic_results: topic_results(added, true),
        });
    }
    call.encode(&AddPartitionsToTxnResponse {
        results_by_transaction,
        ..Default::default()
    })
}

pub(super) async fn add_offsets<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        AddOffsetsToTxnRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let id = request.transactional_id.into_owned();
    let error = if !groups::ensure_topic(shard, CONSUMER_OFFSETS).await {
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    } else {
        let partition = groups::coordinator(shard, &request.group_id).map_or(-1, |p| p.partition as i32);
        let add = AddPartitions {
            transactional_id: id.clone(),
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
            topics: vec![(CONSUMER_OFFSETS.to_owned(), vec![partition])],
            level: TV0,
            ..AddPartitions::default()
        };
        match shard.ask_txn(&id, Request::AddPartitions(add)).await {
            Response::Added(added) => added[0].1[0].1,
            _ => groups::mismatched(),
        }
    };
    let error = fenced_as(error, call.version >= 2);
    shard.stats.error(call.api as i16, error.0);
    call.encode(&AddOffsetsToTxnResponse {
        error_code: error.0,
        ..Default::default()
    })
}

pub(super) async fn end<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = EndTxnRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let raises = call.version >= END_RAISES_FROM;
    let id = request.transactional_id.into_owned();
    let end = EndTxn {
        transactional_id: id.clone(),
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        commit: request.committed,
        level: if raises { TV2 } else { TV0 },
    };
    let ended = ask_producer(shard, &id, Request::End(end)).await;
    let error = fenced_as(ended.error, call.version >= 2);
    shard.stats.error(call.api as i16, error.0);
    call.encode(&EndTxnResponse {
        error_code: error.0,
        producer_id: if raises { ended.id } else { -1 },
        producer_epoch: if raises { ended.epoch } else { -1 },
        ..Default::default()
    })
}

pub(super) async fn commit_offsets<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_offsets::TxnOffsetCommitRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let (mut known, mut topics) = (Vec::<CommitTopic>::new(), Vec::new());
    for topic in &request.topics {
        let id = shard.metadata().topic(&topic.name).map(|found| found.id);
        let (there, missing): (Vec<_>, Vec<_>) = topic
            .partitions
            .iter()
            .partition(|p| shard.partition_named(&topic.name, p.partition_index).is_some());
        if !missing.is_empty() {
            topics.push(wire_offsets::TxnOffsetCommitResponseTopic {
                name: topic.name.clone(),
                partitions: missing
                    .into_iter()
                    .map(|p| wire_offsets::TxnOffsetCommitResponsePartition {
                        partition_index: p.partition_index,
                        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                    })
                    .collect(),
            });
        }
        if there.is_empty() {
            continue;
        }
        let partitions = there.into_iter().map(|p| CommitPartition {
            partition: p.partition_index,
            offset: p.committed_offset,
            leader_epoch: p.committed_leader_epoch,
            metadata: p.committed_metadata.clone().map(Cow::into_owned),
        });
        match known.iter_mut().find(|t| t.name == topic.name) {
            Some(same) => same.partitions.extend(partitions),
            None => known.push(CommitTopic {
                name: topic.name.to_string(),
                topic_id: id.unwrap_or_default(),
                partitions: partitions.collect(),
            }),
        }
    }
    if !known.is_empty() {
        let commit = GroupRequest::TxnOffsetCommit(TxnOffsetCommitRequest {
            group_id: group_id.clone(),
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
            generation_id: request.generation_id,
            member_id: request.member_id.into_owned(),
            group_instance_id: request.group_instance_id.map(Cow::into_owned),
            topics: known,
        });
        let caller = groups::caller(call, Some(client));
        let refused = commit.refuse(ErrorCode::NOT_COORDINATOR.0, call.version);
        let response = match groups::coordinator(shard, &group_id) {
            None => refused,
            Some(id) => {
                let transactional_id = request.transactional_id.into_owned();
                let op = Op::TxnOffsets(id, transactional_id, caller, commit);
                match shard.call(shard.owner(&id), op).await {
                    Some(Answer::Group(response)) => response,
                    _ => refused,
                }
            }
        };
        let GroupResponse::OffsetCommit(committed) = response else {
            groups::mismatched()
        };
        topics.extend(committed.topics.into_iter().map(|topic| {
            wire_offsets::TxnOffsetCommitResponseTopic {
                name: topic.name.into(),
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(
                        |(partition_index, error_code)| wire_offsets::TxnOffsetCommitResponsePartition {
                            partition_index,
                            error_code: loading_as(error_code, call.version),
                        },
                    )
                    .collect(),
            }
        }));
    }
    for partition in topics.iter().flat_map(|t| &t.partitions) {
        shard.stats.error(call.api as i16, partition.error_code);
    }
    call.encode(&wire_offsets::TxnOffsetCommitResponse {
        topics,
        ..Default::default()
    })
}

/// Producers before version 2 take COORDINATOR_LOAD_IN_PROGRESS for fatal.
fn loading_as(code: i16, version: i16) -> i16 {
    if code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0 && version < 2 {
        ErrorCode::COORDINATOR_NOT_AVAILABLE.0
    } else {
        code
    }
}
