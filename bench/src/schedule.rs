//! When records are due: arrival schedules fixed in advance.
//!
//! Owns the intended times of one producer. The worker asks [`Schedule::peek`] for the next one and takes it with
//! [`Schedule::take`]. What always holds: times never go backwards, none is skipped or moved whatever the answers do,
//! and a seed gives the same times again. All producers of a run share one rate: with `n` producers, producer `k` gets
//! arrivals `k`, `k + n`, ... of the common sequence, so that they do not fire at once.

use std::sync::Arc;

use serde::Serialize;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// How arrivals are spread over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Equal distances.
    Constant,
    /// Exponential distances with the same mean, independent for each producer.
    Poisson,
    /// `on` ms of load, `off` ms of none; the mean rate over both is the rate asked for.
    Burst {
        /// Milliseconds with load, above 0.
        on_ms: u64,
        /// Milliseconds without.
        off_ms: u64,
    },
    /// From `from` arrivals/s linearly to the rate asked for, at the end of the span.
    Ramp {
        /// Arrivals per second at the beginning.
        from: f64,
    },
    /// Pieces of (arrivals per second, seconds); the last goes on.
    Step(Vec<(f64, f64)>),
    /// Recorded times, ns from the start, ascending; the schedule ends with them.
    Replay(#[serde(skip)] Arc<Vec<u64>>),
    /// No schedule: as fast as answers allow. Latency of such a run omits stalls.
    Closed,
}

impl Shape {
    /// Reads `constant`, `poisson`, `burst:ON_MS/OFF_MS`, `ramp:FROM`, `step:RATExSECONDS,...`, `closed`.
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    pub fn parse(text: &str) -> Result<Shape, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let number = |t: &str| {
            t.trim()
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite() && *v >= 0.0)
                .ok_or_else(|| format!("schedule {text:?}: {t:?} is not a number of 0 or more"))
        };
        match name {
            "constant" if rest.is_empty() => Ok(Shape::Constant),
            "poisson" if rest.is_empty() => Ok(Shape::Poisson),
            "closed" if rest.is_empty() => Ok(Shape::Closed),
            "burst" => {
                let (on, off) = rest.split_once('/').ok_or_else(|| {
                    format!("schedule {text:?}: say burst:ON_MS/OFF_MS, for example burst:100/900")
                })?;
                let (on_ms, off_ms) = (number(on)? as u64, number(off)? as u64);
                if on_ms == 0 {
                    return Err(format!("schedule {text:?}: a burst lasts at least 1 ms"));
                }
                Ok(Shape::Burst { on_ms, off_ms })
            }
            "ramp" => Ok(Shape::Ramp { from: number(rest)? }),
            "step" => {
                let pieces: Result<Vec<(f64, f64)>, String> = rest
                    .split(',')
                    .map(|piece| {
                        let (rate, seconds) = piece.split_once('x').ok_or_else(|| {
                            format!("schedule {text:?}: say step:RATExSECONDS,..., for example step:1000x10,5000x10")
                        })?;
                        Ok((number(rate)?, number(seconds)?))
                    })
                    .collect();
                Ok(Shape::Step(pieces?))
            }
            _ => Err(format!(
                "schedule {text:?} is not known: constant, poisson, burst:ON_MS/OFF_MS, ramp:FROM, step:RATExSECONDS,..., \
                 replay:FILE or closed"
            )),
        }
    }

    /// The shape with all rates multiplied, for `--scale`.
    pub fn scaled(&self, by: f64) -> Shape {
        match self {
            Shape::Ramp { from } => Shape::Ramp { from: from * by },
            Shape::Step(pieces) => Shape::Step(pieces.iter().map(|(rate, s)| (rate * by, *s)).collect()),
            other => other.clone(),
        }
    }
}

/// Arrivals of one producer.
#[derive(Debug, Clone)]
pub struct Schedule {
    shape: Shape,
    /// Arrivals per second of all producers together.
    rate: f64,
    producers: u64,
    /// Index of the next arrival in the common sequence.
    global: u64,
    span: f64,
    rng: fastrand::Rng,
    /// Poisson: time of the arrival before, seconds.
    at: f64,
    next: Option<u64>,
}

impl Schedule {
    /// Arrivals of producer `index` of `producers`, at `rate` arrivals per second together, over `span` ns (which a ramp
    /// needs to know; the schedule itself goes on).
    pub fn new(shape: &Shape, rate: f64, producers: u32, index: u32, seed: u64, span: u64) -> Schedule {
        let mut schedule = Schedule {
            shape: shape.clone(),
            rate,
            producers: u64::from(producers.max(1)),
            global: u64::from(index),
            span: span as f64 / SECOND as f64,
            rng: fastrand::Rng::with_seed(seed ^ (u64::from(index) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            at: 0.0,
            next: None,
        };
        schedule.next = schedule.compute();
        schedule
    }

    /// The next intended time, ns from the start; `None`: there are no more, or the shape has no times.
    pub fn peek(&self) -> Option<u64> {
        self.next
    }

    /// Takes the next intended time.
    pub fn take(&mut self) -> Option<u64> {
        let taken = self.next?;
        self.global += self.producers;
        self.next = self.compute().map(|t| t.max(taken));
        Some(taken)
    }

    /// Time of arrival `self.global`.
    fn compute(&mut self) -> Option<u64> {
        let g = self.global as f64;
        let seconds = match &self.shape {
            Shape::Closed => return None,
            Shape::Replay(times) => return times.get(self.global as usize).copied(),
            Shape::Constant => div(g, self.rate)?,
            Shape::Poisson => {
                let mean = div(self.producers as f64, self.rate)?;
                // 1 - u lies in (0, 1].
                self.at += -(1.0 - self.rng.f64()).ln() * mean;
                self.at
            }
            Shape::Burst { on_ms, off_ms } => {
                let (on, off) = (*on_ms as f64 / 1e3, *off_ms as f64 / 1e3);
                let active = div(g, self.rate * (on + off) / on)?;
                let cycles = (active / on).floor();
                cycles * (on + off) + (active - cycles * on)
            }
            Shape::Ramp { from } => ramp(g, *from, self.rate, self.span)?,
            Shape::Step(pieces) => step(g, pieces)?,
        };
        let ns = seconds * SECOND as f64;
        (ns < u64::MAX as f64).then_some(ns as u64)
    }
}

fn div(count: f64, rate: f64) -> Option<f64> {
    (rate > 0.0).then(|| count / rate)
}

/// When arrival `g` comes if the rate goes from `from` to `to` in `span` seconds and stays there: the area under the
/// line up to then is `g`.
fn ramp(g: f64, from: f64, to: f64, span: f64) -> Option<f64> {
    if g == 0.0 {
        return Some(0.0);
    }
    let total = (from + to) / 2.0 * span;
    if g >= total {
        return Some(span + div(g - total, to)?);
    }
    let a = (to - from) / (2.0 * span);
    if a.abs() < 1e-12 {
        return div(g, from);
    }
    // a t^2 + from t - g = 0, in the form that does not cancel for small g.
    let root = (from * from + 4.0 * a * g).max(0.0).sqrt();
    Some(2.0 * g / (from + root))
}

fn step(mut g: f64, pieces: &[(f64, f64)]) -> Option<f64> {
    let mut start = 0.0;
    let (last, before) = pieces.split_last()?;
    for (rate, seconds) in before {
        let count = rate * seconds;
        if g < count {
            return Some(start + div(g, *rate)?);
        }
        g -= count;
        start += seconds;
    }
    Some(start + div(g, last.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(shape: &Shape, rate: f64, producers: u32, index: u32, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(shape, rate, producers, index, 7, 10 * SECOND);
        (0..count).filter_map(|_| schedule.take()).collect()
    }

    #[test]
    fn constant_arrivals_of_two_producers_interleave() {
        assert_eq!(
            times(&Shape::Constant, 1000.0, 2, 0, 3),
            [0, 2_000_000, 4_000_000]
        );
        assert_eq!(
            times(&Shape::Constant, 1000.0, 2, 1, 3),
            [1_000_000, 3_000_000, 5_000_000]
        );
    }

    #[test]
    fn poisson_keeps_the_rate_and_a_seed_repeats_it() {
        let a = times(&Shape::Poisson, 10_000.0, 4, 1, 20_000);
        assert_eq!(a, times(&Shape::Poisson, 10_000.0, 4, 1, 20_000));
        assert_ne!(a[..10], times(&Shape::Poisson, 10_000.0, 4, 2, 10)[..]);
        assert!(a.is_sorted());
        // 20,000 arrivals of a quarter of 10,000/s take 8 s; the standard deviation is 8 s / sqrt(20,000) = 57 ms.
        let last = *a.last().expect("not empty") as f64 / 1e9;
        assert!((last - 8.0).abs() < 0.3, "{last}");
        // Variance of an exponential gap is its mean squared.
        let gaps: Vec<f64> = a.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((var.sqrt() / mean - 1.0).abs() < 0.05, "{}", var.sqrt() / mean);
    }

    #[test]
    fn bursts_keep_the_mean_rate_and_their_silence() {
        let shape = Shape::Burst {
            on_ms: 100,
            off_ms: 900,
        };
        let all = times(&shape, 1000.0, 1, 0, 3000);
        assert!(
            all.iter().all(|t| t % SECOND < SECOND / 10),
            "nothing is due in the silence"
        );
        assert_eq!(all.iter().filter(|t| **t < SECOND).count(), 1000);
        assert_eq!(all.iter().filter(|t| **t < 2 * SECOND).count(), 2000);
    }

    #[test]
    fn a_ramp_has_the_area_under_its_line() {
        // From 0 to 1,000/s in 10 s: 5,000 arrivals in all, a quarter of them in the first half.
        let all = times(&Shape::Ramp { from: 0.0 }, 1000.0, 1, 0, 6000);
        assert!(all.is_sorted());
        assert_eq!(all.iter().filter(|t| **t < 5 * SECOND).count(), 1250);
        assert_eq!(all.iter().filter(|t| **t < 10 * SECOND).count(), 5000);
        assert_eq!(
            all.iter().filter(|t| **t < 11 * SECOND).count(),
            6000,
            "then the rate stays"
        );
        let down = times(&Shape::Ramp { from: 1000.0 }, 500.0, 1, 0, 7000);
        assert_eq!(down.iter().filter(|t| **t < 10 * SECOND).count(), 7000);
        let flat = times(&Shape::Ramp { from: 1000.0 }, 1000.0, 1, 0, 10);
        assert_eq!(flat[9], 9_000_000);
    }

    #[test]
    fn steps_follow_each_other_and_the_last_goes_on() {
        let shape = Shape::parse("step:100x1,1000x1").expect("valid");
        let all = times(&shape, 0.0, 1, 0, 2100);
        assert_eq!(all.iter().filter(|t| **t < SECOND).count(), 100);
        assert_eq!(all.iter().filter(|t| **t < 2 * SECOND).count(), 1100);
        assert_eq!(all.iter().filter(|t| **t < 3 * SECOND).count(), 2100);
        let silent = Shape::Step(vec![(0.0, 1.0), (10.0, 1.0)]);
        assert_eq!(times(&silent, 0.0, 1, 0, 2), [SECOND, SECOND + SECOND / 10]);
    }

    #[test]
    fn replay_ends_with_its_times_and_closed_has_none() {
        let shape = Shape::Replay(Arc::new(vec![5, 6, 7]));
        assert_eq!(times(&shape, 0.0, 2, 0, 9), [5, 7]);
        assert_eq!(times(&shape, 0.0, 2, 1, 9), [6]);
        assert!(times(&Shape::Closed, 1.0, 1, 0, 9).is_empty());
        assert!(
            times(&Shape::Constant, 0.0, 1, 0, 9).is_empty(),
            "no rate, no arrivals"
        );
    }

    #[test]
    fn wrong_schedules_are_told_what_to_say() {
        for wrong in [
            "burst:5",
            "burst:0/5",
            "ramp:x",
            "step:5",
            "constant:1",
            "ramp:-1",
            "sine",
            "",
        ] {
            let error = Shape::parse(wrong).expect_err(wrong);
            assert!(error.contains("schedule"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn times_never_go_backwards(rate in 0.001f64..2e6, from in 0.0f64..1e6, on in 1u64..500, off in 0u64..500,
                                    producers in 1u32..9, seed in 0u64..99) {
            for shape in [Shape::Constant, Shape::Poisson, Shape::Burst { on_ms: on, off_ms: off }, Shape::Ramp { from },
                          Shape::Step(vec![(from, 0.5), (rate, 1.0)])] {
                let mut schedule = Schedule::new(&shape, rate, producers, producers - 1, seed, SECOND);
                let mut before = 0;
                for _ in 0..500 {
                    let Some(t) = schedule.take() else { break };
                    proptest::prop_assert!(t >= before);
                    before = t;
                }
            }
        }
    }
}
