//! Counters and latency histograms of one core. Only that core writes them; [`ShardStats::snapshot`] is taken on
//! the core about once a second, and a thread outside the shards renders it.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;

/// A plain counter.
#[derive(Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }
    /// Counts `n` fewer, for gauges.
    pub fn sub(&self, n: u64) {
        self.0.set(self.0.get().wrapping_sub(n));
    }
    /// Sets a gauge, or a count that is kept elsewhere.
    pub fn set(&self, n: u64) {
        self.0.set(n);
    }
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Latencies in microseconds, 1 us to about 71 minutes, 2 significant digits (1 %).
pub struct Latency(RefCell<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        Latency(RefCell::new(
            Histogram::new_with_bounds(1, 1 << 32, 2).expect("constant bounds are valid"),
        ))
    }
}

impl Latency {
    /// Records a duration given in nanoseconds.
    pub fn record_ns(&self, ns: u64) {
        self.0.borrow_mut().saturating_record((ns / 1_000).max(1));
    }
    /// Records a duration that `count` requests had together.
    pub fn record_ns_of(&self, ns: u64, count: usize) {
        self.0
            .borrow_mut()
            .saturating_record_n((ns / 1_000).max(1), count as u64);
    }
    /// A copy for rendering.
    pub fn copy(&self) -> Histogram<u64> {
        self.0.borrow().clone()
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Plain values of a core's counters at one moment.
        #[derive(Debug, Clone, Default)]
        pub struct Counts { $($(#[$doc])* pub $name: u64),* }
        /// See the module.
        #[derive(Default)]
        pub struct ShardStats {
            $($(#[$doc])* pub $name: Counter,)*
            /// Requests by API key.
            pub requests: RefCell<std::collections::BTreeMap<i16, u64>>,
            /// Error answers by API key and error code; Produce and Fetch count partitions.
            pub errors: RefCell<std::collections::BTreeMap<(i16, i16), u64>>,
            /// From the last byte of a Produce read to its answer being ready.
            pub produce_latency: Latency,
            /// The same for a Fetch, its long poll included.
            pub fetch_latency: Latency,
            /// The same for everything else.
            pub other_latency: Latency,
            /// From the first bytes of a frame that came in pieces to its last.
            pub read_stage: Latency,
            /// From a Produce being whole to its batches being appended on this core or handed to others: decoding,
            /// validation, the copy into journal and tail.
            pub append_stage: Latency,
            /// From a message being left for another core to that core taking it up, either way.
            pub hop_stage: Latency,
            /// From a batch being appended to its group going to the device.
            pub journal_stage: Latency,
            /// From there to the group and all before it being on stable media.
            pub device_stage: Latency,
            /// From there to the answer being ready on the owner's core.
            pub commit_stage: Latency,
            /// From an answer being ready to the socket having taken it.
            pub write_stage: Latency,
        }
        impl ShardStats {
            /// The counters' values.
            pub fn counts(&self) -> Counts {
                Counts { $($name: self.$name.get()),* }
            }
        }
        impl Counts {
            /// Adds another core's counts.
            pub fn merge(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
            /// Name and value of each counter.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

stats! {
    /// Records appended.
    produced_records,
    /// Bytes of batches appended.
    produced_bytes,
    /// Bytes of batches sent to consumers.
    fetched_bytes,
    /// Partition reads that memory could not serve.
    disk_fetches,
    /// Batches refused by validation.
    rejected_batches,
    /// Batches refused for want of disk space.
    storage_refusals,
    /// Batches answered with REQUEST_TIMED_OUT.
    produce_timeouts,
    /// Connections open now.
    connections_open,
    /// Connections served since the start.
    connections_accepted,
    /// Connections that went on to another core, where their data is.
    connections_moved,
    /// Connections closed because of what they sent.
    connections_rejected,
    /// Incremental fetch sessions now.
    fetch_sessions,
    /// Partitions in them.
    fetch_session_partitions,
    /// Memory that they are counted with.
    fetch_session_bytes,
    /// Sessions made.
    fetch_sessions_created,
    /// Sessions that gave way to others.
    fetch_sessions_evicted,
    /// Bytes read from sockets.
    bytes_in,
    /// Bytes written to sockets.
    bytes_out,
}

/// Those of the counters that go up and down.
pub const GAUGES: &[&str] = &[
    "connections_open",
    "fetch_sessions",
    "fetch_session_partitions",
    "fetch_session_bytes",
];

impl ShardStats {
    /// Counts a request.
    pub fn request(&self, api_key: i16) {
        *self.requests.borrow_mut().entry(api_key).or_default() += 1;
    }
    /// Counts an error answer.
    pub fn error(&self, api_key: i16, code: i16) {
        if code != 0 {
            *self.errors.borrow_mut().entry((api_key, code)).or_default() += 1;
        }
    }
    /// A copy of everything, for a thread outside.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            counts: self.counts(),
            requests: self.requests.borrow().clone(),
            errors: self.errors.borrow().clone(),
            requests_latency: vec![
                ("produce", self.produce_latency.copy()),
                ("fetch", self.fetch_latency.copy()),
                ("other", self.other_latency.copy()),
            ],
            stages: vec![
                ("read", self.read_stage.copy()),
                ("append", self.append_stage.copy()),
                ("hop", self.hop_stage.copy()),
                ("journal", self.journal_stage.copy()),
                ("device", self.device_stage.copy()),
                ("commit", self.commit_stage.copy()),
                ("write", self.write_stage.copy()),
            ],
        }
    }
}

/// What [`ShardStats::snapshot`] copies.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counters.
    pub counts: Counts,
    /// Requests by API key.
    pub requests: std::collections::BTreeMap<i16, u64>,
    /// Error answers by API key and code.
    pub errors: std::collections::BTreeMap<(i16, i16), u64>,
    /// Whole requests by kind, microseconds.
    pub requests_latency: Vec<(&'static str, Histogram<u64>)>,
    /// Stages of a request, in order, microseconds; journal, device and commit are those of a Produce.
    pub stages: Vec<(&'static str, Histogram<u64>)>,
}
