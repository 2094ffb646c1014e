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
