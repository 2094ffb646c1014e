//! The result of a run, and its forms.
//!
//! [`Report`] is what `--json` prints and the history keeps, under a schema number; [`Raw`] holds the histograms for
//! those who export them.

pub mod html;
pub mod logs;
pub mod omb;
pub mod perf;
pub mod svg;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::integrity::Verdict;
use crate::latency::{Latency, Summary};
use crate::shell::env::Environment;
use crate::shell::pacing::Chosen;
use crate::shell::stages::Stage;
use crate::shell::watch::Usage;
use crate::slo::Outcome;
use crate::stats::{Part, Span, Totals};

/// Number of the JSON's shape; it grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Who was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name in a comparison.
    pub label: String,
    /// Servers started from.
    pub bootstrap: Vec<String>,
    /// Brokers of the cluster.
    pub brokers: usize,
    /// Settings of the first topic that decide what an acknowledgement means, as the endpoint tells them.
    pub settings: BTreeMap<String, String>,
    /// What an acknowledgement means here, in words.
    pub acknowledgement: String,
}

/// Throughput over the measured span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Records per second asked for; absent in a closed loop.
    pub asked: Option<f64>,
    /// Acknowledged per second.
    pub acknowledged: f64,
    /// The same in MiB of values per second.
    pub acknowledged_mib: f64,
    /// Read by tail readers per second, all groups together.
    pub consumed: f64,
    /// The same in MiB of values per second.
    pub consumed_mib: f64,
    /// Batches acknowledged per second.
    pub batches: f64,
    /// Produce requests answered per second.
    pub requests: f64,
    /// MiB per second read by catch-up readers (and of the backlog), over the whole phase.
    pub caught_up_mib: f64,
}

/// Counts over the measured span, but for errors, which are of the whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Records due.
    pub due: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of these, refused for good.
    pub failed: u64,
    /// Of these, without an answer at the end; they count at their age.
    pub unanswered: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Transactions committed.
    pub committed: u64,
    /// Transactions aborted.
    pub aborted: u64,
    /// Connections lost.
    pub lost_connections: u64,
    /// Assignments that group members got.
    pub rebalances: u64,
    /// Answers with an error, by name.
    pub errors: BTreeMap<String, u64>,
}

/// All latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Acknowledged - intended: the headline.
    pub response: Summary,
    /// Acknowledged - sent.
    pub service: Summary,
    /// Sent - intended.
    pub slip: Summary,
    /// Enqueued - intended: the pacing error.
    pub lateness: Summary,
    /// Sent - enqueued.
    pub wait: Summary,
    /// Acknowledged - enqueued.
    pub publish: Summary,
    /// Read - intended.
    pub e2e: Summary,
    /// Read - built.
    pub delivery: Summary,
    /// EndTxn.
    pub commit: Summary,
    /// Opening a connection, under churn.
    pub connect: Summary,
}

/// One interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Begins this many seconds after the start.
    pub at_s: f64,
    /// Before measuring began.
    pub warmup: bool,
    /// Records due in it.
    pub due: u64,
    /// Acknowledgements that came in it.
    pub acknowledged: u64,
    /// MiB of values of those.
    pub acknowledged_mib: f64,
    /// Records read in it.
    pub consumed: u64,
    /// MiB read by catch-up readers in it.
    pub caught_up_mib: f64,
    /// Answers with an error in it.
    pub errors: u64,
    /// Response of records due in it, us: median.
    pub response_p50_us: Option<f64>,
    /// 99 %, however few samples.
    pub response_p99_us: Option<f64>,
    /// 99.9 %, however few samples.
    pub response_p999_us: Option<f64>,
    /// Largest.
    pub response_max_us: Option<f64>,
    /// Lateness of records due in it, us: largest.
    pub lateness_max_us: Option<f64>,
    /// End to end of records due in it, us: 99 %, however few samples.
    pub e2e_p99_us: Option<f64>,
    /// Steal time of the machine in it, %.
    pub steal_percent: Option<f64>,
    /// CPU that others than broker and generator took, % of the machine.
    pub others_percent: Option<f64>,
}

/// How long a backlog took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Bytes of values written before.
    pub backlog_bytes: u64,
    /// Seconds from the start until every reader had it; absent: not drained.
    pub seconds: Option<f64>,
}

/// What no broker can beat here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// A durable write of 4 KiB to the device, before the run.
    pub flush_before: Option<Summary>,
    /// The same after it.
    pub flush_after: Option<Summary>,
    /// A round trip over loopback.
    pub loopback: Option<Summary>,
    /// What `turgo tune disk` stored in the directory.
    #[serde(default)]
    pub stored: Option<StoredFloor>,
}

/// A durable write of 4 KiB, measured at length on the device when nothing else used it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredFloor {
    /// When, UTC.
    pub measured: String,
    /// Median.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
}

/// The result of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it began, ms since 1970.
    pub started_ms: i64,
    /// The command line.
    pub command: String,
    /// What was done.
    pub workload: Value,
    /// To whom.
    pub endpoint: Endpoint,
    /// The verdict.
    pub outcome: Outcome,
    /// There was no schedule: latency omits what stalls delayed.
    pub closed_loop: bool,
    /// Length of the measured span, s.
    pub seconds: f64,
    /// Throughput.
    pub rates: Rates,
    /// Latency.
    pub latency: Latencies,
    /// Counts.
    pub counts: Counts,
    /// How the generator waited.
    pub pacing: Chosen,
    /// Integrity.
    pub integrity: Verdict,
    /// By interval.
    pub intervals: Vec<Interval>,
    /// The backlog, if there was one.
    pub drain: Option<Drain>,
    /// The floor, if it was measured.
    pub floor: Floor,
    /// Where a Turgo broker spent the time, by stage, if its metrics were read (`--metrics`).
    #[serde(default)]
    pub stages: BTreeMap<String, Stage>,
    /// CPU and memory of the broker and the generator.
    pub usage: Usage,
    /// Remarks that do not void the run but belong beside its figures.
    pub remarks: Vec<String>,
    /// Where.
    pub environment: Environment,
}

/// The histograms of a run.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Totals.
    pub totals: Totals,
    /// By interval.
    pub parts: BTreeMap<u32, Part>,
    /// When.
    pub span: Span,
    /// When it began, ms since 1970.
    pub started_ms: i64,
}

impl Latencies {
    /// Summaries of all histograms.
    pub fn new(t: &Totals) -> Latencies {
        let s = Latency::summary;
        Latencies {
            response: s(&t.response),
            service: s(&t.service),
            slip: s(&t.slip),
            lateness: s(&t.lateness),
            wait: s(&t.wait),
            publish: s(&t.publish),
            e2e: s(&t.e2e),
            delivery: s(&t.delivery),
            commit: s(&t.commit),
            connect: s(&t.connect),
        }
    }
}
