//! Wrong and unusual requests: each assertion states what Apache Kafka 4.3.1 answers to the same bytes.
//!
//! With `TURGO_TEST_ENDPOINT=HOST:PORT` an Apache Kafka is asked instead, which shows that the assertions are right.

mod support;

use std::time::Duration;

use support::wire::{Client, batch, create};
use support::{Broker, unique, wait_for};
use turgo_net::api::ApiKey;
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use turgo_net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use turgo_net::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::{ErrorCode, Reader, Records, Uuid};

/// Sends the same batch to each partition; error codes in request order.
fn produce(client: &mut Client, topic: &str, acks: i16, parts: &[(i32, &[u8])]) -> Vec<i16> {
    let partition_data = parts
        .iter()
        .map(|(index, records)| PartitionProduceData {
            index: *index,
            records: Records::Slice(records),
            ..Default::default()
        })
        .collect();
    let topic_data = vec![TopicProduceData {
        name: topic.to_owned().into(),
        partition_data,
        ..Default::default()
    }];
    let request = ProduceRequest {
        acks,
        timeout_ms: 20_000,
        topic_data,
        ..Default::default()
    };
    let answer = client.ask(ApiKey::Produce, 9, &request);
    let produced = ProduceResponse::decode(&mut Reader::new(&answer), 9).expect("a body");
    produced.responses[0]
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect()
}

/// Error code and log start offset of the answer to one batch for partition 0.
fn refusal(client: &mut Client, topic: &str, records: &[u8]) -> (i16, i64) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 20_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned().into(),
            partition_data: vec![PartitionProduceData {
                records: Records::Slice(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.ask(ApiKey::Produce, 9, &request);
    let produced = ProduceResponse::decode(&mut Reader::new(&answer), 9).expect("a body");
    let part = &produced.responses[0].partition_responses[0];
    (part.error_code, part.log_start_offset)
}

#[test]
fn produce_refuses_as_kafka_does() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let plain = create(&mut client, "plain", 2, None);
    let replicated = create(&mut client, "replicated", 1, Some(("min.insync.replicas", "2")));
    let ordinary = batch();
    let mut transactional = batch();
    transactional[22] |= 1 << 4;

    // One transactional batch without a transactional id refuses every partition, before the checksum is looked at.
    let answers = produce(&mut client, &plain, -1, &[(0, &transactional), (1, &ordinary)]);
    assert_eq!(answers, [ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0; 2]);
    // Partitions are looked up before acks.
    let answers = produce(&mut client, &plain, 2, &[(0, &ordinary), (9, &ordinary)]);
    assert_eq!(
        answers,
        [
            ErrorCode::INVALID_REQUIRED_ACKS.0,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0
        ]
    );
    // What Kafka refuses before it looks at the log has no log start offset.
    let two = [ordinary.clone(), ordinary.clone()].concat();
    let mut with_offset = ordinary.clone();
    with_offset[7] = 5;
    let mut control = ordinary.clone();
    control[22] |= 1 << 5;
    let crc = crc32c::crc32c(&control[21..]).to_be_bytes();
    control[17..21].copy_from_slice(&crc);
    let mut damaged = ordinary.clone();
    damaged[70] ^= 1;
    assert_eq!(
        [two, with_offset, control, damaged].map(|records| refusal(&mut client, &plain, &records)),
        [
            (ErrorCode::INVALID_RECORD.0, -1),
            (ErrorCode::INVALID_RECORD.0, 0),
            (ErrorCode::INVALID_RECORD.0, 0),
            (ErrorCode::CORRUPT_MESSAGE.0, -1),
        ]
    );
    // No more replicas have to be in sync than there are.
    assert_eq!(produce(&mut client, &replicated, -1, &[(0, &ordinary)]), [0]);
}

#[test]
fn offsets_of_partitions_that_do_not_exist_are_not_committed() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let (a, b) = (
        create(&mut client, "commit-a", 2, None),
        create(&mut client, "commit-b", 2, None),
    );
    let find = FindCoordinatorRequest {
        key: "group".into(),
        ..Default::default()
    };
    let found = loop {
        let answer = client.ask(ApiKey::FindCoordinator, 3, &find);
        let found = FindCoordinatorResponse::decode(&mut Reader::new(&answer), 3).expect("a body");
        // Kafka makes the internal topic first.
        if found.error_code != ErrorCode::COORDINATOR_NOT_AVAILABLE.0 {
            break (found.error_code, found.error_message.map(|m| m.into_owned()));
        }
    };
    assert_eq!(found, (0, Some("NONE".to_owned())));

    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1,
        ..Default::default()
    };
    let topic = |name: &str, partitions: &[i32]| OffsetCommitRequestTopic {
        name: name.to_owned().into(),
        partitions: partitions.iter().copied().map(partition).collect(),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "group".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic(&a, &[0, 7, 1, -1]), topic("missing", &[3]), topic(&b, &[0])],
        ..Default::default()
    };
    // A group that has just been made may still be loading.
    let committed = loop {
        let answer = client.ask(ApiKey::OffsetCommit, 8, &commit);
        let committed = OffsetCommitResponse::decode(&mut Reader::new(&answer), 8).expect("a body");
        let rows: Vec<_> = committed
            .topics
            .iter()
            .map(|t| {
                let codes = t.partitions.iter().map(|p| (p.partition_index, p.error_code));
                (t.name.to_string(), codes.collect::<Vec<_>>())
            })
            .collect();
        let loading = [
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0,
            ErrorCode::COORDINATOR_NOT_AVAILABLE.0,
            ErrorCode::NOT_COORDINATOR.0,
        ];
        if !rows.iter().flat_map(|r| &r.1).any(|r| loading.contains(&r.1)) {
            break rows;
        }
    };
    // One entry per topic: what was refused first, then what was committed.
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    assert_eq!(
        committed,
        [
            (a.clone(), vec![(7, unknown), (-1, unknown), (0, 0), (1, 0)]),
            ("missing".to_owned(), vec![(3, unknown)]),
            (b.clone(), vec![(0, 0)]),
        ]
    );

    let topic = |name: &str, partitions: &[i32]| OffsetDeleteRequestTopic {
        name: name.to_owned().into(),
        partitions: partitions
            .iter()
            .map(|partition_index| OffsetDeleteRequestPartition {
                partition_index: *partition_index,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let delete = OffsetDeleteRequest {
        group_id: "group".into(),
        topics: vec![topic(&b, &[0]), topic(&a, &[0, 9]), topic("missing", &[3])],
        ..Default::default()
    };
    let answer = client.ask(ApiKey::OffsetDelete, 0, &delete);
    let deleted = OffsetDeleteResponse::decode(&mut Reader::new(&answer), 0).expect("a body");
    let rows: Vec<_> = deleted
        .topics
        .iter()
        .map(|t| {
            let codes = t.partitions.iter().map(|p| (p.partition_index, p.error_code));
            (t.name.to_string(), codes.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(deleted.error_code, 0);
    assert_eq!(
        rows,
        [
            (a.clone(), vec![(9, unknown), (0, 0)]),
            ("missing".to_owned(), vec![(3, unknown)]),
            (b.clone(), vec![(0, 0)]),
        ]
    );
}

#[test]
fn fetch_answers_as_kafka_does() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let fetched = create(&mut client, "fetched", 8, None);
    let records = batch();
    let parts: Vec<(i32, &[u8])> = (0..8).map(|p| (p, records.as_slice())).collect();
    assert_eq!(produce(&mut client, &fetched, -1, &parts), [0; 8]);

    let mut fetch = |session_epoch, partitions: &[i32], last_fetched_epoch| {
        let partitions = partitions
            .iter()
            .map(|partition| FetchPartition {
                partition: *partition,
                current_leader_epoch: -1,
                last_fetched_epoch,
                partition_max_bytes: 1,
                ..Default::default()
            })
            .collect();
        let topics = vec![FetchTopic {
            topic: fetched.clone().into(),
            partitions,
            ..Default::default()
        }];
        let request = FetchRequest {
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch,
            topics,
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Fetch, 12, &request);
        let response = FetchResponse::decode(&mut Reader::new(&answer), 12).expect("a body");
        let parts: Vec<_> = response.responses.iter().flat_map(|t| &t.partitions).collect();
        let rows: Vec<_> = parts
            .iter()
            .map(|p| (p.error_code, p.high_watermark, !p.records.is_empty()))
            .collect();
        (response.error_code, rows)
    };
    // Only the first partition with records may exceed its limit, whichever cores own the partitions (KIP-74).
    let mut expected = vec![(0, 3, false); 8];
    expected[0].2 = true;
    assert_eq!(fetch(-1, &[0, 1, 2, 3, 4, 5, 6, 7], -1), (0, expected));
    // An epoch this log has not seen; errors come without a high watermark.
    assert_eq!(
        fetch(-1, &[0], 5),
        (0, vec![(ErrorCode::OFFSET_OUT_OF_RANGE.0, -1, false)])
    );
    // Session 0 has no epochs but 0 and -1.
    assert_eq!(
        fetch(5, &[0], -1),
        (ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0, Vec::new())
    );
}

#[test]
fn fetch_sessions_go_as_in_kafka() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "session", 3, None);
    let records = batch();
    let id_of_topic = topic_id(&mut client, &topic);

    // Error, whether there is a session, and per partition: index, error, high watermark, records or not.
    type Row = (i32, i16, i64, bool);
    let mut fetch = |version: i16, id: i32, epoch: i32, parts: &[(i32, i64)], forgotten: &[i32]| {
        let by_id = version >= 13;
        let name = || if by_id { "".into() } else { topic.clone().into() };
        let topic_id = if by_id { id_of_topic } else { Uuid::default() };
        let wanted = FetchTopic {
            topic: name(),
            topic_id,
            partitions: parts
                .iter()
                .map(|(partition, fetch_offset)| FetchPartition {
                    partition: *partition,
                    fetch_offset: *fetch_offset,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let gone = ForgottenTopic {
            topic: name(),
            topic_id,
            partitions: forgotten.into(),
            ..Default::default()
        };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 50,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_id: id,
            session_epoch: epoch,
            topics: Some(wanted).filter(|_| !parts.is_empty()).into_iter().collect(),
            forgotten_topics_data: Some(gone).filter(|_| !forgotten.is_empty()).into_iter().collect(),
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Fetch, version, &request);
        let response = FetchResponse::decode(&mut Reader::new(&answer), version).expect("a body");
        let rows: Vec<Row> = response
            .responses
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| {
                let data = !p.records.is_empty();
                (p.partition_index, p.error_code, p.high_watermark, data)
            })
            .collect();
        (response.error_code, response.session_id, rows)
    };
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    let nothing = Vec::new;
    // What does not exist is named after what was read, whatever the order of the request.
    let (error, id, rows) = fetch(12, 0, 0, &[(9, 0), (2, 0), (0, 0), (1, 0)], &[]);
    assert_eq!(
        (error, rows),
        (
            0,
            vec![
                (2, 0, 0, false),
                (0, 0, 0, false),
                (1, 0, 0, false),
                (9, unknown, -1, false)
            ]
        )
    );
    assert!(id > 0);
    assert_eq!(fetch(12, id, 1, &[], &[]), (0, id, vec![(9, unknown, -1, false)]));
    assert_eq!(fetch(12, id, 2, &[], &[9]), (0, id, nothing()));
    // Refusals, after which the session goes on.
    let gone = ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0;
    let epoch = ErrorCode::INVALID_FETCH_SESSION_EPOCH.0;
    assert_eq!(fetch(12, id, 2, &[], &[]), (epoch, 0, nothing()));
    assert_eq!(fetch(12, id ^ 8, 3, &[], &[]), (gone, 0, nothing()));
    assert_eq!(fetch(12, 0, 3, &[], &[]), (gone, 0, nothing()));
    let mixed = ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR.0;
    assert_eq!(fetch(13, id, 3, &[], &[]), (mixed, 0, nothing()));
    let out_of_range = ErrorCode::OFFSET_OUT_OF_RANGE.0;
    assert_eq!(
        fetch(12, id, 3, &[(0, 5)], &[]),
        (0, id, vec![(0, out_of_range, -1, false)])
    );
    // Marks are told again once the error has gone, and adding a partition tells its marks.
    assert_eq!(fetch(12, id, 4, &[(0, 0)], &[]), (0, id, vec![(0, 0, 0, false)]));
    assert_eq!(fetch(12, id, 5, &[], &[]), (0, id, nothing()));
    // A full fetch by id takes its place.
    let (error, next, rows) = fetch(13, id, 0, &[(1, 0), (0, 0)], &[]);
    assert_eq!((error, rows), (0, vec![(1, 0, 0, false), (0, 0, 0, false)]));
    assert!(next > 0 && next != id);
    assert_eq!(fetch(12, id, 6, &[], &[]), (gone, 0, nothing()));
    assert_eq!(fetch(12, next, 1, &[], &[]), (mixed, 0, nothing()));
    // Forgetting everything ends a session; so does the final epoch.
    assert_eq!(fetch(13, next, 1, &[], &[0, 1]), (0, 0, nothing()));
    assert_eq!(fetch(13, next, 2, &[], &[]), (gone, 0, nothing()));
    let (_, last, _) = fetch(13, 0, 0, &[(1, 0)], &[]);
    assert_eq!(
        fetch(13, last, -1, &[(0, 0)], &[]),
        (0, 0, vec![(0, 0, 0, false)])
    );
    assert_eq!(fetch(13, last, 1, &[], &[]), (gone, 0, nothing()));

    // With data: told as long as the client does not read on, then quiet; who had data comes last.
    let (_, id, _) = fetch(12, 0, 0, &[(0, 0), (1, 0), (2, 0)], &[]);
    let mut writer = Client::connect(&broker);
    assert_eq!(produce(&mut writer, &topic, -1, &[(1, &records)]), [0]);
    assert_eq!(fetch(12, id, 1, &[], &[]), (0, id, vec![(1, 0, 3, true)]));
    assert_eq!(fetch(12, id, 2, &[], &[]), (0, id, vec![(1, 0, 3, true)]));
    assert_eq!(fetch(12, id, 3, &[(1, 3)], &[]), (0, id, nothing()));
    assert_eq!(
        produce(
            &mut writer,
            &topic,
            -1,
            &[(0, &records), (1, &records), (2, &records)]
        ),
        [0; 3]
    );
    let all = vec![(0, 0, 3, true), (2, 0, 3, true), (1, 0, 6, true)];
    assert_eq!(fetch(12, id, 4, &[], &[]), (0, id, all));
}

fn topic_id(client: &mut Client, topic: &str) -> Uuid {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic.to_owned().into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let answer = client.ask(ApiKey::Metadata, 12, &request);
    let response = MetadataResponse::decode(&mut Reader::new(&answer), 12).expect("a body");
    response.topics[0].topic_id
}

#[test]
fn topic_ids_are_looked_up_and_never_names() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "by-id", 1, None);
    let known = topic_id(&mut client, &topic);
    let unknown = Uuid([7; 16]);
    let records = batch();
    let not_there = ErrorCode::UNKNOWN_TOPIC_ID.0;

    let mut send = |topic_id, index| {
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 20_000,
            topic_data: vec![TopicProduceData {
                topic_id,
                partition_data: vec![PartitionProduceData {
                    index,
                    records: Records::Slice(&records),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Produce, 13, &request);
        let produced = ProduceResponse::decode(&mut Reader::new(&answer), 13).expect("a body");
        let topic = &produced.responses[0];
        assert_eq!(topic.topic_id, topic_id);
        topic.partition_responses[0].error_code
    };
    let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    assert_eq!(
        [
            send(unknown, 0),
            send(Uuid::default(), 0),
            send(known, 5),
            send(known, 0)
        ],
        [not_there, not_there, missing, 0]
    );

    let mut fetch = |topic_id, partition| {
        let request = FetchRequest {
            replica_id: -1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic_id,
                partitions: vec![FetchPartition {
                    partition,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Fetch, 18, &request);
        let fetched = FetchResponse::decode(&mut Reader::new(&answer), 18).expect("a body");
        let topic = &fetched.responses[0];
        assert_eq!(topic.topic_id, topic_id);
        let part = &topic.partitions[0];
        (part.error_code, part.high_watermark, part.preferred_read_replica)
    };
    assert_eq!(
        [
            fetch(unknown, 0),
            fetch(Uuid::default(), 0),
            fetch(known, 5),
            fetch(known, 0)
        ],
        [
            (not_there, -1, -1),
            (not_there, -1, -1),
            (missing, -1, -1),
            (0, 3, -1)
        ]
    );

    let mut describe = |topic_id| {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { topic_id, name: None }]),
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Metadata, 13, &request);
        let response = MetadataResponse::decode(&mut Reader::new(&answer), 13).expect("a body");
        let topic = &response.topics[0];
        (topic.error_code, topic.name.as_deref().map(str::to_owned))
    };
    assert_eq!(describe(unknown), (not_there, None));
    assert_eq!(describe(known), (0, Some(topic)));
}

#[test]
fn a_topic_that_metadata_creates_is_told_to_the_next_who_asks() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = unique("made-by-metadata");
    let mut ask = |allow_auto_topic_creation| {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.clone().into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation,
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Metadata, 12, &request);
        let response = MetadataResponse::decode(&mut Reader::new(&answer), 12).expect("a body");
        let told = &response.topics[0];
        (told.error_code, told.topic_id.is_zero(), told.partitions.len())
    };
    let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    assert_eq!(ask(false), (missing, true, 0));
    assert_eq!(ask(true), (missing, true, 0), "the request that creates it");
    let told = wait_for(
        Duration::from_secs(10),
        || "the topic does not appear".into(),
        || Some(ask(false)).filter(|told| told.0 != missing),
    );
    assert!(matches!(told, (0, false, 1..)), "{told:?}");
}

#[test]
fn a_broker_tells_where_it_listens_and_keeps_its_data() {
    const STATIC_BROKER_CONFIG: i8 = 4;
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let asked = [
        "advertised.listeners",
        "listeners",
        "log.dirs",
        "node.id",
        "process.roles",
    ];
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configuration_keys: Some(asked.iter().map(|name| (*name).into()).collect()),
        }],
        ..Default::default()
    };
    let answer = client.ask(ApiKey::DescribeConfigs, 4, &request);
    let response = DescribeConfigsResponse::decode(&mut Reader::new(&answer), 4).expect("a body");
    let mut told: Vec<(&str, &str)> = Vec::new();
    for config in &response.results[0].configs {
        assert_eq!(
            (config.config_source, config.read_only, config.is_sensitive),
            (STATIC_BROKER_CONFIG, config.name != "listeners", false),
            "{}",
            config.name
        );
        told.push((&config.name, config.value.as_deref().expect("a value")));
    }
    told.sort_unstable();
    assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), asked);
    assert!(told[0].1.starts_with("PLAINTEXT://"), "{told:?}");
    // The port is the one bound; a Kafka is reached by the name it advertises.
    let port = broker.endpoint().rsplit(':').next().expect("a port");
    assert!(told[1].1.contains(&format!(":{port}")), "{told:?}");
    assert!(told[2].1.starts_with('/'), "{told:?}");
    assert_eq!((told[3].1, told[4].1), ("1", "broker,controller"));
}

#[test]
fn a_fetch_that_names_the_last_epoch_is_told_where_the_logs_part() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker);
    let topic = create(&mut client, "epochs", 1, None);
    // Error, epoch and end of the divergence, whether records came.
    let fetch = |client: &mut Client, fetch_offset, last_fetched_epoch| {
        let request = FetchRequest {
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: topic.clone().into(),
                partitions: vec![FetchPartition {
                    current_leader_epoch: 0,
                    fetch_offset,
                    last_fetched_epoch,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(ApiKey::Fetch, 12, &request);
        let response = FetchResponse::decode(&mut Reader::new(&answer), 12).expect("a body");
        let told = &response.responses[0].partitions[0];
        let diverging = &told.diverging_epoch;
        (
            told.error_code,
            diverging.epoch,
            diverging.end_offset,
            !told.records.is_empty(),
        )
    };
    let out_of_range = ErrorCode::OFFSET_OUT_OF_RANGE.0;
    // The epoch that the leader writes in is known before it has written anything.
    assert_eq!(fetch(&mut client, 0, 0), (0, -1, -1, false));
    assert_eq!(fetch(&mut client, 0, 1), (out_of_range, -1, -1, false));
    assert_eq!(fetch(&mut client, 7, 0), (0, 0, 0, false));
    let records = batch();
    assert_eq!(produce(&mut client, &topic, -1, &[(0, &records)]), [0]);
    assert_eq!(fetch(&mut client, 0, 0), (0, -1, -1, true));
    assert_eq!(fetch(&mut client, 3, 0), (0, -1, -1, false));
    assert_eq!(fetch(&mut client, 7, 0), (0, 0, 3, false));
    assert_eq!(fetch(&mut client, 0, 1), (out_of_range, -1, -1, false));
}
