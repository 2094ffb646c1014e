//! Transaction APIs asked in every wrong order: each assertion states what Apache Kafka 4.3.1 answers to the same bytes.
//!
//! With `TURGO_TEST_ENDPOINT=HOST:PORT` an Apache Kafka is asked instead, which shows that the assertions are right.

mod support;

use std::time::{Duration, Instant};

use support::Broker;
use support::wire::{Client, create};
use turgo_net::api::ApiKey;
use turgo_net::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use turgo_net::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
};
use turgo_net::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use turgo_net::messages::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use turgo_net::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use turgo_net::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use turgo_net::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use turgo_net::records::BatchBuilder;
use turgo_net::{ErrorCode, Reader, Records};

/// Producer id and epoch.
type By = (i64, i16);

const NONE: i16 = 0;

/// Asks and reads the answer.
macro_rules! ask {
    ($client:expr, $api:ident, $version:expr, $request:expr, $response:ident) => {{
        let answer = $client.ask(ApiKey::$api, $version, &$request);
        // The answer lives as long as the test: a few kilobytes.
        let answer: &'static [u8] = Box::leak(answer.into_boxed_slice());
        $response::decode(&mut Reader::new(answer), $version).expect("a body")
    }};
}

struct Asker {
    client: Client,
    topic: String,
    id: String,
}

impl Asker {
    fn find(&mut self, key_type: i8) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let request = FindCoordinatorRequest {
            key: "any".into(),
            key_type,
            ..Default::default()
        };
        // Kafka creates the internal topic meanwhile.
        while ask!(self.client, FindCoordinator, 2, request, FindCoordinatorResponse).error_code != 0 {
            assert!(Instant::now() < deadline, "a coordinator within 30 s");
        }
    }

    /// Error, producer id, epoch. A coordinator that still loads is asked again.
    fn init(&mut self, id: Option<&str>, timeout_ms: i32, expected: By, version: i16) -> (i16, i64, i16) {
        let request = InitProducerIdRequest {
            transactional_id: id.map(|id| id.to_owned().into()),
            transaction_timeout_ms: timeout_ms,
            producer_id: if version >= 3 { expected.0 } else { -1 },
            producer_epoch: if version >= 3 { expected.1 } else { -1 },
            ..Default::default()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = ask!(
                self.client,
                InitProducerId,
                version,
                request,
                InitProducerIdResponse
            );
            let loading = matches!(
                ErrorCode(answer.error_code),
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                    | ErrorCode::COORDINATOR_NOT_AVAILABLE
                    | ErrorCode::NOT_COORDINATOR
            );
            if !loading || Instant::now() > deadline {
                return (answer.error_code, answer.producer_id, answer.producer_epoch);
            }
        }
    }

    /// Codes in the order asked.
    fn add(&mut self, id: &str, by: By, topics: &[(&str, &[i32])], version: i16) -> Vec<i16> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.to_owned().into(),
            v3_and_below_producer_id: by.0,
            v3_and_below_producer_epoch: by.1,
            v3_and_below_topics: wire_topics(topics),
            ..Default::default()
        };
        let answer = ask!(
            self.client,
            AddPartitionsToTxn,
            version,
            request,
            AddPartitionsToTxnResponse
        );
        let find = |topic: &str, partition: i32| {
            let results = answer.results_by_topic_v3_and_below.iter();
            let mut all = results.flat_map(|t| t.results_by_partition.iter().map(move |p| (&t.name, p)));
            let found = all.find(|(name, p)| **name == *topic && p.partition_index == partition);
            found.expect("an answer").1.partition_error_code
        };
        topics
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |p| (*topic, *p)))
            .map(|(topic, p)| find(topic, p))
            .collect()
    }

    fn verify(&mut self, by: By, partition: i32, version: i16) -> i16 {
        let request = AddPartitionsToTxnRequest {
            transactions: vec![AddPartitionsToTxnTransaction {
                transactional_id: self.id.clone().into(),
                producer_id: by.0,
                producer_epoch: by.1,
                verify_only: true,
                topics: wire_topics(&[(&self.topic, &[partition])]),
            }],
            ..Default::default()
        };
        let answer = ask!(
            self.client,
            AddPartitionsToTxn,
            version,
            request,
            AddPartitionsToTxnResponse
        );
        answer.results_by_transaction[0].topic_results[0].results_by_partition[0].partition_error_code
    }

    fn offsets(&mut self, id: &str, by: By, version: i16) -> i16 {
        let request = AddOffsetsToTxnRequest {
            transactional_id: id.to_owned().into(),
            producer_id: by.0,
            producer_epoch: by.1,
            group_id: "g".into(),
        };
        ask!(
            self.client,
            AddOffsetsToTxn,
            version,
            request,
            AddOffsetsToTxnResponse
        )
        .error_code
    }

    fn commit_offset(&mut self, group: &str, topic: &str, by: By, generation: i32, version: i16) -> i16 {
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.clone().into(),
            group_id: group.to_owned().into(),
            producer_id: by.0,
            producer_epoch: by.1,
            generation_id: generation,
            member_id: if generation < 0 { "" } else { "m" }.into(),
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.to_owned().into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    committed_offset: 5,
                    committed_metadata: Some("".into()),
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        ask!(
            self.client,
            TxnOffsetCommit,
            version,
            request,
            TxnOffsetCommitResponse
        )
        .topics[0]
            .partitions[0]
            .error_code
    }

    /// Error and epoch.
    fn end(&mut self, id: &str, by: By, committed: bool, version: i16) -> (i16, i16) {
        let request = EndTxnRequest {
            transactional_id: id.to_owned().into(),
            producer_id: by.0,
            producer_epoch: by.1,
            committed,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = ask!(self.client, EndTxn, version, request, EndTxnResponse);
            // The end before is still being completed.
            if answer.error_code != ErrorCode::CONCURRENT_TRANSACTIONS.0 || Instant::now() > deadline {
                return (answer.error_code, answer.producer_epoch);
            }
        }
    }

    fn produce(&mut self, id: Option<&str>, partition: i32, batch: &[u8], version: i16) -> i16 {
        let request = ProduceRequest {
            transactional_id: id.map(|id| id.to_owned().into()),
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: self.topic.clone().into(),
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Records::Slice(batch),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = ask!(self.client, Produce, version, request, ProduceResponse);
        answer.responses[0].partition_responses[0].error_code
    }

    fn write(&mut self, partition: i32, by: By, sequence: i32, version: i16) -> i16 {
        let id = self.id.clone();
        self.produce(Some(&id), partition, &batch(by, sequence, true), version)
    }

    /// Error, state, number of topics.
    fn describe(&mut self, id: &str) -> (i16, String, usize) {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![id.to_owned().into()],
        };
        let answer = ask!(
            self.client,
            DescribeTransactions,
            0,
            request,
            DescribeTransactionsResponse
        );
        let told = &answer.transaction_states[0];
        (
            told.error_code,
            told.transaction_state.to_string(),
            told.topics.len(),
        )
    }

    /// Waits until no marker is on its way.
    fn rest(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let id = self.id.clone();
        while self.describe(&id).1.starts_with("Prepare") {
            assert!(Instant::now() < deadline, "a complete transaction within 30 s");
        }
    }

    fn marker(&mut self, by: By, partition: i32, coordinator_epoch: i32, level: Option<i8>) -> i16 {
        let request = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: by.0,
                producer_epoch: by.1,
                transaction_result: false,
                topics: vec![WritableTxnMarkerTopic {
                    name: self.topic.clone().into(),
                    partition_indexes: vec![partition],
                }],
                coordinator_epoch,
                transaction_version: level.unwrap_or(0),
            }],
        };
        let version = if level.is_some() { 2 } else { 1 };
        let answer = ask!(
            self.client,
            WriteTxnMarkers,
            version,
            request,
            WriteTxnMarkersResponse
        );
        answer.markers[0].topics[0].partitions[0].error_code
    }

    /// Epoch, last sequence, coordinator epoch, start of the open transaction.
    fn producers(&mut self, partition: i32) -> (i16, Vec<(i32, i32, i32, i64)>) {
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: self.topic.clone().into(),
                partition_indexes: vec![partition],
            }],
        };
        let answer = ask!(
            self.client,
            DescribeProducers,
            0,
            request,
            DescribeProducersResponse
        );
        let told = &answer.topics[0].partitions[0];
        let producers = told.active_producers.iter().map(|p| {
            (
                p.producer_epoch,
                p.last_sequence,
                p.coordinator_epoch,
                p.current_txn_start_offset,
            )
        });
        (told.error_code, producers.collect())
    }

    /// Error, unknown states, ids.
    fn list(&mut self, states: &[&str], pattern: &str) -> (i16, Vec<String>, Vec<String>) {
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(|s| s.to_string().into()).collect(),
            duration_filter: -1,
            transactional_id_pattern: Some(pattern.to_owned().into()),
            ..Default::default()
        };
        let answer = ask!(
            self.client,
            ListTransactions,
            2,
            request,
            ListTransactionsResponse
        );
        let unknown = answer.unknown_state_filters.iter().map(|s| s.to_string());
        let ids = answer
            .transaction_states
            .iter()
            .map(|t| t.transactional_id.to_string());
        (answer.error_code, unknown.collect(), ids.collect())
    }
}

fn wire_topics<'a>(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic<'a>> {
    topics
        .iter()
        .map(|(name, partitions)| AddPartitionsToTxnTopic {
            name: name.to_string().into(),
            partitions: partitions.to_vec(),
        })
        .collect()
}

fn batch(by: By, sequence: i32, transactional: bool) -> Vec<u8> {
    let mut batch = BatchBuilder::new()
        .producer(by.0, by.1, sequence)
        .transactional(transactional);
    batch
        .push(1_795_000_000_000, None, Some(b"v"), &[])
        .expect("fits");
    batch.build_uncompressed()
}

fn begin(broker: &Broker, name: &str) -> Asker {
    let mut client = Client::connect(broker);
    let topic = create(&mut client, name, 4, None);
    let mut asker = Asker {
        client,
        id: format!("{topic}-id"),
        topic,
    };
    asker.find(1);
    asker.find(0);
    asker
}

const FENCED: i16 = ErrorCode::PRODUCER_FENCED.0;
const STALE: i16 = ErrorCode::INVALID_PRODUCER_EPOCH.0;
const MAPPING: i16 = ErrorCode::INVALID_PRODUCER_ID_MAPPING.0;
const STATE: i16 = ErrorCode::INVALID_TXN_STATE.0;
const ABORTABLE: i16 = ErrorCode::TRANSACTION_ABORTABLE.0;
const UNKNOWN: i16 = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
const NOT_TRIED: i16 = ErrorCode::OPERATION_NOT_ATTEMPTED.0;
const INVALID: i16 = ErrorCode::INVALID_REQUEST.0;
const SEQUENCE: i16 = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.0;
const TIMEOUT: i16 = ErrorCode::INVALID_TRANSACTION_TIMEOUT.0;

#[test]
fn transactions_of_level_0_answer_as_kafka_does() {
    let broker = Broker::start();
    let mut a = begin(&broker, "txn-v0");
    let (id, topic) = (a.id.clone(), a.topic.clone());
    let t = topic.as_str();

    assert_eq!(a.init(None, 60_000, (-1, -1), 4).0, NONE);
    assert_eq!(a.init(None, 60_000, (5, -1), 4).0, INVALID);
    assert_eq!(a.init(Some(""), 60_000, (-1, -1), 4).0, INVALID);
    for timeout_ms in [0, -1, 900_001] {
        assert_eq!(a.init(Some(&id), timeout_ms, (-1, -1), 4).0, TIMEOUT);
    }
    let (error, pid, epoch) = a.init(Some(&id), 60_000, (-1, -1), 4);
    assert_eq!((error, epoch), (NONE, 0));
    let by = (pid, epoch);
    let (wrong_epoch, wrong_id) = ((pid, 9), (pid + 1, epoch));

    assert_eq!(a.describe(&id), (NONE, "Empty".into(), 0));
    assert_eq!(a.describe("nobody").0, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0);
    assert_eq!(a.describe("").0, INVALID);

    assert_eq!(
        a.add(&id, by, &[(t, &[0]), ("nope", &[0])], 3),
        [NOT_TRIED, UNKNOWN]
    );
    assert_eq!(a.add(&id, by, &[(t, &[0, 77])], 3), [NOT_TRIED, UNKNOWN]);
    assert_eq!(a.add("", by, &[(t, &[0])], 3), [INVALID]);
    assert_eq!(a.add("nobody", by, &[(t, &[0])], 3), [MAPPING]);
    assert_eq!(a.add(&id, wrong_id, &[(t, &[0])], 3), [MAPPING]);
    assert_eq!(a.add(&id, wrong_epoch, &[(t, &[0])], 1), [STALE]);
    assert_eq!(a.add(&id, wrong_epoch, &[(t, &[0])], 2), [FENCED]);
    assert_eq!([4, 5].map(|version| a.verify(by, 0, version)), [ABORTABLE; 2]);

    // Nothing is written before the partition is in the transaction.
    assert_eq!(
        [9, 10, 11].map(|v| a.write(0, by, 0, v)),
        [STATE, STATE, ABORTABLE]
    );
    let records = batch(by, 0, true);
    assert_eq!(
        [11, 12].map(|v| a.produce(Some("nobody"), 0, &records, v)),
        [MAPPING; 2]
    );
    assert_eq!(a.produce(Some(""), 0, &records, 11), INVALID);
    assert_eq!([11, 12].map(|v| a.write(0, wrong_epoch, 0, v)), [STALE; 2]);

    assert_eq!([true, false].map(|c| a.end(&id, by, c, 4).0), [STATE; 2]);
    assert_eq!(a.end("", by, true, 4).0, INVALID);
    assert_eq!(a.end("nobody", by, true, 1).0, MAPPING);
    assert_eq!(
        [1, 2, 5].map(|v| a.end(&id, wrong_epoch, true, v).0),
        [STALE, FENCED, FENCED]
    );

    assert_eq!(a.add(&id, by, &[(t, &[0, 1])], 3), [NONE; 2]);
    assert_eq!(a.describe(&id), (NONE, "Ongoing".into(), 1));
    assert_eq!([0, 2].map(|p| a.verify(by, p, 5)), [NONE, ABORTABLE]);
    assert_eq!(
        [0, 0, 5].map(|sequence| a.write(0, by, sequence, 11)),
        [NONE, NONE, SEQUENCE]
    );
    assert_eq!(
        a.produce(None, 0, &batch(by, 1, false), 11),
        STATE,
        "a plain batch in a transaction"
    );
    assert_eq!(a.producers(0), (NONE, vec![(0, 0, -1, 0)]));
    assert_eq!(a.producers(50), (UNKNOWN, vec![]));

    assert_eq!(a.offsets(&id, by, 3), NONE);
    assert_eq!(a.offsets("nobody", by, 3), MAPPING);
    assert_eq!([1, 2].map(|v| a.offsets(&id, wrong_epoch, v)), [STALE, FENCED]);
    assert_eq!(a.commit_offset("g", t, by, -1, 3), NONE);
    assert_eq!(a.commit_offset("g", t, by, 4, 3), ErrorCode::UNKNOWN_MEMBER_ID.0);
    assert_eq!(a.commit_offset("g", "nope", by, -1, 3), UNKNOWN);
    assert_eq!(a.commit_offset("", t, by, -1, 3), ErrorCode::INVALID_GROUP_ID.0);
    assert_eq!(
        [3, 4].map(|v| a.commit_offset("other", t, by, -1, v)),
        [STATE, ABORTABLE]
    );
    assert_eq!(
        [3, 5].map(|v| a.commit_offset("g", t, wrong_epoch, -1, v)),
        [STALE; 2]
    );

    assert_eq!(a.end(&id, by, true, 4).0, NONE);
    a.rest();
    assert_eq!(a.describe(&id), (NONE, "CompleteCommit".into(), 0));
    assert_eq!(
        [true, false].map(|c| a.end(&id, by, c, 4).0),
        [NONE, STATE],
        "again, and the opposite"
    );
    assert_eq!(a.write(0, by, 1, 11), ABORTABLE);
    assert_eq!(a.producers(0), (NONE, vec![(0, 0, 0, -1)]));
}

#[test]
fn transactions_of_level_2_answer_as_kafka_does() {
    let broker = Broker::start();
    let mut a = begin(&broker, "txn-v2");
    let id = a.id.clone();
    let (_, pid, epoch) = a.init(Some(&id), 60_000, (-1, -1), 4);
    let first = (pid, epoch);
    assert_eq!(a.end(&id, first, true, 5).0, STATE, "nothing to commit");
    // The first batch of an epoch begins at sequence 0.
    assert_eq!(
        [1, 0].map(|sequence| a.write(2, first, sequence, 12)),
        [SEQUENCE, NONE]
    );
    assert_eq!(a.end(&id, first, true, 5), (NONE, epoch + 1));
    a.rest();
    assert_eq!(a.end(&id, first, true, 5), (NONE, epoch + 1), "again");
    assert_eq!(a.end(&id, first, false, 5).0, STATE, "the opposite");
    let second = (pid, epoch + 1);
    assert_eq!(a.end(&id, second, true, 5).0, STATE);
    assert_eq!(
        a.end(&id, second, false, 5),
        (NONE, epoch + 2),
        "an abort of nothing"
    );
    a.rest();
    let third = (pid, epoch + 2);
    assert_eq!([12, 11].map(|version| a.write(2, first, 1, version)), [STALE; 2]);
    let topic = a.topic.clone();
    assert_eq!(
        a.commit_offset("g2", &topic, third, -1, 5),
        NONE,
        "the group joins by itself"
    );
    assert_eq!(a.describe(&id), (NONE, "Ongoing".into(), 1));

    let concurrent = ErrorCode::CONCURRENT_TRANSACTIONS.0;
    assert_eq!(
        a.init(Some(&id), 60_000, (-1, -1), 4).0,
        concurrent,
        "first the open one is aborted"
    );
    a.rest();
    let (error, same, fresh) = a.init(Some(&id), 60_000, (-1, -1), 4);
    assert_eq!((error, same, fresh), (NONE, pid, epoch + 4));
    assert_eq!(a.end(&id, third, true, 5).0, FENCED);
    assert_eq!(a.end(&id, third, true, 1).0, STALE);
    let raised = (NONE, pid, fresh + 1);
    assert_eq!(a.init(Some(&id), 60_000, (pid, fresh), 4), raised);
    assert_eq!(a.init(Some(&id), 60_000, (pid, fresh), 4), raised, "asked again");
    assert_eq!(a.init(Some(&id), 60_000, (pid, fresh - 1), 4).0, FENCED);
    assert_eq!(a.init(Some(&id), 60_000, (pid, fresh - 1), 3).0, STALE);

    let mine = vec![id.clone()];
    assert_eq!(
        a.list(&["Empty", "Foo"], &id),
        (NONE, vec!["Foo".into()], mine.clone())
    );
    assert_eq!(a.list(&[], &id), (NONE, vec![], mine));
    assert_eq!(a.list(&["Dead"], &id), (NONE, vec![], vec![]));
    assert_eq!(a.list(&[], "(").0, ErrorCode::INVALID_REGULAR_EXPRESSION.0);

    // Markers from elsewhere: epochs of the producer and of the coordinator.
    assert_eq!(a.marker((777_777, 3), 9, 0, None), UNKNOWN);
    assert_eq!(a.marker(first, 2, 0, None), STALE);
    assert_eq!(a.marker((777_777, 3), 3, 0, None), NONE);
    assert_eq!(a.marker((777_777, 3), 3, 0, Some(2)), NONE, "it is there");
    assert_eq!(a.marker((777_777, 2), 3, 0, Some(2)), STALE);
    assert_eq!(a.marker((777_777, 4), 3, 5, None), NONE);
    let fenced = ErrorCode::TRANSACTION_COORDINATOR_FENCED.0;
    assert_eq!(a.marker((777_777, 5), 3, 4, None), fenced);
    assert_eq!(a.producers(3), (NONE, vec![(4, -1, 5, -1)]));
}
