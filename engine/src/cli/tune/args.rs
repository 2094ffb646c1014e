//! Flags of `turgo tune`. Only declarations.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Format;

/// `turgo tune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:

  turgo tune check                              what costs latency on this machine; changes nothing
  turgo tune explain disk-scheduler
  sudo turgo tune apply --dry-run               what would be changed, as a diff
  sudo turgo tune apply --config /etc/turgo/turgo.toml
  sudo turgo tune undo                          every value back as it was
  turgo tune script > tune.sh                   the same as a script to read and run
  turgo tune disk /var/lib/turgo                measure the disk; the broker uses the result

Exit codes: 0 all well, or done; 1 check: something costs, apply and undo: something was refused or
left alone; 2 check: something could not be looked at, or wrong usage; 4 disk: cannot be measured
honestly. Nothing is changed inside a container: its host's settings are made on the host.")]
pub struct TuneArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: TuneCommand,
}

/// Flags of all its commands: which broker on which machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broker and output")]
pub struct Common {
    /// The broker's settings: data directory, listener, cores
    #[arg(long, global = true, value_name = "FILE", env = "TURGO_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory [default: from the settings]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Interfaces that carry clients [default: those of the listener]
    #[arg(long, global = true, value_name = "NAME,...", value_delimiter = ',')]
    pub nic: Option<Vec<String>>,
    /// Shards that will run [default: from the settings]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub cores: Option<u16>,
    /// Look at the files below this directory instead of at this machine's
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// How to print
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        hide_possible_values = true,
        value_name = "text|json"
    )]
    pub format: Format,
    /// The same as --format json
    #[arg(long, global = true)]
    pub json: bool,
}

/// Which tuners.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Names [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only those about cpu, memory, disk, network or kernel
    #[arg(long, value_name = "WORD,...", value_delimiter = ',')]
    pub category: Vec<String>,
}

/// Second word after `tune`.
#[derive(Debug, Subcommand)]
pub enum TuneCommand {
    /// List tuners and how each setting stands
    List(Chosen),
    /// Tell what a tuner sets, why, what it risks, and how to do it by hand
    Explain {
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Say what costs latency; change nothing
    Check {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Also what is as it should be
        #[arg(short, long)]
        all: bool,
    },
    /// Save the old values, then set what differs
    Apply {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Show what would change, as a diff
        #[arg(long)]
        dry_run: bool,
        /// Also write files (sysctl.d, udev rules, tmpfiles.d) that repeat it after a start of the machine
        #[arg(long)]
        persist: bool,
        /// Time durable writes in the data directory before and after
        #[arg(long, conflicts_with = "dry_run")]
        measure: bool,
        /// Then stay, and keep CPUs out of deep sleep until stopped; for turgo-tune.service
        #[arg(long, conflicts_with = "dry_run")]
        hold: bool,
    },
    /// Put the old values back
    Undo {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Show what would be put back
        #[arg(long)]
        dry_run: bool,
        /// Also where somebody else has changed the value since
        #[arg(long)]
        force: bool,
    },
    /// Print a shell script that does what apply would do
    Script {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// The script that takes it back, to the values of now
        #[arg(long)]
        undo: bool,
        /// Also write files that repeat it after a start of the machine
        #[arg(long)]
        persist: bool,
    },
    /// Measure the disk under a directory and keep the result there, for the broker
    #[command(
        visible_alias = "probe",
        after_help = "\
Examples:

  turgo tune disk /var/lib/turgo
  turgo tune disk /srv/x --seconds 300 --no-store --json

Durable writes of 4 KiB to 1 MiB, one, two and four at once, to space written ahead; the same with
fdatasync and to space only allocated; reads; and durable writes beside the drain's writes and
catch-up reads. It writes at most 768 MiB, only inside DIR, and leaves nothing but the result
(DIR/disk.toml). Stop the broker first."
    )]
    Disk {
        /// The data directory, or another on the disk meant [default: from the settings]
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// About how long it may take
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=3600))]
        seconds: u64,
        /// Print the result only
        #[arg(long)]
        no_store: bool,
        /// No progress on standard error
        #[arg(short, long)]
        quiet: bool,
    },
}
