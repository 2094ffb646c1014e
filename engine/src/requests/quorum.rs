//! DescribeQuorum (key 55, versions 0 to 2; KIP-595, KIP-836, KIP-853): the metadata log and its one voter, this node.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, ResponsePartitionData,
    ResponseTopicData,
};
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::shard::Shard;
use crate::shard::control::LISTENER;
use crate::shard::ops::{Answer, Op};

/// Name of the topic that the metadata log is, as far as this request goes.
const METADATA_LOG: &str = "__cluster_metadata";

pub(super) async fn answer<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DescribeQuorumRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    // As in Kafka, only this one question has an answer.
    let is_metadata = match &request.topics[..] {
        [topic] => {
            topic.topic_name == METADATA_LOG
                && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    if !is_metadata {
        let topics = request
            .topics
            .iter()
            .map(|topic| ResponseTopicData {
                topic_name: topic.topic_name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| ResponsePartitionData {
                        partition_index: partition.partition_index,
                        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                        error_message: Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.message().into()),
                        ..Default::default()
                    })
                    .collect(),
            })
            .collect();
        return call.encode(&DescribeQuorumResponse {
            error_message: Some("".into()),
            topics,
            ..Default::default()
        });
    }
    let Some(Answer::MetadataLog(Some(log))) = shard.call(0, Op::MetadataLog).await else {
        return Err(Close::Stopping);
    };
    let now_ms = shard.env.wall_ms();
    let node = &shard.node;
    let partition = ResponsePartitionData {
        error_message: Some("".into()),
        leader_id: node.id,
        leader_epoch: log.leader_epoch,
        high_watermark: log.high_watermark,
        current_voters: vec![ReplicaState {
            replica_id: node.id,
            log_end_offset: log.end,
            last_fetch_timestamp: now_ms,
            last_caught_up_timestamp: now_ms,
            ..Default::default()
        }],
        ..Default::default()
    };
    let voter = Node {
        node_id: node.id,
        listeners: vec![Listener {
            name: LISTENER.into(),
            host: node.advertised_host.as_str().into(),
            port: node.advertised_port,
        }],
    };
    call.encode(&DescribeQuorumResponse {
        error_message: Some("".into()),
        topics: vec![ResponseTopicData {
            topic_name: METADATA_LOG.into(),
            partitions: vec![partition],
        }],
        nodes: Some(voter).filter(|_| call.version >= 2).into_iter().collect(),
        ..Default::default()
    })
}
