//! Members' memory: bounded for all groups together, given free when members go.

use std::rc::Rc;

use super::*;
use crate::groups::room::Room;

fn bench(free: usize) -> (Bench, Rc<Room>) {
    let mut bench = Bench::new();
    // Members come with their metadata at once.
    bench.caller.api_version = 3;
    let room = Rc::new(Room::default());
    room.reset(free);
    let mut coordinator = Coordinator::new(Config {
        initial_rebalance_delay_ms: 0,
        ..Config::default()
    })
    .within(room.clone());
    coordinator.loaded(1_000, &mut Vec::new());
    bench.coordinator = coordinator;
    (bench, room)
}

fn join(bench: &mut Bench, group: usize, bytes: usize) -> (i16, String) {
    let request = JoinRequest {
        group_id: format!("g{group}"),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: vec![0; bytes].into(),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        new_member_uuid: [group as u8; 16],
        ..JoinRequest::default()
    };
    let ticket = bench.send(Request::Join(request));
    bench.advance(1);
    match bench.answer(ticket) {
        Some(Response::Join(joined)) => (joined.error_code, joined.member_id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_beyond_the_room_are_refused_until_others_go() {
    let (mut bench, room) = bench(10_000);
    let full = codes::COORDINATOR_NOT_AVAILABLE;
    let first = join(&mut bench, 0, 4_000);
    assert_eq!(first.0, codes::NONE);
    assert_eq!(join(&mut bench, 1, 4_000).0, codes::NONE);
    assert_eq!(join(&mut bench, 2, 4_000).0, full);
    assert_eq!(join(&mut bench, 2, 100).0, codes::NONE, "a small one fits");
    let held = bench.coordinator.member_bytes();
    assert!((8_100..9_000).contains(&held), "{held}");

    // What a member says again, or a group that is refused, is not held twice: the count finds that.
    assert!(room.was_taken_from());
    room.reset(10_000 - held);
    assert!(!room.was_taken_from());
    assert_eq!(join(&mut bench, 3, 4_000).0, full);
    bench.ask(Request::Leave(LeaveRequest {
        group_id: "g0".into(),
        members: vec![LeavingMember {
            member_id: first.1,
            ..LeavingMember::default()
        }],
    }));
    let held = bench.coordinator.member_bytes();
    assert!((4_100..5_000).contains(&held), "{held}");
    room.reset(10_000 - held);
    assert_eq!(join(&mut bench, 3, 4_000).0, codes::NONE);
}

#[test]
fn subscriptions_of_consumer_groups_take_room_too() {
    let (mut bench, _room) = bench(10_000);
    let mut beat = |group: usize, names: usize| {
        let request = ConsumerHeartbeatRequest {
            group_id: format!("c{group}"),
            member_id: "m".into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some((0..names).map(|n| format!("topic-{n:04}")).collect()),
            topic_partitions: Some(Vec::new()),
            ..ConsumerHeartbeatRequest::default()
        };
        match bench.ask(Request::ConsumerHeartbeat(request)) {
            Response::ConsumerHeartbeat(answer) => answer.error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(beat(0, 100), codes::NONE);
    assert_eq!(beat(1, 100), codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(beat(1, 10), codes::NONE);
    let held = bench.coordinator.member_bytes();
    assert_eq!(held, 110 * (64 + "topic-0000".len()));
}
