//! Sets of sequence numbers as ranges.
//!
//! Producers keep which numbers were acknowledged, consumers which they saw. Numbers mostly come in order, so a set is
//! a handful of ranges whatever the length of a run. What always holds: ranges are ascending, not empty and do not
//! touch each other.

/// Numbers, as half-open ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// An empty set.
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    /// Adds `from..to`; returns how many of them were in the set already.
    pub fn insert(&mut self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        // The usual case: right behind the last range, or a new last one.
        match self.ranges.last_mut() {
            Some(last) if last.1 == from => {
                last.1 = to;
                return 0;
            }
            Some(last) if last.1 < from => {
                self.ranges.push((from, to));
                return 0;
            }
            None => {
                self.ranges.push((from, to));
                return 0;
            }
            _ => {}
        }
        let first = self.ranges.partition_point(|r| r.1 < from);
        let after = self.ranges.partition_point(|r| r.0 <= to);
        let mut merged = (from, to);
        let mut already = 0;
        for r in &self.ranges[first..after] {
            already += r.1.min(to).saturating_sub(r.0.max(from));
            merged = (merged.0.min(r.0), merged.1.max(r.1));
        }
        self.ranges.splice(first..after, [merged]);
        already
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        let at = self.ranges.partition_point(|r| r.1 <= value);
        self.ranges.get(at).is_some_and(|r| r.0 <= value)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| r.1 - r.0).sum()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// One above the largest number; 0 when empty.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |r| r.1)
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// Adds all of `other`; returns how many were here already.
    pub fn absorb(&mut self, other: &RangeSet) -> u64 {
        other.iter().map(|(from, to)| self.insert(from, to)).sum()
    }

    /// What is here and not in `other`.
    pub fn minus(&self, other: &RangeSet) -> RangeSet {
        let mut left = RangeSet::new();
        let mut rest = other.ranges.as_slice();
        for (mut from, to) in self.iter() {
            while let Some(first) = rest.first() {
                if first.1 <= from {
                    rest = &rest[1..];
                    continue;
                }
                if first.0 >= to {
                    break;
                }
                left.insert(from, first.0.max(from));
                from = first.1;
                if from >= to {
                    break;
                }
            }
            left.insert(from, to);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    proptest::proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(a in proptest::collection::vec((0u64..60, 0u64..12), 0..12),
                                        b in proptest::collection::vec((0u64..60, 0u64..12), 0..12)) {
            let build = |ranges: &[(u64, u64)]| {
                let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
                for (from, n) in ranges {
                    let before = model.len() as u64;
                    model.extend(*from..from + n);
                    let fresh = model.len() as u64 - before;
                    assert_eq!(set.insert(*from, from + n), n - fresh);
                }
                (set, model)
            };
            let ((x, mx), (y, my)) = (build(&a), build(&b));
            let listed: BTreeSet<u64> = x.iter().flat_map(|(f, t)| f..t).collect();
            assert_eq!(listed, mx);
            assert_eq!(x.len(), mx.len() as u64);
            assert!(x.ranges.windows(2).all(|w| w[0].1 < w[1].0));
            for v in 0..80 { assert_eq!(x.contains(v), mx.contains(&v)); }
            let minus: BTreeSet<u64> = x.minus(&y).iter().flat_map(|(f, t)| f..t).collect();
            assert_eq!(minus, mx.difference(&my).copied().collect());
            let mut both = x.clone();
            assert_eq!(both.absorb(&y), mx.intersection(&my).count() as u64);
        }
    }
}
