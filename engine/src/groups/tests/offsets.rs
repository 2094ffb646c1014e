//! Committing, fetching and deleting offsets.

use super::*;

fn commit_with(group: &str, change: impl FnOnce(&mut CommitPartition)) -> OffsetCommitRequest {
    let mut request = commit(group, 5);
    change(&mut request.topics[0].partitions[0]);
    request
}

fn fetch_all(bench: &mut Bench, group: &str, require_stable: bool) -> OffsetFetchResponse {
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: None,
        require_stable,
        ..OffsetFetchRequest::default()
    };
    match bench.ask(Request::OffsetFetch(request)) {
        Response::OffsetFetch(response) => response,
        other => panic!("no fetch answer but {other:?}"),
    }
}

fn delete(bench: &mut Bench, group: &str, topic: &str) -> OffsetDeleteResponse {
    let request = OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![(topic.into(), vec![0, 1])],
    };
    match bench.ask(Request::OffsetDelete(request)) {
        Response::OffsetDelete(response) => response,
        other => panic!("no delete answer but {other:?}"),
    }
}

#[test]
fn simple_commit_makes_an_empty_group_and_round_trips_metadata_and_epoch() {
    let mut bench = Bench::new();
    let request = commit_with("g", |p| {
        p.leader_epoch = 7;
        p.metadata = Some("där".into());
    });
    assert_eq!(bench.commit_as(request), codes::NONE);
    let group = bench.describe("g");
    assert_eq!((group.group_state, group.protocol_type.as_str()), ("Empty", ""));
    let topics = fetch_all(&mut bench, "g", false).topics;
    let partition = &topics[0].partitions[0];
    assert_eq!(
        (
            partition.offset,
            partition.leader_epoch,
            partition.metadata.as_str()
        ),
        (5, 7, "där")
    );
    assert_eq!(
        bench.reloaded(Config::default()).committed_offset("g", "t", 0),
        Some(5)
    );
}

#[test]
fn unknown_group_or_partition_fetches_minus_one_without_error() {
    let mut bench = Bench::new();
    assert_eq!(bench.fetch("nobody"), Ok(-1));
    assert_eq!(
        fetch_all(&mut bench, "nobody", true),
        OffsetFetchResponse {
            group_id: "nobody".into(),
            ..OffsetFetchResponse::default()
        }
    );
    assert_eq!(bench.commit_as(commit("g", 1)), codes::NONE);
    let topics = Some(vec![FetchTopic {
        name: "t".into(),
        topic_id: [0; 16],
        partitions: vec![3],
    }]);
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics,
        require_stable: false,
        ..OffsetFetchRequest::default()
    };
    let Response::OffsetFetch(response) = bench.ask(Request::OffsetFetch(request)) else {
        panic!()
    };
    assert_eq!(
        response.topics[0].partitions,
        [FetchedPartition::none(3, codes::NONE)]
    );
}

#[test]
fn offset_is_invisible_until_its_append_commits_and_gone_when_it_fails() {
    let mut bench = Bench::new();
    bench.auto_commit = false;
    let ticket = bench.send(Request::OffsetCommit(commit("g", 1)));
    assert_eq!(bench.fetch("g"), Ok(-1));
    assert_eq!(
        bench.state("g"),
        "Dead",
        "a group is not shown before its first record is committed"
    );
    assert!(bench.answer(ticket).is_none());
    bench.commit();
    assert!(bench.answer(ticket).is_some());
    assert_eq!(bench.fetch("g"), Ok(1));

    let ticket = bench.send(Request::OffsetCommit(commit("g", 2)));
    bench.fail(codes::NOT_LEADER_OR_FOLLOWER);
    let Some(Response::OffsetCommit(response)) = bench.answer(ticket) else {
        panic!()
    };
    assert_eq!(response.topics[0].partitions, [(0, codes::NOT_COORDINATOR)]);
    assert_eq!(bench.fetch("g"), Ok(1));
}

#[test]
fn group_made_by_a_commit_that_failed_does_not_remain() {
    let mut bench = Bench::new();
    bench.auto_commit = false;
    bench.send(Request::OffsetCommit(commit("g", 1)));
    bench.fail(codes::REQUEST_TIMED_OUT);
    assert_eq!(bench.coordinator.stats().groups, 0);
    assert_eq!(bench.coordinator.stats().offsets, 0);
}

#[test]
fn metadata_beyond_the_limit_fails_its_partition_only() {
    let mut bench = Bench::with(Config {
        offset_metadata_max: 4,
        ..Config::default()
    });
    let mut request = commit("g", 1);
    for (partition, metadata) in [(1, "12345"), (2, "ääää")] {
        request.topics[0].partitions.push(CommitPartition {
            partition,
            offset: 1,
            leader_epoch: -1,
            metadata: Some(metadata.into()),
        });
    }
    let Response::OffsetCommit(response) = bench.ask(Request::OffsetCommit(request)) else {
        panic!()
    };
    let expected = [
        (0, codes::NONE),
        (1, codes::OFFSET_METADATA_TOO_LARGE),
        (2, codes::NONE),
    ];
    assert_eq!(response.topics[0].partitions, expected);
}

#[test]
fn commit_with_generation_to_unknown_group_depends_on_the_version() {
    let mut bench = Bench::new();
    bench.caller.api_version = 8;
    assert_eq!(
        bench.commit_as(commit_by("g", "m", 1, 5)),
        codes::ILLEGAL_GENERATION
    );
    bench.caller.api_version = 9;
    assert_eq!(
        bench.commit_as(commit_by("g", "m", 1, 5)),
        codes::GROUP_ID_NOT_FOUND
    );
}

#[test]
fn commit_to_a_group_with_members_checks_member_and_generation() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    assert_eq!(bench.commit_as(commit("g", 5)), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(
        bench.commit_as(commit_by("g", "other", generation, 5)),
        codes::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation + 1, 5)),
        codes::ILLEGAL_GENERATION
    );
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], -1, 5)),
        codes::ILLEGAL_GENERATION
    );
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation, 5)),
        codes::NONE
    );
    let mut request = commit_by("g", &ids[0], generation, 5);
    request.group_instance_id = Some("nobody".into());
    assert_eq!(bench.commit_as(request), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.leave("g", &ids[0]), codes::NONE);
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation, 6)),
        codes::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        bench.commit_as(commit("g", 7)),
        codes::NONE,
        "an operator may, once the group is empty"
    );
    assert_eq!(bench.fetch("g"), Ok(7));
}

#[test]
fn commit_while_rebalancing_is_accepted_in_the_join_phase_and_refused_before_the_assignment() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    let second = bench.new_member_id("g");
    let late = bench.send(Request::Join(join("g", &second)));
    assert_eq!(bench.state("g"), "PreparingRebalance");
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation, 5)),
        codes::NONE
    );
    let first = bench.send(Request::Join(join("g", &ids[0])));
    assert_eq!(bench.join_answer(first).generation_id, generation + 1);
    assert_eq!(bench.join_answer(late).generation_id, generation + 1);
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation, 6)),
        codes::ILLEGAL_GENERATION
    );
    assert_eq!(
        bench.commit_as(commit_by("g", &ids[0], generation + 1, 6)),
        codes::REBALANCE_IN_PROGRESS
    );
    assert_eq!(bench.fetch("g"), Ok(5));
}

#[test]
fn commit_keeps_the_session_alive() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    for offset in 0..5 {
        bench.advance(9_000);
        assert_eq!(
            bench.commit_as(commit_by("g", &ids[0], generation, offset)),
            codes::NONE
        );
    }
    bench.advance(10_000);
    assert_eq!(bench.state("g"), "Empty");
}

#[test]
fn empty_group_id_holds_offsets_but_no_members() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit_as(commit("", 5)), codes::NONE);
    assert_eq!(bench.fetch(""), Ok(5));
    let ticket = bench.send(Request::Join(join("", "")));
    assert_eq!(bench.join_answer(ticket).error_code, codes::INVALID_GROUP_ID);
    let ticket = bench.send(Request::Sync(sync("", "m", 1)));
    assert_eq!(bench.sync_answer(ticket).error_code, codes::INVALID_GROUP_ID);
    assert_eq!(bench.heartbeat("", "m", 1), codes::INVALID_GROUP_ID);
    assert_eq!(bench.leave("", "m"), codes::INVALID_GROUP_ID);
    assert_eq!(delete(&mut bench, "", "t").error_code, codes::INVALID_GROUP_ID);
}

#[test]
fn delete_of_a_subscribed_topic_is_refused_and_of_another_done() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable_group("g", 1);
    let mut request = commit_by("g", &ids[0], generation, 5);
    request.topics.push(CommitTopic {
        name: "u".into(),
        ..request.topics[0].clone()
    });
    assert_eq!(bench.commit_as(request), codes::NONE);
    let refused = codes::GROUP_SUBSCRIBED_TO_TOPIC;
    assert_eq!(
        delete(&mut bench, "g", "t").topics,
        [("t".into(), vec![(0, refused), (1, refused)])]
    );
    assert_eq!(
        delete(&mut bench, "g", "u").topics,
        [("u".into(), vec![(0, 0), (1, 0)])]
    );
    let left: Vec<String> = fetch_all(&mut bench, "g", false)
        .topics
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(left, ["t"]);
    bench.leave("g", &ids[0]);
    assert_eq!(
        delete(&mut bench, "g", "t").topics,
        [("t".into(), vec![(0, 0), (1, 0)])]
    );
    assert_eq!(bench.fetch("g"), Ok(-1));
    assert_eq!(bench.reloaded(Config::default()).stats().offsets, 0);
}

#[test]
fn delete_in_an_unknown_group_or_one_of_another_protocol_type_is_refused_whole() {
    let mut bench = Bench::new();
    assert_eq!(delete(&mut bench, "g", "t").error_code, codes::GROUP_ID_NOT_FOUND);
    let mut request = join("c", "");
    request.protocol_type = "connect".into();
    bench.caller.api_version = 3;
    bench.send(Request::Join(request));
    assert_eq!(delete(&mut bench, "c", "t").error_code, codes::NON_EMPTY_GROUP);
}

#[test]
fn delete_of_an_offset_still_on_its_way_removes_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit_as(commit("g", 1)), codes::NONE);
    bench.auto_commit = false;
    bench.send(Request::OffsetDelete(OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![("t".into(), vec![0])],
    }));
    bench.send(Request::OffsetCommit(commit("g", 2)));
    bench.send(Request::OffsetDelete(OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![("t".into(), vec![0])],
    }));
    assert_eq!(bench.waiting.len(), 3);
    bench.commit();
    assert_eq!(bench.fetch("g"), Ok(-1));
    bench.commit();
    assert_eq!(bench.fetch("g"), Ok(2));
    bench.commit();
    assert_eq!(bench.fetch("g"), Ok(-1));
}

#[test]
fn offset_committed_for_an_earlier_topic_of_the_same_name_is_not_returned_by_id() {
    let mut bench = Bench::new();
    let mut request = commit("g", 5);
    request.topics[0].topic_id = [1; 16];
    assert_eq!(bench.commit_as(request), codes::NONE);
    for (topic_id, expected) in [([0; 16], 5), ([1; 16], 5), ([2; 16], -1)] {
        let topics = Some(vec![FetchTopic {
            name: "t".into(),
            topic_id,
            partitions: vec![0],
        }]);
        let request = OffsetFetchRequest {
            group_id: "g".into(),
            topics,
            require_stable: false,
            ..OffsetFetchRequest::default()
        };
        let Response::OffsetFetch(response) = bench.ask(Request::OffsetFetch(request)) else {
            panic!()
        };
        assert_eq!(response.topics[0].partitions[0].offset, expected);
    }
}

#[test]
fn deleted_topic_takes_its_offsets_along_but_not_those_of_a_namesake() {
    let mut bench = Bench::new();
    for (group, topic_id) in [("old", [1; 16]), ("new", [2; 16]), ("unknown", [0; 16])] {
        let mut request = commit(group, 5);
        request.topics[0].topic_id = topic_id;
        assert_eq!(bench.commit_as(request), codes::NONE);
    }
    let mut out = Vec::new();
    bench
        .coordinator
        .delete_topics(bench.now_ms, &[("t".into(), [1; 16])], &mut out);
    bench.absorb(out);
    assert_eq!(
        (bench.fetch("old"), bench.fetch("new"), bench.fetch("unknown")),
        (Ok(-1), Ok(5), Ok(-1))
    );
}

#[test]
fn transactional_offsets_are_unstable_until_the_transaction_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit_as(commit("g", 1)), codes::NONE);
    let transactional = |producer_id, offset| {
        Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            group_id: "g".into(),
            producer_id,
            producer_epoch: 0,
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
            topics: commit("g", offset).topics,
        })
    };
    bench.ask(transactional(9, 50));
    assert_eq!(
        bench.fetch("g"),
        Ok(1),
        "who does not insist gets the last committed offset"
    );
    let unstable = FetchedPartition::none(0, codes::UNSTABLE_OFFSET_COMMIT);
    assert_eq!(fetch_all(&mut bench, "g", true).topics[0].partitions, [unstable]);
    bench.coordinator.end_transaction(9, false);
    assert_eq!(fetch_all(&mut bench, "g", true).topics[0].partitions[0].offset, 1);

    bench.ask(transactional(9, 60));
    assert_eq!(bench.commit_as(commit("g", 70)), codes::NONE);
    bench.coordinator.end_transaction(9, true);
    assert_eq!(bench.fetch("g"), Ok(70), "the later record in the log wins");
    bench.ask(transactional(9, 80));
    bench.coordinator.end_transaction(9, true);
    assert_eq!(bench.fetch("g"), Ok(80));
    bench.coordinator.check();
}

#[test]
fn stable_fetch_waits_for_the_writes_before_it_and_fails_with_them() {
    let mut bench = Bench::new();
    bench.auto_commit = false;
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: None,
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    bench.send(Request::OffsetCommit(commit("g", 1)));
    let ticket = bench.send(Request::OffsetFetch(request.clone()));
    assert!(bench.answer(ticket).is_none());
    bench.commit();
    let Some(Response::OffsetFetch(response)) = bench.answer(ticket) else {
        panic!()
    };
    assert_eq!(response.topics[0].partitions[0].offset, 1);
    bench.send(Request::OffsetCommit(commit("g", 2)));
    let ticket = bench.send(Request::OffsetFetch(request));
    bench.fail(codes::REQUEST_TIMED_OUT);
    let Some(Response::OffsetFetch(response)) = bench.answer(ticket) else {
        panic!()
    };
    assert_eq!(
        (response.error_code, response.topics.len()),
        (codes::NOT_COORDINATOR, 0)
    );
}
