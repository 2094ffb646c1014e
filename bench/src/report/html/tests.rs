use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::integrity::{GroupVerdict, Verdict};
use crate::report::{Counts, Endpoint, Floor, Interval, Latencies, Rates, SCHEMA};
use crate::shell::env;
use crate::shell::pacing::Chosen;
use crate::shell::watch::Usage;
use crate::slo::Outcome;
use crate::stats::{Span, Totals};

/// A run of 200,000 records with latencies from 0.2 to 20 ms.
fn run() -> (Report, Raw) {
    let mut totals = Totals::default();
    for i in 0..200_000u64 {
        totals.response.record(200_000 + (i * i) % 19_800_000);
        totals.service.record(150_000 + i % 1_000_000);
        totals.lateness.record(1_000 + i % 9_000);
    }
    let interval = |at: u64| Interval {
        at_s: at as f64,
        due: 1000,
        acknowledged: 1000,
        response_p50_us: Some(300.0),
        response_p99_us: Some(3_000.0 + at as f64),
        response_max_us: Some(20_000.0),
        ..Interval::default()
    };
    let report = Report {
        schema: SCHEMA,
        started_ms: 0,
        command: "turgo bench run <script>alert(1)</script>".into(),
        workload: serde_json::json!({ "name": "planted <b>name</b>" }),
        endpoint: Endpoint {
            bootstrap: vec!["127.0.0.1:9092".into()],
            brokers: 1,
            ..Endpoint::default()
        },
        outcome: Outcome {
            status: "OK".into(),
            code: 0,
            reasons: vec![],
            slos: vec![],
        },
        closed_loop: false,
        seconds: 10.0,
        rates: Rates {
            asked: Some(20_000.0),
            acknowledged: 20_000.0,
            ..Rates::default()
        },
        latency: Latencies::new(&totals),
        counts: Counts {
            errors: BTreeMap::from([("NOT_LEADER".into(), 3)]),
            ..Counts::default()
        },
        pacing: Chosen {
            mode: "spin".into(),
            why: "asked for".into(),
            margin_us: 50.0,
            oversleep_p50_us: 20.0,
            oversleep_p99_us: 90.0,
        },
        integrity: Verdict {
            checked: true,
            complete: true,
            groups: vec![GroupVerdict {
                group: "read back".into(),
                records: 200_000,
                ..GroupVerdict::default()
            }],
            ..Verdict::default()
        },
        intervals: (0..10).map(interval).collect(),
        drain: None,
        floor: Floor::default(),
        stages: BTreeMap::new(),
        usage: Usage::default(),
        remarks: vec![],
        environment: env::Environment {
            facts: BTreeMap::from([("kernel".into(), "6.18".into())]),
        },
    };
    let span = Span {
        start: 0,
        begin: 0,
        end: 10_000_000_000,
        interval: 1_000_000_000,
    };
    (
        report,
        Raw {
            totals,
            parts: BTreeMap::new(),
            span,
            started_ms: 0,
        },
    )
}

#[test]
fn a_page_has_all_sections_and_nothing_from_elsewhere() {
    let (report, raw) = run();
    let page = page(&[(&report, &raw)], None);
    for part in [
        "Latency by percentile",
        "Response time by second",
        "Integrity",
        "Environment",
        "99.99 %",
        "clean",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    // The only addresses are names of namespaces; what the user typed is text.
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    assert!(
        !outside.contains("http") && !outside.contains("src=") && !outside.contains("<script"),
        "{page}"
    );
    assert!(page.contains("&lt;script&gt;") && page.contains("planted &lt;b&gt;"));
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| ["chromium", "chromium-browser", "google-chrome"].map(|name| dir.join(name)))
        .find(|p| p.is_file())
}

/// Past the capture of the test runner, so that the summary of CI finds it.
fn tell(line: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{line}").expect("stderr");
}

/// A browser lays the page out: the curve has extent, the table its rows.
#[test]
fn chromium_draws_the_page() {
    let Some(browser) = chromium() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "Chromium is missing: apt-get install chromium"
        );
        tell("judge chromium: SKIPPED, it is not installed (apt-get install chromium)");
        return;
    };
    let (report, raw) = run();
    let dir = tempfile::tempdir().expect("a directory");
    // The probe writes what the browser computed into the page, where --dump-dom shows it.
    let probe = "<pre id=\"probe\"></pre><script>const line = document.querySelector('polyline').getBBox();\
                 document.getElementById('probe').textContent = 'curve ' + (line.width > 300 && line.height > 50) + \
                 ' rows ' + document.querySelectorAll('#latency tr').length + ' verdict ' + \
                 getComputedStyle(document.querySelector('.verdict')).backgroundColor;</script></body>";
    let file = dir.path().join("report.html");
    std::fs::write(&file, page(&[(&report, &raw)], None).replace("</body>", probe)).expect("written");
    let out = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            dir.path().join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("Chromium starts");
    let dom = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        dom.contains("curve true rows 4 verdict rgb(0, 105, 62)"),
        "the page is not drawn as it should be: {}\n{errors}",
        dom.find("id=\"probe\"")
            .map_or("no probe", |at| &dom[at..(at + 200).min(dom.len())])
    );
    tell("judge chromium: passed");
}
