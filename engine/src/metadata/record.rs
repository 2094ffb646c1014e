//! Records of the metadata log and their bytes.
//!
//! | offset | bytes | field |
//! |-|-|-|
//! | 0 | 1 | kind |
//! | 1 | 1 | version; bit 7 set: a reader that does not know this kind and version skips the record |
//! | 2 | 2 | zero |
//! | 4 | 4 | body length, little endian |
//! | 8 | body length | rkyv archive (rkyv 0.8, little endian, 32-bit offsets, aligned, checked) of the kind's body |
//!
//! Nothing follows the body. A body's layout never changes: a new layout is a new version. The batch that carries the
//! record is protected by its CRC, so there is none here. Written by the controller's shell, read by every shard.

use rkyv::rancor::Error as RkyvError;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::state::Snapshot;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 8;
/// Ceiling of a body; a snapshot of 100,000 partitions stays far below.
pub const MAX_BODY_BYTES: usize = 256 << 20;

const SKIPPABLE: u8 = 0x80;

/// The cluster came into being.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ClusterCreated {
    /// Id shown to clients, in Kafka's base64 form.
    pub cluster_id: [u8; 16],
}

/// A topic came into being; every partition is led by its first replica, all replicas in sync, both epochs 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct TopicCreated {
    /// Name.
    pub name: String,
    /// Id, new for every creation.
    pub id: [u8; 16],
    /// Brokers of each partition, preferred leader first; at least one partition, each with at least one broker.
    pub replicas: Vec<Vec<i32>>,
}

/// A topic grew.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct PartitionsAdded {
    /// The topic.
    pub id: [u8; 16],
    /// Number of the first new partition; must be how many there were.
    pub first: u32,
    /// Brokers of each new partition.
    pub replicas: Vec<Vec<i32>>,
}

/// A topic is gone, with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct TopicDeleted {
    /// The topic.
    pub id: [u8; 16],
}

/// A partition's leader or in-sync replicas changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct PartitionChanged {
    /// The topic.
    pub id: [u8; 16],
    /// The partition.
    pub partition: u32,
    /// Leading broker; -1: none.
    pub leader: i32,
    /// Never falls.
    pub leader_epoch: i32,
    /// One more with each change.
    pub partition_epoch: i32,
    /// In-sync replicas.
    pub isr: Vec<i32>,
}

/// A setting was given a value, or lost it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ConfigSet {
    /// `configs::ResourceType` id: 2 topic, 4 broker, 32 group.
    pub resource_type: i8,
    /// Topic, broker number (empty: all brokers) or group.
    pub resource: String,
    /// Setting.
    pub name: String,
    /// `None` removes it.
    pub value: Option<String>,
}

/// Producer ids below `next` were handed to brokers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ProducerIdsAllocated {
    /// Who got the block.
    pub broker_id: i32,
    /// First id not yet handed out.
    pub next: i64,
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct BrokerEndpoint {
    /// Listener name, such as `PLAINTEXT`.
    pub listener: String,
    /// Host clients are told.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A broker started.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct BrokerRegistered {
    /// Broker number, 0 or more.
    pub id: i32,
    /// New at every start.
    pub incarnation: [u8; 16],
    /// Larger at every start.
    pub epoch: i64,
    /// Rack, if it has one.
    pub rack: Option<String>,
    /// At least one.
    pub endpoints: Vec<BrokerEndpoint>,
}

/// A feature of the cluster is in force at a level; 0 turns it off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct FeatureLevel {
    /// Kafka's feature name.
    pub name: String,
    /// Level.
    pub level: i16,
}

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MetaRecord {
    ClusterCreated(ClusterCreated),
    TopicCreated(TopicCreated),
    PartitionsAdded(PartitionsAdded),
    TopicDeleted(TopicDeleted),
    PartitionChanged(PartitionChanged),
    ConfigSet(ConfigSet),
    ProducerIdsAllocated(ProducerIdsAllocated),
    BrokerRegistered(BrokerRegistered),
    FeatureLevel(FeatureLevel),
    /// The whole state; replaces what was there.
    Snapshot(Box<Snapshot>),
    /// Written by a newer broker and marked as safe to skip; changes nothing.
    Skipped {
        /// Its kind.
        kind: u8,
        /// Its version, with the mark.
        version: u8,
    },
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Bug or corruption: the bytes end early, go on too long, or name a length beyond the ceiling.
    #[error("a metadata record of {found} bytes where {expected} were announced")]
    Length {
        /// Bytes announced, with the header.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Operator: run a newer version; this kind of record must not be skipped.
    #[error("metadata record kind {kind} version {version} is not known to this version of Turgo")]
    Unknown {
        /// Kind.
        kind: u8,
        /// Version.
        version: u8,
    },
    /// Bug or corruption: the archive does not check.
    #[error("the body of a metadata record of kind {kind} is damaged")]
    Body {
        /// Kind.
        kind: u8,
    },
}

macro_rules! kinds {
    ($($number:literal => $variant:ident($body:ty)),* $(,)?) => {
        fn encode(record: &MetaRecord) -> Vec<u8> {
            match record {
                $(MetaRecord::$variant(body) => {
                    let body: &$body = body;
                    let archive = rkyv::to_bytes::<RkyvError>(body).expect("serialising into memory cannot fail");
                    envelope($number, 0, &archive)
                })*
                MetaRecord::Skipped { kind, version } => envelope(*kind, *version | SKIPPABLE, &[]),
            }
        }

        fn decode_body(kind: u8, body: &[u8]) -> Option<Result<MetaRecord, RecordError>> {
            match kind {
                $($number => {
                    let mut aligned: AlignedVec<16> = AlignedVec::with_capacity(body.len());
                    aligned.extend_from_slice(body);
                    let value = rkyv::from_bytes::<$body, RkyvError>(&aligned);
                    Some(value.map(|v| MetaRecord::$variant(v.into())).map_err(|_| RecordError::Body { kind }))
                })*
                _ => None,
            }
        }
    };
}

kinds! {
    1 => ClusterCreated(ClusterCreated),
    2 => TopicCreated(TopicCreated),
    3 => PartitionsAdded(PartitionsAdded),
    4 => TopicDeleted(TopicDeleted),
    5 => PartitionChanged(PartitionChanged),
    6 => ConfigSet(ConfigSet),
    7 => ProducerIdsAllocated(ProducerIdsAllocated),
    8 => BrokerRegistered(BrokerRegistered),
    9 => FeatureLevel(FeatureLevel),
    15 => Snapshot(Snapshot),
}

fn envelope(kind: u8, version: u8, body: &[u8]) -> Vec<u8> {
    assert!(
        body.len() <= MAX_BODY_BYTES,
        "metadata record of {} bytes",
        body.len()
    );
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&[kind, version, 0, 0]);
    let length = u32::try_from(body.len()).expect("below the ceiling");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

impl MetaRecord {
    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads one record, which must fill `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(RecordError::Length {
                expected: HEADER_BYTES,
                found: bytes.len(),
            });
        };
        let [kind, version, _, _, a, b, c, d] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length != body.len() || length > MAX_BODY_BYTES {
            return Err(RecordError::Length {
                expected: HEADER_BYTES.saturating_add(length),
                found: bytes.len(),
            });
        }
        let known = if version == 0 {
            decode_body(kind, body)
        } else {
            None
        };
        match known {
            Some(record) => record,
            None if version & SKIPPABLE != 0 => Ok(Self::Skipped { kind, version }),
            None => Err(RecordError::Unknown { kind, version }),
        }
    }
}
