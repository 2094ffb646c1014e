//! The table of node settings: each is declared here once, with name, range, default, when a change
//! applies, and what it means. Parsing, help, `turgo config print` and the manual read this table.
//!
//! Broker and topic settings are not here: they carry Kafka's names, live in the metadata log and can
//! be given start values under `[kafka]`.

use super::value::Kind;

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// At the next start of the process.
    Restart,
    /// When the process is told to reload.
    Live,
}

impl Applies {
    /// The word in listings.
    pub fn name(self) -> &'static str {
        match self {
            Applies::Restart => "restart",
            Applies::Live => "live",
        }
    }
}

/// One node setting.
#[derive(Debug)]
pub struct Setting {
    /// Table in the file, and first part of the environment variable.
    pub section: &'static str,
    /// Name within the section.
    pub key: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Value if no layer says otherwise, as the file would write it.
    pub default: &'static str,
    /// When a change takes effect.
    pub applies: Applies,
    /// The flag of `turgo serve` that sets it, if there is one.
    pub flag: Option<&'static str>,
    /// What it means, in one or two sentences.
    pub doc: &'static str,
}

impl Setting {
    /// `section.key`, as messages and listings name it.
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!(
            "TURGO_{}__{}",
            self.section.to_ascii_uppercase(),
            self.key.to_ascii_uppercase()
        )
    }
}

/// Name of the section whose keys are Kafka's broker settings, handed on as they are.
pub const KAFKA: &str = "kafka";

const fn setting(
    section: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    flag: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting {
        section,
        key,
        kind,
        default,
        applies: Applies::Restart,
        flag,
        doc,
    }
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 86_400_000;

/// All node settings, in the order in which they are printed.
pub static SETTINGS: &[Setting] = &[
    setting(
        "node",
        "id",
        Kind::Count {
            min: 0,
            max: i32::MAX as u64,
        },
        "1",
        Some("--node-id"),
        "Number of this broker; clients see it in metadata. It belongs to the data directory and must not change.",
    ),
    setting(
        "node",
        "cluster_id",
        Kind::Text { max: 64 },
        "",
        None,
        "Identity of the cluster. Empty: made at the first start and kept in the data directory. \
         A data directory of another cluster is refused.",
    ),
    setting(
        "node",
        "rack",
        Kind::Text { max: 249 },
        "",
        None,
        "Rack or zone of this broker, told to clients.",
    ),
    setting(
        "node",
        "data_dir",
        Kind::Path,
        "./turgo-data",
        Some("--data"),
        "Directory of all data, on ext4 or XFS. Made if it does not exist.",
    ),
    setting(
        "node",
        "cores",
        Kind::CountOrAuto { min: 1, max: 512 },
        "auto",
        Some("--cores"),
        "Shards to run, each a thread with a core of its own. auto: one for each CPU this process may use.",
    ),
    setting(
        "node",
        "pin_cores",
        Kind::Bool,
        "true",
        None,
        "Bind each shard to its CPU. Turn it off when other work shares the CPUs or a CPU quota applies.",
    ),
    setting(
        "node",
        "accept_loss",
        Kind::Bool,
        "false",
        Some("--accept-loss"),
        "Start although recovery found acknowledged records damaged beyond repair: what is lost is named in the \
         log, cut off, and serving begins without it. Meant for one start, after a look at the device.",
    ),
    setting(
        "network",
        "listen",
        Kind::Address,
        "127.0.0.1:9092",
        Some("--listen"),
        "Address for Kafka clients. Port 0 takes a free one.",
    ),
    setting(
        "network",
        "advertised",
        Kind::AddressOrEmpty,
        "",
        Some("--advertised"),
        "Address that clients are told to connect to. Empty: the one listened on; needed when that names every \
         interface or when clients come through a proxy or port mapping.",
    ),
    setting(
        "network",
        "max_frame_bytes",
        Kind::Size {
            min: 64 << 10,
            max: GIB,
        },
        "100 MiB",
        None,
        "Largest request. A longer length prefix closes the connection before anything is allocated.",
    ),
    setting(
        "network",
        "max_connections",
        Kind::Count {
            min: 1,
            max: 1_000_000,
        },
        "10000",
        None,
        "Client connections open at once. One more is closed as soon as it is accepted.",
    ),
    setting(
        "network",
        "idle_timeout",
        Kind::Time {
            min_ms: 1_000,
            max_ms: 30 * DAY_MS,
        },
        "10 min",
        None,
        "A connection that neither sends nor awaits anything for this long is closed.",
    ),
    setting(
        "admin",
        "listen",
        Kind::AddressOrOff,
        "127.0.0.1:9644",
        Some("--admin"),
        "Address of /metrics, /livez and /readyz. off: no such listener.",
    ),
    setting(
        "journal",
        "ring_bytes",
        Kind::Size {
            min: 4 * MIB,
            max: 8 * GIB,
        },
        "1 GiB",
        None,
        "Journal of each core, written ahead once and then reused. It bounds how much a start after a crash reads.",
    ),
    setting(
        "journal",
        "file_bytes",
        Kind::Size {
            min: 32 * MIB,
            max: GIB,
        },
        "64 MiB",
        None,
        "Size of each file of the journal. The ring holds at least four.",
    ),
    setting(
        "disk",
        "groups_in_flight",
        Kind::CountOrAuto { min: 1, max: 4 },
        "auto",
        None,
        "Journal groups that each core keeps under way at once. auto: as `turgo tune disk` measured this device, else 2.",
    ),
    setting(
        "disk",
        "drain_depth",
        Kind::CountOrAuto { min: 1, max: 64 },
        "auto",
        None,
        "Chunk writes of each core at once, from memory to segments. auto: as measured, else 4.",
    ),
    setting(
        "disk",
        "read_depth",
        Kind::CountOrAuto { min: 1, max: 64 },
        "auto",
        None,
        "Reads of each core at once for consumers that catch up. auto: as measured, else 8.",
    ),
    setting(
        "memory",
        "storage",
        Kind::SizeOrAuto {
            min: 32 * MIB,
            max: 64 << 40,
        },
        "auto",
        None,
        "Memory for record data, all cores together: tails, catch-up reads, staging. auto: a quarter of the \
         memory this process may use, at most 96 MiB for each core.",
    ),
    setting(
        "memory",
        "network",
        Kind::SizeOrAuto {
            min: 16 * MIB,
            max: 64 << 40,
        },
        "auto",
        None,
        "Memory for requests being received and answers being sent, all cores together. auto: a tenth of the \
         memory this process may use.",
    ),
    setting(
        "space",
        "produce_stop_free",
        Kind::Percent { min: 0.0, max: 90.0 },
        "5 %",
        None,
        "Free space of the data directory's filesystem at which producing is refused. Reading and deleting go on.",
    ),
    setting(
        "space",
        "delete_only_free",
        Kind::Percent { min: 0.0, max: 90.0 },
        "2 %",
        None,
        "Free space at which only deletion still runs.",
    ),
    Setting {
        section: "log",
        key: "level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: "info",
        applies: Applies::Restart,
        flag: Some("--log-level"),
        doc: "Least important event to write.",
    },
    setting(
        "log",
        "format",
        Kind::Choice(&["text", "json"]),
        "text",
        Some("--log-format"),
        "One event on each line: text for people, json for collectors.",
    ),
];

/// The setting `section.key`.
pub fn find(section: &str, key: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.section == section && setting.key == key)
}

/// All section names, in order, `kafka` last.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&'static str> = SETTINGS.iter().map(|setting| setting.section).collect();
    sections.dedup();
    sections.push(KAFKA);
    sections
}
