//! Consumer groups of KIP-848: each assertion states what Apache Kafka 4.3.1 answers to the same bytes.
//!
//! With `TURGO_TEST_ENDPOINT=HOST:PORT` an Apache Kafka is asked instead, which shows that the assertions are right.

mod support;

use support::wire::{Client, create};
use support::{Broker, unique};
use turgo_net::api::ApiKey;
use turgo_net::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};
use turgo_net::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use turgo_net::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use turgo_net::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use turgo_net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use turgo_net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use turgo_net::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use turgo_net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use turgo_net::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use turgo_net::{ErrorCode, Reader};

const GROUP: i8 = 32;

/// Answers that pass by themselves.
const PASSING: [ErrorCode; 3] = [
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
];

fn is_passing(code: i16) -> bool {
    PASSING.iter().any(|passing| passing.0 == code)
}

/// Makes the internal topic, as any client does by looking for its coordinator.
fn find(client: &mut Client, group: &str) {
    use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
    let request = FindCoordinatorRequest {
        key: group.to_owned().into(),
        ..Default::default()
    };
    loop {
        let answer = client.ask(ApiKey::FindCoordinator, 3, &request);
        let found = FindCoordinatorResponse::decode(&mut Reader::new(&answer), 3).expect("a body");
        if found.error_code == 0 {
            return;
        }
    }
}

fn set(client: &mut Client, group: &str, settings: &[(&str, &str)]) -> i16 {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: GROUP,
            resource_name: group.to_owned().into(),
            configs: settings
                .iter()
                .map(|(name, value)| AlterableConfig {
                    name: (*name).to_owned().into(),
                    config_operation: 0,
                    value: Some((*value).to_owned().into()),
                })
                .collect(),
        }],
        validate_only: false,
    };
    let answer = client.ask(ApiKey::IncrementalAlterConfigs, 1, &request);
    let altered = IncrementalAlterConfigsResponse::decode(&mut Reader::new(&answer), 1).expect("a body");
    altered.responses[0].error_code
}

type Partitions = Vec<i32>;

/// What an answer to a heartbeat says: code, words, epoch, partitions (of the one topic) if told.
#[derive(Debug, PartialEq)]
struct Told {
    code: ErrorCode,
    message: Option<String>,
    epoch: i32,
    partitions: Option<Partitions>,
}

fn told(epoch: i32, partitions: Option<&[i32]>) -> Told {
    Told {
        code: ErrorCode::NONE,
        message: None,
        epoch,
        partitions: partitions.map(<[i32]>::to_vec),
    }
}

fn refused(code: ErrorCode, message: &str) -> Told {
    Told {
        code,
        message: Some(message.to_owned()),
        epoch: 0,
        partitions: None,
    }
}

fn beat(client: &mut Client, version: i16, request: &ConsumerGroupHeartbeatRequest<'_>) -> Told {
    loop {
        let answer = client.ask(ApiKey::ConsumerGroupHeartbeat, version, request);
        let answer =
            ConsumerGroupHeartbeatResponse::decode(&mut Reader::new(&answer), version).expect("a body");
        if is_passing(answer.error_code) {
            continue;
        }
        return Told {
            code: ErrorCode(answer.error_code),
            message: answer.error_message.map(|m| m.into_owned()),
            epoch: answer.member_epoch,
            partitions: answer.assignment.map(|a| {
                let mut all: Partitions = a
                    .topic_partitions
                    .into_iter()
                    .flat_map(|t| t.partitions)
                    .collect();
                all.sort_unstable();
                all
            }),
        };
    }
}

fn joining<'a>(group: &'a str, member: &'a str, topic: &'a str) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![topic.into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn staying<'a>(group: &'a str, member: &'a str, epoch: i32) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        ..Default::default()
    }
}

fn described(client: &mut Client, group: &str) -> DescribedGroup<'static> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.to_owned().into()],
        include_authorized_operations: false,
    };
    let answer: &'static [u8] = Vec::leak(client.ask(ApiKey::ConsumerGroupDescribe, 1, &request));
    let mut answer = ConsumerGroupDescribeResponse::decode(&mut Reader::new(answer), 1).expect("a body");
    answer.groups.remove(0)
}

#[test]
fn heartbeats_are_refused_as_by_kafka() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let (group, topic) = (unique("refused"), create(&mut client, "refused", 2, None));
    find(&mut client, &group);
    let good = joining(&group, "m", &topic);
    let invalid = |message| refused(ErrorCode::INVALID_REQUEST, message);
    let with = |change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest<'_>)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let cases: Vec<(i16, ConsumerGroupHeartbeatRequest<'_>, Told)> = vec![
        (
            1,
            with(&|r| r.member_id = "".into()),
            invalid("MemberId can't be empty."),
        ),
        (
            1,
            with(&|r| r.member_id = "  ".into()),
            invalid("MemberId can't be empty."),
        ),
        (
            0,
            with(&|r| (r.member_id, r.member_epoch) = ("".into(), 3)),
            invalid("MemberId can't be empty."),
        ),
        (
            0,
            with(&|r| (r.member_id, r.member_epoch) = ("".into(), -1)),
            invalid("MemberId can't be empty."),
        ),
        (
            1,
            with(&|r| r.group_id = "".into()),
            invalid("GroupId can't be empty."),
        ),
        (
            1,
            with(&|r| r.group_id = " ".into()),
            invalid("GroupId can't be empty."),
        ),
        (
            1,
            with(&|r| r.instance_id = Some("".into())),
            invalid("InstanceId can't be empty."),
        ),
        (
            1,
            with(&|r| r.rack_id = Some("".into())),
            invalid("RackId can't be empty."),
        ),
        (
            1,
            with(&|r| r.rebalance_timeout_ms = -1),
            invalid("RebalanceTimeoutMs must be provided in first request."),
        ),
        (
            1,
            with(&|r| r.topic_partitions = None),
            invalid("TopicPartitions must be empty when (re-)joining."),
        ),
        (
            1,
            with(&|r| r.topic_partitions = Some(vec![RequestTopicPartitions::default()])),
            invalid("TopicPartitions must be empty when (re-)joining."),
        ),
        (
            1,
            with(&|r| r.subscribed_topic_names = None),
            invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            ),
        ),
        (
            1,
            with(&|r| r.member_epoch = -2),
            invalid("InstanceId can't be null."),
        ),
        (
            1,
            with(&|r| r.member_epoch = -3),
            invalid("MemberEpoch is invalid."),
        ),
        (
            1,
            with(&|r| r.server_assignor = Some("sticky".into())),
            refused(
                ErrorCode::UNSUPPORTED_ASSIGNOR,
                "ServerAssignor sticky is not supported. Supported assignors: uniform, range.",
            ),
        ),
        (
            1,
            staying(&group, "m", 5),
            refused(
                ErrorCode::GROUP_ID_NOT_FOUND,
                &format!("Consumer group {group} not found."),
            ),
        ),
        (
            1,
            staying(&group, "m", -1),
            refused(
                ErrorCode::GROUP_ID_NOT_FOUND,
                &format!("Group {group} not found."),
            ),
        ),
    ];
    for (version, request, expected) in cases {
        assert_eq!(beat(&mut client, version, &request), expected, "{request:?}");
    }
    let bad = with(&|r| r.subscribed_topic_regex = Some("a[".into()));
    let answer = beat(&mut client, 1, &bad);
    assert_eq!(answer.code, ErrorCode::INVALID_REGULAR_EXPRESSION);
    let message = answer.message.expect("words");
    assert!(
        message.starts_with("SubscribedTopicRegex `a[` is not a valid regular expression: "),
        "{message}"
    );
    let gone = described(&mut client, &group);
    assert_eq!(
        (gone.error_code, gone.error_message.as_deref(), &*gone.group_state),
        (
            ErrorCode::GROUP_ID_NOT_FOUND.0,
            Some(format!("Group {group} not found.").as_str()),
            ""
        ),
        "no refused member leaves a group behind"
    );
    assert_eq!(
        described(&mut client, "").error_code,
        ErrorCode::INVALID_GROUP_ID.0
    );
}

#[test]
fn members_move_through_epochs_as_in_kafka() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let (group, topic) = (unique("epochs"), create(&mut client, "epochs", 4, None));
    find(&mut client, &group);
    let at_once = [
        ("consumer.assignment.interval.ms", "0"),
        ("consumer.heartbeat.interval.ms", "6000"),
    ];
    assert_eq!(set(&mut client, &group, &at_once), 0);

    // The first member gets everything at once.
    let joined = beat(&mut client, 1, &joining(&group, "a", &topic));
    assert_eq!(joined, told(2, Some(&[0, 1, 2, 3])));
    assert_eq!(beat(&mut client, 1, &staying(&group, "a", 2)), told(2, None));
    let answer = client.ask(ApiKey::ConsumerGroupHeartbeat, 1, &staying(&group, "a", 2));
    let answer = ConsumerGroupHeartbeatResponse::decode(&mut Reader::new(&answer), 1).expect("a body");
    assert_eq!(answer.heartbeat_interval_ms, 6_000, "the group's own setting");

    // A second member waits until the first has given up.
    assert_eq!(
        beat(&mut client, 1, &joining(&group, "b", &topic)),
        told(3, Some(&[]))
    );
    let kept = beat(&mut client, 1, &staying(&group, "a", 2));
    assert_eq!((kept.code, kept.epoch), (ErrorCode::NONE, 2));
    let kept = kept.partitions.expect("what to keep");
    assert_eq!(kept.len(), 2);
    let group_state = described(&mut client, &group);
    assert_eq!(
        (
            &*group_state.group_state,
            group_state.group_epoch,
            group_state.assignment_epoch
        ),
        ("Reconciling", 3, 3)
    );
    assert_eq!(beat(&mut client, 1, &staying(&group, "b", 3)), told(3, None));

    // Epochs that are not the member's.
    let than = |than: &str, given: i32, known: i32| {
        refused(
            ErrorCode::FENCED_MEMBER_EPOCH,
            &format!(
                "The consumer group member has a {than} member epoch ({given}) than the one known by the group \
                 coordinator ({known}). The member must abandon all its partitions and rejoin."
            ),
        )
    };
    assert_eq!(
        beat(&mut client, 1, &staying(&group, "b", 9)),
        than("greater", 9, 3)
    );
    assert_eq!(
        beat(&mut client, 1, &staying(&group, "b", 1)),
        than("smaller", 1, 3)
    );
    let nobody = format!("Member x is not a member of group {group}.");
    let unknown = refused(ErrorCode::UNKNOWN_MEMBER_ID, &nobody);
    assert_eq!(beat(&mut client, 1, &staying(&group, "x", 3)), unknown);
    assert_eq!(beat(&mut client, 1, &staying(&group, "x", -1)), unknown);

    // The first member has given up; now both get on.
    let topic_id = {
        let members = described(&mut client, &group).members;
        let all = members.iter().flat_map(|m| &m.assignment.topic_partitions);
        all.map(|t| t.topic_id).next().expect("a topic")
    };
    let mut gave_up = staying(&group, "a", 2);
    gave_up.topic_partitions = Some(vec![RequestTopicPartitions {
        topic_id,
        partitions: kept.clone(),
    }]);
    assert_eq!(beat(&mut client, 1, &gave_up), told(3, None));
    let gained = beat(&mut client, 1, &staying(&group, "b", 3));
    assert_eq!(gained.epoch, 3);
    let gained = gained.partitions.expect("what the other gave up");
    let mut all = [kept.clone(), gained.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    // The answer may have been lost: the epoch before is good for who holds no more than it should.
    assert_eq!(beat(&mut client, 1, &gave_up), told(3, None));

    let stable = described(&mut client, &group);
    assert_eq!(
        (&*stable.group_state, &*stable.assignor_name),
        ("Stable", "uniform")
    );
    let mut members: Vec<_> = stable
        .members
        .iter()
        .map(|m| (&*m.member_id, m.member_epoch, m.member_type))
        .collect();
    members.sort_unstable();
    assert_eq!(members, [("a", 3, 1), ("b", 3, 1)]);
    let a = stable
        .members
        .iter()
        .find(|m| m.member_id == "a")
        .expect("a member");
    assert_eq!(a.assignment, a.target_assignment);
    assert_eq!(a.assignment.topic_partitions[0].topic_name, topic.as_str());

    offsets(&mut client, &group, &topic, &kept, &gained);
    classic_requests(&mut client, &group);

    // Leaving raises the group's epoch; its partitions are free at once.
    let left = beat(&mut client, 1, &staying(&group, "b", -1));
    assert_eq!(left, told(-1, None));
    assert_eq!(described(&mut client, &group).group_epoch, 4);
    let more = beat(&mut client, 1, &staying(&group, "a", 3));
    assert_eq!(more, told(4, Some(&[0, 1, 2, 3])));
    let delete = DeleteGroupsRequest {
        groups_names: vec![group.as_str().into()],
    };
    let mut deleted = || {
        let answer = client.ask(ApiKey::DeleteGroups, 2, &delete);
        DeleteGroupsResponse::decode(&mut Reader::new(&answer), 2)
            .expect("a body")
            .results[0]
            .error_code
    };
    assert_eq!(deleted(), ErrorCode::NON_EMPTY_GROUP.0);
    assert_eq!(beat(&mut client, 1, &staying(&group, "a", -1)), told(-1, None));
    assert_eq!(&*described(&mut client, &group).group_state, "Empty");
    let mut deleted = || {
        let answer = client.ask(ApiKey::DeleteGroups, 2, &delete);
        DeleteGroupsResponse::decode(&mut Reader::new(&answer), 2)
            .expect("a body")
            .results[0]
            .error_code
    };
    assert_eq!(deleted(), 0);
    assert_eq!(
        described(&mut client, &group).error_code,
        ErrorCode::GROUP_ID_NOT_FOUND.0
    );
}

/// Who may commit and fetch in epoch 3, of which `a` holds some partitions since epoch 2 and `b` others since 3.
fn offsets(client: &mut Client, group: &str, topic: &str, of_a: &[i32], of_b: &[i32]) {
    let mut commit = |version: i16, member: &str, epoch: i32, partition: i32| {
        let request = OffsetCommitRequest {
            group_id: group.into(),
            member_id: member.into(),
            generation_id_or_member_epoch: epoch,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.into(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: 7,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(ApiKey::OffsetCommit, version, &request);
        let answer = OffsetCommitResponse::decode(&mut Reader::new(&answer), version).expect("a body");
        ErrorCode(answer.topics[0].partitions[0].error_code)
    };
    assert_eq!(commit(9, "a", 3, of_a[0]), ErrorCode::NONE);
    assert_eq!(
        commit(9, "a", 2, of_a[0]),
        ErrorCode::NONE,
        "held since then (KIP-1251)"
    );
    assert_eq!(commit(9, "a", 1, of_a[0]), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(commit(9, "a", 4, of_a[0]), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(commit(9, "a", 2, of_b[0]), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(
        commit(9, "b", 2, of_b[0]),
        ErrorCode::STALE_MEMBER_EPOCH,
        "not held before"
    );
    assert_eq!(commit(8, "a", 3, of_a[0]), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(commit(9, "x", 3, of_a[0]), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(9, "", -1, of_a[0]), ErrorCode::UNKNOWN_MEMBER_ID);

    let mut fetch = |member: Option<&str>, epoch: i32| {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                member_id: member.map(Into::into),
                member_epoch: epoch,
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: topic.into(),
                    partition_indexes: vec![of_a[0]],
                    ..Default::default()
                }]),
            }],
            ..Default::default()
        };
        let answer = client.ask(ApiKey::OffsetFetch, 9, &request);
        let answer = OffsetFetchResponse::decode(&mut Reader::new(&answer), 9).expect("a body");
        let group = &answer.groups[0];
        let offset = group.topics.first().map(|t| t.partitions[0].committed_offset);
        (ErrorCode(group.error_code), offset)
    };
    assert_eq!(fetch(Some("a"), 3), (ErrorCode::NONE, Some(7)));
    assert_eq!(fetch(None, -1), (ErrorCode::NONE, Some(7)));
    assert_eq!(fetch(Some("a"), 2), (ErrorCode::STALE_MEMBER_EPOCH, None));
    assert_eq!(fetch(Some("x"), 3), (ErrorCode::UNKNOWN_MEMBER_ID, None));
    assert_eq!(fetch(Some(""), 3), (ErrorCode::UNKNOWN_MEMBER_ID, None));
}

/// Requests of the classic protocol by members of the other.
fn classic_requests(client: &mut Client, group: &str) {
    let heartbeat = HeartbeatRequest {
        group_id: group.into(),
        generation_id: 3,
        member_id: "a".into(),
        ..Default::default()
    };
    let answer = client.ask(ApiKey::Heartbeat, 4, &heartbeat);
    let answer = HeartbeatResponse::decode(&mut Reader::new(&answer), 4).expect("a body");
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    let sync = SyncGroupRequest {
        group_id: group.into(),
        generation_id: 3,
        member_id: "a".into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    let answer = client.ask(ApiKey::SyncGroup, 5, &sync);
    let answer = SyncGroupResponse::decode(&mut Reader::new(&answer), 5).expect("a body");
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    let leave = LeaveGroupRequest {
        group_id: group.into(),
        members: vec![MemberIdentity {
            member_id: "x".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.ask(ApiKey::LeaveGroup, 5, &leave);
    let answer = LeaveGroupResponse::decode(&mut Reader::new(&answer), 5).expect("a body");
    assert_eq!(
        (answer.error_code, answer.members[0].error_code),
        (0, ErrorCode::UNKNOWN_MEMBER_ID.0)
    );
    let describe = DescribeGroupsRequest {
        groups: vec![group.into()],
        ..Default::default()
    };
    for (version, code, message) in [
        (
            6,
            ErrorCode::GROUP_ID_NOT_FOUND,
            Some(format!("Group {group} is not a classic group.")),
        ),
        (5, ErrorCode::NONE, None),
    ] {
        let answer = client.ask(ApiKey::DescribeGroups, version, &describe);
        let answer = DescribeGroupsResponse::decode(&mut Reader::new(&answer), version).expect("a body");
        let shown = &answer.groups[0];
        assert_eq!(
            (
                ErrorCode(shown.error_code),
                shown.error_message.as_deref(),
                &*shown.group_state
            ),
            (code, message.as_deref(), "Dead")
        );
    }
}

#[test]
fn static_members_return_as_in_kafka() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let (group, topic) = (unique("static"), create(&mut client, "static", 2, None));
    find(&mut client, &group);
    assert_eq!(
        set(&mut client, &group, &[("consumer.assignment.interval.ms", "0")]),
        0
    );
    let named = |mut request: ConsumerGroupHeartbeatRequest<'static>| {
        request.instance_id = Some("one".into());
        request
    };
    let (group, topic): (&'static str, &'static str) = (group.leak(), topic.leak());
    let first = named(joining(group, "a", topic));
    assert_eq!(beat(&mut client, 1, &first), told(2, Some(&[0, 1])));
    let taken = refused(
        ErrorCode::UNRELEASED_INSTANCE_ID,
        "Static member b with instance id one cannot join the group because the instance id is owned by a member.",
    );
    assert_eq!(beat(&mut client, 1, &named(joining(group, "b", topic))), taken);
    let fenced = refused(
        ErrorCode::FENCED_INSTANCE_ID,
        "Static member b with instance id one was fenced by member a.",
    );
    assert_eq!(beat(&mut client, 1, &named(staying(group, "b", 2))), fenced);
    assert_eq!(beat(&mut client, 1, &named(staying(group, "b", -2))), fenced);
    let mut other = staying(group, "a", 2);
    other.instance_id = Some("two".into());
    assert_eq!(
        beat(&mut client, 1, &other),
        refused(ErrorCode::UNKNOWN_MEMBER_ID, "Instance id two is unknown.")
    );
    // It leaves for a while and comes back under a new member id, with its partitions.
    assert_eq!(
        beat(&mut client, 1, &named(staying(group, "a", -2))),
        told(-2, None)
    );
    assert_eq!(described(&mut client, group).members[0].member_epoch, -2);
    assert_eq!(
        beat(&mut client, 1, &named(joining(group, "b", topic))),
        told(2, Some(&[0, 1]))
    );
    assert_eq!(
        described(&mut client, group).group_epoch,
        2,
        "nothing changes for others"
    );
    let (members, epoch) = (
        described(&mut client, group).members,
        described(&mut client, group).assignment_epoch,
    );
    assert_eq!((members.len(), &*members[0].member_id, epoch), (1, "b", 2));
    assert_eq!(
        beat(&mut client, 1, &named(staying(group, "a", 2))).code,
        ErrorCode::FENCED_INSTANCE_ID
    );
    assert_eq!(
        beat(&mut client, 1, &named(staying(group, "b", -1))),
        told(-1, None)
    );
}

#[test]
fn settings_of_a_group_are_bounded_as_in_kafka() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let group = unique("settings");
    for (name, value, code) in [
        ("consumer.session.timeout.ms", "50000", ErrorCode::NONE),
        ("consumer.session.timeout.ms", "1000", ErrorCode::INVALID_CONFIG),
        ("consumer.session.timeout.ms", "99999", ErrorCode::INVALID_CONFIG),
        ("consumer.heartbeat.interval.ms", "100", ErrorCode::INVALID_CONFIG),
        ("consumer.heartbeat.interval.ms", "15000", ErrorCode::NONE),
        (
            "consumer.assignment.interval.ms",
            "15001",
            ErrorCode::INVALID_CONFIG,
        ),
        ("no.such.setting", "1", ErrorCode::INVALID_CONFIG),
    ] {
        assert_eq!(
            ErrorCode(set(&mut client, &group, &[(name, value)])),
            code,
            "{name}={value}"
        );
    }
}
