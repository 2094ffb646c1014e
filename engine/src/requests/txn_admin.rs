//! Transaction APIs of operators (KIP-664, KIP-994, KIP-1152) and of `kafka-transactions`: list, describe, and end a
//! transaction that no coordinator knows of.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::describe_producers as wire_producers;
use turgo_net::messages::describe_transactions as wire_describe;
use turgo_net::messages::list_transactions as wire_list;
use turgo_net::messages::write_txn_markers as wire_markers;
use turgo_storage::env::Env;

use super::{Call, Close, groups};
use crate::shard::Shard;
use crate::shard::ops::{Answer, MarkerWrite, Op};
use crate::txn::TxnState;
use crate::txn::messages::{ListTransactions, Request, Response};

/// Longest pattern of transactional ids, bytes, and what its automaton may take.
const PATTERN_BYTES: usize = 16 << 10;
const PATTERN_MEMORY: usize = 1 << 20;

pub(super) async fn describe<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_describe::DescribeTransactionsRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let asked = Request::Describe(id.clone().into_owned());
        let Response::Described(told) = shard.ask_txn(&id, asked).await else {
            groups::mismatched()
        };
        shard.stats.error(call.api as i16, told.error.0);
        transaction_states.push(wire_describe::TransactionState {
            error_code: told.error.0,
            transactional_id: told.transactional_id.into(),
            transaction_state: told.state.into(),
            transaction_timeout_ms: told.timeout_ms,
            transaction_start_time_ms: told.start_ms,
            producer_id: told.producer_id,
            producer_epoch: told.producer_epoch,
            topics: told
                .topics
                .into_iter()
                .map(|(topic, partitions)| wire_describe::TopicData {
                    topic: topic.into(),
                    partitions,
                })
                .collect(),
        });
    }
    call.encode(&wire_describe::DescribeTransactionsResponse {
        transaction_states,
        ..Default::default()
    })
}

pub(super) async fn list<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_list::ListTransactionsRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let refused = |error: ErrorCode| {
        shard.stats.error(call.api as i16, error.0);
        call.encode(&wire_list::ListTransactionsResponse {
            error_code: error.0,
            ..Default::default()
        })
    };
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        Some(text) if text.len() > PATTERN_BYTES => {
            return refused(ErrorCode::INVALID_REGULAR_EXPRESSION);
        }
        // The whole id has to match.
        Some(text) => match regex::RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(PATTERN_MEMORY)
            .dfa_size_limit(PATTERN_MEMORY)
            .build()
        {
            Ok(pattern) => Some(pattern),
            Err(_) => return refused(ErrorCode::INVALID_REGULAR_EXPRESSION),
        },
    };
    let filtered = !request.state_filters.is_empty();
    let (mut states, mut unknown_state_filters) = (Vec::new(), Vec::new());
    for name in request.state_filters {
        // Two states that no transaction is ever seen in.
        let never = matches!(&*name, "Dead" | "PrepareEpochFence");
        match TxnState::ALL.into_iter().find(|state| state.name() == name) {
            Some(state) => states.push(state),
            None if never => {}
            None => unknown_state_filters.push(name),
        }
    }
    let nothing = states.is_empty() && filtered;
    let list = Request::List(ListTransactions {
        states,
        producer_ids: request.producer_id_filters,
        duration_ms: request.duration_filter,
    });
    let mut error_code = 0;
    let mut transaction_states = Vec::new();
    for core in (0..shard.cores).filter(|_| !nothing) {
        let Some(Answer::Txns(responses)) = shard.call(core, Op::Txns(list.clone())).await else {
            error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
            continue;
        };
        for response in responses {
            let Response::Listed(listed) = response else {
                groups::mismatched()
            };
            match listed {
                Err(error) => error_code = error.0,
                Ok(listed) => transaction_states.extend(
                    listed
                        .into_iter()
                        .filter(|t| pattern.as_ref().is_none_or(|p| p.is_match(&t.transactional_id)))
                        .map(|t| wire_list::TransactionState {
                            transactional_id: t.transactional_id.into(),
                            producer_id: t.producer_id,
                            transaction_state: t.state.into(),
                        }),
                ),
            }
        }
    }
    if error_code != 0 {
        transaction_states.clear();
    }
    shard.stats.error(call.api as i16, error_code);
    call.encode(&wire_list::ListTransactionsResponse {
        error_code,
        unknown_state_filters,
        transaction_states,
        ..Default::default()
    })
}

pub(super) async fn describe_producers<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_producers::DescribeProducersRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let mut by_core: Vec<Vec<_>> = vec![Vec::new(); shard.cores];
    let mut slot = 0;
    for topic in &request.topics {
        for partition in &topic.partition_indexes {
            if let Some(id) = shard.partition_named(&topic.name, *partition) {
                by_core[shard.owner(&id)].push((slot, id));
            }
            slot += 1;
        }
    }
    let mut found = vec![None; slot as usize];
    for (core, asked) in by_core.into_iter().enumerate() {
        if !asked.is_empty()
            && let Some(Answer::Producers(answers)) = shard.call(core, Op::Producers(asked)).await
        {
            for answer in answers {
                found[answer.slot as usize] = answer.producers;
            }
        }
    }
    let mut found = found.into_iter();
    let topics = request
        .topics
        .iter()
        .map(|topic| wire_producers::TopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|partition| partition_producers(*partition, found.next().flatten()))
                .collect(),
        })
        .collect();
    call.encode(&wire_producers::DescribeProducersResponse {
        topics,
        ..Default::default()
    })
}

fn partition_producers<'a>(
    partition_index: i32,
    found: Option<Vec<turgo_storage::ProducerEntry>>,
) -> wire_producers::PartitionResponse<'a> {
    let error = match &found {
        Some(_) => ErrorCode::NONE,
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    wire_producers::PartitionResponse {
        partition_index,
        error_code: error.0,
        error_message: found
            .is_none()
            .then(|| "this server does not host the partition".into()),
        active_producers: found
            .unwrap_or_default()
            .into_iter()
            .map(|entry| wire_producers::ProducerState {
                producer_id: entry.producer_id,
                producer_epoch: entry.epoch.into(),
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_ms,
                coordinator_epoch: entry.coordinator_epoch,
                current_txn_start_offset: entry.txn_first_offset,
            })
            .collect(),
    }
}

pub(super) async fn write_markers<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_markers::WriteTxnMarkersRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let mut by_core: Vec<Vec<MarkerWrite>> = vec![Vec::new(); shard.cores];
    let mut slot = 0;
    for marker in &request.markers {
        for topic in &marker.topics {
            for partition in &topic.partition_indexes {
                if let Some(id) = shard.partition_named(&topic.name, *partition) {
                    by_core[shard.owner(&id)].push(MarkerWrite {
                        slot,
                        id,
                        producer_id: marker.producer_id,
                        producer_epoch: marker.producer_epoch,
                        coordinator_epoch: marker.coordinator_epoch,
                        commit: marker.transaction_result,
                        level: i16::from(marker.transaction_version),
                    });
                }
                slot += 1;
            }
        }
    }
    let mut codes = vec![ErrorCode::UNKNOWN_TOPIC_OR_PARTITION; slot as usize];
    for (slots, answer) in shard.submit_markers(by_core) {
        match answer.await {
            Some(results) => {
                for (slot, error) in results {
                    codes[slot as usize] = error;
                }
            }
            None => {
                for slot in slots {
                    codes[slot as usize] = ErrorCode::NOT_LEADER_OR_FOLLOWER;
                }
            }
        }
    }
    for code in &codes {
        shard.stats.error(call.api as i16, code.0);
    }
    let mut codes = codes.into_iter();
    let markers = request
        .markers
        .iter()
        .map(|marker| wire_markers::WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics: marker
                .topics
                .iter()
                .map(|topic| wire_markers::WritableTxnMarkerTopicResult {
                    name: topic.name.clone(),
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|partition| wire_markers::WritableTxnMarkerPartitionResult {
                            partition_index: *partition,
                            error_code: codes.next().expect("one code per slot").0,
                        })
                        .collect(),
                })
                .collect(),
        })
        .collect();
    call.encode(&wire_markers::WriteTxnMarkersResponse { markers })
}
