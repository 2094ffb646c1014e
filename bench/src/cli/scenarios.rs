//! Scenarios of several runs: highest rate, curve, latency beside its floors, width, idle partitions.

use clap::Args;
use serde::Serialize;

use crate::compare::median;
use crate::report::svg::{Chart, Line, Scale};
use crate::report::{Raw, Report, text};
use crate::search::{Next, Search};
use crate::shell::admin::Admin;
use crate::shell::runner::{self, RunError};
use crate::shell::{clock, floor};
use crate::slo::exit;
use crate::spec::Workload;
use crate::{presets, report};

use super::output::{self, say};
use super::workload::WorkloadArgs;
use super::{Common, Format, comparison::gravest};

/// Flags of `find-max`.
#[derive(Debug, Args)]
pub struct FindMaxArgs {
    /// First rate that is tried, records/s
    #[arg(long, default_value_t = 1_000.0, value_name = "RATE")]
    start: f64,
    /// Highest rate that is tried
    #[arg(long, default_value_t = 10_000_000.0, value_name = "RATE")]
    ceiling: f64,
    /// Times that the answer is confirmed
    #[arg(long, default_value_t = 3, value_name = "N")]
    confirm: u32,
    #[command(flatten)]
    workload: WorkloadArgs,
}

/// Flags of `knee`.
#[derive(Debug, Args)]
pub struct KneeArgs {
    /// Rates to measure, records/s
    #[arg(long, value_delimiter = ',', required = true, value_name = "RATE,...")]
    rates: Vec<f64>,
    #[command(flatten)]
    workload: WorkloadArgs,
}

/// One rate of a curve.
#[derive(Debug, Clone, Serialize)]
struct Step {
    rate: f64,
    acknowledged: f64,
    status: String,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
}

impl Step {
    fn of(report: &Report) -> Step {
        let l = &report.latency.response;
        Step {
            rate: report.rates.asked.unwrap_or(0.0),
            acknowledged: report.rates.acknowledged,
            status: report.outcome.status.clone(),
            p50_us: l.p50_us,
            p99_us: l.p99_us,
            p999_us: l.p999_us,
        }
    }

    fn line(&self) -> String {
        let cell = |v: Option<f64>| v.map_or("-".into(), text::time);
        format!(
            "{:>10.0}/s asked {:>10.0}/s acknowledged  p50 {:>8}  p99 {:>8}  p99.9 {:>8}  {}",
            self.rate,
            self.acknowledged,
            cell(self.p50_us),
            cell(self.p99_us),
            cell(self.p999_us),
            self.status
        )
    }
}

fn curve_chart(steps: &[Step]) -> String {
    let line = |name: &str, f: fn(&Step) -> Option<f64>| Line {
        name: name.into(),
        points: steps.iter().filter_map(|s| Some((s.rate, f(s)? / 1e3))).collect(),
    };
    Chart {
        title: "Response time by rate".into(),
        x_label: "records per second asked for".into(),
        y_label: "ms".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        lines: vec![
            line("p50", |s| s.p50_us),
            line("p99", |s| s.p99_us),
            line("p99.9", |s| s.p999_us),
        ],
    }
    .svg()
}

#[derive(Serialize)]
struct Curve {
    schema: u32,
    workload: String,
    objectives: Vec<String>,
    highest: Option<f64>,
    steps: Vec<Step>,
}

fn show_curve(common: &Common, mut curve: Curve, runs: &[(Report, Raw)]) -> Result<(), RunError> {
    curve.steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let flat: Vec<(&Report, &Raw)> = runs.iter().map(|(r, raw)| (r, raw)).collect();
    common.outputs.write_all(
        &curve,
        &report::html::page(&flat, Some(&curve_chart(&curve.steps))),
    )?;
    if common.form() != Format::Text {
        return say(&serde_json::to_string(&curve).map_err(|e| RunError::Usage(e.to_string()))?);
    }
    for step in &curve.steps {
        say(&step.line())?;
    }
    Ok(())
}

/// The highest rate that meets the objectives.
pub fn find_max(common: &Common, args: &FindMaxArgs) -> Result<u8, RunError> {
    const RECOVERIES: usize = 10;
    const SPOILED: usize = 3;
    let mut workload = args.workload.build()?;
    let options = common.options()?;
    if options.slos.is_empty() {
        return Err(RunError::Usage(
            "find-max needs an objective: add for example --slo p99<10ms".into(),
        ));
    }
    if !(args.start > 0.0 && args.ceiling >= args.start) {
        return Err(RunError::Usage(
            "--start must be above 0 and --ceiling not below it".into(),
        ));
    }
    let target = common.target()?;
    let low = args.start.min(args.ceiling) / 10.0;
    let mut search = Search::new(args.start, args.ceiling, 0.05, args.confirm);
    let mut runs: Vec<(Report, Raw)> = Vec::new();
    let measure = |w: &mut Workload, rate: f64| {
        w.rate = Some(rate);
        runner::run(w, &target, &options)
    };
    let baseline = measure(&mut workload, low)?
        .0
        .latency
        .response
        .p50_us
        .unwrap_or(f64::INFINITY);
    let found = loop {
        match search.next() {
            Next::Found(found) => break found,
            Next::Measure(rate) => {
                let mut run = measure(&mut workload, rate)?;
                // A step that the generator spoiled says nothing about the broker: it is measured again.
                let mut again = SPOILED;
                while run.0.outcome.code == exit::INVALID && again > 0 {
                    again -= 1;
                    run = measure(&mut workload, rate)?;
                }
                if !common.quiet {
                    eprintln!("{}", Step::of(&run.0).line());
                }
                if matches!(run.0.outcome.code, exit::INTEGRITY | exit::INVALID) {
                    output::print(common.form(), &run.0, &run.1)?;
                    return Ok(run.0.outcome.code);
                }
                search.result(run.0.outcome.code == exit::OK);
                runs.push(run);
            }
            Next::Recover => {
                // A broker may still be writing back what it was given: measure only when it is calm again.
                for _ in 0..RECOVERIES {
                    let now = measure(&mut workload, low)?
                        .0
                        .latency
                        .response
                        .p50_us
                        .unwrap_or(f64::INFINITY);
                    if now <= baseline * 1.5 {
                        break;
                    }
                }
                search.recovered();
            }
        }
    };
    let curve = Curve {
        schema: report::SCHEMA,
        workload: workload.name.clone(),
        objectives: options.slos.iter().map(|s| s.text.clone()).collect(),
        highest: found,
        steps: runs.iter().map(|(r, _)| Step::of(r)).collect(),
    };
    show_curve(common, curve, &runs)?;
    if common.form() == Format::Text {
        say(&match found {
            Some(rate) => format!(
                "highest rate that meets {}: {rate:.0} records/s",
                common.slo.join(" and ")
            ),
            None => format!("no rate meets {}", common.slo.join(" and ")),
        })?;
    }
    Ok(if found.is_some() { exit::OK } else { exit::MISSED })
}

/// Latency at given rates.
pub fn knee(common: &Common, args: &KneeArgs) -> Result<u8, RunError> {
    let mut workload = args.workload.build()?;
    let options = common.options()?;
    let target = common.target()?;
    let mut runs = Vec::new();
    for rate in &args.rates {
        workload.rate = Some(*rate);
        workload.check().map_err(RunError::Usage)?;
        let run = runner::run(&workload, &target, &options)?;
        if !common.quiet {
            eprintln!("{}", Step::of(&run.0).line());
        }
        runs.push(run);
    }
    let highest = runs
        .iter()
        .filter(|(r, _)| r.outcome.code == exit::OK)
        .filter_map(|(r, _)| r.rates.asked)
        .fold(None, |best: Option<f64>, rate| {
            Some(best.map_or(rate, |b| b.max(rate)))
        });
    let curve = Curve {
        schema: report::SCHEMA,
        workload: workload.name.clone(),
        objectives: options.slos.iter().map(|s| s.text.clone()).collect(),
        highest,
        steps: runs.iter().map(|(r, _)| Step::of(r)).collect(),
    };
    show_curve(common, curve, &runs)?;
    // Rates beyond the knee are expected to fail; broken promises never are.
    Ok(runs
        .iter()
        .map(|(r, _)| r.outcome.code)
        .filter(|c| *c == exit::INTEGRITY)
        .fold(exit::OK, gravest))
}

/// Flags of `latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// Bytes of each record
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    size: usize,
    /// Seconds of each of five rounds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = crate::units::seconds)]
    seconds: f64,
    /// CPUs that the load thread is pinned to
    #[arg(long, value_delimiter = ',', value_name = "CPUS")]
    cpus: Vec<usize>,
}

/// One record in flight, beside a device flush and a loopback round trip, in turns.
pub fn latency(common: &Common, args: &LatencyArgs) -> Result<u8, RunError> {
    const ROUNDS: usize = 5;
    let mut workload = presets::find("ping-pong").map_err(RunError::Usage)?;
    workload.size = crate::values::Size::Fixed(args.size);
    (workload.warmup_s, workload.duration_s) = (0.5, args.seconds);
    workload.cpus.clone_from(&args.cpus);
    let mut options = common.options()?;
    let dir = options.floor_dir.take().unwrap_or_else(|| ".".into());
    options.quiet = true;
    let target = common.target()?;
    let wrong = |e: std::io::Error| {
        RunError::Usage(format!(
            "--dir {}: {e}; give a directory on the device of the broker's data",
            dir.display()
        ))
    };
    let (mut ack, mut flush, mut loopback) = (
        crate::latency::Latency::new(),
        crate::latency::Latency::new(),
        crate::latency::Latency::new(),
    );
    let mut code = exit::OK;
    // Floors and measurement take turns, so that drift of the machine hits all alike.
    for _ in 0..ROUNDS {
        flush.add(&floor::flush(&dir, 1_000).map_err(wrong)?);
        loopback.add(&floor::loopback(args.size + 200, 4_000).map_err(wrong)?);
        let (report, raw) = runner::run(&workload, &target, &options)?;
        ack.add(&raw.totals.response);
        code = gravest(code, report.outcome.code);
    }
    let ratio = |q: f64| {
        let ns = |l: &crate::latency::Latency| match l.raw_quantile(q) {
            crate::latency::Quantile::Ns(ns) => ns as f64,
            _ => f64::NAN,
        };
        ns(&ack) / (ns(&flush) + ns(&loopback))
    };
    let (a, f, l) = (ack.summary(), flush.summary(), loopback.summary());
    if common.form() == Format::Text {
        let line = |name: &str, s: &crate::latency::Summary| {
            let cell = |v: Option<f64>| v.map_or("-".into(), text::time);
            format!(
                "  {name:<16} p50 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8}  {} samples",
                cell(s.p50_us),
                cell(s.p99_us),
                cell(s.p999_us),
                cell(s.max_us),
                s.samples
            )
        };
        say(&format!(
            "one record of {} B in flight (closed loop), {ROUNDS} rounds in turns with its floors",
            args.size
        ))?;
        say(&line("acknowledgement", &a))?;
        say(&line("device flush", &f))?;
        say(&line("loopback", &l))?;
        say(&format!(
            "  acknowledgement / (flush + loopback): {:.2} at p50, {:.2} at p99",
            ratio(0.5),
            ratio(0.99)
        ))?;
    } else {
        let value = serde_json::json!({
            "schema": report::SCHEMA, "record_bytes": args.size, "acknowledgement": a, "flush": f, "loopback": l,
            "ratio_p50": ratio(0.5), "ratio_p99": ratio(0.99), "closed_loop": true,
        });
        say(&value.to_string())?;
    }
    Ok(code)
}

/// Flags of `width`.
#[derive(Debug, Args)]
pub struct WidthArgs {
    /// Numbers of partitions, the first is what the others are compared with
    #[arg(long, default_value = "1,1000", value_delimiter = ',', value_name = "N,...")]
    partitions: Vec<u32>,
    /// Records per second
    #[arg(long, default_value_t = 5_000.0, value_name = "RATE")]
    rate: f64,
    /// Seconds of each run
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = crate::units::seconds)]
    seconds: f64,
    /// Runs of each width
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// CPUs that load threads are pinned to
    #[arg(long, value_delimiter = ',', value_name = "CPUS")]
    cpus: Vec<usize>,
}

/// The same load over few partitions and over many, in turns.
pub fn width(common: &Common, args: &WidthArgs) -> Result<u8, RunError> {
    if args.partitions.len() < 2 || args.rounds == 0 {
        return Err(RunError::Usage(
            "width compares at least two numbers: --partitions 1,1000 --rounds 3".into(),
        ));
    }
    let options = common.options()?;
    let target = common.target()?;
    let mut p99: Vec<Vec<f64>> = vec![Vec::new(); args.partitions.len()];
    let mut code = exit::OK;
    for _ in 0..args.rounds {
        for (partitions, list) in args.partitions.iter().zip(&mut p99) {
            let workload = Workload {
                name: format!("{partitions} partitions"),
                topic: format!("turgo-bench-width-{partitions}"),
                partitions: *partitions,
                rate: Some(args.rate),
                duration_s: args.seconds,
                cpus: args.cpus.clone(),
                sticky: false,
                ..Workload::default()
            };
            let (report, raw) = runner::run(&workload, &target, &options)?;
            output::print(common.form(), &report, &raw)?;
            code = gravest(code, report.outcome.code);
            list.extend(report.latency.response.p99_us);
        }
    }
    let medians: Vec<Option<f64>> = p99.iter().map(|l| median(l.iter().copied())).collect();
    if common.form() == Format::Text {
        for (partitions, m) in args.partitions.iter().zip(&medians).skip(1) {
            if let (Some(m), Some(first)) = (m, medians[0]) {
                let one = args.partitions[0];
                say(&format!(
                    "median p99 of {partitions} partitions / of {one}: {:.2}",
                    m / first
                ))?;
            }
        }
    }
    Ok(code)
}

/// Flags of `partitions`.
#[derive(Debug, Args)]
pub struct PartitionsArgs {
    /// Partitions in all, 1,000 to a topic
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    count: u32,
    /// Delete the topics afterwards
    #[arg(long)]
    delete: bool,
}

/// Creates many partitions and says how long it took.
pub fn partitions(common: &Common, args: &PartitionsArgs) -> Result<u8, RunError> {
    let mut admin = Admin::open(&common.target()?.bootstrap)?;
    let begin = clock::now();
    let mut names = Vec::new();
    for number in 0..args.count.div_ceil(1_000) {
        let name = format!("turgo-bench-idle-{number}");
        let count = (args.count - number * 1_000).min(1_000);
        admin.create_topic(&name, count, -1, &Default::default())?;
        names.push((name, count));
    }
    for (name, count) in &names {
        admin.await_leaders(std::slice::from_ref(name), *count)?;
    }
    let seconds = (clock::now() - begin) as f64 / 1e9;
    if args.delete {
        for (name, _) in &names {
            admin.delete_topic(name)?;
        }
    }
    let text = format!(
        "{} partitions created, all with a leader, in {seconds:.2} s",
        args.count
    );
    let json = serde_json::json!({ "partitions": args.count, "seconds": seconds });
    say(&if common.form() == Format::Text {
        text
    } else {
        json.to_string()
    })?;
    Ok(exit::OK)
}

/// Lists the presets.
pub fn list(common: &Common) -> Result<u8, RunError> {
    for preset in presets::ALL {
        if common.form() == Format::Text {
            say(&format!("{:<20} {}", preset.name, preset.about))?;
        } else {
            let workload = presets::find(preset.name).map_err(RunError::Usage)?;
            let json =
                serde_json::json!({ "name": preset.name, "about": preset.about, "workload": workload });
            say(&json.to_string())?;
        }
    }
    Ok(exit::OK)
}
