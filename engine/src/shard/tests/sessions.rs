//! Fetch sessions through requests: what is told, what is not, and how long an answer waits.

use std::time::Duration;

use turgo_net::api::ApiKey;
use turgo_net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use turgo_net::{ErrorCode, Reader, Uuid};
use turgo_storage::env::{Class, Env};

use super::{SimShard, TOPIC, ask_by, create_topic, frame, partition, produce, simulate, simulate_cores};
use crate::requests::Client;

const WAIT_MS: i32 = 500;

/// A Fetch v12 of topic `t`, or v13 by id.
#[derive(Clone, Copy, Default)]
struct Asked<'a> {
    id: i32,
    epoch: i32,
    /// Partition and offset.
    parts: &'a [(i32, i64)],
    forgotten: &'a [i32],
    min_bytes: i32,
    by_id: bool,
}

/// What the answer says.
#[derive(Debug, PartialEq)]
struct Told {
    error: ErrorCode,
    session: i32,
    /// Partition, error, high watermark, and whether there are records.
    parts: Vec<(i32, i16, i64, bool)>,
    waited_ms: u64,
}

async fn fetch(shard: &SimShard, asked: Asked<'_>) -> Told {
    fetch_by(shard, &Client::default(), asked).await
}

async fn fetch_by(shard: &SimShard, client: &Client, asked: Asked<'_>) -> Told {
    let version = 12 + i16::from(asked.by_id);
    let topic = || match asked.by_id {
        true => ("".into(), Uuid(TOPIC)),
        false => ("t".into(), Uuid::default()),
    };
    let partitions = asked
        .parts
        .iter()
        .map(|(partition, fetch_offset)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        })
        .collect();
    let wanted = FetchTopic {
        topic: topic().0,
        topic_id: topic().1,
        partitions,
        ..Default::default()
    };
    let forgotten = ForgottenTopic {
        topic: topic().0,
        topic_id: topic().1,
        partitions: asked.forgotten.into(),
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: WAIT_MS,
        min_bytes: asked.min_bytes,
        max_bytes: 1 << 20,
        session_id: asked.id,
        session_epoch: asked.epoch,
        topics: Some(wanted)
            .filter(|_| !asked.parts.is_empty())
            .into_iter()
            .collect(),
        forgotten_topics_data: Some(forgotten)
            .filter(|_| !asked.forgotten.is_empty())
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let began = shard.now_ms();
    let answer = ask_by(shard, client, frame(ApiKey::Fetch, version, &request), true).await;
    let response = FetchResponse::decode(&mut Reader::new(&answer), version).expect("a body");
    Told {
        error: ErrorCode(response.error_code),
        session: response.session_id,
        parts: response
            .responses
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| {
                let data = p.records.len() > 0;
                (p.partition_index, p.error_code, p.high_watermark, data)
            })
            .collect(),
        waited_ms: shard.now_ms() - began,
    }
}

#[test]
fn a_session_tells_only_what_is_new() {
    simulate(11, 64 << 20, |_, shard| async move {
        create_topic(&shard, "t", 4).await;
        let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        let first = Asked {
            parts: &[(0, 0), (1, 0), (2, 0), (9, 0)],
            ..Default::default()
        };
        let told = fetch(&shard, first).await;
        assert_eq!(
            told.parts,
            [
                (0, 0, 0, false),
                (1, 0, 0, false),
                (2, 0, 0, false),
                (9, missing, -1, false)
            ]
        );
        assert_eq!(
            (told.error, told.waited_ms),
            (ErrorCode::NONE, 0),
            "no bytes asked for"
        );
        let id = told.session;
        assert!(id > 0);

        // Nothing is new but the error, for which no answer is hastened.
        let next = |epoch| Asked {
            id,
            epoch,
            min_bytes: 1,
            ..Default::default()
        };
        let told = fetch(&shard, next(1)).await;
        assert_eq!((told.error, told.session), (ErrorCode::NONE, id));
        assert_eq!(told.parts, [(9, missing, -1, false)]);
        assert!((500..510).contains(&told.waited_ms), "{} ms", told.waited_ms);

        // Data in partition 1, which forgets the one that is missing.
        assert_eq!(produce(&shard, "t", 1, 10).await, (ErrorCode::NONE, 0));
        let told = fetch(
            &shard,
            Asked {
                forgotten: &[9],
                ..next(2)
            },
        )
        .await;
        assert_eq!((told.parts, told.waited_ms), (vec![(1, 0, 1, true)], 0));
        // Still there, as the client has not moved on, and once it has, quiet.
        assert_eq!(fetch(&shard, next(3)).await.parts, [(1, 0, 1, true)]);
        let moved = Asked {
            parts: &[(1, 1)],
            ..next(4)
        };
        assert_eq!(fetch(&shard, moved).await.parts, []);
        let out_of_range = Asked {
            parts: &[(1, 7)],
            ..next(5)
        };
        let told = fetch(&shard, out_of_range).await;
        let code = ErrorCode::OFFSET_OUT_OF_RANGE.0;
        assert_eq!((told.parts, told.waited_ms), (vec![(1, code, -1, false)], 0));
        // The marks are told again when the error has gone.
        let back = Asked {
            parts: &[(1, 1)],
            ..next(6)
        };
        assert_eq!(fetch(&shard, back).await.parts, [(1, 0, 1, false)]);
        assert_eq!(shard.stats.fetch_sessions.get(), 1);
        assert_eq!(shard.stats.fetch_session_partitions.get(), 3);
    });
}

#[test]
fn what_moves_during_a_long_poll_is_told_at_its_end() {
    simulate(12, 64 << 20, |env, shard| async move {
        create_topic(&shard, "t", 3).await;
        let first = Asked {
            parts: &[(0, 0), (1, 0), (2, 0)],
            ..Default::default()
        };
        let id = fetch(&shard, first).await.session;
        let writer = shard.clone();
        env.clone().spawn(Class::Journal, async move {
            for _ in 0..3 {
                env.sleep(Duration::from_millis(50)).await;
                produce(&writer, "t", 1, 10).await;
            }
        });
        // Each record wakes the poll, and none is enough.
        let poll = Asked {
            id,
            epoch: 1,
            min_bytes: 100_000,
            ..Default::default()
        };
        let told = fetch(&shard, poll).await;
        assert_eq!(told.parts, [(1, 0, 3, true)]);
        assert!(told.waited_ms >= 500);
        // Partition 1 had data: it comes last when all have.
        for partition in [0, 2] {
            produce(&shard, "t", partition, 10).await;
        }
        let again = Asked {
            id,
            epoch: 2,
            min_bytes: 1,
            ..Default::default()
        };
        let told = fetch(&shard, again).await;
        let order: Vec<i32> = told.parts.iter().map(|p| p.0).collect();
        assert_eq!(order, [0, 2, 1]);
    });
}

#[test]
fn sessions_are_refused_closed_and_replaced_as_in_kafka() {
    simulate(13, 64 << 20, |_, shard| async move {
        create_topic(&shard, "t", 2).await;
        let full = Asked {
            parts: &[(0, 0)],
            ..Default::default()
        };
        let id = fetch(&shard, full).await.session;
        let incremental = |id, epoch| Asked {
            id,
            epoch,
            ..Default::default()
        };
        let refused = |error, session| Told {
            error,
            session,
            parts: Vec::new(),
            waited_ms: 0,
        };
        let not_found = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
        let bad_epoch = refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0);
        assert_eq!(fetch(&shard, incremental(id ^ 1, 1)).await, not_found);
        assert_eq!(fetch(&shard, incremental(0, 1)).await, not_found);
        assert_eq!(fetch(&shard, incremental(-id, 1)).await, not_found);
        assert_eq!(fetch(&shard, incremental(i32::MIN, 1)).await, not_found);
        assert_eq!(fetch(&shard, incremental(id, 2)).await, bad_epoch);
        assert_eq!(fetch(&shard, incremental(id, -2)).await, bad_epoch);
        let by_id = Asked {
            by_id: true,
            ..incremental(id, 1)
        };
        assert_eq!(
            fetch(&shard, by_id).await,
            refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 0)
        );
        // A full fetch closes the session it names and makes a new one; here by topic id.
        let told = fetch(
            &shard,
            Asked {
                by_id: true,
                id,
                ..full
            },
        )
        .await;
        assert_eq!(told.parts, [(0, 0, 0, false)]);
        assert_eq!(fetch(&shard, incremental(id, 1)).await, not_found);
        let id = told.session;
        let by_id = Asked {
            by_id: true,
            ..incremental(id, 1)
        };
        assert_eq!(fetch(&shard, by_id).await.error, ErrorCode::NONE);
        // The final epoch closes it and reads what it names.
        let last = Asked {
            by_id: true,
            epoch: -1,
            id,
            ..full
        };
        let told = fetch(&shard, last).await;
        assert_eq!((told.session, told.parts), (0, vec![(0, 0, 0, false)]));
        assert_eq!(shard.stats.fetch_sessions.get(), 0);
        // Forgetting everything ends a session too.
        let id = fetch(&shard, full).await.session;
        let forgetting = Asked {
            forgotten: &[0],
            ..incremental(id, 1)
        };
        assert_eq!(fetch(&shard, forgetting).await, refused(ErrorCode::NONE, 0));
        assert_eq!(fetch(&shard, incremental(id, 2)).await, not_found);
        shard.sessions.borrow().check();
    });
}

#[test]
fn a_session_is_found_from_another_core() {
    simulate_cores(14, 64 << 20, 3, |_, shards| async move {
        create_topic(&shards[0], "t", 6).await;
        let parts = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)];
        let full = Asked {
            parts: &parts,
            ..Default::default()
        };
        for home in 0..3 {
            let id = fetch(&shards[home], full).await.session;
            assert_eq!(crate::sessions::home(id, 3), home);
            // Each request comes to another core.
            for epoch in 1..10 {
                let at = &shards[epoch as usize % 3];
                let partition = epoch % 6;
                let (error, offset) = produce(at, "t", partition, 10).await;
                assert!(error.is_none());
                let read_on = Asked {
                    id,
                    epoch,
                    parts: &[(partition, offset)],
                    min_bytes: 1,
                    ..Default::default()
                };
                let told = fetch(at, read_on).await;
                assert_eq!(told.session, id);
                let of_it = told.parts.iter().find(|part| part.0 == partition);
                assert_eq!(of_it, Some(&(partition, 0, offset + 1, true)));
            }
            // Closed from elsewhere as well.
            let last = Asked {
                id,
                epoch: -1,
                ..full
            };
            assert_eq!(fetch(&shards[(home + 1) % 3], last).await.session, 0);
            assert_eq!(shards[home].stats.fetch_sessions.get(), 0);
        }
    });
}

#[test]
fn a_connection_that_moves_closes_its_session_with_its_last_answer() {
    simulate_cores(15, 64 << 20, 2, |_, shards| async move {
        create_topic(&shards[0], "t", 8).await;
        let client = Client::default();
        let moved = (0..8)
            .find(|p| shards[0].owner(&partition(*p)) == 1)
            .expect("both cores own some");
        let parts = [(moved as i32, 0)];
        let full = Asked {
            parts: &parts,
            ..Default::default()
        };
        let id = fetch_by(&shards[0], &client, full).await.session;
        assert!(id > 0);
        let mut epoch = 1;
        loop {
            let told = fetch_by(
                &shards[0],
                &client,
                Asked {
                    id,
                    epoch,
                    ..Default::default()
                },
            )
            .await;
            assert_eq!(told.error, ErrorCode::NONE);
            if told.session == 0 {
                break;
            }
            assert_eq!(crate::requests::attraction(&shards[0], &client), None);
            epoch += 1;
            assert!(epoch < 100, "it never moves");
        }
        assert_eq!(crate::requests::attraction(&shards[0], &client), Some(1));
        assert_eq!(shards[0].stats.fetch_sessions.get(), 0);
        // Until it has moved, no new one is made here.
        assert_eq!(fetch_by(&shards[0], &client, full).await.session, 0);
        assert!(fetch_by(&shards[1], &Client::default(), full).await.session > 0);
    });
}
