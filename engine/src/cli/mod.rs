//! The `turgo` command: reads the command line and does one thing.
//!
//! `main` calls [`run`] with the function that runs a broker. Everything but `serve` and `tune` is a client of some
//! Kafka cluster: it talks through [`client`](self) with blocking sockets on this one thread and needs no
//! broker in the process. Output goes to stdout, everything else to stderr; see [`exit`] for the codes.

pub mod args;
pub mod client;
mod cluster;
mod configs;
mod consume;
pub mod exit;
mod groups;
mod output;
mod parse;
mod produce;
mod serve;
mod sys;
mod text;
mod topics;
pub mod tune;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use turgo_tuning::preflight::Report;

use args::{Cli, Command, ConfigCommand, Connection};
use client::Client;
use exit::CliError;
use output::Out;

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
    let stdout = std::io::stdout();
    // Large writes pass a locked, buffered stdout whole; commands flush when a reader should see something.
    let mut writer = std::io::BufWriter::with_capacity(64 << 10, stdout.lock());
    let result = dispatch(command, &mut writer);
    // What was printed before a failure still reaches the reader.
    let flushed = writer.flush().map_err(CliError::from);
    result.and(flushed)
}

fn dispatch(command: Command, writer: &mut dyn Write) -> Result<(), CliError> {
    let connect = |connection: &Connection| Client::connect(connection);
    let out = |connection: &Connection, writer| Out {
        writer,
        format: connection.format,
    };
    match command {
        Command::Serve(_) => unreachable!("serve does not come here"),
        Command::Bench(args) => match turgo_bench::run(&args) {
            exit::OK => Ok(()),
            code => Err(CliError::Status(code)),
        },
        Command::Tune(args) => tune::run(&args, writer),
        Command::Topic(args) => topics::run(
            &mut connect(&args.connection)?,
            args.command,
            &mut out(&args.connection, writer),
        ),
        Command::Produce(args) => produce::run(
            &mut connect(&args.connection)?,
            &args,
            &mut out(&args.connection, writer),
        ),
        Command::Consume(args) => consume::run(
            &mut connect(&args.connection)?,
            &args,
            &mut out(&args.connection, writer),
        ),
        Command::Group(args) => groups::run(
            &mut connect(&args.connection)?,
            args.command,
            &mut out(&args.connection, writer),
        ),
        Command::Cluster(args) => cluster::run(
            &mut connect(&args.connection)?,
            args.command,
            &mut out(&args.connection, writer),
        ),
        Command::Config(args) => match args.command {
            ConfigCommand::Check { file } => serve::check(file.as_deref(), writer),
            ConfigCommand::Print {
                defaults,
                config,
                format,
            } => serve::print(defaults, config.as_deref(), format, writer),
            ConfigCommand::Get {
                connection,
                entity,
                keys,
            } => configs::get(
                &mut connect(&connection)?,
                &entity,
                &keys,
                &mut out(&connection, writer),
            ),
            ConfigCommand::Set {
                connection,
                entity,
                settings,
                dry_run,
            } => {
                let mut client = connect(&connection)?;
                let resource = configs::Resource::of(&entity);
                configs::alter(
                    &mut client,
                    &resource,
                    &settings,
                    &[],
                    dry_run,
                    &mut out(&connection, writer),
                )
            }
            ConfigCommand::Unset {
                connection,
                entity,
                keys,
                dry_run,
            } => {
                let mut client = connect(&connection)?;
                let resource = configs::Resource::of(&entity);
                configs::alter(
                    &mut client,
                    &resource,
                    &[],
                    &keys,
                    dry_run,
                    &mut out(&connection, writer),
                )
            }
            ConfigCommand::List {
                connection,
                entity,
                all,
                verbose,
            } => configs::list(
                &mut connect(&connection)?,
                &entity,
                all,
                verbose,
                &mut out(&connection, writer),
            ),
        },
    }
}
