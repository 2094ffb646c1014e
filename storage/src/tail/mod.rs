//! The end of a log, in memory: slabs of contiguous batches, clean ones (a segment holds them too) before dirty ones.
//!
//! A pure machine owned by a log. Appends go to the last slab; the drain takes dirty slabs from the front of the dirty
//! region and marks them clean; eviction removes clean slabs from the front. Readers get leases ([`sys::Lease`]).
//!
//! Invariants: slabs are in offset order and do not overlap; a slab's batches are contiguous in offsets, of one leader
//! epoch and of one segment; `clean` slabs at the front are clean and sealed, the rest dirty; only the last slab is
//! open.

pub mod sys;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::format::chunk::{DIR_STEP, DirEntry};
use crate::format::kafka::{BatchHeader, HEADER_BYTES, KafkaBatchHeader, LENGTH_OVERHEAD};
use sys::{Lease, SlabWriter};

/// Frames of the journal for each of its own above which a log is one of many, and its slabs do not grow: 10,000 logs
/// with 16 KiB each would not fit where their records do.
const CROWD: u64 = 64;

/// Sizes of slabs, bytes. A larger batch gets a slab of its own size.
pub const CLASSES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// A run of contiguous batches in memory.
pub struct Slab {
    memory: SlabWriter,
    /// Bytes that count: less than published after a truncation.
    len: usize,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset after the last record.
    pub end_offset: i64,
    /// Epoch of all batches.
    pub leader_epoch: i32,
    /// LSN of the first batch; identifies the slab.
    pub first_lsn: u64,
    /// LSN of the last batch.
    pub last_lsn: u64,
    /// Batches.
    pub batches: u32,
    /// Largest timestamp.
    pub max_timestamp: i64,
    dir: Vec<DirEntry>,
    sealed: bool,
}

impl Slab {
    /// Its batches.
    pub fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    /// Bytes of batches.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.memory.capacity()
    }

    /// Points to walk from, oldest first.
    pub fn dir(&self) -> &[DirEntry] {
        &self.dir
    }

    /// A lease of all its batches, for the drain.
    pub fn lease(&self) -> Lease {
        self.memory.lease(0, self.len)
    }

    fn part(&self, start: usize, end: usize) -> Bytes {
        Bytes::from_owner(self.memory.lease(start, end))
    }

    fn push(&mut self, batch: &[u8], header: &BatchHeader, lsn: u64) -> usize {
        let at = self.memory.len();
        debug_assert_eq!(at, self.len);
        let mut head = [0; 16];
        head.copy_from_slice(&batch[..16]);
        crate::format::kafka::patch(&mut head, header.base_offset, header.leader_epoch);
        self.memory.push(&head, &batch[16..]);
        note(
            &mut self.dir,
            self.base_offset,
            header.base_offset,
            at as u32,
            header.max_timestamp,
        );
        self.len += batch.len();
        self.end_offset = header.last_offset() + 1;
        self.last_lsn = lsn;
        self.batches += 1;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        at
    }
}

/// Adds a batch to a directory of a run of batches that starts with `run_base`.
pub fn note(dir: &mut Vec<DirEntry>, run_base: i64, base_offset: i64, pos: u32, max_timestamp: i64) {
    match dir.last_mut() {
        Some(last) if pos - last.pos < DIR_STEP => last.max_timestamp = last.max_timestamp.max(max_timestamp),
        _ => dir.push(DirEntry {
            rel_offset: (base_offset - run_base) as u32,
            pos,
            max_timestamp,
        }),
    }
}

/// A batch met on a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Position of the batch in the run.
    pub start: usize,
    /// Position after it.
    pub end: usize,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its largest timestamp; `i64::MIN` if compaction left no record in it.
    pub max_timestamp: i64,
}

/// Walks the batches of `run` from `at`, which is the start of one. Ends at anything that is not a whole batch.
pub fn walk(run: &[u8], at: usize) -> impl Iterator<Item = Step> + '_ {
    let mut at = at;
    std::iter::from_fn(move || {
        let bytes = run.get(at..)?;
        let raw = KafkaBatchHeader::view(bytes)?;
        let length = usize::try_from(raw.batch_length.to_native()).ok()? + LENGTH_OVERHEAD;
        let delta = raw.last_offset_delta.to_native();
        if length < HEADER_BYTES || length > bytes.len() || delta < 0 {
            return None;
        }
        let base_offset = raw.base_offset.to_native();
        let step = Step {
            start: at,
            end: at + length,
            base_offset,
            last_offset: base_offset.saturating_add(i64::from(delta)),
            max_timestamp: if raw.record_count.to_native() == 0 {
                i64::MIN
            } else {
                raw.max_timestamp.to_native()
            },
        };
        at += length;
        Some(step)
    })
}

/// The range of whole batches in a run that a reader gets: from the batch that holds `offset` (or the first after it)
/// up to `upto` and `max_bytes`, but at least one batch if `at_least_one`. Empty if there is none.
pub fn select(
    run: &[u8],
    dir: impl DoubleEndedIterator<Item = DirEntry>,
    run_base: i64,
    offset: i64,
    max_bytes: usize,
    upto: i64,
    at_least_one: bool,
) -> std::ops::Range<usize> {
    let rel = offset.saturating_sub(run_base);
    let from = if rel <= 0 {
        0
    } else {
        dir.rev()
            .find(|e| i64::from(e.rel_offset) <= rel)
            .map_or(0, |e| e.pos)
    };
    let mut range: Option<std::ops::Range<usize>> = None;
    for step in walk(run, from as usize) {
        if step.last_offset < offset {
            continue;
        }
        if step.last_offset >= upto {
            break;
        }
        let start = range.as_ref().map_or(step.start, |r| r.start);
        let first = range.is_none();
        if step.end - start > max_bytes && !(first && at_least_one) {
            break;
        }
        range = Some(start..step.end);
        if step.end - start > max_bytes {
            break;
        }
    }
    range.unwrap_or(0..0)
}

/// Where an appended batch lies in memory.
pub struct Placed {
    /// Its bytes, for the journal.
    pub lease: Lease,
    /// Memory newly taken, bytes.
    pub grown: usize,
}

/// The slabs of one log.
#[derive(Default)]
pub struct Tail {
    slabs: VecDeque<Slab>,
    clean: usize,
}

/// The largest class of slab that `budget` bytes of dirty memory allow: many logs must find room side by side.
pub fn largest_class(budget: usize) -> usize {
    CLASSES
        .iter()
        .copied()
        .rev()
        .find(|&c| c <= budget / 32)
        .unwrap_or(CLASSES[0])
}

impl Tail {
    /// Appends a batch whose `header` carries the offset and epoch to write. `new_run` starts a new slab (a segment or
    /// an offset gap begins). Slabs of a log that gets a good part of all batches grow up to `largest`.
    pub fn push(
        &mut self,
        batch: &[u8],
        header: &BatchHeader,
        lsn: u64,
        new_run: bool,
        largest: usize,
    ) -> Placed {
        let mut grown = 0;
        let fits = match self.slabs.back() {
            Some(last) => {
                !new_run
                    && !last.sealed
                    && last.leader_epoch == header.leader_epoch
                    && last.end_offset == header.base_offset
                    && last.memory.capacity() - last.memory.len() >= batch.len()
                    && header.last_offset() - last.base_offset < i64::from(u32::MAX)
            }
            None => false,
        };
        if !fits {
            let previous = match self.slabs.back_mut() {
                Some(last) => {
                    last.sealed = true;
                    let crowded = lsn.saturating_sub(last.first_lsn) / u64::from(last.batches.max(1)) > CROWD;
                    let size = last.memory.capacity() * if crowded { 1 } else { 4 };
                    if self.clean < self.slabs.len() { size } else { 0 }
                }
                None => 0,
            };
            let wanted = previous.min(largest).max(batch.len());
            let capacity = CLASSES.iter().copied().find(|&c| c >= wanted).unwrap_or(wanted);
            grown = capacity;
            self.slabs.push_back(Slab {
                memory: SlabWriter::new(capacity),
                len: 0,
                base_offset: header.base_offset,
                end_offset: header.base_offset,
                leader_epoch: header.leader_epoch,
                first_lsn: lsn,
                last_lsn: lsn,
                batches: 0,
                max_timestamp: i64::MIN,
                dir: Vec::new(),
                sealed: false,
            });
        }
        let slab = self.slabs.back_mut().expect("just made");
        let at = slab.push(batch, header, lsn);
        Placed {
            lease: slab.memory.lease(at, at + batch.len()),
            grown,
        }
    }

    /// Offset of the first record in memory; none if memory holds nothing.
    pub fn base_offset(&self) -> Option<i64> {
        self.slabs.front().map(|s| s.base_offset)
    }

    /// LSN of the first batch that no segment holds; none if all are drained.
    pub fn first_dirty_lsn(&self) -> Option<u64> {
        self.slabs.get(self.clean).map(|s| s.first_lsn)
    }

    /// Dirty slabs, oldest first.
    pub fn dirty(&self) -> impl Iterator<Item = &Slab> {
        self.slabs.iter().skip(self.clean)
    }

    /// Clean slabs, oldest first.
    pub fn clean(&self) -> impl Iterator<Item = &Slab> {
        self.slabs.iter().take(self.clean)
    }

    /// Closes the last slab, so that the drain may take it.
    pub fn seal(&mut self) {
        if let Some(last) = self.slabs.back_mut() {
            last.sealed = true;
        }
    }

    /// Marks the first dirty slab, which must be `first_lsn`'s, clean. Returns its memory; none if it is gone.
    pub fn mark_clean(&mut self, first_lsn: u64) -> Option<usize> {
        let slab = self.slabs.get_mut(self.clean)?;
        if slab.first_lsn != first_lsn {
            return None;
        }
        slab.sealed = true;
        self.clean += 1;
        Some(slab.memory.capacity())
    }

    /// Removes the oldest slab if it is clean. Returns its memory.
    pub fn evict(&mut self) -> Option<usize> {
        if self.clean == 0 {
            return None;
        }
        self.clean -= 1;
        self.slabs.pop_front().map(|s| s.memory.capacity())
    }

    /// Removes slabs wholly below `start`. Returns memory freed: (dirty, clean).
    pub fn drop_below(&mut self, start: i64) -> (usize, usize) {
        let mut freed = (0, 0);
        while self.slabs.front().is_some_and(|s| s.end_offset <= start) {
            let slab = self.slabs.pop_front().expect("front");
            if self.clean > 0 {
                self.clean -= 1;
                freed.1 += slab.memory.capacity();
            } else {
                freed.0 += slab.memory.capacity();
            }
        }
        freed
    }

    /// Removes everything at and behind `end`, a batch boundary. Returns memory freed: (dirty, clean); none if `end`
    /// lies inside a batch in memory.
    pub fn truncate(&mut self, end: i64) -> Option<(usize, usize)> {
        if let Some(slab) = self
            .slabs
            .iter()
            .find(|s| s.base_offset < end && end < s.end_offset)
            && !walk(slab.bytes(), 0).any(|step| step.base_offset == end)
        {
            return None;
        }
        let mut freed = (0, 0);
        while self.slabs.back().is_some_and(|s| s.base_offset >= end) {
            let slab = self.slabs.pop_back().expect("back");
            if self.clean > self.slabs.len() {
                self.clean -= 1;
                freed.1 += slab.memory.capacity();
            } else {
                freed.0 += slab.memory.capacity();
            }
        }
        if let Some(slab) = self.slabs.back_mut()
            && slab.end_offset > end
        {
            let mut kept = (0_usize, 0_u32, i64::MIN);
            for step in walk(slab.bytes(), 0).take_while(|s| s.last_offset < end) {
                kept = (step.end, kept.1 + 1, kept.2.max(step.max_timestamp));
            }
            slab.dir.retain(|e| (e.pos as usize) < kept.0);
            (slab.len, slab.batches, slab.max_timestamp) = kept;
            slab.end_offset = end;
            slab.sealed = true;
        }
        if let Some(slab) = self.slabs.back_mut() {
            slab.sealed = true;
        }
        Some(freed)
    }

    fn slab_at(&self, offset: i64) -> usize {
        self.slabs.partition_point(|s| s.end_offset <= offset)
    }

    /// Whole batches from the one that holds `offset`; none if `offset` lies before memory.
    pub fn read(&self, offset: i64, max_bytes: usize, upto: i64, at_least_one: bool) -> Option<Vec<Bytes>> {
        if self.base_offset().is_none_or(|base| offset < base) {
            return None;
        }
        let mut parts = Vec::new();
        let mut left = max_bytes;
        for slab in self.slabs.range(self.slab_at(offset)..) {
            if slab.base_offset >= upto {
                break;
            }
            let whole = slab.base_offset >= offset && slab.end_offset <= upto && slab.len <= left;
            let range = if whole {
                0..slab.len
            } else {
                let first = at_least_one && parts.is_empty();
                select(
                    slab.bytes(),
                    slab.dir.iter().copied(),
                    slab.base_offset,
                    offset,
                    left,
                    upto,
                    first,
                )
            };
            if range.is_empty() {
                break;
            }
            let complete = range.end == slab.len;
            left = left.saturating_sub(range.len());
            parts.push(slab.part(range.start, range.end));
            if !complete || left == 0 {
                break;
            }
        }
        Some(parts)
    }

    /// The first batch in memory at or after `from` whose largest timestamp is at least `timestamp`.
    pub fn find_timestamp(&self, from: i64, timestamp: i64) -> Option<Bytes> {
        for slab in self.slabs.range(self.slab_at(from)..) {
            if slab.max_timestamp < timestamp {
                continue;
            }
            let start = slab
                .dir
                .iter()
                .find(|e| e.max_timestamp >= timestamp)
                .map_or(0, |e| e.pos as usize);
            let found =
                walk(slab.bytes(), start).find(|s| s.last_offset >= from && s.max_timestamp >= timestamp);
            if let Some(step) = found {
                return Some(slab.part(step.start, step.end));
            }
        }
        None
    }

    /// The largest timestamp of a batch in memory that reaches `from`; `i64::MIN` if there is none.
    pub fn max_timestamp(&self, from: i64) -> i64 {
        let slabs = self.slabs.range(self.slab_at(from)..);
        slabs
            .map(|s| {
                if s.base_offset >= from {
                    return s.max_timestamp;
                }
                let inside = walk(s.bytes(), 0).filter(|b| b.last_offset >= from);
                inside.map(|b| b.max_timestamp).max().unwrap_or(i64::MIN)
            })
            .max()
            .unwrap_or(i64::MIN)
    }

    /// Memory held: (dirty, clean).
    pub fn memory(&self) -> (usize, usize) {
        let clean = self.clean().map(Slab::memory).sum();
        (self.dirty().map(Slab::memory).sum(), clean)
    }

    /// Asserts the invariants.
    #[cfg(test)]
    pub fn check(&self) {
        assert!(self.clean <= self.slabs.len());
        for pair in self.slabs.iter().collect::<Vec<_>>().windows(2) {
            assert!(pair[0].end_offset <= pair[1].base_offset, "slabs overlap");
            assert!(pair[0].last_lsn < pair[1].first_lsn, "slabs out of LSN order");
            assert!(pair[0].sealed, "an open slab before the last");
        }
        for (at, slab) in self.slabs.iter().enumerate() {
            assert!(slab.len > 0 && slab.base_offset < slab.end_offset, "empty slab");
            assert!(at >= self.clean || slab.sealed, "clean slab is open");
            let steps: Vec<Step> = walk(slab.bytes(), 0).collect();
            assert_eq!(steps.len(), slab.batches as usize);
            assert_eq!(steps.last().map(|s| s.end), Some(slab.len));
        }
    }
}

#[cfg(test)]
mod tests;
