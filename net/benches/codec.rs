//! What decoding and encoding a message costs, beside the crate kafka-protocol.
//!
//! `cargo bench -p turgo-net --bench codec`. Nanoseconds per message, the median of several interleaved runs on one
//! thread; without `--bench` (as under `cargo test --all-targets`) only a few iterations, to show that it works.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use turgo_net::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use turgo_net::messages::metadata::MetadataRequest;
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::{ApiKey, Reader, Records, Writer, encode_response};

const RUNS: usize = 9;

fn nanos(iterations: u32, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..iterations {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(iterations)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs ours and theirs in turn and prints both medians.
fn compare(what: &str, iterations: u32, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        a.push(nanos(iterations, &mut ours));
        b.push(nanos(iterations, &mut theirs));
    }
    let (a, b) = (median(a), median(b));
    println!(
        "{what:44} ours {a:10.1} ns   kafka-protocol {b:10.1} ns   {:5.1}x",
        b / a
    );
}

fn produce(topics: usize, partitions: i32, record_bytes: usize) -> Vec<u8> {
    let records = vec![7u8; record_bytes];
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: (0..topics)
            .map(|t| TopicProduceData {
                name: Cow::Owned(format!("topic-{t}")),
                partition_data: (0..partitions)
                    .map(|index| PartitionProduceData {
                        index,
                        records: Records::Slice(&records),
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let mut w = Writer::new();
    request.encode(&mut w, 9).expect("encodes");
    w.to_vec()
}

fn fetch_response(chunk: &Bytes, partitions: i32) -> FetchResponse<'static> {
    let partition = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1000,
        aborted_transactions: None,
        records: Records::Chunks(vec![chunk.clone()]),
        ..Default::default()
    };
    FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Cow::Borrowed("topic"),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn main() {
    let scale = if std::env::args().any(|arg| arg == "--bench") {
        1
    } else {
        10_000
    };
    let times = |n: u32| (n / scale).max(1);

    for (topics, partitions, bytes) in [(1, 1, 1024), (1, 100, 1024), (10, 100, 1024)] {
        let frame = produce(topics, partitions, bytes);
        let shared = Bytes::from(frame.clone());
        compare(
            &format!("decode Produce v9, {topics} x {partitions} partitions"),
            times(2_000_000 / (topics as u32 * partitions as u32)),
            || {
                drop(
                    black_box(ProduceRequest::decode(&mut Reader::new(black_box(&frame)), 9))
                        .expect("decodes"),
                )
            },
            || {
                let mut buf = shared.clone();
                drop(black_box(theirs::ProduceRequest::decode(black_box(&mut buf), 9)).expect("decodes"));
            },
        );
    }

    let mut w = Writer::new();
    MetadataRequest::default().encode(&mut w, 12).expect("encodes");
    let metadata = w.to_vec();
    let shared = Bytes::from(metadata.clone());
    compare(
        "decode Metadata request v12, no topics",
        times(2_000_000),
        || {
            drop(
                black_box(MetadataRequest::decode(
                    &mut Reader::new(black_box(&metadata)),
                    12,
                ))
                .expect("decodes"),
            )
        },
        || {
            let mut buf = shared.clone();
            drop(black_box(theirs::MetadataRequest::decode(black_box(&mut buf), 12)).expect("decodes"));
        },
    );

    let mut w = Writer::new();
    FetchRequest::default().encode(&mut w, 12).expect("encodes");
    let fetch = w.to_vec();
    let shared = Bytes::from(fetch.clone());
    compare(
        "decode Fetch request v12, empty",
        times(2_000_000),
        || drop(black_box(FetchRequest::decode(&mut Reader::new(black_box(&fetch)), 12)).expect("decodes")),
        || {
            let mut buf = shared.clone();
            drop(black_box(theirs::FetchRequest::decode(black_box(&mut buf), 12)).expect("decodes"));
        },
    );

    for (chunk_bytes, partitions, n) in [(64 * 1024, 1, 200_000), (1 << 20, 4, 20_000)] {
        let chunk = Bytes::from(vec![9u8; chunk_bytes]);
        let ours = fetch_response(&chunk, partitions);
        let mut w = Writer::new();
        ours.encode(&mut w, 12).expect("encodes");
        let their =
            theirs::FetchResponse::decode(&mut Bytes::from(w.to_vec()), 12).expect("they read what we write");
        compare(
            &format!(
                "encode Fetch response v12, {partitions} x {} KiB",
                chunk_bytes / 1024
            ),
            times(n),
            || {
                let parts = encode_response(ApiKey::Fetch, 12, 1, black_box(&ours))
                    .expect("encodes")
                    .into_parts();
                drop(black_box(parts));
            },
            || {
                let mut out = BytesMut::new();
                black_box(&their).encode(&mut out, 12).expect("encodes");
                drop(black_box(out));
            },
        );
    }
}
