//! A random user of a store: appends, reads, truncations, retention, drops, settings, time; every answer is checked.
//!
//! [`super::life`] runs one of these per life of the simulated process. Each call is noted in the [`History`] in the
//! order it was made, with its position in the IO log; each answer is compared with the model at once, so a wrong read
//! fails where it happens and not at the end.

use super::batch::{self, BatchSpec};
use super::env::SimEnv;
use super::model::{Change, History, Partition, State, Stored, name, parse};
use super::params::Params;
use super::rng::Rng;
use crate::env::{Class, Env};
use crate::{
    AppendError, BatchHeader, Durability, Log, LogSettings, PartitionId, Pressure, ProducerError, ReadError,
    ReadOutcome, Sequenced, Store, StoreError,
};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// What the workload did, for the summary of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches appended.
    pub appends: u64,
    /// Appends refused for want of memory or space.
    pub refused: u64,
    /// Duplicates recognised.
    pub duplicates: u64,
    /// Reads answered from memory.
    pub memory_reads: u64,
    /// Reads answered from disk.
    pub disk_reads: u64,
    /// Truncations.
    pub truncations: u64,
    /// Log start moves, by request or retention.
    pub log_starts: u64,
    /// Partitions dropped.
    pub drops: u64,
    /// Checkpoints asked for.
    pub checkpoints: u64,
}

impl Counts {
    /// Adds another workload's figures.
    pub fn add(&mut self, other: &Counts) {
        self.appends += other.appends;
        self.refused += other.refused;
        self.duplicates += other.duplicates;
        self.memory_reads += other.memory_reads;
        self.disk_reads += other.disk_reads;
        self.truncations += other.truncations;
        self.log_starts += other.log_starts;
        self.drops += other.drops;
        self.checkpoints += other.checkpoints;
    }
}

/// Batches by partition and base offset.
type Ever = HashMap<(PartitionId, i64), Vec<Rc<Stored>>>;

/// State shared by the driver, its reading tasks and the store's callback.
pub struct Shared {
    /// What happened in this life; `None` until recovery is done.
    pub history: RefCell<Option<History>>,
    /// Every batch that was ever at an offset of a partition in this life or at its start.
    ever: RefCell<Ever>,
    /// Bumped by everything that removes records of a partition.
    removals: RefCell<HashMap<PartitionId, u64>>,
    durable: RefCell<BTreeMap<PartitionId, i64>>,
    /// What was done.
    pub counts: Cell<Counts>,
    env: SimEnv,
}

impl Shared {
    /// Before the store opens.
    pub fn new(env: SimEnv) -> Rc<Shared> {
        Rc::new(Shared {
            history: RefCell::new(None),
            ever: RefCell::default(),
            removals: RefCell::default(),
            durable: RefCell::default(),
            counts: Cell::default(),
            env,
        })
    }

    /// Begins with what recovery found.
    pub fn begin(&self, found: State) {
        for (id, partition) in &found.partitions {
            for stored in partition.batches.values() {
                self.ever
                    .borrow_mut()
                    .entry((*id, stored.base))
                    .or_default()
                    .push(stored.clone());
            }
        }
        *self.history.borrow_mut() = Some(History::new(found));
    }

    /// The store's callback: offsets below `durable_end` of `id` are acknowledged.
    pub fn committed(&self, id: PartitionId, durable_end: i64) {
        let mut history = self.history.borrow_mut();
        let Some(history) = history.as_mut() else { return };
        if let Some(partition) = history.now.partitions.get(&id) {
            assert!(
                durable_end <= partition.end,
                "I4: {} is durable up to {durable_end}, but ends at {}",
                name(id),
                partition.end
            );
            let before = self.durable.borrow_mut().insert(id, durable_end);
            assert!(
                before.is_none_or(|b| b <= durable_end),
                "I4: durable end of {} went back",
                name(id)
            );
        }
        history.note_acknowledged(self.env.log_len(), id, durable_end);
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        add(&mut counts);
        self.counts.set(counts);
    }

    fn note(&self, lsn: u64, change: Change) {
        let id = change.id();
        match &change {
            Change::Append(_, stored) => {
                self.ever
                    .borrow_mut()
                    .entry((id, stored.base))
                    .or_default()
                    .push(stored.clone());
            }
            Change::LogStart(..) | Change::Truncate(..) | Change::Drop(_) => {
                *self.removals.borrow_mut().entry(id).or_default() += 1;
            }
            Change::Create(_) | Change::Epoch(..) => {}
        }
        if let Change::Truncate(_, end) = &change
            && let Some(durable) = self.durable.borrow_mut().get_mut(&id)
        {
            *durable = (*durable).min(*end);
        }
        if let Change::Drop(_) = &change {
            self.durable.borrow_mut().remove(&id);
        }
        let at_io = self.env.log_len();
        self.env.tell(|| format!("LSN {lsn}: {}", change.describe()));
        self.history
            .borrow_mut()
            .as_mut()
            .expect("recovery is done")
            .note(at_io, lsn, change);
    }

    fn with<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(self.history.borrow().as_ref().expect("recovery is done"))
    }

    fn partition(&self, id: PartitionId) -> Option<Partition> {
        self.with(|h| h.now.partitions.get(&id).cloned())
    }

    fn removals(&self, id: PartitionId) -> u64 {
        self.removals.borrow().get(&id).copied().unwrap_or(0)
    }
}

struct Idempotent {
    id: i64,
    epoch: i16,
}

/// The driver.
pub struct Workload {
    env: SimEnv,
    store: Store<SimEnv>,
    shared: Rc<Shared>,
    params: Params,
    rng: Rng,
    producers: Vec<Idempotent>,
}

impl Workload {
    /// A driver for `store`, whose recovery is noted in `shared`.
    pub fn new(env: SimEnv, store: Store<SimEnv>, shared: Rc<Shared>, params: Params, rng: Rng) -> Workload {
        let producers = (0..4)
            .map(|n| Idempotent {
                id: 1000 + n,
                epoch: 0,
            })
            .collect();
        Workload {
            env,
            store,
            shared,
            params,
            rng,
            producers,
        }
    }

    /// Performs `steps` operations.
    pub async fn run(&mut self, steps: usize) {
        for log in self.store.logs() {
            log.set_settings(self.settings());
        }
        for _ in 0..steps {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let Some(id) = self.some_partition() else {
            self.create();
            return;
        };
        match self.rng.below(100) {
            0..52 => {
                for _ in 0..self.rng.range(1, 4) {
                    self.append(id);
                }
            }
            52..68 => self.read(id),
            68..71 => self.advance_start(id),
            71..74 => self.truncate(id),
            74..76 => self.start_epoch(id),
            76 => self.drop_log(id),
            77..79 => self.create(),
            79..82 => {
                let settings = self.settings();
                if let Some(log) = self.store.log(&id) {
                    log.set_settings(settings);
                }
            }
            82..85 => self.retention(id),
            85..87 => self.by_time(id).await,
            87..89 => self.checkpoint(),
            89..92 => self.wait_durable().await,
            92 => self.flood(id).await,
            _ => self.pass_time().await,
        }
        self.compare(id);
        self.back_pressure().await;
        if self.rng.chance(1, 3) {
            self.env
                .sleep(Duration::from_micros(self.rng.range(0, 300)))
                .await;
        }
    }

    /// A client that does not care: it appends until the ring has turned a few times, whatever it is told.
    async fn flood(&mut self, id: PartitionId) {
        for _ in 0..self.rng.range(20, 200) {
            self.append(id);
            self.env
                .sleep(Duration::from_micros(self.rng.range(0, 200)))
                .await;
        }
    }

    /// What admission does: while memory or the ring is full, nothing is read from producers. Both must end by
    /// themselves, unless the disk is full.
    async fn back_pressure(&mut self) {
        let metrics = self.store.metrics();
        // One slab may be opened just below the limit.
        let limit = self.params.config.memory_bytes / 100 * 35 + (1 << 20);
        assert!(
            metrics.dirty_bytes <= limit,
            "I15: {} bytes are dirty, the limit is {limit}",
            metrics.dirty_bytes
        );
        if self.store.pressure() == Pressure::HardDirty && self.rng.chance(1, 2) {
            let waiting = self.store.clone();
            self.env.spawn(Class::Journal, async move {
                waiting.wait_pressure_below(Pressure::HardDirty).await
            });
        }
        for round in 0.. {
            if self.store.pressure() != Pressure::HardDirty {
                return;
            }
            assert!(round < 200, "I15: the pressure does not end: {metrics:?}");
            self.env.sleep(Duration::from_millis(50)).await;
        }
    }

    fn some_partition(&mut self) -> Option<PartitionId> {
        let ids: Vec<PartitionId> = self.shared.with(|h| h.now.partitions.keys().copied().collect());
        if ids.is_empty() {
            None
        } else {
            Some(*self.rng.pick(&ids))
        }
    }

    fn settings(&mut self) -> LogSettings {
        let rng = &mut self.rng;
        LogSettings {
            segment_bytes: *rng.pick(&[2048, 8192, 16_384, 65_536, 1 << 20]),
            segment_ms: *rng.pick(&[5, 1000, 3_600_000]),
            retention_bytes: *rng.pick(&[-1, 10_000, 50_000]),
            retention_ms: *rng.pick(&[-1, 1000, 60_000]),
            durability: *rng.pick(&[Durability::Disk, Durability::Disk, Durability::Memory]),
            file_delete_delay_ms: *rng.pick(&[0, 1, 1000]),
            compact: false,
            min_cleanable_ppm: 0,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: *rng.pick(&[0, 10, 5000]),
            system: rng.chance(1, 4),
        }
    }

    fn create(&mut self) {
        let live = self.shared.with(|h| h.now.partitions.len());
        if live >= self.params.partitions {
            return;
        }
        let mut topic = [0; 16];
        topic[0] = self.rng.below(3) as u8;
        // A topic that comes back under another id, or a partition that comes back under its own.
        topic[1] = self.rng.below(self.params.incarnations) as u8;
        let id = PartitionId {
            topic,
            partition: self.rng.below(3) as u32,
        };
        let settings = self.settings();
        let exists = self.shared.partition(id).is_some();
        match self.store.create(id, settings) {
            Ok(log) => {
                assert!(!exists, "{} was created twice", name(id));
                assert_eq!(
                    (log.start_offset(), log.end_offset()),
                    (0, 0),
                    "a new log is empty"
                );
                self.shared.note(0, Change::Create(id));
            }
            Err(StoreError::Exists) => assert!(exists, "{} does not exist, and is said to", name(id)),
            Err(StoreError::NoSpace(_)) => {}
            Err(other) => panic!("creating {}: {other}", name(id)),
        }
    }

    fn size(&mut self) -> usize {
        let max = self.params.config.max_batch_bytes as usize;
        let high = match self.rng.below(20) {
            0 => max,
            1..4 => max.min(8192),
            4..10 => 2048,
            _ => 300,
        };
        self.rng.range(batch::HEADER as u64, high.min(max) as u64) as usize
    }

    fn append(&mut self, id: PartitionId) {
        let Some(log) = self.store.log(&id) else {
            panic!("{} exists in the model alone", name(id))
        };
        let part = self.shared.partition(id).expect("exists");
        let now = self.env.wall_ms();
        let mut spec = BatchSpec {
            bytes: self.size(),
            records: self.rng.range(1, 5) as i32,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: now - 5,
            // Producers' clocks are not in order.
            max_timestamp: now - 5 + self.rng.below(2000) as i64,
        };
        let mut expect_new = true;
        if self.rng.chance(1, 2) {
            let at = self.rng.index(self.producers.len());
            if self.rng.chance(1, 20) {
                self.producers[at].epoch += 1;
            }
            let (pid, epoch) = (self.producers[at].id, self.producers[at].epoch);
            spec.producer_id = pid;
            spec.producer_epoch = epoch;
            let known = part.producers.get(&pid);
            spec.base_sequence = match known {
                Some(p) if p.epoch == epoch => p
                    .window
                    .back()
                    .map_or(0, |w| ((i64::from(w.1) + 1) % (1 << 31)) as i32),
                Some(p) if p.epoch > epoch => {
                    self.producers[at].epoch = p.epoch;
                    0
                }
                _ => 0,
            };
            if let Some(p) = known.filter(|p| p.epoch == epoch && !p.window.is_empty()) {
                match self.rng.below(10) {
                    0 => {
                        let (first, last, base, end) = *self.rng.pick(&Vec::from(p.window.clone()));
                        spec.base_sequence = first;
                        spec.records = (end - base) as i32 + 1;
                        let _ = last;
                        expect_new = false;
                        self.expect_duplicate(&log, &spec, (base, end));
                    }
                    1 => {
                        spec.base_sequence += 7;
                        let header = self.header(&spec).1;
                        let answer = log.check_producer(&header);
                        assert!(
                            matches!(answer, Err(ProducerError::OutOfOrder { .. })),
                            "a gap of 7 in {}: {answer:?}",
                            name(id)
                        );
                        expect_new = false;
                    }
                    _ => {}
                }
            }
            if expect_new {
                let header = self.header(&spec).1;
                let answer = log.check_producer(&header);
                let stale = known.is_some_and(|p| p.epoch > epoch);
                if stale {
                    assert!(
                        matches!(answer, Err(ProducerError::StaleEpoch { .. })),
                        "{answer:?}"
                    );
                    return;
                }
                assert_eq!(answer, Ok(Sequenced::New), "I10: {} {spec:?} {known:?}", name(id));
            }
        }
        if !expect_new {
            return;
        }
        let mut epoch = part.epoch().max(0);
        if self.rng.chance(1, 40) {
            epoch += 1;
        }
        let raw = self.header(&spec).0;
        let result = log.append(&raw, epoch, now);
        match result {
            Ok(appended) => {
                let stored = Rc::new(Stored {
                    base: part.end,
                    last: part.end + i64::from(spec.records) - 1,
                    bytes: batch::placed(&raw, part.end, epoch),
                });
                assert_eq!(
                    (appended.base_offset, appended.last_offset),
                    (stored.base, stored.last),
                    "I3"
                );
                self.shared.count(|c| c.appends += 1);
                self.shared.note(appended.lsn.0, Change::Append(id, stored));
            }
            Err(AppendError::Busy | AppendError::NoSpace) => self.shared.count(|c| c.refused += 1),
            Err(other) => panic!("appending {} bytes to {}: {other}", raw.len(), name(id)),
        }
        if self.rng.chance(1, 50) {
            let too_large = BatchSpec {
                bytes: self.params.config.max_batch_bytes as usize + 1,
                ..spec
            };
            let raw = batch::build(&too_large, &mut self.rng);
            let answer = log.append(&raw, epoch, now);
            assert!(matches!(answer, Err(AppendError::TooLarge { .. })), "{answer:?}");
        }
    }

    fn header(&mut self, spec: &BatchSpec) -> (Vec<u8>, BatchHeader) {
        let raw = batch::build(spec, &mut self.rng);
        let header = BatchHeader::parse(&raw).expect("a valid batch");
        (raw, header)
    }

    fn expect_duplicate(&mut self, log: &Log<SimEnv>, spec: &BatchSpec, offsets: (i64, i64)) {
        let header = self.header(spec).1;
        match log.check_producer(&header) {
            Ok(Sequenced::Duplicate {
                base_offset,
                last_offset,
                ..
            }) => {
                assert_eq!(
                    (base_offset, last_offset),
                    offsets,
                    "I10: a duplicate of another batch"
                );
                self.shared.count(|c| c.duplicates += 1);
            }
            other => panic!("I10: a repeated batch was judged {other:?}"),
        }
    }

    fn read(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let part = self.shared.partition(id).expect("exists");
        let offset = self.rng.range(part.start as u64, part.end as u64) as i64;
        let upto = match self.rng.below(4) {
            0 => log.durable_end().max(offset),
            1 => self.rng.range(offset as u64, part.end as u64) as i64,
            _ => part.end,
        };
        let query = Query {
            id,
            offset,
            upto,
            max_bytes: *self.rng.pick(&[1, 500, 5000, 50_000, 1 << 20]),
            at_least_one: self.rng.chance(3, 4),
        };
        let outcome = log.read(offset, query.max_bytes, upto, query.at_least_one);
        match outcome {
            Ok(ReadOutcome::Ready(parts)) => {
                self.shared.count(|c| c.memory_reads += 1);
                query.judge(&part, &parts);
            }
            Ok(ReadOutcome::Disk) => self.read_disk(log.clone(), query),
            Err(other) => panic!("reading {} at {offset}: {other}", name(id)),
        }
        if self.rng.chance(1, 10) {
            // Outside the log, on either side.
            let beyond = if self.rng.chance(1, 2) {
                part.end + 1
            } else {
                part.start - 1
            };
            let answer = log.read(beyond, 100, part.end.max(beyond), true);
            assert!(
                matches!(answer, Err(ReadError::OutOfRange { start, end }) if (start, end) == (part.start, part.end)),
                "{} spans {}..{}; reading at {beyond} said {answer:?}",
                name(id),
                part.start,
                part.end
            );
        }
        if self.rng.chance(1, 6) {
            self.read_disk(log, query);
        }
    }

    /// Reads in a task of its own, so that truncation, retention and drops come in between.
    fn read_disk(&mut self, log: Log<SimEnv>, query: Query) {
        let shared = self.shared.clone();
        let removals = shared.removals(query.id);
        self.env.spawn(Class::Drain, async move {
            let Query {
                offset,
                max_bytes,
                upto,
                at_least_one,
                ..
            } = query;
            let answer = log.read_disk(offset, max_bytes, upto, at_least_one).await;
            shared.count(|c| c.disk_reads += 1);
            let undisturbed = shared.removals(query.id) == removals;
            match answer {
                Ok(parts) if undisturbed => {
                    query.judge(&shared.partition(query.id).expect("not dropped"), &parts);
                }
                Ok(parts) => {
                    // Removed or replaced meanwhile: what came was there once.
                    let bytes = parts.concat();
                    for stored in parse(&bytes).unwrap_or_else(|why| panic!("{query:?}: {why}")) {
                        let known = shared.ever.borrow();
                        let there = known
                            .get(&(query.id, stored.base))
                            .is_some_and(|all| all.iter().any(|s| **s == stored));
                        assert!(
                            there,
                            "I11: {query:?} served a batch at {} that never was",
                            stored.base
                        );
                    }
                }
                Err(ReadError::OutOfRange { .. } | ReadError::Dropped) if !undisturbed => {}
                Err(other) => panic!("{query:?}: {other}"),
            }
        });
    }

    fn advance_start(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let part = self.shared.partition(id).expect("exists");
        let offset = self.rng.range(part.start as u64, part.end as u64) as i64;
        let lsn = log
            .advance_start(offset)
            .unwrap_or_else(|e| panic!("advance_start({offset}) of {}: {e}", name(id)));
        assert_eq!(log.start_offset(), offset, "I9");
        if offset > part.start {
            self.shared.count(|c| c.log_starts += 1);
            self.shared.note(lsn.0, Change::LogStart(id, offset));
        }
        if self.rng.chance(1, 5) {
            let answer = log.advance_start(part.end + 1);
            assert!(matches!(answer, Err(StoreError::OutOfRange { .. })), "{answer:?}");
            // Back is no move at all (I9).
            let _ = log.advance_start(part.start);
            assert_eq!(log.start_offset(), offset, "I9");
        }
    }

    fn truncate(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let part = self.shared.partition(id).expect("exists");
        // A replica's truncation point is an epoch boundary, so the start of a batch.
        let starts: Vec<i64> = part
            .batches
            .keys()
            .copied()
            .filter(|base| *base >= part.start)
            .collect();
        if starts.is_empty() {
            return;
        }
        // Mostly near the end, as replicas do.
        let from = if self.rng.chance(2, 3) {
            starts.len().saturating_sub(4)
        } else {
            0
        };
        let end = starts[self.rng.range(from as u64, starts.len() as u64 - 1) as usize];
        let lsn = log
            .truncate_to(end)
            .unwrap_or_else(|e| panic!("truncate_to({end}) of {}: {e}", name(id)));
        self.shared.count(|c| c.truncations += 1);
        self.shared.note(lsn.0, Change::Truncate(id, end));
        assert_eq!(log.end_offset(), end, "I3");
        assert!(log.durable_end() <= end, "durable beyond the end");
    }

    fn start_epoch(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let epoch = self.shared.partition(id).expect("exists").epoch() + self.rng.range(1, 2) as i32;
        let lsn = log.start_epoch(epoch);
        self.shared.note(lsn.0, Change::Epoch(id, epoch));
    }

    fn drop_log(&mut self, id: PartitionId) {
        let lsn = self.store.drop_log(&id).expect("it exists");
        self.shared.count(|c| c.drops += 1);
        self.shared.note(lsn.0, Change::Drop(id));
        assert!(self.store.log(&id).is_none());
    }

    fn retention(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let part = self.shared.partition(id).expect("exists");
        let settings = log.settings();
        let now = self.env.wall_ms();
        let retained = log.retention(now);
        assert_eq!(retained.start_offset, log.start_offset());
        let start = retained.start_offset;
        assert!(
            part.start <= start && start <= part.end,
            "I9: retention moved {} to {start}",
            name(id)
        );
        if start == part.start {
            return;
        }
        let gone = part.batches.values().filter(|b| b.base < start);
        let left: usize = part
            .batches
            .values()
            .filter(|b| b.base >= start)
            .map(|b| b.bytes.len())
            .sum();
        assert!(
            part.batches.values().all(|b| start <= b.base || start > b.last),
            "retention cut a batch"
        );
        let too_old = settings.retention_ms >= 0
            && gone
                .clone()
                .all(|b| batch::max_timestamp(&b.bytes) < now - settings.retention_ms);
        let too_many =
            settings.retention_bytes >= 0 && (left as i64 >= settings.retention_bytes || part.truncated);
        let expired = |b: &&Rc<Stored>| {
            settings.retention_ms >= 0 && batch::max_timestamp(&b.bytes) < now - settings.retention_ms
        };
        // Either rule explains a removal; both together may as well, oldest first by age, the rest by size.
        let mixed =
            settings.retention_bytes >= 0 && settings.retention_ms >= 0 && gone.clone().any(|b| expired(&b));
        assert!(
            too_old || too_many || mixed,
            "{}: retention removed {}..{start} of ..{} and left {left} bytes under {settings:?}",
            name(id),
            part.start,
            part.end
        );
        self.shared.count(|c| c.log_starts += 1);
        self.shared.note(0, Change::LogStart(id, start));
    }

    async fn by_time(&mut self, id: PartitionId) {
        let log = self.store.log(&id).expect("exists");
        let part = self.shared.partition(id).expect("exists");
        let all: Vec<Rc<Stored>> = part.batches.values().cloned().collect();
        let times: Vec<i64> = all.iter().map(|b| batch::max_timestamp(&b.bytes)).collect();
        let timestamp = match self.rng.below(3) {
            0 => self.env.wall_ms() - self.rng.below(100_000) as i64,
            1 if !times.is_empty() => *self.rng.pick(&times),
            _ => times.iter().copied().max().unwrap_or(0) + self.rng.below(2) as i64,
        };
        let answer = log.offset_for_timestamp(timestamp).await;
        if self.shared.partition(id).as_ref() == Some(&part) {
            let expected = all.iter().find(|b| batch::max_timestamp(&b.bytes) >= timestamp);
            let found =
                answer.unwrap_or_else(|e| panic!("offset_for_timestamp({timestamp}) of {}: {e}", name(id)));
            assert_eq!(
                found.as_ref().map(|b| batch::base_offset(b)),
                expected.map(|b| b.base),
                "offset_for_timestamp({timestamp}) of {}",
                name(id)
            );
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(
                    found[..] == expected.bytes[..],
                    "I11: offset_for_timestamp of {}",
                    name(id)
                );
            }
        }
        let part = self.shared.partition(id).expect("exists");
        let answer = log
            .max_timestamp_batch()
            .await
            .unwrap_or_else(|e| panic!("max_timestamp of {}: {e}", name(id)));
        let newest = part
            .batches
            .values()
            .map(|b| batch::max_timestamp(&b.bytes))
            .max();
        assert_eq!(
            answer.map(|b| batch::max_timestamp(&b)),
            newest,
            "max_timestamp of {}",
            name(id)
        );
    }

    fn checkpoint(&mut self) {
        let store = self.store.clone();
        let shared = self.shared.clone();
        self.env.spawn(Class::Background, async move {
            match store.checkpoint().await {
                Ok(()) => shared.count(|c| c.checkpoints += 1),
                Err(StoreError::Closed | StoreError::NoSpace(_)) => {}
                Err(other) => panic!("checkpoint: {other}"),
            }
        });
    }

    async fn wait_durable(&mut self) {
        let last = self
            .shared
            .with(|h| h.changes.iter().rev().find(|c| c.lsn > 0).map(|c| c.lsn));
        let Some(lsn) = last else { return };
        self.store
            .wait_durable(crate::Lsn(lsn))
            .await
            .expect("the store is open");
        assert!(self.store.durable_lsn().0 >= lsn);
        for log in self.store.logs() {
            assert_eq!(
                log.durable_end(),
                log.end_offset(),
                "I4: {} after everything is durable",
                name(log.id())
            );
        }
        let at_io = self.env.log_len();
        self.shared
            .history
            .borrow_mut()
            .as_mut()
            .expect("recovery is done")
            .note_durable(at_io, lsn);
    }

    async fn pass_time(&mut self) {
        let time = match self.rng.below(8) {
            0..4 => Duration::from_micros(self.rng.range(0, 1000)),
            4..6 => Duration::from_millis(self.rng.range(1, 30)),
            6 => Duration::from_secs(self.rng.range(1, 5)),
            _ => Duration::from_secs(self.rng.range(60, 600)),
        };
        self.env.sleep(time).await;
    }

    /// What the store says without IO.
    fn compare(&self, id: PartitionId) {
        let Some(part) = self.shared.partition(id) else {
            return;
        };
        let log = self.store.log(&id).expect("exists");
        assert_eq!(
            (log.start_offset(), log.end_offset()),
            (part.start, part.end),
            "bounds of {}",
            name(id)
        );
        assert!(log.durable_end() <= part.end);
        assert_eq!(log.leader_epoch(), part.epoch(), "epoch of {}", name(id));
        for epoch in -1..=part.epoch() + 1 {
            assert_eq!(
                log.epoch_end(epoch),
                part.epoch_end(epoch),
                "end of epoch {epoch} of {}",
                name(id)
            );
        }
    }
}

/// A read and how it was limited.
#[derive(Debug, Clone, Copy)]
struct Query {
    id: PartitionId,
    offset: i64,
    upto: i64,
    max_bytes: usize,
    at_least_one: bool,
}

impl Query {
    /// Checks an answer against what the partition holds.
    fn judge(&self, part: &Partition, parts: &[Bytes]) {
        let bytes = parts.concat();
        let got = parse(&bytes).unwrap_or_else(|why| panic!("{self:?}: {why}"));
        for one in parts {
            assert!(
                !one.is_empty() && batch::split(one).is_ok(),
                "{self:?}: a part is not made of whole batches"
            );
        }
        let mut next = self.offset;
        for (n, stored) in got.iter().enumerate() {
            let expected = part
                .batch_at(next)
                .unwrap_or_else(|| panic!("{self:?}: nothing should be at {next}"));
            assert!(
                **expected == *stored,
                "I11: {self:?}: the batch at {next} differs (n = {n})"
            );
            next = stored.last + 1;
            assert!(stored.last < self.upto, "{self:?}: served up to {}", stored.last);
        }
        let first = part.batch_at(self.offset).filter(|b| b.last < self.upto);
        assert!(
            bytes.len() <= self.max_bytes || (self.at_least_one && got.len() == 1),
            "{self:?}: {} bytes in {} batches",
            bytes.len(),
            got.len()
        );
        if let Some(first) = first
            && (self.at_least_one || first.bytes.len() <= self.max_bytes)
        {
            assert!(
                !got.is_empty(),
                "{self:?}: empty, though {} bytes are at {}",
                first.bytes.len(),
                first.base
            );
        }
    }
}
