//! One partition's log: appends, the log start, truncation, retention, reads from memory.
//!
//! [`Log`] is a cheap handle; the state is in [`crate::core`]. Everything that changes the log goes through the
//! journal first or in the same step, so that a replay repeats it.

use std::rc::Rc;

use bytes::Bytes;

use crate::api::*;
use crate::core::{Core, LogState, Partition, Phase, Segment};
use crate::env::Env;
use crate::format::frame::{FrameHeader, Kind, SegCreate};
use crate::format::kafka::BatchHeader;
use crate::journal::{Body, EndOf, Pending};
use crate::producer::{ProducerEntry, ProducerError, Sequenced};
use crate::space::Room;
use crate::txn::AbortedTxn;

/// One partition's log. Cheap to clone.
pub struct Log<E: Env> {
    pub(crate) core: Rc<Core<E>>,
    pub(crate) partition: Rc<Partition>,
}

impl<E: Env> Clone for Log<E> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            partition: self.partition.clone(),
        }
    }
}

/// Bytes that the frames of one change of a log take at most: a roll, and what it is for.
pub(crate) const CONTROL_FRAMES: usize = 2 * FrameHeader::framed(crate::format::frame::SegCreate::BYTES);

/// The journal takes no more changes until a checkpoint has freed a file of it.
pub(crate) fn ring_full() -> StoreError {
    StoreError::NoSpace("the journal is full until a checkpoint succeeds".into())
}

/// A control frame of a partition.
pub(crate) fn control(
    partition: &Partition,
    kind: Kind,
    offset: i64,
    epoch: i32,
    payload: Box<[u8]>,
) -> Pending {
    Pending {
        kind,
        topic: partition.topic_no,
        partition: partition.id.partition,
        base_offset: offset,
        last_offset_delta: 0,
        leader_epoch: epoch,
        max_timestamp: 0,
        payload_len: payload.len() as u32,
        body: Body::Small(payload),
    }
}

/// True if a batch of `bytes` belongs into a new segment.
pub(crate) fn must_roll(active: &Segment, settings: &LogSettings, bytes: u64, end: i64, now_ms: i64) -> bool {
    if active.total.batches == 0 {
        return false;
    }
    let full = active.total.bytes + bytes > settings.segment_bytes;
    let age = now_ms.saturating_sub(active.created_ms);
    let old = active.created_ms >= 0 && age >= 0 && age as u64 > settings.segment_ms;
    // Directory entries hold offsets as 32-bit distances; Kafka's segments have the same limit.
    full || old || end - active.base_offset > i64::from(i32::MAX)
}

impl<E: Env> Core<E> {
    /// Journals a control frame of a log.
    pub(crate) fn journal_control(&self, partition: &Partition, state: &mut LogState, frame: Pending) -> Lsn {
        debug_assert_eq!(frame.topic, partition.topic_no);
        let lsn = self.journal.borrow_mut().push(frame, None, self.env.now_ns());
        state.last_lsn = lsn;
        self.journal_wake.notify();
        Lsn(lsn)
    }

    /// Starts a new segment at the log end and journals it.
    pub(crate) fn roll(&self, partition: &Partition, state: &mut LogState, creates_log: bool) -> Lsn {
        let base_offset = state.end;
        let generation = {
            let waiting = self.new_generation(&partition.id, base_offset);
            let alive = state
                .segments
                .iter()
                .filter(|s| s.base_offset == base_offset)
                .map(|s| s.generation + 1)
                .max();
            waiting.max(alive.unwrap_or(0))
        };
        let segment = Segment::new(self.new_segment_id(), base_offset, generation);
        let payload = SegCreate {
            topic: partition.id.topic,
            segment_id: segment.id,
            generation,
            creates_log,
        }
        .encode();
        state.segments.push(segment);
        state.tail.seal();
        let frame = control(partition, Kind::SegCreate, base_offset, -1, payload.into());
        self.journal_control(partition, state, frame)
    }

    /// Puts a batch that has its LSN and place into memory and state; shared by appends and replay. Returns the bytes
    /// for the journal.
    #[allow(clippy::too_many_arguments)] // one fact each; a struct would only rename them
    pub(crate) fn apply_batch(
        &self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        batch: &[u8],
        header: &BatchHeader,
        lsn: u64,
        now_ms: i64,
        new_run: bool,
        note_producer: bool,
    ) -> crate::tail::sys::Lease {
        // A replay may meet a segment the checkpoint knew of before the batches that go into it.
        let at = state
            .segments
            .iter()
            .rposition(|s| s.base_offset <= header.base_offset);
        let segment = &mut state.segments[at.expect("a batch lies in a segment")];
        let new_run = new_run || segment.base_offset == header.base_offset;
        if segment.created_ms < 0 {
            segment.created_ms = now_ms;
        }
        if segment.total.batches == 0 {
            segment.first_timestamp = header.max_timestamp.max(-1);
        }
        segment.total.add(
            header.last_offset() + 1,
            batch.len() as u64,
            1,
            header.max_timestamp,
        );
        let before = state.tail.first_dirty_lsn();
        let placed = state.tail.push(batch, header, lsn, new_run, self.budgets.slab);
        let after = state.tail.first_dirty_lsn();
        state.end = header.last_offset() + 1;
        state.last_lsn = lsn;
        state.epochs.assign(header.leader_epoch, header.base_offset);
        if note_producer {
            state.note_producer(header, batch, now_ms, self.phase.get() != Phase::Recovering);
        }
        self.reindex_dirty(partition, before, after);
        if placed.grown > 0 {
            self.dirty_changed(placed.grown, 0);
        }
        placed.lease
    }

    /// Takes everything from `end` on out of memory and state. Returns the segments that are gone; none, with nothing
    /// changed, if `end` lies inside a batch in memory.
    pub(crate) fn truncate(
        &self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        end: i64,
    ) -> Option<Vec<Segment>> {
        let before = state.tail.first_dirty_lsn();
        let (dirty, clean) = state.tail.truncate(end)?;
        let after = state.tail.first_dirty_lsn();
        self.reindex_dirty(partition, before, after);
        self.dirty_changed(0, dirty);
        self.clean_bytes.set(self.clean_bytes.get() - clean);
        let keep = state.segments.partition_point(|s| s.base_offset < end);
        let removed = state.segments.split_off(keep);
        if let Some(last) = state.segments.last_mut() {
            if last.drained.end_offset > end {
                last.drained.end_offset = end;
                last.cut = last.cut.min(end);
            }
            // What the cut leaves of the file is not known without reading it: its size stays an upper bound.
            last.total = last.drained;
            for slab in state.tail.dirty().filter(|s| s.base_offset >= last.base_offset) {
                last.total.add(
                    slab.end_offset,
                    slab.len() as u64,
                    u64::from(slab.batches),
                    slab.max_timestamp,
                );
            }
            last.total.end_offset = end;
        }
        self.journal.borrow_mut().truncated(partition, end);
        state.end = end;
        state.durable_end = state.durable_end.min(end);
        state.truncations += 1;
        state.epochs.truncate_from_end(end);
        state.txns.truncate(end, &mut state.producers);
        state.producers.truncate(end);
        state.unsettled.retain(|(_, marker)| *marker < end);
        state.clean_offset = state.clean_offset.min(end);
        Some(removed)
    }

    /// Removes segments that lie wholly below the log start, all but the last, and memory below it.
    pub(crate) fn trim_below_start(
        &self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        lsn: u64,
    ) -> (u32, u64) {
        let before = state.tail.first_dirty_lsn();
        let (dirty, clean) = state.tail.drop_below(state.start);
        let after = state.tail.first_dirty_lsn();
        self.reindex_dirty(partition, before, after);
        self.dirty_changed(0, dirty);
        self.clean_bytes.set(self.clean_bytes.get() - clean);
        let below = state
            .segments
            .windows(2)
            .take_while(|w| w[1].base_offset <= state.start)
            .count();
        let mut removed = (0, 0);
        for segment in state.segments.drain(..below).collect::<Vec<_>>() {
            removed.0 += 1;
            removed.1 += segment.total.bytes;
            if segment.end_position > 0 || state.draining {
                self.queue_removal(
                    partition,
                    &segment,
                    lsn,
                    state.settings.file_delete_delay_ms,
                    false,
                );
            }
        }
        state.epochs.truncate_from_start(state.start);
        state.txns.advance_start(state.start);
        removed
    }
}

impl<E: Env> Log<E> {
    /// The partition.
    pub fn id(&self) -> PartitionId {
        self.partition.id
    }

    fn with<T>(&self, f: impl FnOnce(&LogState) -> T) -> T {
        f(&self.partition.state.borrow())
    }

    /// First offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.with(|s| s.start)
    }

    /// Next offset to be written (LEO).
    pub fn end_offset(&self) -> i64 {
        self.with(|s| s.end)
    }

    /// Offsets below are on stable media.
    pub fn durable_end(&self) -> i64 {
        self.with(|s| s.durable_end)
    }

    /// Newest leader epoch; -1 before the first.
    pub fn leader_epoch(&self) -> i32 {
        self.with(|s| s.epochs.latest())
    }

    /// Bytes of batches in the log.
    pub fn size_bytes(&self) -> u64 {
        self.with(|s| s.segments.iter().map(|g| g.total.bytes).sum())
    }

    /// The settings in force.
    pub fn settings(&self) -> LogSettings {
        self.with(|s| s.settings)
    }

    /// Puts other settings in force.
    pub fn set_settings(&self, settings: LogSettings) {
        self.partition.state.borrow_mut().settings = settings;
    }

    /// True once the log was dropped.
    pub fn is_dropped(&self) -> bool {
        self.with(|s| s.dropped)
    }

    /// True if recovery found that records may be missing and the loss was accepted.
    pub fn is_suspect(&self) -> bool {
        self.with(|s| s.suspect)
    }

    /// Appends one validated batch: base offset and leader epoch are written into the copy, which goes into the open
    /// journal group and the tail at once. `now_ms` is the wall clock.
    ///
    /// The batch can be read from memory immediately; it is durable when the commit callback says so.
    pub fn append(&self, batch: &[u8], leader_epoch: i32, now_ms: i64) -> Result<Appended, AppendError> {
        let core = &*self.core;
        let mut header = BatchHeader::parse(batch).map_err(|e| AppendError::Malformed(e.0))?;
        if header.bytes != batch.len() {
            return Err(AppendError::Malformed("bytes behind the batch"));
        }
        if batch.len() > core.config.max_batch_bytes as usize {
            return Err(AppendError::TooLarge {
                bytes: batch.len(),
                max: core.config.max_batch_bytes,
            });
        }
        if core.phase.get() != Phase::Open {
            return Err(AppendError::Closed);
        }
        let state = &mut *self.partition.state.borrow_mut();
        if state.dropped {
            return Err(AppendError::Dropped);
        }
        if leader_epoch < state.epochs.latest() {
            return Err(AppendError::StaleEpoch {
                current: state.epochs.latest(),
                got: leader_epoch,
            });
        }
        if !state.settings.system && core.space.borrow().room() != Room::Enough {
            return Err(AppendError::NoSpace);
        }
        // The broker's own logs may go beyond the limit: what frees memory may depend on them.
        let over = if state.settings.system {
            core.budgets.hard_dirty / 4
        } else {
            0
        };
        if core.dirty_bytes.get() >= core.budgets.hard_dirty + over {
            core.work_wake.notify();
            return Err(AppendError::Busy);
        }
        if !core.journal.borrow().has_room(batch.len()) {
            core.ring_wanted.set(true);
            core.work_wake.notify();
            return Err(AppendError::Busy);
        }
        let last = state
            .end
            .checked_add(i64::from(header.last_offset_delta))
            .filter(|&l| l < i64::MAX);
        let last_offset = last.ok_or(AppendError::Malformed("offsets exhausted"))?;
        header.base_offset = state.end;
        header.leader_epoch = leader_epoch;
        let active = state.segments.last().expect("a log has a segment");
        if must_roll(active, &state.settings, batch.len() as u64, last_offset, now_ms) {
            core.roll(&self.partition, state, false);
            state.producers.expire(now_ms, core.config.producer_expiration_ms);
        }
        let lsn = core.journal.borrow().next_lsn;
        let lease = core.apply_batch(&self.partition, state, batch, &header, lsn, now_ms, false, true);
        let frame = Pending {
            kind: Kind::Data,
            topic: self.partition.topic_no,
            partition: self.partition.id.partition,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta as u32,
            leader_epoch,
            max_timestamp: header.max_timestamp,
            payload_len: batch.len() as u32,
            body: Body::Batch(lease),
        };
        let end = state.end;
        let end = EndOf {
            partition: &self.partition,
            mark: &mut state.group_mark,
            end,
        };
        let given = core
            .journal
            .borrow_mut()
            .push(frame, Some(end), core.env.now_ns());
        assert_eq!(given, lsn, "LSN given twice");
        {
            let mut counters = core.counters.borrow_mut();
            counters.batches += 1;
            counters.appended_bytes += batch.len() as u64;
        }
        core.journal_wake.notify();
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset,
            lsn: Lsn(lsn),
        })
    }

    /// Whole batches from the one that holds `offset`, up to `upto` (exclusive: high watermark or last stable offset)
    /// and `max_bytes`; at least one if `at_least_one`. From memory, or the answer that a disk read is needed.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        upto: i64,
        at_least_one: bool,
    ) -> Result<ReadOutcome, ReadError> {
        let state = self.partition.state.borrow();
        check_range(&state, offset)?;
        if offset >= upto.min(state.end) {
            return Ok(ReadOutcome::Ready(Vec::new()));
        }
        Ok(match state.tail.read(offset, max_bytes, upto, at_least_one) {
            Some(parts) => ReadOutcome::Ready(parts),
            None => ReadOutcome::Disk,
        })
    }

    /// End offset of a leader epoch, as OffsetForLeaderEpoch answers: (epoch, end); (-1, -1) if unknown.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        self.with(|s| s.epochs.end_of(epoch, s.end))
    }

    /// Epoch that `offset` was written in; -1 if unknown.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        self.with(|s| s.epochs.epoch_at(offset))
    }

    /// Notes that a leader epoch begins at the log end. Nothing is journalled if it or a newer one is known already.
    pub fn start_epoch(&self, epoch: i32) -> Lsn {
        let state = &mut *self.partition.state.borrow_mut();
        let end = state.end;
        if !state.epochs.assign(epoch, end) {
            return Lsn(state.last_lsn);
        }
        state.tail.seal();
        let frame = control(&self.partition, Kind::EpochStart, end, epoch, Box::default());
        self.core.journal_control(&self.partition, state, frame)
    }

    /// Moves the log start to `offset` (DeleteRecords) and removes segments wholly below it. An offset at or below the
    /// start changes nothing. The file goes only after the frame is durable.
    pub fn advance_start(&self, offset: i64) -> Result<Lsn, StoreError> {
        let state = &mut *self.partition.state.borrow_mut();
        if state.dropped {
            return Err(StoreError::Dropped);
        }
        if offset > state.end || offset < 0 {
            return Err(StoreError::OutOfRange {
                offset,
                start: state.start,
                end: state.end,
            });
        }
        if offset <= state.start {
            return Ok(Lsn(state.last_lsn));
        }
        if !self.core.control_room(CONTROL_FRAMES) {
            return Err(ring_full());
        }
        Ok(self.move_start(state, offset).0)
    }

    fn move_start(&self, state: &mut LogState, offset: i64) -> (Lsn, u32, u64) {
        let active = state.segments.last().expect("a log has a segment");
        if offset == state.end && active.total.batches > 0 {
            // Everything goes: the last segment too can only go once another takes appends.
            self.core.roll(&self.partition, state, false);
        }
        let frame = control(&self.partition, Kind::LogStart, offset, -1, Box::default());
        let lsn = self.core.journal_control(&self.partition, state, frame);
        state.start = offset;
        let (segments, bytes) = self.core.trim_below_start(&self.partition, state, lsn.0);
        (lsn, segments, bytes)
    }

    /// Removes all records from `end` on, which must be the first offset of a batch or the log end. Offsets removed are
    /// given again.
    pub fn truncate_to(&self, end: i64) -> Result<Lsn, StoreError> {
        let state = &mut *self.partition.state.borrow_mut();
        if state.dropped {
            return Err(StoreError::Dropped);
        }
        let out_of_range = StoreError::OutOfRange {
            offset: end,
            start: state.start,
            end: state.end,
        };
        if end < state.start || end > state.end {
            return Err(out_of_range);
        }
        if end == state.end {
            return Ok(Lsn(state.last_lsn));
        }
        if !self.core.control_room(CONTROL_FRAMES) {
            return Err(ring_full());
        }
        let Some(removed) = self.core.truncate(&self.partition, state, end) else {
            return Err(out_of_range);
        };
        let frame = control(&self.partition, Kind::Truncate, end, -1, Box::default());
        let lsn = self.core.journal_control(&self.partition, state, frame);
        state.truncate_lsn = lsn.0;
        for segment in &removed {
            self.core.queue_removal(&self.partition, segment, lsn.0, 0, false);
        }
        self.core.roll(&self.partition, state, false);
        Ok(lsn)
    }

    /// Applies retention.ms and retention.bytes: removes the oldest segments that are too old or too many.
    pub fn retention(&self, now_ms: i64) -> Retained {
        let state = &mut *self.partition.state.borrow_mut();
        state
            .producers
            .expire(now_ms, self.core.config.producer_expiration_ms);
        let none = Retained {
            start_offset: state.start,
            ..Retained::default()
        };
        if state.dropped || self.core.phase.get() != Phase::Open {
            return none;
        }
        let to = retention_start(&state.segments, &state.settings, now_ms, state.end);
        // What is not durable yet has not been acknowledged either; it stays until it is.
        let Some(to) = to.filter(|&to| to > state.start && to <= state.durable_end) else {
            return none;
        };
        if !self.core.control_room(CONTROL_FRAMES) {
            return none;
        }
        let (_, segments, bytes) = self.move_start(state, to);
        Retained {
            segments,
            bytes,
            start_offset: to,
        }
    }

    /// Forgets producers that were idle for too long and have no open transaction; [`Log::retention`] does so too.
    pub fn expire_producers(&self, now_ms: i64) {
        let idle_ms = self.core.config.producer_expiration_ms;
        self.partition
            .state
            .borrow_mut()
            .producers
            .expire(now_ms, idle_ms);
    }

    /// What the log knows about a producer id.
    pub fn producer(&self, producer_id: i64) -> Option<ProducerEntry> {
        self.with(|s| s.producers.get(producer_id).copied())
    }

    /// All producer ids known, rising.
    pub fn producers(&self) -> Vec<ProducerEntry> {
        self.with(|s| s.producers.entries())
    }

    /// Judges an idempotent batch before it is appended.
    pub fn check_producer(&self, header: &BatchHeader) -> Result<Sequenced, ProducerError> {
        self.with(|s| s.producers.check(header))
    }

    /// First offset of the earliest transaction that is open or whose marker is not durable yet; none if all is
    /// decided. The last stable offset is the lower of this and the high watermark.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        self.with(LogState::first_unstable_offset)
    }

    /// Aborted transactions that overlap `from..upto`, by rising first offset: what a reader of committed data must
    /// know about the records in that range (KIP-98). Complete for what [`Log::read`] gave from memory.
    pub fn aborted_transactions(&self, from: i64, upto: i64) -> Vec<AbortedTxn> {
        self.with(|s| s.txns.overlapping(from, upto))
    }

    /// As [`Log::aborted_transactions`], and complete for what [`Log::read_disk`] gave: those of old segments are read
    /// from their footers.
    pub async fn aborted_transactions_disk(
        &self,
        from: i64,
        upto: i64,
    ) -> Result<Vec<AbortedTxn>, ReadError> {
        self.core.all_aborted(&self.partition, from, upto).await
    }

    /// Times that compaction replaced segments since the start. A reader of committed data whose read spans such a
    /// moment may have records of one state and aborted transactions of another: it reads again.
    pub fn swaps(&self) -> u64 {
        self.with(|s| s.swaps)
    }

    /// The first batch in log order whose largest timestamp is at least `timestamp`; the engine finds the record in it.
    pub async fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<Bytes>, ReadError> {
        self.core.find_timestamp(&self.partition, timestamp, 0).await
    }

    /// As [`Log::offset_for_timestamp`], among batches with an offset at or after `from`.
    pub async fn offset_for_timestamp_from(
        &self,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<Bytes>, ReadError> {
        self.core.find_timestamp(&self.partition, timestamp, from).await
    }

    /// The first batch that carries the log's largest timestamp; none if the log is empty.
    pub async fn max_timestamp_batch(&self) -> Result<Option<Bytes>, ReadError> {
        self.core.find_max_timestamp(&self.partition).await
    }

    /// As [`Log::read`], from disk, at a consumer's pace: reads ahead, checks every chunk, leaves the tail's memory alone.
    pub async fn read_disk(
        &self,
        offset: i64,
        max_bytes: usize,
        upto: i64,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, ReadError> {
        self.core
            .read_disk(&self.partition, offset, max_bytes, upto, at_least_one)
            .await
    }
}

/// Refuses offsets outside the log.
pub(crate) fn check_range(state: &LogState, offset: i64) -> Result<(), ReadError> {
    if state.dropped {
        return Err(ReadError::Dropped);
    }
    if offset < state.start || offset > state.end {
        return Err(ReadError::OutOfRange {
            start: state.start,
            end: state.end,
        });
    }
    Ok(())
}

/// The start offset that retention asks for; none if nothing has to go.
pub(crate) fn retention_start(
    segments: &[Segment],
    settings: &LogSettings,
    now_ms: i64,
    end: i64,
) -> Option<i64> {
    let mut to = None;
    let mut total: u64 = segments.iter().map(|s| s.total.bytes).sum();
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map_or(end, |s| s.base_offset);
        if segment.total.batches == 0 {
            if at + 1 == segments.len() {
                break;
            }
            to = Some(next);
            continue;
        }
        let newest = if segment.total.max_timestamp >= 0 {
            segment.total.max_timestamp
        } else {
            segment.created_ms
        };
        let age = now_ms.saturating_sub(newest);
        let old = settings.retention_ms >= 0 && age > settings.retention_ms;
        // The limit may be exceeded by less than a segment, as in Kafka: what goes must leave at least the limit.
        let left = total.saturating_sub(segment.total.bytes);
        let many = settings.retention_bytes >= 0 && left >= settings.retention_bytes as u64;
        if !old && !many {
            break;
        }
        total = left;
        to = Some(next);
    }
    to
}
