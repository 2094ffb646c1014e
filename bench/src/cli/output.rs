//! Where results go: stdout in one form, and files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::report::{Raw, Report, html, logs, omb, perf, text};
use crate::shell::runner::RunError;

use super::Format;

/// Files to write.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub struct Outputs {
    /// The whole result as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json_file: Option<PathBuf>,
    /// Interval histograms, for HistogramLogProcessor
    #[arg(long, global = true, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Percentile distribution of the response time, for HdrHistogram's plotters
    #[arg(long, global = true, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// The result file of the OpenMessaging benchmark
    #[arg(long, global = true, value_name = "FILE")]
    omb_file: Option<PathBuf>,
    /// A report in one HTML file
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The percentile curve as SVG
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Append the result as one line of JSON
    #[arg(long, global = true, value_name = "FILE")]
    history: Option<PathBuf>,
}

fn unwritable(path: &Path, error: &std::io::Error) -> RunError {
    RunError::Usage(format!(
        "{}: {error}; give a path that this user may write",
        path.display()
    ))
}

fn create(path: &Path) -> Result<BufWriter<File>, RunError> {
    File::create(path)
        .map(BufWriter::new)
        .map_err(|e| unwritable(path, &e))
}

/// Appends a line to a file.
///
/// # Errors
/// It cannot be written.
pub fn append(path: &Path, line: &str) -> Result<(), RunError> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| unwritable(path, &e))?;
    writeln!(file, "{line}").map_err(|e| unwritable(path, &e))
}

fn json_of(report: &Report) -> Result<String, RunError> {
    serde_json::to_string(report).map_err(|e| RunError::Usage(format!("the result has no JSON form: {e}")))
}

impl Outputs {
    /// Refuses paths that cannot be written, before anything is measured.
    ///
    /// # Errors
    /// Which path, and why.
    pub fn check(&self) -> Result<(), RunError> {
        let all = [
            &self.json_file,
            &self.hlog,
            &self.hgrm,
            &self.omb_file,
            &self.html,
            &self.svg,
            &self.history,
        ];
        for path in all.into_iter().flatten() {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|e| unwritable(path, &e))?;
        }
        Ok(())
    }

    /// Writes all files asked for.
    ///
    /// # Errors
    /// Which path, and why.
    pub fn write(&self, report: &Report, raw: &Raw) -> Result<(), RunError> {
        let save = |path: &Option<PathBuf>, content: &dyn Fn() -> Result<Vec<u8>, RunError>| {
            let Some(path) = path else { return Ok(()) };
            let mut file = create(path)?;
            let bytes = content()?;
            file.write_all(&bytes)
                .and_then(|()| file.flush())
                .map_err(|e| unwritable(path, &e))
        };
        let io = |e: std::io::Error| RunError::Usage(e.to_string());
        save(&self.json_file, &|| Ok(json_of(report)?.into_bytes()))?;
        save(&self.hlog, &|| {
            let mut out = Vec::new();
            logs::hlog(raw, &mut out).map_err(io)?;
            Ok(out)
        })?;
        save(&self.hgrm, &|| {
            let mut out = Vec::new();
            logs::hgrm(&raw.totals.response, &mut out).map_err(io)?;
            Ok(out)
        })?;
        save(&self.omb_file, &|| {
            Ok(omb::result(report, raw).to_string().into_bytes())
        })?;
        save(
            &self.html,
            &|| Ok(html::page(&[(report, raw)], None).into_bytes()),
        )?;
        save(&self.svg, &|| {
            Ok(html::percentile_chart(&[(report, raw)]).into_bytes())
        })?;
        match &self.history {
            Some(path) => append(path, &json_of(report)?),
            None => Ok(()),
        }
    }
}

impl Outputs {
    /// The history file.
    pub fn history(&self) -> Option<&Path> {
        self.history.as_deref()
    }

    /// Writes what a scenario of several runs has: its JSON and its page.
    ///
    /// # Errors
    /// Which path, and why.
    pub fn write_all(&self, json: &impl serde::Serialize, page: &str) -> Result<(), RunError> {
        if let Some(path) = &self.json_file {
            let text = serde_json::to_string(json).map_err(|e| RunError::Usage(e.to_string()))?;
            std::fs::write(path, text).map_err(|e| unwritable(path, &e))?;
        }
        match &self.html {
            Some(path) => std::fs::write(path, page).map_err(|e| unwritable(path, &e)),
            None => Ok(()),
        }
    }
}

/// Prints a result.
///
/// # Errors
/// stdout is gone.
pub fn print(format: Format, report: &Report, raw: &Raw) -> Result<(), RunError> {
    let text = match format {
        Format::Text => text::text(report),
        Format::Json => json_of(report)?,
        Format::Omb => omb::result(report, raw).to_string(),
        Format::KafkaPerf => perf::line(&raw.totals, report.seconds),
    };
    say(text.trim_end())
}

/// Prints some text; a reader that went away is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn say(text: &str) -> Result<(), RunError> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(RunError::Usage(format!("stdout: {e}"))),
        _ => Ok(()),
    }
}
