//! The metrics page in Prometheus' text format: base units, `_total` for counters, label `shard`.
//!
//! No series per partition, topic or client, so the page's size depends on the number of cores alone.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_storage::{Pressure, Summary};

use crate::shell::CoreReport as Report;
use crate::stats::GAUGES;
use crate::txn::TxnState;

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// The page.
pub fn render(reports: &[Report], uptime: Duration) -> String {
    let mut out = String::with_capacity(16 << 10);
    let _ = writeln!(
        out,
        "# TYPE turgo_uptime_seconds_total counter\nturgo_uptime_seconds_total {:.3}",
        uptime.as_secs_f64()
    );
    if let Some(first) = reports.first() {
        let _ = writeln!(out, "# TYPE turgo_topics gauge\nturgo_topics {}", first.topics);
    }
    counters(&mut out, reports);
    requests(&mut out, reports);
    latencies(&mut out, reports);
    groups(&mut out, reports);
    transactions(&mut out, reports);
    store(&mut out, reports);
    out
}

fn counters(out: &mut String, reports: &[Report]) {
    let Some(first) = reports.first() else { return };
    for (i, (name, _)) in first.stats.counts.list().iter().enumerate() {
        let (name, kind) = match *name {
            "connections_open" => ("turgo_connections".to_owned(), "gauge"),
            name if GAUGES.contains(&name) => (format!("turgo_{name}"), "gauge"),
            name => (format!("turgo_{name}_total"), "counter"),
        };
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (shard, report) in reports.iter().enumerate() {
            let _ = writeln!(
                out,
                "{name}{{shard=\"{shard}\"}} {}",
                report.stats.counts.list()[i].1
            );
        }
    }
    let _ = writeln!(out, "# TYPE turgo_partitions gauge");
    for (shard, report) in reports.iter().enumerate() {
        let _ = writeln!(out, "turgo_partitions{{shard=\"{shard}\"}} {}", report.partitions);
    }
}

fn requests(out: &mut String, reports: &[Report]) {
    let name = |key: i16| ApiKey::try_from(key).map_or("unknown", ApiKey::name);
    let _ = writeln!(out, "# TYPE turgo_requests_total counter");
    for (shard, report) in reports.iter().enumerate() {
        for (key, count) in &report.stats.requests {
            let _ = writeln!(
                out,
                "turgo_requests_total{{shard=\"{shard}\",api=\"{}\"}} {count}",
                name(*key)
            );
        }
    }
    let _ = writeln!(out, "# TYPE turgo_request_errors_total counter");
    for (shard, report) in reports.iter().enumerate() {
        for ((key, code), count) in &report.stats.errors {
            let _ = writeln!(
                out,
                "turgo_request_errors_total{{shard=\"{shard}\",api=\"{}\",code=\"{}\"}} {count}",
                name(*key),
                ErrorCode(*code).name()
            );
        }
    }
}

fn latencies(out: &mut String, reports: &[Report]) {
    let _ = writeln!(out, "# TYPE turgo_request_seconds summary");
    for (shard, report) in reports.iter().enumerate() {
        for (request, histogram) in &report.stats.requests_latency {
            let labels = format!("shard=\"{shard}\",request=\"{request}\"");
            summary(out, "turgo_request_seconds", &labels, histogram);
        }
    }
    let _ = writeln!(out, "# TYPE turgo_request_stage_seconds summary");
    for (shard, report) in reports.iter().enumerate() {
        for (stage, histogram) in &report.stats.stages {
            let labels = format!("shard=\"{shard}\",stage=\"{stage}\"");
            summary(out, "turgo_request_stage_seconds", &labels, histogram);
        }
    }
}

fn summary(out: &mut String, name: &str, labels: &str, histogram: &Histogram<u64>) {
    for q in QUANTILES {
        let seconds = histogram.value_at_quantile(q) as f64 / 1e6;
        let _ = writeln!(out, "{name}{{{labels},quantile=\"{q}\"}} {seconds:.6}");
    }
    let sum = histogram.mean() * histogram.len() as f64 / 1e6;
    let _ = writeln!(out, "{name}_sum{{{labels}}} {sum:.6}");
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", histogram.len());
}

/// One series per core.
fn plain(out: &mut String, reports: &[Report], name: &str, kind: &str, value: &dyn Fn(&Report) -> u64) {
    let _ = writeln!(out, "# TYPE turgo_{name} {kind}");
    for (shard, report) in reports.iter().enumerate() {
        let _ = writeln!(out, "turgo_{name}{{shard=\"{shard}\"}} {}", value(report));
    }
}

/// One gauge per core and state.
fn by_state(
    out: &mut String,
    reports: &[Report],
    name: &str,
    counts: &dyn Fn(&Report) -> Vec<(&str, usize)>,
) {
    let _ = writeln!(out, "# TYPE turgo_{name} gauge");
    for (shard, report) in reports.iter().enumerate() {
        for (state, count) in counts(report) {
            let _ = writeln!(out, "turgo_{name}{{shard=\"{shard}\",state=\"{state}\"}} {count}");
        }
    }
}

fn groups(out: &mut String, reports: &[Report]) {
    by_state(out, reports, "groups", &|r| {
        let classic = ["Empty", "PreparingRebalance", "CompletingRebalance", "Stable"];
        let mut counts: Vec<_> = classic.into_iter().zip(r.groups.groups_by_state).collect();
        counts.push(("Consumer", r.groups.consumer_groups));
        counts
    });
    let mut one = |name, kind, value: &dyn Fn(&Report) -> u64| plain(out, reports, name, kind, value);
    one("group_members", "gauge", &|r| r.groups.members as u64);
    one("group_offsets", "gauge", &|r| r.groups.offsets as u64);
    one("group_rebalances_total", "counter", &|r| r.groups.rebalances);
    one("group_members_expired_total", "counter", &|r| {
        r.groups.expired_members
    });
    one("group_offset_commits_total", "counter", &|r| r.groups.commits);
    one("group_offsets_expired_total", "counter", &|r| {
        r.groups.expired_offsets
    });
    one("group_appends_failed_total", "counter", &|r| {
        r.groups.failed_appends
    });
    one("group_records_unreadable_total", "counter", &|r| {
        r.groups.bad_records
    });
}

fn transactions(out: &mut String, reports: &[Report]) {
    by_state(out, reports, "transactions", &|r| {
        TxnState::ALL
            .map(TxnState::name)
            .into_iter()
            .zip(r.txns.by_state)
            .collect()
    });
    let mut one = |name, kind, value: &dyn Fn(&Report) -> u64| plain(out, reports, name, kind, value);
    one("transaction_markers_pending", "gauge", &|r| {
        r.markers_pending as u64
    });
    one("transaction_requests_waiting", "gauge", &|r| {
        r.txns.waiting as u64
    });
    one("transactions_committed_total", "counter", &|r| r.txns.commits);
    one("transactions_aborted_total", "counter", &|r| r.txns.aborts);
    one("transactions_timed_out_total", "counter", &|r| r.txns.timeouts);
    one("transactions_fenced_total", "counter", &|r| r.txns.fences);
    one("transactional_ids_expired_total", "counter", &|r| {
        r.txns.expired_ids
    });
    one("transaction_appends_failed_total", "counter", &|r| {
        r.txns.failed_appends
    });
    one("transaction_records_unreadable_total", "counter", &|r| {
        r.txns.bad_records
    });
}

fn store(out: &mut String, reports: &[Report]) {
    let mut gauge = |name: &str, kind: &str, value: &dyn Fn(&Report) -> u64| {
        plain(out, reports, name, kind, value);
    };
    gauge("journal_groups_total", "counter", &|r| r.store.groups);
    gauge("journal_batches_total", "counter", &|r| r.store.batches);
    gauge("journal_live_bytes", "gauge", &|r| r.store.journal_live_bytes);
    gauge("journal_written_bytes", "gauge", &|r| {
        r.store.journal_written_bytes
    });
    gauge("journal_ring_bytes", "gauge", &|r| r.store.journal_ring_bytes);
    gauge("dirty_bytes", "gauge", &|r| r.store.dirty_bytes);
    gauge("clean_bytes", "gauge", &|r| r.store.clean_bytes);
    gauge("catchup_bytes", "gauge", &|r| r.store.catchup_bytes);
    gauge("drained_bytes_total", "counter", &|r| r.store.drained_bytes);
    gauge("chunks_written_total", "counter", &|r| r.store.chunks);
    gauge("checkpoints_total", "counter", &|r| r.store.checkpoints);
    gauge("disk_reads_total", "counter", &|r| r.store.disk_reads);
    gauge("disk_read_bytes_total", "counter", &|r| r.store.disk_read_bytes);
    gauge("corrupt_chunks_total", "counter", &|r| r.store.corrupt_chunks);
    gauge("compactions_total", "counter", &|r| r.store.compactions);
    gauge("compacted_in_bytes_total", "counter", &|r| {
        r.store.compacted_in_bytes
    });
    gauge("compacted_out_bytes_total", "counter", &|r| {
        r.store.compacted_out_bytes
    });
    gauge("segments", "gauge", &|r| r.store.segments);
    gauge("log_bytes", "gauge", &|r| r.store.log_bytes);
    gauge("disk_free_bytes", "gauge", &|r| r.store.free_bytes);
    gauge("disk_total_bytes", "gauge", &|r| r.store.total_bytes);
    gauge("pressure", "gauge", &|r| r.store.pressure as u64);
    let mut distribution = |name: &str, scale: f64, value: &dyn Fn(&Report) -> Summary| {
        let _ = writeln!(out, "# TYPE turgo_{name} summary");
        for (shard, report) in reports.iter().enumerate() {
            let s = value(report);
            for (q, v) in [("0.5", s.p50), ("0.99", s.p99), ("0.999", s.p999), ("1", s.max)] {
                let _ = writeln!(
                    out,
                    "turgo_{name}{{shard=\"{shard}\",quantile=\"{q}\"}} {}",
                    v as f64 / scale
                );
            }
            let _ = writeln!(
                out,
                "turgo_{name}_sum{{shard=\"{shard}\"}} {}",
                s.mean * s.count as f64 / scale
            );
            let _ = writeln!(out, "turgo_{name}_count{{shard=\"{shard}\"}} {}", s.count);
        }
    };
    distribution("journal_write_seconds", 1e6, &|r| r.store.journal_write_us);
    distribution("journal_commit_wait_seconds", 1e6, &|r| r.store.commit_wait_us);
    distribution("journal_group_bytes", 1.0, &|r| r.store.group_bytes);
}

/// A sentence for operators if produce is refused for want of space.
pub fn space_warning(reports: &[Report]) -> Option<String> {
    let worst = reports.iter().max_by_key(|r| r.store.pressure)?;
    (worst.store.pressure >= Pressure::LowSpace).then(|| {
        format!(
            "{} of {} bytes of disk are free: produce is refused; free space or lower retention",
            worst.store.free_bytes, worst.store.total_bytes
        )
    })
}
