//! Unit tests and fuzzing of validation; what Apache Kafka answers is in `tests/produce_vectors.rs`.

use proptest::prelude::*;
use turgo_net::ErrorCode;
use turgo_net::records::{
    Attributes, BATCH_HEADER_BYTES, BatchBuilder, RecordIter, patch_attributes, patch_base_offset,
};

use super::timestamp_lookup::{Found, first_at_max, first_at_or_after};
use super::*;

const NOW: i64 = 1_795_000_000_000;
const T: i64 = 1_700_000_000_000;
const CEILING: usize = 8 << 20;

fn validator() -> Validator {
    Validator::new(CEILING)
}

/// A batch of records with these timestamps and alternating keys.
fn batch_of(timestamps: &[i64], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(compression, None);
    for timestamp in timestamps {
        builder
            .push(*timestamp, Some(b"key"), Some(b"value value value"), &[])
            .unwrap();
    }
    builder.build(&mut Compressor::new()).unwrap()
}

fn keyless(n: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for i in 0..n {
        builder.push(T + i, None, Some(b"v"), &[]).unwrap();
    }
    builder.build_uncompressed()
}

/// Timestamps and offsets that consumers will see.
fn seen(batch: &[u8]) -> Vec<(i64, i64)> {
    let view = BatchView::first(batch).unwrap();
    let mut decompressor = Decompressor::new();
    let records = view.records(&mut decompressor, CEILING).unwrap();
    records
        .map(|record| record.map(|r| (r.offset, r.timestamp)).unwrap())
        .collect()
}

#[test]
fn a_good_batch_passes_untouched_and_uncopied() {
    let bytes = batch_of(&[T, T + 5, T + 3], Compression::None);
    let mut validator = validator();
    let validated = validator
        .validate(Some(&bytes), 11, &TopicRules::default(), NOW)
        .unwrap();
    assert_eq!(validated.change(), &Change::None);
    assert_eq!(
        (
            validated.record_count(),
            validated.max_timestamp(),
            validated.max_timestamp_delta()
        ),
        (3, T + 5, 1)
    );
    let batch = validated.into_batch();
    assert!(matches!(batch, Cow::Borrowed(_)) && batch == bytes);
}

#[test]
fn stamping_in_place_equals_stamping_a_copy() {
    let append_time = TopicRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..TopicRules::default()
    };
    for compression in Compression::ALL {
        let mut wrong = batch_of(&[T, T + 9, T + 3], compression);
        turgo_net::records::patch_max_timestamp(&mut wrong, 12);
        for rules in [TopicRules::default(), append_time] {
            let mut validator = validator();
            let validated = validator.validate(Some(&wrong), 11, &rules, NOW).unwrap();
            let change = validated.change().clone();
            let max_timestamp = validated.max_timestamp();
            let copy = validated.into_batch().into_owned();
            let mut in_place = wrong.clone();
            assert!(Validated::apply(&change, &mut in_place));
            assert_eq!(in_place, copy);
            let view = BatchView::first(&copy).unwrap();
            assert!(view.crc_ok());
            assert_eq!(
                (view.max_timestamp(), view.attributes().timestamp_type()),
                (max_timestamp, rules.timestamp_type)
            );
            let expected = if rules == append_time {
                [NOW; 3]
            } else {
                [T, T + 9, T + 3]
            };
            assert_eq!(
                seen(&copy).iter().map(|(_, t)| *t).collect::<Vec<_>>(),
                expected,
                "{compression}"
            );
        }
    }
}

#[test]
fn rewriting_keeps_records_and_header_and_gives_the_codec_of_the_topic() {
    for from in Compression::ALL {
        for to in Compression::ALL {
            for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
                let compression = TopicCompression::Codec(to, None);
                let rules = TopicRules {
                    compression,
                    timestamp_type,
                    ..TopicRules::default()
                };
                let bytes = batch_of(&[T, T + 5, T + 3], from);
                let mut validator = validator();
                let validated = validator.validate(Some(&bytes), 11, &rules, NOW).unwrap();
                assert_eq!(matches!(validated.change(), Change::Rewritten(_)), from != to);
                let stored = validated.into_batch();
                let view = BatchView::first(&stored).unwrap();
                assert!(view.crc_ok());
                assert_eq!(view.attributes().compression(), Some(to));
                let (first, second, third) = match timestamp_type {
                    TimestampType::CreateTime => (T, T + 5, T + 3),
                    TimestampType::LogAppendTime => (NOW, NOW, NOW),
                };
                assert_eq!(
                    seen(&stored),
                    [(0, first), (1, second), (2, third)],
                    "{from} to {to}"
                );
                assert_eq!(view.max_timestamp(), second);
            }
        }
    }
}

#[test]
fn record_errors_are_capped_and_all_counted() {
    let bytes = keyless(5000);
    let rules = TopicRules {
        compacted: true,
        ..TopicRules::default()
    };
    let refusal = validator().validate(Some(&bytes), 11, &rules, NOW).unwrap_err();
    assert_eq!(refusal.error, ValidateError::Records { count: 5000 });
    assert_eq!(refusal.record_errors.len(), MAX_RECORD_ERRORS);
    assert_eq!(refusal.record_errors[999].batch_index, 999);
    assert_eq!(refusal.error.code(), ErrorCode::INVALID_RECORD);
}

#[test]
fn internal_topics_segment_size_and_expansion_have_their_codes() {
    let bytes = batch_of(&[T; 10], Compression::None);
    let code = |rules: TopicRules, bytes: &[u8]| {
        validator()
            .validate(Some(bytes), 11, &rules, NOW)
            .unwrap_err()
            .error
            .code()
    };
    assert_eq!(
        code(
            TopicRules {
                internal: true,
                ..TopicRules::default()
            },
            &bytes
        ),
        ErrorCode::INVALID_TOPIC_EXCEPTION
    );
    assert_eq!(
        code(
            TopicRules {
                segment_bytes: 100,
                ..TopicRules::default()
            },
            &bytes
        ),
        ErrorCode::RECORD_LIST_TOO_LARGE
    );

    let mut bomb = BatchBuilder::new().compression(Compression::Zstd, None);
    bomb.push(T, None, Some(&vec![0; CEILING]), &[]).unwrap();
    let bomb = bomb.build(&mut Compressor::new()).unwrap();
    assert!(bomb.len() < 4096);
    for compression in [
        TopicCompression::Producer,
        TopicCompression::Codec(Compression::None, None),
    ] {
        let rules = TopicRules {
            compression,
            ..TopicRules::default()
        };
        assert_eq!(code(rules, &bomb), ErrorCode::MESSAGE_TOO_LARGE);
    }
}

#[test]
fn transactional_batches_are_told_before_anything_is_checked() {
    let mut bytes = batch_of(&[T], Compression::None);
    assert!(!is_transactional(&bytes));
    patch_attributes(&mut bytes, Attributes::default().with_transactional(true));
    bytes[17] ^= 1;
    assert!(is_transactional(&bytes));
    assert!(!is_transactional(&bytes[..40]));
}

#[test]
fn lookups_find_the_first_record_in_offset_order() {
    let mut decompressor = Decompressor::new();
    for compression in Compression::ALL {
        let mut bytes = batch_of(&[T, T + 5, T + 5, T + 1, T + 4], compression);
        patch_base_offset(&mut bytes, 100);
        let batch = BatchView::first(&bytes).unwrap();
        let mut at =
            |target, from| first_at_or_after(&batch, target, from, &mut decompressor, CEILING).unwrap();
        let found = |offset, timestamp| Some(Found { offset, timestamp });
        assert_eq!(at(0, 0), found(100, T));
        assert_eq!(at(T + 1, 0), found(101, T + 5));
        assert_eq!(at(T + 1, 103), found(103, T + 1));
        assert_eq!(at(T + 2, 103), found(104, T + 4));
        assert_eq!(at(T + 5, 103), None);
        assert_eq!(at(T + 6, 0), None);
        assert_eq!(at(0, 105), None);
        assert_eq!(
            first_at_max(&batch, &mut decompressor, CEILING),
            Ok(found(101, T + 5))
        );

        turgo_net::records::patch_log_append_time(&mut bytes, NOW);
        let batch = BatchView::first(&bytes).unwrap();
        let mut at =
            |target, from| first_at_or_after(&batch, target, from, &mut decompressor, CEILING).unwrap();
        assert_eq!(at(T, 0), found(100, NOW));
        assert_eq!(at(NOW, 102), found(102, NOW));
        assert_eq!(at(NOW + 1, 0), None);
        assert_eq!(
            first_at_max(&batch, &mut decompressor, CEILING),
            Ok(found(100, NOW))
        );
    }
}

/// Sets length and CRC to what the bytes are, so that damage reaches the checks behind them.
fn fix(bytes: &mut [u8]) {
    if bytes.len() >= BATCH_HEADER_BYTES {
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

fn any_rules() -> impl Strategy<Value = TopicRules> {
    let compression = prop_oneof![
        Just(TopicCompression::Producer),
        (0u8..5).prop_map(|id| TopicCompression::Codec(Compression::from_id(id).unwrap(), None)),
    ];
    let window = prop_oneof![Just(i64::MAX), Just(0), 0..1_000_000_000_000i64];
    (
        compression,
        any::<bool>(),
        window.clone(),
        window,
        any::<bool>(),
        60usize..2000,
    )
        .prop_map(
            |(compression, append, before, after, compacted, max)| TopicRules {
                max_message_bytes: max,
                compression,
                timestamp_type: if append {
                    TimestampType::LogAppendTime
                } else {
                    TimestampType::CreateTime
                },
                timestamp_before_max_ms: before,
                timestamp_after_max_ms: after,
                compacted,
                ..TopicRules::default()
            },
        )
}

/// What is let through has all the properties that the module promises.
fn check_promises(bytes: &[u8], rules: &TopicRules, version: i16) {
    let mut validator = Validator::new(1 << 20);
    match validator.validate(Some(bytes), version, rules, NOW) {
        Err(refusal) => {
            assert_ne!(refusal.error.code(), ErrorCode::NONE);
            let _ = refusal.to_string();
        }
        Ok(validated) => {
            let (count, max, delta) = (
                validated.record_count(),
                validated.max_timestamp(),
                validated.max_timestamp_delta(),
            );
            let stored_bytes = validated.stored_bytes();
            let batch = validated.into_batch();
            assert_eq!(stored_bytes, batch.len());
            assert!(batch.len() <= rules.max_message_bytes);
            let view = BatchView::first(&batch).unwrap();
            assert_eq!(view.total_bytes(), batch.len());
            assert!(view.crc_ok() && !view.attributes().is_control());
            assert_eq!(view.attributes().timestamp_type(), rules.timestamp_type);
            assert_eq!(
                (
                    view.record_count(),
                    view.last_offset_delta(),
                    view.max_timestamp()
                ),
                (count, count - 1, max)
            );
            if let TopicCompression::Codec(codec, _) = rules.compression {
                assert_eq!(view.attributes().compression(), Some(codec));
            }
            let mut decompressor = Decompressor::new();
            let records: RecordIter<'_> = view.records(&mut decompressor, 1 << 20).unwrap();
            let mut largest = NO_TIMESTAMP;
            for (at, record) in records.enumerate() {
                let record = record.unwrap();
                assert_eq!(record.offset, at as i64);
                assert!(record.key.is_some() || !rules.compacted);
                largest = largest.max(record.timestamp);
                if at == delta as usize && max != NO_TIMESTAMP {
                    assert_eq!(record.timestamp, max);
                }
            }
            assert_eq!(largest, max);
            if max != NO_TIMESTAMP {
                let found = first_at_max(&view, &mut decompressor, 1 << 20).unwrap().unwrap();
                assert_eq!((found.offset, found.timestamp), (i64::from(delta), max));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_passes_keeps_the_promises(
        timestamps in proptest::collection::vec(prop_oneof![any::<i64>(), T..NOW, Just(-1)], 1..12),
        keys in any::<bool>(),
        codec in 0u8..5,
        rules in any_rules(),
        version in 3i16..13,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in proptest::collection::vec(any::<u8>(), 0..20),
        fixed in any::<bool>(),
    ) {
        let mut builder = BatchBuilder::new().compression(Compression::from_id(codec).unwrap(), None);
        for timestamp in &timestamps {
            builder.push(*timestamp, keys.then_some(&b"k"[..]), Some(b"some value"), &[]).unwrap();
        }
        let mut bytes = builder.build(&mut Compressor::new()).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if fixed {
            fix(&mut bytes);
        }
        bytes.extend_from_slice(&tail);
        check_promises(&bytes, &rules, version);
    }

    #[test]
    fn noise_is_refused_or_keeps_the_promises(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        rules in any_rules(),
        attributes in 0i16..0x80,
        count in 1i32..20,
    ) {
        check_promises(&noise, &rules, 11);
        let mut bytes = batch_of(&[T], Compression::None);
        bytes.truncate(BATCH_HEADER_BYTES);
        bytes.extend_from_slice(&noise);
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        fix(&mut bytes);
        check_promises(&bytes, &rules, 11);
    }
}
