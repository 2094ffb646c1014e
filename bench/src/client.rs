//! A lean Kafka client: one connection, requests built by the codec, nothing hidden.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use turgo_net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use turgo_net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use turgo_net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use turgo_net::wire::{Decode, Encode};
use turgo_net::{
    DecodeError, EncodeError, ErrorCode, FrameError, FrameReader, Reader, ResponseHeader, encode_request,
};

/// Why a request has no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Operator: nothing listens there, or the network fails.
    #[error("{address}: {error}; is a broker running there?")]
    Network {
        /// Where.
        address: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The other end does not speak the protocol as expected.
    #[error("{0}")]
    Protocol(String),
    /// The broker refused.
    #[error("{what}: {} ({})", .code.name(), .code.0)]
    Refused {
        /// What was asked.
        what: String,
        /// Kafka's error code.
        code: ErrorCode,
    },
}

impl From<DecodeError> for ClientError {
    fn from(error: DecodeError) -> Self {
        ClientError::Protocol(format!("unreadable answer: {error}"))
    }
}
impl From<EncodeError> for ClientError {
    fn from(error: EncodeError) -> Self {
        ClientError::Protocol(format!("request cannot be built: {error}"))
    }
}
impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        ClientError::Protocol(format!("answer is not a frame: {error}"))
    }
}

/// Answers may be this large.
const MAX_FRAME: usize = 128 << 20;
/// An answer that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One connection.
pub struct Connection {
    /// `host:port`.
    pub address: String,
    stream: TcpStream,
    frames: FrameReader,
    correlation: i32,
    versions: Vec<(i16, i16, i16)>,
}

/// The version of each API that this client speaks at most.
fn newest(key: ApiKey) -> i16 {
    match key {
        // By name, so that no topic ids need to be known.
        ApiKey::Produce | ApiKey::Fetch => 12,
        ApiKey::Metadata => 12,
        ApiKey::CreateTopics => 7,
        ApiKey::DeleteTopics => 6,
        _ => 0,
    }
}

impl Connection {
    /// Connects and learns which versions the broker speaks.
    pub fn open(address: &str) -> Result<Connection, ClientError> {
        let network = |error| ClientError::Network {
            address: address.to_owned(),
            error,
        };
        let stream = TcpStream::connect(address).map_err(network)?;
        stream.set_nodelay(true).map_err(network)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(network)?;
        let mut connection = Connection {
            address: address.to_owned(),
            stream,
            frames: FrameReader::new(MAX_FRAME),
            correlation: 0,
            versions: Vec::new(),
        };
        connection.send(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())?;
        let frame = connection.receive()?;
        let answer: ApiVersionsResponse<'_> = parse(&frame, ApiKey::ApiVersions, 0)?;
        connection.versions = answer
            .api_keys
            .iter()
            .map(|k| (k.api_key, k.min_version, k.max_version))
            .collect();
        Ok(connection)
    }

    /// The newest version of `key` that both sides speak.
    pub fn version(&self, key: ApiKey) -> Result<i16, ClientError> {
        let (_, min, max) = self
            .versions
            .iter()
            .find(|(k, ..)| *k == key as i16)
            .ok_or_else(|| {
                ClientError::Protocol(format!("{} does not serve {}", self.address, key.name()))
            })?;
        let version = newest(key).min(*max);
        if version < *min {
            return Err(ClientError::Protocol(format!(
                "{} serves no {} that we speak",
                self.address,
                key.name()
            )));
        }
        Ok(version)
    }

    /// Sends a request and returns its correlation id.
    pub fn send<M: Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Result<i32, ClientError> {
        self.correlation += 1;
        let frame = encode_request(key, version, self.correlation, Some("turgo-bench"), body)?;
        self.send_frame(&frame.to_vec())?;
        Ok(self.correlation)
    }

    /// Sends a frame built before.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        let address = &self.address;
        self.stream
            .write_all(frame)
            .map_err(|error| ClientError::Network {
                address: address.clone(),
                error,
            })
    }

    /// The next answer, header included.
    pub fn receive(&mut self) -> Result<Bytes, ClientError> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(frame);
            }
            let network = |error| ClientError::Network {
                address: self.address.clone(),
                error,
            };
            // The floor's io_uring, in the same thread, may interrupt a wait without any signal.
            let n = match self.stream.read(self.frames.space()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(network)?,
            };
            if n == 0 {
                return Err(network(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.frames.filled(n);
        }
    }

    /// Splits off the reading half: answers come in request order.
    pub fn reader(&self) -> Result<Connection, ClientError> {
        let network = |error| ClientError::Network {
            address: self.address.clone(),
            error,
        };
        Ok(Connection {
            address: self.address.clone(),
            stream: self.stream.try_clone().map_err(network)?,
            frames: FrameReader::new(MAX_FRAME),
            correlation: 0,
            versions: self.versions.clone(),
        })
    }

    /// Creates a topic with one replica.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let version = self.version(ApiKey::CreateTopics)?;
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: (*name).into(),
                        value: Some((*value).into()),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 60_000,
            ..Default::default()
        };
        self.send(ApiKey::CreateTopics, version, &request)?;
        let frame = self.receive()?;
        let answer: CreateTopicsResponse<'_> = parse(&frame, ApiKey::CreateTopics, version)?;
        refused(answer.topics.iter().map(|t| t.error_code), || {
            format!("creating topic {name}")
        })
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let version = self.version(ApiKey::DeleteTopics)?;
        let topics = vec![DeleteTopicState {
            name: Some(name.into()),
            ..Default::default()
        }];
        let mut request = DeleteTopicsRequest {
            timeout_ms: 60_000,
            ..Default::default()
        };
        if version >= 6 {
            request.topics = topics;
        } else {
            request.topic_names = vec![name.into()];
        }
        self.send(ApiKey::DeleteTopics, version, &request)?;
        let frame = self.receive()?;
        let answer: DeleteTopicsResponse<'_> = parse(&frame, ApiKey::DeleteTopics, version)?;
        refused(answer.responses.iter().map(|t| t.error_code), || {
            format!("deleting topic {name}")
        })
    }

    /// Partitions of a topic that have a leader.
    pub fn partitions(&mut self, name: &str) -> Result<usize, ClientError> {
        let version = self.version(ApiKey::Metadata)?;
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name.into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.send(ApiKey::Metadata, version, &request)?;
        let frame = self.receive()?;
        let answer: MetadataResponse<'_> = parse(&frame, ApiKey::Metadata, version)?;
        let led = |topic: &turgo_net::messages::metadata::MetadataResponseTopic<'_>| {
            topic.partitions.iter().filter(|p| p.leader_id >= 0).count()
        };
        Ok(answer.topics.iter().map(led).sum())
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

/// Reads an answer's body.
pub fn parse<'a, M: Decode<'a>>(frame: &'a [u8], key: ApiKey, version: i16) -> Result<M, ClientError> {
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, key, version)?;
    Ok(M::decode(&mut reader, version)?)
}
