//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: between the wire and the coordinators (KIP-848).

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::Uuid;
use turgo_net::messages::consumer_group_describe as wire_describe;
use turgo_net::messages::consumer_group_heartbeat as wire_beat;
use turgo_storage::env::Env;

use super::groups::{ALL_GROUP_OPERATIONS, ask, caller, mismatched};
use super::{Call, Client, Close};
use crate::groups::messages::{
    ConsumerHeartbeatRequest, DescribedConsumerGroup, DescribedConsumerMember, DescribedPartitions, Request,
    Response,
};
use crate::shard::Shard;

/// Kinds of member in ConsumerGroupDescribe.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

pub(super) async fn heartbeat<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_beat::ConsumerGroupHeartbeatRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let group_id = request.group_id.into_owned();
    let owned = |topic: wire_beat::RequestTopicPartitions| (topic.topic_id.0, topic.partitions);
    let beat = ConsumerHeartbeatRequest {
        group_id: group_id.clone(),
        member_id: request.member_id.into_owned(),
        member_epoch: request.member_epoch,
        instance_id: request.instance_id.map(Cow::into_owned),
        rack_id: request.rack_id.map(Cow::into_owned),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        subscribed_topic_names: request
            .subscribed_topic_names
            .map(|names| names.into_iter().map(Cow::into_owned).collect()),
        subscribed_topic_regex: request.subscribed_topic_regex.map(Cow::into_owned),
        server_assignor: request.server_assignor.map(Cow::into_owned),
        topic_partitions: request
            .topic_partitions
            .map(|topics| topics.into_iter().map(owned).collect()),
        new_member_uuid: (shard.node.random)(),
    };
    let request = Request::ConsumerHeartbeat(beat);
    let Response::ConsumerHeartbeat(answer) =
        ask(shard, &group_id, caller(call, Some(client)), request).await
    else {
        mismatched()
    };
    shard.stats.error(call.api as i16, answer.error_code);
    let partitions = |(topic, partitions)| wire_beat::ResponseTopicPartitions {
        topic_id: Uuid(topic),
        partitions,
    };
    call.encode(&wire_beat::ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: answer.error_code,
        error_message: answer.error_message.map(Into::into),
        member_id: answer.member_id.map(Into::into),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        assignment: answer.assignment.map(|topics| wire_beat::Assignment {
            topic_partitions: topics.into_iter().map(partitions).collect(),
        }),
    })
}

pub(super) async fn describe<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_describe::ConsumerGroupDescribeRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for id in request.group_ids {
        let asked = Request::ConsumerDescribe(vec![id.clone().into_owned()]);
        let Response::ConsumerDescribe(described) = ask(shard, &id, caller(call, None), asked).await else {
            mismatched()
        };
        for group in described {
            shard.stats.error(call.api as i16, group.error_code);
            groups.push(to_wire(
                group,
                call.version,
                request.include_authorized_operations,
            ));
        }
    }
    call.encode(&wire_describe::ConsumerGroupDescribeResponse {
        throttle_time_ms: 0,
        groups,
    })
}

fn to_wire(
    group: DescribedConsumerGroup,
    version: i16,
    authorized_operations: bool,
) -> wire_describe::DescribedGroup<'static> {
    let partitions = |all: Vec<DescribedPartitions>| wire_describe::Assignment {
        topic_partitions: all
            .into_iter()
            .map(|topic| wire_describe::TopicPartitions {
                topic_id: Uuid(topic.topic_id),
                topic_name: topic.topic_name.into(),
                partitions: topic.partitions,
            })
            .collect(),
    };
    let member = |member: DescribedConsumerMember| wire_describe::Member {
        member_id: member.member_id.into(),
        instance_id: member.instance_id.map(Into::into),
        rack_id: member.rack_id.map(Into::into),
        member_epoch: member.member_epoch,
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        subscribed_topic_names: member
            .subscribed_topic_names
            .into_iter()
            .map(Into::into)
            .collect(),
        subscribed_topic_regex: Some(member.subscribed_topic_regex.into()),
        assignment: partitions(member.assignment),
        target_assignment: partitions(member.target_assignment),
        // Known from version 1 on.
        member_type: match member.is_classic {
            _ if version < 1 => -1,
            true => CLASSIC_MEMBER,
            false => CONSUMER_MEMBER,
        },
    };
    wire_describe::DescribedGroup {
        error_code: group.error_code,
        error_message: group.error_message.map(Into::into),
        group_id: group.group_id.into(),
        group_state: group.group_state.into(),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: group.assignor_name.into(),
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: if authorized_operations && group.error_code == 0 {
            ALL_GROUP_OPERATIONS
        } else {
            i32::MIN
        },
    }
}
