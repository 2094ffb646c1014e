//! The broker under test: real cores, real stores, one simulated disk, requests as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turgo_net::Writer;
use turgo_net::messages::transaction_log_record::{TransactionLogKey, TransactionLogValue};
use turgo_net::records::{BatchBuilder, BatchView, ControlRecord, Decompressor, batches};
use turgo_storage::StoreConfig;
use turgo_storage::env::{Class, Env};
use turgo_storage::sim::env::SimEnv;

use super::super::{SimShard, TOPIC, ask, node, partition, start};
use super::facts::{Identity, Value};
use crate::metadata::{CONSUMER_OFFSETS, MetaRecord, TRANSACTION_STATE, TopicCreated};
use crate::node::Node;
use crate::shard::ops::{FetchOp, PartFetch};
use crate::txn::TxnState;
use crate::txn::messages::{ListTransactions, Request, Response};

/// Partitions of the topic that clients write to.
pub(super) const PARTITIONS: i32 = 3;
/// How often transactions that took too long are looked for, ms.
const ABORT_INTERVAL_MS: &str = "20";
/// Time until everything is at rest, at most, ms.
const REST_MS: u64 = 10_000;

/// A running broker.
#[derive(Clone)]
pub(super) struct Broker {
    pub env: SimEnv,
    pub shards: Rc<Vec<SimShard>>,
}

/// A batch of a log, told apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub offset: i64,
    pub producer: (i64, i16),
    pub what: What,
}

/// What a batch is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Values(Vec<Value>),
    Marker { commit: bool },
}

/// A store so small that its ring wraps and segments are written within a few transactions.
fn config(index: usize) -> StoreConfig {
    StoreConfig {
        dir: format!("shard-{index}"),
        shard: index as u32,
        journal_file_bytes: 96 << 10,
        journal_files_initial: 4,
        journal_files_max: 6,
        prewrite_at_start: 0,
        max_batch_bytes: 16_000,
        group_bytes: 16_384,
        memory_bytes: 1 << 20,
        chunk_bytes: 16_384,
        read_ahead_bytes: 16_384,
        read_depth: 2,
        drain_depth: 2,
        checkpoint_bytes: 32_768,
        max_open_files: 16,
        space_interval: Duration::from_secs(3600),
        ..StoreConfig::default()
    }
}

impl Broker {
    /// Starts on whatever is on the disk.
    pub async fn start(env: &SimEnv, cores: usize) -> Broker {
        let statics = [(
            "transaction.abort.timed.out.transaction.cleanup.interval.ms".to_owned(),
            ABORT_INTERVAL_MS.to_owned(),
        )];
        let node = Node {
            static_configs: Arc::new(BTreeMap::from(statics)),
            // Who this start is does not matter here, and the same seed is to give the same bytes.
            random: || [5; 16],
            ..node(cores)
        };
        let shards = start(env, node, config).await;
        Broker {
            env: env.clone(),
            shards: Rc::new(shards),
        }
    }

    /// Creates the topics, which a new disk does not have.
    pub async fn create_topics(&self) {
        let mut records = Vec::new();
        let topics: [(&str, [u8; 16], i32); 3] = [
            ("t", TOPIC, PARTITIONS),
            (TRANSACTION_STATE, *b"states of ids...", 2),
            (CONSUMER_OFFSETS, *b"offsets of some.", 2),
        ];
        for (name, id, partitions) in topics {
            records.push(MetaRecord::TopicCreated(TopicCreated {
                name: name.into(),
                id,
                replicas: vec![vec![1]; partitions as usize],
            }));
        }
        let created = self.shards[0].propose(move |_| (records, ())).await;
        created.expect("topics");
    }

    /// Cores that own partitions of the clients' topic.
    pub fn data_cores(&self) -> BTreeSet<usize> {
        (0..PARTITIONS)
            .map(|p| self.shards[0].owner(&partition(p as u32)))
            .collect()
    }

    /// Asks over a connection of the core, and gives the answer's body, which has tagged fields in its header.
    pub async fn ask(&self, core: usize, frame: Bytes) -> Vec<u8> {
        ask(&self.shards[core % self.shards.len()], frame, true).await
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.env.sleep(Duration::from_millis(ms)).await;
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.env.spawn(Class::Journal, task);
    }

    /// All batches of a partition that a reader gets from offset 0 on, and, for a reader of committed data, what it is
    /// told of aborted transactions: producer id and first offset.
    async fn fetch(&self, index: i32, read_committed: bool) -> (Vec<Batch>, Vec<(i64, i64)>) {
        let id = partition(index as u32);
        let shard = &self.shards[self.shards[0].owner(&id)];
        let (mut at, mut found, mut aborted) = (0, Vec::new(), Vec::new());
        loop {
            let op = FetchOp {
                parts: vec![PartFetch {
                    slot: 0,
                    id,
                    offset: at,
                    max_bytes: 1 << 20,
                    leader_epoch: -1,
                    last_epoch: -1,
                }],
                max_bytes: 1 << 20,
                min_bytes: 0,
                deadline_ms: 0,
                no_zstd: false,
                read_committed,
            };
            let fetched = shard.fetch(op).await.pop().expect("one partition");
            assert!(fetched.error.is_none(), "t-{index} from {at}: {}", fetched.error);
            for txn in &fetched.aborted {
                // Each answer tells those that overlap it; a later one may repeat.
                if !aborted.contains(txn) {
                    aborted.push(*txn);
                }
            }
            let before = at;
            for chunk in &fetched.chunks {
                for batch in batches(chunk) {
                    let batch = batch.expect("a whole batch");
                    assert!(batch.crc_ok(), "t-{index}, offset {}: CRC", batch.base_offset());
                    at = batch.last_offset() + 1;
                    found.push(read(&batch));
                }
            }
            if at == before {
                return (found, aborted);
            }
        }
    }

    /// Everything in a partition.
    pub async fn log(&self, index: i32) -> Vec<Batch> {
        self.fetch(index, false).await.0
    }

    /// What a consumer of committed records gets, as Kafka's consumers sort it out: records of a producer are skipped
    /// from the first offset of an aborted transaction up to its marker.
    pub async fn committed(&self, index: i32) -> Vec<Value> {
        let (found, aborted) = self.fetch(index, true).await;
        let mut coming = aborted;
        coming.sort_by_key(|(_, first)| *first);
        let (mut coming, mut skipped) = (coming.into_iter().peekable(), BTreeSet::new());
        let mut values = Vec::new();
        for batch in found {
            while let Some((producer_id, _)) = coming.next_if(|(_, first)| *first <= batch.offset) {
                skipped.insert(producer_id);
            }
            match batch.what {
                What::Marker { commit: false } => {
                    skipped.remove(&batch.producer.0);
                }
                What::Marker { commit: true } => {}
                What::Values(more) if !skipped.contains(&batch.producer.0) => values.extend(more),
                What::Values(_) => {}
            }
        }
        values
    }

    /// Has the record of a transactional id written behind its coordinator's back: who has had so many transactions that
    /// the epochs of its producer id are nearly used up. The next start reads it.
    pub async fn plant(&self, id: &str, (producer_id, producer_epoch): Identity) {
        let mut key = Writer::new();
        key.i16(0);
        let name = TransactionLogKey {
            transactional_id: id.into(),
        };
        name.encode(&mut key, 0).expect("a key");
        let now_ms = self.env.wall_ms();
        let mut value = Writer::new();
        value.i16(1);
        let told = TransactionLogValue {
            producer_id,
            producer_epoch,
            transaction_timeout_ms: 150,
            transaction_status: TxnState::CompleteCommit as i8,
            transaction_partitions: Some(Vec::new()),
            transaction_last_update_timestamp_ms: now_ms,
            transaction_start_timestamp_ms: now_ms,
            client_transaction_version: 2,
            ..Default::default()
        };
        told.encode(&mut value, 1).expect("a value");
        let mut batch = BatchBuilder::new();
        batch
            .push(now_ms, Some(&key.to_vec()), Some(&value.to_vec()), &[])
            .expect("a record");
        let place = self.shards[0]
            .coordinator_of(TRANSACTION_STATE, id)
            .expect("the topic is there");
        let shard = &self.shards[self.shards[0].owner(&place)];
        let log = &shard.partition(&place).expect("it lives there").log;
        let appended = log.append(&batch.build_uncompressed(), 0, now_ms).expect("room");
        shard.store.wait_durable(appended.lsn).await.expect("a store");
    }

    /// Waits until every transaction has ended and every partition shows all that it has.
    pub async fn rest(&self) -> Result<(), String> {
        let until = self.shards[0].now_ms() + REST_MS;
        loop {
            let restless = match self.restless().await {
                None => return Ok(()),
                Some(why) => why,
            };
            if self.shards[0].now_ms() >= until {
                return Err(format!("no rest: {restless}"));
            }
            self.sleep_ms(10).await;
        }
    }

    async fn restless(&self) -> Option<String> {
        for shard in self.shards.iter() {
            for answer in shard
                .txns_owned(Request::List(ListTransactions {
                    duration_ms: -1,
                    ..ListTransactions::default()
                }))
                .await
            {
                let Response::Listed(listed) = answer else {
                    unreachable!("it was asked for a list")
                };
                match listed {
                    Err(error) => return Some(format!("a coordinator says {error}")),
                    Ok(listed) => {
                        let at_rest = [TxnState::Empty, TxnState::CompleteCommit, TxnState::CompleteAbort];
                        let open = listed
                            .iter()
                            .find(|l| at_rest.iter().all(|state| state.name() != l.state));
                        if let Some(open) = open {
                            return Some(format!("{open:?}"));
                        }
                    }
                }
            }
        }
        for served in self.served() {
            let (end, stable) = (served.log.end_offset(), served.last_stable_offset());
            if stable != end {
                return Some(format!(
                    "{:?} is stable up to {stable} of {end}, high watermark {}",
                    served.id,
                    served.high_watermark()
                ));
            }
        }
        None
    }

    /// All partitions but the metadata log.
    pub fn served(&self) -> Vec<Rc<crate::shard::partition::Partition<SimEnv>>> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.partitions.borrow().values().cloned().collect::<Vec<_>>())
            .collect();
        all.sort_by_key(|served| served.id);
        all
    }
}

fn read(batch: &BatchView<'_>) -> Batch {
    let mut decompressor = Decompressor::new();
    let records: Vec<(Vec<u8>, Vec<u8>)> = batch
        .records(&mut decompressor, 1 << 20)
        .expect("records")
        .map(|record| {
            let record = record.expect("a record");
            (
                record.key.unwrap_or_default().to_vec(),
                record.value.unwrap_or_default().to_vec(),
            )
        })
        .collect();
    let what = if batch.attributes().is_control() {
        let [(key, value)] = &records[..] else {
            panic!("a control batch of {} records", records.len())
        };
        match ControlRecord::read(key, value) {
            Some(ControlRecord::Commit(_)) => What::Marker { commit: true },
            Some(ControlRecord::Abort(_)) => What::Marker { commit: false },
            other => panic!("no marker: {other:?}"),
        }
    } else {
        What::Values(
            records
                .iter()
                .map(|(_, value)| Value::read(value).expect("written by a client here"))
                .collect(),
        )
    };
    Batch {
        offset: batch.base_offset(),
        producer: (batch.producer_id(), batch.producer_epoch()),
        what,
    }
}
