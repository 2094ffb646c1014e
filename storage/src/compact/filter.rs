//! What a pass of the cleaner keeps: a pure machine that sees every batch of the log in order.
//!
//! First the dirty part passes [`Filter::index`], which notes the newest offset of each key; then everything from the log
//! start passes [`Filter::clean`], which says what stays of each batch. The rules are Kafka 4.3's, so that clients see
//! what they would see there:
//!
//! - a record stays if no newer one of its key was indexed; a tombstone then stays until its batch's delete horizon,
//!   which the first pass that keeps it sets `delete.retention.ms` ahead (KIP-534: attribute bit 6, and the horizon in
//!   the place of the base timestamp);
//! - records of aborted transactions go; a marker stays until no record of its transaction is left, and then until a
//!   horizon of its own;
//! - of the batch with a producer's last sequence, or with the last marker of a producer known by nothing else, at
//!   least the header stays; so does the last batch before the end of the pass, which tells how far the log reached;
//! - offsets, sequences, epochs and compression stay as they were; a batch that cannot be read stays whole.

use crate::format::crc;
use crate::format::kafka::{
    BatchHeader, CONTROL, HEADER_BYTES, LENGTH_OVERHEAD, LOG_APPEND_TIME, TRANSACTIONAL,
};
use crate::map::Map;
use crate::producer::ProducerEntry;
use crate::txn::{AbortedTxn, Marker};

use super::map::{KeyHasher, OffsetMap};
use super::records::{Codec, records};

/// Attribute bit: the base timestamp's place holds the delete horizon (KIP-534).
pub const DELETE_HORIZON: i16 = 0x40;

/// Longest batch that is decompressed, in bytes; longer ones stay as they are.
pub const CEILING: usize = 128 << 20;

/// Rules to break on purpose; see [`crate::PlantedFaults`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Broken {
    /// Tombstones go with the first pass.
    pub tombstones_at_once: bool,
    /// Records of aborted transactions stay.
    pub aborted_kept: bool,
}

/// What stays of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// What was written to the output.
    Rewritten,
    /// Nothing.
    Nothing,
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records met.
    pub records: u64,
    /// Records kept.
    pub kept: u64,
    /// Batches that could not be read and stayed whole.
    pub unread: u64,
}

/// What a producer's last batch is, so that it can be kept.
#[derive(Debug, Clone, Copy)]
struct LastBatch {
    /// Last offset of its newest data batch; -1 if it is known by markers alone.
    last_offset: i64,
    epoch: i16,
}

/// See the module's header.
pub struct Filter {
    hasher: KeyHasher,
    map: OffsetMap,
    /// Everything up to this offset was indexed.
    indexed: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    /// Offset after the last one the pass may touch.
    round_end: i64,
    producers: Map<i64, LastBatch>,
    /// By first offset; those before `next_aborted` have begun.
    aborted: Vec<AbortedTxn>,
    next_aborted: usize,
    /// Aborted transactions under way, by producer, and whether a batch of theirs was met.
    in_aborted: Map<i64, bool>,
    /// Producers of committed transactions of which a batch was met.
    in_committed: Map<i64, ()>,
    /// Offsets of abort markers whose record went, rising.
    dropped_markers: Vec<i64>,
    marker_limit: usize,
    tally: Tally,
    plain: Vec<u8>,
    kept: Vec<u8>,
    broken: Broken,
}

impl Filter {
    /// A pass at `now_ms` over offsets below `round_end`. At most `marker_limit` abort markers go between two calls of
    /// [`Filter::take_dropped_markers`].
    pub fn new(
        hasher: KeyHasher,
        map: OffsetMap,
        now_ms: i64,
        delete_retention_ms: i64,
        round_end: i64,
        marker_limit: usize,
        broken: Broken,
    ) -> Self {
        Self {
            hasher,
            map,
            indexed: -1,
            now_ms,
            delete_retention_ms,
            round_end,
            producers: Map::default(),
            aborted: Vec::new(),
            next_aborted: 0,
            in_aborted: Map::default(),
            in_committed: Map::default(),
            dropped_markers: Vec::new(),
            marker_limit,
            tally: Tally::default(),
            plain: Vec::new(),
            kept: Vec::new(),
            broken,
        }
    }

    /// Makes the aborted transactions known, before anything is indexed.
    pub fn set_aborted(&mut self, aborted: &[AbortedTxn]) {
        self.aborted = aborted.to_vec();
        self.aborted.sort_unstable_by_key(|a| a.first_offset);
        self.restart();
    }

    /// Makes the active producers known, before a group is cleaned.
    pub fn set_producers(&mut self, producers: &[ProducerEntry]) {
        self.producers = producers
            .iter()
            .map(|p| {
                let last = LastBatch {
                    last_offset: p.last_offset(),
                    epoch: p.epoch,
                };
                (p.producer_id, last)
            })
            .collect();
    }

    /// Back to the beginning of the log: after indexing, before cleaning.
    pub fn restart(&mut self) {
        self.next_aborted = 0;
        self.in_aborted.clear();
        self.in_committed.clear();
    }

    /// Offset after the last one indexed; the pass cleans up to here.
    pub fn indexed_end(&self) -> i64 {
        self.indexed + 1
    }

    /// Keys indexed.
    pub fn keys(&self) -> usize {
        self.map.len()
    }

    /// Bytes of the table of keys.
    pub fn memory(&self) -> usize {
        self.map.memory()
    }

    /// Counts so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Offsets of abort markers whose record went since the last call, rising.
    pub fn take_dropped_markers(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.dropped_markers)
    }

    /// Takes note of aborted transactions that begin up to a batch. One that ended before it is over: indexing begins
    /// amid the log and never meets its marker.
    fn begin_aborted(&mut self, header: &BatchHeader) {
        while let Some(txn) = self.aborted.get(self.next_aborted)
            && txn.first_offset <= header.last_offset()
        {
            if txn.last_offset >= header.base_offset {
                self.in_aborted.entry(txn.producer_id).or_insert(false);
            }
            self.next_aborted += 1;
        }
    }

    /// True if the batch holds records of an aborted transaction.
    fn data_is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_aborted(header);
        if !header.is_transactional() {
            return false;
        }
        if let Some(met) = self.in_aborted.get_mut(&header.producer_id) {
            *met = true;
            return !self.broken.aborted_kept;
        }
        self.in_committed.insert(header.producer_id, ());
        false
    }

    /// True if nothing is left of the transaction that a control batch ends, so that it may go as well.
    fn marker_is_idle(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        self.begin_aborted(header);
        if header.record_count == 0 {
            return true;
        }
        match Marker::parse(header, batch) {
            Some(marker) if marker.commit => self.in_committed.remove(&header.producer_id).is_none(),
            Some(_) => self.in_aborted.remove(&header.producer_id) != Some(true),
            None => false,
        }
    }

    /// The batch's records, decompressed; none if they cannot be read.
    fn plain<'a>(
        header: &BatchHeader,
        batch: &'a [u8],
        codec: &mut dyn Codec,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let payload = batch.get(HEADER_BYTES..header.bytes)?;
        let id = (header.attributes & 0x07) as u8;
        if id == 0 {
            return Some(payload);
        }
        scratch.clear();
        codec.decompress(id, payload, CEILING, scratch).ok()?;
        Some(scratch)
    }

    /// Notes the keys of a batch of the dirty part. False if the table is full: the pass goes up to the batch before, or
    /// up to this one if it is the first.
    pub fn index(&mut self, batch: &[u8], codec: &mut dyn Codec) -> bool {
        let Ok(header) = BatchHeader::parse(batch) else {
            return true;
        };
        let mut full = false;
        if header.is_control() {
            self.marker_is_idle(&header, batch);
        } else if !self.data_is_aborted(&header) {
            let mut scratch = std::mem::take(&mut self.plain);
            if let Some(plain) = Self::plain(&header, batch, codec, &mut scratch) {
                for record in records(plain, header.record_count).map_while(Result::ok) {
                    let Some(key) = record.key else { continue };
                    let offset = header.base_offset + record.offset_delta;
                    if !self.map.put(self.hasher.hash(key), offset) {
                        full = true;
                        break;
                    }
                }
            }
            self.plain = scratch;
        }
        // A batch that alone is too much is taken as indexed: its keys lose nothing but some of their cleaning.
        if !full || self.indexed < 0 {
            self.indexed = header.last_offset();
        }
        !full
    }

    /// Says what stays of a batch, and appends it to `out` if that is not all.
    pub fn clean(&mut self, batch: &[u8], codec: &mut dyn Codec, out: &mut Vec<u8>) -> Kept {
        let Ok(header) = BatchHeader::parse(batch) else {
            self.tally.unread += 1;
            return Kept::Whole;
        };
        self.tally.records += header.record_count.max(0) as u64;
        let horizon = (header.attributes & DELETE_HORIZON != 0).then_some(header.base_timestamp);
        let (mut gone, idle_marker) = if header.is_control() {
            let idle = self.marker_is_idle(&header, batch);
            (idle && horizon.is_some_and(|at| at <= self.now_ms), idle)
        } else {
            (self.data_is_aborted(&header), false)
        };
        if gone && header.is_control() && header.record_count > 0 {
            if self.dropped_markers.len() < self.marker_limit {
                self.dropped_markers.push(header.last_offset());
            } else {
                gone = false;
            }
        }
        let must_stay = self.is_last_of_producer(&header) || header.last_offset() + 1 == self.round_end;
        if gone || header.record_count <= 0 {
            return self.empty(&header, batch, must_stay, out);
        }
        let mut scratch = std::mem::take(&mut self.plain);
        let mut kept = std::mem::take(&mut self.kept);
        let result = match Self::plain(&header, batch, codec, &mut scratch) {
            Some(plain) => self.select(&header, batch, plain, horizon, idle_marker, codec, &mut kept, out),
            None => None,
        };
        self.plain = scratch;
        self.kept = kept;
        match result {
            None => {
                self.tally.unread += 1;
                self.tally.kept += header.record_count as u64;
                Kept::Whole
            }
            Some(0) => self.empty(&header, batch, must_stay, out),
            Some(n) => {
                self.tally.kept += n;
                if out.is_empty() {
                    Kept::Whole
                } else {
                    Kept::Rewritten
                }
            }
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        header.producer_id >= 0
            && self
                .producers
                .get(&header.producer_id)
                .is_some_and(|last| match last.last_offset {
                    0.. => header.last_offset() == last.last_offset,
                    _ => header.is_control() && header.producer_epoch == last.epoch,
                })
    }

    /// Keeps the header alone, or nothing.
    fn empty(&self, header: &BatchHeader, batch: &[u8], must_stay: bool, out: &mut Vec<u8>) -> Kept {
        if !must_stay {
            return Kept::Nothing;
        }
        if header.record_count == 0 && header.bytes == HEADER_BYTES {
            return Kept::Whole;
        }
        out.extend_from_slice(&batch[..HEADER_BYTES]);
        let attributes = header.attributes & (LOG_APPEND_TIME | TRANSACTIONAL | CONTROL);
        out[27..35].copy_from_slice(&(-1_i64).to_be_bytes());
        finish(out, attributes, header.max_timestamp, 0);
        Kept::Rewritten
    }

    /// True if a record of a data batch stays.
    fn stays(&self, offset: i64, key: Option<&[u8]>, has_value: bool, horizon: Option<i64>) -> bool {
        if offset > self.indexed {
            return true;
        }
        // Without a key nothing can replace it, and Kafka lets it go.
        let Some(key) = key else { return false };
        let newest = self
            .map
            .get(self.hasher.hash(key))
            .is_none_or(|found| offset >= found);
        let expired = horizon.is_some_and(|at| at <= self.now_ms) || self.broken.tombstones_at_once;
        newest && (has_value || !expired)
    }

    /// Selects the records that stay. Returns their number, having appended the new batch unless the old one can stay;
    /// none if the batch cannot be read.
    #[allow(clippy::too_many_arguments)] // one fact each; a struct would only rename them
    fn select(
        &self,
        header: &BatchHeader,
        batch: &[u8],
        plain: &[u8],
        horizon: Option<i64>,
        idle_marker: bool,
        codec: &mut dyn Codec,
        kept: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let (mut count, mut tombstones, mut max_delta) = (0_u64, false, i64::MIN);
        for record in records(plain, header.record_count) {
            let record = record.ok()?;
            let offset = header.base_offset + record.offset_delta;
            if header.is_control() || self.stays(offset, record.key, record.value.is_some(), horizon) {
                count += 1;
                tombstones |= record.value.is_none();
                max_delta = max_delta.max(record.timestamp_delta);
            }
        }
        let set_horizon = horizon.is_none() && (tombstones || idle_marker);
        if count == 0 || (count == header.record_count as u64 && !set_horizon) {
            return Some(count);
        }
        let base = if set_horizon {
            self.now_ms.saturating_add(self.delete_retention_ms)
        } else {
            header.base_timestamp
        };
        let moved = base.wrapping_sub(header.base_timestamp);
        kept.clear();
        for record in records(plain, header.record_count) {
            let record = record.ok()?;
            let offset = header.base_offset + record.offset_delta;
            if header.is_control() || self.stays(offset, record.key, record.value.is_some(), horizon) {
                record.put(moved, kept);
            }
        }
        out.extend_from_slice(&batch[..HEADER_BYTES]);
        out[27..35].copy_from_slice(&base.to_be_bytes());
        match (header.attributes & 0x07) as u8 {
            0 => out.extend_from_slice(kept),
            id => {
                if codec.compress(id, kept, out).is_err() {
                    out.clear();
                    return None;
                }
            }
        }
        let attributes = if set_horizon {
            header.attributes | DELETE_HORIZON
        } else {
            header.attributes
        };
        let max_timestamp = if header.attributes & LOG_APPEND_TIME != 0 {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(max_delta)
        };
        finish(out, attributes, max_timestamp, count as i32);
        Some(count)
    }
}

/// Completes the header of a rewritten batch.
fn finish(batch: &mut [u8], attributes: i16, max_timestamp: i64, count: i32) {
    let length = (batch.len() - LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let sum = crc(&batch[21..]);
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
