//! One core with its requests in the simulator: time and device are simulated, the rest is the broker's own code.

mod crash;
mod sessions;
mod stall;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::records::BatchBuilder;
use turgo_net::wire::Encode;
use turgo_net::{ErrorCode, Reader, Records, encode_request};
use turgo_storage::env::{Class, Env};
use turgo_storage::sim::disk::Disk;
use turgo_storage::sim::env::SimEnv;
use turgo_storage::{PartitionId, Store, StoreConfig};

use super::{Shard, commit_listener};
use crate::metadata::{MetaRecord, TopicCreated};
use crate::node::Node;
use crate::requests::{self, Client, InFlight};

/// Bytes of an answer's header without tags: its correlation id.
const CORRELATION: usize = 4;

pub(crate) type SimShard = Rc<Shard<SimEnv>>;

/// Id of the topic that [`create_topic`] makes.
pub(crate) const TOPIC: [u8; 16] = *b"a topic made up.";

pub(crate) fn partition(partition: u32) -> PartitionId {
    PartitionId {
        topic: TOPIC,
        partition,
    }
}

/// Runs `test` on a core whose store has so much memory, in a world made of `seed`.
pub(crate) fn simulate<F>(seed: u64, memory_bytes: u64, test: impl FnOnce(SimEnv, SimShard) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    simulate_cores(seed, memory_bytes, 1, |env, shards| test(env, shards[0].clone()));
}

/// Runs `test` on so many cores, each with a store of that much memory.
pub(crate) fn simulate_cores<F>(
    seed: u64,
    memory_bytes: u64,
    cores: usize,
    test: impl FnOnce(SimEnv, Vec<SimShard>) -> F + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let env = SimEnv::start(Disk::new(256 << 20, 4096), seed, 1_000_000_000);
    let main = {
        let env = env.clone();
        async move {
            let config = move |index: usize| StoreConfig {
                dir: format!("shard-{index}"),
                shard: index as u32,
                journal_file_bytes: 8 << 20,
                prewrite_at_start: 0,
                max_batch_bytes: 256 << 10,
                group_bytes: 256 << 10,
                memory_bytes,
                ..StoreConfig::default()
            };
            let shards = start(&env, node(cores), config).await;
            test(env, shards.clone()).await;
            shards.iter().for_each(|shard| shard.release_waits());
            for shard in shards {
                shard.stop();
                shard.store.clone().close().await.expect("the store closes");
            }
        }
    };
    env.run(main).expect_done("simulation");
}

/// Starts a node on what is on the disk, each core with the store that `config` says.
pub(crate) async fn start(env: &SimEnv, node: Node, config: impl Fn(usize) -> StoreConfig) -> Vec<SimShard> {
    let cores = node.cores;
    let node = Arc::new(node);
    let mut shards = Vec::new();
    for index in 0..cores {
        let partitions = Rc::default();
        let listener = commit_listener(&partitions);
        let (store, _) = Store::open(env.clone(), config(index), listener)
            .await
            .expect("a store");
        let outboxes = (0..cores).map(|_| Rc::default()).collect();
        let shard = Shard::new(index, env.clone(), node.clone(), store, partitions, outboxes);
        let ticking = Rc::downgrade(&shard);
        let clock = env.clone();
        env.spawn(Class::Journal, async move {
            while let Some(shard) = ticking.upgrade().filter(|shard| !shard.stopping.get()) {
                shard.tick();
                drop(shard);
                clock.sleep(Duration::from_millis(2)).await;
            }
        });
        shards.push(shard);
    }
    for from in &shards {
        for (outbox, to) in from.outboxes.iter().zip(&shards) {
            let (outbox, to) = (outbox.clone(), to.clone());
            env.spawn(Class::Journal, async move {
                while let Some(message) = outbox.pop().await {
                    to.receive(message);
                }
            });
        }
    }
    shards[0].load_metadata().await.expect("metadata");
    shards
}

/// Different each time, the same in each run.
fn random() -> [u8; 16] {
    thread_local!(static DRAWN: Cell<u64> = const { Cell::new(0) });
    let drawn = DRAWN.get() + 1;
    DRAWN.set(drawn);
    u128::from(drawn)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        .to_le_bytes()
}

pub(crate) fn node(cores: usize) -> Node {
    Node {
        id: 1,
        cluster_id: crate::ids::uuid_text(&[7; 16]),
        rack: None,
        advertised_host: "localhost".into(),
        advertised_port: 9092,
        data_dir: "/data".into(),
        cores,
        max_request_bytes: 1 << 20,
        max_connections: 10,
        idle_timeout_ms: 600_000,
        request_memory: 16 << 20,
        response_memory: 16 << 20,
        static_configs: Arc::new(BTreeMap::new()),
        load: (0..cores).map(|_| Default::default()).collect(),
        random,
    }
}

pub(crate) async fn create_topic(shard: &SimShard, name: &'static str, partitions: usize) {
    let created = MetaRecord::TopicCreated(TopicCreated {
        name: name.into(),
        id: TOPIC,
        replicas: vec![vec![1]; partitions],
    });
    shard
        .propose(move |_| (vec![created], ()))
        .await
        .expect("a topic");
}

/// The frame of a request.
pub(crate) fn frame<M: Encode>(api: ApiKey, version: i16, body: &M) -> Bytes {
    let bytes = encode_request(api, version, 1, Some("test"), body)
        .expect("a valid request")
        .to_vec();
    Bytes::from(bytes).slice(4..)
}

/// Asks as a connection does; gives the answer's body. `tags`: its header has tagged fields.
pub(crate) async fn ask(shard: &SimShard, frame: Bytes, tags: bool) -> Vec<u8> {
    ask_by(shard, &Client::default(), frame, tags).await
}

/// The same as `client`.
pub(crate) async fn ask_by(shard: &SimShard, client: &Client, frame: Bytes, tags: bool) -> Vec<u8> {
    let parts = match requests::begin(shard, client, frame).expect("a request that is served") {
        InFlight::Produce(produce) => produce
            .finish(shard)
            .await
            .expect("an answer")
            .expect("not acks=0"),
        InFlight::Other(pending) => requests::answer(pending, client).await.expect("an answer"),
    };
    let bytes: Vec<u8> = parts.concat();
    bytes[4 + CORRELATION + usize::from(tags)..].to_vec()
}

/// A Produce v9 of one batch of about `bytes` for one partition.
pub(crate) fn produce_frame(topic: &str, acks: i16, timeout_ms: i32, index: i32, bytes: usize) -> Bytes {
    let mut batch = BatchBuilder::new();
    batch
        .push(1_780_000_000_000, None, Some(&vec![b'x'; bytes]), &[])
        .expect("a record");
    let batch = batch.build_uncompressed();
    let request = ProduceRequest {
        acks,
        timeout_ms,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned().into(),
            partition_data: vec![PartitionProduceData {
                index,
                records: Records::Slice(&batch),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    frame(ApiKey::Produce, 9, &request)
}

/// Sends such a Produce; error code and base offset.
pub(crate) async fn send(shard: &SimShard, frame: Bytes) -> (ErrorCode, i64) {
    let answer = ask(shard, frame, true).await;
    let response = ProduceResponse::decode(&mut Reader::new(&answer), 9).expect("a body");
    let part = &response.responses[0].partition_responses[0];
    (ErrorCode(part.error_code), part.base_offset)
}

/// Writes one record of so many bytes and waits for it.
pub(crate) async fn produce(shard: &SimShard, topic: &str, index: i32, bytes: usize) -> (ErrorCode, i64) {
    send(shard, produce_frame(topic, -1, 10_000, index, bytes)).await
}
