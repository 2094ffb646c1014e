//! What a shard must contain: the whole truth in memory, as simple as it can be written.
//!
//! [`super::workload`] notes every operation here in the order it called the store; as the calls are synchronous, that
//! is the order of the journal. [`super::check`] compares. A crash may only lose a suffix of that order: the recovered
//! store must equal the state after the first `k` operations, for one `k` for all partitions at once, at or above what
//! was acknowledged.
//!
//! Nothing here is shared with the store's own code: epochs, producer windows and offsets are kept a second time.

use super::batch;
use crate::PartitionId;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Batches remembered per producer.
const WINDOW: usize = 5;

/// A batch in a log: the bytes that any reader must get.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Offset of the first record.
    pub base: i64,
    /// Offset of the last record.
    pub last: i64,
    /// The whole batch, placed.
    pub bytes: Vec<u8>,
}

/// A remembered batch of a producer: sequences, then offsets, first and last each.
pub type WindowEntry = (i32, i32, i64, i64);

/// Deduplication state of one producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Newest epoch.
    pub epoch: i16,
    /// Last batches, oldest first.
    pub window: VecDeque<WindowEntry>,
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// First offset.
    pub start: i64,
    /// Next offset to be written.
    pub end: i64,
    /// Batches by base offset; those wholly below `start` are gone.
    pub batches: BTreeMap<i64, Rc<Stored>>,
    /// Leader epochs and where they began, rising.
    pub epochs: Vec<(i32, i64)>,
    /// Producers by id.
    pub producers: BTreeMap<i64, Producer>,
    /// It was truncated once; the store then knows its size on disk as an upper bound only.
    pub truncated: bool,
}

impl Partition {
    /// Newest leader epoch, -1 for none.
    pub fn epoch(&self) -> i32 {
        self.epochs.last().map_or(-1, |e| e.0)
    }

    fn assign(&mut self, epoch: i32, at: i64) {
        if epoch > self.epoch() {
            self.epochs.push((epoch, at));
        }
    }

    /// OffsetForLeaderEpoch, as the protocol defines it.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        if self.epochs.is_empty() || epoch < 0 || epoch > self.epoch() {
            return (-1, -1);
        }
        if epoch == self.epoch() {
            return (epoch, self.end);
        }
        let next = self
            .epochs
            .iter()
            .find(|e| e.0 > epoch)
            .expect("the newest is above");
        match self.epochs.iter().rev().find(|e| e.0 <= epoch) {
            Some(found) => (found.0, next.1),
            None => (epoch, next.1),
        }
    }

    /// The batch that holds `offset`.
    pub fn batch_at(&self, offset: i64) -> Option<&Rc<Stored>> {
        self.batches
            .range(..=offset)
            .next_back()
            .map(|(_, b)| b)
            .filter(|b| b.last >= offset)
    }

    fn append(&mut self, stored: &Rc<Stored>) {
        assert_eq!(stored.base, self.end, "the model appends at the end");
        let header = &stored.bytes;
        let epoch = i32::from_be_bytes(header[12..16].try_into().expect("four bytes"));
        self.assign(epoch, self.end);
        self.end = stored.last + 1;
        self.batches.insert(stored.base, stored.clone());
        let producer_id = i64::from_be_bytes(header[43..51].try_into().expect("eight bytes"));
        if producer_id >= 0 {
            let producer_epoch = i16::from_be_bytes(header[51..53].try_into().expect("two bytes"));
            let first = i32::from_be_bytes(header[53..57].try_into().expect("four bytes"));
            let steps = stored.last - stored.base;
            let last = ((i64::from(first) + steps) % (1 << 31)) as i32;
            let producer = self.producers.entry(producer_id).or_insert_with(|| Producer {
                epoch: producer_epoch,
                window: VecDeque::new(),
            });
            if producer_epoch > producer.epoch {
                producer.epoch = producer_epoch;
                producer.window.clear();
            }
            producer.window.push_back((first, last, stored.base, stored.last));
            if producer.window.len() > WINDOW {
                producer.window.pop_front();
            }
        }
    }

    fn raise_start(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        let start = self.start;
        self.batches.retain(|_, b| b.last >= start);
        if let Some(first) = self.epochs.iter().rposition(|e| e.1 <= start) {
            self.epochs.drain(..first);
            self.epochs[0].1 = start;
        }
    }

    fn truncate(&mut self, end: i64) {
        self.truncated = true;
        self.batches.retain(|_, b| b.last < end);
        self.end = end;
        self.epochs.retain(|e| e.1 < end);
        for producer in self.producers.values_mut() {
            producer.window.retain(|w| w.3 < end);
        }
        self.producers.retain(|_, p| !p.window.is_empty());
    }
}

/// One change of a shard.
#[derive(Debug, Clone)]
pub enum Change {
    /// A partition was made.
    Create(PartitionId),
    /// A batch was appended.
    Append(PartitionId, Rc<Stored>),
    /// The log start moved up.
    LogStart(PartitionId, i64),
    /// The end moved down.
    Truncate(PartitionId, i64),
    /// A leader epoch began.
    Epoch(PartitionId, i32),
    /// The partition was removed.
    Drop(PartitionId),
}

impl Change {
    /// The partition it concerns.
    pub fn id(&self) -> PartitionId {
        match self {
            Change::Create(id)
            | Change::Append(id, _)
            | Change::LogStart(id, _)
            | Change::Truncate(id, _)
            | Change::Epoch(id, _)
            | Change::Drop(id) => *id,
        }
    }
}

impl Change {
    /// The change in words.
    pub fn describe(&self) -> String {
        let id = name(self.id());
        match self {
            Change::Append(_, s) => format!("append {id}: {}..={}, {} bytes", s.base, s.last, s.bytes.len()),
            Change::Create(_) => format!("create {id}"),
            Change::Drop(_) => format!("drop {id}"),
            Change::LogStart(_, to) => format!("log start of {id} to {to}"),
            Change::Truncate(_, to) => format!("truncate {id} to {to}"),
            Change::Epoch(_, epoch) => format!("epoch {epoch} of {id}"),
        }
    }
}

/// All partitions of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By id.
    pub partitions: BTreeMap<PartitionId, Partition>,
}

impl State {
    /// Advances by one change.
    pub fn apply(&mut self, change: &Change) {
        let id = change.id();
        match change {
            Change::Create(_) => {
                let old = self.partitions.insert(id, Partition::default());
                assert!(old.is_none(), "the model creates only what does not exist");
                return;
            }
            Change::Drop(_) => {
                self.partitions.remove(&id);
                return;
            }
            _ => {}
        }
        let partition = self
            .partitions
            .get_mut(&id)
            .expect("changes concern partitions that exist");
        match change {
            Change::Append(_, stored) => partition.append(stored),
            Change::LogStart(_, offset) => partition.raise_start(*offset),
            Change::Truncate(_, end) => partition.truncate(*end),
            Change::Epoch(_, epoch) => {
                let at = partition.end;
                partition.assign(*epoch, at);
            }
            Change::Create(_) | Change::Drop(_) => unreachable!("handled above"),
        }
    }
}

/// One partition as a store answers for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundPartition {
    /// First offset.
    pub start: i64,
    /// Next offset to be written.
    pub end: i64,
    /// Batches by base offset.
    pub batches: BTreeMap<i64, Rc<Stored>>,
    /// Newest leader epoch.
    pub epoch: i32,
    /// Answers to OffsetForLeaderEpoch, for -1 to one above the newest.
    pub epoch_ends: Vec<(i32, i64)>,
    /// Producers by id.
    pub producers: BTreeMap<i64, Producer>,
}

/// A store as it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By id.
    pub partitions: BTreeMap<PartitionId, FoundPartition>,
}

/// A change with its place in time.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Events in the IO log when the store was called.
    pub at_io: usize,
    /// The journal frame, 0 where the store does not say.
    pub lsn: u64,
    /// What happened.
    pub change: Change,
}

/// One life of a store, from start to crash: what it began with and what was done to it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The state that recovery had found.
    pub base: State,
    /// Changes in journal order.
    pub changes: Vec<Noted>,
    /// (events in the IO log, number of leading changes that were known to be durable by then), both rising.
    pub durable: Vec<(usize, usize)>,
    /// The state with all changes applied.
    pub now: State,
}

impl History {
    /// Begins with what a recovery found.
    pub fn new(base: State) -> History {
        History {
            now: base.clone(),
            base,
            changes: Vec::new(),
            durable: Vec::new(),
        }
    }

    /// Notes a change just made.
    pub fn note(&mut self, at_io: usize, lsn: u64, change: Change) {
        self.now.apply(&change);
        self.changes.push(Noted { at_io, lsn, change });
    }

    /// Notes that every frame up to `lsn` is durable.
    pub fn note_durable(&mut self, at_io: usize, lsn: u64) {
        // A change whose frame is unknown counts only when one after it does.
        let known = self.durable.last().map_or(0, |d| d.1);
        let covered = self.changes[known..]
            .iter()
            .rposition(|c| c.lsn > 0 && c.lsn <= lsn);
        if let Some(more) = covered {
            self.durable.push((at_io, known + more + 1));
        }
    }

    /// Notes that the store acknowledged the offsets of `id` below `durable_end`: the newest append among them, and by
    /// the journal's order everything before it.
    pub fn note_acknowledged(&mut self, at_io: usize, id: PartitionId, durable_end: i64) {
        let known = self.durable.last().map_or(0, |d| d.1);
        for (index, noted) in self.changes.iter().enumerate().skip(known).rev() {
            match &noted.change {
                Change::Append(of, stored) if *of == id && stored.last < durable_end => {
                    self.durable.push((at_io, index + 1));
                    return;
                }
                Change::Create(of) | Change::Drop(of) if *of == id => return,
                _ => {}
            }
        }
    }

    /// Leading changes known to be durable at a prefix of the IO log.
    pub fn floor(&self, prefix: usize) -> usize {
        let upto = self.durable.partition_point(|d| d.0 <= prefix);
        if upto == 0 { 0 } else { self.durable[upto - 1].1 }
    }

    /// Changes made at a prefix of the IO log.
    pub fn issued(&self, prefix: usize) -> usize {
        self.changes.partition_point(|c| c.at_io <= prefix)
    }

    /// The state after the first `count` changes.
    pub fn state_after(&self, count: usize) -> State {
        let mut state = self.base.clone();
        for noted in &self.changes[..count] {
            state.apply(&noted.change);
        }
        state
    }

    /// Finds the number of leading changes, in `floor..=issued`, after which the model equals `found`. The error lists
    /// the differences to the nearest candidates.
    pub fn explain(&self, found: &Found, floor: usize, issued: usize) -> Result<usize, String> {
        let mut state = self.state_after(floor);
        let mut nearest = String::new();
        for count in floor..=issued {
            if count > floor {
                state.apply(&self.changes[count - 1].change);
            }
            match difference(&state, found) {
                None => return Ok(count),
                Some(why) => {
                    if count == floor || count == issued {
                        nearest.push_str(&format!("\n  against the state after {count} changes: {why}"));
                    }
                }
            }
        }
        let older = (0..floor)
            .rev()
            .find(|count| difference(&self.state_after(*count), found).is_none());
        let hint = match older {
            Some(count) => {
                format!("; it equals the older state after {count} changes: durable changes were lost")
            }
            None => String::new(),
        };
        Err(format!(
            "the recovered state equals none of those after {floor} (known durable) to {issued} (made) changes{hint}{nearest}"
        ))
    }
}

/// The first difference between what should be and what is; `None` when equal.
pub fn difference(expected: &State, found: &Found) -> Option<String> {
    for id in expected.partitions.keys() {
        if !found.partitions.contains_key(id) {
            return Some(format!("{} is missing", name(*id)));
        }
    }
    for (id, found) in &found.partitions {
        let Some(expected) = expected.partitions.get(id) else {
            return Some(format!("{} should not exist", name(*id)));
        };
        if (expected.start, expected.end) != (found.start, found.end) {
            return Some(format!(
                "{} spans {}..{}, expected {}..{}",
                name(*id),
                found.start,
                found.end,
                expected.start,
                expected.end
            ));
        }
        if expected.batches != found.batches {
            for (base, batch) in &expected.batches {
                match found.batches.get(base) {
                    None => return Some(format!("{}: the batch at {base} is missing", name(*id))),
                    Some(other) if other != batch => {
                        let at = other.bytes.iter().zip(&batch.bytes).position(|(a, b)| a != b);
                        return Some(format!(
                            "{}: the batch at {base} has {} bytes, expected {}; first difference at {at:?}",
                            name(*id),
                            other.bytes.len(),
                            batch.bytes.len()
                        ));
                    }
                    Some(_) => {}
                }
            }
            return Some(format!("{}: batches that should not be there", name(*id)));
        }
        if expected.epoch() != found.epoch {
            return Some(format!(
                "{}: leader epoch {}, expected {}",
                name(*id),
                found.epoch,
                expected.epoch()
            ));
        }
        for (have, epoch) in found.epoch_ends.iter().zip(-1..) {
            let want = expected.epoch_end(epoch);
            if want != *have {
                return Some(format!(
                    "{}: epoch {epoch} ends at {have:?}, expected {want:?}",
                    name(*id)
                ));
            }
        }
        if expected.producers != found.producers {
            return Some(format!(
                "{}: producers {:?}, expected {:?}",
                name(*id),
                found.producers,
                expected.producers
            ));
        }
    }
    None
}

/// A short name for messages: topic and incarnation bytes, and partition number.
pub fn name(id: PartitionId) -> String {
    format!("t{}.{}-{}", id.topic[0], id.topic[1], id.partition)
}

/// Turns concatenated batches into model batches.
pub fn parse(bytes: &[u8]) -> Result<Vec<Stored>, String> {
    let stored = |b: &[u8]| Stored {
        base: batch::base_offset(b),
        last: batch::last_offset(b),
        bytes: b.to_vec(),
    };
    Ok(batch::split(bytes)?.into_iter().map(stored).collect())
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
