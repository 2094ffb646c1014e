//! A whole run: topics, backlog, load, reading back, verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::client::ClientError;
use crate::client::consumer::{Consumer, ConsumerParts, Purpose};
use crate::client::producer::{Producer, ProducerParts};
use crate::client::{Actor, Ends};
use crate::integrity::{Place, Promise, SeenLog, SentLog, judge};
use crate::latency::Quantile;
use crate::report::{Counts, Drain, Endpoint, Floor, Interval, Latencies, Rates, Raw, Report, SCHEMA};
use crate::schedule::{SECOND, Schedule, Shape};
use crate::slo::{self, Evidence, Slo};
use crate::spec::{Acks, Assignment, Workload};
use crate::stats::{Part, Span, Totals};
use crate::values::{KeySource, Pool, Values};

use super::admin::{Admin, Topics};
use super::connections::{Churn, Idle};
use super::env::Environment;
use super::live::Live;
use super::pacing::{self, Chosen};
use super::phase::{self, Crew, PhaseOutcome, PhaseParts};
use super::{clock, floor, stages};

/// Whom to measure, and what to know about it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Name in a comparison.
    pub label: String,
    /// Servers to start from.
    pub bootstrap: Vec<Arc<str>>,
    /// Processes of the broker on this machine, for its CPU and memory.
    pub pids: Vec<u32>,
    /// Topic settings for this endpoint only.
    pub topic_configs: BTreeMap<String, String>,
    /// `HOST:PORT` of a Turgo broker's metrics.
    pub metrics: Option<String>,
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Objectives.
    pub slos: Vec<Slo>,
    /// Show nothing meanwhile.
    pub quiet: bool,
    /// A disturbed machine voids the run.
    pub strict: bool,
    /// Directory on the device of the broker's data: its flush is measured before and after.
    pub floor_dir: Option<PathBuf>,
    /// No answer from anywhere for this long ends the run, seconds.
    pub patience_s: f64,
    /// The command line, for the report.
    pub command: String,
}

/// Why there is no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// Operator: it cannot be meant like that.
    #[error("{0}")]
    Usage(String),
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] ClientError),
}

impl RunError {
    /// Exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            RunError::Usage(_) => slo::exit::USAGE,
            RunError::Endpoint(_) => slo::exit::UNREACHABLE,
        }
    }
}

struct Run<'a> {
    w: Arc<Workload>,
    target: &'a Target,
    options: &'a Options,
    admin: Admin,
    names: Vec<String>,
    run: u64,
    pacing: Chosen,
    threads: usize,
    pool: Pool,
}

/// Runs `workload` against `target`.
///
/// # Errors
/// Nothing was measured: see [`RunError`].
pub fn run(workload: &Workload, target: &Target, options: &Options) -> Result<(Report, Raw), RunError> {
    let mut workload = workload.clone();
    workload.check().map_err(RunError::Usage)?;
    workload.topic_configs.extend(target.topic_configs.clone());
    let pool = match &workload.payload_file {
        None => Pool::new(workload.seed),
        Some(path) => match std::fs::read(path) {
            Ok(bytes) if bytes.is_empty() => {
                return Err(RunError::Usage(format!("payload file {path} is empty")));
            }
            Ok(bytes) => Pool::of_file(&bytes),
            Err(e) => return Err(RunError::Usage(format!("payload file {path}: {e}"))),
        },
    };
    let flush_before = measure_floor(options).map_err(RunError::Usage)?;
    let mut admin = Admin::open(&target.bootstrap)?;
    let names: Vec<String> = (0..workload.topics).map(|t| workload.topic_name(t)).collect();
    let _topics = prepare_topics(&mut admin, &mut workload, &names, target)?;
    let settings = admin.topic_settings(&names[0]).unwrap_or_default();
    let brokers = admin.view().nodes().count();

    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let actors = (workload.producers + workload.groups * workload.consumers).max(1) as usize;
    let threads = match workload.threads {
        0 if !workload.cpus.is_empty() => workload.cpus.len(),
        0 => cpus.saturating_sub(usize::from(local(target))).max(1),
        n => n,
    }
    .min(actors);
    let pacing = pacing::choose(workload.pacing, local(target), !workload.cpus.is_empty(), threads);
    let run_id =
        (clock::wall_ms() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id());
    let mut run = Run {
        w: Arc::new(workload),
        target,
        options,
        admin,
        names,
        run: run_id,
        pacing,
        threads,
        pool,
    };
    let stages_before = read_stages(target)?;
    let started_ms = clock::wall_ms();
    let result = run.all()?;
    if stages_before.is_some() {
        // The page is made from copies that the cores publish each second.
        clock::pause(1_500_000_000);
    }
    let stages = match (stages_before, read_stages(target)?) {
        (Some(before), Some(after)) => stages::between(&before, &after),
        _ => BTreeMap::new(),
    };
    let flush_after = measure_floor(options).map_err(RunError::Usage)?;
    let floor = Floor {
        flush_before,
        flush_after,
        loopback: options
            .floor_dir
            .as_ref()
            .and_then(|_| floor::loopback(1024, 5_000).ok())
            .map(|l| l.summary()),
        stored: options.floor_dir.as_deref().and_then(floor::stored),
    };
    let endpoint = Endpoint {
        label: target.label.clone(),
        bootstrap: target.bootstrap.iter().map(|b| b.to_string()).collect(),
        brokers,
        acknowledgement: acknowledgement(&settings, run.w.acks, run.w.replication),
        settings,
    };
    let (mut report, raw) = run.report(result, endpoint, floor, started_ms);
    report.stages = stages;
    Ok((report, raw))
}

fn read_stages(target: &Target) -> Result<Option<stages::Sums>, RunError> {
    target
        .metrics
        .as_deref()
        .map(stages::fetch)
        .transpose()
        .map_err(RunError::Usage)
}

fn measure_floor(options: &Options) -> Result<Option<crate::latency::Summary>, String> {
    let Some(dir) = &options.floor_dir else {
        return Ok(None);
    };
    match floor::flush(dir, 2_000) {
        Ok(latency) => Ok(Some(latency.summary())),
        Err(error) => Err(format!(
            "--dir {}: {error}; give a directory that this user may write, on the device of the broker's data",
            dir.display()
        )),
    }
}

/// The endpoint is on this machine.
fn local(target: &Target) -> bool {
    target
        .bootstrap
        .iter()
        .any(|b| super::conn::resolve(b).is_ok_and(|a| a.ip().is_loopback()))
}

/// What an acknowledgement means, from what the endpoint says about its topic.
fn acknowledgement(settings: &BTreeMap<String, String>, acks: Acks, replication: i16) -> String {
    let copies = if replication > 1 {
        format!(", {replication} copies")
    } else {
        String::new()
    };
    if acks == Acks::None {
        return "none (acks=0)".into();
    }
    match settings.get("durability").map(String::as_str) {
        Some("disk") => return format!("on stable media, group commit (durability=disk){copies}"),
        Some("memory") => return format!("in memory only (durability=memory){copies}"),
        _ => {}
    }
    match settings.get("flush.messages").and_then(|v| v.parse::<u64>().ok()) {
        Some(1) => format!("after fsync of each batch (flush.messages=1){copies}"),
        Some(n) if n < i64::MAX as u64 => format!("page cache, fsync every {n} records{copies}"),
        Some(_) => format!("page cache, not flushed (flush.messages unset){copies}"),
        None => format!("as the broker defines it{copies}"),
    }
}

fn prepare_topics(
    admin: &mut Admin,
    workload: &mut Workload,
    names: &[String],
    target: &Target,
) -> Result<Option<Topics>, RunError> {
    if workload.existing {
        let unknown = admin.learn(names)?;
        if let Some(name) = unknown.first() {
            return Err(RunError::Usage(format!(
                "topic {name} does not exist there: create it, or leave --existing out to have it made"
            )));
        }
        let fewest = names
            .iter()
            .map(|n| admin.view().partitions(n))
            .min()
            .unwrap_or(0);
        workload.partitions = fewest as u32;
        admin.await_leaders(names, workload.partitions)?;
        return Ok(None);
    }
    let guard = Topics::new(&target.bootstrap, names, workload.keep);
    for name in names {
        admin.recreate_topic(
            name,
            workload.partitions,
            workload.replication,
            &workload.topic_configs,
        )?;
    }
    admin.await_leaders(names, workload.partitions)?;
    Ok(Some(guard))
}

struct Whole {
    main: PhaseOutcome,
    sent: SentLog,
    seen: Vec<(String, SeenLog)>,
    complete: bool,
    waiting: Vec<String>,
    drained_at: Vec<Option<u64>>,
    live: Live,
    churn: (crate::latency::Latency, u64),
    idle: usize,
    remarks: Vec<String>,
}

impl Run<'_> {
    fn all(&mut self) -> Result<Whole, RunError> {
        let committed = self.w.transactions.is_some();
        let partitions = self.w.partitions;
        let ends = |admin: &mut Admin, names: &[String]| -> Result<Ends, ClientError> {
            Ok(Arc::new(admin.offsets(names, partitions, -1, committed)?))
        };
        let begin = ends(&mut self.admin, &self.names)?;
        let mut sent = SentLog::default();
        let mut before = begin.clone();
        if self.w.backlog_bytes > 0 {
            sent = self.fill()?;
            before = ends(&mut self.admin, &self.names)?;
        }
        let idle = Idle::open(&self.target.bootstrap, self.w.idle_connections)?;
        let churn = Churn::start(&self.target.bootstrap, self.w.churn);
        let backlogged = self.w.backlog_bytes > 0;
        let tail_starts = if self.w.drain {
            begin.clone()
        } else {
            before.clone()
        };

        let mut crews: Vec<Crew> = (0..self.threads).map(|_| Crew::new()).collect();
        let producers = self.producers(u64::MAX, 0, false);
        let mut turn = 0;
        for producer in producers {
            crews[turn % self.threads].push((true, Box::new(producer)));
            turn += 1;
        }
        for consumer in self.consumers(&tail_starts, backlogged.then_some(&before)) {
            crews[turn % self.threads].push((false, Box::new(consumer)));
            turn += 1;
        }
        // Readers of old data have a thread of their own: decoding it must not delay the schedule.
        let catch_up: Crew = (0..self.w.catch_up)
            .map(|i| {
                let places = all_places(&self.w).collect();
                let consumer = self.reader(10_000 + i, 0, places, &begin, Purpose::CatchUp, Some(&before));
                (false, Box::new(consumer) as Box<dyn Actor>)
            })
            .collect();
        if !catch_up.is_empty() {
            crews.push(catch_up);
        }
        crews.retain(|c| !c.is_empty());
        let mut live = Live::new(&self.w.name, self.options.quiet, &self.target.pids);
        let (warmup, duration) = (self.w.warmup_s, self.w.duration_s);
        let main = self.phase(crews, warmup, duration, self.w.drain_s, &mut live);
        live.close();
        let churn = churn.stop();
        let mut main = main?;
        let idle_count = idle.len();
        drop(idle);

        let mut seen: BTreeMap<u32, SeenLog> = BTreeMap::new();
        let mut drained_at = Vec::new();
        for logs in std::mem::take(&mut main.logs) {
            sent.parts.extend(logs.sent.parts);
            if let Some((group, log)) = logs.seen {
                seen.entry(group).or_default().absorb(log);
                drained_at.push(logs.drained_at);
            }
        }
        let mut complete = main.waiting.is_empty();
        let mut waiting = main.waiting.clone();
        let mut remarks = Vec::new();
        let mut groups: Vec<(String, SeenLog)> = seen
            .into_iter()
            .map(|(group, log)| (format!("group {group}"), log))
            .collect();
        // A backlog that tail readers began behind is not in their view: it is read back like a run without readers.
        let unseen = groups.is_empty() || (backlogged && !self.w.drain);
        if !sent.parts.is_empty() && unseen {
            groups.clear();
            if self.w.verify {
                let (log, out) = self.read_back(&begin)?;
                complete = out.is_empty();
                waiting.extend(out);
                groups.push(("read back".into(), log));
            } else {
                remarks.push("integrity was not checked (--verify false)".into());
            }
        }
        Ok(Whole {
            main,
            sent,
            seen: groups,
            complete,
            waiting,
            drained_at,
            live,
            churn,
            idle: idle_count,
            remarks,
        })
    }

    fn phase(
        &mut self,
        crews: Vec<Crew>,
        warmup_s: f64,
        duration_s: f64,
        drain_s: f64,
        live: &mut Live,
    ) -> Result<PhaseOutcome, ClientError> {
        let ns = |s: f64| (s * SECOND as f64) as u64;
        let parts = PhaseParts {
            crews,
            cpus: self.w.cpus.clone(),
            margin: self.pacing.margin(),
            patience: ns(self.options.patience_s),
            warmup: ns(warmup_s),
            duration: ns(duration_s),
            interval: self.w.interval_ms * 1_000_000,
            drain: ns(drain_s),
        };
        let (names, partitions, committed) = (
            self.names.clone(),
            self.w.partitions,
            self.w.transactions.is_some(),
        );
        let admin = &mut self.admin;
        phase::run(
            parts,
            || Ok(Arc::new(admin.offsets(&names, partitions, -1, committed)?)),
            live,
        )
    }

    fn producers(&self, byte_limit: u64, first_id: u32, closed: bool) -> Vec<Producer> {
        let mut w = (*self.w).clone();
        if closed {
            (w.rate, w.shape, w.transactions) = (None, Shape::Closed, None);
            (w.batch_bytes, w.batch_records) = (w.batch_bytes.max(128 << 10), 0);
        }
        let w = Arc::new(w);
        let arrivals = w.rate.unwrap_or(0.0) / f64::from(w.burst);
        let span = ((w.warmup_s + w.duration_s) * SECOND as f64) as u64;
        let keys = KeySource::new(&w.keys, w.seed);
        let wall_ms = clock::wall_ms() - (clock::now() / 1_000_000) as i64;
        (0..w.producers)
            .map(|i| {
                let seed = w.seed.wrapping_add(u64::from(i).wrapping_mul(0x1234_5678_9ABC));
                Producer::new(ProducerParts {
                    id: first_id + i,
                    topic: i % w.topics,
                    workload: w.clone(),
                    view: self.admin.view().clone(),
                    versions: self.admin.versions.clone(),
                    schedule: Schedule::new(&w.shape, arrivals, w.producers, i, w.seed, span),
                    values: Values::new(self.pool.clone(), w.size.clone(), w.random_share, seed),
                    keys: keys.with_seed(seed),
                    run: self.run,
                    wall_ms,
                    byte_limit,
                })
            })
            .collect()
    }

    /// Writes the backlog at full speed.
    fn fill(&mut self) -> Result<SentLog, RunError> {
        const FILL_LIMIT_S: f64 = 24.0 * 3600.0;
        let share = self.w.backlog_bytes / u64::from(self.w.producers.max(1));
        let mut crews: Vec<Crew> = (0..self.threads).map(|_| Crew::new()).collect();
        for (i, producer) in self
            .producers(share.max(1), 1_000_000, true)
            .into_iter()
            .enumerate()
        {
            crews[i % self.threads].push((true, Box::new(producer)));
        }
        crews.retain(|c| !c.is_empty());
        let mut live = Live::new("backlog", self.options.quiet, &[]);
        let outcome = self.phase(crews, 0.0, FILL_LIMIT_S, self.w.drain_s, &mut live);
        live.close();
        let mut sent = SentLog::default();
        for logs in outcome?.logs {
            sent.parts.extend(logs.sent.parts);
        }
        Ok(sent)
    }

    fn reader(
        &self,
        id: u32,
        group: u32,
        assigned: Vec<Place>,
        starts: &Ends,
        purpose: Purpose,
        backlog: Option<&Ends>,
    ) -> Consumer {
        let by_protocol = purpose == Purpose::Tail && self.w.assignment == Assignment::Group;
        Consumer::new(ConsumerParts {
            id,
            group,
            group_name: by_protocol.then(|| format!("turgo-bench-{:x}-{group}", self.run)),
            workload: self.w.clone(),
            view: self.admin.view().clone(),
            versions: self.admin.versions.clone(),
            assigned: if by_protocol { Vec::new() } else { assigned },
            starts: starts.clone(),
            run: self.run,
            purpose,
            backlog: backlog.cloned(),
        })
    }

    fn consumers(&self, starts: &Ends, backlog: Option<&Ends>) -> Vec<Consumer> {
        let n = self.w.consumers;
        let mut list = Vec::new();
        for group in 0..self.w.groups {
            for i in 0..n {
                let places = all_places(&self.w)
                    .zip(0u32..)
                    .filter(|(_, k)| k % n == i)
                    .map(|(p, _)| p)
                    .collect();
                list.push(self.reader(group * n + i, group, places, starts, Purpose::Tail, backlog));
            }
        }
        list
    }

    /// Reads everything from `starts` on, after the load.
    fn read_back(&mut self, starts: &Ends) -> Result<(SeenLog, Vec<String>), RunError> {
        const READ_LIMIT_S: f64 = 3600.0;
        let places: Vec<Place> = all_places(&self.w).collect();
        let readers = self.threads.min(places.len()).max(1);
        let crews: Vec<Crew> = (0..readers)
            .map(|r| {
                let mine = places.iter().skip(r).step_by(readers).copied().collect();
                let consumer = self.reader(20_000 + r as u32, 0, mine, starts, Purpose::Verify, None);
                vec![(false, Box::new(consumer) as Box<dyn Actor>)]
            })
            .collect();
        let mut live = Live::new("reading back", true, &[]);
        let outcome = self.phase(crews, 0.0, 0.001, READ_LIMIT_S, &mut live)?;
        let mut log = SeenLog::default();
        for logs in outcome.logs {
            if let Some((_, seen)) = logs.seen {
                log.absorb(seen);
            }
        }
        Ok((log, outcome.waiting))
    }

    fn report(&self, whole: Whole, endpoint: Endpoint, floor: Floor, started_ms: i64) -> (Report, Raw) {
        let Whole {
            mut main,
            sent,
            seen,
            complete,
            waiting,
            drained_at,
            live,
            churn,
            idle,
            mut remarks,
        } = whole;
        let w = &self.w;
        main.totals.connect.add(&churn.0);
        let promise = Promise {
            acknowledged: w.acks != Acks::None,
            idempotent: w.idempotent,
            moving: w.assignment == Assignment::Group && w.groups > 0,
            committed_only: w.transactions.is_some(),
        };
        let integrity = judge(&sent, &seen, promise, complete);
        let usage = live.watch.usage(main.totals.acked_bytes);
        let mut disturbed = Vec::new();
        if let Some(sentence) = usage.disturbance() {
            if self.options.strict {
                disturbed.push(sentence)
            } else {
                remarks.push(sentence)
            }
        }
        if let (Some(a), Some(b)) = (&floor.flush_before, &floor.flush_after)
            && let (Some(a), Some(b)) = (a.p50_us, b.p50_us)
            && (b / a > 1.3 || a / b > 1.3)
        {
            let sentence =
                format!("the flush floor moved from {a:.0} to {b:.0} us (median) between before and after");
            if self.options.strict {
                disturbed.push(sentence)
            } else {
                remarks.push(sentence)
            }
        }
        if w.closed() && w.producers > 0 {
            remarks.push("closed loop: there is no schedule, so latency omits what stalls delayed".into());
        }
        if churn.1 > 0 {
            remarks.push(format!("{} connections of the churn failed", churn.1));
        }
        if idle > 0 {
            remarks.push(format!("{idle} idle connections were held open"));
        }
        let asked = if w.closed() || w.producers == 0 {
            None
        } else {
            Some(asked_rate(w, &main))
        };
        let seconds = w
            .duration_s
            .min((main.written_at.max(main.span.begin + 1) - main.span.begin) as f64 / 1e9);
        let outcome = slo::judge(&Evidence {
            totals: &main.totals,
            integrity: &integrity,
            asked,
            seconds: w.duration_s,
            late_s: main.written_at.saturating_sub(main.span.end) as f64 / 1e9,
            slos: &self.options.slos,
            disturbed: &disturbed,
            waiting: &waiting,
        });
        let drain = (w.backlog_bytes > 0 && w.drain && w.groups > 0).then(|| Drain {
            backlog_bytes: w.backlog_bytes,
            seconds: drained_at
                .iter()
                .copied()
                .collect::<Option<Vec<u64>>>()
                .and_then(|all| all.into_iter().max())
                .map(|at| at.saturating_sub(main.span.start) as f64 / 1e9),
        });
        let report = Report {
            schema: SCHEMA,
            started_ms,
            command: self.options.command.clone(),
            workload: serde_json::to_value(&**w).unwrap_or_default(),
            endpoint,
            outcome,
            closed_loop: w.closed(),
            seconds,
            rates: rates(&main.totals, asked, seconds, &main),
            latency: Latencies::new(&main.totals),
            counts: counts(&main.totals),
            pacing: self.pacing.clone(),
            integrity,
            intervals: intervals(&main.parts, &main.span, &live),
            drain,
            floor,
            stages: BTreeMap::new(),
            usage,
            remarks,
            environment: Environment::look(self.options.floor_dir.as_deref()),
        };
        let raw = Raw {
            totals: main.totals,
            parts: main.parts,
            span: main.span,
            started_ms,
        };
        (report, raw)
    }
}

/// The rate that the schedule asked for within the measured span: shapes other than constant have their own.
fn asked_rate(w: &Workload, main: &PhaseOutcome) -> f64 {
    match w.shape {
        Shape::Constant | Shape::Poisson => w.rate.unwrap_or(0.0),
        _ => main.totals.due as f64 / w.duration_s,
    }
}

fn all_places(w: &Workload) -> impl Iterator<Item = Place> + use<> {
    let (topics, partitions) = (w.topics, w.partitions);
    (0..topics).flat_map(move |t| (0..partitions).map(move |p| (t, p)))
}

fn rates(t: &Totals, asked: Option<f64>, seconds: f64, main: &PhaseOutcome) -> Rates {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let whole = (main.written_at.saturating_sub(main.span.start)).max(1) as f64 / 1e9;
    Rates {
        asked,
        acknowledged: t.acked_within as f64 / seconds,
        acknowledged_mib: mib(t.acked_bytes) / seconds,
        consumed: t.consumed as f64 / seconds,
        consumed_mib: mib(t.consumed_bytes) / seconds,
        batches: t.batches as f64 / seconds,
        requests: t.requests as f64 / seconds,
        caught_up_mib: mib(t.caught_up_bytes) / whole,
    }
}

fn counts(t: &Totals) -> Counts {
    Counts {
        due: t.due,
        acknowledged: t.acked,
        failed: t.failed,
        unanswered: t.unanswered,
        batches: t.batches,
        retries: t.retries,
        committed: t.committed,
        aborted: t.aborted,
        lost_connections: t.lost_connections,
        rebalances: t.rebalances,
        errors: t.errors.clone(),
    }
}

fn intervals(parts: &BTreeMap<u32, Part>, span: &Span, live: &Live) -> Vec<Interval> {
    let us = |q: Quantile| match q {
        Quantile::Ns(ns) => Some(ns as f64 / 1e3),
        Quantile::Beyond | Quantile::Unknown => None,
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    parts
        .iter()
        .map(|(index, p)| {
            let watched = live.watch.intervals.get(index);
            Interval {
                at_s: f64::from(*index) * span.interval as f64 / 1e9,
                warmup: span.start + u64::from(*index) * span.interval < span.begin,
                due: p.due,
                acknowledged: p.acked,
                acknowledged_mib: mib(p.acked_bytes),
                consumed: p.consumed,
                caught_up_mib: mib(p.caught_up_bytes),
                errors: p.errors,
                response_p50_us: us(p.response.raw_quantile(0.5)),
                response_p99_us: us(p.response.raw_quantile(0.99)),
                response_p999_us: us(p.response.raw_quantile(0.999)),
                response_max_us: us(p.response.max()),
                lateness_max_us: us(p.lateness.max()),
                e2e_p99_us: us(p.e2e.raw_quantile(0.99)),
                steal_percent: watched.map(|w| w.0),
                others_percent: watched.and_then(|w| w.1),
            }
        })
        .collect()
}
