//! Changes of consumer groups as records of the internal topic, byte for byte in Apache Kafka's layouts.
//!
//! | key type | value | key |
//! |-|-|-|
//! | 3 | epoch of the group, fingerprint of its topics | group |
//! | 4 | topics of the group, by versions before 4.1; only skipped here | group |
//! | 5 | what a member says of itself | group, member |
//! | 6 | epoch and time of the target assignment | group |
//! | 7 | a member's part of the target | group, member |
//! | 8 | what a member holds | group, member |
//! | 16 | what a pattern matched | group, pattern |

use super::assignor::Partitions;
use super::group::{Change, ClassicMeta, Current, Held, MemberState, Meta, Resolved};
use crate::groups::messages::Protocol;
use crate::groups::records::Record;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use turgo_net::messages::consumer_group_current_member_assignment_record as current_record;
use turgo_net::messages::consumer_group_member_metadata_record as member_record;
use turgo_net::messages::consumer_group_metadata_record as group_record;
use turgo_net::messages::consumer_group_partition_metadata_record as partition_record;
use turgo_net::messages::consumer_group_regular_expression_record as pattern_record;
use turgo_net::messages::consumer_group_target_assignment_member_record as target_record;
use turgo_net::messages::consumer_group_target_assignment_metadata_record as target_epoch_record;
use turgo_net::messages::{Message, decode_versioned, encode_record_key, encode_versioned};
use turgo_net::{Reader, Uuid};

/// Types of keys that are ours.
const KINDS: [i16; 7] = [3, 4, 5, 6, 7, 8, 16];

/// Whether records of this key type belong to consumer groups.
pub fn is_ours(kind: i16) -> bool {
    KINDS.contains(&kind)
}

fn record(key: &impl Message, value: Option<Vec<u8>>) -> Record {
    Record {
        key: encode_record_key(key).expect("ids are bounded when they come in"),
        value,
    }
}

fn encoded(value: &impl Message) -> Vec<u8> {
    encode_versioned(value, 0).expect("strings are bounded when they come in")
}

/// The record of a change to `group`.
pub(super) fn encode(group: &str, change: &Change) -> Record {
    let group_id: Cow<'_, str> = group.into();
    match change {
        Change::Epoch(value) => record(
            &group_record::ConsumerGroupMetadataKey { group_id },
            value.map(|(epoch, metadata_hash)| {
                encoded(&group_record::ConsumerGroupMetadataValue { epoch, metadata_hash })
            }),
        ),
        Change::Member(member, value) => record(
            &member_record::ConsumerGroupMemberMetadataKey {
                group_id,
                member_id: (&**member).into(),
            },
            value.as_deref().map(encode_meta),
        ),
        Change::TargetEpoch(value) => record(
            &target_epoch_record::ConsumerGroupTargetAssignmentMetadataKey { group_id },
            value.map(|(assignment_epoch, assignment_timestamp)| {
                encoded(&target_epoch_record::ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch,
                    assignment_timestamp,
                })
            }),
        ),
        Change::Target(member, value) => record(
            &target_record::ConsumerGroupTargetAssignmentMemberKey {
                group_id,
                member_id: (&**member).into(),
            },
            value.as_deref().map(|target| {
                let topic = |(id, partitions): (&[u8; 16], &std::collections::BTreeSet<i32>)| {
                    target_record::TopicPartition {
                        topic_id: Uuid(*id),
                        partitions: partitions.iter().copied().collect(),
                    }
                };
                encoded(&target_record::ConsumerGroupTargetAssignmentMemberValue {
                    topic_partitions: target.iter().map(topic).collect(),
                })
            }),
        ),
        Change::Current(member, value) => record(
            &current_record::ConsumerGroupCurrentMemberAssignmentKey {
                group_id,
                member_id: (&**member).into(),
            },
            value.as_deref().map(|current| {
                encoded(&current_record::ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch: current.epoch,
                    previous_member_epoch: current.previous_epoch,
                    state: current.state.number(),
                    assigned_partitions: encode_held(&current.assigned),
                    partitions_pending_revocation: encode_held(&current.revoking),
                })
            }),
        ),
        Change::Regex(pattern, value) => record(
            &pattern_record::ConsumerGroupRegularExpressionKey {
                group_id,
                regular_expression: (&**pattern).into(),
            },
            value.as_deref().map(|found| {
                encoded(&pattern_record::ConsumerGroupRegularExpressionValue {
                    topics: found.topics.iter().map(|topic| (&**topic).into()).collect(),
                    version: found.version,
                    timestamp: found.at_ms,
                })
            }),
        ),
    }
}

/// The tombstone of a record that versions before 4.1 wrote; Kafka writes it too when a group goes.
pub(super) fn old_topics_tombstone(group: &str) -> Record {
    let key = partition_record::ConsumerGroupPartitionMetadataKey {
        group_id: group.into(),
    };
    record(&key, None)
}

fn encode_meta(meta: &Meta) -> Vec<u8> {
    let classic = meta
        .classic
        .as_deref()
        .map(|classic| member_record::ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic
                .protocols
                .iter()
                .map(|protocol| member_record::ClassicProtocol {
                    name: protocol.name.as_str().into(),
                    metadata: protocol.metadata.as_ref().into(),
                })
                .collect(),
        });
    encoded(&member_record::ConsumerGroupMemberMetadataValue {
        instance_id: meta.instance.as_deref().map(Into::into),
        rack_id: meta.rack.as_deref().map(Into::into),
        client_id: meta.client_id.as_str().into(),
        client_host: meta.client_host.as_str().into(),
        subscribed_topic_names: meta.topics.iter().map(|topic| (&**topic).into()).collect(),
        subscribed_topic_regex: Some((&*meta.regex).into()),
        rebalance_timeout_ms: meta.rebalance_timeout_ms,
        server_assignor: meta.assignor.as_deref().map(Into::into),
        classic_member_metadata: classic,
    })
}

fn encode_held(held: &Held) -> Vec<current_record::TopicPartitions> {
    held.iter()
        .map(|(id, partitions)| current_record::TopicPartitions {
            topic_id: Uuid(*id),
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        })
        .collect()
}

/// Reads a record of one of our types: the group, and the change unless the record is of no use any more. `None` if
/// it cannot be read.
pub fn decode(kind: i16, key: &[u8], value: Option<&[u8]>) -> Option<(String, Option<Change>)> {
    let mut reader = Reader::new(key.get(2..)?);
    let reader = &mut reader;
    let read = match kind {
        3 => {
            let key = group_record::ConsumerGroupMetadataKey::decode(reader, 0).ok()?;
            let value = optional::<group_record::ConsumerGroupMetadataValue>(value)?;
            let value = value.map(|value| (value.epoch, value.metadata_hash));
            (key.group_id, Some(Change::Epoch(value)))
        }
        4 => {
            let key = partition_record::ConsumerGroupPartitionMetadataKey::decode(reader, 0).ok()?;
            (key.group_id, None)
        }
        5 => {
            let key = member_record::ConsumerGroupMemberMetadataKey::decode(reader, 0).ok()?;
            let value = optional::<member_record::ConsumerGroupMemberMetadataValue<'_>>(value)?;
            let value = value.map(|value| Rc::new(decode_meta(value)));
            (key.group_id, Some(Change::Member(key.member_id.into(), value)))
        }
        6 => {
            let key =
                target_epoch_record::ConsumerGroupTargetAssignmentMetadataKey::decode(reader, 0).ok()?;
            let value = optional::<target_epoch_record::ConsumerGroupTargetAssignmentMetadataValue>(value)?;
            let value = value.map(|value| (value.assignment_epoch, value.assignment_timestamp));
            (key.group_id, Some(Change::TargetEpoch(value)))
        }
        7 => {
            let key = target_record::ConsumerGroupTargetAssignmentMemberKey::decode(reader, 0).ok()?;
            let value = optional::<target_record::ConsumerGroupTargetAssignmentMemberValue>(value)?;
            let value = value.map(|value| {
                let mut target = Partitions::new();
                for topic in value
                    .topic_partitions
                    .into_iter()
                    .filter(|t| !t.partitions.is_empty())
                {
                    target
                        .entry(topic.topic_id.0)
                        .or_default()
                        .extend(topic.partitions);
                }
                Rc::new(target)
            });
            (key.group_id, Some(Change::Target(key.member_id.into(), value)))
        }
        8 => {
            let key = current_record::ConsumerGroupCurrentMemberAssignmentKey::decode(reader, 0).ok()?;
            let value = optional::<current_record::ConsumerGroupCurrentMemberAssignmentValue>(value)?;
            let value = value.map(|value| {
                Rc::new(Current {
                    epoch: value.member_epoch,
                    previous_epoch: value.previous_member_epoch,
                    state: MemberState::from_number(value.state),
                    assigned: decode_held(value.assigned_partitions, value.member_epoch),
                    revoking: decode_held(value.partitions_pending_revocation, value.member_epoch),
                })
            });
            (key.group_id, Some(Change::Current(key.member_id.into(), value)))
        }
        16 => {
            let key = pattern_record::ConsumerGroupRegularExpressionKey::decode(reader, 0).ok()?;
            let value = optional::<pattern_record::ConsumerGroupRegularExpressionValue<'_>>(value)?;
            let value = value.map(|value| {
                Rc::new(Resolved {
                    topics: value.topics.iter().map(|topic| Rc::from(&**topic)).collect(),
                    version: value.version,
                    at_ms: value.timestamp,
                })
            });
            (
                key.group_id,
                Some(Change::Regex(key.regular_expression.into(), value)),
            )
        }
        _ => return None,
    };
    Some((read.0.into_owned(), read.1))
}

/// The value, or a tombstone's absence of one; `None` if it is there and cannot be read.
fn optional<'a, M>(value: Option<&'a [u8]>) -> Option<Option<M>>
where
    M: Message + turgo_net::wire::Decode<'a>,
{
    match value {
        None => Some(None),
        Some(bytes) => decode_versioned::<M>(bytes).ok().map(Some),
    }
}

fn decode_meta(value: member_record::ConsumerGroupMemberMetadataValue<'_>) -> Meta {
    let classic = value.classic_member_metadata.map(|classic| {
        Rc::new(ClassicMeta {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .into_iter()
                .map(|protocol| Protocol {
                    name: protocol.name.into_owned(),
                    metadata: Bytes::copy_from_slice(&protocol.metadata),
                })
                .collect(),
        })
    });
    Meta {
        instance: value.instance_id.as_deref().map(Rc::from),
        rack: value.rack_id.map(Cow::into_owned),
        client_id: value.client_id.into_owned(),
        client_host: value.client_host.into_owned(),
        topics: value
            .subscribed_topic_names
            .iter()
            .map(|topic| Rc::from(&**topic))
            .collect(),
        regex: value.subscribed_topic_regex.as_deref().unwrap_or("").into(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.map(Cow::into_owned),
        classic,
    }
}

/// Records of versions before 4.3 lack the epochs: then it is the member's.
fn decode_held(topics: Vec<current_record::TopicPartitions>, epoch: i32) -> Held {
    let mut held = Held::new();
    for topic in topics {
        let epochs = topic
            .assignment_epochs
            .filter(|epochs| epochs.len() == topic.partitions.len())
            .unwrap_or_else(|| vec![epoch.max(0); topic.partitions.len()]);
        let partitions: BTreeMap<i32, i32> = topic.partitions.into_iter().zip(epochs).collect();
        if !partitions.is_empty() {
            held.entry(topic.topic_id.0).or_default().extend(partitions);
        }
    }
    held
}
