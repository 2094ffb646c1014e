//! Requests and answers as bytes, for what no client library sends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use turgo_net::api::ApiKey;
use turgo_net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use turgo_net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use turgo_net::wire::Encode;
use turgo_net::{Reader, ResponseHeader, encode_request};

use super::Broker;

/// A connection that sends requests byte for byte.
pub struct Client(TcpStream);

impl Client {
    pub fn connect(broker: &Broker) -> Client {
        let stream = TcpStream::connect(broker.endpoint()).expect("the broker accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        Client(stream)
    }

    /// Sends `body` and gives the answer's bytes behind the header.
    pub fn ask<M: Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Vec<u8> {
        let frame = encode_request(key, version, 7, Some("conformance"), body)
            .expect("a valid request")
            .to_vec();
        self.0.write_all(&frame).expect("sent");
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("answered");
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer).expect("an answer is whole");
        let mut reader = Reader::new(&answer);
        ResponseHeader::decode(&mut reader, key, version).expect("a header");
        let rest = reader.remaining();
        answer.split_off(answer.len() - rest)
    }
}

/// Three records, as `engine/tests/vectors/produce.json` has them.
pub fn batch() -> Vec<u8> {
    let hex = "0000000000000000000000b5ffffffff028c1b63f80000000000020000018bcfe568000000018bcfe56802ffffffffffffffff\
               ffffffffffff0000000356000000066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c\
               75650056000202066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c75650056000404\
               066b657944612076616c75652c20612076616c75652c20612076616c75652c20612076616c756500";
    let digit = |c: u8| (c as char).to_digit(16).expect("a hexadecimal digit") as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Creates a topic whose records are kept for ever, as those of [`batch`] are old, and waits until it is served. The
/// name is made unique, for brokers that live longer than a test.
pub fn create(client: &mut Client, name: &str, partitions: i32, setting: Option<(&str, &str)>) -> String {
    let name = format!("{name}-{}", std::process::id());
    let settings = [("retention.ms", "-1")].into_iter().chain(setting);
    let topic = CreatableTopic {
        name: name.clone().into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: settings
            .map(|(name, value)| CreatableTopicConfig {
                name: name.to_owned().into(),
                value: Some(value.to_owned().into()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 20_000,
        ..Default::default()
    };
    let answer = client.ask(ApiKey::CreateTopics, 5, &request);
    let created = CreateTopicsResponse::decode(&mut Reader::new(&answer), 5).expect("a body");
    assert_eq!(created.topics[0].error_code, 0);
    let offsets = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: name.clone().into(),
            partitions: (0..partitions)
                .map(|partition_index| ListOffsetsPartition {
                    partition_index,
                    current_leader_epoch: -1,
                    timestamp: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    loop {
        let answer = client.ask(ApiKey::ListOffsets, 6, &offsets);
        let listed = ListOffsetsResponse::decode(&mut Reader::new(&answer), 6).expect("a body");
        if listed.topics[0].partitions.iter().all(|p| p.error_code == 0) {
            return name;
        }
    }
}
