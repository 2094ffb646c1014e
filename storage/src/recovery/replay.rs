//! Applying frames to logs, in LSN order.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::damaged;
use crate::api::*;
use crate::checkpoint::{epochs_from, producers_from, removal_from, segment_from, txns_from};
use crate::compact::swap::Swapped;
use crate::core::{Core, LogState, Partition, Segment};
use crate::env::Env;
use crate::format::archive::Checkpoint;
use crate::format::frame::{Frame, Kind, SegCreate};
use crate::format::group::GroupHeader;
use crate::format::kafka::BatchHeader;
use crate::format::swap::SegSwap;
use crate::journal::scan::Scan;

/// Applies frames to logs.
pub(super) struct Replay<E: Env> {
    core: Rc<Core<E>>,
    logs: BTreeMap<(u32, u32), (Rc<Partition>, u64, u64)>,
    topics: BTreeMap<u32, [u8; 16]>,
    /// Frames of logs that are not known: gone later, or damage.
    pub(super) orphans: BTreeSet<(u32, u32)>,
    pub(super) suspects: BTreeSet<PartitionId>,
    pub(super) frames: u64,
}

impl<E: Env> Replay<E> {
    pub(super) fn new(core: &Rc<Core<E>>) -> Self {
        Self {
            core: core.clone(),
            logs: BTreeMap::new(),
            topics: BTreeMap::new(),
            orphans: BTreeSet::new(),
            suspects: BTreeSet::new(),
            frames: 0,
        }
    }

    /// Takes the state of a checkpoint.
    pub(super) async fn load(&mut self, checkpoint: Checkpoint) -> Result<(), OpenError> {
        let core = self.core.clone();
        core.next_topic.set(checkpoint.next_topic);
        core.next_segment.set(checkpoint.next_segment);
        for (n, record) in checkpoint.partitions.iter().enumerate() {
            if n % 256 == 255 {
                core.env.sleep(Duration::from_micros(10)).await;
            }
            let id = PartitionId {
                topic: record.topic,
                partition: record.partition,
            };
            let Some(epochs) = epochs_from(&record.epochs) else {
                return damaged(
                    "checkpoint: leader epochs out of order; restore the data directory from a replica or backup",
                );
            };
            let Some(txns) = txns_from(record) else {
                return damaged(
                    "checkpoint: transactions out of order; restore the data directory from a replica or backup",
                );
            };
            core.topics.borrow_mut().insert(record.topic, record.topic_no);
            let partition = Rc::new(Partition::new(id, record.topic_no, LogSettings::default()));
            {
                let state = &mut *partition.state.borrow_mut();
                state.start = record.log_start;
                state.end = record.drained_offset;
                state.epochs = epochs;
                state.producers = producers_from(&record.producers);
                state.txns = txns;
                state.clean_offset = record.clean_offset;
                state.last_lsn = record.drained_lsn;
                state.suspect = record.suspect;
                state.segments = record.segments.iter().map(segment_from).collect();
            }
            core.insert(partition.clone());
            self.topics.insert(record.topic_no, record.topic);
            self.logs.insert(
                (record.topic_no, record.partition),
                (partition, record.drained_lsn, record.producers_lsn),
            );
        }
        core.removals
            .borrow_mut()
            .extend(checkpoint.removals.iter().map(removal_from));
        Ok(())
    }

    pub(super) fn suspect(&mut self, partition: &Partition, state: &mut LogState) {
        state.suspect = true;
        self.suspects.insert(partition.id);
    }

    /// Applies one frame. `wall_ms` is its group's time.
    fn apply(&mut self, frame: &Frame<'_>, wall_ms: i64) {
        self.frames += 1;
        let header = &frame.header;
        let key = (header.topic, header.partition);
        if frame.kind == Kind::Noop {
            return;
        }
        let lsn = header.lsn;
        if let (Kind::SegCreate, false) = (frame.kind, self.logs.contains_key(&key)) {
            match SegCreate::decode(frame.payload) {
                // An earlier life of a log that the checkpoint knows under a later number: its DROP will follow.
                Ok(create) if create.creates_log && self.is_past(&create.topic, key, lsn) => {
                    self.orphans.insert(key);
                    return;
                }
                Ok(create) if create.creates_log => self.create(key, &create, header.base_offset),
                _ => {
                    self.orphans.insert(key);
                    return;
                }
            }
        }
        let Some((partition, drained_lsn, producers_lsn)) = self.logs.get(&key).cloned() else {
            if frame.kind == Kind::Drop {
                self.orphans.remove(&key);
            } else {
                self.orphans.insert(key);
            }
            return;
        };
        if lsn <= drained_lsn && !self.core.faults.replay_applies_all {
            return;
        }
        let core = self.core.clone();
        if frame.kind == Kind::Drop {
            let segments = std::mem::take(&mut partition.state.borrow_mut().segments);
            for segment in &segments {
                core.queue_removal(&partition, segment, lsn, 0, true);
            }
            core.remove(&partition);
            self.logs.remove(&key);
            self.suspects.remove(&partition.id);
            return;
        }
        let state = &mut *partition.state.borrow_mut();
        match frame.kind {
            Kind::Data => self.data(&partition, state, frame, wall_ms, producers_lsn),
            Kind::SegCreate => match SegCreate::decode(frame.payload) {
                Ok(create) => {
                    let next = core.next_segment.get().max(create.segment_id + 1);
                    core.next_segment.set(next);
                    if !state.segments.iter().any(|s| s.id == create.segment_id) {
                        if header.base_offset != state.end {
                            self.suspect(&partition, state);
                        }
                        state.tail.seal();
                        let base = header.base_offset.max(state.end);
                        // The live store had removed an older file of this name before it used the name again; the
                        // frames that ask for that removal are older than this one, and done.
                        core.removals.borrow_mut().retain(|r| {
                            let record = &r.record;
                            (record.topic, record.partition) != (partition.id.topic, partition.id.partition)
                                || (record.base_offset, record.generation) != (base, create.generation)
                        });
                        state
                            .segments
                            .push(Segment::new(create.segment_id, base, create.generation));
                    }
                }
                Err(_) => self.suspect(&partition, state),
            },
            Kind::SegSwap => match SegSwap::decode(frame.payload, header.base_offset) {
                Ok(swap) => {
                    let next = core.next_segment.get().max(swap.output.segment_id + 1);
                    core.next_segment.set(next);
                    if core.swap(&partition, state, &swap, lsn, true) == Swapped::Mismatch {
                        self.suspect(&partition, state);
                    }
                }
                Err(_) => self.suspect(&partition, state),
            },
            Kind::LogStart => {
                if header.base_offset > state.end {
                    state.end = header.base_offset;
                    self.suspect(&partition, state);
                }
                state.start = state.start.max(header.base_offset);
                core.trim_below_start(&partition, state, lsn);
            }
            Kind::EpochStart => {
                state.epochs.assign(header.leader_epoch, header.base_offset);
                state.tail.seal();
            }
            Kind::Truncate => {
                match core.truncate(&partition, state, header.base_offset.min(state.end)) {
                    Some(removed) => {
                        for segment in &removed {
                            core.queue_removal(&partition, segment, lsn, 0, false);
                        }
                    }
                    None => self.suspect(&partition, state),
                }
                state.truncate_lsn = lsn;
            }
            Kind::Drop | Kind::Noop => {}
        }
        state.last_lsn = lsn;
    }

    /// True if the log of this id is known with a state that is newer than `lsn`.
    fn is_past(&self, topic: &[u8; 16], key: (u32, u32), lsn: u64) -> bool {
        let id = PartitionId {
            topic: *topic,
            partition: key.1,
        };
        let known = self.core.by_id.borrow().get(&id).map(|p| (p.topic_no, key.1));
        known
            .and_then(|key| self.logs.get(&key))
            .is_some_and(|(_, drained_lsn, _)| *drained_lsn >= lsn)
    }

    fn create(&mut self, key: (u32, u32), create: &SegCreate, base_offset: i64) {
        let core = &self.core;
        let id = PartitionId {
            topic: create.topic,
            partition: key.1,
        };
        self.topics.insert(key.0, create.topic);
        core.topics.borrow_mut().insert(create.topic, key.0);
        core.next_topic.set(core.next_topic.get().max(key.0 + 1));
        let partition = Rc::new(Partition::new(id, key.0, LogSettings::default()));
        {
            let mut state = partition.state.borrow_mut();
            state.start = base_offset;
            state.end = base_offset;
        }
        core.insert(partition.clone());
        self.logs.insert(key, (partition, 0, 0));
    }

    fn data(
        &mut self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        frame: &Frame<'_>,
        wall_ms: i64,
        producers_lsn: u64,
    ) {
        let header = match BatchHeader::parse(frame.payload) {
            Ok(h) if h.bytes == frame.payload.len() && h.base_offset == frame.header.base_offset => h,
            _ => return self.suspect(partition, state),
        };
        if header.base_offset < state.end || state.segments.is_empty() {
            return self.suspect(partition, state);
        }
        let gap = header.base_offset > state.end;
        if gap {
            self.suspect(partition, state);
        }
        let lsn = frame.header.lsn;
        let note_producer = lsn > producers_lsn;
        self.core.apply_batch(
            partition,
            state,
            frame.payload,
            &header,
            lsn,
            wall_ms,
            gap,
            note_producer,
        );
    }

    /// Drains when memory runs short.
    pub(super) async fn relieve(&self) {
        let core = &self.core;
        if core.dirty_bytes.get() > core.budgets.soft_dirty {
            let target = core.budgets.soft_dirty / 4 * 3;
            core.drain_until(|core| core.dirty_bytes.get() <= target).await;
            core.evict_clean();
        }
    }
}

/// Applies the frames of a group, all of them or none.
pub(super) fn apply_group<E: Env>(replay: &mut Replay<E>, header: &GroupHeader, bytes: &[u8]) -> bool {
    let frames: Result<Vec<Frame<'_>>, _> = Scan::frames(header, bytes).collect();
    let Ok(frames) = frames else { return false };
    if frames.len() != header.frame_count as usize {
        return false;
    }
    let wall_ms = (header.wall_ns / 1_000_000) as i64;
    for frame in &frames {
        replay.apply(frame, wall_ms);
    }
    true
}
