//! `turgo serve` and the node file's part of `turgo config`: reads the layers, hands over.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use turgo_tuning::preflight::{self, Report, Verdict};

use super::args::{Format, ServeArgs};
use super::exit::{self, CliError};
use crate::config::disk::Numbers;
use crate::config::{self, Flag, LogFormat, NodeConfig};

/// Variables with valid names and values; others cannot be ours.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The flags of `turgo serve` as settings.
fn flags(args: &ServeArgs) -> Result<Vec<Flag>, CliError> {
    let given = [
        ("--data", "node.data_dir", &args.data),
        ("--listen", "network.listen", &args.listen),
        ("--advertised", "network.advertised", &args.advertised),
        ("--admin", "admin.listen", &args.admin),
        ("--cores", "node.cores", &args.cores),
        ("--node-id", "node.id", &args.node_id),
        ("--log-level", "log.level", &args.log_level),
        ("--log-format", "log.format", &args.log_format),
    ];
    let mut flags: Vec<Flag> = given
        .into_iter()
        .filter_map(|(flag, setting, value)| value.as_ref().map(|value| Flag::new(flag, setting, value)))
        .collect();
    if args.accept_loss {
        flags.push(Flag::new("--accept-loss", "node.accept_loss", "true"));
    }
    for text in &args.set {
        let Some((name, value)) = text.split_once('=') else {
            return Err(CliError::Usage(format!("--set {text}: write NAME=VALUE")));
        };
        flags.push(Flag::new(&format!("--set {name}"), name, value));
    }
    Ok(flags)
}

/// Runs a broker until it is told to stop, by way of `serve`.
pub fn serve(args: &ServeArgs, serve: super::Serve) -> ExitCode {
    let flags = match flags(args) {
        Ok(flags) => flags,
        Err(error) => return exit::finish(Err(error)),
    };
    match config::load(args.config.as_deref(), environment(), &flags) {
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(exit::USAGE)
        }
        Ok(config) => start(config, args.check, serve),
    }
}

fn start(config: NodeConfig, check: bool, serve: super::Serve) -> ExitCode {
    preflight::raise_limits();
    let report = preflight::check(&preflight::Inputs {
        root: PathBuf::from("/"),
        data_dir: config.data_dir.clone(),
        fresh: is_fresh(&config.data_dir),
        shards: config.cores.unwrap_or(0),
        connections: config.max_connections,
        journal_bytes_per_shard: config.journal_ring_bytes,
        produce_stop_free_percent: config.produce_stop_free_percent,
    });
    show(&config, &report);
    if !report.is_fatal() {
        let numbers = Numbers::of(&config, &turgo_tuning::disk::load(&config.data_dir));
        show_disk(&config, &numbers);
    }
    if report.is_fatal() {
        eprintln!("not started: see the errors above");
        return ExitCode::from(exit::UNFIT);
    }
    if check {
        return ExitCode::from(exit::OK);
    }
    serve(config, report)
}

/// Whether a directory holds no data yet; what `turgo tune disk` leaves is none.
fn is_fresh(directory: &Path) -> bool {
    std::fs::read_dir(directory).map_or(true, |entries| {
        entries
            .flatten()
            .all(|entry| entry.file_name() == turgo_tuning::disk::result::NAME)
    })
}

/// The disk's part of the start-up report: the numbers in force, with their sources.
fn show_disk(config: &NodeConfig, numbers: &Numbers) {
    let ignored = numbers.ignored.as_deref();
    match config.log_format {
        LogFormat::Text => {
            if let Some(why) = ignored {
                eprintln!("warning: {why} [disk_measured]");
            }
            eprintln!("{numbers}");
        }
        LogFormat::Json => {
            if let Some(why) = ignored {
                let line = serde_json::json!({
                    "level": "warn", "target": "preflight", "code": "disk_measured", "msg": why,
                });
                eprintln!("{line}");
            }
            let floor = numbers.floor.as_ref();
            let line = serde_json::json!({
                "level": "info",
                "target": "preflight",
                "code": "disk",
                "msg": numbers.to_string(),
                "groups_in_flight": numbers.groups_in_flight.value,
                "drain_depth": numbers.drain_depth.value,
                "read_depth": numbers.read_depth.value,
                "floor_p50_us": floor.map(|(floor, _)| floor.p50_us),
                "floor_p99_us": floor.map(|(floor, _)| floor.p99_us),
                "measured": floor.map(|(_, date)| date),
            });
            eprintln!("{line}");
        }
    }
}

/// The machine's part of the start-up report, in the form of the log.
fn show(config: &NodeConfig, report: &Report) {
    match config.log_format {
        LogFormat::Text => eprint!("turgo {}: {report}", env!("CARGO_PKG_VERSION")),
        LogFormat::Json => {
            for finding in &report.findings {
                let level = match finding.verdict {
                    Verdict::Ok => "info",
                    Verdict::Warning => "warn",
                    Verdict::Fatal => "error",
                };
                let line = serde_json::json!({
                    "level": level,
                    "target": "preflight",
                    "code": finding.code,
                    "msg": finding.message,
                    "advice": finding.advice,
                });
                eprintln!("{line}");
            }
        }
    }
}

/// `turgo config check`.
pub fn check(file: Option<&Path>, out: &mut dyn Write) -> Result<(), CliError> {
    match config::load(file, environment(), &[]) {
        Ok(_) => {
            let what = file.map_or("the environment".to_string(), |file| file.display().to_string());
            writeln!(out, "{what}: no errors")?;
            Ok(())
        }
        Err(errors) => {
            for problem in errors.problems() {
                eprintln!("{problem}");
            }
            let count = errors.problems().len();
            Err(CliError::Usage(format!(
                "{count} error{} found",
                if count == 1 { "" } else { "s" }
            )))
        }
    }
}

/// `turgo config print`.
pub fn print(
    defaults: bool,
    file: Option<&Path>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let config = if defaults {
        NodeConfig::defaults()
    } else {
        config::load(file, environment(), &[]).map_err(|errors| CliError::Usage(errors.to_string()))?
    };
    match format {
        Format::Text => write!(out, "{}", config::print_annotated(&config.resolved))?,
        Format::Json => writeln!(out, "{:#}", config::print_json(&config.resolved))?,
    }
    Ok(())
}
