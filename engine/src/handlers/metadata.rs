//! Metadata (key 3, versions 0 to 13).
//!
//! Version 0 asks for all topics with an empty list, later versions with null. From version 12 topics can be asked for
//! by id; if a request has any id, only its ids count, as in Kafka. Before that, ids and missing names are refused.
//!
//! A request that has a topic created is told that the topic is missing, and the next one is told of it. So a client
//! that asks whether a topic it deleted is gone learns that it is, although its question made it anew.

use std::borrow::Cow;
use std::collections::BTreeSet;

use turgo_net::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use turgo_net::{ErrorCode, Uuid};

use super::{
    ALL_CLUSTER_OPERATIONS, ALL_TOPIC_OPERATIONS, NOT_ASKED, controller_id, missing_topic_error, nodes,
    operations, partition_error,
};
use crate::configs::NodeSettings;
use crate::metadata::{Planner, Topic, check_name, is_internal};

/// What a request asks for.
enum Asked<'a> {
    All,
    Names(BTreeSet<&'a str>),
    Ids(BTreeSet<[u8; 16]>),
    /// A topic without name or with an id where the version has neither.
    Nonsense,
}

fn asked<'a>(request: &'a MetadataRequest<'a>, version: i16) -> Asked<'a> {
    let Some(topics) = &request.topics else {
        return Asked::All;
    };
    if version == 0 && topics.is_empty() {
        return Asked::All;
    }
    let ids: BTreeSet<[u8; 16]> = topics
        .iter()
        .map(|t| t.topic_id)
        .filter(|id| !id.is_zero())
        .map(|id| id.0)
        .collect();
    if version < 12 && !ids.is_empty() {
        return Asked::Nonsense;
    }
    if !ids.is_empty() {
        return Asked::Ids(ids);
    }
    let names: Option<BTreeSet<&str>> = topics.iter().map(|t| t.name.as_deref()).collect();
    names.map_or(Asked::Nonsense, Asked::Names)
}

/// Names that the request wants created: asked for, missing, allowed as names, and automatic creation is on both here
/// and there. Ascending; to be created with [`Planner::auto_create_topics`] before [`respond`].
pub fn to_create(request: &MetadataRequest<'_>, version: i16, planner: &Planner<'_>) -> Vec<String> {
    // Versions before 4 cannot say; there the flag has its default, true, as those clients expect.
    if !request.allow_auto_topic_creation {
        return Vec::new();
    }
    let Asked::Names(names) = asked(request, version) else {
        return Vec::new();
    };
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| planner.state.topic(name).is_none() && check_name(name).is_ok())
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() && NodeSettings::resolve(&planner.layers()).auto_create_topics {
        missing
    } else {
        Vec::new()
    }
}

/// The answer from the applied state. `created`, ascending, are the topics that this request itself had created.
pub fn respond<'a>(
    request: &'a MetadataRequest<'a>,
    version: i16,
    created: &[String],
    planner: &Planner<'a>,
) -> MetadataResponse<'a> {
    let topic_operations = operations(request.include_topic_authorized_operations, ALL_TOPIC_OPERATIONS);
    let made_now = |name: &str| created.binary_search_by(|made| made.as_str().cmp(name)).is_ok();
    let by_name = |name: &'a str| match planner.state.topic(name) {
        Some(topic) if !made_now(name) => known(topic, topic_operations),
        _ => MetadataResponseTopic {
            error_code: missing_topic_error(name).0,
            name: Some(Cow::Borrowed(name)),
            is_internal: is_internal(name),
            topic_authorized_operations: topic_operations,
            ..Default::default()
        },
    };
    let topics = match asked(request, version) {
        Asked::All => planner
            .state
            .topics()
            .map(|topic| known(topic, topic_operations))
            .collect(),
        Asked::Names(names) => names.into_iter().map(by_name).collect(),
        Asked::Ids(ids) => ids
            .into_iter()
            .map(|id| match planner.state.topic_by_id(&id) {
                Some(topic) => known(topic, topic_operations),
                None => MetadataResponseTopic {
                    error_code: ErrorCode::UNKNOWN_TOPIC_ID.0,
                    name: None,
                    topic_id: Uuid(id),
                    topic_authorized_operations: NOT_ASKED,
                    ..Default::default()
                },
            })
            .collect(),
        Asked::Nonsense => return refusal(request, version),
    };
    MetadataResponse {
        brokers: nodes(planner)
            .into_iter()
            .map(|node| MetadataResponseBroker {
                node_id: node.id,
                host: Cow::Borrowed(node.host),
                port: node.port,
                rack: node.rack.map(Cow::Borrowed),
            })
            .collect(),
        cluster_id: Some(Cow::Borrowed(planner.site.cluster_id)),
        controller_id: controller_id(planner),
        topics,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            ALL_CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    }
}

fn known(topic: &Topic, topic_authorized_operations: i32) -> MetadataResponseTopic<'_> {
    MetadataResponseTopic {
        name: Some(Cow::Borrowed(&topic.name)),
        topic_id: Uuid(topic.id),
        is_internal: topic.internal,
        partitions: topic
            .partitions
            .iter()
            .zip(0..)
            .map(|(partition, partition_index)| MetadataResponsePartition {
                error_code: partition_error(partition).0,
                partition_index,
                leader_id: partition.leader,
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                ..Default::default()
            })
            .collect(),
        topic_authorized_operations,
        ..Default::default()
    }
}

/// The whole request makes no sense: every topic it names is refused, and nothing else is told.
fn refusal<'a>(request: &'a MetadataRequest<'a>, version: i16) -> MetadataResponse<'a> {
    let error_code = ErrorCode::INVALID_REQUEST.0;
    MetadataResponse {
        topics: request
            .topics
            .iter()
            .flatten()
            .map(|topic| MetadataResponseTopic {
                error_code,
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..Default::default()
            })
            .collect(),
        error_code: if version >= 13 { error_code } else { 0 },
        ..Default::default()
    }
}
