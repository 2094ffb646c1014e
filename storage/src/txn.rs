//! Transactions of one partition as its log tells them: markers, aborted transactions, what was completed lately.
//!
//! A pure machine kept by the log next to [`crate::producer`]: every control batch that enters the log, live or
//! replayed, passes [`Txns::completed`]; truncation and the log start pass [`Txns::truncate`] and
//! [`Txns::advance_start`], so that what a checkpoint and a replay give equals what was there before (I10).
//!
//! Invariants: aborted transactions are in the order of their markers, which rise strictly; none has its marker below
//! the log start or at or beyond the log end; at most [`REMEMBERED`] completed transactions are kept for truncation.
//! Those of old sealed segments may be in their footers alone ([`Txns::evict`]).

use std::collections::VecDeque;

use crate::compact::records::Record;
use crate::format::kafka::{BatchHeader, HEADER_BYTES};
use crate::producer::Producers;

/// Completed transactions remembered so that a truncation can open them again. A replica is truncated down to the high
/// watermark at the lowest, and few transactions complete between that and the log end.
pub const REMEMBERED: usize = 32;

/// An aborted transaction: readers of committed data skip the producer's records from its first offset up to its
/// marker (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    /// The producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of the abort marker.
    pub last_offset: i64,
    /// Last stable offset right after the marker was appended, the high watermark aside: a reader bounded by an
    /// offset at or below it needs to look no further.
    pub last_stable_offset: i64,
}

/// A transaction whose marker is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTxn {
    /// The producer.
    pub producer_id: i64,
    /// Epoch of the marker.
    pub producer_epoch: i16,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    /// True if the marker says abort.
    pub aborted: bool,
}

/// The one record of a control batch that ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// True for commit, false for abort.
    pub commit: bool,
    /// Epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// The marker in a control batch; none if the batch is empty, compressed, or about something else.
    ///
    /// The record's key is version i16 and type i16 (0 abort, 1 commit), its value version i16 and coordinator epoch
    /// i32, all big-endian (KIP-98).
    pub fn parse(header: &BatchHeader, batch: &[u8]) -> Option<Self> {
        if !header.is_control() || header.attributes & 0x07 != 0 || header.record_count < 1 {
            return None;
        }
        let mut rest = batch.get(HEADER_BYTES..header.bytes)?;
        let record = Record::take(&mut rest).ok()?;
        let (key, value) = (record.key?, record.value?);
        let commit = match key.get(2..4)? {
            [0, 0] => false,
            [0, 1] => true,
            _ => return None,
        };
        let epoch: [u8; 4] = value.get(2..6)?.try_into().ok()?;
        Some(Self {
            commit,
            coordinator_epoch: i32::from_be_bytes(epoch),
        })
    }
}

/// See the module's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txns {
    /// By rising marker.
    aborted: Vec<AbortedTxn>,
    /// By rising marker, the newest last.
    completed: VecDeque<CompletedTxn>,
}

impl Txns {
    /// Rebuilds from a snapshot; none if entries break the invariants.
    pub fn from_parts(aborted: Vec<AbortedTxn>, completed: Vec<CompletedTxn>) -> Option<Self> {
        let rising = aborted.windows(2).all(|w| w[0].last_offset < w[1].last_offset)
            && completed.windows(2).all(|w| w[0].last_offset < w[1].last_offset);
        let sane = aborted
            .iter()
            .all(|a| (0..a.last_offset).contains(&a.first_offset))
            && completed
                .iter()
                .all(|c| (0..c.last_offset).contains(&c.first_offset));
        (rising && sane && completed.len() <= REMEMBERED).then(|| Self {
            aborted,
            completed: completed.into(),
        })
    }

    /// Takes note of a transaction that a marker ended, `producers` having applied that marker.
    pub fn completed(&mut self, txn: CompletedTxn, producers: &Producers) {
        if self.completed.len() == REMEMBERED {
            self.completed.pop_front();
        }
        self.completed.push_back(txn);
        if txn.aborted {
            self.aborted.push(AbortedTxn {
                producer_id: txn.producer_id,
                first_offset: txn.first_offset,
                last_offset: txn.last_offset,
                last_stable_offset: producers.first_unstable_offset().unwrap_or(txn.last_offset + 1),
            });
        }
    }

    /// Aborted transactions that overlap `from..upto`, by rising first offset.
    pub fn overlapping(&self, from: i64, upto: i64) -> Vec<AbortedTxn> {
        let first = self.aborted.partition_point(|a| a.last_offset < from);
        let mut found = Vec::new();
        for txn in &self.aborted[first..] {
            if txn.first_offset < upto {
                found.push(*txn);
            }
            // No transaction that was open at its end began below, and all later ones began after it.
            if txn.last_stable_offset >= upto {
                break;
            }
        }
        found.sort_unstable_by_key(|a| (a.first_offset, a.last_offset));
        found
    }

    /// All aborted transactions, by rising marker.
    pub fn aborted(&self) -> &[AbortedTxn] {
        &self.aborted
    }

    /// Transactions completed lately, by rising marker.
    pub fn remembered(&self) -> impl ExactSizeIterator<Item = &CompletedTxn> {
        self.completed.iter()
    }

    /// Forgets what ended at or after `end` and opens transactions again whose marker went but whose records stay.
    pub fn truncate(&mut self, end: i64, producers: &mut Producers) {
        while self.aborted.last().is_some_and(|a| a.last_offset >= end) {
            self.aborted.pop();
        }
        while let Some(txn) = self.completed.back().copied().filter(|c| c.last_offset >= end) {
            self.completed.pop_back();
            if txn.first_offset < end {
                producers.reopen(&txn);
            }
        }
    }

    /// Forgets transactions that ended below the log start.
    pub fn advance_start(&mut self, start: i64) {
        let below = self.aborted.partition_point(|a| a.last_offset < start);
        self.aborted.drain(..below);
    }

    /// Takes out the aborted transactions whose marker lies in `base..end`; a footer lists them. Returns how many.
    pub fn evict(&mut self, base: i64, end: i64) -> u32 {
        let from = self.aborted.partition_point(|a| a.last_offset < base);
        let to = self.aborted.partition_point(|a| a.last_offset < end);
        self.aborted.drain(from..to).count() as u32
    }

    /// Forgets the aborted transactions with these markers, given in rising order: compaction removed their records and
    /// then the markers.
    pub fn forget(&mut self, markers: &[i64]) {
        if !markers.is_empty() {
            self.aborted
                .retain(|a| markers.binary_search(&a.last_offset).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{marker, transactional_batch};

    fn apply(txns: &mut Txns, producers: &mut Producers, offset: i64, raw: &[u8]) {
        let header = BatchHeader {
            base_offset: offset,
            ..BatchHeader::parse(raw).expect("made here")
        };
        let found = Marker::parse(&header, raw);
        if let Some(txn) = producers.apply(&header, found.as_ref(), 0) {
            txns.completed(txn, producers);
        }
    }

    /// Producers 1 and 2 interleave: 1 at 0..2, 2 at 2..4, 1 aborts at 4, 2 at 5..6, 2 aborts at 6, 1 commits 7..9.
    fn story() -> (Txns, Producers) {
        let (mut txns, mut producers) = (Txns::default(), Producers::default());
        let steps: [(i64, Vec<u8>); 7] = [
            (0, transactional_batch(2, 100, 5, 1, 0, 0)),
            (2, transactional_batch(2, 100, 5, 2, 0, 0)),
            (4, marker(false, 1, 0, 7, 5)),
            (5, transactional_batch(1, 100, 5, 2, 0, 2)),
            (6, marker(false, 2, 0, 7, 5)),
            (7, transactional_batch(2, 100, 5, 1, 0, 2)),
            (9, marker(true, 1, 0, 8, 5)),
        ];
        for (offset, raw) in &steps {
            apply(&mut txns, &mut producers, *offset, raw);
        }
        (txns, producers)
    }

    const FIRST: AbortedTxn = AbortedTxn {
        producer_id: 1,
        first_offset: 0,
        last_offset: 4,
        last_stable_offset: 2,
    };
    const SECOND: AbortedTxn = AbortedTxn {
        producer_id: 2,
        first_offset: 2,
        last_offset: 6,
        last_stable_offset: 7,
    };

    #[test]
    fn markers_are_read_and_other_control_records_are_not() {
        let raw = marker(true, 5, 3, 42, 1000);
        let header = BatchHeader::parse(&raw).expect("made here");
        let wanted = Marker {
            commit: true,
            coordinator_epoch: 42,
        };
        assert_eq!(Marker::parse(&header, &raw), Some(wanted));
        let mut leader_change = raw.clone();
        // The key's type: 61 bytes of header, length, attributes, two distances, key length, version.
        leader_change[61 + 1 + 1 + 1 + 1 + 1 + 2 + 1] = 2;
        assert_eq!(Marker::parse(&header, &leader_change), None);
        let empty = BatchHeader {
            record_count: 0,
            ..header
        };
        assert_eq!(Marker::parse(&empty, &raw), None);
        for cut in HEADER_BYTES..raw.len() {
            let header = BatchHeader { bytes: cut, ..header };
            let _ = Marker::parse(&header, &raw[..cut]);
        }
    }

    #[test]
    fn aborted_transactions_are_found_where_they_overlap() {
        let (txns, producers) = story();
        assert_eq!(txns.aborted(), [FIRST, SECOND]);
        assert_eq!(txns.overlapping(0, 10), [FIRST, SECOND]);
        assert_eq!(txns.overlapping(5, 10), [SECOND]);
        assert_eq!(txns.overlapping(0, 2), [FIRST]);
        assert_eq!(txns.overlapping(4, 5), [FIRST, SECOND]);
        assert!(txns.overlapping(7, 10).is_empty());
        assert_eq!(producers.first_unstable_offset(), None);
        assert_eq!(producers.get(1).expect("known").coordinator_epoch, 8);
    }

    #[test]
    fn truncation_opens_transactions_again_whose_marker_went() {
        let (mut txns, mut producers) = story();
        txns.truncate(6, &mut producers);
        producers.truncate(6);
        assert_eq!(txns.aborted(), [FIRST]);
        assert_eq!(producers.first_unstable_offset(), Some(2));
        let mut again = (txns, producers);
        apply(&mut again.0, &mut again.1, 6, &marker(false, 2, 0, 7, 5));
        assert_eq!(again.0.aborted(), [FIRST, SECOND]);
        again.0.truncate(0, &mut again.1);
        again.1.truncate(0);
        assert!(again.0.aborted().is_empty() && again.1.is_empty());
        assert_eq!(again.1.first_unstable_offset(), None);
    }

    #[test]
    fn the_log_start_and_compaction_take_transactions_with_them() {
        let (mut txns, _) = story();
        txns.advance_start(4);
        assert_eq!(txns.aborted(), [FIRST, SECOND], "its marker is still there");
        txns.advance_start(5);
        assert_eq!(txns.aborted(), [SECOND]);
        txns.forget(&[4]);
        assert_eq!(txns.aborted(), [SECOND]);
        txns.forget(&[4, 6]);
        assert!(txns.aborted().is_empty());
    }

    #[test]
    fn a_marker_without_records_is_no_transaction_but_is_remembered_of_its_producer() {
        let (mut txns, mut producers) = (Txns::default(), Producers::default());
        apply(&mut txns, &mut producers, 0, &marker(false, 9, 4, 3, 5));
        assert!(txns.aborted().is_empty() && txns.remembered().len() == 0);
        let entry = producers.get(9).expect("known by its marker");
        assert_eq!(
            (entry.epoch, entry.coordinator_epoch, entry.batches().len()),
            (4, 3, 0)
        );
    }

    #[test]
    fn a_snapshot_out_of_order_is_refused() {
        let (txns, _) = story();
        let remembered: Vec<_> = txns.remembered().copied().collect();
        assert_eq!(
            Txns::from_parts(vec![FIRST, SECOND], remembered.clone()),
            Some(txns)
        );
        assert_eq!(Txns::from_parts(vec![SECOND, FIRST], remembered), None);
        let backwards = AbortedTxn {
            first_offset: 9,
            ..FIRST
        };
        assert_eq!(Txns::from_parts(vec![backwards], Vec::new()), None);
    }
}
