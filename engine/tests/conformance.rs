//! Wrong and unusual requests: each assertion states what Apache Kafka 4.3.1 answers to the same bytes.
//!
//! With `TURGO_TEST_ENDPOINT=HOST:PORT` an Apache Kafka is asked instead, which shows that the assertions are right.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::Broker;
use turgo_net::api::ApiKey;
use turgo_net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use turgo_net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use turgo_net::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::wire::Encode;
use turgo_net::{ErrorCode, Reader, Records, ResponseHeader, encode_request};

struct Client(TcpStream);

impl Client {
    fn connect(broker: &Broker) -> Client {
        let stream = TcpStream::connect(broker.endpoint()).expect("the broker accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        Client(stream)
    }

    /// Sends `body` and gives the answer's bytes behind the header.
    fn ask<M: Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Vec<u8> {
        let frame = encode_request(key, version, 7, Some("conformance"), body)
            .expect("a valid request")
            .to_vec();
        self.0.write_all(&frame).expect("sent");
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("answered");
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer).expect("an answer is whole");
        let mut reader = Reader::new(&answer);
        ResponseHeader::decode(&mut reader, key, version).expect("a header");
        let rest = reader.remaining();
        answer.split_off(answer.len() - rest)
    }
}

/// Three records, as `engine/tests/vectors/produce.json` has them.
fn batch() -> Vec<u8> {
    let hex = "0000000000000000000000b5ffffffff028c1b63f80000000000020000018bcfe568000000018bcfe56802ffffffffffffffff\
               ffffffffffff0000000356000000066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c\
               75650056000202066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c75650056000404\
               066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c756500";
    let digit = |c: u8| (c as char).to_digit(16).expect("a hexadecimal digit") as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Creates a topic whose records are kept for ever, as those of [`batch`] are old, and waits until it is served. The
/// name is made unique, for brokers that live longer than a test.
fn create(client: &mut Client, name: &str, partitions: i32, setting: Option<(&str, &str)>) -> String {
    let name = format!("{name}-{}", std::process::id());
    let settings = [("retention.ms", "-1")].into_iter().chain(setting);
    let topic = CreatableTopic {
        name: name.clone().into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: settings
            .map(|(name, value)| CreatableTopicConfig {
                name: name.to_owned().into(),
                value: Some(value.to_owned().into()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 20_000,
        ..Default::default()
    };
    let answer = client.ask(ApiKey::CreateTopics, 5, &request);
    let created = CreateTopicsResponse::decode(&mut Reader::new(&answer), 5).expect("a body");
    assert_eq!(created.topics[0].error_code, 0);
    let offsets = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: name.clone().into(),
            partitions: (0..partitions)
                .map(|partition_index| ListOffsetsPartition {
                    partition_index,
                    current_leader_epoch: -1,
                    timestamp: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    loop {
        let answer = client.ask(ApiKey::ListOffsets, 6, &offsets);
        let listed = ListOffsetsResponse::decode(&mut Reader::new(&answer), 6).expect("a body");
        if listed.topics[0].partitions.iter().all(|p| p.error_code == 0) {
            return name;
        }
    }
}

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
            .map(|p| (p.error_code, p.high_watermark, p.records.len() > 0))
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
