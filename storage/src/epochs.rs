//! Leader epochs of one partition: at which offset each began (KIP-101, KIP-320).
//!
//! A pure machine kept by the log: [`Epochs::assign`] for every batch and every EPOCH_START, [`Epochs::end_of`]
//! for OffsetForLeaderEpoch.
//!
//! Invariants: epochs rise strictly, start offsets never fall.

/// An epoch and the offset of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Leader epoch.
    pub epoch: i32,
    /// Log end offset when the epoch began.
    pub start_offset: i64,
}

/// The epochs of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs {
    starts: Vec<EpochStart>,
}

impl Epochs {
    /// The newest epoch; -1 if there is none.
    pub fn latest(&self) -> i32 {
        self.starts.last().map_or(-1, |s| s.epoch)
    }

    /// Notes that `epoch` begins at `start_offset`, unless it or a newer one is known. Returns true if it was new.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || epoch <= self.latest() {
            return false;
        }
        // An epoch in which nothing was written leaves no trace an offset could fall into, but stays as an entry:
        // Kafka's answer for it is the start of the next.
        self.starts.push(EpochStart { epoch, start_offset });
        true
    }

    /// The epoch and end offset for a requested epoch, `log_end` being the next offset to write.
    ///
    /// The latest epoch ends at `log_end`. One above all gives (-1, -1). One below all gives itself and the start of
    /// the first. Otherwise the largest epoch not above it, and the start of the one after.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        let Some(last) = self.starts.last() else {
            return (-1, -1);
        };
        if epoch < 0 || epoch > last.epoch {
            return (-1, -1);
        }
        if epoch == last.epoch {
            return (epoch, log_end);
        }
        let above = self.starts.partition_point(|s| s.epoch <= epoch);
        let next = self.starts[above].start_offset;
        if above == 0 {
            (epoch, next)
        } else {
            (self.starts[above - 1].epoch, next)
        }
    }

    /// The epoch that `offset` was or will be written in; -1 if unknown.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let above = self.starts.partition_point(|s| s.start_offset <= offset);
        if above == 0 {
            -1
        } else {
            self.starts[above - 1].epoch
        }
    }

    /// Forgets epochs that began at or after `end`, after a truncation to `end`.
    pub fn truncate_from_end(&mut self, end: i64) {
        while self.starts.last().is_some_and(|s| s.start_offset >= end) {
            self.starts.pop();
        }
    }

    /// Forgets epochs that ended at or before `start`, when the log start moved there; the one in force stays.
    pub fn truncate_from_start(&mut self, start: i64) {
        let above = self.starts.partition_point(|s| s.start_offset <= start);
        if above > 0 {
            self.starts.drain(..above - 1);
            self.starts[0].start_offset = self.starts[0].start_offset.max(start);
        }
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Rebuilds from a snapshot; entries that break the invariants are refused.
    pub fn from_entries(entries: Vec<EpochStart>) -> Option<Self> {
        let rising = entries
            .windows(2)
            .all(|w| w[0].epoch < w[1].epoch && w[0].start_offset <= w[1].start_offset);
        (rising && entries.iter().all(|e| e.epoch >= 0)).then_some(Self { starts: entries })
    }
}
