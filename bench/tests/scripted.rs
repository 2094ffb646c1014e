//! The tool against a broker whose faults are known in advance: it must find exactly those.

mod fake;

use std::time::Duration;

use fake::{Fake, Script};
use turgo_bench::report::{Raw, Report};
use turgo_bench::shell::runner::{self, Options, RunError, Target};
use turgo_bench::slo::{Slo, exit};
use turgo_bench::spec::Workload;

fn options(slos: &[&str]) -> Options {
    Options {
        slos: slos.iter().map(|s| Slo::parse(s).expect("valid")).collect(),
        quiet: true,
        strict: false,
        floor_dir: None,
        patience_s: 10.0,
        command: "test".into(),
    }
}

fn target(address: &str) -> Target {
    Target {
        bootstrap: vec![address.into()],
        ..Target::default()
    }
}

fn short() -> Workload {
    Workload {
        rate: Some(400.0),
        partitions: 2,
        size: turgo_bench::values::Size::Fixed(200),
        replication: 1,
        warmup_s: 0.2,
        duration_s: 1.0,
        drain_s: 20.0,
        interval_ms: 100,
        ..Workload::default()
    }
}

fn run(script: Script, workload: &Workload, slos: &[&str]) -> (Report, Raw) {
    let (_fake, address) = Fake::start(script);
    runner::run(workload, &target(&address), &options(slos)).expect("a result")
}

fn ms(us: Option<f64>) -> f64 {
    us.expect("enough samples") / 1e3
}

/// Among 1,600 records due in 4 s, a quarter is due during a stall of 1 s and waits for its end.
#[test]
fn a_stall_shows_in_the_response_time_and_a_closed_loop_hides_it() {
    let stall = Script {
        stall: Some((600, Duration::from_secs(1))),
        ..Script::default()
    };
    let open = Workload {
        duration_s: 4.0,
        ..short()
    };
    let (report, raw) = run(stall.clone(), &open, &["p99<100ms"]);
    let response = ms(report.latency.response.p99_us);
    assert!((800.0..3_000.0).contains(&response), "response p99 {response} ms");
    assert!(
        ms(report.latency.response.p75_us) >= 1.0,
        "a quarter of the records was due meanwhile"
    );
    // What a tool sees that times from the send: five requests were out, all others left after the stall.
    let service = ms(report.latency.service.p99_us);
    assert!(service < response / 2.0, "service p99 {service} ms");
    // A stalled server must not void the run, and misses its objective.
    assert_eq!(
        (report.outcome.code, report.outcome.status.as_str()),
        (exit::MISSED, "SLO MISSED"),
        "{:?}",
        report.outcome
    );
    assert_eq!(report.counts.acknowledged, report.counts.due);
    assert!(raw.totals.lateness.count() >= 1_590);
    let slow: u64 = report
        .intervals
        .iter()
        .filter(|i| i.response_max_us > Some(500_000.0))
        .map(|i| i.due)
        .sum();
    assert!(slow >= 150, "the intervals of the stall show it: {slow}");

    let closed = Workload {
        rate: None,
        in_flight: 1,
        batch_records: 1,
        warmup_s: 0.0,
        duration_s: 4.0,
        ..short()
    };
    let (report, _) = run(
        Script {
            service_us: 200,
            ..stall
        },
        &closed,
        &[],
    );
    let (p99, max) = (
        ms(report.latency.response.p99_us),
        ms(report.latency.response.max_us),
    );
    assert!(
        p99 < 500.0 && max > 900.0,
        "a closed loop: p99 {p99} ms, max {max} ms"
    );
    assert!(report.closed_loop && report.remarks.iter().any(|r| r.contains("closed loop")));
}

#[test]
fn a_clean_run_is_clean_and_its_readers_see_everything() {
    let workload = Workload {
        groups: 2,
        consumers: 2,
        ..short()
    };
    let (report, _) = run(Script::default(), &workload, &["p50<10s", "e2e.p50<10s"]);
    assert!(!report.integrity.violated(), "{:?}", report.integrity);
    assert!(report.integrity.checked && report.integrity.complete);
    assert_eq!(report.integrity.groups.len(), 2);
    for group in &report.integrity.groups {
        assert_eq!((group.records, group.lost), (report.integrity.acknowledged, 0));
    }
    assert_eq!(report.latency.e2e.samples, 2 * report.counts.due);
    assert_ne!(report.outcome.code, exit::MISSED);
}

fn violated(script: Script, workload: &Workload) -> turgo_bench::integrity::GroupVerdict {
    let (report, _) = run(script, workload, &[]);
    assert_eq!(
        (report.outcome.code, report.outcome.status.as_str()),
        (exit::INTEGRITY, "INTEGRITY VIOLATED")
    );
    report.integrity.groups[0].clone()
}

#[test]
fn loss_after_acknowledgement_is_found_without_consumers() {
    let verdict = violated(
        Script {
            lose: Some(50),
            ..Script::default()
        },
        &Workload {
            batch_records: 1,
            ..short()
        },
    );
    assert_eq!((verdict.lost, verdict.duplicates, verdict.corrupt), (1, 0, 0));
    assert_eq!(verdict.examples.len(), 1);
}

#[test]
fn repetition_reordering_and_corruption_are_found() {
    let one = Workload {
        batch_records: 1,
        partitions: 1,
        groups: 1,
        ..short()
    };
    let repeated = violated(
        Script {
            repeat: Some(50),
            ..Script::default()
        },
        &one,
    );
    assert_eq!(
        (repeated.duplicates, repeated.lost, repeated.reordered),
        (1, 0, 0)
    );
    let reordered = violated(
        Script {
            reorder: Some(50),
            ..Script::default()
        },
        &one,
    );
    assert_eq!(
        (reordered.reordered, reordered.lost, reordered.duplicates),
        (1, 0, 0)
    );
    let corrupt = violated(
        Script {
            corrupt: Some(50),
            ..Script::default()
        },
        &one,
    );
    assert_eq!(
        (corrupt.corrupt, corrupt.lost),
        (1, 1),
        "a corrupt record is not the one that was sent"
    );
}

#[test]
fn without_idempotence_repetition_is_told_and_not_a_violation() {
    let loose = Workload {
        batch_records: 1,
        partitions: 1,
        idempotent: false,
        ..short()
    };
    let (report, _) = run(
        Script {
            repeat: Some(50),
            ..Script::default()
        },
        &loose,
        &[],
    );
    assert_eq!(report.integrity.groups[0].duplicates, 1);
    assert!(!report.integrity.violated());
}

#[test]
fn a_leader_that_moves_is_followed_without_loss() {
    let workload = Workload { groups: 1, ..short() };
    let (report, _) = run(
        Script {
            move_leader: Some(100),
            ..Script::default()
        },
        &workload,
        &[],
    );
    assert!(
        report.counts.errors.contains_key("NOT_LEADER_OR_FOLLOWER"),
        "{:?}",
        report.counts.errors
    );
    assert!(!report.integrity.violated(), "{:?}", report.integrity);
    assert_eq!(
        report.counts.acknowledged, report.counts.due,
        "everything arrived at the new leader"
    );
    assert!(report.counts.retries > 0);
}

#[test]
fn a_lost_connection_costs_time_and_no_records() {
    let (report, _) = run(
        Script {
            hang_up: Some(100),
            ..Script::default()
        },
        &short(),
        &[],
    );
    assert!(
        report.counts.lost_connections > 0 && report.counts.retries > 0,
        "{:?}",
        report.counts
    );
    assert!(!report.integrity.violated(), "{:?}", report.integrity);
    assert_eq!(
        (report.counts.acknowledged, report.integrity.unknown),
        (report.counts.due, 0)
    );
}

#[test]
fn a_server_that_is_too_slow_does_not_sustain_the_rate() {
    // 2 ms for each request of one record, one at a time: 500/s at most of the 2,000/s asked for.
    let workload = Workload {
        rate: Some(2_000.0),
        in_flight: 1,
        batch_records: 1,
        partitions: 1,
        verify: false,
        ..short()
    };
    let (report, _) = run(
        Script {
            service_us: 2_000,
            ..Script::default()
        },
        &workload,
        &["p50<1us"],
    );
    assert_eq!(
        (report.outcome.code, report.outcome.status.as_str()),
        (exit::NOT_SUSTAINED, "NOT SUSTAINED")
    );
    assert!(
        report.outcome.reasons.len() >= 2,
        "the missed objective is told as well: {:?}",
        report.outcome.reasons
    );
    assert!(!report.integrity.checked && report.remarks.iter().any(|r| r.contains("--verify")));
}

#[test]
fn an_endpoint_that_is_not_there_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let error = runner::run(&short(), &target(&address), &options(&[])).expect_err("nothing listens");
    assert_eq!(error.code(), exit::UNREACHABLE);
    assert!(
        error.to_string().contains(&address) && error.to_string().contains("broker"),
        "{error}"
    );
    let wrong = Workload {
        rate: Some(-1.0),
        ..short()
    };
    let error = runner::run(&wrong, &target(&address), &options(&[])).expect_err("wrong usage comes first");
    assert!(matches!(error, RunError::Usage(_)) && error.code() == exit::USAGE);
}
