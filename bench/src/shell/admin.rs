//! Questions to a cluster before and after a load: versions, topics, offsets, settings. Blocking, one at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use turgo_net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use turgo_net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use turgo_net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use turgo_net::messages::metadata::MetadataResponse;
use turgo_net::wire::Encode;
use turgo_net::{ErrorCode, FrameReader};

use crate::client::cluster::ClusterView;
use crate::client::requests::{CLIENT_ID, Versions};
use crate::client::{ClientError, parse, requests};

use super::clock;
use super::conn::resolve;

/// Answers may be this large.
const MAX_FRAME: usize = 128 << 20;
/// An answer that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A connect that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A topic is made, or gets its leaders, within this, ns.
const PATIENCE: u64 = 60_000_000_000;

/// One connection.
pub struct Connection {
    address: String,
    stream: TcpStream,
    frames: FrameReader,
    correlation: i32,
    /// What this broker serves.
    pub versions: Versions,
}

impl Connection {
    /// Connects and learns which versions the broker speaks.
    ///
    /// # Errors
    /// Nothing answers there, or no Kafka.
    pub fn open(address: &str) -> Result<Connection, ClientError> {
        let network = |error: std::io::Error| network(address, &error);
        let stream = TcpStream::connect_timeout(&resolve(address).map_err(network)?, CONNECT_TIMEOUT)
            .map_err(network)?;
        stream.set_nodelay(true).map_err(network)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(network)?;
        let mut connection = Connection {
            address: address.to_owned(),
            stream,
            frames: FrameReader::new(MAX_FRAME),
            correlation: 0,
            versions: Versions::default(),
        };
        let frame = connection.ask(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())?;
        let answer: ApiVersionsResponse<'_> = parse(&frame, ApiKey::ApiVersions, 0)?;
        connection.versions = Versions::new(
            answer
                .api_keys
                .iter()
                .map(|k| (k.api_key, k.min_version, k.max_version))
                .collect(),
        );
        Ok(connection)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The network failed, or the answer is none.
    pub fn ask<M: Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Result<Bytes, ClientError> {
        self.correlation += 1;
        let frame = turgo_net::encode_request(key, version, self.correlation, Some(CLIENT_ID), body)?;
        self.ask_frame(&frame.to_vec())
    }

    /// Sends a frame built before and waits for its answer.
    ///
    /// # Errors
    /// The network failed, or the answer is none.
    pub fn ask_frame(&mut self, frame: &[u8]) -> Result<Bytes, ClientError> {
        self.stream
            .write_all(frame)
            .map_err(|e| network(&self.address, &e))?;
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(frame);
            }
            let n = match self.stream.read(self.frames.space()) {
                // An io_uring in the same thread may interrupt a wait without any signal.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|e| network(&self.address, &e))?,
            };
            if n == 0 {
                return Err(network(&self.address, &std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.frames.filled(n);
        }
    }
}

fn network(address: &str, error: &std::io::Error) -> ClientError {
    ClientError::Network {
        address: address.to_owned(),
        error: error.to_string(),
    }
}

/// A cluster to ask.
pub struct Admin {
    bootstrap: Vec<Arc<str>>,
    connection: Connection,
    others: BTreeMap<i32, Connection>,
    view: ClusterView,
    /// What all its brokers serve.
    pub versions: Versions,
}

/// Ends of the log by topic and partition.
pub type Offsets = Vec<Vec<i64>>;

impl Admin {
    /// Connects to the first of `bootstrap` that answers, and asks every broker what it speaks.
    ///
    /// # Errors
    /// None answers.
    pub fn open(bootstrap: &[Arc<str>]) -> Result<Admin, ClientError> {
        let mut failure =
            ClientError::Protocol("no bootstrap server was given: say --bootstrap HOST:PORT".into());
        for address in bootstrap {
            match Connection::open(address) {
                Ok(connection) => {
                    let versions = connection.versions.clone();
                    let view = ClusterView::new(bootstrap);
                    let mut admin = Admin {
                        bootstrap: bootstrap.to_vec(),
                        connection,
                        others: BTreeMap::new(),
                        view,
                        versions,
                    };
                    admin.learn(&[])?;
                    let nodes: Vec<(i32, Arc<str>)> =
                        admin.view.nodes().map(|(n, a)| (n, a.clone())).collect();
                    for (_, address) in nodes {
                        // One that is down now speaks what its cluster speaks.
                        if let Ok(other) = Connection::open(&address) {
                            admin.versions.narrow(&other.versions);
                        }
                    }
                    return Ok(admin);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The cluster as known now.
    pub fn view(&self) -> &ClusterView {
        &self.view
    }

    /// Another connection in place of one that failed.
    fn reopen(&mut self) -> Result<(), ClientError> {
        let known: Vec<Arc<str>> = self
            .view
            .nodes()
            .map(|(_, a)| a.clone())
            .chain(self.bootstrap.iter().cloned())
            .collect();
        let mut failure = ClientError::Protocol("no broker is known".into());
        for address in known {
            match Connection::open(&address) {
                Ok(connection) => {
                    self.connection = connection;
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn ask<M: Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Result<Bytes, ClientError> {
        match self.connection.ask(key, version, body) {
            Err(ClientError::Network { .. }) => {
                self.reopen()?;
                self.connection.ask(key, version, body)
            }
            other => other,
        }
    }

    /// Asks for metadata of some topics; returns those that are not known.
    ///
    /// # Errors
    /// See [`Connection::ask`].
    pub fn learn(&mut self, topics: &[String]) -> Result<Vec<String>, ClientError> {
        let version = self.versions.of(ApiKey::Metadata)?;
        let frame = requests::metadata(version, 1, topics.iter().map(String::as_str))?.concat();
        let answer = match self.connection.ask_frame(&frame) {
            Err(ClientError::Network { .. }) => {
                self.reopen()?;
                self.connection.ask_frame(&frame)?
            }
            other => other?,
        };
        let answer: MetadataResponse<'_> = parse(&answer, ApiKey::Metadata, version)?;
        Ok(self.view.learn(&answer))
    }

    /// Waits until every partition of every topic has a leader.
    ///
    /// # Errors
    /// Not within a minute.
    pub fn await_leaders(&mut self, topics: &[String], partitions: u32) -> Result<(), ClientError> {
        let deadline = clock::now() + PATIENCE;
        loop {
            self.learn(topics)?;
            let led = |name: &String| {
                self.view.partitions(name) >= partitions as usize
                    && (0..partitions).all(|p| self.view.leader(name, p).node >= 0)
            };
            match topics.iter().find(|t| !led(t)) {
                None => return Ok(()),
                Some(name) if clock::now() > deadline => {
                    return Err(ClientError::Protocol(format!(
                        "{name}: not all of {partitions} partitions got a leader in a minute"
                    )));
                }
                Some(_) => clock::pause(50_000_000),
            }
        }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        replication: i16,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::CreateTopics)?;
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions as i32,
                replication_factor: replication,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: name.as_str().into(),
                        value: Some(value.as_str().into()),
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 60_000,
            ..Default::default()
        };
        let frame = self.ask(ApiKey::CreateTopics, version, &request)?;
        let answer: CreateTopicsResponse<'_> = parse(&frame, ApiKey::CreateTopics, version)?;
        let why = answer
            .topics
            .iter()
            .find_map(|t| t.error_message.as_deref())
            .unwrap_or("")
            .to_owned();
        refused(answer.topics.iter().map(|t| t.error_code), || {
            match why.is_empty() {
                true => format!("creating topic {name}"),
                false => format!("creating topic {name}: {why}"),
            }
        })
    }

    /// Makes a topic anew: one of this name is deleted first, and its name awaited.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn recreate_topic(
        &mut self,
        name: &str,
        partitions: u32,
        replication: i16,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        const TOPIC_EXISTS: i16 = 36;
        let deadline = clock::now() + PATIENCE;
        loop {
            match self.create_topic(name, partitions, replication, configs) {
                Err(ClientError::Refused { code, .. })
                    if code.0 == TOPIC_EXISTS && clock::now() < deadline =>
                {
                    // A broker may take its time to forget a topic.
                    let _ = self.delete_topic(name);
                    clock::pause(50_000_000);
                }
                other => return other,
            }
        }
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::DeleteTopics)?;
        let mut request = DeleteTopicsRequest {
            timeout_ms: 60_000,
            ..Default::default()
        };
        if version >= 6 {
            request.topics = vec![DeleteTopicState {
                name: Some(name.into()),
                ..Default::default()
            }];
        } else {
            request.topic_names = vec![name.into()];
        }
        let frame = self.ask(ApiKey::DeleteTopics, version, &request)?;
        let answer: DeleteTopicsResponse<'_> = parse(&frame, ApiKey::DeleteTopics, version)?;
        refused(answer.responses.iter().map(|t| t.error_code), || {
            format!("deleting topic {name}")
        })
    }

    /// Offsets of all partitions: -1 the ends, -2 the beginnings. `committed`: only up to the last stable one.
    ///
    /// # Errors
    /// A leader does not answer within a minute.
    pub fn offsets(
        &mut self,
        topics: &[String],
        partitions: u32,
        at: i64,
        committed: bool,
    ) -> Result<Offsets, ClientError> {
        let deadline = clock::now() + PATIENCE;
        loop {
            match self.try_offsets(topics, partitions, at, committed) {
                Ok(offsets) => return Ok(offsets),
                Err(error) if clock::now() > deadline => return Err(error),
                Err(_) => {
                    // Leaders move and brokers restart.
                    self.others.clear();
                    clock::pause(100_000_000);
                    let _ = self.learn(topics);
                }
            }
        }
    }

    fn try_offsets(
        &mut self,
        topics: &[String],
        partitions: u32,
        at: i64,
        committed: bool,
    ) -> Result<Offsets, ClientError> {
        let mut by_node: BTreeMap<i32, BTreeMap<usize, Vec<i32>>> = BTreeMap::new();
        for (number, name) in topics.iter().enumerate() {
            for p in 0..partitions {
                let node = self.view.leader(name, p).node;
                by_node
                    .entry(node)
                    .or_default()
                    .entry(number)
                    .or_default()
                    .push(p as i32);
            }
        }
        let mut offsets = vec![vec![-1; partitions as usize]; topics.len()];
        let version = self.versions.of(ApiKey::ListOffsets)?;
        for (node, wanted) in by_node {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(committed),
                topics: wanted
                    .into_iter()
                    .map(|(number, list)| ListOffsetsTopic {
                        name: topics[number].as_str().into(),
                        partitions: list
                            .into_iter()
                            .map(|partition_index| ListOffsetsPartition {
                                partition_index,
                                timestamp: at,
                                ..Default::default()
                            })
                            .collect(),
                    })
                    .collect(),
                ..Default::default()
            };
            if !self.others.contains_key(&node) {
                let address = self
                    .view
                    .address(node)
                    .ok_or_else(|| ClientError::Protocol("a partition has no leader".into()))?
                    .clone();
                self.others.insert(node, Connection::open(&address)?);
            }
            let Some(connection) = self.others.get_mut(&node) else {
                continue;
            };
            let frame = connection.ask(ApiKey::ListOffsets, version, &request)?;
            let answer: ListOffsetsResponse<'_> = parse(&frame, ApiKey::ListOffsets, version)?;
            for topic in &answer.topics {
                let Some(number) = topics.iter().position(|t| *t == topic.name) else {
                    continue;
                };
                for p in &topic.partitions {
                    refused(std::iter::once(p.error_code), || {
                        format!("asking {} for offsets", topics[number])
                    })?;
                    if let Some(slot) = offsets[number].get_mut(p.partition_index as usize) {
                        *slot = p.offset;
                    }
                }
            }
        }
        Ok(offsets)
    }

    /// Settings of a topic that say what an acknowledgement means, as the broker tells them.
    ///
    /// # Errors
    /// See [`Connection::ask`].
    pub fn topic_settings(&mut self, name: &str) -> Result<BTreeMap<String, String>, ClientError> {
        const TOPIC: i8 = 2;
        let version = self.versions.of(ApiKey::DescribeConfigs)?;
        let keys = [
            "durability",
            "flush.messages",
            "flush.ms",
            "min.insync.replicas",
            "compression.type",
        ];
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: TOPIC,
                resource_name: name.into(),
                configuration_keys: Some(keys.iter().map(|k| (*k).into()).collect()),
            }],
            ..Default::default()
        };
        let frame = self.ask(ApiKey::DescribeConfigs, version, &request)?;
        let answer: DescribeConfigsResponse<'_> = parse(&frame, ApiKey::DescribeConfigs, version)?;
        refused(answer.results.iter().map(|r| r.error_code), || {
            format!("reading the settings of {name}")
        })?;
        Ok(answer
            .results
            .iter()
            .flat_map(|r| &r.configs)
            .filter_map(|c| Some((c.name.to_string(), c.value.as_deref()?.to_owned())))
            .collect())
    }
}

fn refused(mut codes: impl Iterator<Item = i16>, what: impl Fn() -> String) -> Result<(), ClientError> {
    match codes.find(|code| *code != 0) {
        Some(code) => Err(ClientError::Refused {
            what: what(),
            code: ErrorCode(code),
        }),
        None => Ok(()),
    }
}

/// A topic that is deleted when this goes out of scope.
pub struct Topics {
    bootstrap: Vec<Arc<str>>,
    names: Vec<String>,
    keep: bool,
}

impl Topics {
    /// Takes charge of topics that were made.
    pub fn new(bootstrap: &[Arc<str>], names: &[String], keep: bool) -> Topics {
        Topics {
            bootstrap: bootstrap.to_vec(),
            names: names.to_vec(),
            keep,
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        if !self.keep
            && let Ok(mut admin) = Admin::open(&self.bootstrap)
        {
            for name in &self.names {
                let _ = admin.delete_topic(name);
            }
        }
    }
}
