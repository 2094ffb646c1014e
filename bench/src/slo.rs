//! Service level objectives, and the verdict over a run with its exit code.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::integrity::Verdict;
use crate::latency::{Latency, Quantile, needed};
use crate::stats::Totals;

/// Exit codes of `turgo bench`.
pub mod exit {
    /// Valid, all objectives met.
    pub const OK: u8 = 0;
    /// An objective was missed.
    pub const MISSED: u8 = 1;
    /// Usage or configuration error; nothing was measured.
    pub const USAGE: u8 = 2;
    /// The generator was late, the machine disturbed, or samples too few for an objective.
    pub const INVALID: u8 = 3;
    /// Records lost, repeated, reordered or corrupt against what was promised.
    pub const INTEGRITY: u8 = 4;
    /// The rate asked for was not reached.
    pub const NOT_SUSTAINED: u8 = 5;
    /// The endpoint was unreachable, refused, or was lost.
    pub const UNREACHABLE: u8 = 6;
}

/// Which latency an objective is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Acknowledged - intended.
    Response,
    /// Acknowledged - sent.
    Service,
    /// Read - intended.
    E2e,
    /// EndTxn.
    Commit,
}

/// `[METRIC.]pQ<TIME` or `[METRIC.]max<TIME`.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// As typed.
    pub text: String,
    /// About what.
    pub metric: Metric,
    /// Quantile in 0..1; `None`: the largest value.
    pub quantile: Option<f64>,
    /// At most, ns.
    pub limit: u64,
}

impl Slo {
    /// Reads `p99<10ms`, `p99.9=5ms`, `e2e.p99<20ms`, `max<1s`.
    ///
    /// # Errors
    /// What to say instead.
    pub fn parse(text: &str) -> Result<Slo, String> {
        let wrong = |why: &str| {
            format!("objective {text:?}: {why}; say for example p99<10ms, p99.9<5ms, e2e.p99<20ms or max<1s")
        };
        let at = text
            .find(['<', '='])
            .ok_or_else(|| wrong("there is no < in it"))?;
        let (what, limit) = (text[..at].trim(), text[at + 1..].trim_start_matches('=').trim());
        let (metric, figure) = what.rsplit_once('.').map_or(("response", what), |(m, f)| {
            // p99.9 has a dot of its own.
            if m.starts_with('p') && m[1..].parse::<f64>().is_ok() {
                ("response", what)
            } else {
                (m, f)
            }
        });
        let (metric, figure) = match what.split_once('.') {
            Some((m, f)) if m.chars().next().is_some_and(|c| c != 'p') => (m, f),
            _ => (metric, figure),
        };
        let metric = match metric {
            "response" => Metric::Response,
            "service" => Metric::Service,
            "e2e" => Metric::E2e,
            "commit" => Metric::Commit,
            _ => return Err(wrong("the metric is response, service, e2e or commit")),
        };
        let quantile = match figure {
            "max" => None,
            _ => {
                let percent: f64 = figure
                    .strip_prefix('p')
                    .and_then(|p| p.parse().ok())
                    .filter(|p| (0.0..100.0).contains(p))
                    .ok_or_else(|| wrong("the figure is p50, p99, p99.9 and so on, or max"))?;
                Some(percent / 100.0)
            }
        };
        let limit =
            duration(limit).ok_or_else(|| wrong("the limit is a time such as 800us, 10ms or 1.5s"))?;
        Ok(Slo {
            text: text.to_owned(),
            metric,
            quantile,
            limit: limit.as_nanos() as u64,
        })
    }

    /// Whether `totals` meet it.
    pub fn judge(&self, totals: &Totals) -> SloResult {
        let latency: &Latency = match self.metric {
            Metric::Response => &totals.response,
            Metric::Service => &totals.service,
            Metric::E2e => &totals.e2e,
            Metric::Commit => &totals.commit,
        };
        let value = match self.quantile {
            Some(q) => latency.quantile(q),
            None => latency.max(),
        };
        let (state, us) = match value {
            Quantile::Ns(ns) => (
                if ns <= self.limit {
                    SloState::Met
                } else {
                    SloState::Missed
                },
                Some(ns as f64 / 1e3),
            ),
            Quantile::Beyond => (SloState::Missed, None),
            Quantile::Unknown => (SloState::TooFewSamples, None),
        };
        SloResult {
            slo: self.text.clone(),
            limit_us: self.limit as f64 / 1e3,
            value_us: us,
            samples: latency.count(),
            samples_needed: self.quantile.map_or(1, |q| needed(q) as u64),
            state,
        }
    }
}

/// Reads `10ms`, `1.5s`, `800us`, `5000ns`, `2m`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..at].parse().ok()?;
    let unit = match text[at..].trim() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number * unit;
    (seconds.is_finite() && seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
}

/// How an objective ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloState {
    /// At or below the limit.
    Met,
    /// Above it.
    Missed,
    /// Not to be told.
    TooFewSamples,
}

/// One objective's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloResult {
    /// As typed.
    pub slo: String,
    /// Limit, us.
    pub limit_us: f64,
    /// Measured, us; absent when not told.
    pub value_us: Option<f64>,
    /// Samples.
    pub samples: u64,
    /// Samples it takes to tell.
    pub samples_needed: u64,
    /// How it ended.
    pub state: SloState,
}

/// The verdict over a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `OK`, `SLO MISSED`, `INVALID`, `INTEGRITY VIOLATED` or `NOT SUSTAINED`.
    pub status: String,
    /// Exit code.
    pub code: u8,
    /// Why it is not `OK`.
    pub reasons: Vec<String>,
    /// Objectives.
    pub slos: Vec<SloResult>,
}

/// What the verdict is made from.
pub struct Evidence<'a> {
    /// The measured span.
    pub totals: &'a Totals,
    /// Integrity.
    pub integrity: &'a Verdict,
    /// Records per second asked for; `None` in a closed loop.
    pub asked: Option<f64>,
    /// Length of the measured span, s.
    pub seconds: f64,
    /// The last answer came this long after the end, s.
    pub late_s: f64,
    /// Objectives.
    pub slos: &'a [Slo],
    /// Signs of disturbance that count, as sentences.
    pub disturbed: &'a [String],
    /// What was still awaited when time was up.
    pub waiting: &'a [String],
}

/// Of the response time's p99.9, the generator's own lateness may be this share.
const LATENESS_SHARE: f64 = 0.1;
/// Of the rate asked for, this share must be reached.
const SUSTAINED: f64 = 0.99;
/// A queue that is gone this long after the end was not growing, s.
const GRACE_S: f64 = 1.0;

/// Judges a run: integrity before validity before rate before objectives.
pub fn judge(e: &Evidence<'_>) -> Outcome {
    let mut found: Vec<(u8, String)> = Vec::new();
    for group in &e.integrity.groups {
        for violation in &group.violations {
            found.push((exit::INTEGRITY, format!("{}: {violation}", group.group)));
        }
    }
    if let Some(late) = lateness(e.totals).filter(|_| e.asked.is_some()) {
        found.push((exit::INVALID, late));
    }
    found.extend(e.disturbed.iter().map(|d| (exit::INVALID, d.clone())));
    if e.integrity.checked && !e.integrity.complete && !e.integrity.violated() {
        found.push((
            exit::INVALID,
            format!("not everything was read back in time: {}", e.waiting.join("; ")),
        ));
    }
    if let Some(asked) = e.asked {
        // Answers to the last records come after the end, by about a response time; a stall just before it may add to
        // that. What takes longer is a queue that grew all the time.
        let usual = match e.totals.response.raw_quantile(0.5) {
            Quantile::Ns(ns) => ns as f64 / 1e9,
            Quantile::Beyond | Quantile::Unknown => 0.0,
        };
        let allowed = usual + GRACE_S.max((1.0 - SUSTAINED) * e.seconds);
        if e.late_s > allowed {
            found.push((
                exit::NOT_SUSTAINED,
                format!(
                    "{:.0} records/s acknowledged of {asked:.0} asked: the last answer came {:.1} s after the end",
                    e.totals.acked_within as f64 / e.seconds,
                    e.late_s
                ),
            ));
        }
    }
    if e.totals.unanswered > 0 {
        found.push((
            exit::NOT_SUSTAINED,
            format!(
                "{} records had no answer at the end; they count at their age",
                e.totals.unanswered
            ),
        ));
    }
    if e.totals.failed > 0 {
        found.push((
            exit::NOT_SUSTAINED,
            format!("{} records were refused", e.totals.failed),
        ));
    }
    let slos: Vec<SloResult> = e.slos.iter().map(|slo| slo.judge(e.totals)).collect();
    for result in &slos {
        match result.state {
            SloState::Met => {}
            SloState::Missed => {
                let value = result
                    .value_us
                    .map_or("more than 60 s".into(), |us| format!("{us:.0} us"));
                found.push((exit::MISSED, format!("{}: measured {value}", result.slo)));
            }
            SloState::TooFewSamples => found.push((
                exit::INVALID,
                format!(
                    "{}: {} samples, {} needed; measure longer or at a higher rate",
                    result.slo, result.samples, result.samples_needed
                ),
            )),
        }
    }
    let code = [exit::INTEGRITY, exit::INVALID, exit::NOT_SUSTAINED, exit::MISSED]
        .into_iter()
        .find(|code| found.iter().any(|(c, _)| c == code))
        .unwrap_or(exit::OK);
    Outcome {
        status: status(code).to_owned(),
        code,
        reasons: found.into_iter().map(|(_, why)| why).collect(),
        slos,
    }
}

/// The word for a code.
pub fn status(code: u8) -> &'static str {
    match code {
        exit::OK => "OK",
        exit::MISSED => "SLO MISSED",
        exit::INVALID => "INVALID",
        exit::INTEGRITY => "INTEGRITY VIOLATED",
        exit::NOT_SUSTAINED => "NOT SUSTAINED",
        exit::UNREACHABLE => "UNREACHABLE",
        _ => "USAGE",
    }
}

/// Why the generator was too late, if it was.
fn lateness(totals: &Totals) -> Option<String> {
    let (late, response) = (
        totals.lateness.raw_quantile(0.999),
        totals.response.raw_quantile(0.999),
    );
    match (late, response) {
        (Quantile::Ns(late), Quantile::Ns(response)) if late as f64 > LATENESS_SHARE * response as f64 => {
            Some(format!(
                "the generator fell behind its schedule: lateness p99.9 {:.0} us is more than {:.0} % of response p99.9 {:.0} us; \
             lower the rate, give it CPUs of its own (--cpus) or more threads (--threads)",
                late as f64 / 1e3,
                LATENESS_SHARE * 100.0,
                response as f64 / 1e3
            ))
        }
        (Quantile::Beyond, Quantile::Ns(_)) => Some("the generator was more than 60 s late".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::GroupVerdict;
    use crate::stats::{Recorder, Span, Times};

    const SPAN: Span = Span {
        start: 0,
        begin: 0,
        end: 10_000_000_000,
        interval: 1_000_000_000,
    };

    /// 10,000 records at 1,000/s with this lateness and response, ns.
    fn totals(late: u64, response: u64) -> Totals {
        let mut r = Recorder::new(SPAN);
        for i in 0..10_000u64 {
            let due = i * 1_000_000;
            r.due(due, due + late, 1);
            r.acked(
                Times {
                    intended: due,
                    enqueued: due + late,
                    sent: due + late,
                    acked: due + response,
                },
                1,
                1,
            );
        }
        r.totals
    }

    fn outcome(totals: &Totals, integrity: &Verdict, slos: &[Slo], asked: Option<f64>) -> Outcome {
        late_outcome(totals, integrity, slos, asked, 0.5)
    }

    fn late_outcome(
        totals: &Totals,
        integrity: &Verdict,
        slos: &[Slo],
        asked: Option<f64>,
        late_s: f64,
    ) -> Outcome {
        judge(&Evidence {
            totals,
            integrity,
            asked,
            seconds: 10.0,
            late_s,
            slos,
            disturbed: &[],
            waiting: &[],
        })
    }

    #[test]
    fn objectives_read_as_people_write_them() {
        let slo = Slo::parse("p99<10ms").expect("valid");
        assert_eq!(
            (slo.metric, slo.quantile, slo.limit),
            (Metric::Response, Some(0.99), 10_000_000)
        );
        let slo = Slo::parse("p99.9=5ms").expect("valid");
        assert_eq!((slo.metric, slo.limit), (Metric::Response, 5_000_000));
        assert!((slo.quantile.expect("a quantile") - 0.999).abs() < 1e-12);
        let slo = Slo::parse("e2e.p99.9 <= 1.5s").expect("valid");
        assert_eq!((slo.metric, slo.limit), (Metric::E2e, 1_500_000_000));
        let slo = Slo::parse("service.max<800us").expect("valid");
        assert_eq!(
            (slo.metric, slo.quantile, slo.limit),
            (Metric::Service, None, 800_000)
        );
        for wrong in [
            "p99",
            "p100<1ms",
            "q99<1ms",
            "p99<1",
            "p99<1parsec",
            "foo.p99<1ms",
            "<1ms",
            "p99<",
        ] {
            let error = Slo::parse(wrong).expect_err(wrong);
            assert!(error.contains("say for example"), "{error}");
        }
    }

    #[test]
    fn a_late_generator_is_invalid_and_a_slow_broker_is_not() {
        let clean = Verdict::default();
        assert_eq!(
            outcome(&totals(1_000, 1_000_000), &clean, &[], Some(1000.0)).code,
            exit::OK
        );
        let late = outcome(&totals(200_000, 1_000_000), &clean, &[], Some(1000.0));
        assert_eq!((late.code, late.status.as_str()), (exit::INVALID, "INVALID"));
        assert_eq!(
            outcome(&totals(1_000, 900_000_000), &clean, &[], Some(1000.0)).code,
            exit::OK
        );
        assert_eq!(
            outcome(&totals(200_000, 1_000_000), &clean, &[], None).code,
            exit::OK,
            "no schedule, no lateness"
        );
    }

    #[test]
    fn each_finding_has_its_code_and_the_gravest_wins() {
        let clean = Verdict::default();
        let t = totals(1_000, 1_000_000);
        let slo = |text: &str| vec![Slo::parse(text).expect("valid")];
        assert_eq!(outcome(&t, &clean, &slo("p99<2ms"), Some(1000.0)).code, exit::OK);
        assert_eq!(
            outcome(&t, &clean, &slo("p99<0.5ms"), Some(1000.0)).code,
            exit::MISSED
        );
        assert_eq!(
            outcome(&t, &clean, &slo("p99.99<2ms"), Some(1000.0)).code,
            exit::INVALID,
            "100,000 samples needed"
        );
        let slow = late_outcome(&t, &clean, &slo("p99<0.5ms"), Some(1000.0), 1.5);
        assert_eq!((slow.code, slow.reasons.len()), (exit::NOT_SUSTAINED, 2));
        let lost = Verdict {
            checked: true,
            complete: true,
            groups: vec![GroupVerdict {
                violations: vec!["3 lost".into()],
                ..GroupVerdict::default()
            }],
            ..Verdict::default()
        };
        let all = outcome(
            &totals(500_000, 1_000_000),
            &lost,
            &slo("p99<0.5ms"),
            Some(1000.0),
        );
        assert_eq!((all.code, all.reasons.len()), (exit::INTEGRITY, 3));
    }

    #[test]
    fn times_read_with_their_units() {
        assert_eq!(duration("10ms"), Some(Duration::from_millis(10)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(
            (duration("10"), duration("ms"), duration("1 y")),
            (None, None, None)
        );
    }
}
