//! Metadata, DescribeCluster, DescribeTopicPartitions: the applied state as clients see it.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use turgo_net::messages::describe_topic_partitions as wire_partitions;
use turgo_net::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use turgo_net::{ErrorCode, Uuid};
use turgo_storage::env::Env;

use super::{ALL_CLUSTER_OPERATIONS, ALL_TOPIC_OPERATIONS, auto_create};
use crate::configs::NodeSettings;
use crate::metadata::{Partition, Topic, check_name};
use crate::requests::{Call, Close};
use crate::shard::Shard;

/// Kinds of endpoints in DescribeCluster (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

fn settings<E: Env>(shard: &Shard<E>) -> NodeSettings {
    NodeSettings::resolve(&shard.metadata().layers(shard.node.id, &shard.node.static_configs))
}

fn known_topic(topic: &Topic, operations: i32) -> MetadataResponseTopic<'static> {
    let partition = |(index, p): (usize, &Partition)| MetadataResponsePartition {
        error_code: if p.leader < 0 { ErrorCode::LEADER_NOT_AVAILABLE.0 } else { 0 },
        partition_index: index as i32,
        leader_id: p.leader,
        leader_epoch: p.leader_epoch,
        replica_nodes: p.replicas.clone(),
        isr_nodes: p.isr.clone(),
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some(topic.name.clone().into()),
        topic_id: Uuid(topic.id),
        is_internal: topic.internal,
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}

pub(in crate::requests) async fn metadata<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = MetadataRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let operations =
        if request.include_topic_authorized_operations { ALL_TOPIC_OPERATIONS } else { i32::MIN };
    let mut topics = Vec::new();
    match &request.topics {
        // Version 0 has no null: there an empty list asks for all.
        Some(asked) if !(asked.is_empty() && call.version == 0) => {
            let create = request.allow_auto_topic_creation && settings(shard).auto_create_topics;
            for ask in asked {
                topics.push(match &ask.name {
                    Some(name) if ask.topic_id.is_zero() || call.version < 10 => {
                        one_by_name(shard, name, create, operations).await
                    }
                    _ => one_by_id(shard, ask.topic_id, call.version, operations),
                });
            }
        }
        _ => topics.extend(shard.metadata().topics().map(|topic| known_topic(topic, operations))),
    }
    for topic in &topics {
        shard.stats.error(call.api as i16, topic.error_code);
    }
    let node = &shard.node;
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: node.id,
            host: node.advertised_host.as_str().into(),
            port: i32::from(node.advertised_port),
            rack: node.rack.as_deref().map(Into::into),
            ..Default::default()
        }],
        cluster_id: Some(node.cluster_id.as_str().into()),
        controller_id: node.id,
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            ALL_CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    };
    call.encode(&response)
}

fn unknown(name: Option<&str>, id: Uuid, error: ErrorCode, version: i16) -> MetadataResponseTopic<'static> {
    MetadataResponseTopic {
        error_code: error.0,
        // A missing name is known from version 12 on.
        name: match name {
            Some(name) => Some(name.to_owned().into()),
            None if version < 12 => Some("".into()),
            None => None,
        },
        topic_id: id,
        ..Default::default()
    }
}

async fn one_by_name<E: Env>(
    shard: &Rc<Shard<E>>,
    name: &str,
    create: bool,
    operations: i32,
) -> MetadataResponseTopic<'static> {
    if let Some(topic) = shard.metadata().topic(name) {
        return known_topic(topic, operations);
    }
    let missing = |error| unknown(Some(name), Uuid::ZERO, error, 0);
    if check_name(name).is_err() {
        return missing(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !create {
        return missing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let created = auto_create(shard, name.to_owned()).await;
    // Somebody else may have created it first: what counts is whether it is there.
    if let Some(topic) = shard.metadata().topic(name) {
        return known_topic(topic, operations);
    }
    match created.map(|created| created.outcome) {
        Some(Err(refused)) => missing(refused.code),
        _ => missing(ErrorCode::LEADER_NOT_AVAILABLE),
    }
}

fn one_by_id<E: Env>(shard: &Shard<E>, id: Uuid, version: i16, operations: i32) -> MetadataResponseTopic<'static> {
    match shard.metadata().topic_by_id(&id.0) {
        Some(topic) => known_topic(topic, operations),
        None => unknown(None, id, ErrorCode::UNKNOWN_TOPIC_ID, version),
    }
}

pub(in crate::requests) async fn describe_cluster<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DescribeClusterRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let node = &shard.node;
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "this address serves brokers' clients; controllers have no address of their own here",
        )),
        _ => Some((ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "unknown endpoint type")),
    };
    if let Some((error, message)) = refused {
        shard.stats.error(call.api as i16, error.0);
        return call.encode(&DescribeClusterResponse {
            error_code: error.0,
            error_message: Some(message.into()),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        });
    }
    call.encode(&DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: node.cluster_id.as_str().into(),
        controller_id: node.id,
        brokers: vec![DescribeClusterBroker {
            broker_id: node.id,
            host: node.advertised_host.as_str().into(),
            port: i32::from(node.advertised_port),
            rack: node.rack.as_deref().map(Into::into),
            is_fenced: false,
            ..Default::default()
        }],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            ALL_CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    })
}

pub(in crate::requests) async fn describe_topic_partitions<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_partitions::DescribeTopicPartitionsRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let ceiling = settings(shard).max_request_partition_size_limit.max(1) as usize;
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, ceiling);
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_ref(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let metadata = shard.metadata();
    // In name order, from the cursor's topic on; no topics asked for means all.
    let names: Vec<&str> = if request.topics.is_empty() {
        metadata.topics_from(from_topic).map(|topic| topic.name.as_str()).collect()
    } else {
        let mut names: Vec<&str> =
            request.topics.iter().map(|t| t.name.as_ref()).filter(|name| *name >= from_topic).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let mut topics = Vec::new();
    let mut left = limit;
    let mut next_cursor = None;
    for name in names {
        let first = if name == from_topic { from_partition } else { 0 };
        if left == 0 {
            next_cursor = Some(cursor(name, first));
            break;
        }
        let Some(topic) = metadata.topic(name) else {
            let error = match check_name(name) {
                Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            };
            topics.push(wire_partitions::DescribeTopicPartitionsResponseTopic {
                error_code: error.0,
                name: Some(name.to_owned().into()),
                ..Default::default()
            });
            continue;
        };
        let end = topic.partitions.len().min(first.saturating_add(left));
        let first = first.min(end);
        let partition = |index: usize| {
            let p = &topic.partitions[index];
            wire_partitions::DescribeTopicPartitionsResponsePartition {
                partition_index: index as i32,
                leader_id: p.leader,
                leader_epoch: p.leader_epoch,
                replica_nodes: p.replicas.clone(),
                isr_nodes: p.isr.clone(),
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            }
        };
        topics.push(wire_partitions::DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.clone().into()),
            topic_id: Uuid(topic.id),
            is_internal: topic.internal,
            partitions: (first..end).map(partition).collect(),
            topic_authorized_operations: ALL_TOPIC_OPERATIONS,
            ..Default::default()
        });
        left -= end - first;
        if end < topic.partitions.len() {
            next_cursor = Some(cursor(name, end));
            break;
        }
    }
    drop(metadata);
    for topic in &topics {
        shard.stats.error(call.api as i16, topic.error_code);
    }
    call.encode(&wire_partitions::DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

fn cursor(topic: &str, partition: usize) -> wire_partitions::ResponseCursor<'static> {
    wire_partitions::ResponseCursor {
        topic_name: topic.to_owned().into(),
        partition_index: partition as i32,
        ..Default::default()
    }
}
