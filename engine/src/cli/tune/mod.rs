//! `turgo tune`: brings the tuners and the measurement of disks to the command line.
//!
//! [`run`] reads the broker's settings for what it will use of the machine, asks `turgo-tuning`, and prints. The decisions
//! are there; here are words, exit codes and the refusal to change anything inside a container.

pub mod args;
mod disk;
mod hold;
mod show;

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::json;
use turgo_tuning::files::Below;
use turgo_tuning::host::{Host, Interfaces, Scope};
use turgo_tuning::tune::act::{self, ActError, Done, Outcome, UndoHow};
use turgo_tuning::tune::{self, Report, SCHEMA, Selection, State, TUNERS, Tuner};

use super::args::Format;
use super::exit::{CliError, UNFIT};
use super::output::Out;
use crate::config::{self, NodeConfig};
use args::{Chosen, Common, TuneArgs, TuneCommand};

/// Does what the command line says.
pub fn run(args: &TuneArgs, writer: &mut dyn Write) -> Result<(), CliError> {
    let common = &args.common;
    let format = if common.json { Format::Json } else { common.format };
    let mut out = Out { writer, format };
    let config = config::load(common.config.as_deref(), super::serve::environment(), &[])
        .map_err(|errors| CliError::Usage(errors.to_string()))?;
    if let TuneCommand::Disk {
        directory,
        seconds,
        no_store,
        quiet,
    } = &args.command
    {
        let directory = directory.as_ref().or(common.data.as_ref());
        let directory = directory.unwrap_or(&config.data_dir);
        return disk::run(directory, *seconds, *no_store, *quiet, &mut out);
    }
    if let TuneCommand::Explain { names } = &args.command {
        return show::explain(&chosen(names, &[])?, &mut out);
    }
    let files = Below::new(&common.root)
        .map_err(|error| CliError::Usage(format!("--root {}: {error}", common.root.display())))?;
    let host = Host::read(&files, &scope(common, &config));
    let machine = Machine {
        files: &files,
        host,
        data_dir: common.data.clone().unwrap_or_else(|| config.data_dir.clone()),
    };
    match &args.command {
        TuneCommand::List(which) => show::list(&machine.check(which)?, &mut out),
        TuneCommand::Check { chosen, all } => {
            let report = machine.check(chosen)?;
            show::check(&report, *all, &mut out)?;
            status(report.exit_code())
        }
        TuneCommand::Apply {
            chosen,
            dry_run: true,
            persist,
            ..
        } => {
            let report = machine.check(chosen)?;
            let lines = act::preview(&files, &act::changes(&report, *persist));
            show::changes("apply", true, &lines, &left(&report), None, &mut out)
        }
        TuneCommand::Apply {
            chosen,
            persist,
            measure,
            hold,
            ..
        } => machine.apply(chosen, *persist, *measure, *hold, &mut out),
        TuneCommand::Undo {
            chosen: which,
            dry_run,
            force,
        } => {
            let tuners = chosen(&which.names, &which.category)?;
            let meant = |name: &str| {
                // A tuner of an earlier version is undone with all the others.
                tuners.iter().any(|tuner| tuner.name == name)
                    || tuners.len() == TUNERS.len() && !TUNERS.iter().any(|tuner| tuner.name == name)
            };
            if !dry_run {
                machine.refuse_container("undo")?;
            }
            let how = UndoHow {
                force: *force,
                dry_run: *dry_run,
            };
            let lines = act::undo(&files, &meant, &machine.host.boot_id, how).map_err(refused)?;
            show::changes("undo", *dry_run, &lines, &[], None, &mut out)?;
            status(u8::from(lines.iter().any(|line| line.outcome.is_bad())))
        }
        TuneCommand::Script {
            chosen,
            undo,
            persist,
        } => {
            let report = machine.check(chosen)?;
            let lines = act::preview(&files, &act::changes(&report, *persist));
            let reason = |name: &str| {
                TUNERS
                    .iter()
                    .find(|tuner| tuner.name == name)
                    .map(|tuner| tuner.why)
            };
            let text = tune::script::script(&lines, &reason, *undo);
            if out.is_json() {
                return out.json(&json!({"schema": SCHEMA, "command": "script", "script": text}));
            }
            Ok(out.writer.write_all(text.as_bytes())?)
        }
        TuneCommand::Disk { .. } | TuneCommand::Explain { .. } => unreachable!("done above"),
    }
}

fn status(code: u8) -> Result<(), CliError> {
    if code == 0 {
        Ok(())
    } else {
        Err(CliError::Status(code))
    }
}

fn refused(error: ActError) -> CliError {
    CliError::Failed(error.to_string())
}

fn chosen(names: &[String], categories: &[String]) -> Result<Vec<&'static Tuner>, CliError> {
    let selection = Selection {
        names: names.to_vec(),
        categories: categories.to_vec(),
    };
    selection.tuners().map_err(CliError::Usage)
}

/// What the broker of these settings will use of the machine.
fn scope(common: &Common, config: &NodeConfig) -> Scope {
    let is_live = common.root == std::path::Path::new("/");
    let interfaces = match &common.nic {
        Some(names) => Interfaces::Named(names.clone()),
        // What this machine listens on says nothing about another one's files.
        None if !is_live => Interfaces::All,
        None => {
            let addresses: Vec<IpAddr> = config
                .listen
                .resolve()
                .unwrap_or_default()
                .iter()
                .map(|address| address.ip())
                .collect();
            Interfaces::of_listener(&addresses)
        }
    };
    let data_dir = common.data.as_ref().unwrap_or(&config.data_dir);
    Scope {
        root: common.root.clone(),
        data_dir: std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone()),
        interfaces,
        shards: common.cores.map(usize::from).or(config.cores),
        pin_cores: config.pin_cores,
    }
}

/// What differs and cannot be changed from here.
fn left(report: &Report) -> Vec<(&'static str, &tune::Item)> {
    let items = report
        .tuners
        .iter()
        .flat_map(|found| found.items.iter().map(move |item| (found.name, item)));
    items
        .filter(|(_, item)| item.state == State::Differs && item.change.is_none())
        .collect()
}

struct Machine<'a> {
    files: &'a Below,
    host: Host<'a>,
    data_dir: PathBuf,
}

impl Machine<'_> {
    fn check(&self, which: &Chosen) -> Result<Report, CliError> {
        Ok(tune::check(&self.host, &chosen(&which.names, &which.category)?))
    }

    fn refuse_container(&self, what: &str) -> Result<(), CliError> {
        match &self.host.container {
            None => Ok(()),
            Some(kind) => Err(CliError::Failed(format!(
                "this is a container ({kind}): these settings belong to its host. `turgo tune check` names them; make them \
                 there, with `turgo tune script` or by running `turgo tune {what}` on the host"
            ))),
        }
    }

    fn apply(
        &self,
        which: &Chosen,
        persist: bool,
        measure: bool,
        hold: bool,
        out: &mut Out,
    ) -> Result<(), CliError> {
        if hold && !turgo_tuning::files::Files::is_live(self.files) {
            return Err(CliError::Usage(
                "--hold acts on this machine; leave --root out".into(),
            ));
        }
        self.refuse_container("apply")?;
        let before = self.check(which)?;
        let time = |when| match measure {
            true => disk::durable_write(&self.data_dir, when).map(Some),
            false => Ok(None),
        };
        let first = time("before")?;
        let changes = act::changes(&before, persist);
        let now = super::sys::clock_ms().max(0) as u64 / 1000;
        let lines: Vec<Done> = act::apply(self.files, &changes, now, &self.host.boot_id).map_err(refused)?;
        let second = time("after")?;
        show::changes("apply", false, &lines, &left(&before), first.zip(second), out)?;
        if hold {
            out.writer.flush()?;
            // A refused setting is no reason not to hold the others: the log has it.
            return hold::hold();
        }
        status(u8::from(lines.iter().any(|line: &Done| {
            line.outcome.is_bad() || line.outcome == Outcome::Failed
        })))
    }
}

/// `tune disk` ends like `serve` on a machine that does not do.
const CANNOT_MEASURE: u8 = UNFIT;
