//! The highest rate that meets its objectives: doubles until a step fails, bisects, confirms.
//!
//! A machine without clock or network: [`Search::next`] says what to measure, [`Search::result`] takes what came of it.
//! What always holds: the answer was measured to pass as many times as confirmation asks, and no rate that failed is
//! at or below it.

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Measure at this rate, records/s.
    Measure(f64),
    /// A step failed: wait until a low rate is as fast as at the beginning, then go on.
    Recover,
    /// This is it; `None`: even the lowest rate failed.
    Found(Option<f64>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Doubling(f64),
    Bisecting { low: f64, high: f64 },
    Confirming { rate: f64, left: u32 },
    Done(Option<f64>),
}

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    state: State,
    recover: bool,
    floor: f64,
    ceiling: f64,
    tolerance: f64,
    confirmations: u32,
    best: Option<f64>,
}

impl Search {
    /// Begins at `start` records/s, never above `ceiling`; the answer is within `tolerance` (a share) of the first rate
    /// that fails, and passed `confirmations` more times.
    pub fn new(start: f64, ceiling: f64, tolerance: f64, confirmations: u32) -> Search {
        Search {
            state: State::Doubling(start.min(ceiling)),
            recover: false,
            floor: start / 64.0,
            ceiling,
            tolerance,
            confirmations,
            best: None,
        }
    }

    /// What to do now.
    pub fn next(&self) -> Next {
        if self.recover {
            return Next::Recover;
        }
        match self.state {
            State::Doubling(rate) | State::Confirming { rate, .. } => Next::Measure(rate),
            State::Bisecting { low, high } => Next::Measure((low + high) / 2.0),
            State::Done(found) => Next::Found(found),
        }
    }

    /// The low rate is back at its baseline.
    pub fn recovered(&mut self) {
        self.recover = false;
    }

    /// The rate of [`Next::Measure`] passed, or not.
    pub fn result(&mut self, pass: bool) {
        self.recover = !pass;
        self.state = match self.state {
            State::Doubling(rate) if pass => {
                self.best = Some(rate);
                if rate >= self.ceiling {
                    self.confirm(rate)
                } else {
                    State::Doubling((rate * 2.0).min(self.ceiling))
                }
            }
            State::Doubling(rate) => match self.best {
                Some(low) => self.narrow(low, rate),
                // Even the first rate is too high: halve.
                None if rate / 2.0 < self.floor => State::Done(None),
                None => State::Doubling(rate / 2.0).halved(rate),
            },
            State::Bisecting { low, high } => {
                let rate = (low + high) / 2.0;
                if pass {
                    self.best = Some(rate);
                    self.narrow(rate, high)
                } else {
                    self.narrow(low, rate)
                }
            }
            State::Confirming { rate, left } if pass => match left {
                0 | 1 => State::Done(Some(rate)),
                _ => State::Confirming { rate, left: left - 1 },
            },
            State::Confirming { rate, .. } => {
                let lower = rate * (1.0 - self.tolerance);
                if lower < self.floor {
                    State::Done(None)
                } else {
                    self.confirm(lower)
                }
            }
            State::Done(found) => State::Done(found),
        };
        if self.recover && matches!(self.state, State::Done(_)) {
            self.recover = false;
        }
    }

    fn confirm(&self, rate: f64) -> State {
        match self.confirmations {
            0 => State::Done(Some(rate)),
            left => State::Confirming { rate, left },
        }
    }

    fn narrow(&self, low: f64, high: f64) -> State {
        if self.best.is_none() && high < self.floor {
            return State::Done(None);
        }
        if (high - low) / high <= self.tolerance {
            self.confirm(low)
        } else {
            State::Bisecting { low, high }
        }
    }
}

impl State {
    /// After halving from a first rate that failed, a pass leads to bisection below that rate.
    fn halved(self, failed: f64) -> State {
        match self {
            State::Doubling(rate) => State::Bisecting {
                low: 0.0,
                high: failed.max(rate * 2.0),
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against a system that passes up to `limit`; returns the answer and the rates measured.
    fn find(limit: f64, start: f64, ceiling: f64) -> (Option<f64>, Vec<(f64, bool)>) {
        let mut search = Search::new(start, ceiling, 0.05, 3);
        let mut steps = Vec::new();
        loop {
            match search.next() {
                Next::Measure(rate) => {
                    let pass = rate <= limit;
                    steps.push((rate, pass));
                    search.result(pass);
                }
                Next::Recover => {
                    assert!(!steps.last().expect("a failed step").1);
                    search.recovered();
                }
                Next::Found(found) => return (found, steps),
            }
            assert!(steps.len() < 100, "it ends: {steps:?}");
        }
    }

    #[test]
    fn the_answer_is_just_below_what_fails_and_was_confirmed() {
        for limit in [1_000.0, 1_500.0, 77_777.0, 650.0, 90.0] {
            let (found, steps) = find(limit, 1_000.0, 1e9);
            let found = found.expect("there is a rate");
            assert!(
                found <= limit && found >= limit * 0.90,
                "{found} of {limit}: {steps:?}"
            );
            assert!(
                steps.iter().filter(|s| s.0 == found && s.1).count() >= 3,
                "{steps:?}"
            );
            assert!(steps.iter().all(|s| s.1 || s.0 > found));
        }
    }

    #[test]
    fn a_ceiling_and_a_hopeless_system_end_the_search() {
        let (found, _) = find(1e9, 1_000.0, 5_000.0);
        assert_eq!(found, Some(5_000.0));
        let (none, steps) = find(0.0, 1_000.0, 5_000.0);
        assert_eq!(none, None, "{steps:?}");
    }

    #[test]
    fn a_confirmation_that_fails_steps_down() {
        let mut search = Search::new(100.0, 100.0, 0.05, 2);
        search.result(true);
        search.result(false);
        assert_eq!(search.next(), Next::Recover);
        search.recovered();
        assert_eq!(search.next(), Next::Measure(95.0));
        search.result(true);
        search.result(true);
        assert_eq!(search.next(), Next::Found(Some(95.0)));
    }
}
