//! The drain: moves dirty slabs into segments, chunk by chunk; seals segments; removes files that are no longer wanted.
//!
//! The store's own task calls it when memory or the ring asks for it, oldest LSN first (R6). Only durable batches are
//! drained, so a segment never holds what the journal could still lose. A drained chunk permits nothing by itself: a
//! checkpoint does.

use std::io;
use std::rc::Rc;

use crate::checkpoint::aborted_records;
use crate::core::{Core, LogState, Partition, Phase, Segment};
use crate::env::{ALIGN, Class, Env, File, IoBuf};
use crate::format::archive::{AbortedRecord, ChunkRecord, EpochRecord, Footer};
use crate::format::chunk::{ChunkSpec, DirEntry, chunk_len, write_chunk};
use crate::format::segment::{self, FIRST_CHUNK, SegmentHeader};
use crate::journal::write::short_write;
use crate::tail::sys::Lease;
use crate::txn::Txns;

/// A chunk about to be written.
struct Plan {
    slabs: Vec<u64>,
    parts: Vec<Lease>,
    dir: Vec<DirEntry>,
    data_len: usize,
    segment: Segment,
    spec: ChunkSpec,
    path: String,
    truncations: u32,
}

/// Aborted transactions whose marker lies in a segment's file.
fn aborted_in(txns: &Txns, segment: &Segment) -> Vec<AbortedRecord> {
    let all = txns.aborted();
    let from = all.partition_point(|a| a.last_offset < segment.base_offset);
    let to = all.partition_point(|a| a.last_offset < segment.drained.end_offset);
    aborted_records(&all[from..to])
}

/// What one call of the drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Wrote a chunk.
    Chunk,
    /// Nothing to write for this log now.
    Nothing,
    /// The filesystem is full.
    NoSpace,
}

impl<E: Env> Core<E> {
    /// Plans the next chunk of a log: durable dirty slabs of one segment and one epoch.
    fn plan(&self, partition: &Partition) -> Option<Plan> {
        let durable_lsn = self.journal.borrow().durable_lsn;
        let state = &mut *partition.state.borrow_mut();
        if state.dropped {
            return None;
        }
        let first = state.tail.dirty().next()?;
        if first.last_lsn > durable_lsn {
            return None;
        }
        let at = state
            .segments
            .iter()
            .rposition(|s| s.base_offset <= first.base_offset);
        let at = at.expect("a dirty slab lies in a segment");
        let next_base = state.segments.get(at + 1).map_or(i64::MAX, |s| s.base_offset);
        let segment = &state.segments[at];
        let (epoch, base_offset) = (first.leader_epoch, first.base_offset);
        let mut plan = Plan {
            slabs: Vec::new(),
            parts: Vec::new(),
            dir: Vec::new(),
            data_len: 0,
            spec: ChunkSpec {
                segment_id: segment.id,
                file_pos: segment.end_position.max(FIRST_CHUNK),
                chunk_seq: segment.next_chunk_seq,
                prev_chunk_crc: segment.last_chunk_crc,
                base_offset,
                last_offset: base_offset,
                max_timestamp: i64::MIN,
                batch_count: 0,
                leader_epoch: epoch,
                lsn_hi: 0,
            },
            path: segment::segment_path(&partition.id, segment.base_offset, segment.generation),
            segment: segment.bare(),
            truncations: state.truncations,
        };
        let mut end = base_offset;
        for slab in state.tail.dirty() {
            let fits =
                plan.slabs.is_empty() || plan.data_len + slab.len() <= self.config.chunk_bytes as usize;
            let same = slab.leader_epoch == epoch && slab.base_offset == end && slab.base_offset < next_base;
            let near = slab.end_offset - base_offset < i64::from(u32::MAX);
            if !fits || !same || !near || slab.last_lsn > durable_lsn {
                break;
            }
            let rel = (slab.base_offset - base_offset) as u32;
            let moved = |e: &DirEntry| DirEntry {
                rel_offset: e.rel_offset + rel,
                pos: e.pos + plan.data_len as u32,
                max_timestamp: e.max_timestamp,
            };
            plan.dir.extend(slab.dir().iter().map(moved));
            plan.slabs.push(slab.first_lsn);
            plan.parts.push(slab.lease());
            plan.data_len += slab.len();
            plan.spec.last_offset = slab.end_offset - 1;
            plan.spec.max_timestamp = plan.spec.max_timestamp.max(slab.max_timestamp);
            plan.spec.batch_count += slab.batches;
            plan.spec.lsn_hi = slab.last_lsn;
            end = slab.end_offset;
        }
        // The last slab taken may be open: it takes no more batches, they go to a new one.
        if state.tail.dirty().count() == plan.slabs.len() {
            state.tail.seal();
        }
        Some(plan)
    }

    /// Writes the next chunk of a log.
    pub async fn drain_log(self: &Rc<Self>, partition: &Rc<Partition>) -> Drained {
        let pending = {
            let state = &mut *partition.state.borrow_mut();
            let durable = self.journal.borrow().durable_lsn;
            let first = state.tail.dirty().next().map(|s| s.last_lsn);
            match first {
                Some(lsn) if lsn > durable => {
                    state.tail.seal();
                    Some(lsn)
                }
                Some(_) => None,
                None => return Drained::Nothing,
            }
        };
        if let Some(lsn) = pending
            && !self.durable(lsn).await
        {
            return Drained::Nothing;
        }
        let Some(plan) = self.plan(partition) else {
            return Drained::Nothing;
        };
        match self.write_plan(partition, &plan).await {
            Ok(crc) => {
                self.drained(partition, &plan, crc);
                self.evict_clean();
                self.seal_finished(partition).await;
                Drained::Chunk
            }
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.space.borrow_mut().exhausted();
                self.drain_stalled.set(true);
                Drained::NoSpace
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.replaying.get() => {
                // A DROP, LOG_START or TRUNCATE further on explains it, or the end of replay finds it missing.
                let first = partition.state.borrow().tail.first_dirty_lsn();
                if let Some(lsn) = first {
                    self.dirty_logs.borrow_mut().remove(&lsn);
                }
                self.set_aside.borrow_mut().push(partition.clone());
                Drained::Nothing
            }
            Err(e) => self.env.poison(&format!("drain to {}", plan.path), &e),
        }
    }

    async fn write_plan(&self, partition: &Partition, plan: &Plan) -> io::Result<u32> {
        let fresh = plan.segment.end_position == 0;
        let len = chunk_len(plan.dir.len(), plan.data_len);
        let file = self.open_segment(partition, plan, fresh).await?;
        let end = plan.spec.file_pos + len as u64;
        if end > plan.segment.allocated {
            // Ahead of need in proportion to the file, so that small partitions reserve little.
            let ahead = (end / 8).min(16 << 20) / ALIGN as u64 * ALIGN as u64;
            file.allocate(end + ahead).await?;
            let mut state = partition.state.borrow_mut();
            if let Some(segment) = state.segments.iter_mut().find(|s| s.id == plan.segment.id) {
                segment.allocated = end + ahead;
            }
        }
        let head = if fresh { FIRST_CHUNK as usize } else { 0 };
        let mut buf = self.env.buffer(head + len);
        if fresh {
            let header = SegmentHeader {
                flags: 0,
                segment_id: plan.segment.id,
                topic_uuid: partition.id.topic,
                partition: partition.id.partition,
                generation: plan.segment.generation,
                base_offset: plan.segment.base_offset,
                created_ms: self.env.wall_ms(),
                feature_bits: 0,
            };
            let page = &mut buf.bytes_mut()[..head];
            page[..SegmentHeader::BYTES].copy_from_slice(&header.encode().0);
            page[SegmentHeader::BYTES..].fill(0);
        }
        let parts: Vec<&[u8]> = plan.parts.iter().map(AsRef::as_ref).collect();
        let crc = write_chunk(&mut buf.bytes_mut()[head..], &plan.spec, &plan.dir, &parts);
        let (result, _) = file.write_at(plan.spec.file_pos - head as u64, buf).await;
        match result? {
            n if n == head + len => Ok(crc),
            n => Err(short_write(n, head + len)),
        }
    }

    /// Opens a segment's file for writing, and makes it with its directories if it is new. The last removal of another
    /// partition of the topic, or of an earlier life of this one, may take empty directories away in between.
    async fn open_segment(&self, partition: &Partition, plan: &Plan, fresh: bool) -> io::Result<E::File> {
        if !fresh && self.replaying.get() && self.files.cached(plan.segment.id).is_none() {
            // Opening would make the file that is missing, and hide that.
            let names = self.env.list_dir(&segment::partition_dir(&partition.id)).await?;
            if !names.iter().any(|n| plan.path.ends_with(&format!("/{n}"))) {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        let (mut fresh, mut left) = (fresh, 16);
        loop {
            let made = if fresh {
                self.make_partition_dir(partition).await
            } else {
                Ok(())
            };
            let opened = match made {
                Ok(()) => self.files.get(&self.env, plan.segment.id, &plan.path, true).await,
                Err(e) => Err(e),
            };
            match opened {
                Err(e) if left > 0 && e.kind() == io::ErrorKind::NotFound => (fresh, left) = (true, left - 1),
                result => return result,
            }
        }
    }

    async fn make_partition_dir(&self, partition: &Partition) -> io::Result<()> {
        let dir = segment::partition_dir(&partition.id);
        self.env.create_dir_all(&dir).await
    }

    /// Notes the directories whose entries lead to a new segment file. Called once the file exists: a checkpoint that
    /// synced them before would not have covered it.
    fn note_new_file(&self, partition: &Partition) {
        let mut dirs = self.unsynced_dirs.borrow_mut();
        dirs.insert(String::new());
        dirs.insert(segment::TOPICS.to_owned());
        dirs.insert(segment::topic_dir(&partition.id.topic));
        dirs.insert(segment::partition_dir(&partition.id));
    }

    /// Takes note of a written chunk.
    fn drained(&self, partition: &Rc<Partition>, plan: &Plan, crc: u32) {
        let len = chunk_len(plan.dir.len(), plan.data_len) as u64;
        {
            let mut counters = self.counters.borrow_mut();
            counters.chunks += 1;
            counters.drained_bytes += len;
        }
        self.drained_since_checkpoint
            .set(self.drained_since_checkpoint.get() + len);
        let state = &mut *partition.state.borrow_mut();
        if state.dropped {
            return;
        }
        if let Some(segment) = state.segments.iter_mut().find(|s| s.id == plan.segment.id) {
            if plan.segment.end_position == 0 {
                self.note_new_file(partition);
            }
            self.unsynced.borrow_mut().insert(segment.id, plan.path.clone());
            segment.end_position = plan.spec.file_pos + len;
            segment.next_chunk_seq += 1;
            segment.last_chunk_crc = crc;
            let end = plan.spec.last_offset + 1;
            let batches = u64::from(plan.spec.batch_count);
            segment
                .drained
                .add(end, plan.data_len as u64, batches, plan.spec.max_timestamp);
            if let Some(index) = &mut segment.index {
                index.push(ChunkRecord {
                    position: plan.spec.file_pos,
                    len: len as u32,
                    leader_epoch: plan.spec.leader_epoch,
                    base_offset: plan.spec.base_offset,
                    last_offset: plan.spec.last_offset,
                    max_timestamp: plan.spec.max_timestamp,
                });
            }
            if state.truncations != plan.truncations && segment.drained.end_offset > segment.total.end_offset
            {
                // A truncation overtook the write: what it took back is cut from the file as well.
                segment.cut = segment.cut.min(segment.total.end_offset);
                segment.drained.end_offset = segment.total.end_offset;
            }
        }
        let before = state.tail.first_dirty_lsn();
        for &lsn in &plan.slabs {
            if let Some(memory) = state.tail.mark_clean(lsn) {
                self.clean_bytes.set(self.clean_bytes.get() + memory);
                self.clean_order.borrow_mut().push_back((partition.clone(), lsn));
                self.dirty_changed(0, memory);
            }
        }
        let after = state.tail.first_dirty_lsn();
        self.reindex_dirty(partition, before, after);
    }

    /// Writes the footers of segments that are full and wholly drained.
    async fn seal_finished(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            let found = {
                let state = partition.state.borrow();
                let last = state.segments.len().saturating_sub(1);
                let due = |s: &&Segment| {
                    s.footer_len == 0
                        && s.end_position > 0
                        && s.cut == i64::MAX
                        && s.drained.end_offset == s.total.end_offset
                        && s.drained.batches == s.total.batches
                };
                if state.dropped {
                    None
                } else {
                    state.segments[..last].iter().find(due).map(Segment::bare)
                }
            };
            let Some(segment) = found else { return };
            match self.seal(partition, &segment).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    self.space.borrow_mut().exhausted();
                    return;
                }
                Err(e) => self.env.poison("sealing a segment", &e),
            }
        }
    }

    async fn seal(self: &Rc<Self>, partition: &Rc<Partition>, segment: &Segment) -> io::Result<bool> {
        // Without its chunk index there is no footer; the chunks themselves still tell.
        let Ok(chunks) = self.chunk_index(partition, segment.id).await else {
            return Ok(false);
        };
        let footer = {
            let state = partition.state.borrow();
            Footer {
                segment_id: segment.id,
                base_offset: segment.base_offset,
                end_offset: segment.drained.end_offset,
                data_bytes: segment.drained.bytes,
                batches: segment.drained.batches,
                max_timestamp: segment.drained.max_timestamp,
                chunks: chunks.as_ref().clone(),
                aborted: aborted_in(&state.txns, segment),
                epochs: state
                    .epochs
                    .entries()
                    .iter()
                    .filter(|e| e.start_offset < segment.drained.end_offset)
                    .map(|e| EpochRecord {
                        epoch: e.epoch,
                        start_offset: e.start_offset,
                    })
                    .collect(),
                producers: Vec::new(),
            }
        };
        let bytes = footer.encode(segment.end_position);
        let path = segment::segment_path(&partition.id, segment.base_offset, segment.generation);
        let file = self.files.get(&self.env, segment.id, &path, true).await?;
        file.allocate(segment.end_position + bytes.len() as u64).await?;
        let mut buf = self.env.zeroed(bytes.len());
        buf.bytes_mut().copy_from_slice(&bytes);
        let (result, _) = file.write_at(segment.end_position, buf).await;
        match result? {
            n if n == bytes.len() => {}
            n => return Err(short_write(n, bytes.len())),
        }
        let mut state = partition.state.borrow_mut();
        if let Some(sealed) = state
            .segments
            .iter_mut()
            .find(|s| s.id == segment.id && s.cut == i64::MAX)
        {
            sealed.footer_len = bytes.len() as u32;
            sealed.index = None;
            self.unsynced.borrow_mut().insert(segment.id, path);
            self.spill_aborted(&mut state);
        }
        Ok(true)
    }

    /// Leaves aborted transactions of old segments to their footers, when a log has many. What memory serves may need
    /// stays: its readers do not wait for a disk.
    fn spill_aborted(&self, state: &mut LogState) {
        let most = self.config.aborted_in_memory;
        if state.txns.aborted().len() <= most {
            return;
        }
        let memory = state.tail.base_offset().unwrap_or(i64::MAX);
        for at in 1..state.segments.len() {
            let end = state.segments[at].base_offset;
            let segment = &mut state.segments[at - 1];
            let listed = segment.footer_len > 0 && segment.cut == i64::MAX && end <= memory;
            if !listed || state.txns.aborted().len() <= most / 2 {
                return;
            }
            segment.footer_aborted += state.txns.evict(segment.base_offset, end);
        }
    }

    /// Writes chunks until `done` holds or nothing can be drained, several at a time.
    pub async fn drain_until(self: &Rc<Self>, done: impl Fn(&Self) -> bool) {
        let depth = |core: &Self| core.config.drain_depth as usize;
        self.drain_with(done, depth).await;
    }

    /// The same for the sake of memory: one at a time as long as the limit is not near. Logs that wait for the journal's
    /// device feel every chunk that is written beside it, and most of all the first of thousands of files.
    pub async fn drain_gently(self: &Rc<Self>, done: impl Fn(&Self) -> bool) {
        let depth = |core: &Self| {
            let near = core.dirty_bytes.get() * 2 > core.budgets.soft_dirty + core.budgets.hard_dirty;
            if near || core.ring_wanted.get() {
                core.config.drain_depth as usize
            } else {
                1
            }
        };
        self.drain_with(done, depth).await;
    }

    async fn drain_with(self: &Rc<Self>, done: impl Fn(&Self) -> bool, depth: impl Fn(&Self) -> usize) {
        loop {
            if done(self) || self.drain_stalled.get() || self.phase.get() == Phase::Closed {
                break;
            }
            let seen = self.removal_wake.version();
            let next = self
                .dirty_logs
                .borrow()
                .values()
                .find(|p| !p.state.borrow().draining)
                .cloned();
            let Some(partition) = next else {
                if self.drain_slots.taken() > 0 {
                    self.drain_slots.idle().await;
                    continue;
                }
                if self.dirty_logs.borrow().is_empty() {
                    break;
                }
                // All that is dirty is being drained by a checkpoint; its end is told here.
                self.removal_wake.changed(seen).await;
                continue;
            };
            partition.state.borrow_mut().draining = true;
            self.drain_slots.acquire(depth(self)).await.keep();
            let core = self.clone();
            self.spawn(Class::Drain, async move {
                core.drain_log(&partition).await;
                partition.state.borrow_mut().draining = false;
                core.removal_wake.notify();
                core.drain_slots.release();
            });
        }
        self.drain_slots.idle().await;
    }

    /// Removes files whose frames are durable, whose delay is over and which nobody writes. The removal task.
    pub async fn run_removals(self: Rc<Self>) {
        while self.running() {
            let seen = self.removal_wake.version();
            let (ready, next_due) = self.take_removals(self.env.now_ns());
            if ready.is_empty() {
                match next_due {
                    Some(due) => {
                        let wait = due.saturating_sub(self.env.now_ns()).max(1_000_000);
                        let time = std::time::Duration::from_nanos(wait);
                        crate::sync::either(self.env.sleep(time), self.removal_wake.changed(seen)).await;
                    }
                    None => self.removal_wake.changed(seen).await,
                }
                continue;
            }
            for removal in ready {
                self.remove_file(&removal).await;
            }
        }
    }

    fn take_removals(&self, now_ns: u64) -> (Vec<crate::core::Removal>, Option<u64>) {
        let durable = self.journal.borrow().durable_lsn;
        let mut next_due = None;
        let mut ready = Vec::new();
        let mut queue = self.removals.borrow_mut();
        let all = std::mem::take(&mut *queue);
        for removal in all {
            let allowed = removal.lsn <= durable || self.faults.unlink_before_durable;
            let writing = removal
                .partition
                .as_ref()
                .is_some_and(|p| p.state.borrow().draining);
            let record = &removal.record;
            let written = self.outputs.borrow().iter().any(|(id, base, generation)| {
                (id.topic, id.partition) == (record.topic, record.partition)
                    && (*base, *generation) == (record.base_offset, record.generation)
            });
            if !allowed || writing || written || removal.due_ns == u64::MAX {
                queue.push_back(removal);
            } else if removal.due_ns > now_ns {
                next_due = Some(next_due.unwrap_or(u64::MAX).min(removal.due_ns));
                queue.push_back(removal);
            } else {
                ready.push(removal);
            }
        }
        // Their frames may leave the journal only once the files are gone: they stay listed for checkpoints until then.
        for removal in &ready {
            queue.push_back(crate::core::Removal {
                due_ns: u64::MAX,
                ..removal.clone()
            });
        }
        (ready, next_due)
    }

    /// Removes every file that waits for removal, whatever its delay; their frames are durable.
    pub async fn remove_all_queued(&self) {
        let all: Vec<_> = self.removals.borrow().iter().cloned().collect();
        for removal in all {
            self.remove_file(&removal).await;
        }
    }

    /// Removes files of a dropped log that nothing names: what a crash left of a pass of compaction.
    async fn sweep_gone(&self, id: &crate::api::PartitionId) {
        let dir = segment::partition_dir(id);
        let Ok(names) = self.env.list_dir(&dir).await else {
            return;
        };
        for name in names {
            let Some((base, generation)) = segment::parse_segment_name(&name) else {
                continue;
            };
            let alive = self.by_id.borrow().contains_key(id)
                || self.outputs.borrow().contains(&(*id, base, generation));
            let waits = self.removals.borrow().iter().any(|r| {
                let r = &r.record;
                (r.topic, r.partition) == (id.topic, id.partition)
                    && (r.base_offset, r.generation) == (base, generation)
            });
            if alive {
                return;
            }
            if !waits {
                let _ = self.env.remove_file(&format!("{dir}/{name}")).await;
            }
        }
    }

    async fn remove_file(&self, removal: &crate::core::Removal) {
        let record = &removal.record;
        let id = crate::api::PartitionId {
            topic: record.topic,
            partition: record.partition,
        };
        let path = segment::segment_path(&id, record.base_offset, record.generation);
        self.files.forget(&self.env, removal.segment_id);
        self.unsynced.borrow_mut().remove(&removal.segment_id);
        self.reads.forget(removal.segment_id);
        if let Err(e) = self.env.remove_file(&path).await {
            // Nothing is lost by a file that stays; the next start or checkpoint tries again.
            let _ = e;
            return;
        }
        self.removals.borrow_mut().retain(|r| r.record != *record);
        if record.partition_gone && !self.by_id.borrow().contains_key(&id) {
            self.sweep_gone(&id).await;
            // Fails while other files of the partition wait; the last one succeeds.
            let _ = self.env.remove_dir(&segment::partition_dir(&id)).await;
            let _ = self.env.remove_dir(&segment::topic_dir(&id.topic)).await;
        }
    }
}
