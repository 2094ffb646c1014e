//! Node configuration: what one process is told before it starts.
//!
//! Layers, each over the one before: the defaults of the table in [`settings`], a TOML file, environment
//! variables `TURGO_SECTION__KEY`, flags of `turgo serve`. All that is wrong in any of them is reported
//! together, with its place and the likely intent, and nothing starts. Broker and topic settings carry
//! Kafka's names; those under `[kafka]` are judged by the registry in [`crate::configs`] and handed on as text.
//!
//! `cli` calls [`load`]; the engine reads [`NodeConfig`]. Nothing here looks at the machine: `auto` values
//! stay `None` until the start-up code, which knows cores and memory, derives them.

pub mod disk;
mod error;
mod layers;
mod print;
pub mod settings;
mod suggest;
#[cfg(test)]
mod tests;
pub mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigErrors, Origin, Problem};
pub use layers::{Flag, KafkaSetting, Resolved, kafka_value, resolve};
pub use print::{print_annotated, print_json, print_markdown};
pub use suggest::nearest;
pub use value::HostPort;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Least important event that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and somebody must act.
    Error,
    /// Something is wrong, and it goes on.
    Warn,
    /// Life of the process: start, stop, recovery, topics.
    Info,
    /// Steps, for finding faults.
    Debug,
    /// Everything.
    Trace,
}

/// Settings of one node, checked. See [`settings::SETTINGS`] for meaning and ranges.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Broker id, 0 or above.
    pub node_id: i32,
    /// `None`: make one at the first start, then take the one in the data directory.
    pub cluster_id: Option<String>,
    /// Told to clients.
    pub rack: Option<String>,
    /// Directory of all data; may not exist yet.
    pub data_dir: PathBuf,
    /// Shards to run; `None`: as many as the affinity mask has CPUs.
    pub cores: Option<usize>,
    /// Bind shards to CPUs.
    pub pin_cores: bool,
    /// Start although acknowledged records are damaged.
    pub accept_loss: bool,
    /// Address for Kafka clients.
    pub listen: HostPort,
    /// `None`: as bound; see [`NodeConfig::advertised_for`].
    pub advertised: Option<HostPort>,
    /// Address of the HTTP endpoints; `None`: off.
    pub admin: Option<HostPort>,
    /// Largest request frame, bytes.
    pub max_frame_bytes: usize,
    /// Open client connections, whole process.
    pub max_connections: usize,
    /// Connections without traffic are closed after this.
    pub idle_timeout: Duration,
    /// Journal of each core, bytes.
    pub journal_ring_bytes: u64,
    /// Each journal file, bytes, a multiple of 4 KiB.
    pub journal_file_bytes: u64,
    /// Journal groups under way at once on each core; `None`: see [`disk::Numbers`].
    pub groups_in_flight: Option<u32>,
    /// Chunk writes at once on each core; `None`: see [`disk::Numbers`].
    pub drain_depth: Option<u32>,
    /// Catch-up reads at once on each core; `None`: see [`disk::Numbers`].
    pub read_depth: Option<u32>,
    /// Memory for record data, all cores, bytes; `None`: see [`NodeConfig::memory_for`].
    pub memory_storage_bytes: Option<u64>,
    /// Memory for requests and answers, all cores, bytes; `None`: see [`NodeConfig::memory_for`].
    pub memory_network_bytes: Option<u64>,
    /// Producing stops at this free space, percent.
    pub produce_stop_free_percent: f64,
    /// Only deletion runs at this free space, percent.
    pub delete_only_free_percent: f64,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Least important event written.
    pub log_level: LogLevel,
    /// Start values of broker settings, by Kafka's names; known ones with valid values.
    pub kafka: BTreeMap<String, KafkaSetting>,
    /// Values and origins as resolved, for `config print` and the start-up report.
    pub resolved: Resolved,
}

/// Memory budgets of the whole process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// For record data.
    pub storage_bytes: u64,
    /// For requests and answers.
    pub network_bytes: u64,
}

impl NodeConfig {
    /// The typed view of resolved layers.
    pub fn from_resolved(resolved: Resolved) -> Self {
        let value = |section, key| &resolved.get(section, key).0;
        let text =
            |section, key| Some(value(section, key).text().to_string()).filter(|text| !text.is_empty());
        let number = |section, key| value(section, key).number().expect("this setting has no auto");
        NodeConfig {
            node_id: number("node", "id") as i32,
            cluster_id: text("node", "cluster_id"),
            rack: text("node", "rack"),
            data_dir: value("node", "data_dir").path(),
            cores: value("node", "cores").number().map(|n| n as usize),
            pin_cores: value("node", "pin_cores").bool(),
            accept_loss: value("node", "accept_loss").bool(),
            listen: value("network", "listen")
                .address()
                .expect("an address is required here"),
            advertised: value("network", "advertised").address(),
            admin: value("admin", "listen").address(),
            max_frame_bytes: number("network", "max_frame_bytes") as usize,
            max_connections: number("network", "max_connections") as usize,
            idle_timeout: Duration::from_millis(number("network", "idle_timeout")),
            journal_ring_bytes: number("journal", "ring_bytes"),
            journal_file_bytes: number("journal", "file_bytes"),
            groups_in_flight: value("disk", "groups_in_flight").number().map(|n| n as u32),
            drain_depth: value("disk", "drain_depth").number().map(|n| n as u32),
            read_depth: value("disk", "read_depth").number().map(|n| n as u32),
            memory_storage_bytes: value("memory", "storage").number(),
            memory_network_bytes: value("memory", "network").number(),
            produce_stop_free_percent: value("space", "produce_stop_free").percent(),
            delete_only_free_percent: value("space", "delete_only_free").percent(),
            log_format: match value("log", "format").text() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            log_level: match value("log", "level").text() {
                "error" => LogLevel::Error,
                "warn" => LogLevel::Warn,
                "debug" => LogLevel::Debug,
                "trace" => LogLevel::Trace,
                _ => LogLevel::Info,
            },
            kafka: resolved.kafka.clone(),
            resolved,
        }
    }

    /// The defaults alone.
    pub fn defaults() -> Self {
        Self::from_resolved(resolve(None, [], &[]).expect("the defaults are valid"))
    }

    /// What clients are told to connect to, once the listener is bound to `bound`.
    pub fn advertised_for(&self, bound: SocketAddr) -> HostPort {
        match &self.advertised {
            Some(advertised) if advertised.port != 0 => advertised.clone(),
            Some(advertised) => HostPort {
                host: advertised.host.clone(),
                port: bound.port(),
            },
            None => HostPort {
                host: self.listen.host.clone(),
                port: bound.port(),
            },
        }
    }

    /// Broker settings that DescribeConfigs shows as given statically, by Kafka's names: those of `[kafka]`, and what
    /// this file says in sections of its own, as a Kafka of one node would have it in its properties. `listen` is the
    /// bound address, `data_dir` absolute.
    pub fn static_configs(
        &self,
        listen: &HostPort,
        advertised: &HostPort,
        data_dir: &Path,
    ) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self
            .kafka
            .iter()
            .map(|(name, setting)| (name.clone(), setting.value.clone()))
            .collect();
        let mut told = |name: &str, value: String| {
            all.insert(name.to_owned(), value);
        };
        told("advertised.listeners", format!("PLAINTEXT://{advertised}"));
        told("broker.id", self.node_id.to_string());
        told("listeners", format!("PLAINTEXT://{listen}"));
        told("log.dirs", data_dir.display().to_string());
        told("node.id", self.node_id.to_string());
        told("process.roles", "broker,controller".to_owned());
        if let Some(rack) = &self.rack {
            told("broker.rack", rack.clone());
        }
        // These have a value in every file; Kafka shows one as given only if it was.
        let limits = [
            ("connections.max.idle.ms", self.idle_timeout.as_millis() as u64),
            ("max.connections", self.max_connections as u64),
            ("socket.request.max.bytes", self.max_frame_bytes as u64),
        ];
        for (name, limit) in limits {
            let limit = limit.to_string();
            if crate::configs::broker_config(name).and_then(|def| def.default) != Some(limit.as_str()) {
                told(name, limit);
            }
        }
        all
    }

    /// Budgets on a machine (or in a control group) with `memory_bytes` and so many cores in use: what is set, else a
    /// quarter of the memory for record data, at most 96 MiB for each core, and a tenth for requests and answers.
    pub fn memory_for(&self, memory_bytes: u64, cores: usize) -> MemoryBudget {
        const STORAGE_PER_CORE: u64 = 96 << 20;
        MemoryBudget {
            storage_bytes: self
                .memory_storage_bytes
                .unwrap_or((memory_bytes / 4).clamp(32 << 20, STORAGE_PER_CORE * cores.max(1) as u64)),
            network_bytes: self
                .memory_network_bytes
                .unwrap_or((memory_bytes / 10).max(16 << 20)),
        }
    }
}

/// Reads `file` (if any) and lays `environment` and `flags` over it. Returns everything that is wrong, or
/// the settings. The environment comes in as a value so that tests own it; `std::env::vars_os` is the
/// usual source.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<NodeConfig, ConfigErrors> {
    let Some(path) = file else {
        return resolve(None, environment, flags).map(NodeConfig::from_resolved);
    };
    let shown = path.display().to_string();
    let text = std::fs::read(path)
        .map_err(|error| format!("cannot read: {error}"))
        .and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| {
                let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                    .iter()
                    .filter(|&&b| b == b'\n')
                    .count()
                    + 1;
                format!("not UTF-8 text from line {line} on")
            })
        });
    match text {
        Ok(text) => resolve(Some((&shown, &text)), environment, flags).map(NodeConfig::from_resolved),
        Err(why) => {
            let mut errors = resolve(None, environment, flags).err().unwrap_or_default();
            errors.push(Origin::WholeFile(shown), why);
            errors.sort();
            Err(errors)
        }
    }
}
