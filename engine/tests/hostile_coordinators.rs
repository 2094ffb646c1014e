//! Clients that invent groups, members, transactional ids, producers, sessions and topics by the thousand, and requests
//! of coordinators and administrators that make no sense: each is answered as Apache Kafka answers it, the broker's memory
//! stays below a bound that is stated, and an honest client is served as before.
//!
//! With `TURGO_TEST_ENDPOINT=HOST:PORT` an Apache Kafka is asked instead, which shows that the codes are right; its memory
//! is not looked at.

mod support;

use std::time::{Duration, Instant};

use support::wire::{Client, create};
use support::{Broker, unique, wait_for};
use turgo_net::api::ApiKey;
use turgo_net::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
};
use turgo_net::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use turgo_net::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use turgo_net::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use turgo_net::messages::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use turgo_net::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use turgo_net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use turgo_net::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use turgo_net::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use turgo_net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use turgo_net::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use turgo_net::records::BatchBuilder;
use turgo_net::{ErrorCode, Reader, Records};

/// What all inventions of one test may cost together, whatever they are: 4,000 groups with a member, 4,000
/// transactional ids, 3,000 sessions. Most of it is the memory of the logs that tell of them, which has a bound of its
/// own.
const ROOM: u64 = 96 << 20;

const PASSING: [ErrorCode; 3] = [
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
];

fn is_passing(code: i16) -> bool {
    PASSING.iter().any(|passing| passing.0 == code)
}

/// Asks and reads the answer.
macro_rules! ask {
    ($client:expr, $api:ident, $version:expr, $request:expr, $response:ident) => {{
        let answer = $client.ask(ApiKey::$api, $version, &$request);
        // The answer lives as long as the test.
        let answer: &'static [u8] = Box::leak(answer.into_boxed_slice());
        $response::decode(&mut Reader::new(answer), $version).expect("a body")
    }};
}

/// As `ask!`, until the coordinator that is asked is there.
macro_rules! insist {
    ($client:expr, $api:ident, $version:expr, $request:expr, $response:ident, $code:expr) => {{
        let code: fn(&$response) -> i16 = $code;
        wait_for(
            Duration::from_secs(60),
            || format!("a coordinator for {}", stringify!($api)),
            || {
                let answer = ask!($client, $api, $version, $request, $response);
                (!is_passing(code(&answer))).then_some(answer)
            },
        )
    }};
}

/// Has the internal topics created, as any client does by looking for its coordinators.
fn find(client: &mut Client) {
    for key_type in [0, 1] {
        let request = FindCoordinatorRequest {
            key: "any".into(),
            key_type,
            ..Default::default()
        };
        wait_for(
            Duration::from_secs(60),
            || "a coordinator".to_owned(),
            || {
                let found = ask!(client, FindCoordinator, 2, request, FindCoordinatorResponse);
                (found.error_code == 0).then_some(())
            },
        );
    }
}

/// Runs `work` for each of `count` numbers, on connections side by side.
fn by_many(broker: &Broker, count: usize, work: impl Fn(&mut Client, usize) + Sync) {
    const CONNECTIONS: usize = 16;
    std::thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let work = &work;
            scope.spawn(move || {
                let mut client = Client::connect(broker);
                (first..count)
                    .step_by(CONNECTIONS)
                    .for_each(|number| work(&mut client, number));
            });
        }
    });
}

/// The broker's memory has not grown by more than [`ROOM`], and it answers an honest client.
fn is_unharmed(broker: &Broker, before: Option<u64>, what: &str) {
    if let (Some(before), Some(after)) = (before, broker.resident_bytes()) {
        assert!(
            after < before + ROOM,
            "{what} took memory from {} to {} MiB",
            before >> 20,
            after >> 20
        );
        println!("{what}: from {} to {} MiB", before >> 20, after >> 20);
    }
    let began = Instant::now();
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    let metadata = ask!(Client::connect(broker), Metadata, 9, request, MetadataResponse);
    assert_eq!(metadata.brokers.len(), 1);
    assert!(began.elapsed() < Duration::from_secs(5), "{what} keeps it busy");
}

/// Waits for a line of the metrics page and gives the sum of its values over the cores.
fn metric(broker: &Broker, series: &str, is: impl Fn(f64) -> bool) {
    if broker.admin_get("/metrics").is_none() {
        return;
    }
    let sum = || -> f64 {
        let page = broker.admin_get("/metrics").expect("the page");
        page.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(name, _)| {
                let (name, labels) = name.split_once('{').unwrap_or((name, ""));
                let (wanted, state) = series.split_once('{').unwrap_or((series, ""));
                name == wanted && labels.contains(state.trim_end_matches('}'))
            })
            .map(|(_, value)| value.parse::<f64>().expect("a number"))
            .sum()
    };
    wait_for(
        Duration::from_secs(20),
        || format!("{series} is {}", sum()),
        || is(sum()).then_some(()),
    );
}

fn init(client: &mut Client, id: &str) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.to_owned().into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    insist!(client, InitProducerId, 4, request, InitProducerIdResponse, |a| a
        .error_code)
}

#[test]
fn transactional_ids_by_the_thousand() {
    const IDS: usize = 4_000;
    const OPEN: usize = 1_000;
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "invented-ids", 2, None);
    let name = unique("id");
    find(&mut client);
    let id = |number: usize| format!("{name}-{number}-{}", "x".repeat(100));
    init(&mut client, &id(IDS));
    let before = broker.resident_bytes();
    by_many(&broker, IDS, |client, number| {
        let producer = init(client, &id(number));
        assert_eq!(producer.error_code, 0);
        if number >= OPEN {
            return;
        }
        let add = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id(number).into(),
            v3_and_below_producer_id: producer.producer_id,
            v3_and_below_producer_epoch: producer.producer_epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.as_str().into(),
                partitions: vec![0, 1],
            }],
            ..Default::default()
        };
        let added = ask!(client, AddPartitionsToTxn, 3, add, AddPartitionsToTxnResponse);
        assert_eq!(
            added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code,
            0
        );
    });
    is_unharmed(&broker, before, "transactional ids");
    metric(&broker, "turgo_transactions{state=\"Ongoing\"}", |n| {
        n == OPEN as f64
    });
    metric(&broker, "turgo_transactions{state=\"Empty\"}", |n| {
        n == (IDS + 1 - OPEN) as f64
    });

    // An instance of each that takes over ends its transaction, and its markers are written.
    by_many(&broker, OPEN, |client, number| {
        let request = InitProducerIdRequest {
            transactional_id: Some(id(number).into()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let told = wait_for(
            Duration::from_secs(60),
            || "the transaction before is still being ended".to_owned(),
            || {
                let told = ask!(client, InitProducerId, 4, request, InitProducerIdResponse);
                (told.error_code != ErrorCode::CONCURRENT_TRANSACTIONS.0).then_some(told)
            },
        );
        assert_eq!((told.error_code, told.producer_epoch), (0, 2));
    });
    metric(&broker, "turgo_transactions{state=\"Ongoing\"}", |n| n == 0.0);
    metric(&broker, "turgo_transactions_fenced_total", |n| n == OPEN as f64);
    metric(&broker, "turgo_transactions_aborted_total", |n| n == OPEN as f64);
    metric(&broker, "turgo_transaction_markers_pending", |n| n == 0.0);

    // Ends and offsets of producers that nobody knows.
    by_many(&broker, 1_000, |client, number| {
        let end = EndTxnRequest {
            transactional_id: format!("nobody-{number}").into(),
            producer_id: number as i64,
            producer_epoch: 0,
            committed: true,
        };
        let ended = ask!(client, EndTxn, 3, end, EndTxnResponse);
        assert_eq!(ended.error_code, ErrorCode::INVALID_PRODUCER_ID_MAPPING.0);
    });
    is_unharmed(&broker, before, "transactional ids and what they did");
}

#[test]
fn producers_by_the_thousand_in_one_partition() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "invented-producers", 1, None);
    let before = broker.resident_bytes();
    by_many(&broker, 8_000, |client, number| {
        let mut batch = BatchBuilder::new().producer(1_000_000 + number as i64, 7, 0);
        batch.push(0, None, Some(b"v"), &[]).expect("a record");
        let batch = batch.build_uncompressed();
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 20_000,
            topic_data: vec![TopicProduceData {
                name: topic.as_str().into(),
                partition_data: vec![PartitionProduceData {
                    records: Records::Slice(&batch),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let produced = ask!(client, Produce, 9, request, ProduceResponse);
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
    });
    is_unharmed(&broker, before, "producers");
}

fn joining<'a>(group: &str, member: &str, topic: &'a str) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned().into(),
        member_id: member.to_owned().into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![topic.into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn join(group: &str, member: &str, metadata: &'static [u8]) -> JoinGroupRequest<'static> {
    JoinGroupRequest {
        group_id: group.to_owned().into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned().into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: metadata.into(),
        }],
        ..Default::default()
    }
}

fn commit<'a>(group: &str, topic: &'a str, partition: i32, metadata: &str) -> OffsetCommitRequest<'a> {
    OffsetCommitRequest {
        group_id: group.to_owned().into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: 17,
                committed_metadata: Some(metadata.to_owned().into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn groups_and_members_by_the_thousand() {
    let broker = Broker::start_eager();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "invented-groups", 2, None);
    let name = unique("group");
    find(&mut client);
    let before = broker.resident_bytes();
    by_many(&broker, 4_000, |client, number| {
        // A member of its own in a group of KIP-848.
        let request = joining(&format!("{name}-c-{number}"), "invented", &topic);
        let joined = insist!(
            client,
            ConsumerGroupHeartbeat,
            1,
            request,
            ConsumerGroupHeartbeatResponse,
            |a| a.error_code
        );
        assert_eq!(joined.error_code, 0);
        assert!(joined.member_epoch > 0);
        // Who asks to be given a member id and does not come back.
        let group = format!("{name}-j-{number}");
        let request = join(&group, "", b"\xff\xff");
        let joined = insist!(client, JoinGroup, 5, request, JoinGroupResponse, |a| a.error_code);
        assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
        // Members that do not exist, in groups that do not.
        let request = join(&format!("{name}-n-{number}"), "no-such-member", b"");
        let joined = ask!(client, JoinGroup, 5, request, JoinGroupResponse);
        assert_eq!(joined.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation_id: 3,
            member_id: "no-such-member".into(),
            ..Default::default()
        };
        let beat = ask!(client, Heartbeat, 3, request, HeartbeatResponse);
        assert_eq!(beat.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
        // Offsets of a group without members.
        let request = commit(&format!("{name}-o-{number}"), &topic, 0, "m");
        let committed = insist!(client, OffsetCommit, 7, request, OffsetCommitResponse, |a| a
            .topics[0]
            .partitions[0]
            .error_code);
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    });
    is_unharmed(&broker, before, "groups");
    metric(&broker, "turgo_groups{state=\"Consumer\"}", |n| n == 4_000.0);
    metric(&broker, "turgo_group_offsets", |n| n == 4_000.0);

    // 4,000 in one group, and a list of the partitions of each that no one owns.
    let one = format!("{name}-one");
    by_many(&broker, 2_000, |client, number| {
        let request = joining(&one, &format!("member-{number}"), &topic);
        let joined = ask!(
            client,
            ConsumerGroupHeartbeat,
            1,
            request,
            ConsumerGroupHeartbeatResponse
        );
        assert_eq!(joined.error_code, 0, "{:?}", joined.error_message);
    });
    is_unharmed(&broker, before, "a group of 2,000");
}

#[test]
fn requests_of_group_members_that_make_no_sense() {
    let broker = Broker::start_eager();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "senseless", 2, None);
    let name = unique("senseless");
    find(&mut client);
    let before = broker.resident_bytes();

    // Patterns that are none, patterns that other engines take an age for.
    let hostile = "(a+)+(a|a)*(a|aa)+$".repeat(20);
    let patterns: [(&str, ErrorCode); 9] = [
        ("[", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("a)(b", ErrorCode::INVALID_REGULAR_EXPRESSION),
        (r"(a)\1", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("(?=a)", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("a{1000}{1000}", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("a{1001}", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("(a+)+$", ErrorCode::NONE),
        (&hostile, ErrorCode::NONE),
        (r"\pL{10}.*\pN+", ErrorCode::NONE),
    ];
    for (number, (pattern, code)) in patterns.iter().enumerate() {
        let group = format!("{name}-p-{number}");
        let mut request = joining(&group, "m", &topic);
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some((*pattern).into());
        let told = insist!(
            client,
            ConsumerGroupHeartbeat,
            1,
            request,
            ConsumerGroupHeartbeatResponse,
            |a| a.error_code
        );
        assert_eq!(
            ErrorCode(told.error_code),
            *code,
            "{pattern}: {:?}",
            told.error_message
        );
    }

    // Assignments of classic members are bytes to the broker, whatever they are. So is their metadata here; Apache Kafka
    // 4.3.1 never answers the JoinGroup of a member whose topics it cannot read, so these can be read.
    let group = format!("{name}-classic");
    let request = join(&group, "", b"\0\x01\0\0\0\0\xff\xff\xff\xff");
    let joined = insist!(client, JoinGroup, 3, request, JoinGroupResponse, |a| a.error_code);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let member = joined.member_id.into_owned();
    let sync = |generation: i32, member: &str, to: &str| SyncGroupRequest {
        group_id: group.as_str().to_owned().into(),
        generation_id: generation,
        member_id: member.to_owned().into(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: to.to_owned().into(),
            assignment: (&b"\x00\x03noise\xff\xff\xff\x7f"[..]).into(),
        }],
        ..Default::default()
    };
    let code = |client: &mut Client, request: SyncGroupRequest<'_>| {
        ErrorCode(ask!(client, SyncGroup, 2, request, SyncGroupResponse).error_code)
    };
    assert_eq!(
        code(&mut client, sync(9, &member, &member)),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        code(&mut client, sync(-7, "who", &member)),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    // An assignment for someone who is not there, too.
    assert_eq!(code(&mut client, sync(1, &member, "who")), ErrorCode::NONE);
    // Its group's members cannot be read by those who would join by the new protocol.
    let request = joining(&group, "m", &topic);
    let told = ask!(
        client,
        ConsumerGroupHeartbeat,
        1,
        request,
        ConsumerGroupHeartbeatResponse
    );
    assert_eq!(
        ErrorCode(told.error_code),
        ErrorCode::GROUP_ID_NOT_FOUND,
        "{:?}",
        told.error_message
    );

    // Offsets.
    let cases = [
        // The one group that may have no name, since the first consumers.
        (commit("", &topic, 0, ""), ErrorCode::NONE),
        (
            commit(&name, &topic, 0, &"x".repeat(4_097)),
            ErrorCode::OFFSET_METADATA_TOO_LARGE,
        ),
        (commit(&name, &topic, 0, &"x".repeat(4_096)), ErrorCode::NONE),
        (
            commit(&name, &topic, -1, ""),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
        (
            commit(&name, &topic, i32::MAX, ""),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
        (
            commit(&name, "no-such-topic", 0, ""),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
        (
            OffsetCommitRequest {
                generation_id_or_member_epoch: 5,
                member_id: "who".into(),
                ..commit(&name, &topic, 0, "")
            },
            ErrorCode::UNKNOWN_MEMBER_ID,
        ),
    ];
    for (request, code) in cases {
        let told = ask!(client, OffsetCommit, 7, request, OffsetCommitResponse);
        assert_eq!(
            ErrorCode(told.topics[0].partitions[0].error_code),
            code,
            "{request:?}"
        );
    }

    // Lists of thousands that do not exist.
    let many: Vec<String> = (0..5_000).map(|n| format!("{name}-none-{n}")).collect();
    let request = ConsumerGroupDescribeRequest {
        group_ids: many.iter().map(|id| id.as_str().into()).collect(),
        include_authorized_operations: false,
    };
    let told = ask!(
        client,
        ConsumerGroupDescribe,
        1,
        request,
        ConsumerGroupDescribeResponse
    );
    assert_eq!(told.groups.len(), many.len());
    assert!(
        told.groups
            .iter()
            .all(|g| g.error_code == ErrorCode::GROUP_ID_NOT_FOUND.0)
    );
    let request = DeleteGroupsRequest {
        groups_names: many.iter().map(|id| id.as_str().into()).collect(),
    };
    let told = ask!(client, DeleteGroups, 2, request, DeleteGroupsResponse);
    assert_eq!(told.results.len(), many.len());
    assert!(
        told.results
            .iter()
            .all(|g| g.error_code == ErrorCode::GROUP_ID_NOT_FOUND.0)
    );
    is_unharmed(&broker, before, "senseless requests of groups");
}

#[test]
fn members_that_say_megabytes_of_themselves() {
    // Members may hold as much as requests may: a quarter of this on each of two cores.
    let broker = Broker::start_with(&[
        "--set",
        "kafka.group.initial.rebalance.delay.ms=0",
        "--set",
        "memory.network=64MiB",
    ]);
    if broker.resident_bytes().is_none() {
        return;
    }
    let mut client = Client::connect(&broker);
    find(&mut client);
    let before = broker.resident_bytes();
    let name = unique("heavy");
    let metadata: &'static [u8] = vec![b'x'; 1 << 20].leak();
    let mut codes = std::collections::BTreeMap::<i16, usize>::new();
    for number in 0..200 {
        // A coordinator that has no room says that it is not there.
        let request = join(&format!("{name}-{number}"), "", metadata);
        let joined = ask!(client, JoinGroup, 3, request, JoinGroupResponse);
        *codes.entry(joined.error_code).or_default() += 1;
    }
    let room = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
    assert!(codes[&0] >= 8 && codes[&room] >= 100, "{codes:?}");
    assert_eq!(codes[&0] + codes[&room], 200, "{codes:?}");
    is_unharmed(&broker, before, "members of a MiB each");
}

/// What only we bound: Kafka takes it.
#[test]
fn requests_beyond_our_bounds_are_refused() {
    let broker = Broker::start_eager();
    if broker.resident_bytes().is_none() {
        return;
    }
    let mut client = Client::connect(&broker);
    find(&mut client);
    let before = broker.resident_bytes();
    let name = unique("beyond");
    let code = |client: &mut Client, request: &ConsumerGroupHeartbeatRequest<'_>| {
        let told = insist!(
            client,
            ConsumerGroupHeartbeat,
            1,
            request.clone(),
            ConsumerGroupHeartbeatResponse,
            |a| a.error_code
        );
        ErrorCode(told.error_code)
    };
    // Patterns that would compile to more than a MiB. A string has 32,767 bytes at most.
    for pattern in [
        r"(\pL{500}){8}".to_owned(),
        "((((a{30}){30}){30}){30})".to_owned(),
        "a".repeat(32_000),
        "[^x]".repeat(8_000),
        "(".repeat(32_000),
        format!("{}a{}", "(".repeat(16_000), ")".repeat(16_000)),
        "(a|".repeat(10_000),
        r"\pL".repeat(10_000),
    ] {
        let mut request = joining(&name, "m", "t");
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some(pattern.as_str().into());
        let began = Instant::now();
        let told = code(&mut client, &request);
        let refusals = [ErrorCode::INVALID_REGULAR_EXPRESSION, ErrorCode::INVALID_REQUEST];
        let what = &pattern[..pattern.len().min(30)];
        assert!(
            refusals.contains(&told),
            "{what}, {} bytes: {told}",
            pattern.len()
        );
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{what} took {:?}",
            began.elapsed()
        );
    }
    is_unharmed(&broker, before, "patterns");
    let names: Vec<String> = (0..20_000).map(|n| format!("{n}-{}", "x".repeat(100))).collect();
    let mut request = joining(&name, "m", "t");
    request.subscribed_topic_names = Some(names.iter().map(|n| n.as_str().into()).collect());
    assert_eq!(code(&mut client, &request), ErrorCode::INVALID_REQUEST);
    let long = "x".repeat(20_000);
    assert_eq!(
        code(&mut client, &joining(&name, &long, "t")),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(
        code(&mut client, &joining(&long, "m", "t")),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(
        ErrorCode(init(&mut client, &long).error_code),
        ErrorCode::INVALID_REQUEST
    );
    is_unharmed(&broker, before, "what is beyond the bounds");
}

#[test]
fn requests_of_transactions_that_make_no_sense() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "senseless-txns", 2, None);
    let name = unique("senseless-txn");
    find(&mut client);
    init(&mut client, &name);
    let before = broker.resident_bytes();
    // Thousands of transactions that do not exist.
    let many: Vec<String> = (0..5_000).map(|n| format!("{name}-{n}")).collect();
    let request = DescribeTransactionsRequest {
        transactional_ids: many.iter().map(|id| id.as_str().into()).collect(),
    };
    let told = ask!(
        client,
        DescribeTransactions,
        0,
        request,
        DescribeTransactionsResponse
    );
    let codes: std::collections::BTreeMap<i16, usize> =
        told.transaction_states
            .iter()
            .fold(Default::default(), |mut codes, t| {
                *codes.entry(t.error_code).or_default() += 1;
                codes
            });
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        [(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0, many.len())]
    );
    // As brokers ask for them, in one request; Kafka lets brokers ask only where it knows who they are.
    let request = AddPartitionsToTxnRequest {
        transactions: many[..1_000]
            .iter()
            .map(|id| AddPartitionsToTxnTransaction {
                transactional_id: id.as_str().into(),
                producer_id: 5,
                producer_epoch: 5,
                verify_only: true,
                topics: vec![AddPartitionsToTxnTopic {
                    name: topic.as_str().into(),
                    partitions: vec![0],
                }],
            })
            .collect(),
        ..Default::default()
    };
    let told = ask!(client, AddPartitionsToTxn, 4, request, AddPartitionsToTxnResponse);
    assert_eq!(told.results_by_transaction.len(), 1_000);
    assert!(told.results_by_transaction.iter().all(|t| {
        t.topic_results[0].results_by_partition[0].partition_error_code
            == ErrorCode::INVALID_PRODUCER_ID_MAPPING.0
    }));
    // Patterns of ListTransactions.
    for (pattern, code) in [
        ("[", ErrorCode::INVALID_REGULAR_EXPRESSION),
        ("(a+)+$", ErrorCode::NONE),
        (r"(a)\1", ErrorCode::INVALID_REGULAR_EXPRESSION),
    ] {
        let request = ListTransactionsRequest {
            transactional_id_pattern: Some(pattern.into()),
            ..Default::default()
        };
        let told = ask!(client, ListTransactions, 2, request, ListTransactionsResponse);
        assert_eq!(ErrorCode(told.error_code), code, "{pattern}");
    }
    // Offsets of producers that nobody knows.
    for (id, producer_id, epoch, code) in [
        ("no-such-id", 99_999, 0, ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        (&name, 99_999, 0, ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        (&name, -5, -5, ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        ("", 1, 0, ErrorCode::INVALID_REQUEST),
    ] {
        let request = TxnOffsetCommitRequest {
            transactional_id: id.to_owned().into(),
            group_id: name.as_str().into(),
            producer_id,
            producer_epoch: epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.as_str().into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    committed_offset: 3,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let told = insist!(
            client,
            TxnOffsetCommit,
            5,
            request,
            TxnOffsetCommitResponse,
            |a| a.topics[0].partitions[0].error_code
        );
        assert_eq!(
            ErrorCode(told.topics[0].partitions[0].error_code),
            code,
            "{id} {producer_id}"
        );
    }
    is_unharmed(&broker, before, "senseless requests of transactions");
}

#[test]
fn fetch_sessions_by_the_thousand() {
    const PARTITIONS: i32 = 100;
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "invented-sessions", PARTITIONS, None);
    let before = broker.resident_bytes();
    let fetch = |id: i32, epoch: i32| FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 20,
        session_id: id,
        session_epoch: epoch,
        topics: vec![FetchTopic {
            topic: topic.as_str().into(),
            partitions: (0..PARTITIONS)
                .map(|partition| FetchPartition {
                    partition,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    by_many(&broker, 3_000, |client, _| {
        let told = ask!(client, Fetch, 12, fetch(0, 0), FetchResponse);
        assert_eq!(told.error_code, 0);
        assert_eq!(told.responses[0].partitions.len(), PARTITIONS as usize);
    });
    is_unharmed(&broker, before, "sessions");
    metric(&broker, "turgo_fetch_sessions", |n| n <= 1_000.0);
    let mut codes = Vec::new();
    for (id, epoch) in [(1_234_567_890, 1), (-5, 7), (1_234_567_890, -1), (0, 7)] {
        codes.push(ErrorCode(
            ask!(client, Fetch, 12, fetch(id, epoch), FetchResponse).error_code,
        ));
    }
    let unknown = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
    assert_eq!(codes[..2], [unknown, unknown]);
    // A session that is closed need not be known; without one there is no epoch.
    assert_eq!(codes[2], ErrorCode::NONE);
    assert_eq!(codes[3], ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    let told = ask!(client, Fetch, 12, fetch(0, 0), FetchResponse);
    if told.session_id != 0 {
        let wrong = ask!(client, Fetch, 12, fetch(told.session_id, 9), FetchResponse);
        assert_eq!(wrong.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH.0);
    }
}

#[test]
fn topics_and_settings_by_the_thousand_that_do_not_exist() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    create(&mut client, "invented-topics", 1, None);
    let before = broker.resident_bytes();
    let names: Vec<String> = (0..10_000).map(|n| format!("no-such-topic-{n}")).collect();
    for _ in 0..3 {
        let request = MetadataRequest {
            allow_auto_topic_creation: false,
            topics: Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        let told = ask!(client, Metadata, 9, request, MetadataResponse);
        assert_eq!(told.topics.len(), names.len());
        let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        assert!(told.topics.iter().all(|t| t.error_code == code));
        let request = DescribeConfigsRequest {
            resources: names
                .iter()
                .map(|name| DescribeConfigsResource {
                    resource_type: 2,
                    resource_name: name.as_str().into(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let told = ask!(client, DescribeConfigs, 4, request, DescribeConfigsResponse);
        assert!(told.results.iter().all(|r| r.error_code == code));
    }
    is_unharmed(&broker, before, "topics that do not exist");
}
