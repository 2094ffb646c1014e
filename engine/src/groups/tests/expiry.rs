//! Retention of offsets, and of groups that have nothing left.

use super::*;

const RETENTION_MS: i64 = 3_600_000;
const CHECK_MS: i64 = 60_000;

fn bench() -> Bench {
    Bench::with(Config {
        offsets_retention_ms: RETENTION_MS,
        retention_check_interval_ms: CHECK_MS,
        initial_rebalance_delay_ms: 0,
        ..Config::default()
    })
}

#[test]
fn simple_group_loses_offsets_by_their_commit_time_and_then_itself() {
    let mut bench = bench();
    bench.commit_as(commit("g", 5));
    bench.advance(RETENTION_MS / 2);
    let mut other = commit("g", 6);
    other.topics[0].name = "u".into();
    bench.commit_as(other);
    bench.advance(RETENTION_MS / 2 + CHECK_MS);
    assert_eq!((bench.fetch("g"), bench.state("g")), (Ok(-1), "Empty"));
    assert_eq!(bench.coordinator.committed_offset("g", "u", 0), Some(6));
    bench.advance(RETENTION_MS / 2);
    assert_eq!(bench.state("g"), "Dead");
    let stats = bench.reloaded(Config::default()).stats();
    assert_eq!((stats.groups, stats.offsets), (0, 0));
}

#[test]
fn group_with_members_keeps_subscribed_topics_and_loses_others() {
    let mut bench = bench();
    let (ids, generation) = bench.stable_group("g", 1);
    let mut request = commit_by("g", &ids[0], generation, 5);
    request.topics.push(CommitTopic {
        name: "u".into(),
        ..request.topics[0].clone()
    });
    bench.commit_as(request);
    for _ in 0..(RETENTION_MS + CHECK_MS) / 5_000 {
        bench.advance(5_000);
        assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE);
    }
    assert_eq!(bench.coordinator.committed_offset("g", "t", 0), Some(5));
    assert_eq!(bench.coordinator.committed_offset("g", "u", 0), None);
}

#[test]
fn abandoned_group_keeps_its_offsets_for_the_retention_after_it_became_empty() {
    let mut bench = bench();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.commit_as(commit_by("g", &ids[0], generation, 5));
    for _ in 0..RETENTION_MS / 5_000 {
        bench.advance(5_000);
        bench.heartbeat("g", &ids[0], generation);
    }
    bench.leave("g", &ids[0]);
    bench.advance(RETENTION_MS - CHECK_MS);
    assert_eq!(bench.fetch("g"), Ok(5));
    bench.advance(2 * CHECK_MS);
    assert_eq!((bench.fetch("g"), bench.state("g")), (Ok(-1), "Dead"));
}

#[test]
fn group_of_another_protocol_keeps_its_offsets_while_it_has_members() {
    let mut bench = bench();
    bench.commit_as(commit("g", 5));
    bench.caller.api_version = 3;
    let request = JoinRequest {
        protocol_type: "connect".into(),
        ..join("g", "")
    };
    let ticket = bench.send(Request::Join(request));
    bench.advance(0);
    let member = bench.join_answer(ticket).member_id;
    let request = SyncRequest {
        protocol_type: None,
        ..sync("g", &member, 1)
    };
    bench.send(Request::Sync(request));
    for _ in 0..(RETENTION_MS + CHECK_MS) / 5_000 {
        bench.advance(5_000);
        assert_eq!(bench.heartbeat("g", &member, 1), codes::NONE);
    }
    assert_eq!(bench.fetch("g"), Ok(5));
}

#[test]
fn retention_of_the_request_wins_over_the_brokers_and_survives_replay() {
    let mut bench = bench();
    bench.commit_as(OffsetCommitRequest {
        retention_time_ms: Some(2 * CHECK_MS),
        ..commit("short", 5)
    });
    bench.commit_as(OffsetCommitRequest {
        retention_time_ms: Some(2 * RETENTION_MS),
        ..commit("long", 5)
    });
    bench.advance(CHECK_MS);
    assert_eq!(bench.fetch("short"), Ok(5));
    bench.coordinator = bench.reloaded(Config {
        retention_check_interval_ms: CHECK_MS,
        ..Config::default()
    });
    bench.advance(2 * CHECK_MS);
    assert_eq!((bench.fetch("short"), bench.fetch("long")), (Ok(-1), Ok(5)));
}

#[test]
fn empty_group_without_offsets_goes_and_one_with_a_pending_member_stays() {
    let mut bench = bench();
    let (ids, _) = bench.stable_group("g", 1);
    bench.leave("g", &ids[0]);
    bench.advance(CHECK_MS - 1_000);
    assert_eq!(bench.state("g"), "Empty");
    let pending = bench.new_member_id("h");
    bench.advance(2_000);
    assert_eq!((bench.state("g"), bench.state("h")), ("Dead", "Empty"));
    let ticket = bench.send(Request::Join(join("h", &pending)));
    bench.advance(0);
    assert_eq!(bench.join_answer(ticket).error_code, codes::NONE);
}

#[test]
fn offset_pending_in_a_transaction_does_not_expire() {
    let mut bench = bench();
    bench.commit_as(commit("g", 5));
    bench.ask(Request::TxnOffsetCommit(TxnOffsetCommitRequest {
        group_id: "g".into(),
        producer_id: 9,
        producer_epoch: 0,
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        topics: commit("g", 6).topics,
    }));
    bench.advance(RETENTION_MS + 2 * CHECK_MS);
    assert_eq!(bench.fetch("g"), Ok(5));
    bench.coordinator.end_transaction(9, false);
    bench.advance(CHECK_MS);
    assert_eq!(bench.fetch("g"), Ok(-1));
}

#[test]
fn expiry_that_cannot_be_stored_is_tried_again_at_the_next_check() {
    let mut bench = bench();
    bench.commit_as(commit("g", 5));
    bench.advance(RETENTION_MS - 1);
    bench.auto_commit = false;
    bench.advance(CHECK_MS);
    while !bench.waiting.is_empty() {
        bench.fail(codes::REQUEST_TIMED_OUT);
    }
    assert_eq!((bench.fetch("g"), bench.state("g")), (Ok(5), "Empty"));
    bench.auto_commit = true;
    bench.advance(CHECK_MS);
    assert_eq!((bench.fetch("g"), bench.state("g")), (Ok(-1), "Dead"));
}
