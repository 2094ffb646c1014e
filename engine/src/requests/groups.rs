//! Group APIs: between the wire and the coordinators.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use turgo_net::messages::describe_groups as wire_describe;
use turgo_net::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use turgo_net::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use turgo_net::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use turgo_net::messages::list_groups as wire_list;
use turgo_net::messages::offset_commit as wire_commit;
use turgo_net::messages::offset_delete as wire_delete;
use turgo_net::messages::offset_fetch as wire_fetch;
use turgo_net::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use turgo_net::{ErrorCode, Uuid};
use turgo_storage::PartitionId;
use turgo_storage::env::Env;

use super::{Call, Client, Close};
use crate::groups::codes;
use crate::groups::messages::{
    Caller, CommitPartition, CommitTopic, FetchTopic, HeartbeatRequest as Beat, JoinRequest, LeaveRequest,
    LeavingMember, ListRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetFetchResponse, Protocol, Request, Response, SyncRequest,
};
use crate::metadata::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::shard::Shard;
use crate::shard::ops::{Answer, Op};

/// Operations on a group as a bit field, all of them: nothing is authorised yet (KIP-430).
pub(super) const ALL_GROUP_OPERATIONS: i32 = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11);

/// Kinds of coordinator in FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn caller(call: &Call, client: Option<&Client>) -> Caller {
    Caller {
        client_id: call.client_id.clone().unwrap_or_default(),
        client_host: client.map(|c| c.host.clone()).unwrap_or_default(),
        api_version: call.version,
    }
}

/// The internal partition whose coordinator owns a group; `None` while there is no internal topic.
pub(super) fn coordinator<E: Env>(shard: &Shard<E>, group: &str) -> Option<PartitionId> {
    shard.coordinator_of(CONSUMER_OFFSETS, group)
}

pub(super) async fn ask<E: Env>(
    shard: &Rc<Shard<E>>,
    group: &str,
    caller: Caller,
    request: Request,
) -> Response {
    let refused = request.refuse(codes::NOT_COORDINATOR, caller.api_version);
    let Some(id) = coordinator(shard, group) else {
        return refused;
    };
    match shard.call(shard.owner(&id), Op::Group(id, caller, request)).await {
        Some(Answer::Group(response)) => response,
        _ => refused,
    }
}

/// Answers of another kind than the question cannot happen: the machine pairs them.
pub(super) fn mismatched() -> ! {
    unreachable!("a coordinator answered another question")
}

pub(super) async fn find_coordinator<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        FindCoordinatorRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let node = shard.node.clone();
    let created = match request.key_type {
        GROUP => Some(ensure_topic(shard, CONSUMER_OFFSETS).await),
        TRANSACTION => Some(ensure_topic(shard, TRANSACTION_STATE).await),
        _ => None,
    };
    let (error, message) = if let Some(created) = created {
        match created {
            // Kafka's own texts for success: the code's name in the old versions, the empty text in the batched ones.
            true if call.version < 4 => (ErrorCode::NONE, Some("NONE".to_owned())),
            true => (ErrorCode::NONE, Some(String::new())),
            false => (ErrorCode::COORDINATOR_NOT_AVAILABLE, None),
        }
    } else {
        let text = format!("coordinators of type {} are not served", request.key_type);
        (ErrorCode::INVALID_REQUEST, Some(text))
    };
    shard.stats.error(call.api as i16, error.0);
    let found = error.is_none();
    let one = |key: Cow<'_, str>| Coordinator {
        key: key.into_owned().into(),
        node_id: if found { node.id } else { -1 },
        host: if found {
            node.advertised_host.clone().into()
        } else {
            "".into()
        },
        port: if found {
            i32::from(node.advertised_port)
        } else {
            -1
        },
        error_code: error.0,
        error_message: message.clone().map(Into::into),
        ..Default::default()
    };
    let response = if call.version >= 4 {
        FindCoordinatorResponse {
            coordinators: request.coordinator_keys.into_iter().map(one).collect(),
            ..Default::default()
        }
    } else {
        let it = one("".into());
        FindCoordinatorResponse {
            error_code: it.error_code,
            error_message: it.error_message,
            node_id: it.node_id,
            host: it.host,
            port: it.port,
            ..Default::default()
        }
    };
    call.encode(&response)
}

/// Makes sure that an internal topic is there; false if it cannot be created.
pub(super) async fn ensure_topic<E: Env>(shard: &Rc<Shard<E>>, name: &'static str) -> bool {
    if shard.metadata().topic(name).is_some() {
        return true;
    }
    super::admin::create_internal_topic(shard, name).await;
    shard.metadata().topic(name).is_some()
}

pub(super) async fn join<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = JoinGroupRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let join = JoinRequest {
        group_id: group_id.clone(),
        member_id: request.member_id.into_owned(),
        group_instance_id: request.group_instance_id.map(Cow::into_owned),
        protocol_type: request.protocol_type.into_owned(),
        protocols: request
            .protocols
            .iter()
            .map(|p| Protocol {
                name: p.name.clone().into_owned(),
                metadata: Bytes::copy_from_slice(&p.metadata),
            })
            .collect(),
        session_timeout_ms: request.session_timeout_ms,
        // Version 0 has one timeout for both.
        rebalance_timeout_ms: if call.version == 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        reason: request.reason.map(Cow::into_owned),
        new_member_uuid: (shard.node.random)(),
    };
    let Response::Join(joined) = ask(shard, &group_id, caller(call, Some(client)), Request::Join(join)).await
    else {
        mismatched()
    };
    shard.stats.error(call.api as i16, joined.error_code);
    let protocol_name = joined.protocol_name.map(Cow::from);
    call.encode(&JoinGroupResponse {
        error_code: joined.error_code,
        generation_id: joined.generation_id,
        protocol_type: joined.protocol_type.map(Into::into),
        // Null is known from version 7 on.
        protocol_name: if call.version < 7 {
            Some(protocol_name.unwrap_or_default())
        } else {
            protocol_name
        },
        leader: joined.leader.into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.into(),
        members: joined
            .members
            .into_iter()
            .map(|m| JoinGroupResponseMember {
                member_id: m.member_id.into(),
                group_instance_id: m.group_instance_id.map(Into::into),
                metadata: m.metadata.to_vec().into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    })
}

pub(super) async fn sync<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = SyncGroupRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let sync = SyncRequest {
        group_id: group_id.clone(),
        generation_id: request.generation_id,
        member_id: request.member_id.into_owned(),
        group_instance_id: request.group_instance_id.map(Cow::into_owned),
        protocol_type: request.protocol_type.map(Cow::into_owned),
        protocol_name: request.protocol_name.map(Cow::into_owned),
        assignments: request
            .assignments
            .iter()
            .map(|a| {
                (
                    a.member_id.clone().into_owned(),
                    Bytes::copy_from_slice(&a.assignment),
                )
            })
            .collect(),
    };
    let Response::Sync(synced) = ask(shard, &group_id, caller(call, Some(client)), Request::Sync(sync)).await
    else {
        mismatched()
    };
    shard.stats.error(call.api as i16, synced.error_code);
    call.encode(&SyncGroupResponse {
        error_code: synced.error_code,
        protocol_type: synced.protocol_type.map(Into::into),
        protocol_name: synced.protocol_name.map(Into::into),
        assignment: synced.assignment.to_vec().into(),
        ..Default::default()
    })
}

pub(super) async fn heartbeat<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = HeartbeatRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let beat = Beat {
        group_id: group_id.clone(),
        generation_id: request.generation_id,
        member_id: request.member_id.into_owned(),
        group_instance_id: request.group_instance_id.map(Cow::into_owned),
    };
    let Response::Heartbeat(error_code) = ask(
        shard,
        &group_id,
        caller(call, Some(client)),
        Request::Heartbeat(beat),
    )
    .await
    else {
        mismatched()
    };
    shard.stats.error(call.api as i16, error_code);
    call.encode(&HeartbeatResponse {
        error_code,
        ..Default::default()
    })
}

pub(super) async fn leave<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = LeaveGroupRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let members = if call.version < 3 {
        vec![LeavingMember {
            member_id: request.member_id.into_owned(),
            ..Default::default()
        }]
    } else {
        request
            .members
            .into_iter()
            .map(|m| LeavingMember {
                member_id: m.member_id.into_owned(),
                group_instance_id: m.group_instance_id.map(Cow::into_owned),
                reason: m.reason.map(Cow::into_owned),
            })
            .collect()
    };
    let leave = LeaveRequest {
        group_id: group_id.clone(),
        members,
    };
    let Response::Leave(left) = ask(
        shard,
        &group_id,
        caller(call, Some(client)),
        Request::Leave(leave),
    )
    .await
    else {
        mismatched()
    };
    // Before version 3 there is one member, whose error is the answer's.
    let error_code = match left.members.first() {
        Some(member) if call.version < 3 && left.error_code == 0 => member.error_code,
        _ => left.error_code,
    };
    shard.stats.error(call.api as i16, error_code);
    call.encode(&LeaveGroupResponse {
        error_code,
        members: if call.version < 3 {
            Vec::new()
        } else {
            left.members
                .into_iter()
                .map(|m| MemberResponse {
                    member_id: m.member_id.into(),
                    group_instance_id: m.group_instance_id.map(Into::into),
                    error_code: m.error_code,
                    ..Default::default()
                })
                .collect()
        },
        ..Default::default()
    })
}

pub(super) async fn offset_commit<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_commit::OffsetCommitRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.clone().into_owned();
    // Topics that do not exist are answered here; the coordinator gets the others.
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for topic in &request.topics {
        let metadata = shard.metadata();
        let found = if call.version >= 10 {
            metadata
                .topic_by_id(&topic.topic_id.0)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            metadata
                .topic(&topic.name)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let refused = |error: ErrorCode, partitions: &mut dyn Iterator<Item = i32>| {
            wire_commit::OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: partitions
                    .map(|partition_index| wire_commit::OffsetCommitResponsePartition {
                        partition_index,
                        error_code: error.0,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                unknown.push(refused(
                    error,
                    &mut topic.partitions.iter().map(|p| p.partition_index),
                ));
                continue;
            }
        };
        let exists = |index: i32| usize::try_from(index).is_ok_and(|index| index < found.partitions.len());
        let mut missing = topic
            .partitions
            .iter()
            .map(|p| p.partition_index)
            .filter(|p| !exists(*p))
            .peekable();
        if missing.peek().is_some() {
            unknown.push(refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &mut missing));
        }
        if topic.partitions.is_empty() || topic.partitions.iter().any(|p| exists(p.partition_index)) {
            known.push(CommitTopic {
                name: found.name.to_string(),
                topic_id: found.id,
                partitions: topic
                    .partitions
                    .iter()
                    .filter(|p| exists(p.partition_index))
                    .map(|p| CommitPartition {
                        partition: p.partition_index,
                        offset: p.committed_offset,
                        leader_epoch: p.committed_leader_epoch,
                        metadata: p.committed_metadata.clone().map(Cow::into_owned),
                    })
                    .collect(),
            });
        }
    }
    let mut topics = unknown;
    if !known.is_empty() || topics.is_empty() {
        let commit = OffsetCommitRequest {
            group_id: group_id.clone(),
            generation_id: request.generation_id_or_member_epoch,
            member_id: request.member_id.into_owned(),
            group_instance_id: request.group_instance_id.map(Cow::into_owned),
            // Version 5 dropped the field; -1 means none in the versions before.
            retention_time_ms: Some(request.retention_time_ms).filter(|ms| call.version < 5 && *ms >= 0),
            topics: known,
        };
        let Response::OffsetCommit(committed) = ask(
            shard,
            &group_id,
            caller(call, Some(client)),
            Request::OffsetCommit(commit),
        )
        .await
        else {
            mismatched()
        };
        let entry = |(partition_index, error_code)| wire_commit::OffsetCommitResponsePartition {
            partition_index,
            error_code,
            ..Default::default()
        };
        topics.extend(
            committed
                .topics
                .into_iter()
                .map(|topic| wire_commit::OffsetCommitResponseTopic {
                    name: topic.name.into(),
                    topic_id: Uuid(topic.topic_id),
                    partitions: topic.partitions.into_iter().map(entry).collect(),
                    ..Default::default()
                }),
        );
    }
    let topics = one_entry_per_topic(topics, call.version);
    for partition in topics.iter().flat_map(|t| &t.partitions) {
        shard.stats.error(call.api as i16, partition.error_code);
    }
    call.encode(&wire_commit::OffsetCommitResponse {
        topics,
        ..Default::default()
    })
}

/// Joins entries of the same topic, keeping their order, as Kafka does: what was refused comes first.
fn one_entry_per_topic<'a>(
    topics: Vec<wire_commit::OffsetCommitResponseTopic<'a>>,
    version: i16,
) -> Vec<wire_commit::OffsetCommitResponseTopic<'a>> {
    let mut joined: Vec<wire_commit::OffsetCommitResponseTopic<'a>> = Vec::with_capacity(topics.len());
    let mut places: HashMap<(Uuid, Cow<'a, str>), usize> = HashMap::with_capacity(topics.len());
    for topic in topics {
        let key = if version >= 10 {
            (topic.topic_id, Cow::Borrowed(""))
        } else {
            (Uuid::default(), topic.name.clone())
        };
        match places.entry(key) {
            Entry::Occupied(place) => joined[*place.get()].partitions.extend(topic.partitions),
            Entry::Vacant(place) => {
                place.insert(joined.len());
                joined.push(topic);
            }
        }
    }
    joined
}

pub(super) async fn offset_fetch<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        wire_fetch::OffsetFetchRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let caller = caller(call, None);
    if call.version < 8 {
        let topics = request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|t| FetchTopic {
                    name: t.name.into_owned(),
                    topic_id: [0; 16],
                    partitions: t.partition_indexes,
                })
                .collect()
        });
        let fetch = OffsetFetchRequest {
            group_id: request.group_id.into_owned(),
            topics,
            require_stable: request.require_stable,
            ..OffsetFetchRequest::default()
        };
        let fetched = fetch_offsets(shard, caller, fetch).await;
        shard.stats.error(call.api as i16, fetched.error_code);
        return call.encode(&wire_fetch::OffsetFetchResponse {
            error_code: fetched.error_code,
            topics: fetched
                .topics
                .into_iter()
                .map(|topic| wire_fetch::OffsetFetchResponseTopic {
                    name: topic.name.into(),
                    partitions: topic
                        .partitions
                        .into_iter()
                        .map(|p| wire_fetch::OffsetFetchResponsePartition {
                            partition_index: p.partition,
                            committed_offset: p.offset,
                            committed_leader_epoch: p.leader_epoch,
                            metadata: Some(p.metadata.into()),
                            error_code: p.error_code,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        groups.push(fetch_group(shard, call, &caller, group, request.require_stable).await);
    }
    for group in &groups {
        shard.stats.error(call.api as i16, group.error_code);
    }
    call.encode(&wire_fetch::OffsetFetchResponse {
        groups,
        ..Default::default()
    })
}

async fn fetch_offsets<E: Env>(
    shard: &Rc<Shard<E>>,
    caller: Caller,
    fetch: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let group_id = fetch.group_id.clone();
    match ask(shard, &group_id, caller, Request::OffsetFetch(fetch)).await {
        Response::OffsetFetch(fetched) => fetched,
        _ => mismatched(),
    }
}

/// One group of a batched OffsetFetch (version 8 and later).
async fn fetch_group<'a, E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    caller: &Caller,
    group: wire_fetch::OffsetFetchRequestGroup<'a>,
    require_stable: bool,
) -> wire_fetch::OffsetFetchResponseGroup<'a> {
    let by_id = call.version >= 10;
    let mut unknown = Vec::new();
    let topics = group.topics.map(|topics| {
        let metadata = shard.metadata();
        let mut known = Vec::with_capacity(topics.len());
        for topic in topics {
            if !by_id {
                let topic_id = metadata.topic(&topic.name).map_or([0; 16], |found| found.id);
                known.push(FetchTopic {
                    name: topic.name.into_owned(),
                    topic_id,
                    partitions: topic.partition_indexes,
                });
                continue;
            }
            match metadata.topic_by_id(&topic.topic_id.0) {
                Some(found) => known.push(FetchTopic {
                    name: found.name.to_string(),
                    topic_id: found.id,
                    partitions: topic.partition_indexes,
                }),
                None => unknown.push(topic),
            }
        }
        known
    });
    let fetch = OffsetFetchRequest {
        group_id: group.group_id.clone().into_owned(),
        member_id: group.member_id.map(Cow::into_owned),
        member_epoch: group.member_epoch,
        topics,
        require_stable,
    };
    let fetched = fetch_offsets(shard, caller.clone(), fetch).await;
    let partition = |partition_index, p: crate::groups::messages::FetchedPartition| {
        wire_fetch::OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: p.offset,
            committed_leader_epoch: p.leader_epoch,
            metadata: Some(p.metadata.into()),
            error_code: p.error_code,
            ..Default::default()
        }
    };
    let mut topics: Vec<_> = Vec::new();
    for topic in fetched.topics {
        // When all offsets of a group are asked for by id, topics that are gone cannot be named.
        let topic_id = match topic.topic_id {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => shard
                .metadata()
                .topic(&topic.name)
                .map_or([0; 16], |found| found.id),
            id => id,
        };
        if by_id && topic_id == [0; 16] {
            continue;
        }
        topics.push(wire_fetch::OffsetFetchResponseTopics {
            name: topic.name.into(),
            topic_id: Uuid(topic_id),
            partitions: topic
                .partitions
                .into_iter()
                .map(|p| partition(p.partition, p))
                .collect(),
            ..Default::default()
        });
    }
    if fetched.error_code == 0 {
        for topic in unknown {
            let none = |p: &i32| {
                let code = ErrorCode::UNKNOWN_TOPIC_ID.0;
                partition(*p, crate::groups::messages::FetchedPartition::none(*p, code))
            };
            topics.push(wire_fetch::OffsetFetchResponseTopics {
                topic_id: topic.topic_id,
                partitions: topic.partition_indexes.iter().map(none).collect(),
                ..Default::default()
            });
        }
    }
    wire_fetch::OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics,
        error_code: fetched.error_code,
        ..Default::default()
    }
}

pub(super) async fn offset_delete<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_delete::OffsetDeleteRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.clone().into_owned();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let count = shard
            .metadata()
            .topic(&topic.name)
            .map_or(0, |found| found.partitions.len());
        let (there, missing): (Vec<i32>, Vec<i32>) = topic
            .partitions
            .iter()
            .map(|p| p.partition_index)
            .partition(|index| usize::try_from(*index).is_ok_and(|index| index < count));
        let name = || topic.name.clone().into_owned();
        if !there.is_empty() {
            known.push((name(), there));
        }
        if !missing.is_empty() {
            let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            unknown.push((name(), missing.into_iter().map(|p| (p, code)).collect::<Vec<_>>()));
        }
    }
    let delete = OffsetDeleteRequest {
        group_id: group_id.clone(),
        topics: known,
    };
    let Response::OffsetDelete(deleted) = ask(
        shard,
        &group_id,
        caller(call, None),
        Request::OffsetDelete(delete),
    )
    .await
    else {
        mismatched()
    };
    shard.stats.error(call.api as i16, deleted.error_code);
    let topics = if deleted.error_code == 0 {
        let entry = |(partition_index, error_code)| wire_delete::OffsetDeleteResponsePartition {
            partition_index,
            error_code,
            ..Default::default()
        };
        // One entry per topic, what was refused first, as in Kafka.
        let mut topics: Vec<wire_delete::OffsetDeleteResponseTopic<'_>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (name, partitions) in unknown.into_iter().chain(deleted.topics) {
            let at = *places.entry(name).or_insert_with_key(|name| {
                topics.push(wire_delete::OffsetDeleteResponseTopic {
                    name: name.clone().into(),
                    ..Default::default()
                });
                topics.len() - 1
            });
            topics[at].partitions.extend(partitions.into_iter().map(entry));
        }
        topics
    } else {
        Vec::new()
    };
    call.encode(&wire_delete::OffsetDeleteResponse {
        error_code: deleted.error_code,
        topics,
        ..Default::default()
    })
}

pub(super) async fn list<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        wire_list::ListGroupsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let list = ListRequest {
        states_filter: request.states_filter.into_iter().map(Cow::into_owned).collect(),
        types_filter: request.types_filter.into_iter().map(Cow::into_owned).collect(),
    };
    let (mut error_code, mut groups) = (0, Vec::new());
    for core in 0..shard.cores {
        let op = Op::Groups(caller(call, None), Request::List(list.clone()));
        let Some(Answer::Groups(responses)) = shard.call(core, op).await else {
            error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
            continue;
        };
        for response in responses {
            let Response::List(listed) = response else {
                mismatched()
            };
            if listed.error_code != 0 {
                error_code = listed.error_code;
            }
            groups.extend(listed.groups.into_iter().map(|group| wire_list::ListedGroup {
                group_id: group.group_id.into(),
                protocol_type: group.protocol_type.into(),
                group_state: group.group_state.into(),
                group_type: group.group_type.into(),
                ..Default::default()
            }));
        }
    }
    shard.stats.error(call.api as i16, error_code);
    call.encode(&wire_list::ListGroupsResponse {
        error_code,
        groups,
        ..Default::default()
    })
}

pub(super) async fn describe<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_describe::DescribeGroupsRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let mut groups = Vec::with_capacity(request.groups.len());
    for id in request.groups {
        let request_one = Request::Describe(vec![id.clone().into_owned()]);
        let Response::Describe(described) = ask(shard, &id, caller(call, None), request_one).await else {
            mismatched()
        };
        groups.extend(described.into_iter().map(|group| {
            wire_describe::DescribedGroup {
                error_code: group.error_code,
                error_message: group.error_message.map(Into::into),
                group_id: group.group_id.into(),
                group_state: group.group_state.into(),
                protocol_type: group.protocol_type.into(),
                protocol_data: group.protocol_data.into(),
                members: group
                    .members
                    .into_iter()
                    .map(|m| wire_describe::DescribedGroupMember {
                        member_id: m.member_id.into(),
                        group_instance_id: m.group_instance_id.map(Into::into),
                        client_id: m.client_id.into(),
                        client_host: m.client_host.into(),
                        member_metadata: m.member_metadata.to_vec().into(),
                        member_assignment: m.member_assignment.to_vec().into(),
                        ..Default::default()
                    })
                    .collect(),
                authorized_operations: if request.include_authorized_operations && group.error_code == 0 {
                    ALL_GROUP_OPERATIONS
                } else {
                    i32::MIN
                },
                ..Default::default()
            }
        }));
    }
    for group in &mut groups {
        shard.stats.error(call.api as i16, group.error_code);
        if call.version < 6 {
            group.error_message = None;
        }
    }
    call.encode(&wire_describe::DescribeGroupsResponse {
        groups,
        ..Default::default()
    })
}

pub(super) async fn delete<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DeleteGroupsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let mut results = Vec::with_capacity(request.groups_names.len());
    let mut seen = HashSet::new();
    for id in request.groups_names {
        // Once each, as in Kafka.
        if !seen.insert(id.clone()) {
            continue;
        }
        let request_one = Request::Delete(vec![id.clone().into_owned()]);
        let Response::Delete(deleted) = ask(shard, &id, caller(call, None), request_one).await else {
            mismatched()
        };
        results.extend(
            deleted
                .into_iter()
                .map(|(group_id, error_code)| DeletableGroupResult {
                    group_id: group_id.into(),
                    error_code,
                    ..Default::default()
                }),
        );
    }
    for result in &results {
        shard.stats.error(call.api as i16, result.error_code);
    }
    call.encode(&DeleteGroupsResponse {
        results,
        ..Default::default()
    })
}
