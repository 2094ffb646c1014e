//! Producers, consumers and the network between them and the broker. Everything they learn is noted ([`super::facts`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use turgo_net::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use turgo_net::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use turgo_net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use turgo_net::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use turgo_net::records::BatchBuilder;
use turgo_net::{ErrorCode, Reader, Records};
use turgo_storage::env::Env;

use super::super::frame;
use super::facts::{Fact, Facts, Identity, Value};
use super::machine::{Broker, PARTITIONS};
use crate::txn::messages::{Level, TV2};

/// Time that a producer gives its transactions, ms.
pub(super) const TIMEOUT_MS: i32 = 150;
/// Times that a client asks again before it gives up for good.
const PATIENCE: usize = 2_000;

/// The clients' side of everything.
#[derive(Clone)]
pub(super) struct World {
    pub broker: Broker,
    pub facts: Rc<RefCell<Facts>>,
}

impl World {
    pub fn note(&self, fact: Fact) {
        let at = self.broker.env.log_len();
        self.broker.env.tell(|| format!("{fact:?}"));
        self.facts.borrow_mut().note(at, fact);
    }

    /// Asks until the answer is not "later".
    async fn insist(
        &self,
        core: usize,
        request: &Bytes,
        code: impl Fn(&[u8]) -> ErrorCode,
    ) -> (ErrorCode, Vec<u8>) {
        for _ in 0..PATIENCE {
            let answer = self.broker.ask(core, request.clone()).await;
            let error = code(&answer);
            let later = [
                ErrorCode::CONCURRENT_TRANSACTIONS,
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
                ErrorCode::NOT_COORDINATOR,
                ErrorCode::NOT_ENOUGH_REPLICAS,
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
                ErrorCode::UNSTABLE_OFFSET_COMMIT,
            ];
            if !later.contains(&error) {
                return (error, answer);
            }
            self.broker.sleep_ms(2).await;
        }
        panic!("no end of \"later\"");
    }

    /// Reads all committed records of every partition, and the groups' offsets.
    pub async fn look(&self, ids: &[&str]) {
        for partition in 0..PARTITIONS {
            let values = self.broker.committed(partition).await;
            self.note(Fact::Shown { partition, values });
        }
        for id in ids {
            let offset = self.offset(id).await;
            self.note(Fact::OffsetShown {
                id: (*id).to_owned(),
                offset,
            });
        }
    }

    /// The stable offset of the group that goes with a transactional id; -1 for none.
    pub async fn offset(&self, id: &str) -> i64 {
        const VERSION: i16 = 8;
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group(id).into(),
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: "t".into(),
                    partition_indexes: vec![0],
                    ..Default::default()
                }]),
                ..Default::default()
            }],
            require_stable: true,
            ..Default::default()
        };
        fn partition(answer: &[u8]) -> (ErrorCode, i64) {
            let answer = OffsetFetchResponse::decode(&mut Reader::new(answer), VERSION).expect("a body");
            let group = &answer.groups[0];
            match group.topics.first().and_then(|t| t.partitions.first()) {
                Some(found) => (ErrorCode(found.error_code), found.committed_offset),
                None => (ErrorCode(group.error_code), -1),
            }
        }
        let request = frame(ApiKey::OffsetFetch, VERSION, &request);
        let (error, answer) = self.insist(0, &request, |answer| partition(answer).0).await;
        assert!(error.is_none(), "offset of {id}: {error}");
        partition(&answer).1
    }
}

/// The group that a transactional id commits offsets of.
pub(super) fn group(id: &str) -> String {
    format!("group of {id}")
}

/// One instance of a producer.
pub(super) struct Producer {
    pub world: World,
    pub id: String,
    pub level: Level,
    /// Where its connection is.
    core: usize,
    pub identity: Identity,
    sequences: BTreeMap<i32, i32>,
    pub txn: u32,
    sent: u32,
}

impl Producer {
    pub fn new(world: &World, id: &str, level: Level, core: usize) -> Producer {
        Producer {
            world: world.clone(),
            id: id.to_owned(),
            level,
            core,
            identity: (-1, -1),
            sequences: BTreeMap::new(),
            txn: 0,
            sent: 0,
        }
    }

    /// An instance that is ready.
    pub async fn ready(world: &World, id: &str, level: Level, core: usize) -> Producer {
        let mut producer = Producer::new(world, id, level, core);
        let error = producer.init().await;
        assert!(error.is_none(), "InitProducerId: {error}");
        producer
    }

    fn becomes(&mut self, identity: Identity) {
        if self.identity != identity {
            self.identity = identity;
            self.sequences.clear();
        }
        self.world.note(Fact::Told {
            id: self.id.clone(),
            identity,
        });
    }

    pub async fn init(&mut self) -> ErrorCode {
        const VERSION: i16 = 5;
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.as_str().into()),
            transaction_timeout_ms: TIMEOUT_MS,
            ..Default::default()
        };
        let request = frame(ApiKey::InitProducerId, VERSION, &request);
        let read = |answer: &[u8]| {
            InitProducerIdResponse::decode(&mut Reader::new(answer), VERSION).expect("a body")
        };
        let (error, answer) = self
            .world
            .insist(self.core, &request, |a| ErrorCode(read(a).error_code))
            .await;
        if error.is_none() {
            let told = read(&answer);
            self.becomes((told.producer_id, told.producer_epoch));
        }
        error
    }

    /// A transaction begins; before KIP-890 it says to which partitions it will write.
    pub async fn begin(&mut self, partitions: &[i32]) -> ErrorCode {
        self.txn = self.world.facts.borrow_mut().next_txn();
        self.sent = 0;
        self.world.note(Fact::Begun {
            id: self.id.clone(),
            txn: self.txn,
        });
        if self.level >= TV2 {
            return ErrorCode::NONE;
        }
        const VERSION: i16 = 3;
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.as_str().into(),
            v3_and_below_producer_id: self.identity.0,
            v3_and_below_producer_epoch: self.identity.1,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: "t".into(),
                partitions: partitions.to_vec(),
            }],
            ..Default::default()
        };
        let request = frame(ApiKey::AddPartitionsToTxn, VERSION, &request);
        let code = |answer: &[u8]| {
            let answer =
                AddPartitionsToTxnResponse::decode(&mut Reader::new(answer), VERSION).expect("a body");
            let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
            ErrorCode(results[0].partition_error_code)
        };
        self.world.insist(self.core, &request, code).await.0
    }

    /// The request that writes the next record to a partition.
    pub fn produce_request(&self, partition: i32) -> Bytes {
        let value = self.next_value();
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let mut batch = BatchBuilder::new()
            .producer(self.identity.0, self.identity.1, sequence)
            .transactional(true);
        let now_ms = self.world.broker.env.wall_ms();
        batch
            .push(now_ms, None, Some(value.write().as_bytes()), &[])
            .expect("a record");
        let batch = batch.build_uncompressed();
        let request = ProduceRequest {
            transactional_id: Some(self.id.as_str().into()),
            acks: -1,
            timeout_ms: 60_000,
            topic_data: vec![TopicProduceData {
                name: "t".into(),
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Records::Slice(&batch),
                }],
                ..Default::default()
            }],
        };
        frame(ApiKey::Produce, self.produce_version(), &request)
    }

    fn produce_version(&self) -> i16 {
        if self.level >= TV2 { 12 } else { 11 }
    }

    fn next_value(&self) -> Value {
        Value {
            txn: self.txn,
            number: self.sent,
        }
    }

    /// Writes the next record.
    pub async fn send(&mut self, partition: i32) -> ErrorCode {
        let value = self.next_value();
        let request = self.produce_request(partition);
        self.world.note(Fact::Sent { value, partition });
        let version = self.produce_version();
        let code = |answer: &[u8]| {
            let answer = ProduceResponse::decode(&mut Reader::new(answer), version).expect("a body");
            ErrorCode(answer.responses[0].partition_responses[0].error_code)
        };
        let (error, _) = self.world.insist(self.core, &request, code).await;
        if error.is_none() {
            self.world.note(Fact::Acked { value });
            self.sent += 1;
            *self.sequences.entry(partition).or_default() += 1;
        }
        error
    }

    /// Commits the transaction's number as offset of its group.
    pub async fn commit_offset(&mut self) -> ErrorCode {
        if self.level < TV2 {
            const VERSION: i16 = 3;
            let request = AddOffsetsToTxnRequest {
                transactional_id: self.id.as_str().into(),
                producer_id: self.identity.0,
                producer_epoch: self.identity.1,
                group_id: group(&self.id).into(),
            };
            let request = frame(ApiKey::AddOffsetsToTxn, VERSION, &request);
            let code = |answer: &[u8]| {
                let answer =
                    AddOffsetsToTxnResponse::decode(&mut Reader::new(answer), VERSION).expect("a body");
                ErrorCode(answer.error_code)
            };
            let (error, _) = self.world.insist(self.core, &request, code).await;
            if !error.is_none() {
                return error;
            }
        }
        let version = if self.level >= TV2 { 5 } else { 4 };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.as_str().into(),
            group_id: group(&self.id).into(),
            producer_id: self.identity.0,
            producer_epoch: self.identity.1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: i64::from(self.txn),
                    committed_leader_epoch: -1,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let request = frame(ApiKey::TxnOffsetCommit, version, &request);
        let code = |answer: &[u8]| {
            let answer = TxnOffsetCommitResponse::decode(&mut Reader::new(answer), version).expect("a body");
            ErrorCode(answer.topics[0].partitions[0].error_code)
        };
        let (error, _) = self.world.insist(self.core, &request, code).await;
        if error.is_none() {
            self.world.note(Fact::Offset { txn: self.txn });
        }
        error
    }

    fn end_version(&self) -> i16 {
        if self.level >= TV2 { 5 } else { 4 }
    }

    /// The request that ends the present transaction.
    pub fn end_request(&self, commit: bool) -> Bytes {
        let request = EndTxnRequest {
            transactional_id: self.id.as_str().into(),
            producer_id: self.identity.0,
            producer_epoch: self.identity.1,
            committed: commit,
        };
        frame(ApiKey::EndTxn, self.end_version(), &request)
    }

    fn end_answer(&self, answer: &[u8]) -> EndTxnResponse {
        EndTxnResponse::decode(&mut Reader::new(answer), self.end_version()).expect("a body")
    }

    pub async fn end(&mut self, commit: bool) -> ErrorCode {
        let txn = self.txn;
        let request = self.end_request(commit);
        self.world.note(Fact::Asked { txn, commit });
        let (error, answer) = self
            .world
            .insist(self.core, &request, |a| ErrorCode(self.end_answer(a).error_code))
            .await;
        if error.is_none() {
            self.world.note(Fact::Ended { txn, commit });
            let told = self.end_answer(&answer);
            if self.level >= TV2 {
                self.becomes((told.producer_id, told.producer_epoch));
            }
        }
        error
    }

    /// The request that writes the marker of the transaction before, as its coordinator has written it already.
    pub fn marker_request(&self, partition: i32, commit: bool) -> Bytes {
        let request = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: self.identity.0,
                producer_epoch: self.identity.1,
                transaction_result: commit,
                topics: vec![WritableTxnMarkerTopic {
                    name: "t".into(),
                    partition_indexes: vec![partition],
                }],
                transaction_version: self.level as i8,
                ..Default::default()
            }],
        };
        frame(ApiKey::WriteTxnMarkers, 2, &request)
    }

    /// A copy of a request comes, too, after so long, and its answer gets lost.
    pub fn repeat(&self, request: Bytes, after_ms: u64) {
        let (broker, core) = (self.world.broker.clone(), self.core);
        self.world.broker.spawn(async move {
            broker.sleep_ms(after_ms).await;
            broker.ask(core, request).await;
        });
    }

    /// A whole transaction that must succeed.
    pub async fn transact(&mut self, partitions: &[i32], offset: bool, commit: bool) {
        let mut errors = vec![self.begin(partitions).await];
        for partition in partitions {
            errors.push(self.send(*partition).await);
        }
        if offset {
            errors.push(self.commit_offset().await);
        }
        errors.push(self.end(commit).await);
        assert!(errors.iter().all(|e| e.is_none()), "{}: {errors:?}", self.id);
    }
}
