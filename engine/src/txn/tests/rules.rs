//! Rules one by one; names say condition and outcome. Known failures of transactions before KIP-890 come as cases.

use turgo_net::ErrorCode;

use super::*;
use crate::txn::TxnState;
use crate::txn::state::LAST_EPOCH;

fn ok(producer: Producer) -> (i64, i16) {
    assert_eq!(producer.error, ErrorCode::NONE);
    (producer.id, producer.epoch)
}

/// A rig with an id that has run through its epochs up to `epoch`.
fn aged(epoch: i16) -> (Rig, (i64, i16)) {
    let mut rig = Rig::new();
    let (id, _) = ok(rig.init("a", None));
    let mut txn = rig.coordinator.txn("a").expect("there").clone();
    txn.epoch = epoch;
    let record = crate::txn::records::encode("a", Some(&txn)).expect("encodes");
    rig.log.push(record);
    let rig = rig.reload();
    (rig, (id, epoch))
}

#[test]
fn a_new_id_gets_a_producer_id_and_epoch_zero_and_each_start_raises_the_epoch() {
    let mut rig = Rig::new();
    let first = ok(rig.init("a", None));
    assert_eq!(first.1, 0);
    assert_eq!(ok(rig.init("a", None)), (first.0, 1));
    assert_ne!(ok(rig.init("b", None)).0, first.0);
    assert_eq!(rig.end("a", first, TV0, true).error, ErrorCode::PRODUCER_FENCED);
    assert_eq!(rig.add("a", first, TV0, &[0]), ErrorCode::PRODUCER_FENCED);
}

#[test]
fn timeouts_and_names_are_judged_before_anything_else() {
    let mut rig = Rig::new();
    let with = |timeout_ms| {
        Request::InitProducerId(InitProducerId {
            transactional_id: "a".into(),
            timeout_ms,
            expected: None,
        })
    };
    for bad in [0, -1, 900_001, i32::MAX] {
        let error = producer(rig.now(with(bad))).error;
        assert_eq!(error, ErrorCode::INVALID_TRANSACTION_TIMEOUT, "{bad}");
    }
    ok(producer(rig.now(with(900_000))));
    assert_eq!(rig.init("", None).error, ErrorCode::INVALID_REQUEST);
    assert_eq!(
        rig.init(&"x".repeat(20_000), None).error,
        ErrorCode::INVALID_REQUEST
    );
}

#[test]
fn a_producer_that_gives_its_epoch_raises_it_and_a_repeat_gets_the_same() {
    let mut rig = Rig::new();
    let (id, epoch) = ok(rig.init("a", None));
    let raised = ok(rig.init("a", Some((id, epoch))));
    assert_eq!(raised, (id, 1));
    assert_eq!(
        ok(rig.init("a", Some((id, epoch)))),
        raised,
        "the answer was lost"
    );
    ok(rig.init("a", None));
    let fenced = rig.init("a", Some((id, epoch)));
    assert_eq!(
        fenced.error,
        ErrorCode::PRODUCER_FENCED,
        "another came in between"
    );
    assert_eq!(rig.init("a", Some((id + 7, 0))).error, ErrorCode::PRODUCER_FENCED);
}

#[test]
fn an_epoch_that_cannot_be_raised_gives_a_new_producer_id() {
    let (mut rig, (id, epoch)) = aged(LAST_EPOCH);
    let fresh = ok(rig.init("a", Some((id, epoch))));
    assert_ne!(fresh.0, id);
    assert_eq!(fresh.1, 0);
    assert_eq!(ok(rig.init("a", Some((id, epoch)))), fresh, "asked again");
    let (mut rig, (id, _)) = aged(LAST_EPOCH);
    assert_ne!(ok(rig.init("a", None)).0, id);
}

#[test]
fn ending_with_the_last_epoch_moves_to_a_new_producer_id_and_may_be_asked_again() {
    let (mut rig, old) = aged(LAST_EPOCH);
    assert_eq!(rig.add("a", old, TV2, &[0]), ErrorCode::NONE);
    rig.at_once = false;
    let asked = rig.ask(end("a", old, TV2, true));
    rig.commit();
    let fresh = ok(producer(rig.answer(asked).expect("decided")));
    assert_eq!(fresh.1, 0);
    assert_ne!(fresh.0, old.0);
    // The next transaction begins before the markers are written: it waits.
    let early = rig.ask(add("a", fresh, TV2, &[1]));
    assert_eq!(rig.answer(early), None);
    let job = rig.write_markers();
    assert_eq!((job.producer_id, job.producer_epoch), (old.0, i16::MAX));
    rig.settle();
    assert_eq!(added(rig.answer(early).expect("its turn")), ErrorCode::NONE);
    rig.at_once = true;
    ok(rig.end("a", fresh, TV2, false));
    let (mut rig, old) = aged(LAST_EPOCH);
    rig.add("a", old, TV2, &[0]);
    let fresh = ok(rig.end("a", old, TV2, true));
    assert_eq!(ok(rig.end("a", old, TV2, true)), fresh);
}

#[test]
fn an_open_transaction_is_aborted_when_its_producer_begins_anew() {
    for level in [TV0, TV2] {
        let mut rig = Rig::new();
        let old = ok(rig.init("a", None));
        assert_eq!(rig.add("a", old, level, &[0, 1]), ErrorCode::NONE);
        assert_eq!(rig.init("a", None).error, ErrorCode::CONCURRENT_TRANSACTIONS);
        assert_eq!(rig.state("a").state, "CompleteAbort");
        let young = ok(rig.init("a", None));
        assert_eq!(young, (old.0, 2), "one epoch for the fence, one for the producer");
        assert_eq!(rig.end("a", old, level, true).error, ErrorCode::PRODUCER_FENCED);
    }
}

#[test]
fn the_epoch_rises_with_each_end_only_at_level_two() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV0, &[0]);
    rig.at_once = false;
    let asked = rig.ask(end("a", one, TV0, true));
    rig.commit();
    assert_eq!(ok(producer(rig.answer(asked).expect("decided"))), one);
    assert_eq!(rig.write_markers().producer_epoch, 0);
    rig.settle();
    let added_ = rig.ask(add("a", one, TV2, &[0]));
    rig.settle();
    assert_eq!(added(rig.answer(added_).expect("added")), ErrorCode::NONE);
    let asked = rig.ask(end("a", one, TV2, false));
    rig.commit();
    assert_eq!(ok(producer(rig.answer(asked).expect("decided"))), (one.0, 1));
    assert_eq!(rig.write_markers().producer_epoch, 1, "above that of the records");
}

#[test]
fn an_end_repeated_gets_the_same_answer_and_the_opposite_is_refused() {
    for (commit, other) in [(true, false), (false, true)] {
        let mut rig = Rig::new();
        let one = ok(rig.init("a", None));
        rig.add("a", one, TV2, &[0]);
        let two = ok(rig.end("a", one, TV2, commit));
        assert_eq!(ok(rig.end("a", one, TV2, commit)), two);
        let error = rig.end("a", one, TV2, other).error;
        assert_eq!(error, ErrorCode::INVALID_TXN_STATE);
        let mut rig = Rig::new();
        let one = ok(rig.init("a", None));
        rig.add("a", one, TV0, &[0]);
        ok(rig.end("a", one, TV0, commit));
        assert_eq!(ok(rig.end("a", one, TV0, commit)), one);
        assert_eq!(rig.end("a", one, TV0, other).error, ErrorCode::INVALID_TXN_STATE);
    }
}

#[test]
fn nothing_may_be_aborted_but_not_committed_at_level_two() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    assert_eq!(rig.end("a", one, TV2, true).error, ErrorCode::INVALID_TXN_STATE);
    assert_eq!(rig.end("a", one, TV0, false).error, ErrorCode::INVALID_TXN_STATE);
    let two = ok(rig.end("a", one, TV2, false));
    assert_eq!(two, (one.0, 1));
    let three = ok(rig.end("a", two, TV2, false));
    assert_eq!(three, (one.0, 2), "after a complete transaction too");
    assert_eq!(rig.state("nobody").error, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    let unknown = rig.end("nobody", one, TV2, false).error;
    assert_eq!(unknown, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
}

#[test]
fn nothing_is_answered_before_its_record_is_committed_and_markers_follow_it() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.at_once = false;
    let asked = rig.ask(add("a", one, TV0, &[3, 4]));
    assert_eq!(rig.answer(asked), None);
    rig.commit();
    assert_eq!(added(rig.answer(asked).expect("committed")), ErrorCode::NONE);
    let asked = rig.ask(end("a", one, TV0, true));
    assert!(rig.answer(asked).is_none() && rig.markers.is_empty());
    rig.commit();
    assert!(rig.answer(asked).is_some());
    assert_eq!(rig.markers[0].topics, [("t".to_owned(), vec![3, 4])]);
    assert_eq!(rig.state("a").state, "PrepareCommit");
    rig.write_markers();
    assert_eq!(
        rig.state("a").state,
        "PrepareCommit",
        "until that is committed too"
    );
    rig.commit();
    assert_eq!(rig.state("a").state, "CompleteCommit");
}

#[test]
fn requests_wait_while_a_transaction_completes_and_give_up_after_a_while() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    rig.at_once = false;
    rig.ask(end("a", one, TV2, true));
    rig.commit();
    let next = (one.0, 1);
    let waits: Vec<u64> = (0..3).map(|p| rig.ask(add("a", next, TV2, &[p]))).collect();
    let init = rig.ask(init("a", None));
    rig.write_markers();
    rig.commit();
    assert_eq!(rig.appends.len(), 1, "one record for all that waited");
    rig.commit();
    for ticket in waits {
        assert_eq!(added(rig.answer(ticket).expect("its turn")), ErrorCode::NONE);
    }
    assert_eq!(rig.state("a").topics, [("t".to_owned(), vec![0, 1, 2])]);
    assert_eq!(rig.answer(init), None, "it began to abort what came before it");
    rig.commit();
    let refused = producer(rig.answer(init).expect("asked to come back")).error;
    assert_eq!(refused, ErrorCode::CONCURRENT_TRANSACTIONS);
    // The markers cannot be written for long.
    let late = rig.ask(add("a", (one.0, 2), TV2, &[0]));
    rig.tick(999);
    assert_eq!(rig.answer(late), None);
    rig.tick(1);
    let told = added(rig.answer(late).expect("after a second"));
    assert_eq!(told, ErrorCode::CONCURRENT_TRANSACTIONS);
}

#[test]
fn verification_tells_what_is_in_the_transaction_and_adds_nothing() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV0, &[1]);
    let verify = |by: (i64, i16), partitions: &[i32]| match add("a", by, TV0, partitions) {
        Request::AddPartitions(add) => Request::AddPartitions(AddPartitions {
            verify_only: true,
            ..add
        }),
        _ => unreachable!(),
    };
    assert_eq!(added(rig.now(verify(one, &[1]))), ErrorCode::NONE);
    assert_eq!(
        added(rig.now(verify(one, &[2]))),
        ErrorCode::TRANSACTION_ABORTABLE
    );
    assert_eq!(
        added(rig.now(verify((one.0, 5), &[1]))),
        ErrorCode::PRODUCER_FENCED
    );
    rig.end("a", one, TV0, true);
    assert_eq!(
        added(rig.now(verify(one, &[1]))),
        ErrorCode::TRANSACTION_ABORTABLE
    );
    assert_eq!(rig.state("a").topics, []);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    for level in [TV0, TV2] {
        let mut rig = Rig::new();
        let one = ok(rig.init("a", None));
        rig.add("a", one, level, &[0]);
        rig.tick(60_000);
        assert_eq!(rig.state("a").state, "Ongoing", "not a moment too early");
        rig.tick(10_001);
        assert_eq!(rig.state("a").state, "CompleteAbort");
        assert_eq!(
            rig.end("a", one, level, true).error,
            if level == TV2 {
                // Kafka takes it for the repeat of an end that was an abort.
                ErrorCode::INVALID_TXN_STATE
            } else {
                ErrorCode::PRODUCER_FENCED
            }
        );
        assert_eq!(rig.add("a", one, level, &[0]), ErrorCode::PRODUCER_FENCED);
    }
}

#[test]
fn idle_ids_are_forgotten_but_not_those_with_a_transaction() {
    let config = Config {
        abort_interval_ms: i64::MAX / 4,
        ..Config::default()
    };
    let mut rig = Rig::with(config, Vec::new());
    let idle = ok(rig.init("idle", None));
    let busy = ok(rig.init("busy", None));
    rig.add("busy", busy, TV0, &[0]);
    rig.tick(7 * 24 * 3_600_000 + 1);
    assert_eq!(rig.state("idle").error, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    assert_eq!(rig.state("busy").state, "Ongoing");
    assert!(rig.log.last().expect("a tombstone").value.is_none());
    let error = rig.add("idle", idle, TV0, &[0]);
    assert_eq!(error, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    assert_ne!(ok(rig.init("idle", None)).0, idle.0, "a new producer id");
    // Asked while the tombstone is on its way.
    rig.at_once = false;
    rig.tick(7 * 24 * 3_600_000 + 1);
    let asked = rig.ask(init("idle", None));
    rig.settle();
    assert_eq!(ok(producer(rig.answer(asked).expect("answered"))).1, 0);
}

#[test]
fn a_coordinator_that_takes_over_completes_what_was_decided_and_keeps_what_is_open() {
    let mut rig = Rig::new();
    let open = ok(rig.init("open", None));
    rig.add("open", open, TV2, &[7]);
    for (id, commit) in [("c", true), ("x", false)] {
        let one = ok(rig.init(id, None));
        rig.add(id, one, TV2, &[0, 1]);
        rig.at_once = false;
        rig.ask(end(id, one, TV2, commit));
        rig.commit();
        rig.markers.clear();
        rig.at_once = true;
    }
    let mut next = Coordinator::new(Config::default());
    for record in &rig.log {
        next.replay(Some(&record.key), record.value.as_deref());
    }
    let mut out = Vec::new();
    next.loaded(0, &mut out);
    let jobs: Vec<(bool, i16)> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Markers(job) => Some((job.commit, job.producer_epoch)),
            _ => None,
        })
        .collect();
    assert_eq!(jobs, [(true, 1), (false, 1)]);
    let mut rig = rig.reload();
    assert_eq!(rig.state("c").state, "CompleteCommit");
    assert_eq!(rig.state("x").state, "CompleteAbort");
    let told = rig.state("open");
    assert_eq!(
        (told.state, &told.topics),
        ("Ongoing", &vec![("t".to_owned(), vec![7])])
    );
    ok(rig.end("open", open, TV2, true));
}

#[test]
fn an_append_that_fails_leaves_no_trace_and_says_whom_to_ask() {
    let mut rig = Rig::new();
    rig.at_once = false;
    let asked = rig.ask(init("a", None));
    let (token, _) = rig.appends.remove(0);
    rig.event(|c, now_ms, out| c.failed(now_ms, token, ErrorCode::KAFKA_STORAGE_ERROR, out));
    let told = producer(rig.answer(asked).expect("told")).error;
    assert_eq!(told, ErrorCode::NOT_COORDINATOR);
    assert_eq!(rig.state("a").error, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    rig.at_once = true;
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    rig.at_once = false;
    let asked = rig.ask(end("a", one, TV2, true));
    let (token, _) = rig.appends.remove(0);
    rig.event(|c, now_ms, out| c.failed(now_ms, token, ErrorCode::UNKNOWN_SERVER_ERROR, out));
    let told = producer(rig.answer(asked).expect("told")).error;
    assert_eq!(
        told,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        "never an unknown error from EndTxn"
    );
    assert_eq!(rig.state("a").state, "Ongoing");
    // The record that a transaction is complete is tried again.
    rig.ask(end("a", one, TV2, true));
    rig.commit();
    rig.write_markers();
    let (token, _) = rig.appends.remove(0);
    rig.event(|c, now_ms, out| c.failed(now_ms, token, ErrorCode::KAFKA_STORAGE_ERROR, out));
    assert_eq!(rig.state("a").state, "PrepareCommit");
    rig.tick(1);
    rig.settle();
    assert_eq!(rig.state("a").state, "CompleteCommit");
}

#[test]
fn everyone_who_waits_is_told_when_the_coordinator_goes() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    rig.at_once = false;
    let ending = rig.ask(end("a", one, TV2, true));
    let waiting = rig.ask(add("a", one, TV2, &[0]));
    rig.event(|c, _, out| c.resign(out));
    let gone = ErrorCode::NOT_COORDINATOR;
    assert_eq!(producer(rig.answer(ending).expect("told")).error, gone);
    assert_eq!(added(rig.answer(waiting).expect("told")), gone);
    assert_eq!(rig.init("a", None).error, gone);
}

#[test]
fn bounds_hold_and_what_exceeds_them_is_refused() {
    let mut config = Config::default();
    config.limits.ids = 2;
    config.limits.all_id_bytes = 1_000;
    config.limits.record_bytes = 100;
    config.limits.waiting = 1;
    let mut rig = Rig::with(config, Vec::new());
    let one = ok(rig.init("a", None));
    let long = "b".repeat(1_000);
    assert_eq!(
        rig.init(&long, None).error,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        "a thousand and one bytes"
    );
    ok(rig.init("b", None));
    assert_eq!(rig.init("c", None).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    ok(rig.init("a", None));
    let one = (one.0, 1);
    let many: Vec<i32> = (0..100).collect();
    assert_eq!(rig.add("a", one, TV0, &many), ErrorCode::INVALID_REQUEST);
    assert_eq!(rig.add("a", one, TV0, &[1]), ErrorCode::NONE);
    rig.at_once = false;
    rig.ask(end("a", one, TV0, true));
    let first = rig.ask(add("a", one, TV0, &[1]));
    let second = rig.ask(add("a", one, TV0, &[1]));
    assert_eq!(rig.answer(first), None);
    let told = added(rig.answer(second).expect("no room to wait"));
    assert_eq!(told, ErrorCode::CONCURRENT_TRANSACTIONS);
}

#[test]
fn lists_are_filtered_by_state_producer_and_duration() {
    let mut rig = Rig::new();
    let a = ok(rig.init("a", None));
    let b = ok(rig.init("b", None));
    rig.add("a", a, TV0, &[0]);
    rig.now_ms += 5_000;
    rig.add("b", b, TV0, &[0]);
    let mut list = |list: ListTransactions| match rig.now(Request::List(list)) {
        Response::Listed(Ok(listed)) => listed.into_iter().map(|t| t.transactional_id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let all = ListTransactions {
        duration_ms: -1,
        ..ListTransactions::default()
    };
    assert_eq!(list(all.clone()), ["a", "b"]);
    let longer = ListTransactions {
        duration_ms: 1_000,
        ..all.clone()
    };
    assert_eq!(list(longer), ["a"]);
    let by_id = ListTransactions {
        producer_ids: vec![b.0],
        ..all.clone()
    };
    assert_eq!(list(by_id), ["b"]);
    let empty = ListTransactions {
        states: vec![TxnState::Empty],
        ..all
    };
    assert_eq!(list(empty), Vec::<String>::new());
}

#[test]
fn records_are_those_of_kafka_and_damaged_ones_are_skipped() {
    let mut rig = Rig::new();
    let one = ok(rig.init("abc", None));
    rig.add("abc", one, TV2, &[5]);
    assert_eq!(rig.log[0].key, b"\0\0\0\x03abc");
    // Version 1: producer id 501, epoch 0, timeout 60,000, Ongoing, one topic "t" with partition 5, updated, started,
    // then three tagged fields: the producer id before, and level 2.
    let value = rig.log[1].value.clone().expect("a value");
    let mut want = vec![0, 1];
    want.extend(501_i64.to_be_bytes());
    want.extend(0_i16.to_be_bytes());
    want.extend(60_000_i32.to_be_bytes());
    want.extend([1, 2, 2, b't', 2, 0, 0, 0, 5, 0]);
    want.extend(1_000_000_i64.to_be_bytes());
    want.extend(1_000_000_i64.to_be_bytes());
    want.extend([2, 0, 8]);
    want.extend(501_i64.to_be_bytes());
    want.extend([2, 2, 0, 2]);
    assert_eq!(value, want);
    for cut in 0..value.len() {
        let mut loading = Coordinator::new(Config::default());
        loading.replay(Some(&rig.log[0].key), Some(&value[..cut]));
        assert_eq!(loading.stats().bad_records, 1, "cut at {cut}");
    }
    let mut loading = Coordinator::new(Config::default());
    loading.replay(None, Some(&value));
    loading.replay(Some(b"\0\x07\0\0"), Some(&value));
    loading.replay(Some(b"\0"), Some(&value));
    assert_eq!(loading.stats().bad_records, 3);
}

// ---- failures known from the protocol before KIP-890 ----

/// KAFKA-17754: an EndTxn that was sent twice arrives a second time during the next transaction. Before KIP-890 nothing
/// tells it from that transaction's own end; from part 2 on its epoch does.
#[test]
fn a_late_end_hits_the_next_transaction_only_before_kip_890() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV0, &[0]);
    let late = end("a", one, TV0, true);
    ok(producer(rig.now(late.clone())));
    rig.add("a", one, TV0, &[0]);
    ok(producer(rig.now(late)));
    assert_eq!(
        rig.state("a").state,
        "CompleteCommit",
        "a torn transaction; the protocol's, not ours"
    );

    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    let late = end("a", one, TV2, true);
    let two = ok(producer(rig.now(late.clone())));
    rig.add("a", two, TV2, &[0]);
    assert_eq!(producer(rig.now(late)).error, ErrorCode::PRODUCER_FENCED);
    assert_eq!(rig.state("a").state, "Ongoing");
}

/// A hanging transaction: a produce of a transaction that the coordinator has aborted arrives late. The owner asks, and
/// is told that the partition is in no transaction (part 1), or that the epoch is over (part 2).
#[test]
fn a_late_produce_finds_no_transaction() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    rig.end("a", one, TV2, false);
    assert_eq!(rig.add("a", one, TV2, &[1]), ErrorCode::PRODUCER_FENCED);
    assert_eq!(rig.state("a").state, "CompleteAbort");
}

/// KAFKA-19367: fencing an open transaction must raise the epoch once, not twice.
#[test]
fn a_fence_raises_the_epoch_once() {
    let mut rig = Rig::new();
    let one = ok(rig.init("a", None));
    rig.add("a", one, TV2, &[0]);
    rig.at_once = false;
    rig.ask(init("a", None));
    rig.commit();
    assert_eq!(rig.write_markers().producer_epoch, one.1 + 1);
}

/// KAFKA-18660: a fence with the last epoch still has an epoch for its markers, and a producer id for what follows.
#[test]
fn a_fence_with_the_last_epoch_moves_to_a_new_producer_id() {
    let (mut rig, old) = aged(LAST_EPOCH);
    rig.add("a", old, TV2, &[0]);
    assert_eq!(rig.init("a", None).error, ErrorCode::CONCURRENT_TRANSACTIONS);
    let fresh = ok(rig.init("a", None));
    assert_ne!(fresh.0, old.0);
    assert_eq!(fresh.1, 1, "0 was for whoever ended the transaction");
}
