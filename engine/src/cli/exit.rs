//! How the command ends: exit codes and the error that leads to each.

use std::fmt;
use std::process::ExitCode;

/// Everything asked for was done.
pub const OK: u8 = 0;
/// The cluster refused, or part of the work failed.
pub const FAILED: u8 = 1;
/// The command line, a file or a setting is wrong; nothing was attempted.
pub const USAGE: u8 = 2;
/// No broker answered in time.
pub const UNREACHABLE: u8 = 3;
/// `serve`: this machine or data directory cannot run the broker as it is.
pub const UNFIT: u8 = 4;
/// Stopped by the user (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

/// Why a command could not do its work. Each message says what to do next.
#[derive(Debug)]
pub enum CliError {
    /// The operator typed something that cannot be meant.
    Usage(String),
    /// The cluster could not be reached, or did not answer before the deadline.
    Unreachable(String),
    /// The cluster answered, and the answer is no.
    Failed(String),
    /// Several items, some of which failed; each was reported where it happened.
    Partly {
        /// How many failed.
        failed: usize,
        /// How many were asked for.
        total: usize,
    },
    /// What was printed says all; only the code is left.
    Status(u8),
    /// The user stopped it.
    Interrupted,
    /// The reader of our output went away (`turgo consume | head`): not a failure.
    BrokenPipe,
}

impl CliError {
    /// Exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            CliError::Usage(_) => USAGE,
            CliError::Unreachable(_) => UNREACHABLE,
            CliError::Failed(_) | CliError::Partly { .. } => FAILED,
            CliError::Status(code) => *code,
            CliError::Interrupted => INTERRUPTED,
            CliError::BrokenPipe => OK,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Usage(why) | CliError::Unreachable(why) | CliError::Failed(why) => f.write_str(why),
            CliError::Partly { failed, total } => write!(f, "{failed} of {total} failed"),
            CliError::Status(code) => write!(f, "exit code {code}"),
            CliError::Interrupted => f.write_str("interrupted"),
            CliError::BrokenPipe => f.write_str("the reader of the output went away"),
        }
    }
}

impl std::error::Error for CliError {}

/// Output goes to stdout; a closed pipe ends the command quietly, a full disk does not.
impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            CliError::BrokenPipe
        } else {
            CliError::Failed(error.to_string())
        }
    }
}

/// Reports `result` on stderr and turns it into the exit code.
pub fn finish(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(OK),
        Err(error @ (CliError::BrokenPipe | CliError::Interrupted | CliError::Status(_))) => {
            ExitCode::from(error.code())
        }
        Err(error) => {
            eprintln!("turgo: {error}");
            ExitCode::from(error.code())
        }
    }
}
