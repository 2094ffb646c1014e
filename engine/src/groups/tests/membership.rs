//! Joining, syncing, heartbeating and leaving of dynamic members.

use super::*;
use crate::groups::GroupState;

#[test]
fn join_without_member_id_since_version_4_gets_member_id_required_and_a_pending_id() {
    let mut bench = Bench::new();
    let id = bench.new_member_id("g");
    assert!(id.starts_with("app-") && id.len() == "app-".len() + 36, "{id}");
    assert_eq!(bench.state("g"), "Empty");
    let ticket = bench.send(Request::Join(join("g", &id)));
    bench.advance(0);
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.error_code, answer.generation_id), (codes::NONE, 1));
    assert_eq!(
        (answer.leader.as_str(), answer.member_id.as_str()),
        (id.as_str(), id.as_str())
    );
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert_eq!(answer.members.len(), 1);
    assert_eq!(answer.members[0].metadata, subscription(&["t"]));
}

#[test]
fn join_without_member_id_before_version_4_is_added_at_once() {
    let mut bench = Bench::new();
    for version in 0..4 {
        bench.caller.api_version = version;
        let group = format!("g{version}");
        let ticket = bench.send(Request::Join(join(&group, "")));
        bench.advance(0);
        let answer = bench.join_answer(ticket);
        assert_eq!((answer.error_code, answer.generation_id), (codes::NONE, 1));
        assert_eq!(answer.leader, answer.member_id);
    }
}

#[test]
fn stable_group_survives_replay_of_its_records() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 3);
    let coordinator = bench.reloaded(Config::default());
    let group = coordinator.groups().values().next().expect("one group");
    assert_eq!((group.state, group.generation), (GroupState::Stable, generation));
    let members: Vec<_> = group
        .members
        .values()
        .map(|m| (m.id.to_string(), m.assignment.clone()))
        .collect();
    let expected: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(i, id)| (id.clone(), Bytes::from(format!("a{i}"))))
        .collect();
    assert_eq!(members, expected);
    assert!(group.is_subscribed("t") && !group.is_subscribed("u"));
}

#[test]
fn assignment_leaves_only_after_its_record_is_committed() {
    let mut bench = Bench::new();
    let id = bench.new_member_id("g");
    let ticket = bench.send(Request::Join(join("g", &id)));
    bench.advance(0);
    let generation = bench.join_answer(ticket).generation_id;
    bench.auto_commit = false;
    let mut request = sync("g", &id, generation);
    request.assignments = vec![(id.clone(), Bytes::from_static(b"all"))];
    let ticket = bench.send(Request::Sync(request));
    assert!(bench.answer(ticket).is_none());
    assert_eq!(bench.state("g"), "CompletingRebalance");
    bench.commit();
    let answer = bench.sync_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.assignment),
        (codes::NONE, Bytes::from_static(b"all"))
    );
    assert_eq!(bench.state("g"), "Stable");
}

#[test]
fn first_rebalance_waits_the_initial_delay_and_longer_when_members_keep_coming() {
    let mut bench = Bench::with(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    bench.caller.api_version = 3;
    let first = bench.send(Request::Join(join("g", "")));
    bench.advance(2_000);
    let second = bench.send(Request::Join(join("g", "")));
    bench.advance(2_000);
    assert!(bench.answer(first).is_none(), "the second member bought another step");
    bench.advance(1_999);
    assert!(bench.answer(first).is_none());
    bench.advance(1);
    let (first, second) = (bench.join_answer(first), bench.join_answer(second));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
}

#[test]
fn initial_delay_is_extended_no_further_than_the_rebalance_timeout() {
    let mut bench = Bench::with(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    bench.caller.api_version = 3;
    let mut request = join("g", "");
    request.rebalance_timeout_ms = 10_000;
    let first = bench.send(Request::Join(request));
    let begun = bench.now_ms;
    let mut answer = None;
    while answer.is_none() {
        bench.advance(1_000);
        bench.send(Request::Join(join("g", "")));
        answer = bench.answer(first);
        assert!(bench.now_ms - begun <= 10_000 + 3_000, "still waiting");
    }
    assert!(bench.now_ms - begun >= 10_000);
}

#[test]
fn join_of_a_second_member_starts_a_rebalance_that_ends_when_all_have_rejoined() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    let second = bench.new_member_id("g");
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE, "a pending member disturbs nobody");
    let late = bench.send(Request::Join(join("g", &second)));
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::REBALANCE_IN_PROGRESS);
    let ticket = bench.send(Request::Sync(sync("g", &ids[0], generation)));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::REBALANCE_IN_PROGRESS);
    let first = bench.send(Request::Join(join("g", &ids[0])));
    let (first, late) = (bench.join_answer(first), bench.join_answer(late));
    assert_eq!((first.generation_id, late.generation_id), (generation + 1, generation + 1));
    assert_eq!((first.leader.as_str(), late.leader.as_str()), (ids[0].as_str(), ids[0].as_str()));
    assert_eq!((first.members.len(), late.members.len()), (2, 0));
    // As Apache Kafka 4.3 answers: a heartbeat between join and sync is a good heartbeat.
    assert_eq!(bench.heartbeat("g", &ids[0], generation + 1), codes::NONE);
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::ILLEGAL_GENERATION);
}

#[test]
fn member_that_does_not_rejoin_in_time_is_out_and_a_joined_one_leads() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 2);
    let mut request = join("g", &ids[1]);
    request.protocols[0].metadata = subscription(&["t", "u"]);
    let ticket = bench.send(Request::Join(request));
    for _ in 0..60 {
        assert!(bench.answer(ticket).is_none());
        bench.heartbeat("g", &ids[0], generation);
        bench.advance(1_000);
    }
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.generation_id, answer.leader.as_str()), (generation + 1, ids[1].as_str()));
    assert_eq!(answer.members.len(), 1);
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn rejoin_without_change_in_stable_answers_at_once_unless_it_is_the_leader() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 2);
    let ticket = bench.send(Request::Join(join("g", &ids[1])));
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.error_code, answer.generation_id), (codes::NONE, generation));
    assert_eq!((answer.leader.as_str(), answer.members.len()), (ids[0].as_str(), 0));
    assert_eq!(bench.state("g"), "Stable");
    let ticket = bench.send(Request::Join(join("g", &ids[0])));
    assert!(bench.answer(ticket).is_none());
    assert_eq!(bench.state("g"), "PreparingRebalance");
}

#[test]
fn rejoin_without_change_before_the_assignment_repeats_the_answer() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let ticket = bench.send(Request::Join(join("g", "")));
    bench.advance(0);
    let first = bench.join_answer(ticket);
    let ticket = bench.send(Request::Join(join("g", &first.member_id)));
    assert_eq!(bench.join_answer(ticket), first);
    let mut request = join("g", &first.member_id);
    request.protocols[0].metadata = subscription(&["u"]);
    let ticket = bench.send(Request::Join(request));
    assert_eq!(bench.join_answer(ticket).generation_id, first.generation_id + 1);
}

#[test]
fn join_asked_twice_answers_the_older_question_with_rebalance_in_progress() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable_group("g", 1);
    let second = bench.new_member_id("g");
    let older = bench.send(Request::Join(join("g", &second)));
    let newer = bench.send(Request::Join(join("g", &second)));
    assert_eq!(bench.join_answer(older).error_code, codes::REBALANCE_IN_PROGRESS);
    bench.send(Request::Join(join("g", &ids[0])));
    assert_eq!(bench.join_answer(newer).error_code, codes::NONE);
}

#[test]
fn sync_is_refused_for_wrong_member_generation_or_protocol() {
    let mut bench = Bench::new();
    let ticket = bench.send(Request::Sync(sync("nobody", "m", 1)));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::UNKNOWN_MEMBER_ID);
    let (ids, generation) = bench.stable_group("g", 1);
    let refused = |bench: &mut Bench, change: &dyn Fn(&mut SyncRequest), code: i16| {
        let mut request = sync("g", &ids[0], generation);
        change(&mut request);
        let ticket = bench.send(Request::Sync(request));
        assert_eq!(bench.sync_answer(ticket), SyncResponse { error_code: code, ..SyncResponse::default() });
    };
    refused(&mut bench, &|r| r.member_id = "zz".into(), codes::UNKNOWN_MEMBER_ID);
    refused(&mut bench, &|r| r.generation_id -= 1, codes::ILLEGAL_GENERATION);
    let inconsistent = codes::INCONSISTENT_GROUP_PROTOCOL;
    refused(&mut bench, &|r| r.protocol_name = Some("rr".into()), inconsistent);
    refused(&mut bench, &|r| r.protocol_type = Some("connect".into()), inconsistent);
    refused(&mut bench, &|r| r.protocol_type = None, inconsistent);
    refused(&mut bench, &|r| r.protocol_name = None, inconsistent);
    bench.caller.api_version = 4;
    let request = SyncRequest { protocol_type: None, protocol_name: None, ..sync("g", &ids[0], generation) };
    let ticket = bench.send(Request::Sync(request));
    let answer = bench.sync_answer(ticket);
    assert_eq!((answer.error_code, answer.assignment), (codes::NONE, Bytes::from_static(b"a0")));
}

#[test]
fn follower_sync_waits_for_the_leader_and_a_member_left_out_gets_nothing() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let tickets = [bench.send(Request::Join(join("g", ""))), bench.send(Request::Join(join("g", "")))];
    bench.advance(0);
    let [leader, follower] = tickets.map(|ticket| bench.join_answer(ticket));
    let early = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    let twice = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    assert_eq!(bench.sync_answer(early).error_code, codes::REBALANCE_IN_PROGRESS);
    let mut request = sync("g", &leader.member_id, 1);
    request.assignments =
        vec![(leader.member_id.clone(), Bytes::from_static(b"mine")), ("ghost".into(), Bytes::new())];
    let own = bench.send(Request::Sync(request));
    assert_eq!(bench.sync_answer(own).assignment, Bytes::from_static(b"mine"));
    let answer = bench.sync_answer(twice);
    assert_eq!((answer.error_code, answer.assignment.len()), (codes::NONE, 0));
}

#[test]
fn assignment_that_cannot_be_stored_is_refused_and_starts_a_rebalance() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.send(Request::Join(join("g", &ids[0])));
    bench.auto_commit = false;
    let ticket = bench.send(Request::Sync(sync("g", &ids[0], generation + 1)));
    bench.fail(codes::MESSAGE_TOO_LARGE);
    assert_eq!(bench.sync_answer(ticket).error_code, codes::UNKNOWN_SERVER_ERROR);
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(bench.heartbeat("g", &ids[0], generation + 1), codes::REBALANCE_IN_PROGRESS);
}

#[test]
fn assignment_stored_after_another_rebalance_began_reaches_nobody() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.send(Request::Join(join("g", &ids[0])));
    bench.auto_commit = false;
    let mut request = sync("g", &ids[0], generation + 1);
    request.assignments = vec![(ids[0].clone(), Bytes::from_static(b"old"))];
    let ticket = bench.send(Request::Sync(request));
    let mut request = join("g", &ids[0]);
    request.protocols[0].metadata = subscription(&["u"]);
    let rejoin = bench.send(Request::Join(request));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.join_answer(rejoin).generation_id, generation + 2);
    bench.commit();
    assert_eq!(bench.state("g"), "CompletingRebalance");
    let ticket = bench.send(Request::Sync(sync("g", &ids[0], generation + 2)));
    bench.commit();
    assert_eq!(bench.sync_answer(ticket).assignment.len(), 0);
}

#[test]
fn members_that_never_sync_are_removed_after_the_rebalance_timeout() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let tickets = [bench.send(Request::Join(join("g", ""))), bench.send(Request::Join(join("g", "")))];
    bench.advance(0);
    let [leader, silent] = tickets.map(|ticket| bench.join_answer(ticket));
    let ticket = bench.send(Request::Sync(sync("g", &leader.member_id, 1)));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::NONE);
    for _ in 0..60 {
        assert_eq!(bench.state("g"), "Stable");
        bench.heartbeat("g", &leader.member_id, 1);
        bench.heartbeat("g", &silent.member_id, 1);
        bench.advance(1_000);
    }
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(bench.heartbeat("g", &silent.member_id, 1), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn session_without_heartbeat_ends_and_the_rest_rebalances() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 2);
    bench.advance(6_000);
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE);
    bench.advance(4_000);
    assert_eq!(bench.heartbeat("g", &ids[1], generation), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::REBALANCE_IN_PROGRESS);
    bench.advance(60_000);
    assert_eq!(bench.state("g"), "Empty");
    assert_eq!(bench.coordinator.stats().expired_members, 2);
}

#[test]
fn new_member_whose_first_join_stays_parked_too_long_is_told_unknown_member() {
    let config = Config {
        initial_rebalance_delay_ms: 0,
        new_member_join_timeout_ms: 20_000,
        ..Config::default()
    };
    let mut bench = Bench::with(config);
    let (ids, generation) = bench.stable_group("g", 1);
    let second = bench.new_member_id("g");
    let ticket = bench.send(Request::Join(join("g", &second)));
    for _ in 0..19 {
        bench.heartbeat("g", &ids[0], generation);
        bench.advance(1_000);
        assert!(bench.answer(ticket).is_none());
    }
    bench.advance(1_000);
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.error_code, answer.member_id.as_str()), (codes::UNKNOWN_MEMBER_ID, ""));
}

#[test]
fn pending_member_that_does_not_come_back_no_longer_holds_up_the_join_phase() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.new_member_id("g");
    let ticket = bench.send(Request::Join(join("g", &ids[0])));
    assert!(bench.answer(ticket).is_none(), "the pending member is waited for");
    bench.advance(9_999);
    assert!(bench.answer(ticket).is_none());
    bench.advance(1);
    assert_eq!(bench.join_answer(ticket).generation_id, generation + 1);
}

#[test]
fn pending_member_can_leave() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    let pending = bench.new_member_id("g");
    let ticket = bench.send(Request::Join(join("g", &ids[0])));
    assert_eq!(bench.leave("g", &pending), codes::NONE);
    assert_eq!(bench.join_answer(ticket).generation_id, generation + 1);
    assert_eq!(bench.leave("g", &pending), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn join_with_an_id_nobody_gave_out_is_unknown_member() {
    let mut bench = Bench::new();
    let ticket = bench.send(Request::Join(join("g", "made-up")));
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.error_code, answer.member_id.as_str()), (codes::UNKNOWN_MEMBER_ID, "made-up"));
    bench.stable_group("g", 1);
    let ticket = bench.send(Request::Join(join("g", "made-up")));
    assert_eq!(bench.join_answer(ticket).error_code, codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn join_with_session_timeout_out_of_bounds_is_refused() {
    let mut bench = Bench::new();
    for session_timeout_ms in [-1, 0, 5_999, 1_800_001] {
        let ticket = bench.send(Request::Join(JoinRequest { session_timeout_ms, ..join("g", "") }));
        assert_eq!(bench.join_answer(ticket).error_code, codes::INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(bench.coordinator.stats().groups, 0);
}

#[test]
fn join_without_protocols_or_with_foreign_ones_is_inconsistent_and_leaves_nothing_behind() {
    let mut bench = Bench::new();
    for request in [
        JoinRequest { protocols: Vec::new(), ..join("g", "") },
        JoinRequest { protocol_type: String::new(), ..join("g", "") },
    ] {
        let ticket = bench.send(Request::Join(request));
        assert_eq!(bench.join_answer(ticket).error_code, codes::INCONSISTENT_GROUP_PROTOCOL);
    }
    assert_eq!(bench.coordinator.stats().groups, 0);
    bench.stable_group("g", 1);
    let other = vec![Protocol { name: "other".into(), metadata: Bytes::new() }];
    for request in [
        JoinRequest { protocols: other, ..join("g", "") },
        JoinRequest { protocol_type: "connect".into(), ..join("g", "") },
    ] {
        let ticket = bench.send(Request::Join(request));
        assert_eq!(bench.join_answer(ticket).error_code, codes::INCONSISTENT_GROUP_PROTOCOL);
    }
}

#[test]
fn protocol_with_most_votes_among_the_common_ones_is_chosen() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let speaking = |names: &[&str]| JoinRequest {
        protocols: names
            .iter()
            .map(|name| Protocol { name: (*name).into(), metadata: Bytes::copy_from_slice(name.as_bytes()) })
            .collect(),
        ..join("g", "")
    };
    let tickets = [&["a", "b", "c"][..], &["b", "c"], &["d", "c", "b"]].map(|names| {
        bench.send(Request::Join(speaking(names)))
    });
    bench.advance(0);
    for ticket in tickets {
        assert_eq!(bench.join_answer(ticket).protocol_name.as_deref(), Some("b"), "two votes against one");
    }
}

#[test]
fn group_at_its_maximum_size_turns_new_members_away() {
    let mut bench =
        Bench::with(Config { max_size: 2, initial_rebalance_delay_ms: 0, ..Config::default() });
    let (ids, generation) = bench.stable_group("g", 2);
    let ticket = bench.send(Request::Join(join("g", "")));
    let answer = bench.join_answer(ticket);
    assert_eq!((answer.error_code, answer.member_id.as_str()), (codes::GROUP_MAX_SIZE_REACHED, ""));
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE);
}

#[test]
fn group_loaded_above_a_lowered_maximum_keeps_those_who_rejoin_first() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 3);
    let small = Config { max_size: 2, ..Config::default() };
    bench.coordinator = bench.reloaded(small);
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::REBALANCE_IN_PROGRESS);
    let kept = [&ids[2], &ids[0]].map(|id| bench.send(Request::Join(join("g", id))));
    let turned_away = bench.send(Request::Join(join("g", &ids[1])));
    assert_eq!(bench.join_answer(turned_away).error_code, codes::GROUP_MAX_SIZE_REACHED);
    for ticket in kept {
        assert_eq!(bench.join_answer(ticket).generation_id, generation + 1);
    }
}

#[test]
fn last_member_that_leaves_empties_the_group_once_that_is_stored() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.auto_commit = false;
    let members =
        vec![LeavingMember { member_id: ids[0].clone(), group_instance_id: None, reason: None }];
    let ticket = bench.send(Request::Leave(LeaveRequest { group_id: "g".into(), members }));
    assert!(bench.answer(ticket).is_none());
    bench.commit();
    assert!(bench.answer(ticket).is_some());
    let group = bench.describe("g");
    assert_eq!((group.group_state, group.protocol_type.as_str()), ("Empty", "consumer"));
    bench.auto_commit = true;
    let coordinator = bench.reloaded(Config::default());
    let group = coordinator.groups().values().next().expect("one group");
    assert_eq!((group.state, group.generation), (GroupState::Empty, generation + 1));
}

#[test]
fn leave_of_strangers_is_unknown_member_in_every_version() {
    let mut bench = Bench::new();
    assert_eq!(bench.leave("nobody", "m"), codes::UNKNOWN_MEMBER_ID);
    bench.caller.api_version = 2;
    let members = vec![LeavingMember { member_id: "m".into(), group_instance_id: None, reason: None }];
    let request = LeaveRequest { group_id: "nobody".into(), members };
    let expected = LeaveResponse { error_code: codes::UNKNOWN_MEMBER_ID, members: Vec::new() };
    assert_eq!(bench.ask(Request::Leave(request)), Response::Leave(expected));
    bench.caller.api_version = 5;
    bench.stable_group("g", 1);
    assert_eq!(bench.leave("g", "m"), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn member_that_leaves_with_a_parked_sync_gets_it_answered() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let tickets = [bench.send(Request::Join(join("g", ""))), bench.send(Request::Join(join("g", "")))];
    bench.advance(0);
    let [leader, follower] = tickets.map(|ticket| bench.join_answer(ticket));
    let parked = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    assert_eq!(bench.leave("g", &follower.member_id), codes::NONE);
    assert_eq!(bench.sync_answer(parked).error_code, codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat("g", &leader.member_id, 1), codes::REBALANCE_IN_PROGRESS);
}

#[test]
fn requests_while_loading_are_told_so_and_a_heartbeat_is_told_nothing() {
    let mut bench = Bench::new();
    bench.coordinator = Coordinator::new(Config::default());
    let code = codes::COORDINATOR_LOAD_IN_PROGRESS;
    let ticket = bench.send(Request::Join(join("g", "")));
    assert_eq!(bench.join_answer(ticket).error_code, code);
    let ticket = bench.send(Request::Sync(sync("g", "m", 1)));
    assert_eq!(bench.sync_answer(ticket).error_code, code);
    assert_eq!(bench.heartbeat("g", "m", 1), codes::NONE);
    assert_eq!(bench.leave("g", "m"), code);
    assert_eq!(bench.commit_as(commit("g", 1)), code);
    assert_eq!(bench.describe("g").error_code, code);
    let list = bench.ask(Request::List(ListRequest::default()));
    assert_eq!(list, Response::List(ListResponse { error_code: code, groups: Vec::new() }));
    let fetch = || {
        let topics = vec![FetchTopic { name: "t".into(), topic_id: [0; 16], partitions: vec![0] }];
        let topics = Some(topics);
        Request::OffsetFetch(OffsetFetchRequest { group_id: "g".into(), topics, require_stable: false })
    };
    let Response::OffsetFetch(answer) = bench.ask(fetch()) else { panic!() };
    assert_eq!((answer.error_code, answer.topics.len()), (code, 0));
    bench.caller.api_version = 1;
    let Response::OffsetFetch(answer) = bench.ask(fetch()) else { panic!() };
    assert_eq!(answer.topics[0].partitions, [FetchedPartition::none(0, code)]);
}

#[test]
fn resigning_answers_everything_parked_and_refuses_the_rest_with_not_coordinator() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    let second = bench.new_member_id("g");
    let parked = bench.send(Request::Join(join("g", &second)));
    bench.auto_commit = false;
    let waiting = bench.send(Request::OffsetCommit(commit_by("g", &ids[0], generation, 5)));
    let mut out = Vec::new();
    bench.coordinator.resign(&mut out);
    bench.absorb(out);
    assert_eq!(bench.join_answer(parked).error_code, codes::NOT_COORDINATOR);
    let Some(Response::OffsetCommit(answer)) = bench.answer(waiting) else { panic!() };
    assert_eq!(answer.topics[0].partitions, [(0, codes::NOT_COORDINATOR)]);
    bench.commit();
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NOT_COORDINATOR);
    let list = bench.ask(Request::List(ListRequest::default()));
    assert_eq!(list, Response::List(ListResponse::default()));
    assert_eq!(bench.coordinator.next_deadline(), None);
}

#[test]
fn new_group_whose_record_cannot_be_stored_is_gone_and_its_joiner_told() {
    let mut bench = Bench::new();
    bench.auto_commit = false;
    bench.caller.api_version = 3;
    let ticket = bench.send(Request::Join(join("g", "")));
    bench.fail(codes::NOT_ENOUGH_REPLICAS);
    assert_eq!(bench.join_answer(ticket).error_code, codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.coordinator.stats().groups, 0);
    bench.advance(100_000);
}

#[test]
fn list_filters_by_state_and_type_without_regard_to_case() {
    let mut bench = Bench::new();
    bench.stable_group("s", 1);
    bench.commit_as(commit("e", 1));
    let mut list = |states: &[&str], types: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request = ListRequest { states_filter: own(states), types_filter: own(types) };
        match bench.ask(Request::List(request)) {
            Response::List(response) => {
                response.groups.into_iter().map(|group| group.group_id).collect::<Vec<_>>().concat()
            }
            other => panic!("no list but {other:?}"),
        }
    };
    assert_eq!(list(&[], &[]), "es");
    assert_eq!(list(&[" EMPTY "], &[]), "e");
    assert_eq!(list(&["stable", "Empty"], &["Classic"]), "es");
    assert_eq!(list(&["foo"], &[]), "");
    assert_eq!(list(&[], &["consumer"]), "");
    assert_eq!(list(&[], &["foo", "classic"]), "es");
}

#[test]
fn describe_shows_metadata_only_while_stable_and_unknown_groups_as_dead() {
    let mut bench = Bench::new();
    bench.caller.api_version = 5;
    let unknown = bench.describe("g");
    assert_eq!((unknown.error_code, unknown.group_state), (codes::NONE, "Dead"));
    bench.caller.api_version = 6;
    let unknown = bench.describe("g");
    assert_eq!((unknown.error_code, unknown.group_state), (codes::GROUP_ID_NOT_FOUND, "Dead"));
    assert_eq!(unknown.error_message.as_deref(), Some("Group g not found."));
    let (ids, _) = bench.stable_group("g", 1);
    let stable = bench.describe("g");
    assert_eq!((stable.group_state, stable.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(stable.members[0].member_metadata, subscription(&["t"]));
    assert_eq!(stable.members[0].member_assignment, Bytes::from_static(b"a0"));
    assert_eq!(stable.members[0].client_host, "/127.0.0.1");
    bench.send(Request::Join(join("g", &ids[0])));
    let completing = bench.describe("g");
    assert_eq!((completing.group_state, completing.protocol_data.as_str()), ("CompletingRebalance", ""));
    assert_eq!(completing.members[0].member_metadata.len(), 0);
}

#[test]
fn delete_takes_empty_groups_with_their_offsets_and_refuses_others() {
    let mut bench = Bench::new();
    bench.stable_group("busy", 1);
    bench.commit_as(commit("idle", 5));
    let ids = ["busy", "idle", "idle", "nobody", ""].map(str::to_owned).to_vec();
    let Response::Delete(answer) = bench.ask(Request::Delete(ids)) else { panic!() };
    let expected = [
        ("busy".to_owned(), codes::NON_EMPTY_GROUP),
        ("idle".to_owned(), codes::NONE),
        ("nobody".to_owned(), codes::GROUP_ID_NOT_FOUND),
        (String::new(), codes::GROUP_ID_NOT_FOUND),
    ];
    assert_eq!(answer, expected);
    assert_eq!(bench.fetch("idle"), Ok(-1));
    let coordinator = bench.reloaded(Config::default());
    assert_eq!((coordinator.stats().groups, coordinator.stats().offsets), (1, 0));
}

#[test]
fn delete_that_cannot_be_stored_leaves_group_and_offsets_as_they_were() {
    let mut bench = Bench::with(Config {
        limits: crate::groups::Limits { records_per_append: 1, ..crate::groups::Limits::default() },
        ..Config::default()
    });
    bench.commit_as(commit("idle", 5));
    bench.auto_commit = false;
    let ticket = bench.send(Request::Delete(vec!["idle".into()]));
    assert_eq!(bench.waiting.len(), 2, "one record each");
    bench.commit();
    assert!(bench.answer(ticket).is_none());
    bench.fail(codes::KAFKA_STORAGE_ERROR);
    let expected = vec![("idle".to_owned(), codes::NOT_COORDINATOR)];
    assert_eq!(bench.answer(ticket), Some(Response::Delete(expected)));
    assert_eq!(bench.state("idle"), "Empty");

    bench.send(Request::OffsetCommit(commit("idle", 6)));
    bench.commit();
    let ticket = bench.send(Request::Delete(vec!["idle".into()]));
    bench.fail(codes::REQUEST_TIMED_OUT);
    assert!(bench.answer(ticket).is_some(), "one failed part fails the whole, at once");
    bench.commit();
    assert_eq!(bench.fetch("idle"), Ok(6));
    assert_eq!(bench.state("idle"), "Empty", "an offset that stayed keeps a group, or it would never expire");
}

#[test]
fn ceilings_refuse_what_would_be_kept_beyond_them() {
    let limits = crate::groups::Limits {
        groups: 1,
        pending_members_per_group: 2,
        appends_in_flight: 1,
        string_bytes: 20,
        protocols_per_member: 2,
        ..crate::groups::Limits::default()
    };
    let mut bench = Bench::with(Config { limits, ..Config::default() });
    bench.new_member_id("g");
    bench.new_member_id("g");
    let refusal = |bench: &mut Bench, request: JoinRequest| {
        let ticket = bench.send(Request::Join(request));
        bench.join_answer(ticket).error_code
    };
    assert_eq!(refusal(&mut bench, join("g", "")), codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(refusal(&mut bench, join("h", "")), codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.commit_as(commit("h", 1)), codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(refusal(&mut bench, join(&"g".repeat(21), "")), codes::INVALID_GROUP_ID);
    let mut request = join("g", "");
    request.protocols[0].name = "p".repeat(21);
    assert_eq!(refusal(&mut bench, request), codes::INVALID_REQUEST);
    let mut request = join("g", "");
    request.protocols = vec![request.protocols[0].clone(); 3];
    assert_eq!(refusal(&mut bench, request), codes::INCONSISTENT_GROUP_PROTOCOL);
    bench.auto_commit = false;
    bench.send(Request::OffsetCommit(commit("g", 1)));
    assert_eq!(bench.commit_as(commit("g", 2)), codes::COORDINATOR_NOT_AVAILABLE);
}

#[test]
fn ten_thousand_members_heartbeat_with_one_deadline_each() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let mut caller = bench.caller.clone();
    let mut out = Vec::new();
    for index in 0..10_000u64 {
        caller.client_id = format!("c{index}");
        bench.coordinator.request(bench.now_ms, index, &caller, Request::Join(join("g", "")), &mut out);
    }
    bench.coordinator.tick(bench.now_ms, &mut out);
    let Some(Effect::Append { token, .. }) = out.first().cloned() else { panic!() };
    bench.coordinator.committed(bench.now_ms, token, 0, &mut Vec::new());
    let ids: Vec<String> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reply { response: Response::Join(answer), .. } => Some(answer.member_id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 10_000);
    let heap = bench.coordinator.deadlines();
    for round in 1..=3 {
        for id in &ids {
            let request = HeartbeatRequest {
                group_id: "g".into(),
                generation_id: 1,
                member_id: id.clone(),
                group_instance_id: None,
            };
            out.clear();
            let now_ms = bench.now_ms + round * 1_000;
            bench.coordinator.request(now_ms, 0, &caller, Request::Heartbeat(request), &mut out);
            assert_eq!(out, [Effect::Reply { ticket: 0, response: Response::Heartbeat(codes::NONE) }]);
        }
    }
    assert_eq!(bench.coordinator.deadlines(), heap, "heartbeats do not grow the heap");
}

#[test]
fn group_id_hashes_to_its_partition_as_in_java() {
    // The well-known values of java.lang.String.hashCode; the last one is the smallest int there is.
    for (group, hash) in [("", 0), ("a", 97), ("hello", 99_162_322), ("polygenelubricants", i32::MIN)] {
        assert_eq!(crate::groups::partition_for(group, 50), (hash & i32::MAX) as u32 % 50, "{group}");
    }
}
