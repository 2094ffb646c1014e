//! What a broker says of its own latency adds up: the stages of a produce make the whole.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{Broker, wait_for};
use turgo_net::header::encode_request;
use turgo_net::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::records::BatchBuilder;
use turgo_net::wire::Encode;
use turgo_net::{ApiKey, Records, Writer};

const REQUESTS: u64 = 300;

fn call<M: Encode>(stream: &mut TcpStream, api: ApiKey, version: i16, body: &M) {
    let request = encode_request(api, version, 1, Some("stages"), body)
        .map(Writer::to_vec)
        .expect("encodes");
    stream.write_all(&request).expect("sent");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("answered");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("answered");
}

/// Sum of one series over all shards.
fn total(page: &str, series: &str, label: &str) -> f64 {
    page.lines()
        .filter(|line| line.starts_with(&format!("{series}{{")) && line.contains(label))
        .map(|line| {
            line.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<f64>()
                .expect("a number")
        })
        .sum()
}

#[test]
fn the_stages_of_a_produce_make_the_whole() {
    let broker = Broker::start();
    let mut stream = TcpStream::connect(broker.endpoint()).expect("accepted");
    stream.set_nodelay(true).expect("nodelay");
    let topic = CreatableTopic {
        name: "stages".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 10_000,
        ..Default::default()
    };
    call(&mut stream, ApiKey::CreateTopics, 5, &create);
    for i in 0..REQUESTS {
        let mut batch = BatchBuilder::new();
        batch
            .push(i as i64, None, Some(b"one record of a few bytes"), &[])
            .expect("fits");
        let batch = batch.build_uncompressed();
        let produce = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: "stages".into(),
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Records::Slice(&batch),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        call(&mut stream, ApiKey::Produce, 9, &produce);
    }
    // Figures are published once a second.
    let why = || format!("{REQUESTS} requests in {:?}", broker.admin_get("/metrics"));
    let page = wait_for(Duration::from_secs(20), why, || {
        let page = broker.admin_get("/metrics").expect("metrics");
        let counted = total(&page, "turgo_request_stage_seconds_count", "stage=\"device\"");
        (counted >= REQUESTS as f64).then_some(page)
    });
    let sum = |stage: &str| {
        total(
            &page,
            "turgo_request_stage_seconds_sum",
            &format!("stage=\"{stage}\""),
        )
    };
    let whole = total(&page, "turgo_request_seconds_sum", "request=\"produce\"");
    let parts: f64 = ["append", "hop", "journal", "device", "commit"]
        .map(sum)
        .iter()
        .sum();
    assert!(sum("device") > 0.0 && sum("write") > 0.0, "{page}");
    // Each stage is rounded to microseconds and to 1 %; what lies between two stages is not theirs.
    let rounding = REQUESTS as f64 * 5.0 * 1e-6 + 0.02 * whole;
    assert!(parts <= whole + rounding, "stages {parts} s of {whole} s\n{page}");
    assert!(parts >= whole * 0.7, "stages {parts} s of {whole} s\n{page}");
}
