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
    let mut bench = Bench::with(Config {
        initial_rebalance_delay_ms: 3_000,
        ..Config::default()
    });
    bench.caller.api_version = 3;
    let first = bench.send(Request::Join(join("g", "")));
    bench.advance(2_000);
    let second = bench.send(Request::Join(join("g", "")));
    bench.advance(2_000);
    assert!(
        bench.answer(first).is_none(),
        "the second member bought another step"
    );
    bench.advance(1_999);
    assert!(bench.answer(first).is_none());
    bench.advance(1);
    let (first, second) = (bench.join_answer(first), bench.join_answer(second));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
}

#[test]
fn initial_delay_is_extended_no_further_than_the_rebalance_timeout() {
    let mut bench = Bench::with(Config {
        initial_rebalance_delay_ms: 3_000,
        ..Config::default()
    });
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
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::NONE,
        "a pending member disturbs nobody"
    );
    let late = bench.send(Request::Join(join("g", &second)));
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::REBALANCE_IN_PROGRESS
    );
    let ticket = bench.send(Request::Sync(sync("g", &ids[0], generation)));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::REBALANCE_IN_PROGRESS);
    let first = bench.send(Request::Join(join("g", &ids[0])));
    let (first, late) = (bench.join_answer(first), bench.join_answer(late));
    assert_eq!(
        (first.generation_id, late.generation_id),
        (generation + 1, generation + 1)
    );
    assert_eq!(
        (first.leader.as_str(), late.leader.as_str()),
        (ids[0].as_str(), ids[0].as_str())
    );
    assert_eq!((first.members.len(), late.members.len()), (2, 0));
    // As Apache Kafka 4.3 answers: a heartbeat between join and sync is a good heartbeat.
    assert_eq!(bench.heartbeat("g", &ids[0], generation + 1), codes::NONE);
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::ILLEGAL_GENERATION
    );
}

#[test]
fn the_leader_hears_of_a_generation_after_everyone_else() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 3);
    let tickets: Vec<_> = ids
        .iter()
        .map(|id| bench.send(Request::Join(join("g", id))))
        .collect();
    let leader = bench.join_answer(tickets[0]);
    assert_eq!(
        (leader.leader.as_str(), leader.generation_id),
        (ids[0].as_str(), generation + 1)
    );
    let told: Vec<_> = bench
        .answered
        .iter()
        .filter(|t| tickets.contains(t))
        .copied()
        .collect();
    assert_eq!(told, [tickets[1], tickets[2], tickets[0]]);
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
    assert_eq!(
        (answer.generation_id, answer.leader.as_str()),
        (generation + 1, ids[1].as_str())
    );
    assert_eq!(answer.members.len(), 1);
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn rejoin_without_change_in_stable_answers_at_once_unless_it_is_the_leader() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 2);
    let ticket = bench.send(Request::Join(join("g", &ids[1])));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.generation_id),
        (codes::NONE, generation)
    );
    assert_eq!(
        (answer.leader.as_str(), answer.members.len()),
        (ids[0].as_str(), 0)
    );
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
        assert_eq!(
            bench.sync_answer(ticket),
            SyncResponse {
                error_code: code,
                ..SyncResponse::default()
            }
        );
    };
    refused(
        &mut bench,
        &|r| r.member_id = "zz".into(),
        codes::UNKNOWN_MEMBER_ID,
    );
    refused(&mut bench, &|r| r.generation_id -= 1, codes::ILLEGAL_GENERATION);
    let inconsistent = codes::INCONSISTENT_GROUP_PROTOCOL;
    refused(&mut bench, &|r| r.protocol_name = Some("rr".into()), inconsistent);
    refused(
        &mut bench,
        &|r| r.protocol_type = Some("connect".into()),
        inconsistent,
    );
    refused(&mut bench, &|r| r.protocol_type = None, inconsistent);
    refused(&mut bench, &|r| r.protocol_name = None, inconsistent);
    bench.caller.api_version = 4;
    let request = SyncRequest {
        protocol_type: None,
        protocol_name: None,
        ..sync("g", &ids[0], generation)
    };
    let ticket = bench.send(Request::Sync(request));
    let answer = bench.sync_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.assignment),
        (codes::NONE, Bytes::from_static(b"a0"))
    );
}

#[test]
fn follower_sync_waits_for_the_leader_and_a_member_left_out_gets_nothing() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let tickets = [
        bench.send(Request::Join(join("g", ""))),
        bench.send(Request::Join(join("g", ""))),
    ];
    bench.advance(0);
    let [leader, follower] = tickets.map(|ticket| bench.join_answer(ticket));
    let early = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    let twice = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    assert_eq!(bench.sync_answer(early).error_code, codes::REBALANCE_IN_PROGRESS);
    let mut request = sync("g", &leader.member_id, 1);
    request.assignments = vec![
        (leader.member_id.clone(), Bytes::from_static(b"mine")),
        ("ghost".into(), Bytes::new()),
    ];
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
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation + 1),
        codes::REBALANCE_IN_PROGRESS
    );
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
    let tickets = [
        bench.send(Request::Join(join("g", ""))),
        bench.send(Request::Join(join("g", ""))),
    ];
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
    assert_eq!(
        bench.heartbeat("g", &silent.member_id, 1),
        codes::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn session_without_heartbeat_ends_and_the_rest_rebalances() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 2);
    bench.advance(6_000);
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE);
    bench.advance(4_000);
    assert_eq!(
        bench.heartbeat("g", &ids[1], generation),
        codes::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::REBALANCE_IN_PROGRESS
    );
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
    assert_eq!(
        (answer.error_code, answer.member_id.as_str()),
        (codes::UNKNOWN_MEMBER_ID, "")
    );
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
    assert_eq!(
        (answer.error_code, answer.member_id.as_str()),
        (codes::UNKNOWN_MEMBER_ID, "made-up")
    );
    bench.stable_group("g", 1);
    let ticket = bench.send(Request::Join(join("g", "made-up")));
    assert_eq!(bench.join_answer(ticket).error_code, codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn join_with_session_timeout_out_of_bounds_is_refused() {
    let mut bench = Bench::new();
    for session_timeout_ms in [-1, 0, 5_999, 1_800_001] {
        let ticket = bench.send(Request::Join(JoinRequest {
            session_timeout_ms,
            ..join("g", "")
        }));
        assert_eq!(
            bench.join_answer(ticket).error_code,
            codes::INVALID_SESSION_TIMEOUT
        );
    }
    assert_eq!(bench.coordinator.stats().groups, 0);
}

#[test]
fn join_without_protocols_or_with_foreign_ones_is_inconsistent_and_leaves_nothing_behind() {
    let mut bench = Bench::new();
    for request in [
        JoinRequest {
            protocols: Vec::new(),
            ..join("g", "")
        },
        JoinRequest {
            protocol_type: String::new(),
            ..join("g", "")
        },
    ] {
        let ticket = bench.send(Request::Join(request));
        assert_eq!(
            bench.join_answer(ticket).error_code,
            codes::INCONSISTENT_GROUP_PROTOCOL
        );
    }
    assert_eq!(bench.coordinator.stats().groups, 0);
    bench.stable_group("g", 1);
    let other = vec![Protocol {
        name: "other".into(),
        metadata: Bytes::new(),
    }];
    for request in [
        JoinRequest {
            protocols: other,
            ..join("g", "")
        },
        JoinRequest {
            protocol_type: "connect".into(),
            ..join("g", "")
        },
    ] {
        let ticket = bench.send(Request::Join(request));
        assert_eq!(
            bench.join_answer(ticket).error_code,
            codes::INCONSISTENT_GROUP_PROTOCOL
        );
    }
}

#[test]
fn protocol_with_most_votes_among_the_common_ones_is_chosen() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let speaking = |names: &[&str]| JoinRequest {
        protocols: names
            .iter()
            .map(|name| Protocol {
                name: (*name).into(),
                metadata: Bytes::copy_from_slice(name.as_bytes()),
            })
            .collect(),
        ..join("g", "")
    };
    let tickets = [&["a", "b", "c"][..], &["b", "c"], &["d", "c", "b"]]
        .map(|names| bench.send(Request::Join(speaking(names))));
    bench.advance(0);
    for ticket in tickets {
        assert_eq!(
            bench.join_answer(ticket).protocol_name.as_deref(),
            Some("b"),
            "two votes against one"
        );
    }
}

#[test]
fn group_at_its_maximum_size_turns_new_members_away() {
    let mut bench = Bench::with(Config {
        max_size: 2,
        initial_rebalance_delay_ms: 0,
        ..Config::default()
    });
    let (ids, generation) = bench.stable_group("g", 2);
    let ticket = bench.send(Request::Join(join("g", "")));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.member_id.as_str()),
        (codes::GROUP_MAX_SIZE_REACHED, "")
    );
    assert_eq!(bench.heartbeat("g", &ids[0], generation), codes::NONE);
}

#[test]
fn group_loaded_above_a_lowered_maximum_keeps_those_who_rejoin_first() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 3);
    let small = Config {
        max_size: 2,
        ..Config::default()
    };
    bench.coordinator = bench.reloaded(small);
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(
        bench.heartbeat("g", &ids[0], generation),
        codes::REBALANCE_IN_PROGRESS
    );
    let kept = [&ids[2], &ids[0]].map(|id| bench.send(Request::Join(join("g", id))));
    let turned_away = bench.send(Request::Join(join("g", &ids[1])));
    assert_eq!(
        bench.join_answer(turned_away).error_code,
        codes::GROUP_MAX_SIZE_REACHED
    );
    for ticket in kept {
        assert_eq!(bench.join_answer(ticket).generation_id, generation + 1);
    }
}

#[test]
fn last_member_that_leaves_empties_the_group_once_that_is_stored() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    bench.auto_commit = false;
    let members = vec![LeavingMember {
        member_id: ids[0].clone(),
        group_instance_id: None,
        reason: None,
    }];
    let ticket = bench.send(Request::Leave(LeaveRequest {
        group_id: "g".into(),
        members,
    }));
    assert!(bench.answer(ticket).is_none());
    bench.commit();
    assert!(bench.answer(ticket).is_some());
    let group = bench.describe("g");
    assert_eq!(
        (group.group_state, group.protocol_type.as_str()),
        ("Empty", "consumer")
    );
    bench.auto_commit = true;
    let coordinator = bench.reloaded(Config::default());
    let group = coordinator.groups().values().next().expect("one group");
    assert_eq!(
        (group.state, group.generation),
        (GroupState::Empty, generation + 1)
    );
}

#[test]
fn leave_of_strangers_is_unknown_member_in_every_version() {
    let mut bench = Bench::new();
    assert_eq!(bench.leave("nobody", "m"), codes::UNKNOWN_MEMBER_ID);
    bench.caller.api_version = 2;
    let members = vec![LeavingMember {
        member_id: "m".into(),
        group_instance_id: None,
        reason: None,
    }];
    let request = LeaveRequest {
        group_id: "nobody".into(),
        members,
    };
    let expected = LeaveResponse {
        error_code: codes::UNKNOWN_MEMBER_ID,
        members: Vec::new(),
    };
    assert_eq!(bench.ask(Request::Leave(request)), Response::Leave(expected));
    bench.caller.api_version = 5;
    bench.stable_group("g", 1);
    assert_eq!(bench.leave("g", "m"), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn member_that_leaves_with_a_parked_sync_gets_it_answered() {
    let mut bench = Bench::new();
    bench.caller.api_version = 3;
    let tickets = [
        bench.send(Request::Join(join("g", ""))),
        bench.send(Request::Join(join("g", ""))),
    ];
    bench.advance(0);
    let [leader, follower] = tickets.map(|ticket| bench.join_answer(ticket));
    let parked = bench.send(Request::Sync(sync("g", &follower.member_id, 1)));
    assert_eq!(bench.leave("g", &follower.member_id), codes::NONE);
    assert_eq!(bench.sync_answer(parked).error_code, codes::UNKNOWN_MEMBER_ID);
    assert_eq!(
        bench.heartbeat("g", &leader.member_id, 1),
        codes::REBALANCE_IN_PROGRESS
    );
}
