//! The state of one core's store, shared by its handles and background tasks.
//!
//! [`Core`] is owned by [`crate::Store`], each [`crate::Log`] and the tasks the store spawned. All of it lives on one
//! core; every `RefCell` is borrowed between awaits only.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use hdrhistogram::Histogram;

use crate::api::{
    Commit, Durability, LogSettings, OnCommit, PartitionId, PlantedFaults, Pressure, StoreConfig, Summary,
};
use crate::env::Env;
use crate::epochs::Epochs;
use crate::files::Files;
use crate::format::archive::{ChunkRecord, RemovalRecord};
use crate::format::kafka::BatchHeader;
use crate::format::superblock::Superblock;
use crate::journal::Journal;
use crate::map::Map;
use crate::producer::Producers;
use crate::read::ReadCache;
use crate::space::{Room, SpaceLimits, SpaceWatch};
use crate::sync::{Notify, Semaphore};
use crate::tail::Tail;
use crate::txn::{Marker, Txns};

/// Counts of a segment, or of the part of it that its file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Offset after the last record.
    pub end_offset: i64,
    /// Bytes of batches.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Largest timestamp; `i64::MIN` if empty.
    pub max_timestamp: i64,
}

impl Stats {
    pub fn new(base_offset: i64) -> Self {
        Self {
            end_offset: base_offset,
            bytes: 0,
            batches: 0,
            max_timestamp: i64::MIN,
        }
    }

    pub fn add(&mut self, end_offset: i64, bytes: u64, batches: u64, max_timestamp: i64) {
        self.end_offset = end_offset;
        self.bytes += bytes;
        self.batches += batches;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }
}

/// One segment of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub id: u64,
    pub base_offset: i64,
    pub generation: u32,
    /// Wall clock of the first append; -1 while empty.
    pub created_ms: i64,
    /// Largest timestamp of the first batch; -1 while empty or if it has none.
    pub first_timestamp: i64,
    /// End of the last chunk in the file; 0 while there is no file.
    pub end_position: u64,
    /// Bytes reserved in the file.
    pub allocated: u64,
    /// Bytes of the footer; 0 until sealed.
    pub footer_len: u32,
    /// Above 0, aborted transactions whose marker lies here are in the footer, and perhaps nowhere else.
    pub footer_aborted: u32,
    /// Records from here on are truncated away.
    pub cut: i64,
    pub next_chunk_seq: u32,
    pub last_chunk_crc: u32,
    /// What the file holds.
    pub drained: Stats,
    /// What the log holds in this segment, memory included.
    pub total: Stats,
    /// All its chunks, if known; else the footer or the chunks themselves tell.
    pub index: Option<Vec<ChunkRecord>>,
}

impl Segment {
    pub fn new(id: u64, base_offset: i64, generation: u32) -> Self {
        Self {
            id,
            base_offset,
            generation,
            created_ms: -1,
            first_timestamp: -1,
            end_position: 0,
            allocated: 0,
            footer_len: 0,
            footer_aborted: 0,
            cut: i64::MAX,
            next_chunk_seq: 0,
            last_chunk_crc: 0,
            drained: Stats::new(base_offset),
            total: Stats::new(base_offset),
            index: Some(Vec::new()),
        }
    }

    /// A copy without the chunk index, which may be long.
    pub fn bare(&self) -> Self {
        Self { index: None, ..*self }
    }
}

impl LogState {
    /// First offset that readers of committed data must not pass; none if all is decided. A decision counts once its
    /// marker is durable (Kafka: once it is below the high watermark), unless the log answers from memory.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let held = match self.settings.durability {
            Durability::Disk => self
                .unsettled
                .iter()
                .filter(|(_, marker)| *marker >= self.durable_end)
                .map(|(first, _)| *first)
                .min(),
            Durability::Memory => None,
        };
        [self.producers.first_unstable_offset(), held]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes note of a batch that is in the log now, for producers and transactions. `live`: not replayed.
    pub fn note_producer(&mut self, header: &BatchHeader, batch: &[u8], now_ms: i64, live: bool) {
        if header.producer_id < 0 {
            return;
        }
        let marker = Marker::parse(header, batch);
        let Some(txn) = self.producers.apply(header, marker.as_ref(), now_ms) else {
            return;
        };
        self.txns.completed(txn, &self.producers);
        if live {
            while self.unsettled.front().is_some_and(|u| u.1 < self.durable_end) {
                self.unsettled.pop_front();
            }
            self.unsettled.push_back((txn.first_offset, txn.last_offset));
        }
    }
}

/// The mutable part of a log.
pub(crate) struct LogState {
    pub settings: LogSettings,
    pub start: i64,
    pub end: i64,
    pub durable_end: i64,
    pub tail: Tail,
    /// Oldest first; the last takes appends.
    pub segments: Vec<Segment>,
    pub epochs: Epochs,
    pub producers: Producers,
    pub txns: Txns,
    /// Completed transactions whose marker is not durable yet: (first offset, offset of the marker), markers rising.
    pub unsettled: VecDeque<(i64, i64)>,
    /// Below it, compaction has nothing left to do.
    pub clean_offset: i64,
    /// Times that compaction replaced segments of the log, since the start.
    pub swaps: u64,
    /// Compaction met bytes it cannot read, and leaves the log alone.
    pub uncleanable: bool,
    /// Newest frame of this log.
    pub last_lsn: u64,
    /// Newest TRUNCATE of this log.
    pub truncate_lsn: u64,
    /// Truncations since the start, to tell writes under way that they were overtaken.
    pub truncations: u32,
    pub dropped: bool,
    pub suspect: bool,
    /// The drain is writing a chunk of this log.
    pub draining: bool,
    /// Group this log last entered, and its place in the group's list of advances.
    pub group_mark: (u64, usize),
}

/// One log.
pub(crate) struct Partition {
    pub id: PartitionId,
    pub topic_no: u32,
    pub state: RefCell<LogState>,
}

impl Partition {
    pub fn new(id: PartitionId, topic_no: u32, settings: LogSettings) -> Self {
        Self {
            id,
            topic_no,
            state: RefCell::new(LogState {
                settings,
                start: 0,
                end: 0,
                durable_end: 0,
                tail: Tail::default(),
                segments: Vec::new(),
                epochs: Epochs::default(),
                producers: Producers::default(),
                txns: Txns::default(),
                unsettled: VecDeque::new(),
                clean_offset: 0,
                swaps: 0,
                uncleanable: false,
                last_lsn: 0,
                truncate_lsn: 0,
                truncations: 0,
                dropped: false,
                suspect: false,
                draining: false,
                group_mark: (0, 0),
            }),
        }
    }
}

/// A file to be removed once its frame is durable and its delay is over.
#[derive(Clone)]
pub(crate) struct Removal {
    pub record: RemovalRecord,
    /// The log, whose drain must not be writing the file.
    pub partition: Option<Rc<Partition>>,
    pub segment_id: u64,
    pub lsn: u64,
    pub due_ns: u64,
}

/// Distributions and counters.
pub(crate) struct Counters {
    pub write_us: Histogram<u32>,
    pub group_bytes: Histogram<u32>,
    pub wait_us: Histogram<u32>,
    pub groups: u64,
    pub batches: u64,
    pub appended_bytes: u64,
    pub chunks: u64,
    pub drained_bytes: u64,
    pub checkpoints: u64,
    pub disk_reads: u64,
    pub disk_read_bytes: u64,
    pub corrupt_chunks: u64,
    pub compactions: u64,
    pub compacted_in: u64,
    pub compacted_out: u64,
}

impl Counters {
    fn new() -> Self {
        let histogram = |max| Histogram::new_with_bounds(1, max, 2).expect("bounds in order");
        Self {
            write_us: histogram(60_000_000),
            group_bytes: histogram(1 << 30),
            wait_us: histogram(60_000_000),
            groups: 0,
            batches: 0,
            appended_bytes: 0,
            chunks: 0,
            drained_bytes: 0,
            checkpoints: 0,
            disk_reads: 0,
            disk_read_bytes: 0,
            corrupt_chunks: 0,
            compactions: 0,
            compacted_in: 0,
            compacted_out: 0,
        }
    }
}

pub(crate) fn summary(histogram: &Histogram<u32>) -> Summary {
    Summary {
        count: histogram.len(),
        mean: histogram.mean(),
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

/// Memory limits, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    pub soft_dirty: usize,
    pub hard_dirty: usize,
    pub clean: usize,
    pub catch_up: usize,
    /// Largest slab that grows by itself.
    pub slab: usize,
}

impl Budgets {
    fn of(config: &StoreConfig) -> Self {
        let share = |percent: u64| (config.memory_bytes / 100 * percent) as usize;
        Self {
            slab: crate::tail::largest_class(share(35)),
            soft_dirty: share(40),
            hard_dirty: share(55),
            clean: share(25),
            catch_up: share(15),
        }
    }
}

/// How far the store is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Replaying: nothing is appended, no checkpoint is taken on its own.
    Recovering,
    /// Serving.
    Open,
    /// Closing: appends are refused, tasks end.
    Closing,
    /// Closed.
    Closed,
}

/// See the module's header.
pub(crate) struct Core<E: Env> {
    pub env: E,
    pub config: StoreConfig,
    pub faults: PlantedFaults,
    pub on_commit: OnCommit,
    pub phase: Cell<Phase>,
    pub budgets: Budgets,

    pub journal: RefCell<Journal>,
    pub journal_files: RefCell<Vec<E::File>>,
    pub superblock: RefCell<Superblock>,
    pub superblock_file: RefCell<Option<E::File>>,
    /// Held while the superblock is written.
    pub superblock_lock: Semaphore,
    /// Held while a checkpoint is taken.
    pub checkpoint_lock: Semaphore,

    pub logs: RefCell<BTreeMap<PartitionId, Rc<Partition>>>,
    pub by_id: RefCell<Map<PartitionId, Rc<Partition>>>,
    pub topics: RefCell<Map<[u8; 16], u32>>,
    pub next_topic: Cell<u32>,
    pub next_segment: Cell<u64>,
    /// Logs with dirty slabs, by the LSN of the first dirty batch.
    pub dirty_logs: RefCell<BTreeMap<u64, Rc<Partition>>>,
    /// Clean slabs, by log and first LSN, in the order they were cleaned. Some may be gone already.
    pub clean_order: RefCell<VecDeque<(Rc<Partition>, u64)>>,
    /// Length of `clean_order` at which those are swept out.
    pub clean_sweep: Cell<usize>,
    pub dirty_bytes: Cell<usize>,
    pub clean_bytes: Cell<usize>,

    pub files: Files<E>,
    /// Segments with chunks that no sync has covered.
    pub unsynced: RefCell<BTreeMap<u64, String>>,
    /// Directories with entries that no sync has covered.
    pub unsynced_dirs: RefCell<BTreeSet<String>>,
    pub removals: RefCell<VecDeque<Removal>>,
    pub drained_since_checkpoint: Cell<u64>,
    pub drain_slots: Semaphore,
    /// A drain hit the end of the filesystem; cleared when space was looked at.
    pub drain_stalled: Cell<bool>,
    pub reads: ReadCache,

    pub space: RefCell<SpaceWatch>,
    pub counters: RefCell<Counters>,
    /// See [`Commit`].
    pub last_commit: Cell<Commit>,

    /// Something to submit, or a reason to look again.
    pub journal_wake: Notify,
    /// The durable LSN moved.
    pub durable_moved: Notify,
    /// The drain, checkpoint or ring has something to do.
    pub work_wake: Notify,
    /// Pressure may have fallen.
    pub pressure_moved: Notify,
    /// A segment range being pre-written was released.
    pub prewrite_moved: Notify,
    /// Removals were queued or may be due.
    pub removal_wake: Notify,
    /// The phase changed.
    pub phase_moved: Notify,
    /// Background tasks alive.
    pub tasks: Semaphore,
    /// Range of the ring that zeros are being written to: (file, first page, end page).
    pub prewrite_claim: Cell<Option<(u32, u32, u32)>>,
    /// First page, in ring order from file 0, that was never pre-written: (file, page).
    pub prewrite_at: Cell<(u32, u32)>,
    /// An append found the ring full.
    pub ring_wanted: Cell<bool>,
    /// Recovery has not yet seen every frame: a file that is missing may still be explained by one.
    pub replaying: Cell<bool>,
    /// Logs whose file was missing when replay wanted to drain them.
    pub set_aside: RefCell<Vec<Rc<Partition>>>,
    /// Held while a pass of the cleaner runs.
    pub compaction_lock: Semaphore,
    /// Files a pass is writing: log, base offset and generation.
    pub outputs: RefCell<Vec<(PartitionId, i64, u32)>>,
}

impl<E: Env> Core<E> {
    pub fn new(env: E, config: StoreConfig, on_commit: OnCommit, superblock: Superblock) -> Self {
        let budgets = Budgets::of(&config);
        let limits = SpaceLimits {
            low_percent: config.low_space_percent,
            none_percent: config.no_space_percent,
            hysteresis_percent: config.space_hysteresis_percent,
        };
        Self {
            files: Files::new(config.max_open_files),
            reads: ReadCache::new(budgets.catch_up),
            faults: config.faults,
            journal: RefCell::new(Journal::new(&superblock, &config)),
            env,
            config,
            on_commit,
            phase: Cell::new(Phase::Recovering),
            budgets,
            journal_files: RefCell::default(),
            superblock: RefCell::new(superblock),
            superblock_file: RefCell::new(None),
            superblock_lock: Semaphore::default(),
            checkpoint_lock: Semaphore::default(),
            logs: RefCell::default(),
            by_id: RefCell::default(),
            topics: RefCell::default(),
            next_topic: Cell::new(1),
            next_segment: Cell::new(1),
            dirty_logs: RefCell::default(),
            clean_order: RefCell::default(),
            clean_sweep: Cell::new(1 << 12),
            dirty_bytes: Cell::new(0),
            clean_bytes: Cell::new(0),
            unsynced: RefCell::default(),
            unsynced_dirs: RefCell::default(),
            removals: RefCell::default(),
            drained_since_checkpoint: Cell::new(0),
            drain_slots: Semaphore::default(),
            drain_stalled: Cell::new(false),
            space: RefCell::new(SpaceWatch::new(limits)),
            counters: RefCell::new(Counters::new()),
            last_commit: Cell::default(),
            journal_wake: Notify::default(),
            durable_moved: Notify::default(),
            work_wake: Notify::default(),
            pressure_moved: Notify::default(),
            prewrite_moved: Notify::default(),
            removal_wake: Notify::default(),
            phase_moved: Notify::default(),
            tasks: Semaphore::default(),
            prewrite_claim: Cell::new(None),
            prewrite_at: Cell::new((0, 0)),
            ring_wanted: Cell::new(false),
            replaying: Cell::new(true),
            set_aside: RefCell::default(),
            compaction_lock: Semaphore::default(),
            outputs: RefCell::default(),
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        self.phase_moved.notify();
        self.journal_wake.notify();
        self.durable_moved.notify();
        self.work_wake.notify();
        self.pressure_moved.notify();
        self.prewrite_moved.notify();
        self.removal_wake.notify();
    }

    /// True while background tasks should go on.
    pub fn running(&self) -> bool {
        matches!(self.phase.get(), Phase::Recovering | Phase::Open)
    }

    /// What admission must do now.
    pub fn pressure(&self) -> Pressure {
        match self.space.borrow().room() {
            Room::None => return Pressure::NoSpace,
            Room::Low => return Pressure::LowSpace,
            Room::Enough => {}
        }
        let dirty = self.dirty_bytes.get();
        // Somewhat below the limit: what was read from sockets before they were stopped still comes in.
        if dirty >= self.budgets.hard_dirty / 10 * 9 || self.ring_wanted.get() {
            Pressure::HardDirty
        } else if dirty >= self.budgets.soft_dirty {
            Pressure::SoftDirty
        } else {
            Pressure::Normal
        }
    }

    /// Accounts for dirty memory taken or freed.
    pub fn dirty_changed(&self, taken: usize, freed: usize) {
        let before = self.dirty_bytes.get();
        let after = before + taken - freed;
        self.dirty_bytes.set(after);
        if freed > 0 && after < before {
            self.pressure_moved.notify();
        }
        if after > self.budgets.soft_dirty && before <= self.budgets.soft_dirty {
            self.work_wake.notify();
        }
    }

    /// Keeps [`Core::dirty_logs`] in step after a log's first dirty batch may have changed from `before`.
    pub fn reindex_dirty(&self, partition: &Rc<Partition>, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        let mut dirty = self.dirty_logs.borrow_mut();
        if let Some(lsn) = before {
            dirty.remove(&lsn);
        }
        if let Some(lsn) = after {
            dirty.insert(lsn, partition.clone());
        }
    }

    /// Frees clean memory beyond its budget, oldest first.
    pub fn evict_clean(&self) {
        let mut order = self.clean_order.borrow_mut();
        while self.clean_bytes.get() > self.budgets.clean {
            let Some((partition, lsn)) = order.pop_front() else {
                return;
            };
            let freed = {
                let tail = &mut partition.state.borrow_mut().tail;
                let oldest = tail.clean().next().map(|s| s.first_lsn);
                if oldest == Some(lsn) { tail.evict() } else { None }
            };
            if let Some(freed) = freed {
                self.clean_bytes.set(self.clean_bytes.get() - freed);
            }
        }
        if order.len() >= self.clean_sweep.get() {
            order.retain(|(p, lsn)| p.state.borrow().tail.clean().any(|s| s.first_lsn == *lsn));
            self.clean_sweep.set((order.len() * 2).max(1 << 12));
        }
    }

    /// The number of a topic in this journal, new ones from the counter.
    pub fn topic_no(&self, topic: &[u8; 16]) -> u32 {
        let mut topics = self.topics.borrow_mut();
        *topics.entry(*topic).or_insert_with(|| {
            let no = self.next_topic.get();
            self.next_topic.set(no + 1);
            no
        })
    }

    /// A segment id never used before.
    pub fn new_segment_id(&self) -> u64 {
        let id = self.next_segment.get();
        self.next_segment.set(id + 1);
        id
    }

    /// Adds a log to the tables.
    pub fn insert(&self, partition: Rc<Partition>) {
        self.by_id.borrow_mut().insert(partition.id, partition.clone());
        self.logs.borrow_mut().insert(partition.id, partition);
    }

    /// Removes a log from the tables; its memory is freed, readers keep their leases.
    pub fn remove(&self, partition: &Rc<Partition>) {
        self.by_id.borrow_mut().remove(&partition.id);
        self.logs.borrow_mut().remove(&partition.id);
        let topic = partition.id.topic;
        let rest = PartitionId { topic, partition: 0 }..=PartitionId {
            topic,
            partition: u32::MAX,
        };
        if self.logs.borrow().range(rest).next().is_none() {
            self.topics.borrow_mut().remove(&topic);
        }
        let (before, dirty, clean) = {
            let mut state = partition.state.borrow_mut();
            state.dropped = true;
            let before = state.tail.first_dirty_lsn();
            let (dirty, clean) = state.tail.memory();
            state.tail = Tail::default();
            (before, dirty, clean)
        };
        self.reindex_dirty(partition, before, None);
        self.dirty_changed(0, dirty);
        self.clean_bytes.set(self.clean_bytes.get() - clean);
    }

    /// Queues a segment's file for removal. `lsn` is the frame that allows it.
    pub fn queue_removal(
        &self,
        partition: &Rc<Partition>,
        segment: &Segment,
        lsn: u64,
        delay_ms: u64,
        gone: bool,
    ) {
        let record = RemovalRecord {
            topic: partition.id.topic,
            partition: partition.id.partition,
            base_offset: segment.base_offset,
            generation: segment.generation,
            partition_gone: gone,
        };
        let due_ns = self
            .env
            .now_ns()
            .saturating_add(delay_ms.saturating_mul(1_000_000));
        self.removals.borrow_mut().push_back(Removal {
            record,
            partition: Some(partition.clone()),
            segment_id: segment.id,
            lsn,
            due_ns,
        });
        self.removal_wake.notify();
    }

    /// Generation for a new segment of `base_offset`: above that of any file of the same base that waits for removal or
    /// is being written by compaction.
    pub fn new_generation(&self, id: &PartitionId, base_offset: i64) -> u32 {
        let removals = self.removals.borrow();
        let waiting = removals
            .iter()
            .map(|r| &r.record)
            .filter(|r| r.topic == id.topic && r.partition == id.partition && r.base_offset == base_offset)
            .map(|r| r.generation);
        let outputs = self.outputs.borrow();
        let written = outputs.iter().filter(|o| (o.0, o.1) == (*id, base_offset));
        let taken = waiting.chain(written.map(|o| o.2)).max();
        taken.map_or(0, |generation| generation + 1)
    }

    /// True if a control frame of `framed` bytes surely finds room behind everything queued, a file for the fence aside.
    /// If not, room is asked for: [`Core::pressure_moved`] tells when to look again.
    pub fn control_room(&self, framed: usize) -> bool {
        let room = self.journal.borrow().has_control_room(framed);
        if !room {
            self.ring_wanted.set(true);
            self.work_wake.notify();
        }
        room
    }
}
