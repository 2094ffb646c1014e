//! A change of the number of cores, with power cuts at every moment of it.
//!
//! Partitions move between shards at start. Whatever the moment of a power cut, and whatever number of cores the next
//! start asks for, each partition is there once, whole.

use super::batch::{self, BatchSpec};
use super::disk::Disk;
use super::enumerate::{Plan, Recording, enumerate, sample};
use super::env::SimEnv;
use super::exec::Outcome;
use super::life::snapshot;
use super::model::{Change, Found, State, Stored, difference, name};
use super::params::Params;
use super::rng::Rng;

use crate::{Identity, LogSettings, OpenError, PartitionId, Store, prepare};
use std::cell::RefCell;
use std::rc::Rc;

fn owner(id: &PartitionId, shards: u32) -> u32 {
    (u32::from(id.topic[0]) * 7 + id.partition) % shards
}

const IDENTITY: Identity = Identity {
    directory_id: [3; 16],
    cluster_id: [4; 16],
    broker_id: 1,
};

async fn open_all(env: &SimEnv, params: &Params, shards: u32) -> Result<Vec<Store<SimEnv>>, OpenError> {
    let layout = prepare(env, shards, IDENTITY, &params.config, &|id| owner(id, shards)).await?;
    assert_eq!(layout.shards, shards);
    let mut stores = Vec::new();
    for shard in 0..shards {
        let config = layout.shard_config(shard, &params.config);
        let (store, _) = Store::open(env.clone(), config, Rc::new(|_: &[crate::Advance]| {})).await?;
        stores.push(store);
    }
    Ok(stores)
}

async fn read_everything(stores: &[Store<SimEnv>], seed: u64) -> Found {
    let shards = stores.len() as u32;
    let mut found = Found::default();
    for (shard, store) in stores.iter().enumerate() {
        for (id, partition) in snapshot(store, &mut Rng::new(seed)).await.partitions {
            assert_eq!(
                owner(&id, shards),
                shard as u32,
                "{} is in another's shard",
                name(id)
            );
            let twice = found.partitions.insert(id, partition);
            assert!(twice.is_none(), "{} is there twice", name(id));
        }
    }
    found
}

/// Writes to some shards, changes their number, and enumerates the power cuts of that. Returns the images visited.
pub fn remap(seed: u64, samples: usize, prefix_permille: u64) -> usize {
    let mut rng = Rng::new(seed).fork("remap");
    let params = Params::from_seed(seed);
    let (before, after) = (rng.range(1, 3) as u32, rng.range(1, 3) as u32);
    let truth: Rc<RefCell<State>> = Rc::default();
    let env = SimEnv::start(
        Disk::new(params.capacity, params.sector),
        rng.u64(),
        1_000_000_000,
    );
    env.set_latency(params.latency);
    let close = rng.chance(1, 3);
    let main = write_some(
        env.clone(),
        params.clone(),
        before,
        truth.clone(),
        rng.fork("writes"),
        close,
    );
    env.run(main).expect_done("writing");
    let now_ns = env.exec().now();
    let (left, _) = env.end();
    let start = if rng.chance(1, 3) {
        left.process_exit(&mut rng)
    } else {
        left.crash(&sample(&left.atoms(), &mut rng))
    };
    let truth = truth.borrow().clone();

    let (disk, log) = start_again(&params, start.clone(), after, rng.u64(), now_ns, &truth)
        .unwrap_or_else(|why| panic!("from {before} to {after} shards: {why}"));
    drop(disk);
    let plan = Plan {
        seed: rng.u64(),
        exhaustive: 4,
        samples,
        prefix_permille,
    };
    let recording = Recording { start, log };
    enumerate(&recording, &plan, |point| {
        let next = rng.range(1, 3) as u32;
        if let Err(why) = start_again(&params, point.disk, next, rng.u64(), now_ns, &truth) {
            panic!(
                "from {before} to {after} shards, power cut after event {} of {} ({:?}), then {next} shards: {why}",
                point.prefix,
                recording.log.len(),
                point.fates
            );
        }
        true
    })
}

type Left = (Disk, Vec<super::disk::Io>);

fn start_again(
    params: &Params,
    disk: Disk,
    shards: u32,
    seed: u64,
    now_ns: u64,
    truth: &State,
) -> Result<Left, String> {
    let env = SimEnv::start(disk, seed, now_ns);
    env.set_latency(params.latency);
    let (inner, params) = (env.clone(), params.clone());
    let outcome = env.run(async move {
        let stores = open_all(&inner, &params, shards)
            .await
            .map_err(|e| format!("did not open: {e}"))?;
        let at = inner.log_len();
        Ok::<_, String>((read_everything(&stores, seed).await, at))
    });
    let (disk, mut log) = env.end();
    match outcome {
        Outcome::Done(Ok((found, at))) => match difference(truth, &found) {
            None => {
                log.truncate(at);
                Ok((disk, log))
            }
            Some(why) => Err(why),
        },
        Outcome::Done(Err(why)) => Err(why),
        Outcome::Poisoned(why) => Err(format!("poisoned: {why}")),
        Outcome::Halted | Outcome::Stuck => Err("hangs".into()),
    }
}

async fn write_some(
    env: SimEnv,
    params: Params,
    shards: u32,
    truth: Rc<RefCell<State>>,
    mut rng: Rng,
    close: bool,
) {
    let stores = open_all(&env, &params, shards).await.expect("an empty disk");
    let settings = LogSettings {
        segment_bytes: 4096,
        ..LogSettings::default()
    };
    for n in 0..40 {
        let mut topic = [0; 16];
        topic[0] = rng.below(3) as u8;
        let id = PartitionId {
            topic,
            partition: rng.below(3) as u32,
        };
        let store = &stores[owner(&id, shards) as usize];
        let log = match store.log(&id) {
            Some(log) => log,
            None => {
                truth.borrow_mut().apply(&Change::Create(id));
                store.create(id, settings).expect("new")
            }
        };
        let spec = BatchSpec {
            bytes: rng.range(61, 1500) as usize,
            records: 2,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: 0,
            max_timestamp: n,
        };
        let raw = batch::build(&spec, &mut rng);
        let Ok(appended) = log.append(&raw, 0, 0) else {
            continue;
        };
        let base = appended.base_offset;
        let stored = Stored {
            base,
            last: appended.last_offset,
            bytes: batch::placed(&raw, base, 0),
        };
        truth.borrow_mut().apply(&Change::Append(id, Rc::new(stored)));
        store.wait_durable(appended.lsn).await.expect("open");
        if rng.chance(1, 12) {
            store.checkpoint().await.expect("open");
        }
    }
    for store in &stores {
        store.wait_durable(store.last_lsn()).await.expect("open");
    }
    if close {
        for store in stores {
            store.close().await.expect("closing");
        }
    }
}
