//! The checkpoint (R7): what makes journal files free again.
//!
//! In this order: the state of every log is taken; the segments and directories it names are synced; the checkpoint
//! file is written, synced, renamed, its directory synced; the superblock's copies are written; only then is the
//! journal's tail moved and the old checkpoint removed.
//!
//! A log's record is its state at the moment it is taken. Frames up to its `drained_lsn` are in it; DATA behind that
//! LSN is replayed. A truncation is only recorded once everything before it is drained, so that replay never meets a
//! TRUNCATE whose effect is in the record already (I8).

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::api::StoreError;
use crate::core::{Core, LogState, Partition, Phase, Removal, Segment, Stats};
use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode};
use crate::epochs::{EpochStart, Epochs};
use crate::format::archive::{
    AbortedRecord, Checkpoint, CompletedRecord, EpochRecord, PartitionRecord, ProducerBatchRecord,
    ProducerRecord, RemovalRecord, SegmentRecord,
};
use crate::format::{crc, pages};
use crate::journal::write::short_write;
use crate::producer::{ProducerBatch, ProducerEntry, Producers};
use crate::txn::{AbortedTxn, CompletedTxn, Txns};

/// Path of a checkpoint's file.
pub(crate) fn checkpoint_path(dir: &str, id: u64) -> String {
    format!("{dir}/ckpt/{id:016x}.rkyv")
}

/// Files and directories to make durable above which the whole filesystem is synced at once: two calls for each of
/// thousands of partitions would flush the device thousands of times.
const MANY: usize = 256;
const WRITE_STEP: usize = 1 << 20;

pub(crate) fn segment_record(segment: &Segment) -> SegmentRecord {
    SegmentRecord {
        segment_id: segment.id,
        base_offset: segment.base_offset,
        generation: segment.generation,
        end_position: segment.end_position,
        footer_len: segment.footer_len,
        cut: segment.cut,
        next_chunk_seq: segment.next_chunk_seq,
        last_chunk_crc: segment.last_chunk_crc,
        created_ms: if segment.drained.batches > 0 {
            segment.created_ms
        } else {
            -1
        },
        first_timestamp: if segment.drained.batches > 0 {
            segment.first_timestamp
        } else {
            -1
        },
        footer_aborted: segment.footer_aborted,
        end_offset: segment.drained.end_offset,
        data_bytes: segment.drained.bytes,
        batches: segment.drained.batches,
        max_timestamp: segment.drained.max_timestamp,
    }
}

pub(crate) fn segment_from(record: &SegmentRecord) -> Segment {
    let drained = Stats {
        end_offset: record.end_offset,
        bytes: record.data_bytes,
        batches: record.batches,
        max_timestamp: record.max_timestamp,
    };
    Segment {
        id: record.segment_id,
        base_offset: record.base_offset,
        generation: record.generation,
        created_ms: record.created_ms,
        first_timestamp: record.first_timestamp,
        end_position: record.end_position,
        allocated: record.end_position,
        footer_len: record.footer_len,
        footer_aborted: record.footer_aborted,
        cut: record.cut,
        next_chunk_seq: record.next_chunk_seq,
        last_chunk_crc: record.last_chunk_crc,
        drained,
        total: drained,
        index: (record.end_position == 0).then(Vec::new),
    }
}

pub(crate) fn producer_records(producers: &Producers) -> Vec<ProducerRecord> {
    let record = |e: &ProducerEntry| ProducerRecord {
        producer_id: e.producer_id,
        epoch: e.epoch,
        coordinator_epoch: e.coordinator_epoch,
        last_ms: e.last_ms,
        txn_first_offset: e.txn_first_offset,
        batches: e
            .batches()
            .iter()
            .map(|b| ProducerBatchRecord {
                base_sequence: b.base_sequence,
                last_sequence: b.last_sequence,
                base_offset: b.base_offset,
                last_offset: b.last_offset,
                max_timestamp: b.max_timestamp,
            })
            .collect(),
    };
    producers.entries().iter().map(record).collect()
}

pub(crate) fn producers_from(records: &[ProducerRecord]) -> Producers {
    let mut producers = Producers::default();
    for record in records {
        let mut entry = ProducerEntry::new(record.producer_id, record.epoch);
        entry.coordinator_epoch = record.coordinator_epoch;
        entry.last_ms = record.last_ms;
        entry.txn_first_offset = record.txn_first_offset;
        for b in &record.batches {
            entry.push(ProducerBatch {
                base_sequence: b.base_sequence,
                last_sequence: b.last_sequence,
                base_offset: b.base_offset,
                last_offset: b.last_offset,
                max_timestamp: b.max_timestamp,
            });
        }
        producers.restore(entry);
    }
    producers
}

/// The records of aborted transactions.
pub(crate) fn aborted_records(txns: &[AbortedTxn]) -> Vec<AbortedRecord> {
    txns.iter()
        .map(|a| AbortedRecord {
            producer_id: a.producer_id,
            first_offset: a.first_offset,
            last_offset: a.last_offset,
            last_stable_offset: a.last_stable_offset,
        })
        .collect()
}

/// The aborted transactions of records.
pub(crate) fn aborted_from(records: &[AbortedRecord]) -> Vec<AbortedTxn> {
    records
        .iter()
        .map(|a| AbortedTxn {
            producer_id: a.producer_id,
            first_offset: a.first_offset,
            last_offset: a.last_offset,
            last_stable_offset: a.last_stable_offset,
        })
        .collect()
}

/// The transactions of a log's record; none if they are out of order.
pub(crate) fn txns_from(record: &PartitionRecord) -> Option<Txns> {
    let aborted = aborted_from(&record.aborted);
    let completed = record
        .completed
        .iter()
        .map(|c| CompletedTxn {
            producer_id: c.producer_id,
            producer_epoch: c.producer_epoch,
            first_offset: c.first_offset,
            last_offset: c.last_offset,
            aborted: c.aborted,
        })
        .collect();
    Txns::from_parts(aborted, completed)
}

fn completed_records(txns: &Txns) -> Vec<CompletedRecord> {
    txns.remembered()
        .map(|c| CompletedRecord {
            producer_id: c.producer_id,
            producer_epoch: c.producer_epoch,
            first_offset: c.first_offset,
            last_offset: c.last_offset,
            aborted: c.aborted,
        })
        .collect()
}

pub(crate) fn epochs_from(records: &[EpochRecord]) -> Option<Epochs> {
    Epochs::from_entries(
        records
            .iter()
            .map(|e| EpochStart {
                epoch: e.epoch,
                start_offset: e.start_offset,
            })
            .collect(),
    )
}

/// The record of a log. `last_lsn` is the newest LSN given out.
pub(crate) fn partition_record(partition: &Partition, state: &LogState, last_lsn: u64) -> PartitionRecord {
    let first_dirty = state.tail.dirty().next();
    PartitionRecord {
        topic: partition.id.topic,
        topic_no: partition.topic_no,
        partition: partition.id.partition,
        drained_lsn: first_dirty.map_or(last_lsn, |s| s.first_lsn - 1),
        drained_offset: first_dirty.map_or(state.end, |s| s.base_offset),
        log_start: state.start,
        epochs: state
            .epochs
            .entries()
            .iter()
            .map(|e| EpochRecord {
                epoch: e.epoch,
                start_offset: e.start_offset,
            })
            .collect(),
        term: -1,
        vote: -1,
        suspect: state.suspect,
        producers_lsn: last_lsn,
        producers: producer_records(&state.producers),
        aborted: aborted_records(state.txns.aborted()),
        completed: completed_records(&state.txns),
        clean_offset: state.clean_offset,
        // Younger segments come back with their frames, which lie above `drained_lsn`.
        segments: state
            .segments
            .iter()
            .filter(|s| first_dirty.is_none_or(|first| s.base_offset <= first.base_offset))
            .map(segment_record)
            .collect(),
    }
}

pub(crate) fn removal_from(record: &RemovalRecord) -> Removal {
    Removal {
        record: *record,
        partition: None,
        segment_id: u64::MAX,
        lsn: 0,
        due_ns: 0,
    }
}

impl<E: Env> Core<E> {
    /// Drains what a log wrote before its newest truncation.
    async fn settle_truncation(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            let seen = self.removal_wake.version();
            let busy = {
                let mut state = partition.state.borrow_mut();
                let due = state
                    .tail
                    .first_dirty_lsn()
                    .is_some_and(|lsn| lsn < state.truncate_lsn);
                if !due || state.dropped {
                    return;
                }
                let busy = state.draining;
                state.draining = true;
                busy
            };
            if busy {
                self.removal_wake.changed(seen).await;
                continue;
            }
            self.drain_log(partition).await;
            partition.state.borrow_mut().draining = false;
            self.removal_wake.notify();
            if self.drain_stalled.get() {
                return;
            }
        }
    }

    /// Takes a checkpoint. `clean`: nothing will be written afterwards.
    pub async fn checkpoint(self: &Rc<Self>, clean: bool) -> Result<(), StoreError> {
        let _turn = self.checkpoint_lock.acquire(1).await;
        if self.phase.get() == Phase::Closed {
            return Err(StoreError::Closed);
        }
        let drained_before = self.drained_since_checkpoint.get();
        let limit = self.journal.borrow().next_lsn;
        let mut tail_lsn = limit;
        let mut records = Vec::new();
        let logs: Vec<Rc<Partition>> = self.logs.borrow().values().cloned().collect();
        for (n, partition) in logs.iter().enumerate() {
            if n % 128 == 127 {
                self.env.sleep(Duration::from_micros(10)).await;
            }
            if !self.faults.no_truncation_settling {
                self.settle_truncation(partition).await;
            }
            let state = partition.state.borrow();
            if state.dropped {
                continue;
            }
            let first_dirty = state.tail.first_dirty_lsn();
            let unsettled = first_dirty.is_some_and(|lsn| lsn < state.truncate_lsn);
            if unsettled && !self.faults.no_truncation_settling {
                return Err(StoreError::NoSpace("a truncated log could not be drained".into()));
            }
            tail_lsn = tail_lsn.min(first_dirty.unwrap_or(u64::MAX));
            let last_lsn = self.journal.borrow().last_lsn();
            records.push(partition_record(partition, &state, last_lsn));
        }
        // (b) What the records name must be on stable media, and no record may tell of what the journal could lose.
        let newest = self.journal.borrow().last_lsn();
        let segments = std::mem::take(&mut *self.unsynced.borrow_mut());
        let dirs = std::mem::take(&mut *self.unsynced_dirs.borrow_mut());
        if !self.faults.checkpoint_before_segment_sync {
            let many = segments.len() + dirs.len() > MANY && !self.faults.no_directory_sync;
            let all = match many {
                true => self.env.sync_all().await,
                false => Ok(false),
            };
            let all = all.unwrap_or_else(|e| self.env.poison("sync of the filesystem", &e));
            let (segments, dirs) = if all { Default::default() } else { (segments, dirs) };
            self.sync_segments(segments).await;
            for dir in dirs.iter().filter(|_| !self.faults.no_directory_sync) {
                if let Err(e) = self.env.sync_dir(dir).await
                    && e.kind() != io::ErrorKind::NotFound
                {
                    self.env.poison(&format!("directory sync of {dir}"), &e);
                }
            }
        }
        if !self.durable(newest).await {
            return Err(StoreError::Closed);
        }
        let superblock = *self.superblock.borrow();
        let checkpoint = Checkpoint {
            ckpt_id: superblock.ckpt_id + 1,
            shard: superblock.shard,
            journal_id: superblock.journal_id,
            epoch: superblock.epoch,
            next_topic: self.next_topic.get(),
            next_segment: self.next_segment.get(),
            partitions: records,
            // A removal whose frame is not durable yet must not outlive that frame.
            removals: self
                .removals
                .borrow()
                .iter()
                .filter(|r| r.lsn <= newest)
                .map(|r| r.record)
                .collect(),
        };
        // (c)
        let (len, file_crc) = match write_checkpoint(
            &self.env,
            &self.config.dir,
            &checkpoint,
            !self.faults.superblock_before_checkpoint_sync,
        )
        .await
        {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.space.borrow_mut().exhausted();
                return Err(StoreError::NoSpace(e.to_string()));
            }
            Err(e) => self.env.poison("checkpoint", &e),
        };
        // (d)
        {
            let _turn = self.superblock_lock.acquire(1).await;
            let mark = {
                let journal = self.journal.borrow();
                journal.ring.mark_for(tail_lsn, journal.head_mark())
            };
            if self.faults.reuse_before_superblock {
                self.journal.borrow_mut().ring.set_tail(mark);
                self.ring_freed();
                self.env.sleep(Duration::from_millis(5)).await;
            }
            let clean = clean && self.journal.borrow().queue.is_empty();
            self.write_superblock(|sb| {
                sb.tail_file = mark.at.file;
                sb.tail_page = mark.at.page;
                sb.tail_group_seq = mark.group_seq;
                sb.tail_prev_crc = mark.prev_crc;
                sb.tail_epoch = mark.epoch;
                sb.tail_first_lsn = mark.first_lsn;
                sb.ckpt_id = checkpoint.ckpt_id;
                sb.ckpt_len = len;
                sb.ckpt_crc = file_crc;
                sb.clean_shutdown = u32::from(clean);
            })
            .await;
            // (e)
            self.journal.borrow_mut().ring.set_tail(mark);
        }
        let drained = self.drained_since_checkpoint.get();
        self.drained_since_checkpoint
            .set(drained.saturating_sub(drained_before));
        self.counters.borrow_mut().checkpoints += 1;
        self.ring_freed();
        if superblock.ckpt_id > 0 {
            // A checkpoint file that stays is found and removed by the next start.
            let _ = self
                .env
                .remove_file(&checkpoint_path(&self.config.dir, superblock.ckpt_id))
                .await;
        }
        Ok(())
    }

    async fn sync_segments(self: &Rc<Self>, segments: std::collections::BTreeMap<u64, String>) {
        let slots = Rc::new(crate::sync::Semaphore::default());
        for (id, path) in segments {
            // Taken here and given back there: `idle` below must count tasks that have not run yet.
            slots.acquire(8).await.keep();
            let (core, slots) = (self.clone(), slots.clone());
            self.spawn(Class::Drain, async move {
                core.sync_segment(id, &path).await;
                slots.release();
            });
        }
        slots.idle().await;
    }

    async fn sync_segment(&self, id: u64, path: &str) {
        // Never opened for writing here: that would make a file that was removed meanwhile.
        let file = match self.files.cached(id) {
            Some(file) => Ok(file),
            None => self.files.get(&self.env, id, path, false).await,
        };
        let result = match file {
            Ok(file) => file.sync().await,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.names(id) => return,
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            self.env.poison(&format!("sync of {path}"), &e);
        }
    }

    fn names(&self, segment_id: u64) -> bool {
        let logs = self.logs.borrow();
        logs.values()
            .any(|p| p.state.borrow().segments.iter().any(|s| s.id == segment_id))
    }

    /// Waits until everything appended is durable, then drains all of it.
    pub async fn drain_all(self: &Rc<Self>) {
        let newest = self.journal.borrow().last_lsn();
        self.durable(newest).await;
        self.drain_until(|core| core.dirty_logs.borrow().is_empty()).await;
    }

    /// Drains and checkpoints for good: the first half of closing.
    pub async fn settle(self: &Rc<Self>) -> Result<(), StoreError> {
        self.drain_stalled.set(false);
        self.drain_all().await;
        let clean = self.dirty_logs.borrow().is_empty();
        self.checkpoint(clean && self.phase.get() == Phase::Closing).await
    }
}

/// Writes a checkpoint's file so that it exists whole or not at all. Returns its length and CRC.
pub(crate) async fn write_checkpoint<E: Env>(
    env: &E,
    dir: &str,
    checkpoint: &Checkpoint,
    sync: bool,
) -> io::Result<(u64, u32)> {
    let bytes = checkpoint.encode();
    let path = checkpoint_path(dir, checkpoint.ckpt_id);
    let tmp = format!("{path}.tmp");
    let result = write_whole(env, &tmp, &bytes, sync).await;
    if let Err(e) = result {
        let _ = env.remove_file(&tmp).await;
        return Err(e);
    }
    env.rename(&tmp, &path).await?;
    if sync {
        env.sync_dir(&format!("{dir}/ckpt")).await?;
    }
    Ok((bytes.len() as u64, crc(&bytes)))
}

/// Writes a new file, padded to whole pages.
pub(crate) async fn write_whole<E: Env>(env: &E, path: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    env.remove_file(path).await?;
    let file = env.open(path, OpenMode::Write).await?;
    file.allocate(pages(bytes.len()) as u64).await?;
    for (n, part) in bytes.chunks(WRITE_STEP).enumerate() {
        let mut buf = env.zeroed(pages(part.len()));
        buf.bytes_mut()[..part.len()].copy_from_slice(part);
        let len = buf.bytes().len();
        let (result, _) = file.write_at((n * WRITE_STEP) as u64, buf).await;
        match result? {
            done if done == len => {}
            done => return Err(short_write(done, len)),
        }
    }
    if sync {
        file.sync().await?;
    }
    file.close().await
}

/// Reads a whole file of `len` bytes; fewer if it is shorter.
pub(crate) async fn read_whole<E: Env>(env: &E, path: &str, len: usize) -> io::Result<Vec<u8>> {
    let file = env.open(path, OpenMode::Read).await?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let want = pages((len - bytes.len()).min(WRITE_STEP));
        let at = bytes.len() as u64;
        debug_assert_eq!(at % ALIGN as u64, 0);
        let buf = file.read_at(at, want).await?;
        let got = buf.bytes();
        if got.is_empty() {
            break;
        }
        bytes.extend_from_slice(got);
        if got.len() % ALIGN != 0 {
            break;
        }
    }
    bytes.truncate(len);
    file.close().await?;
    Ok(bytes)
}
