//! The consumer protocol inside the classic one: what members of kind "consumer" put into JoinGroup and SyncGroup.
//!
//! Both start with an i16 version; what a newer version adds follows, so it is read as the newest one known.

use super::TopicId;
use super::assignor::Partitions;
use super::cluster::Cluster;
use super::messages::TopicPartitions;
use bytes::Bytes;
use std::collections::BTreeSet;
use turgo_net::Reader;
use turgo_net::messages::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use turgo_net::messages::{Message, encode_versioned};

/// A classic member's subscription.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub topics: Vec<String>,
    pub owned: TopicPartitions,
    pub rack: Option<String>,
}

/// Version of a subscription or assignment; `None` if it has none.
pub(super) fn version(bytes: &[u8]) -> Option<i16> {
    Reader::new(bytes).i16().ok().filter(|version| *version >= 0)
}

/// Reads a subscription; partitions of topics that are gone are left out.
pub(super) fn subscription(bytes: &[u8], cluster: &dyn Cluster) -> Option<Subscription> {
    let version = version(bytes)?.min(ConsumerProtocolSubscription::MAX_VERSION);
    let mut reader = Reader::new(bytes.get(2..)?);
    let read = ConsumerProtocolSubscription::decode(&mut reader, version).ok()?;
    let owned = read
        .owned_partitions
        .into_iter()
        .filter_map(|topic| Some((cluster.topic(&topic.topic)?.id, topic.partitions)))
        .collect();
    Some(Subscription {
        topics: read.topics.into_iter().map(Into::into).collect(),
        owned,
        rack: read
            .rack_id
            .map(Into::into)
            .filter(|rack: &String| !rack.is_empty()),
    })
}

/// An assignment that cannot be carried over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadAssignment {
    /// It cannot be read.
    Malformed,
    /// It carries data of a custom assignor, which would be lost.
    HasUserData,
}

/// Reads an assignment; partitions of topics that are gone are left out.
pub(super) fn assignment(bytes: &[u8], cluster: &dyn Cluster) -> Result<Partitions, BadAssignment> {
    if bytes.is_empty() {
        return Ok(Partitions::new());
    }
    let version = version(bytes)
        .ok_or(BadAssignment::Malformed)?
        .min(ConsumerProtocolAssignment::MAX_VERSION);
    let mut reader = Reader::new(bytes.get(2..).unwrap_or_default());
    let read =
        ConsumerProtocolAssignment::decode(&mut reader, version).map_err(|_| BadAssignment::Malformed)?;
    if read.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(BadAssignment::HasUserData);
    }
    let mut partitions = Partitions::new();
    for topic in read.assigned_partitions {
        if let Some(found) = cluster.topic(&topic.topic)
            && !topic.partitions.is_empty()
        {
            partitions.entry(found.id).or_default().extend(topic.partitions);
        }
    }
    Ok(partitions)
}

/// An assignment in the layout of `version`; partitions of topics that are gone are left out.
pub(super) fn encode_assignment<'a>(
    partitions: impl Iterator<Item = (&'a TopicId, Vec<i32>)>,
    version: i16,
    cluster: &dyn Cluster,
) -> Bytes {
    // Topics by name, so that equal assignments have equal bytes.
    let named: BTreeSet<(String, Vec<i32>)> = partitions
        .filter_map(|(id, partitions)| Some((cluster.name(id)?, partitions)))
        .collect();
    let value = ConsumerProtocolAssignment {
        assigned_partitions: named
            .into_iter()
            .map(|(topic, partitions)| AssignmentTopicPartition {
                topic: topic.into(),
                partitions,
            })
            .collect(),
        user_data: None,
    };
    let version = version.clamp(0, ConsumerProtocolAssignment::MAX_VERSION);
    encode_versioned(&value, version)
        .expect("topic names are short")
        .into()
}
