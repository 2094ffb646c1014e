//! Requests about metadata and settings, between the wire's structures and the metadata machine: pure functions.
//!
//! A function that reads takes the request, its version and the applied state (a [`Planner`], which also knows this
//! broker) and returns the response. A function that changes returns a [`Plan`] whose result is the response: the shell
//! commits the records and sends the response once every shard applied them. Every version of the served ranges is
//! honoured; what a version lacks is left at its default or its sentinel, and the codec drops it.
//!
//! Where a request names one thing several times, the answer names it once, as Kafka's does. That also bounds answers:
//! no request can make its answer larger by repeating itself.
//!
//! [`Planner`]: crate::metadata::Planner
//! [`Plan`]: crate::metadata::Plan

pub mod alter_configs;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod list_config_resources;
pub mod metadata;
pub mod reassignments;
pub mod unregister_broker;
pub mod update_features;

#[cfg(test)]
mod tests;

use turgo_net::ErrorCode;

use crate::metadata::{ApiError, Partition, Planner};

/// What the answer says about authorized operations when nobody asked.
const NOT_ASKED: i32 = i32::MIN;
/// All operations on a topic, as without an authorizer (KIP-430): READ 3, WRITE 4, CREATE 5, DELETE 6, ALTER 7,
/// DESCRIBE 8, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11.
const ALL_TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// All operations on the cluster: CREATE 5, ALTER 7, DESCRIBE 8, CLUSTER_ACTION 9, DESCRIBE_CONFIGS 10,
/// ALTER_CONFIGS 11, IDEMPOTENT_WRITE 12.
const ALL_CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

fn operations(asked: bool, all: i32) -> i32 {
    if asked { all } else { NOT_ASKED }
}

/// Code and sentence of an outcome; a refusal without a sentence of its own gets its code's.
fn outcome<T>(outcome: &Result<T, ApiError>) -> (ErrorCode, Option<String>) {
    match outcome {
        Ok(_) => (ErrorCode::NONE, None),
        Err(refused) => {
            let message = refused
                .message
                .clone()
                .unwrap_or_else(|| refused.code.message().to_owned());
            (refused.code, Some(message))
        }
    }
}

/// Error of a partition as Metadata and DescribeTopicPartitions show it.
fn partition_error(partition: &Partition) -> ErrorCode {
    if partition.leader < 0 {
        ErrorCode::LEADER_NOT_AVAILABLE
    } else {
        ErrorCode::NONE
    }
}

/// Error of a topic that does not exist: whether its name could be a topic's.
fn missing_topic_error(name: &str) -> ErrorCode {
    match crate::metadata::check_name(name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(refused) => refused.code,
    }
}

/// A broker as clients see it.
struct Node<'a> {
    id: i32,
    host: &'a str,
    port: i32,
    rack: Option<&'a str>,
}

/// Brokers by number: those registered, and this one as it is now.
fn nodes<'a>(planner: &Planner<'a>) -> Vec<Node<'a>> {
    let site = planner.site;
    let this = Node {
        id: site.node_id,
        host: site.host,
        port: i32::from(site.port),
        rack: site.rack,
    };
    let others = planner
        .state
        .brokers()
        .filter(|b| b.id != site.node_id)
        .filter_map(|b| {
            let endpoint = b.endpoints.first()?;
            Some(Node {
                id: b.id,
                host: &endpoint.host,
                port: i32::from(endpoint.port),
                rack: b.rack.as_deref(),
            })
        });
    let mut all: Vec<Node<'a>> = others.chain([this]).collect();
    all.sort_by_key(|node| node.id);
    all
}

/// The broker that takes controller-bound requests. Any does, so the first.
fn controller_id(planner: &Planner<'_>) -> i32 {
    nodes(planner).first().map_or(-1, |node| node.id)
}
