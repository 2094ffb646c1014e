//! The `turgo` command: reads the command line and does one thing.
//!
//! `main` calls [`run`] with the function that runs a broker. Everything but `serve` is a client of some
//! Kafka cluster: it talks through [`client`](self) with blocking sockets on this one thread and needs no
//! broker in the process. Output goes to stdout, everything else to stderr; see [`exit`] for the codes.

pub mod args;
pub mod exit;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use turgo_tuning::preflight::Report;

use args::{Cli, Command, ConfigCommand};
use exit::CliError;

use crate::config::NodeConfig;

/// Runs a broker with checked settings, on a machine that was looked at, until it is told to stop; returns
/// the exit code of the process.
pub type Serve = fn(NodeConfig, Report) -> ExitCode;

/// Runs the command line of this process. `serve` starts the broker.
pub fn run(serve: Serve) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure, whoever closes the pipe.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    match cli.command {
        Command::Serve(args) => serve::serve(&args, serve),
        command => exit::finish(client_command(command)),
    }
}

fn client_command(command: Command) -> Result<(), CliError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = match command {
        Command::Config(args) => match args.command {
            ConfigCommand::Check { file } => serve::check(file.as_deref(), &mut out),
            ConfigCommand::Print {
                defaults,
                config,
                format,
            } => serve::print(defaults, config.as_deref(), format, &mut out),
            _ => Err(CliError::Usage("needs the protocol client".into())),
        },
        _ => Err(CliError::Usage("needs the protocol client".into())),
    };
    // What was printed before a failure still reaches the reader.
    let flushed = out.flush().map_err(CliError::from);
    result.and(flushed)
}
