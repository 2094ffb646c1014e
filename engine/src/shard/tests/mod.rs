//! One core with its requests in the simulator: time and device are simulated, the rest is the broker's own code.

mod stall;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::encode_request;
use turgo_net::wire::Encode;
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
    let env = SimEnv::start(Disk::new(256 << 20, 4096), seed, 1_000_000_000);
    let main = {
        let env = env.clone();
        async move {
            let shard = start(&env, memory_bytes).await;
            test(env, shard.clone()).await;
            shard.release_waits();
            shard.stop();
            shard.store.clone().close().await.expect("the store closes");
        }
    };
    env.run(main).expect_done("simulation");
}

async fn start(env: &SimEnv, memory_bytes: u64) -> SimShard {
    let config = StoreConfig {
        journal_file_bytes: 8 << 20,
        prewrite_at_start: 0,
        max_batch_bytes: 256 << 10,
        group_bytes: 256 << 10,
        memory_bytes,
        ..StoreConfig::default()
    };
    let partitions = Rc::default();
    let listener = commit_listener(&partitions);
    let (store, _) = Store::open(env.clone(), config, listener).await.expect("a store");
    let shard = Shard::new(
        0,
        env.clone(),
        Arc::new(node()),
        store,
        partitions,
        vec![Rc::default()],
    );
    let ticking = Rc::downgrade(&shard);
    let clock = env.clone();
    env.spawn(Class::Journal, async move {
        while let Some(shard) = ticking.upgrade().filter(|shard| !shard.stopping.get()) {
            shard.tick();
            drop(shard);
            clock.sleep(Duration::from_millis(2)).await;
        }
    });
    shard.load_metadata().await.expect("metadata");
    shard
}

fn node() -> Node {
    Node {
        id: 1,
        cluster_id: crate::ids::uuid_text(&[7; 16]),
        rack: None,
        advertised_host: "localhost".into(),
        advertised_port: 9092,
        data_dir: "/data".into(),
        cores: 1,
        max_request_bytes: 1 << 20,
        max_connections: 10,
        idle_timeout_ms: 600_000,
        request_memory: 16 << 20,
        response_memory: 16 << 20,
        static_configs: Arc::new(BTreeMap::new()),
        load: vec![Default::default()],
        random: || [9; 16],
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

/// Asks as a connection does; gives the answer's body, behind a header of `header` bytes.
pub(crate) async fn ask(shard: &SimShard, frame: Bytes, tags: bool) -> Vec<u8> {
    let client = Client::default();
    let parts = match requests::begin(shard, &client, frame).expect("a request that is served") {
        InFlight::Produce(produce) => produce
            .finish(shard)
            .await
            .expect("an answer")
            .expect("not acks=0"),
        InFlight::Other(pending) => requests::answer(pending, &client).await.expect("an answer"),
    };
    let bytes: Vec<u8> = parts.concat();
    bytes[4 + CORRELATION + usize::from(tags)..].to_vec()
}
