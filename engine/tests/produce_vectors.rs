//! Promise: a partition's records are accepted, refused and changed as Apache Kafka 4.3.1 does it, but for the
//! deviations named here and explained in `docs/protocol-validation.md`.
//!
//! `vectors/produce.json` holds what a real broker answered and stored (`vectors/ask_broker.py`).

use serde_json::Value;
use turgo_engine::validate::{
    Change, MAX_RECORD_ERRORS, TopicCompression, TopicRules, Validator, is_transactional,
};
use turgo_net::records::{
    BatchView, Compression, Decompressor, TimestampType, patch_leader_epoch, patch_log_append_time,
};

/// A moment after the vectors' ordinary timestamps and before their future ones.
const NOW: i64 = 1_795_000_000_000;
const CEILING: usize = 64 << 20;

/// Where we differ: name of the vector or, before a `*`, the start of it; Kafka's code; ours.
/// `None` for Kafka means that it does not answer at all.
const DEVIATIONS: &[(&str, Option<i64>, i64)] = &[
    // Kafka fails on the null inside and never answers.
    ("records_null", None, 87),
    // An int32 overflows.
    ("length_field_2147483647", Some(-1), 87),
    // A number that names no codec.
    ("codec_*", Some(-1), 76),
    // Data that does not decompress: Kafka's reader throws what its handler does not know.
    ("gzip_*", Some(-1), 87),
    ("snappy_*", Some(-1), 87),
    ("lz4_*", Some(-1), 87),
    ("zstd_*", Some(-1), 87),
    // Offset deltas: Kafka trusts them when uncompressed, and fails when compressed.
    ("offset_delta*_uncompressed", Some(0), 87),
    ("offset_delta*_gzip", Some(-1), 87),
    // Kafka's skipping reader does not hold a compressed record to its length, and stores what consumers cannot read.
    ("record_length_*_gzip", Some(0), 87),
    ("record_length_six_bytes_uncompressed", Some(-1), 87),
];

/// Accepted by both, and stored otherwise: with bit 3 set on a CreateTime topic Kafka keeps the header's maximum.
const STORED_OTHERWISE: &[&str] = &["append_time_bit_and_other_maximum*"];

/// Known to a later step than validation: producer state in storage.
const LATER: &[&str] = &["producer_with_epoch_-2"];

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    }
}

fn vectors() -> Vec<Value> {
    match serde_json::from_str(include_str!("vectors/produce.json")).expect("valid JSON") {
        Value::Array(vectors) => vectors,
        other => panic!("not a list: {other}"),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

fn rules(config: &Value) -> TopicRules {
    let mut rules = TopicRules::default();
    for (key, value) in config.as_object().expect("an object") {
        let value = value.as_str().expect("a string");
        let number = || value.parse::<i64>().expect("a number");
        match key.as_str() {
            "max.message.bytes" => rules.max_message_bytes = number() as usize,
            "compression.type" if value == "producer" => rules.compression = TopicCompression::Producer,
            "compression.type" => {
                rules.compression = TopicCompression::Codec(value.parse().expect("a codec"), None)
            }
            "message.timestamp.type" => rules.timestamp_type = TimestampType::LogAppendTime,
            "message.timestamp.before.max.ms" => rules.timestamp_before_max_ms = number(),
            "message.timestamp.after.max.ms" => rules.timestamp_after_max_ms = number(),
            "cleanup.policy" => rules.compacted = value.contains("compact"),
            other => panic!("unknown setting {other}"),
        }
    }
    rules
}

#[test]
fn answers_and_stored_bytes_are_those_of_kafka() {
    let mut validator = Validator::new(CEILING);
    let mut used = vec![false; DEVIATIONS.len()];
    let mut wrong = Vec::new();
    for vector in vectors() {
        let name = vector["name"].as_str().expect("a name");
        let expected = &vector["expected"];
        let records = vector["records"].as_str().map(unhex);
        let version = vector["api_version"].as_i64().expect("a version") as i16;
        let rules = rules(&vector["config"]);
        let kafka = expected["error_code"].as_i64();

        let result = validator.validate(records.as_deref(), version, &rules, NOW);
        let ours = match &result {
            _ if records.as_deref().is_some_and(is_transactional) => 53,
            Ok(_) => 0,
            Err(refusal) => i64::from(refusal.error.code().0),
        };
        if LATER.contains(&name) {
            assert_eq!(ours, 0, "{name}");
            continue;
        }
        if Some(ours) != kafka {
            match DEVIATIONS
                .iter()
                .position(|(p, k, o)| matches(p, name) && *k == kafka && *o == ours)
            {
                Some(at) => used[at] = true,
                None => wrong.push(format!(
                    "{name}: Kafka {kafka:?}, ours {ours} ({:?})",
                    result.err()
                )),
            }
            continue;
        }
        match result {
            Ok(_) if ours != 0 => {}
            Err(refusal) => {
                let told: Vec<i64> = refusal
                    .record_errors
                    .iter()
                    .map(|e| i64::from(e.batch_index))
                    .collect();
                let indexes = expected["record_errors"].as_array();
                if let Some(indexes) = indexes
                    && indexes[..indexes.len().min(MAX_RECORD_ERRORS)] != told
                {
                    wrong.push(format!("{name}: record errors {indexes:?}, ours {told:?}"));
                }
            }
            Ok(validated) => {
                let rewritten = matches!(validated.change(), Change::Rewritten(_));
                let mut batch = validated.into_batch().into_owned();
                patch_leader_epoch(&mut batch, 0);
                let stored = match expected["stored"].as_str() {
                    Some("same") => {
                        let mut same = records.expect("accepted records");
                        patch_leader_epoch(&mut same, 0);
                        same
                    }
                    Some(hex) => unhex(hex),
                    None => panic!("{name}: accepted and not stored"),
                };
                let difference = difference(&batch, stored, rewritten);
                if STORED_OTHERWISE.iter().any(|pattern| matches(pattern, name)) {
                    assert!(
                        difference.is_some(),
                        "{name} is listed as stored otherwise and is not"
                    );
                } else if let Some(difference) = difference {
                    wrong.push(format!("{name}: {difference}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for (deviation, used) in DEVIATIONS.iter().zip(used) {
        assert!(used, "no vector shows the deviation {deviation:?}");
    }
}

/// How `ours` differs from what Kafka stored. Other codecs may pack the same records differently.
fn difference(ours: &[u8], mut stored: Vec<u8>, rewritten: bool) -> Option<String> {
    let theirs = BatchView::first(&stored).expect("Kafka stores whole batches");
    if theirs.attributes().timestamp_type() == TimestampType::LogAppendTime {
        patch_log_append_time(&mut stored, NOW);
    }
    let (ours, theirs) = (
        BatchView::first(ours).expect("a batch"),
        BatchView::first(&stored).expect("a batch"),
    );
    if !ours.crc_ok() || ours.bytes().len() != ours.total_bytes() {
        return Some("ours is no good batch".into());
    }
    if !rewritten {
        return (ours.bytes() != theirs.bytes()).then(|| format!("ours {ours:?}\nKafka's {theirs:?}"));
    }
    let fields = |b: &BatchView<'_>| {
        let producer = (b.producer_id(), b.producer_epoch(), b.base_sequence());
        let times = (b.base_timestamp(), b.max_timestamp());
        (
            b.base_offset(),
            b.last_offset_delta(),
            b.record_count(),
            b.attributes(),
            times,
            producer,
        )
    };
    if fields(&ours) != fields(&theirs) {
        return Some(format!("ours {ours:?}\nKafka's {theirs:?}"));
    }
    let codec = ours.attributes().compression().unwrap_or(Compression::None);
    let unpack = |b: &BatchView<'_>| {
        Decompressor::new()
            .decompress(codec, b.payload(), CEILING)
            .map(<[u8]>::to_vec)
    };
    (unpack(&ours) != unpack(&theirs)).then(|| "other records".into())
}
