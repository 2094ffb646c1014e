//! `turgo bench` as people type it: wrong input, every preset in small, every form of output.

mod fake;

use clap::Parser;
use fake::{Fake, Script};
use turgo_bench::BenchArgs;
use turgo_bench::shell::runner::{self, Options, Target};
use turgo_bench::slo::exit;
use turgo_bench::spec::Workload;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

/// Exit code of `turgo bench` with these arguments; what clap refuses is wrong usage.
fn bench(args: &[&str]) -> u8 {
    match Cli::try_parse_from(std::iter::once("bench").chain(args.iter().copied())) {
        Ok(cli) => turgo_bench::run(&cli.bench),
        Err(error) => {
            assert!(error.use_stderr(), "{error}");
            exit::USAGE
        }
    }
}

#[test]
fn wrong_input_ends_with_its_code_before_anything_is_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let yaml = dir.path().join("wrong.yaml");
    std::fs::write(&yaml, "name: x\nproducerRates: 5\n").expect("written");
    let yaml = yaml.display().to_string();
    let directory = dir.path().display().to_string();
    let unlimited = dir.path().join("unlimited.yaml");
    std::fs::write(&unlimited, "name: x\nproducerRate: 0\n").expect("written");
    let unlimited = unlimited.display().to_string();
    let usage: &[&[&str]] = &[
        &["run", "--omb", &yaml],
        &["run", "--omb", "/nonexistent/workload.yaml"],
        &["run", "--omb", &unlimited],
        &["run", "--preset", "nope"],
        &["run", "--rate", "fast"],
        &["run", "--rate", "0"],
        &["run", "--no-such-flag"],
        &["run", "--slo", "p99<fast"],
        &["run", "--json-file", "/nonexistent/out.json"],
        &["run", "--html", &directory],
        &["run", "--bootstrap", "nowhere"],
        &["run", "--payload-file", "/nonexistent/payload"],
        &["run", "--patience", "0"],
        &["find-max"],
        &["compare", "--endpoint", "a=127.0.0.1:1"],
        &["compare", "--endpoint", "a", "--endpoint", "b"],
        &["width", "--partitions", "1"],
        &["versus-kafka", "--docs", "/nonexistent/doc.md"],
    ];
    for args in usage {
        assert_eq!(bench(args), exit::USAGE, "{args:?}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    assert_eq!(bench(&["run", "--bootstrap", &address]), exit::UNREACHABLE);
    assert_eq!(bench(&["partitions", "--bootstrap", &address]), exit::UNREACHABLE);
    assert_eq!(bench(&["presets"]), exit::OK);
}

#[test]
fn every_form_of_output_is_written_and_reads_back() {
    let (_fake, address) = Fake::start(Script::default());
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (json, hlog, hgrm, omb, html, svg, history) = (
        file("a.json"),
        file("a.hlog"),
        file("a.hgrm"),
        file("a.omb"),
        file("a.html"),
        file("a.svg"),
        file("h.jsonl"),
    );
    for _ in 0..2 {
        let code = bench(&[
            "run",
            "--bootstrap",
            &address,
            "--quiet",
            "--rate",
            "200",
            "--seconds",
            "0.5",
            "--warmup",
            "0.1",
            "--json-file",
            &json,
            "--hlog",
            &hlog,
            "--hgrm",
            &hgrm,
            "--omb-file",
            &omb,
            "--html",
            &html,
            "--svg",
            &svg,
            "--history",
            &history,
        ]);
        // The machine may be too busy for the schedule; the result is written all the same.
        assert!([exit::OK, exit::INVALID].contains(&code), "{code}");
    }
    let read = |path: &str| std::fs::read_to_string(path).expect("written");
    let report: serde_json::Value = serde_json::from_str(&read(&json)).expect("JSON");
    assert_eq!(
        (report["schema"].as_u64(), report["counts"]["due"].as_u64()),
        (Some(1), Some(100))
    );
    assert_eq!(report["integrity"]["groups"][0]["lost"].as_u64(), Some(0));
    let omb: serde_json::Value = serde_json::from_str(&read(&omb)).expect("JSON");
    for key in [
        "publishRate",
        "aggregatedPublishLatency99pct",
        "aggregatedEndToEndLatencyQuantiles",
        "endToEndLatencyAvg",
    ] {
        assert!(!omb[key].is_null(), "{key}");
    }
    assert!(read(&hlog).contains("Tag=response"));
    assert!(read(&hgrm).contains("Total count    =          100"));
    assert!(read(&html).contains("</html>") && read(&svg).ends_with("</svg>"));
    assert_eq!(read(&history).lines().count(), 2);
    for line in read(&history).lines() {
        serde_json::from_str::<turgo_bench::report::Report>(line).expect("a report");
    }
}

/// Each preset in small: the same topics, producers, consumers and settings, at a tiny rate for a moment.
#[test]
fn every_preset_runs() {
    for preset in turgo_bench::presets::ALL {
        let (_fake, address) = Fake::start(Script::default());
        let whole = turgo_bench::presets::find(preset.name).expect("listed");
        let workload = Workload {
            rate: whole.rate.map(|_| 300.0),
            shape: whole.shape.scaled(1e-5),
            burst: whole.burst.min(10),
            batch_records: whole.batch_records.min(10),
            backlog_bytes: whole.backlog_bytes.min(100_000),
            idle_connections: whole.idle_connections.min(20),
            churn: whole.churn.min(20.0),
            producers: whole.producers.min(16),
            consumers: whole.consumers.min(4),
            partitions: whole.partitions.min(100),
            replication: 1,
            warmup_s: 0.1,
            duration_s: 0.4,
            drain_s: 30.0,
            ..whole
        };
        let target = Target {
            bootstrap: vec![address.as_str().into()],
            ..Target::default()
        };
        let options = Options {
            slos: vec![],
            quiet: true,
            strict: false,
            floor_dir: None,
            patience_s: 10.0,
            command: preset.name.into(),
        };
        let (report, _) =
            runner::run(&workload, &target, &options).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
        assert!(
            report.integrity.checked && report.integrity.complete,
            "{}: {:?}",
            preset.name,
            report.outcome
        );
        assert!(
            !report.integrity.violated(),
            "{}: {:?}",
            preset.name,
            report.integrity
        );
        assert_eq!(
            report.counts.unanswered + report.counts.failed,
            0,
            "{}: {:?}",
            preset.name,
            report.counts
        );
        if workload.drain {
            assert!(
                report.drain.as_ref().is_some_and(|d| d.seconds.is_some()),
                "{}: {:?}",
                preset.name,
                report.drain
            );
        }
        if workload.catch_up > 0 {
            assert!(report.rates.caught_up_mib > 0.0, "{}", preset.name);
        }
    }
}

/// A broker that needs 4 ms for each request takes at most 250 records/s, one in flight and one in each.
#[test]
fn the_highest_rate_of_a_slow_broker_is_found() {
    let (_fake, address) = Fake::start(Script {
        service_us: 4_000,
        ..Script::default()
    });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("curve.json");
    let code = bench(&[
        "find-max",
        "--bootstrap",
        &address,
        "--quiet",
        "--slo",
        "p50<60ms",
        "--start",
        "50",
        "--ceiling",
        "800",
        "--confirm",
        "1",
        "--window",
        "1",
        "--batch",
        "1",
        "--warmup",
        "0.2",
        "--seconds",
        "0.6",
        "--verify",
        "false",
        "--json-file",
        &file.display().to_string(),
    ]);
    // A machine that is too busy for any schedule is told, and is no verdict over the broker.
    if code == exit::INVALID {
        return;
    }
    assert_eq!(code, exit::OK);
    let curve: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("written")).expect("JSON");
    let highest = curve["highest"].as_f64().expect("found");
    assert!(
        (40.0..300.0).contains(&highest),
        "at most 250/s are possible: {highest}"
    );
    assert!(curve["steps"].as_array().is_some_and(|s| s.len() >= 3));
}
