//! `versus-kafka`: starts Apache Kafka and Turgo on this machine and compares them, by our tool and by Kafka's own.
//!
//! Three contestants meet in every round, in shuffled order: Turgo (durable), Kafka made to flush each batch, and Kafka
//! as it comes. Both brokers run on the same CPUs, the generator on others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;

use crate::report::{Raw, Report, html};
use crate::schedule::Shape;
use crate::shell::admin::Admin;
use crate::shell::env::Environment;
use crate::shell::kafka::{Broker, Release, VERSION, java, spawn_on};
use crate::shell::runner::{self, Options, RunError, Target};
use crate::shell::{clock, floor};
use crate::slo::exit;
use crate::spec::Workload;
use crate::values::Size;

use super::comparison::{Comparison, compare, gravest};
use super::output::{append, say};
use super::{Common, Format, target};

/// Flags of `versus-kafka`.
#[derive(Debug, Args)]
pub struct VersusArgs {
    /// All scenarios, five rounds (about 45 minutes) instead of four scenarios in one (about 4 minutes)
    #[arg(long)]
    full: bool,
    /// Rounds; intervals need five
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds of each run
    #[arg(long, value_name = "SECONDS", value_parser = crate::units::seconds)]
    seconds: Option<f64>,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Directory for the data of both brokers, on the device to be measured; made if missing, emptied of what was made
    #[arg(long, default_value = "turgo-versus-kafka", value_name = "DIR")]
    data: PathBuf,
    /// CPUs of the brokers; the first half by default
    #[arg(long, value_delimiter = ',', value_name = "CPUS")]
    broker_cpus: Vec<usize>,
    /// CPUs of the generator; the rest by default
    #[arg(long, value_delimiter = ',', value_name = "CPUS")]
    client_cpus: Vec<usize>,
    /// First of four ports on loopback
    #[arg(long, default_value_t = 29_471, value_name = "PORT")]
    port: u16,
    /// Heap of Kafka
    #[arg(long, default_value = "1g", value_name = "SIZE")]
    heap: String,
    /// Leave Kafka's own tools out
    #[arg(long)]
    no_tools: bool,
    /// Write the results into this file, between the lines `<!-- versus kafka -->` and `<!-- end of versus kafka -->`
    #[arg(long, value_name = "FILE")]
    docs: Option<PathBuf>,
}

const BEGIN: &str = "<!-- versus kafka -->\n";
const END: &str = "<!-- end of versus kafka -->\n";
const LABELS: [&str; 3] = ["turgo", "kafka flush.messages=1", "kafka defaults"];

fn scenarios(full: bool, seconds: f64) -> Vec<Workload> {
    let base = |name: &str| Workload {
        name: name.to_owned(),
        topic: "versus".into(),
        replication: 1,
        size: Size::Fixed(1024),
        warmup_s: 3.0,
        duration_s: seconds,
        drain_s: 60.0,
        ..Workload::default()
    };
    let steady = |name: &str, rate: f64, linger_us: u64| Workload {
        partitions: 16,
        producers: 2,
        groups: 1,
        consumers: 1,
        rate: Some(rate),
        linger_us,
        ..base(name)
    };
    let mut list = vec![
        Workload {
            rate: None,
            shape: Shape::Closed,
            in_flight: 1,
            batch_records: 1,
            ..base("one in flight (closed loop)")
        },
        steady("5,000/s, 16 partitions, linger 0", 5_000.0, 0),
        steady("10,000/s, 16 partitions, linger 5 ms", 10_000.0, 5_000),
        Workload {
            rate: None,
            shape: Shape::Closed,
            producers: 1,
            partitions: 16,
            ..base("as fast as answers allow, 16 partitions (closed loop)")
        },
    ];
    if full {
        list.push(steady("50,000/s, 16 partitions, linger 5 ms", 50_000.0, 5_000));
        list.push(Workload {
            partitions: 1_000,
            sticky: false,
            ..Workload {
                groups: 0,
                ..steady("5,000/s over 1,000 partitions, linger 0", 5_000.0, 0)
            }
        });
        list.push(Workload {
            backlog_bytes: 1 << 30,
            catch_up: 1,
            ..steady("10,000/s beside a reader of old data", 10_000.0, 5_000)
        });
    }
    list
}

struct Contest<'a> {
    targets: [Target; 3],
    options: Options,
    release: &'a Release,
    client_cpus: Vec<usize>,
}

/// Everything of `versus-kafka`.
pub fn command(common: &Common, args: &VersusArgs) -> Result<u8, RunError> {
    let usage = RunError::Usage;
    let rounds = args.rounds.unwrap_or(if args.full { 5 } else { 1 });
    let seconds = args.seconds.unwrap_or(if args.full { 20.0 } else { 8.0 });
    let mut options = common.options()?;
    options.floor_dir = None;
    if let Some(path) = &args.docs {
        place_of(path)?;
    }
    let (broker_cpus, client_cpus) = split(args)?;
    let release = Release::fetch().map_err(usage)?;
    let program = std::env::current_exe().map_err(|e| usage(format!("this program's own path: {e}")))?;
    let data = args.data.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&data).map_err(|e| {
        usage(format!(
            "--data {}: {e}; give a directory that this user may write",
            args.data.display()
        ))
    })?;
    let _clean = Clean(data.clone());
    let floor_before = flush(&data)?;
    let metrics = format!("127.0.0.1:{}", args.port + 3);
    let turgo =
        Broker::turgo(&program, &data.join("turgo"), args.port, &metrics, &broker_cpus).map_err(usage)?;
    let kafka = Broker::kafka(
        &release,
        &data.join("kafka"),
        args.port + 1,
        &args.heap,
        &broker_cpus,
    )
    .map_err(usage)?;
    let at = |label: &str, broker: &Broker| target(label, &broker.address, &[broker.pid()]);
    let mut targets = [
        at(LABELS[0], &turgo)?,
        at(LABELS[1], &kafka)?,
        at(LABELS[2], &kafka)?,
    ];
    targets[0].metrics = Some(metrics);
    targets[1]
        .topic_configs
        .insert("flush.messages".into(), "1".into());
    let contest = Contest {
        targets,
        options,
        release: &release,
        client_cpus,
    };

    contest.warm_up()?;
    let mut scenarios = scenarios(args.full, seconds);
    if let Some(only) = &args.only {
        scenarios.retain(|s| s.name.contains(only.as_str()));
        if scenarios.is_empty() {
            return Err(usage(format!("no scenario's name contains {only:?}")));
        }
    }
    let mut comparisons = Vec::new();
    let mut all: Vec<(Report, Raw)> = Vec::new();
    for scenario in &scenarios {
        let runs = contest.rounds(scenario, rounds)?;
        for rival in [1, 2] {
            let pairs: Vec<(Report, Report)> = runs
                .iter()
                .map(|r| (r[0].0.clone(), r[rival].0.clone()))
                .collect();
            comparisons.push(compare(&scenario.name, &pairs, scenario.seed));
        }
        all.extend(runs.into_iter().flatten());
    }
    let tools = if args.no_tools {
        Vec::new()
    } else {
        contest.tools(args.full)?
    };
    let conditions = conditions(
        &floor_before,
        &flush(&data)?,
        &data,
        &broker_cpus,
        &contest.client_cpus,
        args,
        rounds,
        seconds,
    );
    drop((turgo, kafka));

    let text = markdown(&conditions, &comparisons, &tools);
    if let Some(path) = &args.docs {
        put(path, &text)?;
    }
    let flat: Vec<(&Report, &Raw)> = all.iter().map(|(r, raw)| (r, raw)).collect();
    common
        .outputs
        .write_all(&comparisons, &html::page(&flat, Some(&as_html(&text))))?;
    if let Some(path) = common.outputs.history() {
        for (report, _) in &all {
            append(
                path,
                &serde_json::to_string(report).map_err(|e| usage(e.to_string()))?,
            )?;
        }
    }
    if common.form() == Format::Text {
        say(&text)?;
    } else {
        say(&serde_json::to_string(&comparisons).map_err(|e| usage(e.to_string()))?)?;
    }
    // A rival that does not keep up is a result; broken promises, of either, are not.
    let broken = |code: &u8| *code == exit::INTEGRITY;
    Ok(all
        .iter()
        .map(|(r, _)| r.outcome.code)
        .filter(broken)
        .fold(exit::OK, gravest))
}

/// Removes the data of a run.
struct Clean(PathBuf);

impl Drop for Clean {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // The directory above only if it holds nothing else.
        if let Some(parent) = self.0.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }
}

fn split(args: &VersusArgs) -> Result<(Vec<usize>, Vec<usize>), RunError> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|e| RunError::Usage(format!("CPUs of this process: {e}")))?;
    let allowed: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect();
    let half = allowed.len().div_ceil(2);
    let or = |given: &Vec<usize>, other: &[usize]| {
        if given.is_empty() {
            other.to_vec()
        } else {
            given.clone()
        }
    };
    let brokers = or(&args.broker_cpus, &allowed[..half]);
    let clients = or(
        &args.client_cpus,
        if allowed.len() > 1 {
            &allowed[half..]
        } else {
            &allowed
        },
    );
    for cpu in brokers.iter().chain(&clients) {
        if !allowed.contains(cpu) {
            return Err(RunError::Usage(format!(
                "CPU {cpu} is not among those of this process: {allowed:?}"
            )));
        }
    }
    Ok((brokers, clients))
}

fn flush(dir: &Path) -> Result<crate::latency::Summary, RunError> {
    floor::flush(dir, 2_000).map(|l| l.summary()).map_err(|e| {
        RunError::Usage(format!(
            "--data {}: {e}; its filesystem must take direct writes",
            dir.display()
        ))
    })
}

/// Lets the kernel write what the run before left in the page cache: a broker that defers its writes would otherwise
/// have them done, half a minute later, in somebody else's run.
fn settle() {
    rustix::fs::sync();
}

impl Contest<'_> {
    fn on_cpus(&self, workload: &Workload) -> Workload {
        Workload {
            cpus: self.client_cpus.clone(),
            ..workload.clone()
        }
    }

    /// Java is slow at first: both get the same load before anything counts.
    fn warm_up(&self) -> Result<(), RunError> {
        let mut workload = scenarios(false, 6.0).remove(3);
        workload.name = "warming up".into();
        workload.verify = false;
        for target in &self.targets {
            runner::run(&self.on_cpus(&workload), target, &self.options)?;
        }
        Ok(())
    }

    fn rounds(&self, scenario: &Workload, rounds: usize) -> Result<Vec<[(Report, Raw); 3]>, RunError> {
        let workload = self.on_cpus(scenario);
        let mut all = Vec::new();
        for round in 0..rounds {
            let mut order = [0, 1, 2];
            fastrand::Rng::with_seed(scenario.seed ^ (round as u64 + 1)).shuffle(&mut order);
            let mut slots: [Option<(Report, Raw)>; 3] = [None, None, None];
            for index in order {
                if !self.options.quiet {
                    eprintln!(
                        "{}: round {} of {rounds}, {}",
                        scenario.name,
                        round + 1,
                        LABELS[index]
                    );
                }
                settle();
                slots[index] = Some(runner::run(&workload, &self.targets[index], &self.options)?);
            }
            if let [Some(a), Some(b), Some(c)] = slots {
                all.push([a, b, c]);
            }
        }
        Ok(all)
    }

    /// Kafka's own tools against all three.
    fn tools(&self, full: bool) -> Result<Vec<(String, String, String)>, RunError> {
        let scale = if full { 4 } else { 1 };
        let mut rows = Vec::new();
        for target in &self.targets {
            let mut admin = Admin::open(&target.bootstrap)?;
            let topic = "versus-tools";
            admin.recreate_topic(topic, 16, 1, &target.topic_configs)?;
            admin.await_leaders(&[topic.to_owned()], 16)?;
            let address = target.bootstrap[0].to_string();
            for (name, count, throughput) in [
                ("producer-perf, 5,000/s", 40_000 * scale, "5000"),
                ("producer-perf, unthrottled", 100_000 * scale, "-1"),
            ] {
                let count_text = count.to_string();
                let warm = (count / 5).to_string();
                let line = self.tool(
                    "org.apache.kafka.tools.ProducerPerformance",
                    &[
                        "--bootstrap-server",
                        &address,
                        "--topic",
                        topic,
                        "--num-records",
                        &count_text,
                        "--record-size",
                        "1024",
                        "--throughput",
                        throughput,
                        "--warmup-records",
                        &warm,
                        "--command-property",
                        "acks=all",
                    ],
                    |line| line.contains("99.9th"),
                )?;
                rows.push((name.to_owned(), target.label.clone(), line));
            }
            let count = (5_000 * scale).to_string();
            admin.recreate_topic("versus-e2e", 1, 1, &target.topic_configs)?;
            admin.await_leaders(&["versus-e2e".to_owned()], 1)?;
            let line = self.tool(
                "org.apache.kafka.tools.EndToEndLatency",
                &[
                    "--bootstrap-server",
                    &address,
                    "--topic",
                    "versus-e2e",
                    "--num-records",
                    &count,
                    "--producer-acks",
                    "all",
                    "--record-size",
                    "1024",
                ],
                |line| line.starts_with("Avg latency") || line.starts_with("Percentiles"),
            )?;
            rows.push(("e2e-latency, 1 KiB".to_owned(), target.label.clone(), line));
            let _ = admin.delete_topic(topic);
            let _ = admin.delete_topic("versus-e2e");
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(rows)
    }

    /// The last summary lines that a tool prints.
    fn tool(&self, class: &str, args: &[&str], wanted: fn(&str) -> bool) -> Result<String, RunError> {
        let usage = |e: String| RunError::Usage(format!("{class}: {e}"));
        let mut command = self.release.command(&["-Xmx512m"], class);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = spawn_on(&mut command, &self.client_cpus).map_err(|e| usage(e.to_string()))?;
        let out = child.wait_with_output().map_err(|e| usage(e.to_string()))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let lines: Vec<&str> = text.lines().filter(|l| wanted(l)).collect();
        if !out.status.success() || lines.is_empty() {
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            return Err(usage(format!(
                "ended with {}: {}{}",
                out.status,
                text.trim(),
                why.trim()
            )));
        }
        // producer-perf tells warm-up, steady state and whole; the steady state counts.
        let steady = lines
            .iter()
            .find(|l| l.to_lowercase().contains("steady"))
            .copied();
        Ok(match steady {
            Some(line) => line.trim().to_owned(),
            None if class.ends_with("EndToEndLatency") => lines.join("; ").trim().to_owned(),
            None => lines.last().copied().unwrap_or_default().trim().to_owned(),
        })
    }
}

#[allow(clippy::too_many_arguments)]
fn conditions(
    before: &crate::latency::Summary,
    after: &crate::latency::Summary,
    data: &Path,
    broker_cpus: &[usize],
    client_cpus: &[usize],
    args: &VersusArgs,
    rounds: usize,
    seconds: f64,
) -> String {
    let env = Environment::look(Some(data));
    let fact = |name: &str| env.facts.get(name).cloned().unwrap_or_else(|| "?".into());
    let us = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.0}"));
    let java = java(&["-version"]).unwrap_or_default();
    let build = if cfg!(debug_assertions) {
        " **This was a debug build: its figures mean nothing.**"
    } else {
        ""
    };
    let mut out = format!(
        "Measured {} by `turgo bench versus-kafka{}`: {rounds} round(s), {seconds} s each after 3 s of warm-up.{build}\n\n",
        day(clock::wall_ms()),
        if args.full { " --full" } else { "" }
    );
    let _ = writeln!(
        out,
        "Conditions: {} x {}, hypervisor {}, {} of memory; Linux {}; {}, {}, write cache {}; brokers on CPUs {broker_cpus:?}, \
         generator on {client_cpus:?}{}. {}; Apache Kafka {VERSION}, heap {}, {}. Both brokers stay up; the one not \
         measured idles. Durable write of 4 KiB, p50 / p99: {} / {} us before, {} / {} us after.",
        fact("cpus"),
        fact("cpu"),
        fact("hypervisor"),
        fact("memory"),
        fact("kernel"),
        fact("filesystem"),
        fact("disk scheduler"),
        fact("disk write cache"),
        if broker_cpus.iter().any(|c| client_cpus.contains(c)) {
            " (shared: only ratios mean anything)"
        } else {
            ""
        },
        fact("tool"),
        args.heap,
        java.lines().next().unwrap_or("").replace('"', ""),
        us(before.p50_us),
        us(before.p99_us),
        us(after.p50_us),
        us(after.p99_us)
    );
    out
}

/// The day of a time in ms since 1970, as `2026-11-21`.
fn day(ms: i64) -> String {
    // Howard Hinnant's civil-from-days, era of 400 years counted from March.
    let z = ms.div_euclid(86_400_000) + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

fn markdown(conditions: &str, comparisons: &[Comparison], tools: &[(String, String, String)]) -> String {
    let mut out = format!("{conditions}\n");
    for comparison in comparisons {
        let _ = writeln!(out, "**{}**\n", comparison.heading());
        let table = comparison.markdown();
        let _ = writeln!(
            out,
            "{}",
            table
                .split_once("\n\n")
                .map_or(table.as_str(), |(_, rest)| rest)
                .trim_end()
        );
        let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
        for remark in comparison.remarks.iter().filter(|r| !r.contains("closed loop")) {
            if seen.insert(remark, ()).is_none() {
                let _ = writeln!(out, "- {remark}");
            }
        }
        out.push('\n');
    }
    if !tools.is_empty() {
        out.push_str("**Kafka's own tools against each** (they time from the send, so stalls are omitted; whole ms)\n\n| tool | broker | it says |\n|-|-|-|\n");
        for (name, label, line) in tools {
            let _ = writeln!(out, "| {name} | {label} | {} |", line.replace('|', "/"));
        }
        out.push('\n');
    }
    out
}

fn as_html(markdown: &str) -> String {
    format!(
        "<pre id=\"comparison\">{}</pre>",
        crate::report::svg::escape(markdown)
    )
}

/// Where in a file the results go.
fn place_of(path: &Path) -> Result<(String, usize, usize), RunError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| RunError::Usage(format!("--docs {}: {e}", path.display())))?;
    let place = text.find(BEGIN).and_then(|at| {
        let from = at + BEGIN.len();
        Some((from, from + text[from..].find(END)?))
    });
    let (from, to) = place.ok_or_else(|| {
        RunError::Usage(format!(
            "--docs {}: it lacks the lines {} and {}",
            path.display(),
            BEGIN.trim(),
            END.trim()
        ))
    })?;
    Ok((text, from, to))
}

fn put(path: &Path, results: &str) -> Result<(), RunError> {
    let (text, from, to) = place_of(path)?;
    std::fs::write(path, format!("{}{results}{}", &text[..from], &text[to..]))
        .map_err(|e| RunError::Usage(format!("--docs {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_valid_and_the_full_suite_holds_the_quick_one() {
        let (quick, full) = (scenarios(false, 8.0), scenarios(true, 8.0));
        for scenario in &full {
            assert_eq!(scenario.check(), Ok(()), "{}", scenario.name);
        }
        assert!(quick.iter().all(|s| full.contains(s)) && full.len() > quick.len());
    }

    #[test]
    fn results_go_between_their_marks_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("doc.md");
        std::fs::write(&path, format!("before\n{BEGIN}old\n{END}after\n")).expect("written");
        put(&path, "new\n").expect("marked");
        assert_eq!(
            std::fs::read_to_string(&path).expect("there"),
            format!("before\n{BEGIN}new\n{END}after\n")
        );
        std::fs::write(&path, "no marks").expect("written");
        assert!(
            put(&path, "x")
                .expect_err("no place")
                .to_string()
                .contains("lacks")
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(1_795_219_200_000), "2026-11-21");
        assert_eq!(day(951_782_400_000), "2000-02-29");
    }
}
