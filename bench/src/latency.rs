//! Histograms of durations.
//!
//! A [`Latency`] is an HdrHistogram of three digits from 1 ns to 60 s and a count of what lay beyond. Intervals,
//! workers and runs merge by addition; percentiles are never averaged. What always holds: a quantile without enough
//! samples is not told (10 / (1 - q) of them are enough: 100,000 for p99.99), and one that falls among the values
//! beyond 60 s says so instead of naming a number.

use std::cmp::Ordering;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Largest value told exactly, ns.
pub const HIGHEST: u64 = 60_000_000_000;

/// Durations in ns.
#[derive(Debug, Clone)]
pub struct Latency {
    hist: Histogram<u64>,
    overflow: u64,
    negative: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency::new()
    }
}

/// A quantile of a [`Latency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// Nanoseconds.
    Ns(u64),
    /// More than [`HIGHEST`].
    Beyond,
    /// Too few samples.
    Unknown,
}

impl Latency {
    /// An empty one.
    pub fn new() -> Latency {
        Latency {
            hist: Histogram::new_with_bounds(1, HIGHEST, 3).expect("constant bounds are valid"),
            overflow: 0,
            negative: 0,
        }
    }

    /// Counts `n` durations of `ns`.
    pub fn record_n(&mut self, ns: u64, n: u64) {
        if ns > HIGHEST {
            self.overflow += n;
        } else {
            // 0 ns is below the resolution of any clock; it counts as 1.
            self.hist.saturating_record_n(ns.max(1), n);
        }
    }

    /// Counts one duration.
    pub fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// Counts the time from `from` to `to`; one that runs backwards counts as 1 ns and as negative.
    pub fn record_span(&mut self, from: u64, to: u64, n: u64) {
        if to < from {
            self.negative += n;
        }
        self.record_n(to.saturating_sub(from), n);
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Latency) {
        self.hist.add(&other.hist).expect("same bounds");
        self.overflow += other.overflow;
        self.negative += other.negative;
    }

    /// An empty one whose memory is there already: nothing stalls while it fills.
    pub fn touched() -> Latency {
        let mut latency = Latency::new();
        latency.clear();
        latency
    }

    /// What was counted, and begins anew.
    pub fn take(&mut self) -> Sparse {
        let counts = if self.hist.is_empty() {
            Vec::new()
        } else {
            let each = self.hist.iter_recorded();
            each.map(|v| (v.value_iterated_to(), v.count_at_value()))
                .collect()
        };
        let taken = Sparse {
            counts,
            overflow: self.overflow,
            negative: self.negative,
        };
        if !taken.counts.is_empty() {
            self.hist.reset();
        }
        (self.overflow, self.negative) = (0, 0);
        taken
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.hist.reset();
        (self.overflow, self.negative) = (0, 0);
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.hist.len() + self.overflow
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Samples beyond [`HIGHEST`].
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Samples that ran backwards.
    pub fn negative(&self) -> u64 {
        self.negative
    }

    /// Mean of the values within range, ns; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.hist.is_empty() {
            0.0
        } else {
            self.hist.mean()
        }
    }

    /// Standard deviation of the values within range, ns.
    pub fn deviation(&self) -> f64 {
        if self.hist.is_empty() {
            0.0
        } else {
            self.hist.stdev()
        }
    }

    /// Largest value.
    pub fn max(&self) -> Quantile {
        match (self.overflow, self.hist.len()) {
            (0, 0) => Quantile::Unknown,
            (0, _) => Quantile::Ns(self.hist.max()),
            _ => Quantile::Beyond,
        }
    }

    /// Smallest value, ns; 0 when empty.
    pub fn min(&self) -> u64 {
        if self.hist.is_empty() { 0 } else { self.hist.min() }
    }

    /// Quantile `q` in 0..1, if there are enough samples to tell it.
    pub fn quantile(&self, q: f64) -> Quantile {
        if (self.count() as f64) < needed(q) {
            return Quantile::Unknown;
        }
        self.raw_quantile(q)
    }

    /// Quantile `q` however few samples there are.
    pub fn raw_quantile(&self, q: f64) -> Quantile {
        let count = self.count();
        if count == 0 {
            return Quantile::Unknown;
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        if rank > self.hist.len() {
            return Quantile::Beyond;
        }
        // The same rank among those within range.
        Quantile::Ns(self.hist.value_at_quantile(rank as f64 / self.hist.len() as f64))
    }

    /// The counts below, for the exporters.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.hist
    }

    /// The usual figures.
    pub fn summary(&self) -> Summary {
        let us = |q| match q {
            Quantile::Ns(ns) => Some(ns as f64 / 1e3),
            Quantile::Beyond => Some(f64::from(u32::MAX).max(HIGHEST as f64 / 1e3)),
            Quantile::Unknown => None,
        };
        Summary {
            samples: self.count(),
            beyond_60_s: self.overflow,
            negative: self.negative,
            mean_us: self.mean() / 1e3,
            min_us: self.min() as f64 / 1e3,
            p50_us: us(self.quantile(0.5)),
            p75_us: us(self.quantile(0.75)),
            p90_us: us(self.quantile(0.9)),
            p95_us: us(self.quantile(0.95)),
            p99_us: us(self.quantile(0.99)),
            p999_us: us(self.quantile(0.999)),
            p9999_us: us(self.quantile(0.9999)),
            max_us: us(self.max()),
        }
    }
}

/// The counts of a [`Latency`] without its empty places: what is sent between threads and kept for each interval, as a
/// long run has thousands of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sparse {
    /// Values, rising, and how many of each.
    counts: Vec<(u64, u64)>,
    overflow: u64,
    negative: u64,
}

impl Sparse {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Sparse) {
        self.overflow += other.overflow;
        self.negative += other.negative;
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
            return;
        }
        let mut merged = Vec::with_capacity(self.counts.len() + other.counts.len());
        let (mut mine, mut theirs) = (self.counts.iter().peekable(), other.counts.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            match a.0.cmp(&b.0) {
                Ordering::Less => merged.extend(mine.next()),
                Ordering::Greater => merged.extend(theirs.next()),
                Ordering::Equal => {
                    merged.push((a.0, a.1 + b.1));
                    (mine.next(), theirs.next());
                }
            }
        }
        merged.extend(mine);
        merged.extend(theirs);
        self.counts = merged;
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, n)| n).sum::<u64>() + self.overflow
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.overflow == 0
    }

    /// Mean of the values within range, ns; 0 when empty.
    pub fn mean(&self) -> f64 {
        let (sum, n) = self.counts.iter().fold((0.0, 0), |(sum, n), (value, count)| {
            (sum + *value as f64 * *count as f64, n + count)
        });
        if n == 0 { 0.0 } else { sum / n as f64 }
    }

    /// Largest value.
    pub fn max(&self) -> Quantile {
        match (self.overflow, self.counts.last()) {
            (0, None) => Quantile::Unknown,
            (0, Some((value, _))) => Quantile::Ns(*value),
            _ => Quantile::Beyond,
        }
    }

    /// Quantile `q` however few samples there are.
    pub fn raw_quantile(&self, q: f64) -> Quantile {
        let count = self.count();
        if count == 0 {
            return Quantile::Unknown;
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        let mut passed = 0;
        for (value, n) in &self.counts {
            passed += n;
            if passed >= rank {
                return Quantile::Ns(*value);
            }
        }
        Quantile::Beyond
    }

    /// The same as a histogram.
    pub fn expand(&self) -> Latency {
        let mut latency = Latency::new();
        for (value, n) in &self.counts {
            latency.record_n(*value, *n);
        }
        (latency.overflow, latency.negative) = (self.overflow, self.negative);
        latency
    }
}

/// Samples that quantile `q` needs to be told.
pub fn needed(q: f64) -> f64 {
    // Rounded: 10 / (1 - 0.99) is 999.999... in floating point.
    (10.0 / (1.0 - q)).round()
}

/// Figures of a [`Latency`], microseconds. A quantile without enough samples is absent; one beyond 60 s reads
/// 4294967295 (and `beyond_60_s` is not 0).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Samples.
    pub samples: u64,
    /// Of these, longer than 60 s.
    pub beyond_60_s: u64,
    /// Of these, negative: the clocks disagree.
    pub negative: u64,
    /// Mean.
    pub mean_us: f64,
    /// Smallest.
    pub min_us: f64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 75 %.
    pub p75_us: Option<f64>,
    /// 90 %.
    pub p90_us: Option<f64>,
    /// 95 %.
    pub p95_us: Option<f64>,
    /// 99 %.
    pub p99_us: Option<f64>,
    /// 99.9 %.
    pub p999_us: Option<f64>,
    /// 99.99 %.
    pub p9999_us: Option<f64>,
    /// Largest.
    pub max_us: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_need_ten_samples_beyond_them() {
        let mut l = Latency::new();
        for i in 1..=999 {
            l.record(i * 1000);
        }
        assert_eq!(l.quantile(0.99), Quantile::Unknown);
        l.record(1_000_000);
        assert!(matches!(l.quantile(0.99), Quantile::Ns(v) if (989_000..=991_000).contains(&v)));
        assert_eq!(l.quantile(0.999), Quantile::Unknown);
        assert_eq!(needed(0.9999), 100_000.0);
        let s = l.summary();
        assert_eq!((s.p999_us, s.p9999_us), (None, None));
        assert!(s.p99_us.is_some());
    }

    #[test]
    fn values_beyond_the_range_show_in_the_quantiles_they_touch() {
        let mut l = Latency::new();
        l.record_n(1_000_000, 9_980);
        l.record_n(HIGHEST + 1, 20);
        assert!(matches!(l.quantile(0.99), Quantile::Ns(_)));
        assert_eq!(l.quantile(0.999), Quantile::Beyond);
        assert_eq!(l.max(), Quantile::Beyond);
        assert_eq!((l.count(), l.overflow()), (10_000, 20));
    }

    #[test]
    fn adding_is_like_recording_everything_in_one() {
        let (mut a, mut b, mut whole) = (Latency::new(), Latency::new(), Latency::new());
        for i in 0..20_000u64 {
            let v = (i * 7919) % 50_000_000;
            if i % 3 == 0 {
                a.record(v)
            } else {
                b.record(v)
            }
            whole.record(v);
        }
        a.add(&b);
        assert_eq!(a.summary(), whole.summary());
        // And is not the mean of both parts' percentiles.
        let mut slow = Latency::new();
        slow.record_n(1_000_000_000, 100);
        let mut fast = Latency::new();
        fast.record_n(1_000_000, 9_900);
        fast.add(&slow);
        assert!(matches!(fast.quantile(0.95), Quantile::Ns(v) if v < 1_100_000));
    }

    #[test]
    fn sparse_counts_tell_the_same_and_add_up_the_same() {
        let (mut a, mut b, mut whole) = (Latency::touched(), Latency::touched(), Latency::new());
        let mut sum = Sparse::default();
        for round in 0..4u64 {
            for i in 0..5000u64 {
                let v = (i * 7_919_000 * (round + 1)) % 61_000_000_000;
                if i % 3 == 0 {
                    a.record(v)
                } else {
                    b.record(v)
                }
                whole.record(v);
            }
            sum.add(&a.take());
            sum.add(&b.take());
            assert!(a.is_empty() && b.is_empty());
        }
        assert_eq!(sum.count(), whole.count());
        assert!(sum.overflow > 0 && !sum.is_empty() && Sparse::default().is_empty());
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(sum.raw_quantile(q), whole.raw_quantile(q), "{q}");
        }
        assert_eq!(sum.max(), whole.max());
        let expanded = sum.expand();
        assert_eq!(expanded.summary(), whole.summary());
        assert!((sum.mean() / whole.mean() - 1.0).abs() < 1e-3);
        assert_eq!(expanded.clone().take(), sum);
    }

    #[test]
    fn a_span_that_runs_backwards_is_counted() {
        let mut l = Latency::new();
        l.record_span(10, 5, 2);
        l.record_span(5, 10, 1);
        assert_eq!((l.count(), l.negative()), (3, 2));
    }
}
