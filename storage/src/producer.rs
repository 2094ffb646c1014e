//! Idempotent producers of one partition: the last five batches of each producer id, and its epoch (KIP-98, KIP-360).
//!
//! A pure machine. The log calls [`Producers::check`] before an append and [`Producers::apply`] for every batch
//! that enters the log, live or replayed, so that the state after recovery equals the state rebuilt from the log
//! alone (I10). Batches without a producer id change nothing.
//!
//! Invariants: an entry holds at most [`WINDOW`] batches, oldest first, all of its current epoch, with consecutive
//! sequences; an epoch never falls; `open` holds exactly the entries with an open transaction, by its first offset.

use std::collections::BTreeMap;

use crate::format::kafka::BatchHeader;
use crate::map::Map;
use crate::txn::{CompletedTxn, Marker};

/// Batches remembered per producer: a client has at most this many in flight (`max.in.flight.requests.per.connection`).
pub const WINDOW: usize = 5;

/// One batch a producer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerBatch {
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Sequence number of the last record.
    pub last_sequence: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Maximum timestamp, milliseconds.
    pub max_timestamp: i64,
}

/// What a partition knows about one producer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker; -1 if none did.
    pub coordinator_epoch: i32,
    /// Time of the last write, milliseconds: the broker's clock when live, the batch's timestamp when replayed.
    pub last_ms: i64,
    /// First offset of the open transaction; -1 if none is open.
    pub txn_first_offset: i64,
    len: u8,
    batches: [ProducerBatch; WINDOW],
}

impl ProducerEntry {
    /// An entry without batches.
    pub fn new(producer_id: i64, epoch: i16) -> Self {
        Self {
            producer_id,
            epoch,
            coordinator_epoch: -1,
            last_ms: -1,
            txn_first_offset: -1,
            len: 0,
            batches: [ProducerBatch::default(); WINDOW],
        }
    }

    /// The remembered batches, oldest first.
    pub fn batches(&self) -> &[ProducerBatch] {
        &self.batches[..self.len as usize]
    }

    /// Sequence number of the last record of the newest batch; -1 if no batch is remembered.
    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(-1, |b| b.last_sequence)
    }

    /// Offset of the last record of the newest batch; -1 if no batch is remembered.
    pub fn last_offset(&self) -> i64 {
        self.batches().last().map_or(-1, |b| b.last_offset)
    }

    /// Remembers a batch and forgets the oldest beyond [`WINDOW`].
    pub fn push(&mut self, batch: ProducerBatch) {
        if self.len as usize == WINDOW {
            self.batches.copy_within(1.., 0);
            self.len -= 1;
        }
        self.batches[self.len as usize] = batch;
        self.len += 1;
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets batches from `end` on.
    fn truncate(&mut self, end: i64) {
        while self.len > 0 && self.batches[self.len as usize - 1].last_offset >= end {
            self.len -= 1;
        }
        if self.txn_first_offset >= end {
            self.txn_first_offset = -1;
        }
    }
}

/// Whether a batch is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequenced {
    /// Append it.
    New,
    /// It is in the log already: answer with these offsets and append nothing.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
        /// Its maximum timestamp.
        max_timestamp: i64,
    },
}

/// Why an idempotent batch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// Client: a gap or a stale sequence (45, `OUT_OF_ORDER_SEQUENCE_NUMBER`).
    #[error("sequence {got} of producer {producer_id} where {expected} was expected")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The next sequence in order.
        expected: i32,
        /// The one given.
        got: i32,
    },
    /// Client: another instance of the producer took over (47, `INVALID_PRODUCER_EPOCH`).
    #[error("epoch {got} of producer {producer_id} is below {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: i64,
        /// Newest epoch seen.
        current: i16,
        /// The one given.
        got: i16,
    },
}

/// All producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    entries: Map<i64, ProducerEntry>,
    /// Producer ids of open transactions, by first offset.
    open: BTreeMap<i64, i64>,
}

/// The sequence `step` after `sequence`: 2^31 - 1 is followed by 0.
pub fn sequence_after(sequence: i32, step: i32) -> i32 {
    ((i64::from(sequence) + i64::from(step)) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Judges a batch by its header before it is appended.
    ///
    /// The first batch of an unknown producer is accepted at any sequence; a higher epoch only at sequence 0.
    pub fn check(&self, header: &BatchHeader) -> Result<Sequenced, ProducerError> {
        if header.producer_id < 0 || header.is_control() {
            return Ok(Sequenced::New);
        }
        let Some(entry) = self.entries.get(&header.producer_id) else {
            return Ok(Sequenced::New);
        };
        let out_of_order = |expected| ProducerError::OutOfOrder {
            producer_id: header.producer_id,
            expected,
            got: header.base_sequence,
        };
        if header.producer_epoch < entry.epoch {
            return Err(ProducerError::StaleEpoch {
                producer_id: header.producer_id,
                current: entry.epoch,
                got: header.producer_epoch,
            });
        }
        if header.producer_epoch > entry.epoch {
            return if header.base_sequence == 0 {
                Ok(Sequenced::New)
            } else {
                Err(out_of_order(0))
            };
        }
        let last_sequence = sequence_after(header.base_sequence, header.last_offset_delta);
        let same =
            |b: &&ProducerBatch| b.base_sequence == header.base_sequence && b.last_sequence == last_sequence;
        if let Some(batch) = entry.batches().iter().rev().find(same) {
            return Ok(Sequenced::Duplicate {
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                max_timestamp: batch.max_timestamp,
            });
        }
        match entry.batches().last() {
            // Its transaction is open, so its batches are there; the window lost them to a truncation.
            None if entry.txn_first_offset >= 0 => Ok(Sequenced::New),
            // Known in this epoch by a marker alone, which is what begins the epoch of its next transaction (KIP-890).
            None if header.base_sequence == 0 => Ok(Sequenced::New),
            None => Err(out_of_order(0)),
            Some(last) => {
                let expected = sequence_after(last.last_sequence, 1);
                if header.base_sequence == expected {
                    Ok(Sequenced::New)
                } else {
                    Err(out_of_order(expected))
                }
            }
        }
    }

    /// Takes note of a batch that is in the log now; `header.base_offset` is its place. `marker` is what it says if it
    /// is a control batch; one without a marker changes nothing. `now_ms` is the time the entry's idle time counts
    /// from. Returns the transaction that ended, unless nothing was written in it.
    pub fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<&Marker>,
        now_ms: i64,
    ) -> Option<CompletedTxn> {
        if header.producer_id < 0 || (header.is_control() && marker.is_none()) {
            return None;
        }
        let entry = self
            .entries
            .entry(header.producer_id)
            .or_insert_with(|| ProducerEntry::new(header.producer_id, header.producer_epoch));
        if header.producer_epoch > entry.epoch {
            entry.epoch = header.producer_epoch;
            entry.clear();
        }
        entry.last_ms = entry.last_ms.max(now_ms);
        if let Some(marker) = marker {
            entry.coordinator_epoch = entry.coordinator_epoch.max(marker.coordinator_epoch);
            let first_offset = std::mem::replace(&mut entry.txn_first_offset, -1);
            if first_offset < 0 {
                return None;
            }
            self.open.remove(&first_offset);
            return Some(CompletedTxn {
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                first_offset,
                last_offset: header.last_offset(),
                aborted: !marker.commit,
            });
        }
        if header.is_transactional() && entry.txn_first_offset < 0 {
            entry.txn_first_offset = header.base_offset;
            self.open.insert(header.base_offset, header.producer_id);
        }
        entry.push(ProducerBatch {
            base_sequence: header.base_sequence,
            last_sequence: sequence_after(header.base_sequence, header.last_offset_delta),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        });
        None
    }

    /// Opens a transaction again whose marker was truncated away.
    pub fn reopen(&mut self, txn: &CompletedTxn) {
        let entry = self
            .entries
            .entry(txn.producer_id)
            .or_insert_with(|| ProducerEntry::new(txn.producer_id, txn.producer_epoch));
        if entry.txn_first_offset >= 0 {
            self.open.remove(&entry.txn_first_offset);
        }
        entry.txn_first_offset = txn.first_offset;
        self.open.insert(txn.first_offset, txn.producer_id);
    }

    /// The entry of a producer id.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.entries.get(&producer_id)
    }

    /// All entries, by rising producer id.
    pub fn entries(&self) -> Vec<ProducerEntry> {
        let mut all: Vec<_> = self.entries.values().copied().collect();
        all.sort_unstable_by_key(|e| e.producer_id);
        all
    }

    /// Number of producer ids known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no producer id is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// First offset of the earliest open transaction; none if no transaction is open.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        self.open.first_key_value().map(|(&first, _)| first)
    }

    /// Adds an entry from a snapshot.
    pub fn restore(&mut self, entry: ProducerEntry) {
        if entry.txn_first_offset >= 0 {
            self.open.insert(entry.txn_first_offset, entry.producer_id);
        }
        self.entries.insert(entry.producer_id, entry);
    }

    /// Forgets producers that have been idle since before `now_ms - idle_ms` and have no open transaction.
    pub fn expire(&mut self, now_ms: i64, idle_ms: i64) {
        if !self.entries.is_empty() {
            self.entries
                .retain(|_, e| e.txn_first_offset >= 0 || now_ms.saturating_sub(e.last_ms) <= idle_ms);
        }
    }

    /// Forgets batches from offset `end` on. What the window had dropped before does not come back, so a producer
    /// whose batches are all gone starts again at any sequence, as an unknown one does. Transactions that were
    /// completed by a marker at or behind `end` must have been opened again before ([`crate::txn::Txns::truncate`]).
    pub fn truncate(&mut self, end: i64) {
        let open = &mut self.open;
        open.split_off(&end);
        self.entries.retain(|_, e| {
            let had = e.len;
            e.truncate(end);
            e.len > 0 || had == 0 || e.txn_first_offset >= 0
        });
    }
}
