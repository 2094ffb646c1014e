//! `turgo tune disk`: measures, shows progress, keeps the result.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use turgo_tuning::disk::result::Measured;
use turgo_tuning::disk::{self, Options, shell};
use turgo_tuning::tune::SCHEMA;

use super::CANNOT_MEASURE;
use crate::cli::exit::CliError;
use crate::cli::output::{Out, Table};

fn cannot(why: impl std::fmt::Display) -> CliError {
    eprintln!("turgo: {why}");
    CliError::Status(CANNOT_MEASURE)
}

/// Measures `directory`.
pub fn run(
    directory: &Path,
    seconds: u64,
    no_store: bool,
    quiet: bool,
    out: &mut Out,
) -> Result<(), CliError> {
    // Beside a broker's own writes it would measure both. The lock is only tried where a broker made it.
    let lock = directory.join(turgo_storage::shell::LOCK_FILE);
    let _held = if lock.exists() {
        match turgo_storage::shell::lock_data_dir(directory) {
            Ok(held) => Some(held),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(cannot(format!(
                    "a broker is running on {}: what is measured beside its writes is neither's speed. Stop it first, or name \
                     another directory on the same disk",
                    directory.display()
                )));
            }
            Err(error) => return Err(cannot(format!("{}: {error}", lock.display()))),
        }
    } else {
        None
    };
    let target = if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(
        ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}").expect("a template that is right"),
    );
    let options = Options {
        directory: directory.to_path_buf(),
        time: Duration::from_secs(seconds),
    };
    let found = shell::measure(&options, &mut |progress| {
        bar.set_length(progress.count as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.what);
    });
    bar.finish_and_clear();
    let found = found.map_err(cannot)?;
    let stored = if no_store {
        None
    } else {
        Some(shell::store(directory, &found).map_err(cannot)?)
    };
    if out.is_json() {
        return out.json(&json!({
            "schema": SCHEMA,
            "command": "disk",
            "stored": stored,
            "result": found,
        }));
    }
    print(&found, out)?;
    match stored {
        Some(path) => out.line(format!(
            "kept in {}; the broker uses it from its next start",
            path.display()
        )),
        None => Ok(()),
    }
}

fn print(found: &Measured, out: &mut Out) -> Result<(), CliError> {
    let identity = &found.identity;
    out.line(format!(
        "{} {} {}, {} GB, {}, Linux {}, {:.0} s",
        identity.device,
        identity.model,
        identity.firmware,
        identity.size_bytes / 1_000_000_000,
        identity.filesystem,
        found.kernel,
        found.seconds
    ))?;
    let mut table = Table::new(&[
        "WHAT", "SIZE", "DEPTH", "BESIDE", "MB/S", "OPS/S", "P50 US", "P99 US", "P99.9 US", "MAX US",
    ]);
    for row in &found.measured {
        let latency = &row.latency;
        table.row([
            row.kind.clone(),
            format!("{} KiB", row.block_bytes >> 10),
            row.depth.to_string(),
            row.beside.clone(),
            (row.bytes_per_second / 1_000_000).to_string(),
            (row.bytes_per_second / row.block_bytes.max(1)).to_string(),
            format!("{:.0}", latency.p50_us),
            format!("{:.0}", latency.p99_us),
            format!("{:.0}", latency.p999_us),
            format!("{:.0}", latency.max_us),
        ]);
    }
    out.table(&table)?;
    let floor = &found.floor;
    out.line(format!(
        "floor: a durable 4 KiB write takes {:.0} us (p99 {:.0}, p99.9 {:.0}, {} samples); no acknowledgement is faster",
        floor.p50_us, floor.p99_us, floor.p999_us, floor.samples
    ))?;
    let suggested = &found.suggested;
    out.line(format!(
        "for the broker: {} groups in flight, {} chunk writes and {} catch-up reads at once; groups are cheap up to {} KiB",
        suggested.groups_in_flight,
        suggested.drain_depth,
        suggested.read_depth,
        suggested.cheap_group_bytes >> 10
    ))?;
    for note in &found.notes {
        out.line(format!("note: {note}"))?;
    }
    Ok(())
}

/// Median and 99th percentile of a thousand durable writes, microseconds.
pub fn durable_write(directory: &Path, when: &str) -> Result<(f64, f64), CliError> {
    let mut times = disk::durable_writes(directory, 1_000).map_err(|error| {
        CliError::Failed(format!(
            "--measure, {when} the change: {error}; name the data directory with --data"
        ))
    })?;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    Ok((at(0.5), at(0.99)))
}
