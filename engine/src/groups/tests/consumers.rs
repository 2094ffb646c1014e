//! Rules of consumer groups (KIP-848), one each; what Kafka answers to the same bytes is in
//! `engine/tests/conformance_groups.rs`.

use super::*;
use crate::groups::consumer::cluster::{Overrides, Table};
use crate::groups::consumer::{ConsumerConfig, MigrationPolicy};
use std::cell::RefCell;
use std::rc::Rc;

type Shared = Rc<RefCell<Table>>;

fn bench_with(consumer: ConsumerConfig) -> (Bench, Shared) {
    let table = Rc::new(RefCell::new(Table::default()));
    table.borrow_mut().put("t", 1, 4);
    table.borrow_mut().put("u", 2, 2);
    let config = Config {
        initial_rebalance_delay_ms: 0,
        consumer,
        ..Config::default()
    };
    let mut bench = Bench::with(config.clone());
    bench.coordinator = Coordinator::in_cluster(config, table.clone());
    bench.coordinator.loaded(bench.now_ms, &mut Vec::new());
    (bench, table)
}

/// Targets are made at once.
fn brisk() -> ConsumerConfig {
    ConsumerConfig {
        assignment_interval_ms: 0,
        ..ConsumerConfig::default()
    }
}

fn bench() -> (Bench, Shared) {
    bench_with(brisk())
}

fn joining(member: &str) -> ConsumerHeartbeatRequest {
    ConsumerHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerHeartbeatRequest::default()
    }
}

fn staying(member: &str, epoch: i32) -> ConsumerHeartbeatRequest {
    ConsumerHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: epoch,
        ..ConsumerHeartbeatRequest::default()
    }
}

fn holding(member: &str, epoch: i32, topic: u8, partitions: &[i32]) -> ConsumerHeartbeatRequest {
    let mut id = [0; 16];
    id[15] = topic;
    ConsumerHeartbeatRequest {
        topic_partitions: Some(vec![(id, partitions.to_vec())]),
        ..staying(member, epoch)
    }
}

fn answer(response: Option<Response>) -> ConsumerHeartbeatResponse {
    match response {
        Some(Response::ConsumerHeartbeat(answer)) => answer,
        other => panic!("no heartbeat answer but {other:?}"),
    }
}

fn beat(bench: &mut Bench, request: ConsumerHeartbeatRequest) -> ConsumerHeartbeatResponse {
    let response = bench.ask(Request::ConsumerHeartbeat(request));
    answer(Some(response))
}

/// Code, epoch and how many partitions, if told.
fn told(answer: &ConsumerHeartbeatResponse) -> (i16, i32, Option<usize>) {
    let count = answer
        .assignment
        .as_ref()
        .map(|a| a.iter().map(|(_, p)| p.len()).sum());
    (answer.error_code, answer.member_epoch, count)
}

fn describe(bench: &mut Bench) -> DescribedConsumerGroup {
    match bench.ask(Request::ConsumerDescribe(vec!["g".into()])) {
        Response::ConsumerDescribe(mut groups) => groups.pop().expect("one group"),
        other => panic!("no description but {other:?}"),
    }
}

#[test]
fn an_answer_waits_for_its_batch_and_other_members_wait_for_it_together() {
    let (mut bench, _) = bench();
    bench.auto_commit = false;
    let a = bench.send(Request::ConsumerHeartbeat(joining("a")));
    assert!(bench.answer(a).is_none(), "told before it is stored");
    let rest: Vec<Ticket> = ["b", "c", "d"]
        .map(|id| bench.send(Request::ConsumerHeartbeat(joining(id))))
        .into();
    assert_eq!(
        bench.waiting.len(),
        1,
        "one batch of a group is on its way at most"
    );
    assert_eq!(
        describe(&mut bench).error_code,
        codes::GROUP_ID_NOT_FOUND,
        "not there yet"
    );
    bench.commit();
    assert_eq!(told(&answer(bench.answer(a))), (codes::NONE, 2, Some(4)));
    assert_eq!(bench.waiting.len(), 1, "three joined in one batch");
    bench.commit();
    for ticket in rest {
        assert_eq!(answer(bench.answer(ticket)).error_code, codes::NONE);
    }
    assert!(bench.waiting.is_empty());
}

#[test]
fn a_batch_that_fails_leaves_no_trace_and_what_waited_is_served() {
    let (mut bench, _) = bench();
    beat(&mut bench, joining("a"));
    let before = format!("{:?}", describe(&mut bench));
    bench.auto_commit = false;
    let b = bench.send(Request::ConsumerHeartbeat(joining("b")));
    let a = bench.send(Request::ConsumerHeartbeat(staying("a", 2)));
    bench.fail(codes::NOT_ENOUGH_REPLICAS);
    assert_eq!(
        answer(bench.answer(b)).error_code,
        codes::COORDINATOR_NOT_AVAILABLE
    );
    assert_eq!(told(&answer(bench.answer(a))), (codes::NONE, 2, None));
    assert_eq!(format!("{:?}", describe(&mut bench)), before);
    assert!(bench.waiting.is_empty());
    // The first member of a group whose record is lost leaves no group.
    let mut other = joining("x");
    other.group_id = "other".into();
    let x = bench.send(Request::ConsumerHeartbeat(other));
    bench.fail(codes::NOT_ENOUGH_REPLICAS);
    assert_eq!(
        answer(bench.answer(x)).error_code,
        codes::COORDINATOR_NOT_AVAILABLE
    );
    assert_eq!(bench.coordinator.stats().groups, 1);
}

#[test]
fn a_silent_member_is_out_when_its_session_is_over_and_its_partitions_are_free() {
    let (mut bench, table) = bench();
    let session = Overrides {
        session_timeout_ms: Some(50_000),
        ..Overrides::default()
    };
    table.borrow_mut().overrides.insert("g".into(), session);
    beat(&mut bench, joining("a"));
    bench.advance(30_000);
    beat(&mut bench, joining("b"));
    bench.advance(19_999);
    assert_eq!(
        describe(&mut bench).members.len(),
        2,
        "the group's own session timeout"
    );
    bench.advance(1);
    assert_eq!(describe(&mut bench).members.len(), 1);
    assert_eq!(
        told(&beat(&mut bench, staying("b", 3))),
        (codes::NONE, 4, Some(4))
    );
    assert_eq!(
        beat(&mut bench, staying("a", 2)).error_code,
        codes::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_out() {
    let (mut bench, _) = bench();
    beat(&mut bench, joining("a"));
    beat(&mut bench, joining("b"));
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 2, Some(2))
    );
    bench.advance(29_999);
    beat(&mut bench, staying("a", 2));
    beat(&mut bench, staying("b", 3));
    bench.advance(1);
    assert_eq!(
        beat(&mut bench, staying("a", 2)).error_code,
        codes::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        told(&beat(&mut bench, staying("b", 3))),
        (codes::NONE, 4, Some(4))
    );
}

#[test]
fn targets_are_made_no_more_often_than_the_interval_allows() {
    let (mut bench, _) = bench_with(ConsumerConfig::default());
    assert_eq!(told(&beat(&mut bench, joining("a"))), (codes::NONE, 2, Some(4)));
    assert_eq!(told(&beat(&mut bench, joining("b"))), (codes::NONE, 2, Some(0)));
    assert_eq!(describe(&mut bench).group_state, "Assigning");
    bench.advance(999);
    assert_eq!(told(&beat(&mut bench, staying("b", 2))), (codes::NONE, 2, None));
    bench.advance(1);
    assert_eq!(told(&beat(&mut bench, staying("b", 2))), (codes::NONE, 3, None));
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 2, Some(2))
    );
}

#[test]
fn topics_that_come_grow_and_go_reach_the_members() {
    let (mut bench, table) = bench();
    let mut request = joining("a");
    request.subscribed_topic_names = Some(vec!["t".into(), "later".into()]);
    assert_eq!(told(&beat(&mut bench, request)), (codes::NONE, 2, Some(4)));
    table.borrow_mut().put("later", 9, 3);
    bench.coordinator.topics_changed(true);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 3, Some(7))
    );
    table.borrow_mut().put("t", 1, 5);
    bench.coordinator.topics_changed(false);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 3))),
        (codes::NONE, 4, Some(8))
    );
    table.borrow_mut().put("u", 2, 9);
    bench.coordinator.topics_changed(false);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 4))),
        (codes::NONE, 4, None),
        "not its topic"
    );
    table.borrow_mut().remove("later");
    bench.coordinator.topics_changed(false);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 4))),
        (codes::NONE, 4, Some(5)),
        "to give up"
    );
    assert_eq!(
        told(&beat(&mut bench, holding("a", 4, 1, &[0, 1, 2, 3, 4]))),
        (codes::NONE, 5, None)
    );
}

#[test]
fn patterns_are_matched_by_the_broker_and_again_when_topics_come() {
    let (mut bench, table) = bench();
    let mut request = joining("a");
    request.subscribed_topic_names = Some(vec!["u".into()]);
    request.subscribed_topic_regex = Some("t.*".into());
    assert_eq!(
        told(&beat(&mut bench, request)),
        (codes::NONE, 2, Some(6)),
        "names and pattern together"
    );
    table.borrow_mut().put("t2", 5, 3);
    bench.coordinator.topics_changed(true);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 2, None),
        "just matched"
    );
    bench.advance(10_001);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 3, Some(9))
    );
    // A second member with the same pattern, and the first without: the pattern stays until nobody has it.
    let mut second = joining("b");
    second.subscribed_topic_names = None;
    second.subscribed_topic_regex = Some("t.*".into());
    assert_eq!(beat(&mut bench, second).error_code, codes::NONE);
    let mut without = staying("a", 3);
    without.subscribed_topic_regex = Some("".into());
    assert_eq!(beat(&mut bench, without).error_code, codes::NONE);
    assert_eq!(bench.coordinator.consumers().groups["g"].regexes.len(), 1);
    beat(&mut bench, staying("b", -1));
    assert_eq!(bench.coordinator.consumers().groups["g"].regexes.len(), 0);
    let mut bad = joining("c");
    bad.subscribed_topic_regex = Some("(".into());
    assert_eq!(
        beat(&mut bench, bad).error_code,
        codes::INVALID_REGULAR_EXPRESSION
    );
    assert_eq!(
        describe(&mut bench).members.len(),
        1,
        "a refused member is not one"
    );
}

#[test]
fn a_static_member_that_left_for_a_while_is_out_when_it_does_not_return() {
    let (mut bench, _) = bench();
    let named = |mut request: ConsumerHeartbeatRequest| {
        request.instance_id = Some("i".into());
        request
    };
    beat(&mut bench, named(joining("a")));
    assert_eq!(
        told(&beat(&mut bench, named(staying("a", -2)))),
        (codes::NONE, -2, None)
    );
    bench.advance(44_999);
    assert_eq!(describe(&mut bench).members[0].member_epoch, -2);
    bench.advance(1);
    assert!(describe(&mut bench).members.is_empty());
    assert_eq!(
        told(&beat(&mut bench, named(joining("b")))),
        (codes::NONE, 4, Some(4))
    );
}

#[test]
fn a_full_group_takes_no_more_members() {
    let (mut bench, _) = bench_with(ConsumerConfig {
        max_size: 1,
        ..brisk()
    });
    beat(&mut bench, joining("a"));
    assert_eq!(
        beat(&mut bench, joining("b")).error_code,
        codes::GROUP_MAX_SIZE_REACHED
    );
    assert_eq!(
        beat(&mut bench, joining("a")).error_code,
        codes::NONE,
        "a member may join again"
    );
}

#[test]
fn the_assignor_most_members_ask_for_is_used() {
    let (mut bench, _) = bench();
    for (id, assignor) in [("a", Some("range")), ("b", None), ("c", Some("range"))] {
        let mut request = joining(id);
        request.server_assignor = assignor.map(str::to_owned);
        beat(&mut bench, request);
    }
    let described = describe(&mut bench);
    assert_eq!(described.assignor_name, "range");
    let target = |id: &str| {
        let member = described
            .members
            .iter()
            .find(|m| m.member_id == id)
            .expect("a member");
        member.target_assignment[0].partitions.clone()
    };
    assert_eq!(
        (target("a"), target("b"), target("c")),
        (vec![0, 1], vec![2], vec![3])
    );
}

#[test]
fn the_protocol_can_be_switched_off() {
    let (mut bench, _) = bench_with(ConsumerConfig {
        enabled: false,
        ..brisk()
    });
    assert_eq!(
        beat(&mut bench, joining("a")).error_code,
        codes::UNSUPPORTED_VERSION
    );
}

// ---- both protocols ----

/// A stable classic group of two members, with both halves of topic `t`.
fn classic_group(bench: &mut Bench) -> (Vec<String>, i32) {
    let ids: Vec<String> = (0..2).map(|_| bench.new_member_id("g")).collect();
    let tickets: Vec<Ticket> = ids
        .iter()
        .map(|id| bench.send(Request::Join(join("g", id))))
        .collect();
    bench.advance(0);
    let joined: Vec<JoinResponse> = tickets.into_iter().map(|t| bench.join_answer(t)).collect();
    let generation = joined[0].generation_id;
    let half = |first: i32| -> Bytes {
        let mut out = vec![0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&(first + 1).to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.into()
    };
    let mut leader = sync("g", &joined[0].leader, generation);
    leader.assignments = vec![(ids[0].clone(), half(0)), (ids[1].clone(), half(2))];
    for request in [
        leader,
        sync("g", &ids[0], generation),
        sync("g", &ids[1], generation),
    ] {
        let ticket = bench.send(Request::Sync(request));
        assert_eq!(bench.sync_answer(ticket).error_code, codes::NONE);
    }
    (ids, generation)
}

#[test]
fn a_classic_group_is_upgraded_by_its_first_consumer_and_downgraded_when_the_last_leaves() {
    let (mut bench, _) = bench();
    let (ids, generation) = classic_group(&mut bench);
    bench.commit_as(commit_by("g", &ids[0], generation, 42));
    let joined = beat(&mut bench, joining("new"));
    assert_eq!(
        told(&joined),
        (codes::NONE, generation + 1, Some(0)),
        "the others hold everything"
    );
    let described = describe(&mut bench);
    assert_eq!(
        (described.group_state, described.members.len()),
        ("Reconciling", 3)
    );
    assert_eq!(described.members.iter().filter(|m| m.is_classic).count(), 2);
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::REBALANCE_IN_PROGRESS
    );
    assert_eq!(bench.fetch("g"), Ok(42), "offsets stay");
    // The classic members rejoin, holding nothing, and get their share from SyncGroup.
    let mut held = 0;
    for id in &ids {
        let ticket = bench.send(Request::Join(join("g", id)));
        let answer = bench.join_answer(ticket);
        assert_eq!(
            (answer.error_code, answer.generation_id, answer.leader.as_str()),
            (codes::NONE, 2, "")
        );
        let ticket = bench.send(Request::Sync(sync("g", id, 2)));
        let answer = bench.sync_answer(ticket);
        assert_eq!(answer.error_code, codes::NONE);
        held += answer.assignment.len();
        assert_eq!(bench.heartbeat("g", id, 2), codes::NONE);
    }
    assert!(held > 20, "something was assigned");
    assert_eq!(beat(&mut bench, staying("new", 2)).error_code, codes::NONE);
    assert_eq!(describe(&mut bench).group_state, "Stable");
    // A coordinator that replays the log knows the same.
    let reloaded = bench.reloaded(Config::default());
    assert_eq!(reloaded.stats().consumer_members, 3);

    assert_eq!(
        told(&beat(&mut bench, staying("new", -1))),
        (codes::NONE, -1, None)
    );
    assert_eq!(describe(&mut bench).error_code, codes::GROUP_ID_NOT_FOUND);
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(bench.heartbeat("g", &ids[1], 2), codes::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.fetch("g"), Ok(42));
    let reloaded = bench.reloaded(Config::default());
    assert_eq!(
        (reloaded.stats().consumer_groups, reloaded.stats().members),
        (0, 2)
    );
}

#[test]
fn the_policy_says_which_way_groups_may_change() {
    let policy = |migration| ConsumerConfig { migration, ..brisk() };
    for forbidden in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let (mut bench, _) = bench_with(policy(forbidden));
        classic_group(&mut bench);
        let refused = beat(&mut bench, joining("new"));
        assert_eq!(refused.error_code, codes::GROUP_ID_NOT_FOUND, "{forbidden:?}");
        assert_eq!(bench.state("g"), "Stable", "{forbidden:?}");
    }
    let (mut bench, _) = bench_with(policy(MigrationPolicy::Disabled));
    beat(&mut bench, joining("a"));
    let ticket = bench.send(Request::Join(join("g", "")));
    assert_eq!(
        bench.join_answer(ticket).error_code,
        codes::INCONSISTENT_GROUP_PROTOCOL
    );

    let (mut bench, _) = bench_with(policy(MigrationPolicy::Upgrade));
    classic_group(&mut bench);
    beat(&mut bench, joining("new"));
    beat(&mut bench, staying("new", -1));
    assert_eq!(describe(&mut bench).members.len(), 2, "it stays a consumer group");
}

#[test]
fn a_change_of_protocol_that_cannot_be_stored_is_undone_both_ways() {
    let (mut bench, _) = bench();
    let (ids, generation) = classic_group(&mut bench);
    bench.auto_commit = false;
    let new = bench.send(Request::ConsumerHeartbeat(joining("new")));
    let waits = bench.send(Request::Heartbeat(HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: ids[0].clone(),
        group_instance_id: None,
    }));
    assert!(
        bench.answer(waits).is_none(),
        "it has to wait for what the group becomes"
    );
    bench.fail(codes::NOT_ENOUGH_REPLICAS);
    assert_eq!(
        answer(bench.answer(new)).error_code,
        codes::COORDINATOR_NOT_AVAILABLE
    );
    assert_eq!(bench.answer(waits), Some(Response::Heartbeat(codes::NONE)));
    bench.auto_commit = true;
    assert_eq!(bench.state("g"), "Stable");

    beat(&mut bench, joining("new"));
    bench.auto_commit = false;
    let leaves = bench.send(Request::ConsumerHeartbeat(staying("new", -1)));
    bench.fail(codes::NOT_ENOUGH_REPLICAS);
    assert_eq!(
        answer(bench.answer(leaves)).error_code,
        codes::COORDINATOR_NOT_AVAILABLE
    );
    bench.auto_commit = true;
    assert_eq!(describe(&mut bench).members.len(), 3);
    bench.advance(10_000);
    assert!(
        describe(&mut bench).members.len() < 3,
        "sessions of those who came back run again"
    );
}

#[test]
fn an_empty_group_takes_either_protocol_and_keeps_its_offsets() {
    let (mut bench, _) = bench();
    bench.commit_as(commit("g", 7));
    beat(&mut bench, joining("a"));
    beat(&mut bench, staying("a", -1));
    assert_eq!(describe(&mut bench).group_state, "Empty");
    let id = bench.new_member_id("g");
    let ticket = bench.send(Request::Join(join("g", &id)));
    bench.advance(0);
    assert_eq!(bench.join_answer(ticket).error_code, codes::NONE);
    assert_eq!(bench.state("g"), "CompletingRebalance");
    assert_eq!(bench.fetch("g"), Ok(7));
    assert_eq!(bench.leave("g", &id), codes::NONE);
    assert_eq!(told(&beat(&mut bench, joining("b"))), (codes::NONE, 2, Some(4)));
    assert_eq!(bench.fetch("g"), Ok(7));
    let reloaded = bench.reloaded(Config::default());
    assert_eq!(reloaded.stats().consumer_groups, 1);
    assert_eq!(reloaded.committed_offset("g", "t", 0), Some(7));
}

#[test]
fn offsets_of_a_consumer_group_expire_from_their_commit_unless_read() {
    let (mut bench, _) = bench();
    beat(&mut bench, joining("a"));
    bench.caller.api_version = 9;
    let mut other = commit_by("g", "a", 2, 5);
    other.topics[0].name = "u".into();
    assert_eq!(bench.commit_as(other), codes::NONE);
    assert_eq!(bench.commit_as(commit_by("g", "a", 2, 6)), codes::NONE);
    let week_ms = Config::default().offsets_retention_ms;
    let end = bench.now_ms + week_ms + 700_000;
    while bench.now_ms < end {
        bench.advance(40_000);
        beat(&mut bench, staying("a", 2));
    }
    assert_eq!(bench.fetch("g"), Ok(6), "a member reads the topic");
    assert_eq!(
        bench.coordinator.committed_offset("g", "u", 0),
        None,
        "nobody reads it"
    );
    beat(&mut bench, staying("a", -1));
    bench.advance(700_000);
    assert_eq!(
        bench.coordinator.stats().groups,
        0,
        "the empty group goes with its last offset"
    );
    let reloaded = bench.reloaded(Config::default());
    assert_eq!((reloaded.stats().groups, reloaded.stats().offsets), (0, 0));
}

#[test]
fn records_in_kafkas_layouts_are_read() {
    // Written down from Kafka's record schemas: one member of one topic with two partitions. Key type 4 is of versions
    // before 4.1.
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
        let digit = |c: u8| (c as char).to_digit(16).expect("a digit") as u8;
        digits.chunks(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
    };
    let topic = "01020304 05060708 090a0b0c 0d0e0f10";
    let records = [
        (
            "0005 0001 67 0001 6d".to_owned(),
            "0000 00 00 03 6170 03 2f68 02 02 74 01 0000ea60 00 00".to_owned(),
        ),
        (
            "0003 0001 67".into(),
            "0000 00000002 01 00 08 1122334455667788".into(),
        ),
        (
            "0007 0001 67 0001 6d".into(),
            format!("0000 02 {topic} 03 00000000 00000001 00 00"),
        ),
        (
            "0006 0001 67".into(),
            "0000 00000002 01 00 08 0000018bcfe56800".into(),
        ),
        (
            "0008 0001 67 0001 6d".into(),
            format!(
                "0000 00000002 00000000 00 02 {topic} 03 00000000 00000001 01 00 09 03 00000002 00000002 01 00"
            ),
        ),
        ("0004 0001 67".into(), "0000 01 00".into()),
    ];
    let mut coordinator = Coordinator::new(Config::default());
    for (key, value) in &records {
        coordinator.replay(ReplayRecord {
            offset: 0,
            producer_id: None,
            key: Some(&hex(key)),
            value: Some(&hex(value)),
        });
    }
    coordinator.loaded(0, &mut Vec::new());
    coordinator.check();
    assert_eq!(
        (
            coordinator.stats().bad_records,
            coordinator.stats().foreign_records
        ),
        (0, 0)
    );
    let group = &coordinator.consumers().groups["g"];
    assert_eq!(
        (group.epoch(), group.target_epoch(), group.phase().name()),
        (2, 2, "Stable")
    );
    let member = &group.members["m"];
    assert_eq!(member.meta().rebalance_timeout_ms, 60_000);
    assert_eq!(&*member.meta().client_id, "ap");
    let id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    assert_eq!(member.current().epoch_of(&id, 1), Some(2));
    assert_eq!(group.holders(&id, 0), 1);
}

#[test]
fn patterns_loaded_from_the_log_are_matched_anew() {
    let (mut bench, table) = bench();
    let mut request = joining("a");
    request.subscribed_topic_names = None;
    request.subscribed_topic_regex = Some("t.*".into());
    assert_eq!(told(&beat(&mut bench, request)), (codes::NONE, 2, Some(4)));
    // The metadata's own log was cut meanwhile: its versions begin anew.
    table.borrow_mut().version = 0;
    bench.coordinator = {
        let mut coordinator = Coordinator::in_cluster(
            Config {
                consumer: brisk(),
                ..Config::default()
            },
            table.clone(),
        );
        for (offset, record) in bench.log.iter().enumerate() {
            coordinator.replay(ReplayRecord {
                offset: offset as i64,
                producer_id: None,
                key: Some(&record.key),
                value: record.value.as_deref(),
            });
        }
        coordinator.loaded(bench.now_ms, &mut Vec::new());
        coordinator
    };
    table.borrow_mut().put("t2", 5, 3);
    bench.coordinator.topics_changed(true);
    bench.advance(10_001);
    assert_eq!(
        told(&beat(&mut bench, staying("a", 2))),
        (codes::NONE, 3, Some(7))
    );
}

#[test]
fn what_is_too_long_is_refused_by_groups_of_either_protocol() {
    let (mut bench, _) = bench();
    beat(&mut bench, joining("a"));
    let long = "x".repeat(20_000);
    let mut request = joining("b");
    request.instance_id = Some(long.clone());
    assert_eq!(beat(&mut bench, request).error_code, codes::INVALID_REQUEST);
    let mut request = joining("b");
    request.subscribed_topic_names = Some(vec![long.clone(); 60]);
    assert_eq!(beat(&mut bench, request).error_code, codes::INVALID_REQUEST);
    for change in [
        (|request, long| request.group_instance_id = Some(long)) as fn(&mut JoinRequest, String),
        |request, long| request.protocols[0].name = long,
        |request, long| request.member_id = long.repeat(2),
    ] {
        let mut request = join("g", "");
        change(&mut request, long.clone());
        let ticket = bench.send(Request::Join(request));
        assert_eq!(bench.join_answer(ticket).error_code, codes::INVALID_REQUEST);
    }
    assert_eq!(describe(&mut bench).members.len(), 1);
}
