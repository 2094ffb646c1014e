//! A scripted broker: two nodes over one memory, which stalls, loses, repeats, reorders, corrupts and moves leaders on
//! order. What the tool must say about each is known in advance.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use turgo_net::api::ApiKey;
use turgo_net::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use turgo_net::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use turgo_net::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use turgo_net::messages::describe_configs::{DescribeConfigsResponse, DescribeConfigsResult};
use turgo_net::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use turgo_net::messages::init_producer_id::InitProducerIdResponse;
use turgo_net::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use turgo_net::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use turgo_net::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use turgo_net::records::{BatchView, patch_base_offset};
use turgo_net::wire::Encode;
use turgo_net::{FrameReader, Reader, RequestHeader, encode_response};

/// What happens to batches, by their number in the order of arrival (of all partitions), from 0.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Before this batch is answered, everything stands still for so long.
    pub stall: Option<(u64, Duration)>,
    /// Acknowledged and not kept.
    pub lose: Option<u64>,
    /// Kept twice.
    pub repeat: Option<u64>,
    /// Kept behind the next one.
    pub reorder: Option<u64>,
    /// One byte of it changes; the CRC of the batch is made to fit.
    pub corrupt: Option<u64>,
    /// From this batch on the other node leads; this one refuses.
    pub move_leader: Option<u64>,
    /// The connection is closed instead of answering, after the batch was kept.
    pub hang_up: Option<u64>,
    /// Answers of this many microseconds for each produce request.
    pub service_us: u64,
}

#[derive(Default)]
struct Memory {
    /// Batches by topic and partition.
    logs: BTreeMap<(String, i32), Vec<Vec<u8>>>,
    ends: HashMap<(String, i32), i64>,
    partitions: BTreeMap<String, i32>,
    /// Last sequence kept of (producer, topic, partition).
    sequences: HashMap<(i64, String, i32), i32>,
    held: Option<(String, i32, Vec<u8>)>,
}

/// The broker.
pub struct Fake {
    memory: Mutex<Memory>,
    grown: Condvar,
    script: Script,
    batches: AtomicU64,
    leader: AtomicI32,
    ports: [u16; 2],
    ids: AtomicU64,
}

const NOT_LEADER: i16 = 6;
/// How long a fetch waits for a batch.
const POLL: Duration = Duration::from_millis(20);

impl Fake {
    /// Starts two nodes; returns the broker and the address of the first.
    pub fn start(script: Script) -> (Arc<Fake>, String) {
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = [0, 1].map(|i| listeners[i].local_addr().expect("bound").port());
        let fake = Arc::new(Fake {
            memory: Mutex::default(),
            grown: Condvar::new(),
            script,
            batches: AtomicU64::new(0),
            leader: AtomicI32::new(1),
            ports,
            ids: AtomicU64::new(1),
        });
        for (listener, node) in listeners.into_iter().zip(1..) {
            let fake = fake.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let fake = fake.clone();
                    std::thread::spawn(move || fake.serve(stream, node));
                }
            });
        }
        (fake, format!("127.0.0.1:{}", ports[0]))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn serve(&self, mut stream: TcpStream, node: i32) {
        let _ = stream.set_nodelay(true);
        let mut frames = FrameReader::new(64 << 20);
        loop {
            while let Ok(Some(frame)) = frames.next_frame() {
                let Some(answer) = self.handle(&frame, node) else {
                    return;
                };
                if !answer.is_empty() && stream.write_all(&answer).is_err() {
                    return;
                }
            }
            match stream.read(frames.space()) {
                Ok(0) | Err(_) => return,
                Ok(n) => frames.filled(n),
            }
        }
    }

    /// The answer; empty: none is due; `None`: hang up.
    fn handle(&self, frame: &[u8], node: i32) -> Option<Vec<u8>> {
        let mut r = Reader::new(frame);
        let header = RequestHeader::decode(&mut r).expect("a header");
        let key = ApiKey::try_from(header.api_key).expect("a known api");
        let version = header.api_version;
        let id = header.correlation_id;
        match key {
            ApiKey::ApiVersions => {
                let served = [
                    ApiKey::Produce,
                    ApiKey::Fetch,
                    ApiKey::ListOffsets,
                    ApiKey::Metadata,
                    ApiKey::ApiVersions,
                    ApiKey::CreateTopics,
                    ApiKey::DeleteTopics,
                    ApiKey::InitProducerId,
                    ApiKey::DescribeConfigs,
                ];
                let api_keys = served
                    .map(|k| ApiVersion {
                        api_key: k as i16,
                        min_version: k.valid_versions().min,
                        max_version: k.valid_versions().max,
                    })
                    .to_vec();
                reply(
                    key,
                    version,
                    id,
                    &ApiVersionsResponse {
                        api_keys,
                        ..Default::default()
                    },
                )
            }
            ApiKey::Metadata => self.metadata(
                &MetadataRequest::decode(&mut r, version).expect("valid"),
                version,
                id,
            ),
            ApiKey::CreateTopics => {
                let request = CreateTopicsRequest::decode(&mut r, version).expect("valid");
                let mut memory = self.lock();
                let topics = request
                    .topics
                    .iter()
                    .map(|t| {
                        let fresh = memory
                            .partitions
                            .insert(t.name.to_string(), t.num_partitions)
                            .is_none();
                        let error_code = if fresh { 0 } else { 36 };
                        CreatableTopicResult {
                            name: t.name.clone(),
                            error_code,
                            ..Default::default()
                        }
                    })
                    .collect();
                reply(
                    key,
                    version,
                    id,
                    &CreateTopicsResponse {
                        topics,
                        ..Default::default()
                    },
                )
            }
            ApiKey::DeleteTopics => {
                let request = DeleteTopicsRequest::decode(&mut r, version).expect("valid");
                let mut memory = self.lock();
                let responses = request
                    .topics
                    .iter()
                    .map(|t| {
                        let name = t.name.clone().unwrap_or_default();
                        memory.partitions.remove(&*name);
                        DeletableTopicResult {
                            name: Some(name),
                            ..Default::default()
                        }
                    })
                    .collect();
                reply(
                    key,
                    version,
                    id,
                    &DeleteTopicsResponse {
                        responses,
                        ..Default::default()
                    },
                )
            }
            ApiKey::InitProducerId => {
                let producer_id = self.ids.fetch_add(1, Ordering::Relaxed) as i64;
                reply(
                    key,
                    version,
                    id,
                    &InitProducerIdResponse {
                        producer_id,
                        ..Default::default()
                    },
                )
            }
            ApiKey::DescribeConfigs => {
                let results = vec![DescribeConfigsResult {
                    resource_type: 2,
                    ..Default::default()
                }];
                reply(
                    key,
                    version,
                    id,
                    &DescribeConfigsResponse {
                        results,
                        ..Default::default()
                    },
                )
            }
            ApiKey::ListOffsets => self.offsets(
                &ListOffsetsRequest::decode(&mut r, version).expect("valid"),
                version,
                id,
            ),
            ApiKey::Produce => self.produce(
                &ProduceRequest::decode(&mut r, version).expect("valid"),
                version,
                id,
                node,
            ),
            ApiKey::Fetch => self.fetch(
                &FetchRequest::decode(&mut r, version).expect("valid"),
                version,
                id,
                node,
            ),
            other => panic!("not served: {other}"),
        }
    }

    fn metadata(&self, request: &MetadataRequest<'_>, version: i16, id: i32) -> Option<Vec<u8>> {
        let memory = self.lock();
        let leader_id = self.leader.load(Ordering::SeqCst);
        let brokers = [1, 2]
            .map(|n| MetadataResponseBroker {
                node_id: n,
                host: "127.0.0.1".into(),
                port: i32::from(self.ports[n as usize - 1]),
                ..Default::default()
            })
            .to_vec();
        let topics = request
            .topics
            .iter()
            .flatten()
            .filter_map(|t| t.name.clone())
            .map(|name| match memory.partitions.get(&*name) {
                None => MetadataResponseTopic {
                    error_code: 3,
                    name: Some(name),
                    ..Default::default()
                },
                Some(count) => MetadataResponseTopic {
                    name: Some(name),
                    partitions: (0..*count)
                        .map(|partition_index| MetadataResponsePartition {
                            partition_index,
                            leader_id,
                            leader_epoch: leader_id,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                },
            })
            .collect();
        reply(
            ApiKey::Metadata,
            version,
            id,
            &MetadataResponse {
                brokers,
                topics,
                ..Default::default()
            },
        )
    }

    fn offsets(&self, request: &ListOffsetsRequest<'_>, version: i16, id: i32) -> Option<Vec<u8>> {
        let memory = self.lock();
        let topics = request
            .topics
            .iter()
            .map(|t| ListOffsetsTopicResponse {
                name: t.name.clone(),
                partitions: t
                    .partitions
                    .iter()
                    .map(|p| {
                        let end = memory
                            .ends
                            .get(&(t.name.to_string(), p.partition_index))
                            .copied()
                            .unwrap_or(0);
                        ListOffsetsPartitionResponse {
                            partition_index: p.partition_index,
                            offset: if p.timestamp == -2 { 0 } else { end },
                            ..Default::default()
                        }
                    })
                    .collect(),
            })
            .collect();
        reply(
            ApiKey::ListOffsets,
            version,
            id,
            &ListOffsetsResponse {
                topics,
                ..Default::default()
            },
        )
    }

    fn produce(&self, request: &ProduceRequest<'_>, version: i16, id: i32, node: i32) -> Option<Vec<u8>> {
        std::thread::sleep(Duration::from_micros(self.script.service_us));
        let mut hang_up = false;
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut partition_responses = Vec::new();
            for p in &topic.partition_data {
                let number = self.batches.fetch_add(1, Ordering::SeqCst);
                if let Some((at, time)) = self.script.stall
                    && number == at
                {
                    std::thread::sleep(time);
                }
                if self.script.move_leader == Some(number) {
                    self.leader.store(2, Ordering::SeqCst);
                }
                let error_code = if self.leader.load(Ordering::SeqCst) == node {
                    let kept = self.keep(&topic.name, p.index, p.records.to_vec(), number);
                    self.grown.notify_all();
                    kept
                } else {
                    NOT_LEADER
                };
                hang_up |= self.script.hang_up == Some(number);
                partition_responses.push(PartitionProduceResponse {
                    index: p.index,
                    error_code,
                    ..Default::default()
                });
            }
            responses.push(TopicProduceResponse {
                name: topic.name.clone(),
                partition_responses,
                ..Default::default()
            });
        }
        if hang_up {
            return None;
        }
        if request.acks == 0 {
            return Some(Vec::new());
        }
        reply(
            ApiKey::Produce,
            version,
            id,
            &ProduceResponse {
                responses,
                ..Default::default()
            },
        )
    }

    fn keep(&self, topic: &str, partition: i32, mut bytes: Vec<u8>, number: u64) -> i16 {
        const OUT_OF_ORDER: i16 = 45;
        const DUPLICATE: i16 = 46;
        let view = BatchView::first(&bytes).expect("a batch");
        assert!(view.crc_ok(), "the client sends a valid CRC");
        let mut memory = self.lock();
        if view.has_producer_id() {
            let last = memory
                .sequences
                .entry((view.producer_id(), topic.to_owned(), partition))
                .or_insert(-1);
            if view.base_sequence() <= *last {
                return DUPLICATE;
            }
            if view.base_sequence() != *last + 1 {
                return OUT_OF_ORDER;
            }
            *last = view.last_sequence();
        }
        if self.script.lose == Some(number) {
            return 0;
        }
        if self.script.corrupt == Some(number) {
            let at = bytes.len() - 5;
            bytes[at] ^= 1;
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        if self.script.reorder == Some(number) {
            memory.held = Some((topic.to_owned(), partition, bytes));
            return 0;
        }
        memory.append(topic, partition, bytes.clone());
        if self.script.repeat == Some(number) {
            memory.append(topic, partition, bytes);
        }
        if let Some((topic, partition, bytes)) = memory.held.take() {
            memory.append(&topic, partition, bytes);
        }
        0
    }

    fn fetch(&self, request: &FetchRequest<'_>, version: i16, id: i32, node: i32) -> Option<Vec<u8>> {
        let mut responses = Vec::new();
        let mut held: Vec<Vec<u8>> = Vec::new();
        let mut found: Vec<(String, i32, i64, usize)> = Vec::new();
        // A short poll in place of a long one: the client asks again.
        for patience in [POLL, Duration::ZERO] {
            let memory = self.lock();
            for topic in &request.topics {
                for p in &topic.partitions {
                    let place = (topic.topic.to_string(), p.partition);
                    let end = memory.ends.get(&place).copied().unwrap_or(0);
                    let mut bytes = Vec::new();
                    for batch in memory.logs.get(&place).into_iter().flatten() {
                        let view = BatchView::first(batch).expect("kept batches are whole");
                        if view.last_offset() >= p.fetch_offset && bytes.len() < 1 << 20 {
                            bytes.extend_from_slice(batch);
                        }
                    }
                    found.push((place.0, place.1, end, held.len()));
                    held.push(bytes);
                }
            }
            if held.iter().any(|b| !b.is_empty()) {
                break;
            }
            held.clear();
            found.clear();
            drop(self.grown.wait_timeout(memory, patience));
        }
        let refused = self.leader.load(Ordering::SeqCst) != node;
        for (topic, partition_index, high_watermark, at) in &found {
            let records = turgo_net::Records::Slice(if refused { &[] } else { &held[*at] });
            responses.push(FetchableTopicResponse {
                topic: topic.as_str().into(),
                partitions: vec![PartitionData {
                    partition_index: *partition_index,
                    error_code: if refused { NOT_LEADER } else { 0 },
                    high_watermark: *high_watermark,
                    records,
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        reply(
            ApiKey::Fetch,
            version,
            id,
            &FetchResponse {
                responses,
                ..Default::default()
            },
        )
    }
}

impl Memory {
    fn append(&mut self, topic: &str, partition: i32, mut bytes: Vec<u8>) {
        let place = (topic.to_owned(), partition);
        let end = self.ends.entry(place.clone()).or_insert(0);
        patch_base_offset(&mut bytes, *end);
        *end += i64::from(BatchView::first(&bytes).expect("a batch").record_count());
        self.logs.entry(place).or_default().push(bytes);
    }
}

fn reply<M: Encode>(key: ApiKey, version: i16, id: i32, body: &M) -> Option<Vec<u8>> {
    Some(
        encode_response(key, version, id, body)
            .expect("it can be said")
            .to_vec(),
    )
}
