//! `turgo bench`: reads its arguments, runs what they ask for, writes the results where they should go.
//!
//! Called by the `turgo` command, which ends with the code that [`run`] returns (see [`crate::slo::exit`]). Results go
//! to stdout, progress and complaints to stderr.

mod comparison;
mod output;
mod scenarios;
mod versus;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};

use crate::shell::runner::{self, Options, RunError, Target};
use crate::slo::{Slo, exit};

use output::Outputs;
use workload::WorkloadArgs;

/// Measures a Kafka endpoint.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 valid and all objectives met; 1 an objective missed; 2 wrong usage, nothing measured; 3 \
INVALID (late generator, disturbed machine, too few samples); 4 integrity violated; 5 rate not sustained; 6 endpoint \
unreachable, refusing or lost. If several apply: 2, 4, 6, 3, 5, 1."
)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Flags of all subcommands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Brokers to start from
    #[arg(
        short,
        long,
        global = true,
        env = "TURGO_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT,..."
    )]
    bootstrap: String,
    /// Print JSON, one object for each run
    #[arg(long, global = true)]
    json: bool,
    /// What to print of a run
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show no progress
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Objective such as p99<10ms, e2e.p99.9<50ms or max<1s; may be repeated. Missed: exit code 1
    #[arg(long, global = true, value_name = "OBJECTIVE")]
    slo: Vec<String>,
    /// A disturbed machine voids the run instead of being remarked on
    #[arg(long, global = true)]
    strict: bool,
    /// Directory on the device of the broker's data: its flush is measured before and after
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Process of the broker on this machine: its CPU and memory are reported; may be repeated
    #[arg(long, global = true, value_name = "PID")]
    broker_pid: Vec<u32>,
    /// Admin address of a Turgo broker: the time that its stages took is reported
    #[arg(long, global = true, value_name = "HOST:PORT")]
    metrics: Option<String>,
    /// Seconds without any answer after which the endpoint is given up
    #[arg(long, global = true, default_value_t = 60.0, value_name = "SECONDS", value_parser = crate::units::seconds)]
    patience: f64,
    #[command(flatten)]
    outputs: Outputs,
}

/// Forms of a result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// The result file of the OpenMessaging benchmark
    Omb,
    /// The summary line of kafka-producer-perf-test
    KafkaPerf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workload: a preset, an OpenMessaging file or flags
    #[command(visible_alias = "produce")]
    Run(Box<WorkloadArgs>),
    /// List the presets
    Presets,
    /// Search the highest rate that meets the objectives
    FindMax(Box<scenarios::FindMaxArgs>),
    /// Measure latency at several rates
    Knee(Box<scenarios::KneeArgs>),
    /// Run a workload against two endpoints in turns and compare
    Compare(Box<comparison::CompareArgs>),
    /// Start Apache Kafka and Turgo on this machine and compare them
    VersusKafka(versus::VersusArgs),
    /// One record in flight, beside the floor: a device flush and a loopback round trip of the same run
    Latency(scenarios::LatencyArgs),
    /// The same load over few partitions and over many, in turns
    Width(scenarios::WidthArgs),
    /// Create topics with many partitions and say how long it took
    Partitions(scenarios::PartitionsArgs),
}

/// Runs the command; returns the exit code of the process.
pub fn run(args: &BenchArgs) -> u8 {
    let common = &args.common;
    let result = match &args.command {
        Command::Run(workload) => run_once(common, workload),
        Command::Presets => scenarios::list(common),
        Command::FindMax(args) => scenarios::find_max(common, args),
        Command::Knee(args) => scenarios::knee(common, args),
        Command::Compare(args) => comparison::command(common, args),
        Command::VersusKafka(args) => versus::command(common, args),
        Command::Latency(args) => scenarios::latency(common, args),
        Command::Width(args) => scenarios::width(common, args),
        Command::Partitions(args) => scenarios::partitions(common, args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("turgo bench: {error}");
            error.code()
        }
    }
}

impl Common {
    /// The endpoint.
    fn target(&self) -> Result<Target, RunError> {
        Ok(Target {
            metrics: self.metrics.clone(),
            ..target("", &self.bootstrap, &self.broker_pid)?
        })
    }

    /// How to run.
    fn options(&self) -> Result<Options, RunError> {
        let slos: Result<Vec<Slo>, String> = self.slo.iter().map(|s| Slo::parse(s)).collect();
        if !(self.patience > 0.0 && self.patience.is_finite()) {
            return Err(RunError::Usage("--patience must be above 0".into()));
        }
        self.outputs.check()?;
        Ok(Options {
            slos: slos.map_err(RunError::Usage)?,
            quiet: self.quiet,
            strict: self.strict,
            floor_dir: self.dir.clone(),
            patience_s: self.patience,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        })
    }

    fn form(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// An endpoint from `HOST:PORT,...`.
fn target(label: &str, bootstrap: &str, pids: &[u32]) -> Result<Target, RunError> {
    let servers: Vec<Arc<str>> = bootstrap
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(Arc::from)
        .collect();
    for server in &servers {
        let port = server
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(RunError::Usage(format!(
                "{server:?} is no HOST:PORT, for example 127.0.0.1:9092"
            )));
        }
    }
    if servers.is_empty() {
        return Err(RunError::Usage(
            "no bootstrap server: say --bootstrap HOST:PORT".into(),
        ));
    }
    Ok(Target {
        label: label.to_owned(),
        bootstrap: servers,
        pids: pids.to_vec(),
        ..Target::default()
    })
}

fn run_once(common: &Common, args: &WorkloadArgs) -> Result<u8, RunError> {
    let workload = args.build()?;
    if args.omb.is_some() && args.rate.is_none() && workload.rate.is_none() {
        return Err(RunError::Usage(
            "producerRate 0 asks for the highest rate that is sustained: say turgo bench find-max --omb FILE --slo \
             p99<100ms, or give --rate"
                .into(),
        ));
    }
    let options = common.options()?;
    let (report, raw) = runner::run(&workload, &common.target()?, &options)?;
    common.outputs.write(&report, &raw)?;
    output::print(common.form(), &report, &raw)?;
    Ok(report.outcome.code)
}

const _: () = assert!(exit::USAGE == 2, "clap ends with 2 as well");
