//! One self-contained HTML file: verdict, figures, percentile curve, time series, integrity, environment.
//!
//! No external parts and no script: it can be attached to a mail and read in ten years.

use minijinja::{Environment, context};

use crate::latency::{Latency, Quantile, Summary, needed};

use super::svg::{Chart, Line, Scale};
use super::text::time;
use super::{Raw, Report};

const TEMPLATE: &str = include_str!("page.html");

fn label(report: &Report) -> String {
    let name = report
        .workload
        .get("name")
        .and_then(|n| n.as_str())
        .unwrap_or("")
        .to_owned();
    if report.endpoint.label.is_empty() {
        name
    } else {
        format!("{} {name}", report.endpoint.label)
    }
}

/// Response time over percentiles, as far as there are samples to tell.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut q: f64 = 0.0;
    while (latency.count() as f64) >= needed(q) {
        if let Quantile::Ns(ns) = latency.quantile(q) {
            points.push((1.0 / (1.0 - q), ns as f64 / 1e6));
        }
        // Twenty points for each halving of the distance to 100 %.
        q = 1.0 - (1.0 - q) * 0.5f64.powf(0.05);
    }
    points
}

/// The percentile chart of some runs.
pub fn percentile_chart(runs: &[(&Report, &Raw)]) -> String {
    let mut lines = Vec::new();
    for (report, raw) in runs {
        let prefix = if runs.len() > 1 {
            format!("{}: ", label(report))
        } else {
            String::new()
        };
        let all = [
            ("response", &raw.totals.response),
            ("service", &raw.totals.service),
            ("end to end", &raw.totals.e2e),
        ];
        let shown = if runs.len() > 1 { &all[..1] } else { &all[..] };
        for (name, latency) in shown {
            if !latency.is_empty() {
                lines.push(Line {
                    name: format!("{prefix}{name}"),
                    points: curve(latency),
                });
            }
        }
    }
    Chart {
        title: "Latency by percentile".into(),
        x_label: "percentile".into(),
        y_label: "ms".into(),
        x_scale: Scale::Percentile,
        y_scale: Scale::Log,
        lines,
    }
    .svg()
}

/// What a line of a series shows of an interval.
type Pick<'a> = &'a dyn Fn(&super::Interval) -> Option<f64>;

fn series(report: &Report, title: &str, unit: &str, scale: Scale, lines: &[(&str, Pick<'_>)]) -> String {
    let lines = lines
        .iter()
        .map(|(name, f)| Line {
            name: (*name).to_owned(),
            points: report
                .intervals
                .iter()
                .filter_map(|i| Some((i.at_s, f(i)?)))
                .collect(),
        })
        .filter(|l| l.points.iter().any(|p| p.1 > 0.0))
        .collect();
    Chart {
        title: title.to_owned(),
        x_label: "seconds since the start".into(),
        y_label: unit.to_owned(),
        x_scale: Scale::Linear,
        y_scale: scale,
        lines,
    }
    .svg()
}

fn row(name: &str, about: &str, s: &Summary) -> Option<minijinja::Value> {
    let cell = |v: Option<f64>| v.map_or("–".to_owned(), time);
    (s.samples > 0).then(|| {
        context! {
            name, about,
            cells => [cell(s.p50_us), cell(s.p99_us), cell(s.p999_us), cell(s.p9999_us), cell(s.max_us)],
            samples => s.samples,
            beyond => s.beyond_60_s,
            negative => s.negative,
        }
    })
}

fn run_context(report: &Report, raw: &Raw) -> minijinja::Value {
    let l = &report.latency;
    let rows: Vec<minijinja::Value> = [
        row(
            "response",
            "acknowledged - intended: what a client feels",
            &l.response,
        ),
        row("service", "acknowledged - sent: network and broker", &l.service),
        row("slip", "sent - intended", &l.slip),
        row(
            "lateness",
            "enqueued - intended: the generator's own error",
            &l.lateness,
        ),
        row(
            "wait",
            "sent - enqueued: linger, in-flight limit, socket",
            &l.wait,
        ),
        row("end to end", "read - intended", &l.e2e),
        row("commit", "EndTxn", &l.commit),
        row("connect", "opening a connection", &l.connect),
    ]
    .into_iter()
    .flatten()
    .chain(
        report
            .floor
            .flush_before
            .as_ref()
            .and_then(|f| row("flush", "durable write of 4 KiB, before the run", f)),
    )
    .chain(
        report
            .floor
            .flush_after
            .as_ref()
            .and_then(|f| row("flush", "the same after it", f)),
    )
    .chain(
        report
            .floor
            .loopback
            .as_ref()
            .and_then(|f| row("loopback", "round trip over loopback", f)),
    )
    .collect();
    let ms = |us: Option<f64>| us.map(|us| us / 1e3);
    let latency = series(
        report,
        "Response time by second",
        "ms",
        Scale::Log,
        &[
            ("p50", &|i| ms(i.response_p50_us)),
            ("p99", &|i| ms(i.response_p99_us)),
            ("p99.9", &|i| ms(i.response_p999_us)),
            ("max", &|i| ms(i.response_max_us)),
            ("lateness max", &|i| ms(i.lateness_max_us)),
            ("e2e p99", &|i| ms(i.e2e_p99_us)),
        ],
    );
    let throughput = series(
        report,
        "Throughput by interval",
        "MiB / records",
        Scale::Linear,
        &[
            ("due", &|i| Some(i.due as f64)),
            ("acknowledged", &|i| Some(i.acknowledged as f64)),
            ("read", &|i| Some(i.consumed as f64)),
        ],
    );
    context! {
        label => label(report),
        endpoint => report.endpoint,
        outcome => report.outcome,
        command => report.command,
        rates => report.rates,
        counts => report.counts,
        closed => report.closed_loop,
        seconds => report.seconds,
        rows,
        latency_chart => latency,
        throughput_chart => throughput,
        percentiles => percentile_chart(&[(report, raw)]),
        integrity => report.integrity,
        pacing => report.pacing,
        usage => report.usage,
        stages => report.stages.iter().map(|(n, s)| context! { name => n, mean => time(s.mean_us), count => s.count }).collect::<Vec<_>>(),
        remarks => report.remarks,
        drain => report.drain,
        workload => serde_json::to_string_pretty(&report.workload).unwrap_or_default(),
        facts => report.environment.facts,
    }
}

/// The page for some runs; `extra` is HTML shown first (a comparison's table), made by this crate.
pub fn page(runs: &[(&Report, &Raw)], extra: Option<&str>) -> String {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    let together = (runs.len() > 1).then(|| percentile_chart(runs));
    let values: Vec<minijinja::Value> = runs
        .iter()
        .map(|(report, raw)| run_context(report, raw))
        .collect();
    let title = runs.first().map_or("turgo bench".to_owned(), |(r, _)| {
        format!("turgo bench: {}", label(r))
    });
    env.render_str(TEMPLATE, context! { title, runs => values, together, extra })
        .unwrap_or_else(|error| format!("<!doctype html><title>turgo bench</title><p>template: {error}</p>"))
}

#[cfg(test)]
mod tests;
