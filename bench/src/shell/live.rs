//! What a person sees while a run goes on: a few lines that change on a terminal, one line for each interval elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::latency::{Quantile, Sparse};
use crate::stats::{Part, Span};

use super::phase::Observer;
use super::watch::Watch;

/// Shows a phase on stderr and watches the machine meanwhile.
pub struct Live {
    name: String,
    bars: Option<Bars>,
    quiet: bool,
    shown: u32,
    /// The machine.
    pub watch: Watch,
}

struct Bars {
    progress: ProgressBar,
    rates: ProgressBar,
    times: ProgressBar,
    _all: MultiProgress,
}

impl Live {
    /// `quiet`: show nothing.
    pub fn new(name: &str, quiet: bool, brokers: &[u32]) -> Live {
        Live {
            name: name.to_owned(),
            bars: None,
            quiet,
            shown: 0,
            watch: Watch::new(brokers),
        }
    }

    fn open(&mut self, span: &Span) {
        if self.bars.is_some() || self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let all = MultiProgress::new();
        let line = |style: &str, length: u64| {
            let bar = all.add(ProgressBar::new(length));
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        };
        let seconds = (span.end - span.start) / 1_000_000_000;
        self.bars = Some(Bars {
            progress: line("{prefix:.bold} [{bar:40}] {pos}/{len} s {msg}", seconds),
            rates: line("  {msg}", 0),
            times: line("  {msg}", 0),
            _all: all,
        });
    }

    /// Removes what is shown.
    pub fn close(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.progress.finish_and_clear();
            bars.rates.finish_and_clear();
            bars.times.finish_and_clear();
        }
    }
}

fn ms(l: &Sparse, q: f64) -> String {
    match l.raw_quantile(q) {
        Quantile::Ns(ns) => format!("{:.2}", ns as f64 / 1e6),
        Quantile::Beyond => ">60000".into(),
        Quantile::Unknown => "-".into(),
    }
}

/// The line of one interval.
pub fn line(at: u32, interval: u64, part: &Part, warmup: bool, backlog: u64) -> String {
    let per_second = 1e9 / interval as f64;
    let max = match part.lateness.max() {
        Quantile::Ns(ns) => format!("{:.2}", ns as f64 / 1e6),
        _ => "-".into(),
    };
    let mut text = format!(
        "{:>5.0} s{} acked {:.0}/s ({:.1} MiB/s) of {:.0}/s due, open {backlog}, response ms p50 {} p99 {} p99.9 {} max {}, late {max}",
        f64::from(at + 1) * interval as f64 / 1e9,
        if warmup { " (warm-up)" } else { "" },
        part.acked as f64 * per_second,
        part.acked_bytes as f64 * per_second / f64::from(1 << 20),
        part.due as f64 * per_second,
        ms(&part.response, 0.5),
        ms(&part.response, 0.99),
        ms(&part.response, 0.999),
        ms(&part.response, 1.0),
    );
    if part.consumed > 0 {
        text.push_str(&format!(
            "; read {:.0}/s, e2e p50 {} p99 {}",
            part.consumed as f64 * per_second,
            ms(&part.e2e, 0.5),
            ms(&part.e2e, 0.99)
        ));
    }
    if part.caught_up_bytes > 0 {
        text.push_str(&format!(
            "; catch-up {:.1} MiB/s",
            part.caught_up_bytes as f64 * per_second / f64::from(1 << 20)
        ));
    }
    if part.errors > 0 {
        text.push_str(&format!("; {} errors", part.errors));
    }
    text
}

impl Observer for Live {
    fn look(&mut self, now: u64, span: &Span, parts: &BTreeMap<u32, Part>) {
        if now < span.start {
            return;
        }
        let index = ((now - span.start) / span.interval) as u32;
        self.watch.look(index, now >= span.begin && now < span.end);
        if self.quiet {
            return;
        }
        self.open(span);
        // Counts arrive with a delay of half a second: the interval before the last is complete but for slow answers.
        while self.shown + 1 < index {
            let at = self.shown;
            self.shown += 1;
            let Some(part) = parts.get(&at) else { continue };
            let (due, acked) = parts
                .range(..=at)
                .fold((0, 0), |s, (_, p)| (s.0 + p.due, s.1 + p.acked));
            let warmup = span.start + u64::from(at) * span.interval < span.begin;
            let text = line(at, span.interval, part, warmup, due.saturating_sub(acked));
            match &self.bars {
                None => eprintln!("{text}"),
                Some(bars) => {
                    bars.progress.set_prefix(self.name.clone());
                    bars.progress.set_position((now - span.start) / 1_000_000_000);
                    bars.progress
                        .set_message(if warmup { "warm-up" } else { "measuring" });
                    let (rates, times) = text.split_once(", response").unwrap_or((&text, ""));
                    bars.rates.set_message(rates.trim().to_owned());
                    bars.times.set_message(format!("response{times}"));
                }
            }
        }
    }
}
