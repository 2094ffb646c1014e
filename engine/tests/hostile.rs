//! Input that no honest client sends: the answer is Kafka's error code or a closed connection, memory stays bounded,
//! and nobody else notices.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::Broker;
use turgo_engine::apis;
use turgo_net::api::ApiKey;
use turgo_net::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use turgo_net::messages::metadata::{MetadataRequest, MetadataResponse};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::wire::Encode;
use turgo_net::{ErrorCode, Reader, Records, ResponseHeader, encode_request};

const PATIENCE: Duration = Duration::from_secs(20);

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.endpoint()).expect("the broker accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
    stream
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn request<M: Encode>(key: ApiKey, version: i16, body: &M) -> Vec<u8> {
    encode_request(key, version, 7, Some("hostile"), body)
        .expect("a valid request")
        .to_vec()
}

/// One whole answer, or `None` if the broker closed the connection.
fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Ok(()) => {}
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            return None;
        }
        Err(e) => panic!("neither an answer nor an end: {e}"),
    }
    let mut body = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut body).expect("an answer is whole");
    Some(body)
}

/// The broker answers an honest client.
fn still_serves(broker: &Broker) {
    let mut stream = connect(broker);
    let ask = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    stream
        .write_all(&request(ApiKey::Metadata, 9, &ask))
        .expect("sent");
    let body = answer(&mut stream).expect("answered");
    let mut reader = Reader::new(&body);
    ResponseHeader::decode(&mut reader, ApiKey::Metadata, 9).expect("a header");
    let metadata = MetadataResponse::decode(&mut reader, 9).expect("a body");
    assert_eq!(metadata.brokers.len(), 1);
}

/// A sequence that looks random and is the same in every run (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[test]
fn what_is_no_request_closes_the_connection_and_only_that_one() {
    let broker = Broker::start();
    let oversized = (101i32 << 20).to_be_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", vec![0xFF, 0xFF, 0xFF, 0xFF]),
        ("the most negative length", vec![0x80, 0, 0, 0]),
        ("a length above the ceiling", oversized.to_vec()),
        ("an empty frame", frame(&[])),
        ("a frame below a header", frame(&[0, 18, 0])),
        (
            "an unknown API",
            frame(&[0x7F, 0xFF, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF]),
        ),
        (
            "a negative API",
            frame(&[0xFF, 0xFE, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF]),
        ),
        (
            "an API for controllers",
            frame(&[0, 52, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF]),
        ),
        (
            "Produce below version 3",
            frame(&[0, 0, 0, 2, 0, 0, 0, 1, 0xFF, 0xFF, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "Metadata above its range",
            frame(&[0, 3, 0, 99, 0, 0, 0, 1, 0xFF, 0xFF, 0, 0, 0, 0]),
        ),
        (
            "a client id longer than the frame",
            frame(&[0, 3, 0, 0, 0, 0, 0, 1, 0x7F, 0xFF]),
        ),
        (
            "a count of two thousand million",
            frame(&[0, 3, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]),
        ),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "a TLS greeting",
            vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03],
        ),
    ];
    for (what, bytes) in cases {
        let mut stream = connect(&broker);
        stream.write_all(&bytes).expect("sent");
        // HTTP and TLS begin with what would be a length far above the ceiling.
        assert!(answer(&mut stream).is_none(), "{what} was answered");
        still_serves(&broker);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = Broker::start();
    for version in [5i16, 99, i16::MAX, -1] {
        let mut body = vec![0, 18];
        body.extend_from_slice(&version.to_be_bytes());
        body.extend_from_slice(&[0, 0, 0, 9, 0xFF, 0xFF, 0]);
        let mut stream = connect(&broker);
        stream.write_all(&frame(&body)).expect("sent");
        let Some(answer) = answer(&mut stream) else {
            assert_eq!(version, -1, "version {version} got no answer");
            continue;
        };
        let mut reader = Reader::new(&answer);
        assert_eq!(reader.i32().expect("a correlation id"), 9);
        let response = ApiVersionsResponse::decode(&mut reader, 0).expect("version 0");
        assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
        assert!(
            response
                .api_keys
                .iter()
                .any(|k| k.api_key == 18 && k.max_version == 4)
        );
        // The connection goes on, as a client tries again on it.
        let again = ApiVersionsRequest::default();
        stream
            .write_all(&request(ApiKey::ApiVersions, 0, &again))
            .expect("sent");
        assert!(
            self::answer(&mut stream).is_some(),
            "the second try was not answered"
        );
    }
}

#[test]
fn noise_in_every_api_and_version_harms_nobody() {
    let broker = Broker::start();
    still_serves(&broker);
    let before = broker.resident_bytes();
    let mut noise = Noise(42);
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(5);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut sent = 0u64;
    let mut stream = connect(&broker);
    while Instant::now() < until {
        let api = apis::SERVED[noise.next() as usize % apis::SERVED.len()];
        let (min, max) = apis::served(api).expect("served");
        let version = min + (noise.next() % (max - min + 1) as u64) as i16;
        let mut body = (api as i16).to_be_bytes().to_vec();
        body.extend_from_slice(&version.to_be_bytes());
        body.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'x']);
        let n = noise.next() as usize % 300;
        // Small numbers look more like a request than noise does.
        let tail: Vec<u8> = noise
            .bytes(n)
            .into_iter()
            .map(|b| {
                if b < 128 {
                    0
                } else if b < 192 {
                    b % 8
                } else {
                    b
                }
            })
            .collect();
        body.extend_from_slice(&tail);
        sent += 1;
        if stream.write_all(&frame(&body)).is_err() {
            stream = connect(&broker);
            continue;
        }
        // Whether it is closed, answered or parked is the broker's business; some fetches wait.
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout can be set");
        let mut sink = [0; 4096];
        match stream.read(&mut sink) {
            Ok(n) if n > 0 => {}
            _ => stream = connect(&broker),
        }
    }
    still_serves(&broker);
    if let (Some(before), Some(after)) = (before, broker.resident_bytes()) {
        assert!(
            after < before + (256 << 20),
            "{sent} requests took memory from {} to {} MiB",
            mib(before),
            mib(after)
        );
    }
    assert!(sent > 50, "only {sent} requests in {seconds} s");
}

#[test]
fn frames_that_never_end_cost_no_memory() {
    let broker = Broker::start();
    still_serves(&broker);
    let before = broker.resident_bytes();
    // Two hundred promises of 100 MiB each, of which a few bytes come.
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&broker);
        stream.write_all(&(100i32 << 20).to_be_bytes()).expect("sent");
        stream.write_all(&[0, 0, 0, 9, 0, 0, 0, 1]).expect("sent");
        held.push(stream);
    }
    still_serves(&broker);
    if let (Some(before), Some(after)) = (before, broker.resident_bytes()) {
        assert!(
            after < before + (128 << 20),
            "memory went from {} to {} MiB",
            mib(before),
            mib(after)
        );
    }
}

#[test]
fn a_client_that_never_reads_is_not_read_for_ever() {
    let broker = Broker::start();
    still_serves(&broker);
    let before = broker.resident_bytes();
    let mut stream = connect(&broker);
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout can be set");
    let ask = request(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    // The broker stops reading once its answers are not taken, so at some point nothing more can be sent.
    let mut sent = 0usize;
    let blocked = loop {
        match stream.write(&ask) {
            Ok(n) => sent += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break true,
            Err(_) => break false,
        }
        assert!(
            sent < 512 << 20,
            "half a GiB of requests was read although no answer was taken"
        );
    };
    assert!(blocked, "the connection was closed");
    still_serves(&broker);
    if let (Some(before), Some(after)) = (before, broker.resident_bytes()) {
        assert!(
            after < before + (64 << 20),
            "memory went from {} to {} MiB",
            mib(before),
            mib(after)
        );
    }
}

#[test]
fn a_failed_produce_without_acks_closes_the_connection() {
    let broker = Broker::start();
    let mut stream = connect(&broker);
    let produce = ProduceRequest {
        acks: 0,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: "there-is-no-such-topic".into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Records::Slice(&[1, 2, 3]),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    stream
        .write_all(&request(ApiKey::Produce, 9, &produce))
        .expect("sent");
    assert!(answer(&mut stream).is_none(), "acks=0 has no answer");
    still_serves(&broker);
}
