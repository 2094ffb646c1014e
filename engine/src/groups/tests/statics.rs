//! Static members: known by an instance id across restarts (KIP-345, KIP-814).

use super::*;

fn static_join(group: &str, instance: &str) -> JoinRequest {
    JoinRequest {
        group_instance_id: Some(instance.into()),
        ..join(group, "")
    }
}

fn static_sync(group: &str, member: &str, generation: i32, instance: &str) -> SyncRequest {
    SyncRequest {
        group_instance_id: Some(instance.into()),
        ..sync(group, member, generation)
    }
}

fn static_heartbeat(bench: &mut Bench, member: &str, generation: i32, instance: &str) -> i16 {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: Some(instance.into()),
    };
    match bench.ask(Request::Heartbeat(request)) {
        Response::Heartbeat(code) => code,
        other => panic!("no heartbeat answer but {other:?}"),
    }
}

/// A stable group "g" of the given instances; assignments are the instance ids. Member ids in order.
fn stable(bench: &mut Bench, instances: &[&str]) -> Vec<String> {
    let tickets: Vec<_> = instances
        .iter()
        .map(|i| bench.send(Request::Join(static_join("g", i))))
        .collect();
    bench.advance(0);
    let ids: Vec<String> = tickets
        .into_iter()
        .map(|t| bench.join_answer(t).member_id)
        .collect();
    for (index, (id, instance)) in ids.iter().zip(instances).enumerate() {
        let mut request = static_sync("g", id, 1, instance);
        if index == 0 {
            request.assignments = ids
                .iter()
                .zip(instances)
                .map(|(id, instance)| (id.clone(), Bytes::copy_from_slice(instance.as_bytes())))
                .collect();
        }
        let ticket = bench.send(Request::Sync(request));
        assert_eq!(
            bench.sync_answer(ticket).assignment,
            Bytes::copy_from_slice(instance.as_bytes())
        );
    }
    ids
}

#[test]
fn static_member_is_added_at_once_with_an_id_made_of_its_instance() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    assert!(ids[0].starts_with("i1-"), "{}", ids[0]);
    assert_eq!(
        bench.describe("g").members[0].group_instance_id.as_deref(),
        Some("i1")
    );
}

#[test]
fn returning_leader_keeps_generation_and_assignment_and_skips_assigning_since_version_9() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1", "i2"]);
    let ticket = bench.send(Request::Join(static_join("g", "i1")));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.generation_id, answer.skip_assignment),
        (codes::NONE, 1, true)
    );
    assert_ne!(answer.member_id, ids[0]);
    assert_eq!(
        (answer.leader.as_str(), answer.members.len()),
        (answer.member_id.as_str(), 2)
    );
    assert_eq!(bench.state("g"), "Stable");
    let ticket = bench.send(Request::Sync(static_sync("g", &answer.member_id, 1, "i1")));
    assert_eq!(bench.sync_answer(ticket).assignment, Bytes::from_static(b"i1"));
    let coordinator = bench.reloaded(Config::default());
    let group = coordinator.groups().values().next().expect("one group");
    assert!(group.by_id.contains_key(answer.member_id.as_str()) && !group.by_id.contains_key(&*ids[0]));
}

#[test]
fn returning_leader_before_version_9_is_shown_its_old_id_as_leader() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    bench.caller.api_version = 8;
    let ticket = bench.send(Request::Join(static_join("g", "i1")));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.leader.as_str(), answer.members.len()),
        (ids[0].as_str(), 0)
    );
    assert!(!answer.skip_assignment);
}

#[test]
fn returning_follower_keeps_the_group_stable() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1", "i2"]);
    let ticket = bench.send(Request::Join(static_join("g", "i2")));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.leader.as_str(), answer.skip_assignment),
        (ids[0].as_str(), false)
    );
    assert_eq!((answer.members.len(), bench.state("g")), (0, "Stable"));
}

#[test]
fn returning_member_with_another_choice_of_protocol_starts_a_rebalance() {
    let mut bench = Bench::new();
    stable(&mut bench, &["i1"]);
    let mut request = static_join("g", "i1");
    request.protocols.insert(
        0,
        Protocol {
            name: "sticky".into(),
            metadata: subscription(&["t"]),
        },
    );
    let ticket = bench.send(Request::Join(request));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.generation_id, answer.protocol_name.as_deref()),
        (2, Some("sticky"))
    );
}

#[test]
fn replaced_member_is_fenced_in_every_request_that_names_its_instance() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    bench.send(Request::Join(static_join("g", "i1")));
    let old = ids[0].as_str();
    assert_eq!(
        static_heartbeat(&mut bench, old, 1, "i1"),
        codes::FENCED_INSTANCE_ID
    );
    assert_eq!(bench.heartbeat("g", old, 1), codes::UNKNOWN_MEMBER_ID);
    let mut request = commit_by("g", old, 1, 5);
    request.group_instance_id = Some("i1".into());
    assert_eq!(bench.commit_as(request), codes::FENCED_INSTANCE_ID);
    let ticket = bench.send(Request::Sync(static_sync("g", old, 1, "i1")));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::FENCED_INSTANCE_ID);
    let ticket = bench.send(Request::Join(JoinRequest {
        member_id: old.into(),
        ..static_join("g", "i1")
    }));
    assert_eq!(bench.join_answer(ticket).error_code, codes::FENCED_INSTANCE_ID);
    let members = vec![LeavingMember {
        member_id: old.into(),
        group_instance_id: Some("i1".into()),
        reason: None,
    }];
    let request = LeaveRequest {
        group_id: "g".into(),
        members,
    };
    let Response::Leave(answer) = bench.ask(Request::Leave(request)) else {
        panic!()
    };
    assert_eq!(answer.members[0].error_code, codes::FENCED_INSTANCE_ID);
}

#[test]
fn instance_nobody_has_is_an_unknown_member() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    assert_eq!(
        static_heartbeat(&mut bench, &ids[0], 1, "i9"),
        codes::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        bench.heartbeat("g", &ids[0], 1),
        codes::NONE,
        "the instance id may be left out"
    );
}

#[test]
fn parked_join_and_sync_of_a_replaced_member_are_fenced() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    let parked = bench.send(Request::Join(static_join("g", "i2")));
    let next = bench.send(Request::Join(static_join("g", "i2")));
    let fenced = bench.join_answer(parked);
    assert_eq!(fenced.error_code, codes::FENCED_INSTANCE_ID);
    assert!(fenced.member_id.starts_with("i2-"), "{}", fenced.member_id);
    let mut request = static_join("g", "i1");
    request.member_id = ids[0].clone();
    bench.send(Request::Join(request));
    let second = bench.join_answer(next);
    assert_eq!(second.generation_id, 2);
    let parked = bench.send(Request::Sync(static_sync("g", &second.member_id, 2, "i2")));
    let next = bench.send(Request::Join(static_join("g", "i2")));
    assert_eq!(bench.sync_answer(parked).error_code, codes::FENCED_INSTANCE_ID);
    assert!(
        bench.answer(next).is_none(),
        "a member replaced before the assignment rebalances the group"
    );
    assert_eq!(
        static_heartbeat(&mut bench, &ids[0], 2, "i1"),
        codes::REBALANCE_IN_PROGRESS
    );
}

#[test]
fn operator_removes_a_static_member_by_instance_id_alone() {
    let mut bench = Bench::new();
    stable(&mut bench, &["i1", "i2"]);
    let leaving = |instance: &str| LeavingMember {
        member_id: String::new(),
        group_instance_id: Some(instance.into()),
        reason: Some("gone".into()),
    };
    let members = vec![leaving("i1"), leaving("zz")];
    let request = LeaveRequest {
        group_id: "g".into(),
        members,
    };
    let Response::Leave(answer) = bench.ask(Request::Leave(request)) else {
        panic!()
    };
    let codes: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [codes::NONE, codes::UNKNOWN_MEMBER_ID]);
    assert_eq!(
        (bench.describe("g").members.len(), bench.state("g")),
        (1, "PreparingRebalance")
    );
}

#[test]
fn static_member_absent_from_a_rebalance_stays_until_its_session_ends() {
    let mut bench = Bench::new();
    let long = |instance: &str| JoinRequest {
        session_timeout_ms: 600_000,
        ..static_join("g", instance)
    };
    let tickets = ["i1", "i2"].map(|i| bench.send(Request::Join(long(i))));
    bench.advance(0);
    let [first, _absent] = tickets.map(|ticket| bench.join_answer(ticket));
    let ticket = bench.send(Request::Sync(static_sync("g", &first.member_id, 1, "i1")));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::NONE);
    let rejoin = bench.send(Request::Join(JoinRequest {
        member_id: first.member_id,
        ..long("i1")
    }));
    bench.advance(60_000);
    let answer = bench.join_answer(rejoin);
    assert_eq!((answer.generation_id, answer.members.len()), (2, 2));
}

#[test]
fn join_phase_with_only_absent_static_members_waits_for_their_sessions() {
    let mut bench = Bench::new();
    stable(&mut bench, &["i1", "i2"]);
    let members = vec![LeavingMember {
        member_id: String::new(),
        group_instance_id: Some("i1".into()),
        reason: None,
    }];
    bench.ask(Request::Leave(LeaveRequest {
        group_id: "g".into(),
        members,
    }));
    bench.advance(9_999);
    assert_eq!(bench.state("g"), "PreparingRebalance");
    bench.advance(1);
    assert_eq!(bench.state("g"), "Empty");
}

#[test]
fn return_that_cannot_be_stored_is_undone() {
    let mut bench = Bench::new();
    let ids = stable(&mut bench, &["i1"]);
    bench.auto_commit = false;
    let ticket = bench.send(Request::Join(static_join("g", "i1")));
    bench.fail(codes::NOT_LEADER_OR_FOLLOWER);
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.error_code, answer.leader.as_str()),
        (codes::NOT_COORDINATOR, ids[0].as_str())
    );
    assert_eq!(static_heartbeat(&mut bench, &ids[0], 1, "i1"), codes::NONE);
}

#[test]
fn return_overtaken_by_a_rebalance_is_answered_by_it() {
    let mut bench = Bench::new();
    stable(&mut bench, &["i1"]);
    bench.auto_commit = false;
    let ticket = bench.send(Request::Join(static_join("g", "i1")));
    let second = bench.send(Request::Join(static_join("g", "i2")));
    let answer = bench.join_answer(ticket);
    assert_eq!(
        (answer.generation_id, bench.join_answer(second).generation_id),
        (2, 2)
    );
    bench.commit();
    assert_eq!(bench.state("g"), "CompletingRebalance");
}

/// Found by the simulation: the undoing took back an id that a later generation had already told its owner, and the
/// owner's parked SyncGroup was answered for a member that no longer bore that name.
#[test]
fn return_that_could_not_be_stored_keeps_its_new_id_once_a_rebalance_has_told_it() {
    let mut bench = Bench::new();
    stable(&mut bench, &["i1"]);
    bench.auto_commit = false;
    let ticket = bench.send(Request::Join(static_join("g", "i1")));
    bench.send(Request::Join(static_join("g", "i2")));
    let answer = bench.join_answer(ticket);
    assert_eq!(answer.generation_id, 2);
    let parked = bench.send(Request::Sync(static_sync("g", &answer.member_id, 2, "i1")));
    bench.fail(codes::REQUEST_TIMED_OUT);
    assert_eq!(
        static_heartbeat(&mut bench, &answer.member_id, 2, "i1"),
        codes::NONE
    );
    bench.commit();
    assert_eq!(bench.sync_answer(parked).error_code, codes::NONE);
}
