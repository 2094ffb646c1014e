//! The result file of the OpenMessaging benchmark, so that its charts and old results compare.
//!
//! By its definitions: `publishLatency*` is acknowledged - enqueued, `publishDelayLatency*` is how late a record was
//! enqueued; ms, delays in us. Response time from the intended send, which it does not have, stands under `turgo*`.

use serde_json::{Map, Value, json};

use super::{Raw, Report};
use crate::latency::{Latency, Quantile, Sparse};

const QUANTILES: [(&str, f64); 6] = [
    ("50pct", 0.5),
    ("75pct", 0.75),
    ("95pct", 0.95),
    ("99pct", 0.99),
    ("999pct", 0.999),
    ("9999pct", 0.9999),
];

fn value(q: Quantile, unit: f64) -> f64 {
    match q {
        Quantile::Ns(ns) => ns as f64 / unit,
        Quantile::Beyond => 60e9 / unit,
        Quantile::Unknown => 0.0,
    }
}

fn aggregated(out: &mut Map<String, Value>, name: &str, l: &Latency, unit: f64) {
    out.insert(format!("aggregated{name}Avg"), json!(l.mean() / unit));
    for (suffix, q) in QUANTILES {
        out.insert(
            format!("aggregated{name}{suffix}"),
            json!(value(l.raw_quantile(q), unit)),
        );
    }
    out.insert(format!("aggregated{name}Max"), json!(value(l.max(), unit)));
    let mut curve = Map::new();
    for v in l.histogram().iter_quantiles(5) {
        let percent = v.quantile_iterated_to() * 100.0;
        curve.insert(format!("{percent}"), json!(v.value_iterated_to() as f64 / unit));
    }
    out.insert(format!("aggregated{name}Quantiles"), Value::Object(curve));
}

fn series(out: &mut Map<String, Value>, name: &str, parts: &[&Sparse], unit: f64) {
    out.insert(
        format!("{name}Avg"),
        json!(parts.iter().map(|l| l.mean() / unit).collect::<Vec<_>>()),
    );
    for (suffix, q) in QUANTILES.iter().filter(|(s, _)| *s != "75pct" && *s != "95pct") {
        let values: Vec<f64> = parts.iter().map(|l| value(l.raw_quantile(*q), unit)).collect();
        out.insert(format!("{name}{suffix}"), json!(values));
    }
    out.insert(
        format!("{name}Max"),
        json!(parts.iter().map(|l| value(l.max(), unit)).collect::<Vec<_>>()),
    );
}

/// The file's content.
pub fn result(report: &Report, raw: &Raw) -> Value {
    const MS: f64 = 1e6;
    const US: f64 = 1e3;
    let measured: Vec<&crate::stats::Part> = raw
        .parts
        .iter()
        .filter(|(i, _)| {
            let at = raw.span.start + u64::from(**i) * raw.span.interval;
            at >= raw.span.begin && at < raw.span.end
        })
        .map(|(_, p)| p)
        .collect();
    let per_second = 1e9 / raw.span.interval as f64;
    let get = |key: &str| report.workload.get(key).cloned().unwrap_or(Value::Null);
    let mut out = Map::new();
    let workload = get("name");
    out.insert("workload".into(), workload);
    out.insert(
        "driver".into(),
        json!(if report.endpoint.label.is_empty() {
            "turgo-bench"
        } else {
            &report.endpoint.label
        }),
    );
    let size = get("size").get("fixed").cloned().unwrap_or(Value::Null);
    out.insert("messageSize".into(), size);
    out.insert("topics".into(), get("topics"));
    out.insert("partitions".into(), get("partitions"));
    out.insert(
        "producersPerTopic".into(),
        per_topic(&get("producers"), &get("topics")),
    );
    out.insert(
        "consumersPerTopic".into(),
        per_topic(&json!(product(&get("groups"), &get("consumers"))), &get("topics")),
    );
    let rate = |f: fn(&crate::stats::Part) -> u64| {
        measured
            .iter()
            .map(|p| f(p) as f64 * per_second)
            .collect::<Vec<_>>()
    };
    out.insert("publishRate".into(), json!(rate(|p| p.acked)));
    out.insert("publishErrorRate".into(), json!(rate(|p| p.errors)));
    out.insert("consumeRate".into(), json!(rate(|p| p.consumed)));
    let mut open = 0i64;
    let backlog: Vec<i64> = measured
        .iter()
        .map(|p| {
            open += p.acked as i64 - p.consumed as i64;
            open.max(0)
        })
        .collect();
    out.insert("backlog".into(), json!(backlog));
    // The intervals have no histogram of acknowledged - enqueued of their own; where the generator is on time, response
    // is the same but for its lateness, so the series are of response and the aggregates exact.
    let responses: Vec<&Sparse> = measured.iter().map(|p| &p.response).collect();
    let lateness: Vec<&Sparse> = measured.iter().map(|p| &p.lateness).collect();
    let e2e: Vec<&Sparse> = measured.iter().map(|p| &p.e2e).collect();
    series(&mut out, "publishLatency", &responses, MS);
    series(&mut out, "publishDelayLatency", &lateness, US);
    series(&mut out, "endToEndLatency", &e2e, MS);
    aggregated(&mut out, "PublishLatency", &raw.totals.publish, MS);
    aggregated(&mut out, "PublishDelayLatency", &raw.totals.lateness, US);
    aggregated(&mut out, "EndToEndLatency", &raw.totals.e2e, MS);
    aggregated(&mut out, "TurgoResponse", &raw.totals.response, MS);
    out.insert("turgoStatus".into(), json!(report.outcome.status));
    out.insert(
        "turgoAcknowledgement".into(),
        json!(report.endpoint.acknowledgement),
    );
    Value::Object(out)
}

fn product(a: &Value, b: &Value) -> u64 {
    a.as_u64().unwrap_or(0) * b.as_u64().unwrap_or(0)
}

fn per_topic(all: &Value, topics: &Value) -> Value {
    json!(all.as_u64().unwrap_or(0) / topics.as_u64().unwrap_or(1).max(1))
}
