//! Groups as a whole: loading, resigning, listing, describing, deleting, ceilings, scale.

use super::*;

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
    assert_eq!(
        list,
        Response::List(ListResponse {
            error_code: code,
            groups: Vec::new()
        })
    );
    let fetch = || {
        let topics = vec![FetchTopic {
            name: "t".into(),
            topic_id: [0; 16],
            partitions: vec![0],
        }];
        let topics = Some(topics);
        Request::OffsetFetch(OffsetFetchRequest {
            group_id: "g".into(),
            topics,
            require_stable: false,
            ..OffsetFetchRequest::default()
        })
    };
    let Response::OffsetFetch(answer) = bench.ask(fetch()) else {
        panic!()
    };
    assert_eq!((answer.error_code, answer.topics.len()), (code, 0));
    bench.caller.api_version = 1;
    let Response::OffsetFetch(answer) = bench.ask(fetch()) else {
        panic!()
    };
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
    let Some(Response::OffsetCommit(answer)) = bench.answer(waiting) else {
        panic!()
    };
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
    assert_eq!(
        bench.join_answer(ticket).error_code,
        codes::COORDINATOR_NOT_AVAILABLE
    );
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
        let request = ListRequest {
            states_filter: own(states),
            types_filter: own(types),
        };
        match bench.ask(Request::List(request)) {
            Response::List(response) => response
                .groups
                .into_iter()
                .map(|group| group.group_id)
                .collect::<Vec<_>>()
                .concat(),
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
    assert_eq!(
        (unknown.error_code, unknown.group_state),
        (codes::GROUP_ID_NOT_FOUND, "Dead")
    );
    assert_eq!(unknown.error_message.as_deref(), Some("Group g not found."));
    let (ids, _) = bench.stable_group("g", 1);
    let stable = bench.describe("g");
    assert_eq!(
        (stable.group_state, stable.protocol_data.as_str()),
        ("Stable", "range")
    );
    assert_eq!(stable.members[0].member_metadata, subscription(&["t"]));
    assert_eq!(stable.members[0].member_assignment, Bytes::from_static(b"a0"));
    assert_eq!(stable.members[0].client_host, "/127.0.0.1");
    bench.send(Request::Join(join("g", &ids[0])));
    let completing = bench.describe("g");
    assert_eq!(
        (completing.group_state, completing.protocol_data.as_str()),
        ("CompletingRebalance", "")
    );
    assert_eq!(completing.members[0].member_metadata.len(), 0);
}

#[test]
fn delete_takes_empty_groups_with_their_offsets_and_refuses_others() {
    let mut bench = Bench::new();
    bench.stable_group("busy", 1);
    bench.commit_as(commit("idle", 5));
    let ids = ["busy", "idle", "idle", "nobody", ""].map(str::to_owned).to_vec();
    let Response::Delete(answer) = bench.ask(Request::Delete(ids)) else {
        panic!()
    };
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
        limits: crate::groups::Limits {
            records_per_append: 1,
            ..crate::groups::Limits::default()
        },
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
    assert!(
        bench.answer(ticket).is_some(),
        "one failed part fails the whole, at once"
    );
    bench.commit();
    assert_eq!(bench.fetch("idle"), Ok(6));
    assert_eq!(
        bench.state("idle"),
        "Empty",
        "an offset that stayed keeps a group, or it would never expire"
    );
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
    let mut bench = Bench::with(Config {
        limits,
        ..Config::default()
    });
    bench.new_member_id("g");
    bench.new_member_id("g");
    let refusal = |bench: &mut Bench, request: JoinRequest| {
        let ticket = bench.send(Request::Join(request));
        bench.join_answer(ticket).error_code
    };
    assert_eq!(
        refusal(&mut bench, join("g", "")),
        codes::COORDINATOR_NOT_AVAILABLE
    );
    assert_eq!(
        refusal(&mut bench, join("h", "")),
        codes::COORDINATOR_NOT_AVAILABLE
    );
    assert_eq!(bench.commit_as(commit("h", 1)), codes::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(
        refusal(&mut bench, join(&"g".repeat(21), "")),
        codes::INVALID_GROUP_ID
    );
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
        bench.coordinator.request(
            bench.now_ms,
            index,
            &caller,
            Request::Join(join("g", "")),
            &mut out,
        );
    }
    bench.coordinator.tick(bench.now_ms, &mut out);
    let Some(Effect::Append { token, .. }) = out.first().cloned() else {
        panic!()
    };
    bench
        .coordinator
        .committed(bench.now_ms, token, 0, &mut Vec::new());
    let ids: Vec<String> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reply {
                response: Response::Join(answer),
                ..
            } => Some(answer.member_id.clone()),
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
            bench
                .coordinator
                .request(now_ms, 0, &caller, Request::Heartbeat(request), &mut out);
            assert_eq!(
                out,
                [Effect::Reply {
                    ticket: 0,
                    response: Response::Heartbeat(codes::NONE)
                }]
            );
        }
    }
    assert_eq!(
        bench.coordinator.deadlines(),
        heap,
        "heartbeats do not grow the heap"
    );
}

#[test]
fn group_id_hashes_to_its_partition_as_in_java() {
    // The well-known values of java.lang.String.hashCode; the last one is the smallest int there is.
    for (group, hash) in [
        ("", 0),
        ("a", 97),
        ("hello", 99_162_322),
        ("polygenelubricants", i32::MIN),
    ] {
        assert_eq!(
            crate::groups::partition_for(group, 50),
            (hash & i32::MAX) as u32 % 50,
            "{group}"
        );
    }
}
