//! Decoders and requests against bytes and values nobody sane would send. Longer with `FUZZ_SECONDS`.

use super::sim::Random;
use super::*;
use crate::groups::records::*;
use std::time::{Duration, Instant};

fn for_a_while(mut once: impl FnMut(u64)) {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = 0;
    while seed < 20_000 || Instant::now() < end {
        once(seed);
        seed += 1;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let offset = OffsetValue {
        offset: 5,
        leader_epoch: 1,
        metadata: "some text".into(),
        commit_timestamp_ms: 1,
        expire_timestamp_ms: None,
        topic_id: [7; 16],
    };
    let member = MemberValue {
        member_id: "m".into(),
        group_instance_id: Some("i".into()),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 2,
        subscription: subscription(&["t", "u"]),
        assignment: Bytes::from_static(b"assignment"),
    };
    let group = GroupValue {
        protocol_type: "consumer".into(),
        generation: 1,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        state_timestamp_ms: Some(3),
        members: vec![
            member.clone(),
            MemberValue {
                member_id: "n".into(),
                group_instance_id: None,
                ..member
            },
        ],
    };
    let records = [Record::offset("g", "t", 0, &offset), Record::group("g", &group)];
    records
        .into_iter()
        .flat_map(|record| [record.key, record.value.expect("not a tombstone")])
        .collect()
}

#[test]
fn mutated_records_never_panic_and_leave_a_sound_coordinator() {
    let seeds = seeds();
    for_a_while(|seed| {
        let random = &mut Random::new(seed);
        let mut mutate = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for _ in 0..random.below(4) {
                match random.below(4) {
                    0 if !bytes.is_empty() => bytes.truncate(random.below(bytes.len() as u64) as usize),
                    1 => bytes.push(random.below(256) as u8),
                    _ if !bytes.is_empty() => {
                        let at = random.below(bytes.len() as u64) as usize;
                        bytes[at] = [0, 0xff, 0x7f, 0x80, random.below(256) as u8][random.below(5) as usize];
                    }
                    _ => {}
                }
            }
            bytes
        };
        let mut coordinator = Coordinator::new(Config::default());
        for pair in seeds.chunks(2) {
            let (key, value) = (mutate(&pair[0]), mutate(&pair[1]));
            let _ = decode_key(&value);
            let _ = decode_offset(&key);
            let _ = decode_group(&key);
            let _ = subscribed_topics(&value);
            let key = if seed % 2 == 0 { &key } else { &pair[0] };
            coordinator.replay(ReplayRecord {
                offset: 0,
                producer_id: None,
                key: Some(key),
                value: Some(&value),
            });
        }
        let mut out = Vec::new();
        coordinator.loaded(0, &mut out);
        coordinator.check();
        coordinator.tick(i64::from(i32::MAX), &mut out);
        coordinator.check();
    });
}

#[test]
fn readable_mutations_encode_to_what_was_read() {
    let seeds = seeds();
    for_a_while(|seed| {
        let random = &mut Random::new(seed);
        let mut bytes = seeds[3].clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        if let Ok(value) = decode_group(&bytes) {
            let again = Record::group("g", &value).value.expect("not a tombstone");
            assert_eq!(decode_group(&again), Ok(value), "seed {seed}");
        }
    });
}

#[test]
fn extreme_numbers_in_requests_never_panic() {
    let extremes = [i32::MIN, -1, 0, 1, i32::MAX];
    let mut bench = Bench::with(Config {
        min_session_timeout_ms: i32::MIN,
        max_session_timeout_ms: i32::MAX,
        ..Config::default()
    });
    for (index, session_timeout_ms) in extremes.into_iter().enumerate() {
        for rebalance_timeout_ms in extremes {
            for version in [0, 3, 5] {
                bench.caller.api_version = version;
                let group = format!("g{index}");
                let request = JoinRequest {
                    session_timeout_ms,
                    rebalance_timeout_ms,
                    ..join(&group, "")
                };
                bench.send(Request::Join(request.clone()));
                let instance = Some(format!("i{version}"));
                bench.send(Request::Join(JoinRequest {
                    group_instance_id: instance,
                    ..request
                }));
                bench.advance(1);
            }
        }
    }
    for offset in [i64::MIN, -1, 0, i64::MAX] {
        let request = OffsetCommitRequest {
            retention_time_ms: Some(offset),
            ..commit("o", offset)
        };
        assert_eq!(bench.commit_as(request), codes::NONE);
        assert_eq!(bench.fetch("o"), Ok(offset));
    }
    bench.advance(10_000_000);
}
