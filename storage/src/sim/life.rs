//! One life of a simulated process: recover from a disk, be used, end somehow. And the judgement of a recovery.
//!
//! A [`Life`] keeps what the enumerator needs: the disk it started from, every IO, what was done and what was
//! acknowledged, with positions in the IO log. [`judge`] recovers from any image of it and compares.

use super::disk::{Disk, Io};
use super::env::{Fault, FaultPlan, OpKind, SimEnv};
use super::exec::Outcome;
use super::model::{Found, FoundPartition, History, Producer, State, Stored, difference, name, parse};
use super::params::Params;
use super::rng::Rng;
use super::watch::Watch;
use super::workload::{Counts, Shared, Workload};
use crate::env::Env;
use crate::{Identity, Log, OpenError, ReadOutcome, Recovered, Store, Verdict, prepare};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It did all it was asked to, and was then cut off without warning.
    Finished,
    /// It closed the store.
    Closed,
    /// The power went at the chosen moment.
    Cut,
    /// It poisoned itself.
    Poisoned(String),
    /// The store did not open.
    Refused(String),
}

/// What may be found at the start of a life, before anything was done in it.
#[derive(Clone)]
pub enum Expected {
    /// Exactly this.
    State(Box<State>),
    /// The state after some number of changes of the life before.
    OneOf(Rc<History>, usize, usize),
}

impl Expected {
    /// Nothing: the first life.
    pub fn nothing() -> Expected {
        Expected::State(Box::default())
    }

    /// The state of the model that `found` equals.
    pub fn check(&self, found: &Found) -> Result<State, String> {
        match self {
            Expected::State(state) => match difference(state, found) {
                None => Ok((**state).clone()),
                Some(why) => Err(why),
            },
            Expected::OneOf(history, floor, issued) => history
                .explain(found, *floor, *issued)
                .map(|count| history.state_after(count)),
        }
    }
}

/// What to do in a life.
pub struct Script {
    /// Parameters of the run.
    pub params: Params,
    /// Seed of this life.
    pub seed: u64,
    /// Where it starts.
    pub disk: Disk,
    /// Virtual time it starts at, nanoseconds.
    pub now_ns: u64,
    /// What it must find.
    pub expected: Expected,
    /// Operations of the workload.
    pub steps: usize,
    /// Cut the power after so many IO events.
    pub cut_after: Option<u64>,
    /// Close the store at the end.
    pub close: bool,
    /// Faults to inject, by operation.
    pub faults: Option<FaultPlan>,
}

/// A life that is over.
pub struct Life {
    /// Parameters of the run.
    pub params: Params,
    /// The disk it started from.
    pub start: Disk,
    /// What it was to find there.
    pub expected: Expected,
    /// The disk as it left it, with everything volatile still volatile.
    pub disk: Disk,
    /// Every IO.
    pub log: Vec<Io>,
    /// Position in the log when the store had opened; the log's length if it never did.
    pub opened_at: usize,
    /// What was done since.
    pub history: History,
    /// How it ended.
    pub end: End,
    /// Virtual time of the end.
    pub now_ns: u64,
    /// Fingerprint.
    pub hash: u64,
    /// What recovery reported.
    pub recovered: Recovered,
    /// What the workload did.
    pub counts: Counts,
    /// Groups that overwrote older ones: the ring wrapped.
    pub overwritten: u64,
}

impl Life {
    /// What may be found when the power went at `prefix`.
    pub fn expected_at(&self, history: &Rc<History>, prefix: usize) -> Expected {
        if prefix < self.opened_at {
            self.expected.clone()
        } else {
            Expected::OneOf(history.clone(), history.floor(prefix), history.issued(prefix))
        }
    }
}

/// Lives the script. Panics where an invariant is broken.
pub fn live(script: Script) -> Life {
    let Script {
        params,
        seed,
        disk,
        now_ns,
        expected,
        steps,
        cut_after,
        close,
        faults,
    } = script;
    let env = SimEnv::start(disk.clone(), seed, now_ns);
    env.set_latency(params.latency);
    if let Some(events) = cut_after {
        env.halt_after(events);
    }
    if let Some(faults) = faults {
        env.set_faults(faults);
    } else if params.slow_superblock {
        env.set_faults(|op| {
            let hit = op.kind == OpKind::Write && op.path.ends_with("/superblock");
            if hit {
                Fault::Stall(Duration::from_millis(40))
            } else {
                Fault::None
            }
        });
    }
    let watch = Rc::new(RefCell::new(Watch::new(&params.config.dir)));
    let watching = watch.clone();
    if params.watch {
        env.set_observer(move |disk, io| watching.borrow_mut().see(disk, io));
    }
    let shared = Shared::new(env.clone());
    let opened: Rc<RefCell<Option<(usize, Recovered)>>> = Rc::default();
    let main = {
        let (env, shared, opened, params, expected) = (
            env.clone(),
            shared.clone(),
            opened.clone(),
            params.clone(),
            expected.clone(),
        );
        async move {
            let (store, recovered) = match open(&env, &params, shared.clone()).await {
                Ok(open) => open,
                Err(error) => return End::Refused(error.to_string()),
            };
            let opened_at = env.log_len();
            let found = snapshot(&store, &mut Rng::new(seed)).await;
            let state = expected
                .check(&found)
                .unwrap_or_else(|why| panic!("after recovery ({recovered:?}): {why}"));
            shared.begin(state);
            *opened.borrow_mut() = Some((opened_at, recovered));
            let mut workload = Workload::new(
                env.clone(),
                store.clone(),
                shared.clone(),
                params,
                Rng::new(seed).fork("workload"),
            );
            workload.run(steps).await;
            drop(workload);
            if close {
                store.close().await.expect("closing");
                // Reading tasks end as well.
                env.sleep(Duration::from_millis(100)).await;
                return End::Closed;
            }
            End::Finished
        }
    };
    let end = match env.run(main) {
        Outcome::Done(end) => end,
        Outcome::Poisoned(why) => End::Poisoned(why),
        Outcome::Halted => End::Cut,
        Outcome::Stuck => panic!("no task can run and no event is due: a lost wake-up"),
    };
    let now_ns = env.exec().now();
    let hash = env.trace_hash();
    let (left, log) = env.end();
    let history = shared.history.borrow_mut().take();
    let (opened_at, recovered) = opened
        .borrow_mut()
        .take()
        .unwrap_or((usize::MAX, Recovered::default()));
    let overwritten = watch.borrow().overwritten();
    Life {
        params,
        start: disk,
        expected,
        disk: left,
        opened_at: opened_at.min(log.len() + 1),
        log,
        history: history.unwrap_or_default(),
        end,
        now_ns,
        hash,
        recovered,
        counts: shared.counts.get(),
        overwritten,
    }
}

/// Opens the store with its callback noted in `shared`.
pub async fn open(
    env: &SimEnv,
    params: &Params,
    shared: Rc<Shared>,
) -> Result<(Store<SimEnv>, Recovered), OpenError> {
    let on_commit = Rc::new(move |advances: &[crate::Advance]| {
        for advance in advances {
            shared.committed(advance.id, advance.durable_end);
        }
    });
    let identity = Identity {
        directory_id: [3; 16],
        cluster_id: [4; 16],
        broker_id: 1,
    };
    let layout = prepare(env, 1, identity, &params.config, &|_| 0).await?;
    Store::open(env.clone(), layout.shard_config(0, &params.config), on_commit).await
}

/// Everything a store holds, read the way consumers read.
pub async fn snapshot(store: &Store<SimEnv>, rng: &mut Rng) -> Found {
    let mut state = Found::default();
    for log in store.logs() {
        let partition = read_all(&log, rng).await;
        state.partitions.insert(log.id(), partition);
    }
    state
}

/// Everything one log holds.
pub async fn read_all(log: &Log<SimEnv>, rng: &mut Rng) -> FoundPartition {
    let mut partition = FoundPartition {
        start: log.start_offset(),
        end: log.end_offset(),
        ..FoundPartition::default()
    };
    let id = log.id();
    let mut next = partition.start;
    while next < partition.end {
        let max = *rng.pick(&[1usize, 4000, 1 << 20]);
        let outcome = log.read(next, max, partition.end, true);
        let parts = match outcome.unwrap_or_else(|e| panic!("reading {} at {next}: {e}", name(id))) {
            ReadOutcome::Ready(parts) => parts,
            ReadOutcome::Disk => log
                .read_disk(next, max, partition.end, true)
                .await
                .unwrap_or_else(|e| panic!("reading {} at {next} from disk: {e}", name(id))),
        };
        let got =
            parse(&parts.concat()).unwrap_or_else(|why| panic!("reading {} at {next}: {why}", name(id)));
        assert!(
            !got.is_empty(),
            "{} is empty at {next}, though it ends at {}",
            name(id),
            partition.end
        );
        for stored in got {
            let fits = stored.base <= next
                && stored.last >= next
                && (stored.base == next || next == partition.start);
            assert!(
                fits,
                "I3: {}: {}..={} where {next} was expected",
                name(id),
                stored.base,
                stored.last
            );
            next = stored.last + 1;
            partition
                .batches
                .insert(stored.base, Rc::new(Stored { ..stored }));
        }
    }
    partition.epoch = log.leader_epoch();
    partition.epoch_ends = (-1..=partition.epoch + 1)
        .map(|epoch| log.epoch_end(epoch))
        .collect();
    for entry in log.producers() {
        let window = entry
            .batches()
            .iter()
            .map(|b| (b.base_sequence, b.last_sequence, b.base_offset, b.last_offset))
            .collect();
        partition.producers.insert(
            entry.producer_id,
            Producer {
                epoch: entry.epoch,
                window,
            },
        );
    }
    partition
}

/// What a recovery came to.
pub struct Verdicted {
    /// What the store answered.
    pub found: Found,
    /// The state of the model that it equals.
    pub state: State,
    /// What the store reported.
    pub recovered: Recovered,
    /// Every IO of the recovery.
    pub log: Vec<Io>,
    /// The disk afterwards.
    pub disk: Disk,
}

/// Recovers from `disk` and checks what is found. The error names the broken promise.
pub fn judge(
    params: &Params,
    disk: Disk,
    seed: u64,
    now_ns: u64,
    expected: &Expected,
) -> Result<Verdicted, String> {
    let env = SimEnv::start(disk, seed, now_ns);
    env.set_latency(params.latency);
    let watch = Rc::new(RefCell::new(Watch::new(&params.config.dir)));
    let watching = watch.clone();
    if params.watch {
        env.set_observer(move |disk, io| watching.borrow_mut().see(disk, io));
    }
    let main = {
        let (env, params) = (env.clone(), params.clone());
        async move {
            let shared = Shared::new(env.clone());
            let (store, recovered) = match open(&env, &params, shared).await {
                Ok(open) => open,
                Err(error) => return Err(format!("the store did not open: {error}")),
            };
            let at = env.log_len();
            let found = snapshot(&store, &mut Rng::new(seed)).await;
            Ok((found, recovered, at))
        }
    };
    let outcome = env.run(main);
    let (disk, mut log) = env.end();
    match outcome {
        Outcome::Done(Ok((found, recovered, at))) => {
            if recovered.verdict == Verdict::Damage {
                return Err("I13: a power cut alone was judged as damage".into());
            }
            let state = expected
                .check(&found)
                .map_err(|why| format!("{why}\n  {recovered:?}"))?;
            log.truncate(at);
            Ok(Verdicted {
                found,
                state,
                recovered,
                log,
                disk,
            })
        }
        Outcome::Done(Err(why)) => Err(why),
        Outcome::Poisoned(why) => Err(format!("recovery poisoned itself: {why}")),
        Outcome::Halted | Outcome::Stuck => Err("recovery hangs: no task can run and no event is due".into()),
    }
}
