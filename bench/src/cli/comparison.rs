//! `compare`: one workload against two endpoints, in turns, and the table of their ratios.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::compare::{Row, order, row};
use crate::report::{Raw, Report, html, text};
use crate::shell::runner::{self, Options, RunError, Target};
use crate::slo::exit;
use crate::spec::Workload;

use super::output::{append, say};
use super::workload::WorkloadArgs;
use super::{Common, Format, target};

/// Flags of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Endpoint as LABEL=HOST:PORT,...; exactly two
    #[arg(
        long = "endpoint",
        required = true,
        num_args = 1,
        value_name = "LABEL=HOST:PORT"
    )]
    endpoints: Vec<String>,
    /// Pairs of runs
    #[arg(long, default_value_t = 5, value_name = "N")]
    pairs: usize,
    /// Topic setting for one endpoint only, LABEL:NAME=VALUE; may be repeated
    #[arg(long, value_name = "LABEL:NAME=VALUE")]
    set_for: Vec<String>,
    /// Process of the broker of an endpoint, LABEL=PID; may be repeated
    #[arg(long, value_name = "LABEL=PID")]
    pid: Vec<String>,
    #[command(flatten)]
    workload: WorkloadArgs,
}

/// The result of a comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// [`crate::report::SCHEMA`].
    pub schema: u32,
    /// Name of the workload.
    pub workload: String,
    /// Label of the first.
    pub a: String,
    /// Label of the second.
    pub b: String,
    /// What an acknowledgement of the first means.
    pub a_acknowledgement: String,
    /// What an acknowledgement of the second means.
    pub b_acknowledgement: String,
    /// Status of each run, pair by pair, the first's and the second's.
    pub statuses: Vec<(String, String)>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Remarks.
    pub remarks: Vec<String>,
}

/// The figures that are compared.
fn figures(report: &Report) -> Vec<(&'static str, &'static str, Option<f64>)> {
    let l = &report.latency;
    let positive = |v: f64| (v > 0.0).then_some(v);
    vec![
        ("acknowledged", "records/s", positive(report.rates.acknowledged)),
        ("response p50", "us", l.response.p50_us),
        ("response p99", "us", l.response.p99_us),
        ("response p99.9", "us", l.response.p999_us),
        ("response p99.99", "us", l.response.p9999_us),
        ("response max", "us", l.response.max_us),
        ("service p50", "us", l.service.p50_us),
        ("service p99", "us", l.service.p99_us),
        ("e2e p50", "us", l.e2e.p50_us),
        ("e2e p99", "us", l.e2e.p99_us),
        ("e2e p99.9", "us", l.e2e.p999_us),
        ("broker CPU", "s/GiB", report.usage.broker_cpu_s_per_gib),
        ("broker memory", "MiB", report.usage.broker_rss_mib),
    ]
}

/// Makes the table from pairs of runs.
pub fn compare(name: &str, pairs: &[(Report, Report)], seed: u64) -> Comparison {
    let mut rows = Vec::new();
    let all: Vec<_> = pairs.iter().map(|(a, b)| (figures(a), figures(b))).collect();
    let count = all.first().map_or(0, |p| p.0.len());
    for i in 0..count {
        let values: Vec<_> = all.iter().map(|(a, b)| (a[i].2, b[i].2)).collect();
        if values.iter().any(|(a, b)| a.is_some() || b.is_some()) {
            rows.push(row(all[0].0[i].0, all[0].0[i].1, &values, seed));
        }
    }
    let first = pairs.first();
    let mut remarks = Vec::new();
    for (a, b) in pairs {
        for report in [a, b] {
            for reason in report.outcome.reasons.iter().chain(&report.remarks) {
                let remark = format!("{}: {reason}", report.endpoint.label);
                if !remarks.contains(&remark) {
                    remarks.push(remark);
                }
            }
        }
    }
    let text = |f: fn(&Report) -> &str, second: bool| {
        first.map_or(String::new(), |(a, b)| f(if second { b } else { a }).to_owned())
    };
    Comparison {
        schema: crate::report::SCHEMA,
        workload: name.to_owned(),
        a: text(|r| &r.endpoint.label, false),
        b: text(|r| &r.endpoint.label, true),
        a_acknowledgement: text(|r| &r.endpoint.acknowledgement, false),
        b_acknowledgement: text(|r| &r.endpoint.acknowledgement, true),
        statuses: pairs
            .iter()
            .map(|(a, b)| (a.outcome.status.clone(), b.outcome.status.clone()))
            .collect(),
        rows,
        remarks,
    }
}

/// Whether what an acknowledgement means (in the words of the runner) includes stable media.
fn durable(acknowledgement: &str) -> bool {
    acknowledgement.starts_with("on stable media") || acknowledgement.starts_with("after fsync")
}

/// A figure for people.
pub fn cell(value: Option<f64>, unit: &str) -> String {
    match (value, unit) {
        (None, _) => "-".into(),
        (Some(v), "us") => text::time(v),
        (Some(v), "records/s") => format!("{v:.0}/s"),
        (Some(v), _) => format!("{v:.1} {unit}"),
    }
}

fn ratio_cell(row: &Row) -> String {
    let interval = row
        .interval
        .map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    row.ratio.map_or("-".into(), |r| format!("{r:.2}{interval}"))
}

impl Comparison {
    /// The heading: unequal durability is said in it.
    pub fn heading(&self) -> String {
        let unequal = durable(&self.a_acknowledgement) != durable(&self.b_acknowledgement);
        format!(
            "{}: {} [{}] against {} [{}]{}",
            self.workload,
            self.a,
            self.a_acknowledgement,
            self.b,
            self.b_acknowledgement,
            if unequal {
                ": one is durable, the other is not"
            } else {
                ""
            }
        )
    }

    /// The table for people, in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "{}\n\n| | {} | {} | {}/{} |\n|-|-|-|-|\n",
            self.heading(),
            self.a,
            self.b,
            self.a,
            self.b
        );
        for row in &self.rows {
            out.push_str(&format!(
                "| {} | {} | {} | {} |\n",
                row.figure,
                cell(row.a_median, &row.unit),
                cell(row.b_median, &row.unit),
                ratio_cell(row)
            ));
        }
        let runs: Vec<String> = self.statuses.iter().map(|(a, b)| format!("{a} / {b}")).collect();
        out.push_str(&format!(
            "\nMedians of {} runs each, in turns; ratio: geometric mean over pairs, with its 95 % bootstrap interval from \
             five pairs on. Runs: {}.\n",
            self.statuses.len(),
            runs.join(", ")
        ));
        out
    }

    /// The same as an HTML fragment.
    fn html(&self) -> String {
        use crate::report::svg::escape;
        let mut out = format!(
            "<h2>{}</h2><table id=\"comparison\"><tr><th class=\"text\"></th><th>{}</th><th>{}</th><th>ratio</th></tr>",
            escape(&self.heading()),
            escape(&self.a),
            escape(&self.b)
        );
        for row in &self.rows {
            out.push_str(&format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&row.figure),
                cell(row.a_median, &row.unit),
                cell(row.b_median, &row.unit),
                ratio_cell(row)
            ));
        }
        out.push_str("</table>");
        out
    }
}

/// Runs pairs; `switch(i)` is called before each run with the endpoint's index (to pause the other broker, say).
///
/// # Errors
/// Nothing was measured.
pub fn run_pairs(
    workload: &Workload,
    targets: &[Target; 2],
    options: &Options,
    pairs: usize,
    mut switch: impl FnMut(usize),
) -> Result<Vec<[(Report, Raw); 2]>, RunError> {
    let mut all = Vec::new();
    for round in 0..pairs {
        let first = usize::from(order(round, workload.seed));
        let mut run = |index: usize| {
            switch(index);
            if !options.quiet {
                eprintln!(
                    "{}: pair {} of {pairs}, {}",
                    workload.name,
                    round + 1,
                    targets[index].label
                );
            }
            runner::run(workload, &targets[index], options)
        };
        let one = run(first)?;
        let other = run(1 - first)?;
        all.push(if first == 0 { [one, other] } else { [other, one] });
    }
    Ok(all)
}

/// Everything of `compare`.
pub fn command(common: &Common, args: &CompareArgs) -> Result<u8, RunError> {
    let usage = |why: String| RunError::Usage(why);
    let workload = args.workload.build()?;
    let options = common.options()?;
    if args.pairs == 0 {
        return Err(usage(
            "--pairs must be at least 1; 5 are needed for intervals".into(),
        ));
    }
    let mut targets = Vec::new();
    for text in &args.endpoints {
        let (label, address) = text.split_once('=').ok_or_else(|| {
            usage(format!(
                "--endpoint {text:?}: say LABEL=HOST:PORT, for example a=127.0.0.1:9092"
            ))
        })?;
        targets.push(target(label, address, &[])?);
    }
    for (list, what) in [(&args.set_for, "--set-for"), (&args.pid, "--pid")] {
        for text in list {
            let (label, rest) = text
                .split_once([':', '='])
                .ok_or_else(|| usage(format!("{what} {text:?}: a label comes first, see --help")))?;
            let place = targets
                .iter_mut()
                .find(|t| t.label == label)
                .ok_or_else(|| usage(format!("{what} {text:?}: no endpoint has the label {label:?}")))?;
            if what == "--pid" {
                let pid = rest
                    .parse()
                    .map_err(|_| usage(format!("--pid {text:?}: say LABEL=PID")))?;
                place.pids.push(pid);
            } else {
                let (name, value) = rest
                    .split_once('=')
                    .ok_or_else(|| usage(format!("--set-for {text:?}: say LABEL:NAME=VALUE")))?;
                place.topic_configs.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let targets: [Target; 2] = targets.try_into().map_err(|_| {
        usage("compare needs exactly two endpoints: --endpoint a=HOST:PORT --endpoint b=HOST:PORT".into())
    })?;
    let pairs = run_pairs(&workload, &targets, &options, args.pairs, |_| {})?;
    let reports: Vec<(Report, Report)> = pairs.iter().map(|[a, b]| (a.0.clone(), b.0.clone())).collect();
    let comparison = compare(&workload.name, &reports, workload.seed);
    let flat: Vec<(&Report, &Raw)> = pairs.iter().flatten().map(|(r, raw)| (r, raw)).collect();
    common
        .outputs
        .write_all(&comparison, &html::page(&flat, Some(&comparison.html())))?;
    match common.form() {
        Format::Text => {
            say(comparison.markdown().trim_end())?;
            for remark in &comparison.remarks {
                say(&format!("note: {remark}"))?;
            }
        }
        _ => say(&serde_json::to_string(&comparison).map_err(|e| usage(e.to_string()))?)?,
    }
    if let Some(path) = common.outputs.history() {
        for (report, _) in pairs.iter().flatten() {
            append(
                path,
                &serde_json::to_string(report).map_err(|e| usage(e.to_string()))?,
            )?;
        }
    }
    Ok(pairs
        .iter()
        .flatten()
        .map(|(r, _)| r.outcome.code)
        .fold(exit::OK, gravest))
}

/// The code that counts of two: 4, 6, 3, 5, 1, 0.
pub fn gravest(a: u8, b: u8) -> u8 {
    let order = [
        exit::USAGE,
        exit::INTEGRITY,
        exit::UNREACHABLE,
        exit::INVALID,
        exit::NOT_SUSTAINED,
        exit::MISSED,
    ];
    order.into_iter().find(|c| *c == a || *c == b).unwrap_or(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_tells_when_only_one_side_is_durable() {
        let comparison = |b: &str| Comparison {
            schema: 1,
            workload: "w".into(),
            a: "x".into(),
            b: "y".into(),
            a_acknowledgement: "on stable media, group commit (durability=disk)".into(),
            b_acknowledgement: b.into(),
            statuses: vec![],
            rows: vec![],
            remarks: vec![],
        };
        let equal = comparison("after fsync of each batch (flush.messages=1)").heading();
        assert!(!equal.contains("one is durable"), "{equal}");
        let unequal = comparison("page cache, not flushed (flush.messages unset)").heading();
        assert!(unequal.contains("one is durable"), "{unequal}");
    }

    #[test]
    fn the_gravest_code_wins() {
        assert_eq!(gravest(exit::OK, exit::MISSED), exit::MISSED);
        assert_eq!(gravest(exit::INVALID, exit::INTEGRITY), exit::INTEGRITY);
        assert_eq!(gravest(exit::NOT_SUSTAINED, exit::INVALID), exit::INVALID);
        assert_eq!(gravest(exit::OK, exit::OK), exit::OK);
    }
}
