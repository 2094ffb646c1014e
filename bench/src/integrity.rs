//! Whether every acknowledged record arrived, once, in order, unharmed.
//!
//! Producers keep a [`SentLog`]: what became of each number of each partition. Readers keep a [`SeenLog`] for each group
//! that must see everything. [`judge`] compares both after the run. What always holds: nothing is forgotten, and a
//! record whose outcome the producer does not know may appear or not, but is counted.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::ranges::RangeSet;
use crate::stamp::{ABORTED, Stamp};

/// Topic and partition, by number.
pub type Place = (u32, u32);

/// What became of one producer's records in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentPart {
    /// Numbers given out are those below.
    pub next: u64,
    /// Acknowledged (with acks=0: handed to the socket).
    pub acked: RangeSet,
    /// Certainly refused.
    pub failed: RangeSet,
    /// Sent, and the answer never came.
    pub unknown: RangeSet,
    /// Acknowledged, in a transaction that was aborted afterwards.
    pub aborted: RangeSet,
}

/// All producers of a run: (producer, place).
#[derive(Debug, Clone, Default)]
pub struct SentLog {
    /// By producer and place.
    pub parts: BTreeMap<(u32, Place), SentPart>,
}

impl SentLog {
    /// Adds another producer's part.
    pub fn put(&mut self, producer: u32, place: Place, part: SentPart) {
        self.parts.insert((producer, place), part);
    }
}

#[derive(Debug, Clone, Default)]
struct SeenPart {
    seen: RangeSet,
    duplicates: u64,
    reordered: u64,
}

/// What one reader, or all of one group, saw.
#[derive(Debug, Clone, Default)]
pub struct SeenLog {
    parts: HashMap<(u32, Place), SeenPart>,
    /// Records of this run.
    pub records: u64,
    /// Records not written by this run.
    pub foreign: u64,
    /// Records of this tool whose bytes changed, and batches with a wrong CRC.
    pub corrupt: u64,
    /// Records in a partition other than the sender chose.
    pub misplaced: u64,
    /// Records of aborted transactions.
    pub aborted: u64,
}

impl SeenLog {
    /// Takes a record of this run read at `place`.
    pub fn see(&mut self, place: Place, stamp: &Stamp) {
        self.records += 1;
        if stamp.flags & ABORTED != 0 {
            self.aborted += 1;
        }
        if stamp.partition != place.1 {
            self.misplaced += 1;
            return;
        }
        let part = self.parts.entry((stamp.producer, place)).or_default();
        let end = part.seen.end();
        if part.seen.insert(stamp.sequence, stamp.sequence + 1) > 0 {
            part.duplicates += 1;
        } else if stamp.sequence < end {
            part.reordered += 1;
        }
    }

    /// Adds what another reader of the same group saw.
    pub fn absorb(&mut self, other: SeenLog) {
        for (key, part) in other.parts {
            let mine = self.parts.entry(key).or_default();
            mine.duplicates += part.duplicates + mine.seen.absorb(&part.seen);
            mine.reordered += part.reordered;
        }
        self.records += other.records;
        self.foreign += other.foreign;
        self.corrupt += other.corrupt;
        self.misplaced += other.misplaced;
        self.aborted += other.aborted;
    }
}

/// What the run promised, and so what counts as a violation.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// acks=1 or acks=all: what was acknowledged must be there.
    pub acknowledged: bool,
    /// Idempotent producers: no duplicates, no reordering by retries.
    pub idempotent: bool,
    /// Partitions may move between readers, which then read some records again.
    pub moving: bool,
    /// Readers see committed transactions only.
    pub committed_only: bool,
}

/// The verdict over one group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupVerdict {
    /// Name of the group or of the check.
    pub group: String,
    /// Records of this run that it read.
    pub records: u64,
    /// Acknowledged and not read.
    pub lost: u64,
    /// Missing below the last record read, lost ones included; refused and unknown ones are not.
    pub gaps: u64,
    /// Read more than once.
    pub duplicates: u64,
    /// Read after a later one of the same producer and partition.
    pub reordered: u64,
    /// Broken bytes.
    pub corrupt: u64,
    /// In another partition than chosen.
    pub misplaced: u64,
    /// Of aborted transactions, read all the same.
    pub aborted_seen: u64,
    /// Written by somebody else.
    pub foreign: u64,
    /// First few ranges that are lost: `producer P, topic T, partition N: FROM..TO`.
    pub examples: Vec<String>,
    /// What of this breaks a promise; empty: nothing.
    pub violations: Vec<String>,
}

/// The verdict over a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Something was read back. `false`: integrity was not checked, and the report says so.
    pub checked: bool,
    /// Every reader reached the end of the log.
    pub complete: bool,
    /// Records given out.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused for good.
    pub failed: u64,
    /// Outcome unknown.
    pub unknown: u64,
    /// In aborted transactions.
    pub aborted: u64,
    /// One for each group.
    pub groups: Vec<GroupVerdict>,
}

impl Verdict {
    /// A promise was broken.
    pub fn violated(&self) -> bool {
        self.groups.iter().any(|g| !g.violations.is_empty())
    }
}

const EXAMPLES: usize = 5;

/// Compares what was sent with what each group saw.
pub fn judge(sent: &SentLog, groups: &[(String, SeenLog)], promise: Promise, complete: bool) -> Verdict {
    let total = |f: fn(&SentPart) -> u64| sent.parts.values().map(f).sum::<u64>();
    let mut verdict = Verdict {
        checked: !groups.is_empty(),
        complete,
        sent: total(|p| p.next),
        acknowledged: total(|p| p.acked.len()),
        failed: total(|p| p.failed.len()),
        unknown: total(|p| p.unknown.len()),
        aborted: total(|p| p.aborted.len()),
        groups: Vec::new(),
    };
    for (name, seen) in groups {
        verdict.groups.push(judge_group(sent, name, seen, promise));
    }
    verdict
}

fn judge_group(sent: &SentLog, name: &str, seen: &SeenLog, promise: Promise) -> GroupVerdict {
    let mut v = GroupVerdict {
        group: name.to_owned(),
        records: seen.records,
        corrupt: seen.corrupt,
        misplaced: seen.misplaced,
        foreign: seen.foreign,
        ..GroupVerdict::default()
    };
    if promise.committed_only {
        v.aborted_seen = seen.aborted;
    }
    let nothing = SeenPart::default();
    for ((producer, place), part) in &sent.parts {
        let got = seen.parts.get(&(*producer, *place)).unwrap_or(&nothing);
        let lost = part.acked.minus(&got.seen);
        v.lost += lost.len();
        for (from, to) in lost.iter().take(EXAMPLES - v.examples.len().min(EXAMPLES)) {
            v.examples.push(format!(
                "producer {producer}, topic {}, partition {}: {from}..{to}",
                place.0, place.1
            ));
        }
        let mut all = RangeSet::new();
        all.insert(0, got.seen.end());
        v.gaps += all
            .minus(&got.seen)
            .minus(&part.failed)
            .minus(&part.unknown)
            .minus(&part.aborted)
            .len();
    }
    for part in seen.parts.values() {
        v.duplicates += part.duplicates;
        v.reordered += part.reordered;
    }
    let mut violate = |bad: bool, what: String| {
        if bad {
            v.violations.push(what);
        }
    };
    violate(
        promise.acknowledged && v.lost > 0,
        format!("{} acknowledged records are missing", v.lost),
    );
    violate(
        v.corrupt > 0,
        format!("{} records or batches are corrupt", v.corrupt),
    );
    violate(
        v.misplaced > 0,
        format!("{} records are in a wrong partition", v.misplaced),
    );
    violate(
        promise.idempotent && !promise.moving && v.duplicates > 0,
        format!("{} records appear more than once", v.duplicates),
    );
    violate(
        promise.idempotent && !promise.moving && v.reordered > 0,
        format!("{} records appear after later ones", v.reordered),
    );
    violate(
        v.aborted_seen > 0,
        format!("{} records of aborted transactions were read", v.aborted_seen),
    );
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Promise = Promise {
        acknowledged: true,
        idempotent: true,
        moving: false,
        committed_only: true,
    };

    fn sent(acked: &[(u64, u64)], unknown: &[(u64, u64)], failed: &[(u64, u64)]) -> SentLog {
        let mut part = SentPart {
            next: 100,
            ..SentPart::default()
        };
        for (set, ranges) in [
            (&mut part.acked, acked),
            (&mut part.unknown, unknown),
            (&mut part.failed, failed),
        ] {
            ranges.iter().for_each(|(a, b)| {
                set.insert(*a, *b);
            });
        }
        let mut log = SentLog::default();
        log.put(1, (0, 3), part);
        log
    }

    fn stamp(sequence: u64) -> Stamp {
        Stamp {
            producer: 1,
            partition: 3,
            sequence,
            ..Stamp::default()
        }
    }

    fn seen(order: impl IntoIterator<Item = u64>) -> SeenLog {
        let mut log = SeenLog::default();
        order.into_iter().for_each(|s| log.see((0, 3), &stamp(s)));
        log
    }

    fn verdict(sent: &SentLog, seen: SeenLog, promise: Promise) -> GroupVerdict {
        judge(sent, &[("g".into(), seen)], promise, true).groups.remove(0)
    }

    #[test]
    fn all_there_in_order_is_clean() {
        let v = verdict(&sent(&[(0, 100)], &[], &[]), seen(0..100), STRICT);
        assert_eq!((v.lost, v.gaps, v.duplicates, v.reordered), (0, 0, 0, 0));
        assert!(v.violations.is_empty());
    }

    #[test]
    fn a_lost_acknowledged_record_is_found_and_named() {
        let v = verdict(&sent(&[(0, 100)], &[], &[]), seen((0..40).chain(42..99)), STRICT);
        assert_eq!((v.lost, v.gaps), (3, 2), "40, 41 are a gap; 99 is only lost");
        assert_eq!(v.examples[0], "producer 1, topic 0, partition 3: 40..42");
        assert_eq!(v.violations.len(), 1);
        let whole = judge(
            &sent(&[(0, 100)], &[], &[]),
            &[("g".into(), SeenLog::default())],
            STRICT,
            true,
        );
        assert_eq!(
            whole.groups[0].lost, 100,
            "a reader that saw nothing lost everything"
        );
        assert!(whole.violated());
        // Nobody promised anything with acks=0: told, not a violation.
        let loose = Promise {
            acknowledged: false,
            ..STRICT
        };
        let v = verdict(&sent(&[(0, 100)], &[], &[]), seen(0..50), loose);
        assert_eq!((v.lost, v.violations.len()), (50, 0));
    }

    #[test]
    fn unknown_and_refused_records_may_be_absent() {
        let log = sent(&[(0, 40), (60, 100)], &[(40, 50)], &[(50, 60)]);
        for absent in [40..60, 45..60, 50..60] {
            let v = verdict(&log, seen((0..100).filter(|s| !absent.contains(s))), STRICT);
            assert_eq!((v.lost, v.gaps, v.violations.len()), (0, 0, 0));
        }
        let whole = judge(&log, &[], STRICT, true);
        assert_eq!(
            (whole.unknown, whole.failed, whole.acknowledged, whole.checked),
            (10, 10, 80, false)
        );
    }

    #[test]
    fn duplicates_and_reordering_are_told_apart() {
        let v = verdict(&sent(&[(0, 5)], &[], &[]), seen([0, 1, 1, 3, 2, 4, 3]), STRICT);
        assert_eq!((v.duplicates, v.reordered, v.lost), (2, 1, 0));
        assert_eq!(v.violations.len(), 2);
        let loose = Promise {
            idempotent: false,
            ..STRICT
        };
        let v = verdict(&sent(&[(0, 5)], &[], &[]), seen([0, 1, 1, 3, 2, 4, 3]), loose);
        assert_eq!(
            (v.duplicates, v.violations.len()),
            (2, 0),
            "without idempotence duplicates are told"
        );
    }

    #[test]
    fn members_of_a_group_are_judged_together() {
        let mut all = seen(0..60);
        all.absorb(seen(50..100));
        let v = verdict(
            &sent(&[(0, 100)], &[], &[]),
            all,
            Promise {
                moving: true,
                ..STRICT
            },
        );
        assert_eq!(
            (v.lost, v.duplicates, v.records, v.violations.len()),
            (0, 10, 110, 0)
        );
    }

    #[test]
    fn misplaced_corrupt_and_aborted_records_are_violations() {
        let mut log = seen(0..100);
        log.see(
            (0, 3),
            &Stamp {
                partition: 4,
                ..stamp(5)
            },
        );
        log.corrupt = 2;
        log.see(
            (0, 3),
            &Stamp {
                flags: ABORTED,
                ..stamp(100)
            },
        );
        let v = verdict(&sent(&[(0, 100)], &[], &[]), log, STRICT);
        assert_eq!((v.misplaced, v.corrupt, v.aborted_seen), (1, 2, 1));
        assert_eq!(v.violations.len(), 3);
    }
}
