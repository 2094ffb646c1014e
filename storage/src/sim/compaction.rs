//! Campaigns of compaction: keyed records, tombstones and transactions, passes of the cleaner in between, power cuts at
//! every point. What `storage/tests/sim_compaction.rs` runs.
//!
//! The state a crash may leave is a prefix of what was done, as everywhere; what a log holds of it may be reduced as
//! [`super::keyed`] allows, since a pass may have been over parts of it.

use super::batch::split;
use super::disk::Disk;
use super::enumerate::{Plan, Recording, enumerate, sample};
use super::env::SimEnv;
use super::exec::Outcome;
use super::keyed::{self, Batch, Flip, FoundKeyed, Keyed};
use super::params::Params;
use super::rng::Rng;
use super::watch::Watch;
use crate::env::{Class, Env};
use crate::{
    AppendError, CompactError, CompactionLimits, Identity, Log, LogSettings, OpenError, PartitionId,
    PlantedFaults, ReadError, ReadOutcome, SharedCodec, Store, StoreError, Verdict, prepare,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How much a campaign does per seed.
#[derive(Debug, Clone, Copy)]
pub struct KeyedEffort {
    /// Lives in a chain.
    pub lives: usize,
    /// Operations per life.
    pub steps: usize,
    /// Images per prefix.
    pub samples: usize,
    /// Prefixes visited, in thousandths.
    pub prefix_permille: u64,
}

/// What a campaign did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyedStats {
    /// Batches appended.
    pub appends: u64,
    /// Passes that ended well.
    pub passes: u64,
    /// Passes that something came between.
    pub disturbed: u64,
    /// Records that passes removed.
    pub removed: u64,
    /// Transactions ended.
    pub ended: u64,
    /// Reads checked.
    pub reads: u64,
    /// Logs dropped.
    pub drops: u64,
    /// Power cuts judged.
    pub points: u64,
}

impl KeyedStats {
    /// Adds another campaign's figures.
    pub fn add(&mut self, other: &KeyedStats) {
        self.appends += other.appends;
        self.passes += other.passes;
        self.disturbed += other.disturbed;
        self.removed += other.removed;
        self.ended += other.ended;
        self.reads += other.reads;
        self.drops += other.drops;
        self.points += other.points;
    }
}

#[derive(Clone)]
enum Change {
    Create(u32),
    Append(u32, Rc<Batch>),
    LogStart(u32, i64),
    Truncate(u32, i64),
    Drop(u32),
}

type Logs = BTreeMap<u32, Keyed>;

fn apply(logs: &mut Logs, change: &Change) {
    match change {
        Change::Create(n) => {
            logs.insert(*n, Keyed::default());
        }
        Change::Append(n, batch) => logs.get_mut(n).expect("it exists").append(batch.clone()),
        Change::LogStart(n, to) => logs.get_mut(n).expect("it exists").start = *to,
        Change::Drop(n) => {
            logs.remove(n);
        }
        Change::Truncate(n, to) => logs.get_mut(n).expect("it exists").truncate(*to),
    }
}

/// What was done in a life, in journal order.
#[derive(Default)]
struct Story {
    base: Logs,
    now: Logs,
    /// With the position in the IO log, and the LSN.
    changes: Vec<(usize, u64, Change)>,
    /// (position in the IO log, changes known to be durable by then).
    durable: Vec<(usize, usize)>,
    stats: KeyedStats,
    /// Moves whenever something is taken away from a log.
    removals: u64,
}

impl Story {
    fn note(&mut self, at: usize, lsn: u64, change: Change) {
        apply(&mut self.now, &change);
        self.changes.push((at, lsn, change));
    }

    /// Checks that what was found is a state between what was durable and what was done at `prefix`, and returns it.
    fn explain(&self, found: &BTreeMap<u32, FoundKeyed>, prefix: usize, go: bool) -> Result<Logs, String> {
        let known = self.durable.partition_point(|d| d.0 <= prefix);
        let floor = if known == 0 { 0 } else { self.durable[known - 1].1 };
        let issued = self.changes.partition_point(|c| c.0 <= prefix);
        let mut logs = self.base.clone();
        let mut why = String::new();
        for count in 0..=issued {
            if count > 0 {
                apply(&mut logs, &self.changes[count - 1].2);
            }
            if count < floor {
                continue;
            }
            let spans =
                |l: &Logs| -> Vec<(u32, i64, i64)> { l.iter().map(|(n, k)| (*n, k.start, k.end)).collect() };
            let found_spans: Vec<_> = found.iter().map(|(n, f)| (*n, f.start, f.end)).collect();
            if spans(&logs) != found_spans {
                continue;
            }
            let wrong = logs
                .iter()
                .find_map(|(n, k)| k.explains(&found[n], go).err().map(|e| format!("log {n}: {e}")));
            match wrong {
                None => return Ok(logs),
                Some(e) => why = format!("; after {count} changes {e}"),
            }
        }
        let spans: Vec<_> = found.iter().map(|(n, f)| (*n, f.start, f.end)).collect();
        Err(format!(
            "found {spans:?}, which is no state after {floor} (durable) to {issued} (made) changes{why}"
        ))
    }
}

fn id(n: u32) -> PartitionId {
    PartitionId {
        topic: [9; 16],
        partition: n,
    }
}

async fn open(env: &SimEnv, params: &Params) -> Result<(Store<SimEnv>, crate::Recovered), OpenError> {
    let identity = Identity {
        directory_id: [3; 16],
        cluster_id: [4; 16],
        broker_id: 1,
    };
    let layout = prepare(env, 1, identity, &params.config, &|_| 0).await?;
    Store::open(
        env.clone(),
        layout.shard_config(0, &params.config),
        Rc::new(|_| {}),
    )
    .await
}

async fn read_from(log: &Log<SimEnv>, at: i64, upto: i64, max: usize) -> Result<Vec<Batch>, ReadError> {
    let parts = match log.read(at, max, upto, true)? {
        ReadOutcome::Ready(parts) => parts,
        ReadOutcome::Disk => log.read_disk(at, max, upto, true).await?,
    };
    let bytes = parts.concat();
    let batches = split(&bytes).unwrap_or_else(|e| panic!("reading at {at}: {e}"));
    Ok(batches.into_iter().map(keyed::read).collect())
}

/// Everything in a log; an error if it is taken away meanwhile.
async fn look(log: &Log<SimEnv>, rng: &mut Rng) -> Result<FoundKeyed, ReadError> {
    let mut found = FoundKeyed {
        start: log.start_offset(),
        end: log.end_offset(),
        ..FoundKeyed::default()
    };
    let mut at = found.start;
    while at < found.end {
        let max = *rng.pick(&[1, 2000, 1 << 20]);
        let batches = read_from(log, at, found.end, max).await?;
        let Some(last) = batches.last() else { break };
        at = last.last + 1;
        found.batches.extend(batches);
    }
    found.aborted = log
        .aborted_transactions_disk(0, i64::MAX)
        .await?
        .iter()
        .map(|a| (a.producer_id, a.first_offset, a.last_offset))
        .collect();
    found.unstable = log.first_unstable_offset();
    found.producers = log
        .producers()
        .iter()
        .map(|p| (p.producer_id, p.epoch, p.last_sequence(), p.txn_first_offset))
        .collect();
    Ok(found)
}

async fn look_at_all(store: &Store<SimEnv>, rng: &mut Rng) -> BTreeMap<u32, FoundKeyed> {
    let mut all = BTreeMap::new();
    for log in store.logs() {
        let found = look(&log, rng)
            .await
            .unwrap_or_else(|e| panic!("reading log {}: {e}", log.id().partition));
        all.insert(log.id().partition, found);
    }
    all
}

/// One life's driver.
struct Driver {
    env: SimEnv,
    store: Store<SimEnv>,
    story: Rc<RefCell<Story>>,
    rng: Rng,
    /// Milliseconds tombstones stay: 0, or for ever.
    retention: i64,
    serial: u64,
    passing: Rc<Cell<bool>>,
    codec: SharedCodec,
}

impl Driver {
    fn settings(&mut self) -> LogSettings {
        LogSettings {
            segment_bytes: *self.rng.pick(&[600, 1500, 4000]),
            segment_ms: *self.rng.pick(&[1000, 3_600_000]),
            file_delete_delay_ms: 0,
            retention_ms: -1,
            compact: true,
            min_cleanable_ppm: 0,
            delete_retention_ms: self.retention,
            ..LogSettings::default()
        }
    }

    fn log(&self, n: u32) -> Log<SimEnv> {
        self.store.log(&id(n)).expect("it exists")
    }

    fn keyed(&self, n: u32) -> Keyed {
        self.story.borrow().now[&n].clone()
    }

    fn note(&self, lsn: u64, change: Change) {
        let at = self.env.log_len();
        if !matches!(change, Change::Append(..) | Change::Create(_)) {
            self.story.borrow_mut().removals += 1;
        }
        self.story.borrow_mut().note(at, lsn, change);
    }

    async fn run(&mut self, steps: usize) {
        for n in 0..2 {
            self.create(n);
        }
        for _ in 0..steps {
            let n = self.rng.below(2) as u32;
            self.create(n);
            if self.store.log(&id(n)).is_none() {
                self.pass_time().await;
                continue;
            }
            match self.rng.below(100) {
                0..35 => self.append(n, false),
                35..60 => self.append(n, true),
                60..70 => self.pass(n),
                70..80 => self.read(n),
                80 => self.advance_start(n),
                81 => self.truncate(n),
                82 if self.rng.chance(1, 2) => self.drop_log(n),
                82..85 => self.checkpoint(),
                85..91 => self.wait_durable().await,
                91 => {
                    let settings = self.settings();
                    self.log(n).set_settings(settings);
                }
                _ => self.pass_time().await,
            }
            if self.rng.chance(1, 3) {
                let time = Duration::from_micros(self.rng.range(0, 400));
                self.env.sleep(time).await;
            }
        }
    }

    /// Makes a log if it is not there, under the id it had before.
    fn create(&mut self, n: u32) {
        let settings = self.settings();
        if let Some(log) = self.store.log(&id(n)) {
            if self.story.borrow().changes.is_empty() {
                log.set_settings(settings);
            }
            return;
        }
        match self.store.create(id(n), settings) {
            Ok(log) => self.note(log.last_lsn().0, Change::Create(n)),
            // The journal has no room for it yet.
            Err(StoreError::NoSpace(_)) => {}
            Err(e) => panic!("create: {e}"),
        }
    }

    /// Drops a log, perhaps amid a pass; it comes back at once.
    fn drop_log(&mut self, n: u32) {
        let lsn = self.store.drop_log(&id(n)).expect("it exists");
        self.story.borrow_mut().stats.drops += 1;
        self.note(lsn.0, Change::Drop(n));
        if self.rng.chance(1, 2) {
            self.create(n);
        }
    }

    fn append(&mut self, n: u32, transactional: bool) {
        let keyed = self.keyed(n);
        let log = self.log(n);
        let now = self.env.wall_ms();
        let mut attributes = i16::from(self.rng.chance(1, 3));
        let mut producer = (-1, -1, -1);
        let mut ends = None;
        if transactional || self.rng.chance(1, 4) {
            let pid = if transactional { 2000 } else { 1000 } + self.rng.below(3) as i64;
            let known = keyed.producers().into_iter().find(|p| p.0 == pid);
            let (epoch, last, open) = known.map_or((0, -1, -1), |p| (p.1, p.2, p.3));
            producer = (pid, epoch, last + 1);
            if transactional {
                attributes |= 0x10;
                if open >= 0 && self.rng.chance(1, 3) {
                    ends = Some(self.rng.chance(1, 2));
                }
            }
        }
        let raw = match ends {
            Some(commit) => {
                self.story.borrow_mut().stats.ended += 1;
                keyed::marker(commit, now, (producer.0, producer.1), 1)
            }
            None => {
                let rows = keyed::drafts(&mut self.rng, &mut self.serial, 120);
                keyed::build(&rows, now - 60, attributes, producer)
            }
        };
        match log.append(&raw, 0, now) {
            Ok(appended) => {
                let placed = super::batch::placed(&raw, appended.base_offset, 0);
                self.story.borrow_mut().stats.appends += 1;
                self.note(appended.lsn.0, Change::Append(n, Rc::new(keyed::read(&placed))));
            }
            Err(AppendError::Busy | AppendError::NoSpace) => {}
            Err(other) => panic!("append: {other}"),
        }
    }

    /// A pass in a task of its own; appends, reads, checkpoints and power cuts come in between.
    fn pass(&mut self, n: u32) {
        if self.passing.replace(true) {
            return;
        }
        let (store, story, codec) = (self.store.clone(), self.story.clone(), self.codec.clone());
        let (passing, env) = (self.passing.clone(), self.env.clone());
        let limits = CompactionLimits {
            dedupe_bytes: *self.rng.pick(&[64 * 24, 1 << 20]),
            io_bytes: *self.rng.pick(&[4096, 65_536]),
            bytes_per_second: *self.rng.pick(&[u64::MAX, 10 << 20]),
            // Six keys, of seven that there are; no batch has more than four.
            load_permille: *self.rng.pick(&[100, 900]),
        };
        let whole = self.rng.chance(1, 2);
        let mut rng = self.rng.fork("look");
        self.env.spawn(Class::Background, async move {
            if rng.chance(1, 2) {
                match store.checkpoint().await {
                    Ok(()) | Err(StoreError::NoSpace(_) | StoreError::Closed) => {}
                    Err(e) => panic!("checkpoint: {e}"),
                }
            }
            let before = story.borrow().removals;
            let now = env.wall_ms();
            let done = if whole {
                store.compact(&codec, limits, now).await
            } else {
                store.compact_log(&id(n), &codec, limits, now).await
            };
            match done {
                None => {}
                Some(Ok(done)) => {
                    let n = done.id.partition;
                    {
                        let mut story = story.borrow_mut();
                        story.stats.passes += 1;
                        story.stats.removed += done.records_in - done.records_out;
                    }
                    assert!(done.map_bytes <= limits.dedupe_bytes.max(64 * 24) as u64);
                    let Some(log) = store.log(&done.id) else {
                        passing.set(false);
                        return;
                    };
                    let found = look(&log, &mut rng).await;
                    let story = story.borrow();
                    let found = match found {
                        Ok(found) => found,
                        Err(ReadError::OutOfRange { .. } | ReadError::Dropped)
                            if story.removals != before =>
                        {
                            passing.set(false);
                            return;
                        }
                        Err(e) => panic!("reading log {n}: {e}"),
                    };
                    let Some(keyed) = story.now.get(&n) else {
                        passing.set(false);
                        return;
                    };
                    if story.removals == before && (found.start, found.end) == (keyed.start, keyed.end) {
                        keyed
                            .tidy(&found, done.clean_offset)
                            .unwrap_or_else(|e| panic!("log {n}, {done:?}: {e}"));
                    }
                }
                Some(Err(CompactError::Changed | CompactError::Closed | CompactError::NoSpace)) => {
                    story.borrow_mut().stats.disturbed += 1;
                }
                Some(Err(e)) => panic!("pass: {e}"),
            }
            passing.set(false);
        });
    }

    fn read(&mut self, n: u32) {
        let (log, story) = (self.log(n), self.story.clone());
        let keyed = self.keyed(n);
        let at = self.rng.range(keyed.start as u64, keyed.end as u64) as i64;
        let max = *self.rng.pick(&[1, 1000, 1 << 20]);
        let go = self.retention == 0;
        let before = story.borrow().removals;
        self.env.spawn(Class::Drain, async move {
            let batches = match read_from(&log, at, keyed.end, max).await {
                Ok(batches) => batches,
                Err(ReadError::OutOfRange { .. } | ReadError::Dropped)
                    if story.borrow().removals != before =>
                {
                    return;
                }
                Err(e) => panic!("reading log {n} at {at}: {e}"),
            };
            let mut story = story.borrow_mut();
            story.stats.reads += 1;
            if story.removals != before {
                return;
            }
            let now = &story.now[&n];
            for batch in &batches {
                assert!(batch.last >= at, "a batch below the offset asked for");
                now.reduces(batch).unwrap_or_else(|e| panic!("log {n}: {e}"));
            }
            let Some(last) = batches.last() else {
                // Nothing up to the end: nothing that had to be there.
                now.complete(&[], at, keyed.end, go)
                    .unwrap_or_else(|e| panic!("log {n} was empty at {at}: {e}"));
                return;
            };
            // Of transactions that began before, this reader sees only a part: markers are looked at elsewhere.
            let upto = last.last + 1;
            now.complete(&batches, at, upto, true)
                .unwrap_or_else(|e| panic!("log {n} read from {at}: {e}"));
        });
    }

    fn advance_start(&mut self, n: u32) {
        let (log, keyed) = (self.log(n), self.keyed(n));
        let near = (keyed.end - keyed.start) / 4;
        let to = keyed.start + self.rng.range(0, near as u64) as i64;
        if to <= keyed.start {
            return;
        }
        match log.advance_start(to) {
            Ok(lsn) => self.note(lsn.0, Change::LogStart(n, to)),
            Err(StoreError::NoSpace(_)) => {}
            Err(e) => panic!("advance_start: {e}"),
        }
    }

    /// Takes back what is not durable, as a new leader may ask for; what was compacted lies below.
    fn truncate(&mut self, n: u32) {
        let (log, keyed) = (self.log(n), self.keyed(n));
        let durable = log.durable_end();
        let starts: Vec<i64> = keyed.batches.keys().copied().filter(|&b| b >= durable).collect();
        if starts.is_empty() {
            return;
        }
        let to = *self.rng.pick(&starts);
        match log.truncate_to(to) {
            Ok(lsn) => self.note(lsn.0, Change::Truncate(n, to)),
            Err(StoreError::NoSpace(_)) => {}
            Err(e) => panic!("truncate_to: {e}"),
        }
    }

    fn checkpoint(&mut self) {
        let store = self.store.clone();
        self.env.spawn(Class::Background, async move {
            match store.checkpoint().await {
                Ok(()) | Err(StoreError::Closed | StoreError::NoSpace(_)) => {}
                Err(e) => panic!("checkpoint: {e}"),
            }
        });
    }

    async fn wait_durable(&mut self) {
        let (count, lsn) = {
            let story = self.story.borrow();
            (story.changes.len(), story.changes.last().map_or(0, |c| c.1))
        };
        if lsn == 0 {
            return;
        }
        self.store
            .wait_durable(crate::Lsn(lsn))
            .await
            .expect("the store is open");
        let at = self.env.log_len();
        self.story.borrow_mut().durable.push((at, count));
    }

    async fn pass_time(&mut self) {
        let time = match self.rng.below(4) {
            0 => Duration::from_micros(self.rng.range(0, 1000)),
            1 => Duration::from_millis(self.rng.range(1, 30)),
            2 => Duration::from_millis(self.rng.range(30, 300)),
            _ => Duration::from_secs(self.rng.range(1, 3)),
        };
        self.env.sleep(time).await;
    }
}

/// Recovers from a disk and returns what is there, or why it does not open.
fn recover(params: &Params, disk: Disk, seed: u64, now_ns: u64) -> Result<BTreeMap<u32, FoundKeyed>, String> {
    let env = SimEnv::start(disk, seed, now_ns);
    env.set_latency(params.latency);
    let main = {
        let (env, params) = (env.clone(), params.clone());
        async move {
            let (store, recovered) = open(&env, &params).await.map_err(|e| e.to_string())?;
            if recovered.verdict == Verdict::Damage {
                return Err("a power cut alone was judged as damage".into());
            }
            let found = look_at_all(&store, &mut Rng::new(seed)).await;
            Ok(found)
        }
    };
    let outcome = env.run(main);
    let _ = env.end();
    match outcome {
        Outcome::Done(found) => found,
        Outcome::Poisoned(why) => Err(format!("recovery poisoned itself: {why}")),
        Outcome::Halted | Outcome::Stuck => Err("recovery hangs".into()),
    }
}

/// A chain of lives, each with power cuts at many points. Panics where a promise is broken.
pub fn keyed_chain(seed: u64, effort: &KeyedEffort, faults: PlantedFaults) -> KeyedStats {
    let mut rng = Rng::new(seed).fork("keyed");
    let mut params = Params::from_seed(seed);
    params.config.faults = faults;
    params.config.aborted_in_memory = *rng.pick(&[0, 2, 4096]);
    let retention = *rng.pick(&[0, 1 << 50]);
    let go = retention == 0;
    let mut disk = Disk::new(params.capacity, params.sector);
    let mut logs = Logs::new();
    let mut before: Option<(Rc<RefCell<Story>>, usize)> = None;
    let mut now_ns = 1_000_000_000;
    let mut stats = KeyedStats::default();
    for number in 0..effort.lives {
        let env = SimEnv::start(disk.clone(), rng.u64(), now_ns);
        env.set_latency(params.latency);
        if rng.chance(1, 2) {
            env.halt_after(rng.range(50, 30 * effort.steps as u64));
        }
        let watch = Rc::new(RefCell::new(Watch::new(&params.config.dir)));
        env.set_observer(move |disk, io| watch.borrow_mut().see(disk, io));
        let story: Rc<RefCell<Story>> = Rc::default();
        let opened = Rc::new(Cell::new(usize::MAX));
        let main = {
            let (env, params, story, opened) = (env.clone(), params.clone(), story.clone(), opened.clone());
            let (mut rng, before, logs) = (rng.fork("drive"), before.clone(), logs.clone());
            let steps = effort.steps;
            async move {
                let (store, _) = open(&env, &params)
                    .await
                    .unwrap_or_else(|e| panic!("life {number}: {e}"));
                let found = look_at_all(&store, &mut rng).await;
                let state = match &before {
                    Some((story, prefix)) => story
                        .borrow()
                        .explain(&found, *prefix, go)
                        .unwrap_or_else(|e| panic!("life {number}: {e}")),
                    None => logs,
                };
                opened.set(env.log_len());
                {
                    let mut story = story.borrow_mut();
                    story.base = state.clone();
                    story.now = state;
                }
                let serial = number as u64 * 1_000_000;
                let mut driver = Driver {
                    env: env.clone(),
                    store,
                    story,
                    rng,
                    retention,
                    serial,
                    passing: Rc::default(),
                    codec: Rc::new(RefCell::new(Flip)),
                };
                driver.run(steps).await;
            }
        };
        match env.run(main) {
            Outcome::Done(()) | Outcome::Halted => {}
            Outcome::Poisoned(why) => panic!("life {number} poisoned itself: {why}"),
            Outcome::Stuck => panic!("life {number}: a lost wake-up"),
        }
        now_ns = env.exec().now();
        let (left, log) = env.end();
        stats.add(&story.borrow().stats);
        let recording = Recording {
            start: disk.clone(),
            log: log.clone(),
        };
        let plan = Plan {
            seed: rng.u64(),
            exhaustive: 4,
            samples: effort.samples,
            prefix_permille: effort.prefix_permille,
        };
        let mut inner = rng.fork("points");
        enumerate(&recording, &plan, |point| {
            let found = recover(&params, point.disk, inner.u64(), now_ns).and_then(|found| {
                if point.prefix >= opened.get() {
                    story.borrow().explain(&found, point.prefix, go).map(|_| ())
                } else if let Some((story, prefix)) = &before {
                    story.borrow().explain(&found, *prefix, go).map(|_| ())
                } else if found.is_empty() {
                    Ok(())
                } else {
                    Err("something was there before anything was written".into())
                }
            });
            stats.points += 1;
            if let Err(why) = found {
                panic!(
                    "life {number}, power cut after event {} of {}, image {}: {why}",
                    point.prefix,
                    log.len(),
                    point.index
                );
            }
            true
        });
        let whole = log.len();
        if opened.get() <= whole {
            before = Some((story.clone(), whole));
        }
        logs = Logs::new();
        disk = if rng.chance(1, 4) {
            left.process_exit(&mut rng)
        } else {
            left.crash(&sample(&left.atoms(), &mut rng))
        };
        now_ns += rng.range(1, 10_000_000_000);
    }
    stats
}
