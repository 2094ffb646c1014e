//! A run as text for people.

use std::fmt::Write as _;

use crate::latency::Summary;

use super::Report;

/// A time for people: three digits and a unit.
pub fn time(us: f64) -> String {
    if us >= 4_294_967_295.0 {
        ">60 s".into()
    } else if us >= 1e6 {
        format!("{:.2} s", us / 1e6)
    } else if us >= 10_000.0 {
        format!("{:.1} ms", us / 1e3)
    } else if us >= 1_000.0 {
        format!("{:.2} ms", us / 1e3)
    } else {
        format!("{us:.0} us")
    }
}

fn row(out: &mut String, name: &str, s: &Summary, batches: Option<u64>) {
    if s.samples == 0 {
        return;
    }
    let cell = |v: Option<f64>| v.map_or("-".to_owned(), time);
    let _ = write!(
        out,
        "  {name:<10} {:>9} {:>9} {:>9} {:>9} {:>9}  {} samples",
        cell(s.p50_us),
        cell(s.p99_us),
        cell(s.p999_us),
        cell(s.p9999_us),
        cell(s.max_us),
        s.samples,
    );
    if let Some(batches) = batches {
        let _ = write!(out, " in {batches} batches");
    }
    if s.beyond_60_s > 0 {
        let _ = write!(out, ", {} beyond 60 s", s.beyond_60_s);
    }
    if s.negative > 0 {
        let _ = write!(out, ", {} negative: the clocks disagree", s.negative);
    }
    out.push('\n');
}

/// The report.
pub fn text(r: &Report) -> String {
    let mut out = String::new();
    let w = |key: &str| r.workload.get(key).cloned().unwrap_or_default();
    let label = if r.endpoint.label.is_empty() {
        r.endpoint.bootstrap.join(",")
    } else {
        r.endpoint.label.clone()
    };
    let name = w("name");
    let _ = writeln!(
        out,
        "{} against {label}: {}",
        name.as_str().unwrap_or(""),
        r.outcome.status
    );
    for reason in &r.outcome.reasons {
        let _ = writeln!(out, "  {reason}");
    }
    let _ = writeln!(
        out,
        "  {} topics x {} partitions, {} producers, {} groups x {} consumers, size {}, {} codec, linger {} us; {} s measured",
        w("topics"),
        w("partitions"),
        w("producers"),
        w("groups"),
        w("consumers"),
        w("size"),
        w("compression").as_str().unwrap_or(""),
        w("linger_us"),
        r.seconds
    );
    let _ = writeln!(out, "  acknowledged means: {}", r.endpoint.acknowledgement);
    let asked = r
        .rates
        .asked
        .map_or(String::new(), |a| format!(" of {a:.0} asked"));
    let _ = writeln!(
        out,
        "  acknowledged {:.0} records/s ({:.2} MiB/s){asked}, {:.0} batches/s",
        r.rates.acknowledged, r.rates.acknowledged_mib, r.rates.batches
    );
    if r.rates.consumed > 0.0 {
        let _ = writeln!(
            out,
            "  read         {:.0} records/s ({:.2} MiB/s)",
            r.rates.consumed, r.rates.consumed_mib
        );
    }
    if r.rates.caught_up_mib > 0.0 {
        let _ = writeln!(out, "  old data     {:.2} MiB/s", r.rates.caught_up_mib);
    }
    if let Some(drain) = &r.drain {
        let took = drain
            .seconds
            .map_or("not drained".into(), |s| format!("drained in {s:.2} s"));
        let _ = writeln!(
            out,
            "  backlog      {:.1} MiB: {took}",
            drain.backlog_bytes as f64 / f64::from(1 << 20)
        );
    }
    let _ = writeln!(
        out,
        "  {:<10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        if r.closed_loop { "CLOSED" } else { "" },
        "p50",
        "p99",
        "p99.9",
        "p99.99",
        "max"
    );
    let headline = matches!(r.outcome.code, 0 | 1) || r.closed_loop;
    if headline {
        row(&mut out, "response", &r.latency.response, Some(r.counts.batches));
    } else {
        let _ = writeln!(
            out,
            "  response   no headline: the run is {}; figures are in --json",
            r.outcome.status
        );
    }
    row(&mut out, "service", &r.latency.service, None);
    row(&mut out, "slip", &r.latency.slip, None);
    row(&mut out, "- lateness", &r.latency.lateness, None);
    row(&mut out, "- wait", &r.latency.wait, None);
    if headline {
        row(&mut out, "e2e", &r.latency.e2e, None);
    }
    row(&mut out, "commit", &r.latency.commit, None);
    row(&mut out, "connect", &r.latency.connect, None);
    if let Some(f) = &r.floor.flush_before {
        row(&mut out, "flush", f, None);
    }
    if let Some(f) = &r.floor.flush_after {
        row(&mut out, "flush after", f, None);
    }
    if let Some(f) = &r.floor.loopback {
        row(&mut out, "loopback", f, None);
    }
    if let Some(f) = &r.floor.stored {
        let _ = writeln!(
            out,
            "  a durable write of 4 KiB takes {} here, {} at p99, as turgo tune disk measured on {}",
            time(f.p50_us),
            time(f.p99_us),
            f.measured
        );
    }
    let _ = writeln!(
        out,
        "  pacing {}: {}; a sleep overslept {:.0} us at p50, {:.0} us at p99",
        r.pacing.mode, r.pacing.why, r.pacing.oversleep_p50_us, r.pacing.oversleep_p99_us
    );
    if !r.stages.is_empty() {
        let stages: Vec<String> = r
            .stages
            .iter()
            .map(|(name, s)| format!("{name} {}", time(s.mean_us)))
            .collect();
        let _ = writeln!(
            out,
            "  inside the broker, means over all requests: {}",
            stages.join(", ")
        );
    }
    integrity(&mut out, r);
    let c = &r.counts;
    if c.retries + c.lost_connections + c.failed + c.unanswered > 0 {
        let _ = writeln!(
            out,
            "  {} batches sent again, {} connections lost, {} records refused, {} unanswered",
            c.retries, c.lost_connections, c.failed, c.unanswered
        );
    }
    for (name, count) in &c.errors {
        let _ = writeln!(out, "  {count} answers: {name}");
    }
    if c.committed + c.aborted > 0 {
        let _ = writeln!(
            out,
            "  {} transactions committed, {} aborted",
            c.committed, c.aborted
        );
    }
    if let Some(cpu) = r.usage.broker_cpu_s {
        let per = r
            .usage
            .broker_cpu_s_per_gib
            .map_or(String::new(), |v| format!(", {v:.1} s for each GiB"));
        let _ = writeln!(
            out,
            "  broker: {cpu:.2} s of CPU{per}; {:.0} MiB resident",
            r.usage.broker_rss_mib.unwrap_or(0.0)
        );
    }
    for slo in &r.outcome.slos {
        let value = slo.value_us.map_or("not told".into(), time);
        let _ = writeln!(out, "  objective {}: {value} ({:?})", slo.slo, slo.state);
    }
    for remark in &r.remarks {
        let _ = writeln!(out, "  note: {remark}");
    }
    out
}

fn integrity(out: &mut String, r: &Report) {
    let v = &r.integrity;
    if !v.checked {
        let _ = writeln!(out, "  integrity: NOT CHECKED");
        return;
    }
    for g in &v.groups {
        let verdict = if g.violations.is_empty() {
            "clean"
        } else {
            "VIOLATED"
        };
        let _ = writeln!(
            out,
            "  integrity of {}: {verdict}: {} read, {} lost, {} gaps, {} duplicates, {} reordered, {} corrupt, {} misplaced{}",
            g.group,
            g.records,
            g.lost,
            g.gaps,
            g.duplicates,
            g.reordered,
            g.corrupt,
            g.misplaced,
            if v.unknown > 0 {
                format!(", {} with unknown outcome", v.unknown)
            } else {
                String::new()
            }
        );
        for example in &g.examples {
            let _ = writeln!(out, "    lost: {example}");
        }
    }
}
