//! Log compaction (KIP-58, KIP-98, KIP-280's default strategy, KIP-534): of each key the newest record stays.
//!
//! [`crate::Store::compact`] runs one pass over the log that needs it most: the dirty part is read once to learn the
//! newest offset of each key ([`filter::Filter`], within the memory of [`map::OffsetMap`]), then the log is copied from
//! its start, group of segments by group ([`plan`]), into new segments of a higher generation ([`output`]). Each is
//! written, synced with its directories, and put in place by a SEG_SWAP frame ([`swap`]); the old files go once that
//! frame is durable. A pass that ends early has done whole groups from the oldest on, and loses nothing but time.
//!
//! What holds: only sealed, drained, durable, decided segments are touched; offsets do not move; a crash leaves either
//! the old segments or the new one; a file that no SEG_SWAP names is removed at start; tombstones and markers go only
//! after a pass that found nothing left to hide below them, as passes always begin at the log start.
//!
//! A pass is a background task. It gives way between chunks, keeps to a rate, and slows down while the journal does.

pub mod filter;
pub mod map;
mod output;
mod pace;
pub(crate) mod plan;
pub mod records;
pub(crate) mod swap;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::*;
use crate::core::{Core, Partition, Phase, Segment};
use crate::drain::Drained;
use crate::env::{Class, Env};
use crate::format::archive::EpochRecord;
use crate::format::frame::{FrameHeader, Kind};
use crate::format::segment::segment_path;
use crate::format::swap::SegSwap;
use crate::log::control;
use crate::space::Room;
use crate::store::Store;
use crate::sync::Notify;
use crate::tail::walk;
use crate::txn::AbortedTxn;
use filter::{Broken, Filter, Kept};
use map::{KeyHasher, OffsetMap};
use output::Output;
use pace::Pace;
use plan::{Cleanable, cleanable, group};
use records::Codec;
use swap::Swapped;

/// Codec of a pass, shared with the task that runs it.
pub type SharedCodec = Rc<RefCell<dyn Codec>>;

/// What limits a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionLimits {
    /// Memory of the table of keys, bytes (`log.cleaner.dedupe.buffer.size`, this core's share).
    pub dedupe_bytes: usize,
    /// How full the table may become, in thousandths (`log.cleaner.io.buffer.load.factor`).
    pub load_permille: u32,
    /// Bytes read and written per second (`log.cleaner.io.max.bytes.per.second`, this core's share); `u64::MAX`: no
    /// limit but the journal's own pace.
    pub bytes_per_second: u64,
    /// Bytes read and written at a time (`log.cleaner.io.buffer.size`).
    pub io_bytes: usize,
}

impl Default for CompactionLimits {
    fn default() -> Self {
        Self {
            dedupe_bytes: 128 << 20,
            load_permille: 900,
            bytes_per_second: u64::MAX,
            io_bytes: 256 << 10,
        }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The log.
    pub id: PartitionId,
    /// First offset that was dirty.
    pub from: i64,
    /// Below it, nothing is left to do.
    pub clean_offset: i64,
    /// Segments before.
    pub segments_in: u32,
    /// Segments after.
    pub segments_out: u32,
    /// Bytes of batches before.
    pub bytes_in: u64,
    /// Bytes of batches after.
    pub bytes_out: u64,
    /// Records before, of those copied.
    pub records_in: u64,
    /// Records after.
    pub records_out: u64,
    /// Keys in the table.
    pub keys: u64,
    /// Bytes of the table.
    pub map_bytes: u64,
    /// Nanoseconds from beginning to end.
    pub took_ns: u64,
}

/// Why a pass ended early. What it had put in place stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// The log was truncated, trimmed or dropped under the pass: the next one sees what is there then.
    #[error("the log changed")]
    Changed,
    /// The store closes.
    #[error("the store is closing")]
    Closed,
    /// Operator: free disk space.
    #[error("the data directory is short of space")]
    NoSpace,
    /// Operator: a segment cannot be read; the log is left alone until the next start.
    #[error("{0}")]
    Unreadable(ReadError),
}

/// Yields after so many bytes of batches were looked at: about a tenth of a millisecond of work.
const TURN_BYTES: usize = 64 << 10;

/// Most bytes of a SEG_SWAP frame's lists.
const SWAP_BYTES: usize = 32 << 10;

impl<E: Env> Store<E> {
    /// Runs one pass over the log that needs it most; none if no log is due. `now_ms` is the wall clock.
    pub async fn compact(
        &self,
        codec: &SharedCodec,
        limits: CompactionLimits,
        now_ms: i64,
    ) -> Option<Result<Compacted, CompactError>> {
        let core = &self.core;
        if core.phase.get() != Phase::Open || core.space.borrow().room() == Room::None {
            return None;
        }
        let mut best: Option<(Rc<Partition>, Cleanable)> = None;
        let logs: Vec<Rc<Partition>> = core.logs.borrow().values().cloned().collect();
        for (n, partition) in logs.iter().enumerate() {
            if n % 256 == 255 {
                core.env.sleep(Duration::from_micros(10)).await;
            }
            let state = partition.state.borrow();
            if !state.settings.compact {
                continue;
            }
            let Some(found) = cleanable(&state, now_ms, false, core.faults.clean_beyond_stable) else {
                continue;
            };
            let better = best.as_ref().is_none_or(|(_, b)| found.ratio_ppm > b.ratio_ppm);
            if found.due(state.settings.min_cleanable_ppm) && better {
                best = Some((partition.clone(), found));
            }
        }
        let (partition, _) = best?;
        let found = core.drain_sealed(&partition, now_ms).await?;
        Some(
            core.clone()
                .compact(partition, found, codec, limits, now_ms)
                .await,
        )
    }

    /// Runs a pass over one log whatever its dirty ratio; none if nothing in it can be cleaned.
    pub async fn compact_log(
        &self,
        id: &PartitionId,
        codec: &SharedCodec,
        limits: CompactionLimits,
        now_ms: i64,
    ) -> Option<Result<Compacted, CompactError>> {
        let core = &self.core;
        if core.phase.get() != Phase::Open {
            return None;
        }
        let partition = core.by_id.borrow().get(id).cloned()?;
        let found = core.drain_sealed(&partition, now_ms).await?;
        Some(
            core.clone()
                .compact(partition, found, codec, limits, now_ms)
                .await,
        )
    }
}

/// Where a pass leaves its result, and tells that it has.
type Slot = (RefCell<Option<Result<Compacted, CompactError>>>, Notify);

/// One pass.
struct Pass<E: Env> {
    core: Rc<Core<E>>,
    partition: Rc<Partition>,
    codec: SharedCodec,
    limits: CompactionLimits,
    found: Cleanable,
    filter: Filter,
    pace: Pace,
    done: Compacted,
    /// Aborted transactions when the pass began.
    aborted: Vec<AbortedTxn>,
    /// Abort markers whose record went from the group under way.
    markers: Vec<i64>,
    /// Bytes looked at since the last turn of the other tasks.
    since_turn: usize,
}

impl<E: Env> Core<E> {
    /// Brings what a log's sealed segments have in memory to their files; the drain alone would leave it there until
    /// memory is short. Returns what can be cleaned then.
    async fn drain_sealed(self: &Rc<Self>, partition: &Rc<Partition>, now_ms: i64) -> Option<Cleanable> {
        loop {
            let seen = self.removal_wake.version();
            let busy = {
                let mut state = partition.state.borrow_mut();
                let active = state.segments.last().map_or(0, |s| s.base_offset);
                let due = state.tail.dirty().next().is_some_and(|s| s.base_offset < active);
                let stop = state.dropped || self.drain_stalled.get() || self.phase.get() != Phase::Open;
                if !due || stop {
                    break;
                }
                std::mem::replace(&mut state.draining, true)
            };
            if busy {
                self.removal_wake.changed(seen).await;
                continue;
            }
            let drained = self.drain_log(partition).await;
            partition.state.borrow_mut().draining = false;
            self.removal_wake.notify();
            if drained != Drained::Chunk {
                break;
            }
        }
        cleanable(
            &partition.state.borrow(),
            now_ms,
            true,
            self.faults.clean_beyond_stable,
        )
    }

    /// Runs a pass as a background task and waits for it.
    async fn compact(
        self: Rc<Self>,
        partition: Rc<Partition>,
        found: Cleanable,
        codec: &SharedCodec,
        limits: CompactionLimits,
        now_ms: i64,
    ) -> Result<Compacted, CompactError> {
        let _turn = self.compaction_lock.acquire(1).await;
        let slot: Rc<Slot> = Rc::default();
        let delete_retention_ms = partition.state.borrow().settings.delete_retention_ms;
        let lists = SWAP_BYTES.min((self.config.max_batch_bytes as usize).saturating_sub(SegSwap::HEAD)) / 16;
        let mut key = self.config.directory_id;
        for (byte, more) in key.iter_mut().zip(self.journal.borrow().journal_id.to_le_bytes()) {
            *byte ^= more;
        }
        let map = OffsetMap::new(
            limits.dedupe_bytes,
            limits.load_permille,
            (found.upto - found.from) as u64,
        );
        let broken = Broken {
            tombstones_at_once: self.faults.tombstones_at_once,
            aborted_kept: self.faults.aborted_kept,
        };
        let mut pass = Pass {
            pace: Pace::new(limits.bytes_per_second, self.env.now_ns()),
            filter: Filter::new(
                KeyHasher::new(&key),
                map,
                now_ms,
                delete_retention_ms,
                found.upto,
                lists,
                broken,
            ),
            done: Compacted {
                id: partition.id,
                from: found.from,
                clean_offset: found.from,
                segments_in: 0,
                segments_out: 0,
                bytes_in: 0,
                bytes_out: 0,
                records_in: 0,
                records_out: 0,
                keys: 0,
                map_bytes: 0,
                took_ns: 0,
            },
            core: self.clone(),
            partition,
            codec: codec.clone(),
            limits,
            found,
            aborted: Vec::new(),
            markers: Vec::new(),
            since_turn: 0,
        };
        let done = slot.clone();
        self.spawn(Class::Background, async move {
            let result = pass.run(lists.max(1)).await;
            *done.0.borrow_mut() = Some(result);
            done.1.notify();
        });
        slot.1.until(|| slot.0.borrow().is_some()).await;
        slot.0.take().expect("just seen")
    }
}

impl<E: Env> Pass<E> {
    async fn run(&mut self, most_segments: usize) -> Result<Compacted, CompactError> {
        let began = self.core.env.now_ns();
        let result = self.groups(most_segments).await;
        if let Err(CompactError::Unreadable(_)) = &result {
            self.partition.state.borrow_mut().uncleanable = true;
        }
        let tally = self.filter.tally();
        let mut done = self.done;
        done.records_in = tally.records;
        done.records_out = tally.kept;
        done.keys = self.filter.keys() as u64;
        done.map_bytes = self.filter.memory() as u64;
        done.took_ns = self.core.env.now_ns().saturating_sub(began);
        {
            let mut counters = self.core.counters.borrow_mut();
            counters.compactions += u64::from(result.is_ok());
            counters.compacted_in += done.bytes_in;
            counters.compacted_out += done.bytes_out;
        }
        result.map(|()| done)
    }

    fn segments(&self) -> Result<Vec<Segment>, CompactError> {
        let state = self.partition.state.borrow();
        if state.dropped {
            return Err(CompactError::Changed);
        }
        let below = |s: &&Segment| s.base_offset < self.found.upto;
        Ok(state
            .segments
            .iter()
            .take_while(below)
            .map(Segment::bare)
            .collect())
    }

    async fn groups(&mut self, most_segments: usize) -> Result<(), CompactError> {
        let truncations = self.partition.state.borrow().truncations;
        let segments = self.segments()?;
        if segments.len() != self.found.segments {
            return Err(CompactError::Changed);
        }
        let aborted = self.core.all_aborted(&self.partition, 0, i64::MAX).await;
        self.aborted = aborted.map_err(|e| match e {
            ReadError::Dropped => CompactError::Changed,
            e => CompactError::Unreadable(e),
        })?;
        self.filter.set_aborted(&self.aborted);
        let mut indexing = true;
        for segment in segments.iter() {
            let next = self.end_of(&segments, segment);
            if indexing && next > self.found.from {
                indexing = self.index(segment).await?;
            }
        }
        self.filter.restart();
        // With a full table the pass ends inside the dirty part, perhaps amid a segment.
        let reached = if indexing {
            self.found.upto
        } else {
            self.filter.indexed_end()
        };
        let mut left = &segments[..segments.partition_point(|s| s.base_offset < reached)];
        while !left.is_empty() {
            let limit = self.partition.state.borrow().settings.segment_bytes;
            let group_end = self.end_of(&segments, &left[left.len() - 1]);
            let count = group(left, group_end, limit, most_segments);
            let (now, rest) = left.split_at(count);
            let group_end = self.end_of(&segments, &now[count - 1]);
            let clean_offset = if rest.is_empty() { reached } else { 0 };
            self.group(now, group_end, clean_offset, truncations).await?;
            left = rest;
        }
        self.done.clean_offset = reached;
        let mut state = self.partition.state.borrow_mut();
        if !state.dropped && state.truncations == truncations {
            state.clean_offset = state.clean_offset.max(reached);
        }
        Ok(())
    }

    /// Offset after the last that a segment of the pass covers.
    fn end_of(&self, segments: &[Segment], segment: &Segment) -> i64 {
        let at = segments
            .iter()
            .position(|s| s.id == segment.id)
            .unwrap_or(segments.len());
        segments.get(at + 1).map_or(self.found.upto, |s| s.base_offset)
    }

    /// Notes the keys of a segment's dirty part; false if the table is full.
    async fn index(&mut self, segment: &Segment) -> Result<bool, CompactError> {
        let mut at = 0;
        while let Some((runs, next)) = self.read(segment, at).await? {
            at = next;
            for (data, step) in runs.iter().flat_map(|data| walk(data, 0).map(move |s| (data, s))) {
                let start = self.partition.state.borrow().start;
                if step.last_offset >= segment.cut {
                    break;
                }
                if step.last_offset < self.found.from.max(start) {
                    continue;
                }
                let batch = &data[step.start..step.end];
                if !self.filter.index(batch, &mut *self.codec.borrow_mut()) {
                    return Ok(false);
                }
                self.turn(batch.len()).await?;
            }
        }
        Ok(true)
    }

    /// Reads chunks of a segment from `at` on, a chunk's number. Returns their batches and the number after them; none
    /// at the end.
    async fn read(
        &mut self,
        segment: &Segment,
        at: usize,
    ) -> Result<Option<(Vec<Bytes>, usize)>, CompactError> {
        self.check()?;
        if segment.end_position == 0 {
            return Ok(None);
        }
        let core = self.core.clone();
        let index = core.chunk_index(&self.partition, segment.id).await;
        let read = match index {
            Ok(index) => match index.get(at) {
                None => Ok(None),
                Some(chunk) => {
                    let path = segment_path(&self.partition.id, segment.base_offset, segment.generation);
                    let read = core
                        .read_chunks(segment, &path, chunk, self.limits.io_bytes)
                        .await;
                    read.map(Some)
                }
            },
            Err(e) => Err(e),
        };
        match read {
            Ok(None) if self.holds(segment.id) => Ok(None),
            Ok(Some((runs, bytes))) => {
                self.pace.moved(&self.core, bytes).await;
                let next = at + runs.len();
                Ok(Some((runs, next)))
            }
            // The segment went while it was read.
            _ if !self.holds(segment.id) => Err(CompactError::Changed),
            Ok(None) => Ok(None),
            Err(e) => Err(CompactError::Unreadable(e)),
        }
    }

    fn holds(&self, id: u64) -> bool {
        let state = self.partition.state.borrow();
        !state.dropped && state.segments.iter().any(|s| s.id == id)
    }

    fn check(&self) -> Result<(), CompactError> {
        if self.core.phase.get() != Phase::Open {
            return Err(CompactError::Closed);
        }
        if self.partition.state.borrow().dropped {
            return Err(CompactError::Changed);
        }
        Ok(())
    }

    /// Lets other tasks run now and then.
    async fn turn(&mut self, bytes: usize) -> Result<(), CompactError> {
        self.since_turn += bytes;
        if self.since_turn >= TURN_BYTES {
            self.since_turn = 0;
            self.core.env.sleep(Duration::ZERO).await;
            self.check()?;
        }
        Ok(())
    }

    /// Copies a group of segments into one and puts it in their place.
    async fn group(
        &mut self,
        segments: &[Segment],
        end: i64,
        clean_offset: i64,
        truncations: u32,
    ) -> Result<(), CompactError> {
        let base_offset = segments[0].base_offset;
        let segment = {
            let state = self.partition.state.borrow();
            let alive = state.segments.iter().filter(|s| s.base_offset == base_offset);
            let above = alive.map(|s| s.generation + 1).max().unwrap_or(0);
            let waiting = self.core.new_generation(&self.partition.id, base_offset);
            Segment::new(self.core.new_segment_id(), base_offset, above.max(waiting))
        };
        let mark = (self.partition.id, base_offset, segment.generation);
        self.core.outputs.borrow_mut().push(mark);
        let chunk_bytes = self.limits.io_bytes.min(self.core.config.chunk_bytes as usize);
        let mut output = Output::new(&self.core, &self.partition, segment, chunk_bytes);
        output.segment.created_ms = segments.iter().map(|s| s.created_ms).max().unwrap_or(-1);
        let result = match self.copy(segments, end, &mut output).await {
            Ok(()) => self.put(segments, clean_offset, truncations, &output).await,
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => {
                self.done.segments_in += segments.len() as u32;
                self.done.segments_out += 1;
                self.done.bytes_in += segments.iter().map(|s| s.total.bytes).sum::<u64>();
                self.done.bytes_out += output.segment.total.bytes;
            }
            Err(_) => output.discard().await,
        }
        self.core.outputs.borrow_mut().retain(|o| *o != mark);
        self.core.removal_wake.notify();
        result
    }

    /// Filters a group into `output`, and makes that durable.
    async fn copy(
        &mut self,
        segments: &[Segment],
        end: i64,
        output: &mut Output<E>,
    ) -> Result<(), CompactError> {
        let failed = |e: io::Error, core: &Core<E>| match e.kind() {
            io::ErrorKind::StorageFull => {
                core.space.borrow_mut().exhausted();
                CompactError::NoSpace
            }
            // Its directory went with the log.
            io::ErrorKind::NotFound => CompactError::Changed,
            _ => core.env.poison("compaction", &e),
        };
        let producers = self.partition.state.borrow().producers.entries();
        self.filter.set_producers(&producers);
        let mut rewritten = Vec::new();
        for segment in segments {
            let mut at = 0;
            while let Some((runs, next)) = self.read(segment, at).await? {
                at = next;
                for (data, step) in runs.iter().flat_map(|data| walk(data, 0).map(move |s| (data, s))) {
                    if step.last_offset >= segment.cut {
                        break;
                    }
                    if step.last_offset < self.partition.state.borrow().start {
                        continue;
                    }
                    let batch = &data[step.start..step.end];
                    rewritten.clear();
                    let kept = self
                        .filter
                        .clean(batch, &mut *self.codec.borrow_mut(), &mut rewritten);
                    let pushed = match kept {
                        Kept::Nothing => Ok(0),
                        Kept::Whole => output.push(batch).await,
                        Kept::Rewritten => output.push(&rewritten).await,
                    };
                    let written = pushed.map_err(|e| failed(e, &self.core))?;
                    if written > 0 {
                        self.pace.moved(&self.core, written).await;
                    }
                    self.turn(batch.len()).await?;
                }
            }
        }
        self.markers = self.filter.take_dropped_markers();
        let (epochs, aborted) = {
            let state = self.partition.state.borrow();
            let epochs = state.epochs.entries().iter().filter(|e| e.start_offset < end);
            let epochs = epochs
                .map(|e| EpochRecord {
                    epoch: e.epoch,
                    start_offset: e.start_offset,
                })
                .collect();
            let inside = output.segment.base_offset..end;
            let gone = |at: &i64| self.markers.binary_search(at).is_ok();
            let aborted = self.aborted.iter();
            let mut aborted: Vec<_> = aborted
                .filter(|a| inside.contains(&a.last_offset) && !gone(&a.last_offset))
                .copied()
                .collect();
            aborted.sort_unstable_by_key(|a| a.last_offset);
            (epochs, aborted)
        };
        if segments.iter().any(|s| s.footer_aborted > 0) {
            output.segment.footer_aborted = aborted.len() as u32;
        }
        let unsynced = self.core.faults.swap_before_sync;
        output
            .finish(end, epochs, &aborted, unsynced)
            .await
            .map_err(|e| failed(e, &self.core))?;
        Ok(())
    }

    /// Journals the swap and carries it out.
    async fn put(
        &mut self,
        segments: &[Segment],
        clean_offset: i64,
        truncations: u32,
        output: &Output<E>,
    ) -> Result<(), CompactError> {
        let swap = SegSwap {
            output: crate::checkpoint::segment_record(&output.segment),
            clean_offset,
            old: segments.iter().map(|s| s.id).collect(),
            markers: std::mem::take(&mut self.markers),
        };
        let payload = swap.encode();
        let framed = FrameHeader::framed(payload.len());
        loop {
            self.check()?;
            let seen = self.core.pressure_moved.version();
            if self.core.control_room(framed) {
                break;
            }
            self.core.pressure_moved.changed(seen).await;
        }
        let state = &mut *self.partition.state.borrow_mut();
        let changed = state.dropped || state.truncations != truncations || !swap::fits(state, &swap.old);
        if changed {
            return Err(CompactError::Changed);
        }
        let frame = control(
            &self.partition,
            Kind::SegSwap,
            swap.output.base_offset,
            -1,
            payload.into(),
        );
        let lsn = self.core.journal_control(&self.partition, state, frame);
        let swapped = self.core.swap(&self.partition, state, &swap, lsn.0, false);
        assert_eq!(swapped, Swapped::Done, "a swap that fitted did not");
        Ok(())
    }
}
