//! The command line: names, flags and help. Only declarations; the modules beside this one act on them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::parse::{escaped, pair, position, shift, size, time, topic_partitions};

/// The `turgo` command.
#[derive(Debug, Parser)]
#[command(
    name = "turgo",
    version,
    about = "An event streaming broker that speaks Kafka's protocol, and the tools to work with one",
    after_help = "\
Start a broker, make a topic, write to it and read it back:

  turgo serve
  turgo topic create greetings --partitions 3
  echo 'hello' | turgo produce greetings
  turgo consume greetings -o beginning -e

All commands but `serve` and `tune` work against any Kafka cluster: --bootstrap HOST:PORT.

Exit codes: 0 done, 1 refused or partly failed, 2 wrong usage or configuration, 3 no broker
reached, 4 this machine cannot run the broker, 130 interrupted.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// First word of the command line.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker
    Serve(ServeArgs),
    /// Create, delete, list, describe, change and trim topics
    Topic(TopicArgs),
    /// Write records from standard input or files
    Produce(ProduceArgs),
    /// Read records, alone or as a member of a group
    Consume(ConsumeArgs),
    /// List, describe, rewind and delete consumer groups
    Group(GroupArgs),
    /// Read and change settings of topics, brokers and this node's file
    Config(ConfigArgs),
    /// Show brokers, controller and served APIs
    Cluster(ClusterArgs),
    /// Measure a Kafka endpoint
    Bench(turgo_bench::BenchArgs),
    /// Look at this machine, change what costs latency, take it back; measure its disk
    Tune(super::tune::args::TuneArgs),
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: one JSON document (`consume`: one object on each line)
    Json,
}

/// Flags that every command talking to a cluster has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct Connection {
    /// Brokers to start from; one is enough, the others are learned from it
    #[arg(
        short = 'b',
        long,
        global = true,
        value_name = "HOST:PORT,...",
        env = "TURGO_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_delimiter = ','
    )]
    pub bootstrap: Vec<String>,

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

    /// Give up when the cluster has not done its part after this long
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: std::time::Duration,

    /// Name this client gives to the brokers
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "turgo",
        hide = true
    )]
    pub client_id: String,
}

/// `turgo serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:

  turgo serve                                   data in ./turgo-data, clients on 127.0.0.1:9092
  turgo serve --data /srv/turgo --cores 4
  turgo serve --listen 0.0.0.0:9092 --advertised broker1.example:9092
  turgo serve --config /etc/turgo/turgo.toml --check

Settings come from, in this order, the later winning: defaults, the file, environment variables
TURGO_SECTION__KEY (TURGO_NETWORK__LISTEN=...), these flags. `turgo config print --defaults` lists
all of them. SIGTERM or SIGINT stops cleanly: everything acknowledged is on disk either way.")]
pub struct ServeArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "TURGO_CONFIG")]
    pub config: Option<PathBuf>,

    /// Keep all data here [default: ./turgo-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,

    /// Take Kafka clients here [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// Tell clients to connect here [default: as listened on]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertised: Option<String>,

    /// Serve /metrics, /livez and /readyz here, or `off` [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,

    /// Run this many shards [default: one for each CPU this process may use]
    #[arg(long, value_name = "N")]
    pub cores: Option<String>,

    /// Number of this broker in the cluster [default: 1]
    #[arg(long, value_name = "N")]
    pub node_id: Option<String>,

    /// Least important event to log: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Log lines for people or for collectors [default: text]
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,

    /// Set any other setting: a name from `turgo config print`, or one of Kafka's after `kafka.`
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,

    /// Start although acknowledged records are damaged beyond repair: report them, cut them off
    #[arg(long)]
    pub accept_loss: bool,

    /// Check settings and machine, print what was found, and stop
    #[arg(long)]
    pub check: bool,
}

/// `turgo topic`.
#[derive(Debug, Args)]
pub struct TopicArgs {
    /// Common flags.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: TopicCommand,
}

/// Second word after `topic`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Make topics
    #[command(after_help = "\
Examples:

  turgo topic create orders --partitions 12
  turgo topic create audit --partitions 3 --set retention.ms='30 days' --set cleanup.policy=delete
  turgo topic create cache --set durability=memory --if-not-exists

Sizes and times may carry a unit. `turgo config list --topic NAME --all` shows what can be set.")]
    Create {
        /// Names: letters, digits, `.`, `_` and `-`, at most 249
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Partitions of each topic [default: the cluster's num.partitions]
        #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Replicas of each partition [default: the cluster's default.replication.factor]
        #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic
        #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
        set: Vec<(String, String)>,
        /// A topic that is already there is fine
        #[arg(long)]
        if_not_exists: bool,
        /// Have the cluster check the request without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete topics and their records
    Delete {
        /// Topics
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// A topic that is not there is fine
        #[arg(long)]
        if_exists: bool,
    },
    /// List topics
    List {
        /// Only names that contain this
        #[arg(value_name = "TEXT")]
        containing: Option<String>,
        /// Internal topics too
        #[arg(short, long)]
        all: bool,
    },
    /// Show partitions, leaders, offsets, sizes and changed settings of topics
    Describe {
        /// Topics; none means all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Change settings of a topic
    #[command(after_help = "\
Examples:

  turgo topic alter orders --set retention.ms='7 days' --unset segment.bytes
  turgo topic alter orders --set max.message.bytes='2 MiB' --dry-run")]
    Alter {
        /// Topic
        name: String,
        /// A setting to change
        #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
        set: Vec<(String, String)>,
        /// A setting to take back to its default
        #[arg(short, long, value_name = "KEY")]
        unset: Vec<String>,
        /// Have the cluster check the request without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Raise the number of partitions. Keys may land elsewhere from then on
    AddPartitions {
        /// Topic
        name: String,
        /// Partitions the topic shall have in all
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        to: i32,
        /// Have the cluster check the request without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete the oldest records of a topic, up to an offset or a time
    #[command(after_help = "\
Examples:

  turgo topic trim orders --before end                  delete every record
  turgo topic trim orders --before 1000 -p 0            delete what lies below offset 1000
  turgo topic trim orders --before @1735689600000       delete what is older than a time
  turgo topic trim orders --before end --dry-run        show what would go")]
    Trim {
        /// Topic
        name: String,
        /// First offset to keep: a number, `end`, -N to keep the newest N, or @MILLISECONDS since 1970
        #[arg(long, value_name = "OFFSET", value_parser = position, allow_hyphen_values = true)]
        before: Position,
        /// Only these partitions
        #[arg(short, long = "partition", value_name = "N", value_delimiter = ',')]
        partitions: Vec<i32>,
        /// Show what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
}

/// Compression of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// No compression
    None,
    /// gzip
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
}

/// When a produced batch counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Once handed to the network: nothing is confirmed
    #[value(name = "0")]
    None,
    /// Once the leader has it
    #[value(name = "1")]
    Leader,
    /// Once all in-sync replicas have it
    #[value(name = "all", alias = "-1")]
    All,
}

/// Form of the input of `turgo produce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Input {
    /// Records end with the delimiter
    Lines,
    /// One JSON object on each line: value or value_base64, key or key_base64, headers, partition, timestamp
    Json,
}

/// `turgo produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:

  echo 'hello' | turgo produce greetings
  turgo produce orders -K : < orders.txt                lines of KEY:VALUE
  turgo produce orders -k eu -H source=import -z zstd --file a.txt --file b.txt
  turgo produce images --whole --file cat.jpg           one record from the whole file
  turgo produce cache -K : -Z                           `key:` deletes (null value)
  turgo consume a -e --format json | turgo produce b --input json

Each line is one record. A keyed record goes to the partition that Kafka's Java client would choose;
records without a key fill one batch for one partition after the other.")]
pub struct ProduceArgs {
    /// Topic to write to
    pub topic: String,
    /// Write to this partition only
    #[arg(short, long, value_name = "N")]
    pub partition: Option<i32>,
    /// Text between key and value of each line; without it there are no keys
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = escaped)]
    pub key_delimiter: Option<Delimiter>,
    /// Give every record this key
    #[arg(short, long, value_name = "KEY", conflicts_with = "key_delimiter")]
    pub key: Option<String>,
    /// Text that ends each record; \n, \t, \0 and \xHH are understood
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n", value_parser = escaped)]
    pub delimiter: Delimiter,
    /// Add a header to every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    pub headers: Vec<(String, String)>,
    /// An empty value is a null value, which deletes the key in a compacted topic
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// Compress batches
    #[arg(short = 'z', long, value_enum, default_value = "none", value_name = "CODEC")]
    pub compression: Codec,
    /// Confirmation to wait for
    #[arg(short = 'a', long, value_enum, default_value = "all", value_name = "0|1|all")]
    pub acks: Acks,
    /// Creation time of every record, milliseconds since 1970 [default: the time it is read]
    #[arg(long, value_name = "MS")]
    pub timestamp: Option<i64>,
    /// Read this file instead of standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Each file (or all of standard input) is one record
    #[arg(long, conflicts_with = "input")]
    pub whole: bool,
    /// Form of the input
    #[arg(long, value_enum, default_value = "lines", value_name = "lines|json")]
    pub input: Input,
    /// Send a batch when it holds this many bytes
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = size)]
    pub batch_bytes: u64,
    /// Send an unfinished batch after this long
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = time)]
    pub linger: std::time::Duration,
    /// Print partition and offset of every batch
    #[arg(short, long)]
    pub verbose: bool,
    /// Common flags.
    #[command(flatten)]
    pub connection: Connection,
}

/// Where reading starts or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record.
    Beginning,
    /// After the newest record.
    End,
    /// Where the group stopped.
    Stored,
    /// An offset.
    Offset(i64),
    /// This many records before the end.
    FromEnd(i64),
    /// The first record at or after this time, milliseconds since 1970.
    Timestamp(i64),
}

/// `turgo consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:

  turgo consume orders                                  new records, until interrupted
  turgo consume orders -o beginning -e                  all records, then stop
  turgo consume orders -o -10 -e                        the last ten of each partition
  turgo consume orders -o @1735689600000 -c 5           five records since a time
  turgo consume orders -f '%T %p/%o %k => %s\\n' -e
  turgo consume orders -e --format json | jq .value
  turgo consume orders -g billing                       as a member of group billing

Format: %s or %v value, %k key, %h headers, %t topic, %p partition, %o offset, %T timestamp (ms),
%S value length, %K key length, %% a percent sign; \\n, \\t, \\0 and \\xHH are understood. Null is empty
with length -1.")]
pub struct ConsumeArgs {
    /// Topics to read
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Read only these partitions
    #[arg(
        short,
        long = "partition",
        value_name = "N",
        value_delimiter = ',',
        conflicts_with = "group"
    )]
    pub partitions: Vec<i32>,
    /// Start at beginning, end, stored, N, -N (before the end) or @MILLISECONDS [default: end; with -g stored]
    #[arg(short, long, value_name = "POSITION", value_parser = position, allow_hyphen_values = true)]
    pub offset: Option<Position>,
    /// Stop after this many records
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop at the end of every partition
    #[arg(short, long)]
    pub exit: bool,
    /// Print each record like this
    #[arg(short = 'f', long = "template", value_name = "FORMAT")]
    pub template: Option<String>,
    /// Text between records, when there is no -f
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n", value_parser = escaped)]
    pub delimiter: Delimiter,
    /// Print the key and this text before each value, when there is no -f
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = escaped)]
    pub key_delimiter: Option<Delimiter>,
    /// Join this consumer group, share its partitions, store its offsets
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Keep this place in the group over restarts (static membership)
    #[arg(long, value_name = "ID", requires = "group")]
    pub instance_id: Option<String>,
    /// Do not store offsets
    #[arg(long, requires = "group")]
    pub no_commit: bool,
    /// The group gives the place away after this long without a sign of life
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = time, requires = "group")]
    pub session_timeout: std::time::Duration,
    /// Leave out records of transactions that are open or were aborted
    #[arg(long)]
    pub read_committed: bool,
    /// Most bytes of one fetch from one partition
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    pub fetch_bytes: u64,
    /// Flush after every record
    #[arg(short, long)]
    pub unbuffered: bool,
    /// Say nothing on standard error about assignments and ends of partitions
    #[arg(short, long)]
    pub quiet: bool,
    /// Common flags.
    #[command(flatten)]
    pub connection: Connection,
}

/// `turgo group`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Common flags.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: GroupCommand,
}

/// Second word after `group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups and their states
    List {
        /// Only groups in these states: Stable, Empty, Dead, PreparingRebalance, CompletingRebalance
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
    },
    /// Show members, offsets and lag of groups
    Describe {
        /// Groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Move the stored offsets of a group that has no members
    #[command(
        visible_alias = "reset-offsets",
        after_help = "\
Examples:

  turgo group seek billing --to beginning                every topic the group has offsets for
  turgo group seek billing --topic orders --to @1735689600000
  turgo group seek billing --topic orders:0,1 --to 4200
  turgo group seek billing --to +100 --dry-run           skip 100 records; show it only

Positions outside a partition are moved to its nearest end."
    )]
    Seek {
        /// Group
        group: String,
        /// Only this topic, or only some of its partitions: TOPIC or TOPIC:0,1; may be repeated
        #[arg(short, long = "topic", value_name = "TOPIC[:N,..]", value_parser = topic_partitions)]
        topics: Vec<TopicPartitions>,
        /// beginning, end, an offset, +N or -N from the stored one, or @MILLISECONDS
        #[arg(long, value_name = "POSITION", value_parser = shift, allow_hyphen_values = true)]
        to: Shift,
        /// Show old and new offsets without storing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete groups that have no members, with their offsets
    Delete {
        /// Groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Forget the offsets of a group for topics it no longer reads
    DeleteOffsets {
        /// Group
        group: String,
        /// TOPIC or TOPIC:0,1; may be repeated
        #[arg(short, long = "topic", value_name = "TOPIC[:N,..]", required = true, value_parser = topic_partitions)]
        topics: Vec<TopicPartitions>,
    },
}

/// A new place for stored offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// A place of its own.
    To(Position),
    /// So many records on from the stored offset; negative goes back.
    By(i64),
}

/// A topic, and perhaps only some of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitions {
    /// Topic.
    pub topic: String,
    /// Partitions; empty means all.
    pub partitions: Vec<i32>,
}

/// `turgo config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:

  turgo config list --topic orders                       what differs from the defaults
  turgo config get --topic orders retention.ms
  turgo config set --topic orders retention.ms='7 days'
  turgo config set --cluster log.retention.ms='3 days'   default of all topics
  turgo config unset --topic orders retention.ms
  turgo config check /etc/turgo/turgo.toml
  turgo config print --defaults > turgo.toml")]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What a setting belongs to.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Entity {
    /// Settings of a topic
    #[arg(short, long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Settings of one broker
    #[arg(long, value_name = "ID")]
    pub broker: Option<i32>,
    /// Settings of all brokers
    #[arg(short, long)]
    pub cluster: bool,
    /// Settings of a consumer group
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Second word after `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the value of settings
    Get {
        /// Common flags.
        #[command(flatten)]
        connection: Connection,
        /// What they belong to.
        #[command(flatten)]
        entity: Entity,
        /// Names
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Change settings
    Set {
        /// Common flags.
        #[command(flatten)]
        connection: Connection,
        /// What they belong to.
        #[command(flatten)]
        entity: Entity,
        /// Settings; sizes and times may carry a unit
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        settings: Vec<(String, String)>,
        /// Have the cluster check the request without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Take settings back to their defaults
    Unset {
        /// Common flags.
        #[command(flatten)]
        connection: Connection,
        /// What they belong to.
        #[command(flatten)]
        entity: Entity,
        /// Names
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// Have the cluster check the request without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// List settings with value and source
    List {
        /// Common flags.
        #[command(flatten)]
        connection: Connection,
        /// What they belong to.
        #[command(flatten)]
        entity: Entity,
        /// Those at their default too
        #[arg(short, long)]
        all: bool,
        /// With documentation and the chain of sources
        #[arg(short, long)]
        verbose: bool,
    },
    /// Check a node's TOML file, environment included, without starting anything
    Check {
        /// File
        #[arg(value_name = "FILE", env = "TURGO_CONFIG")]
        file: Option<PathBuf>,
    },
    /// Print this node's settings as an annotated TOML file
    Print {
        /// Defaults only: no file, no environment
        #[arg(long, conflicts_with = "config")]
        defaults: bool,
        /// File to read first
        #[arg(long, value_name = "FILE", env = "TURGO_CONFIG")]
        config: Option<PathBuf>,
        /// How to print
        #[arg(
            long,
            value_enum,
            default_value = "text",
            hide_possible_values = true,
            value_name = "text|json"
        )]
        format: Format,
    },
}

/// `turgo cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Common flags.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// Second word after `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show cluster id, controller and brokers
    Info,
    /// Show the APIs and versions that each broker serves
    Apis,
}

/// Bytes given as text with escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiter(pub Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declarations_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn topic_create_reads_as_documented_with_connection_flags_anywhere() {
        let cli = Cli::parse_from([
            "turgo",
            "topic",
            "create",
            "t",
            "--partitions",
            "3",
            "--set",
            "a.b=c=d",
            "--bootstrap",
            "h:1,i:2",
        ]);
        let Command::Topic(TopicArgs {
            connection,
            command:
                TopicCommand::Create {
                    names,
                    partitions,
                    set,
                    ..
                },
        }) = cli.command
        else {
            panic!("not topic create");
        };
        assert_eq!((names, partitions), (vec!["t".to_string()], Some(3)));
        assert_eq!(set, [("a.b".to_string(), "c=d".to_string())]);
        assert_eq!(connection.bootstrap, ["h:1", "i:2"]);
        let cli = Cli::parse_from(["turgo", "topic", "--format", "json", "list"]);
        assert!(matches!(
            cli.command,
            Command::Topic(TopicArgs {
                connection: Connection {
                    format: Format::Json,
                    ..
                },
                ..
            })
        ));
    }

    #[test]
    fn an_offset_before_the_end_is_no_flag() {
        let cli = Cli::parse_from(["turgo", "consume", "t", "-o", "-5", "-e"]);
        let Command::Consume(args) = cli.command else {
            panic!("not consume")
        };
        assert_eq!((args.offset, args.exit), (Some(Position::FromEnd(5)), true));
    }
}
