//! Cluster metadata: what topics, partitions, brokers and settings exist.
//!
//! A replayable state machine fed by a log. [`Controller`] turns requests into [`MetaRecord`]s against its own, newest
//! state; the shell appends them to the metadata log and, once they are durable, every shard applies them to its
//! [`MetadataState`] in log order and acts on the [`Change`]s. One broker is a quorum of one with the same code.
//!
//! Nothing here names a clock, a file, a socket or a random source: topic ids come in as a parameter.
//!
//! Always holds: the same records give the same state ([`MetadataState::fingerprint`]); a record that does not fit
//! the state is an error that changes nothing; bytes from the log are checked before they are believed.

mod error;
mod names;
mod record;
mod state;

pub use error::ApiError;
pub use names::{CONSUMER_OFFSETS, TRANSACTION_STATE, check_name, is_internal};
pub use record::{
    BrokerEndpoint, BrokerRegistered, ClusterCreated, ConfigSet, Decoded, FeatureLevel, MetaRecord,
    PartitionChanged, PartitionsAdded, ProducerIdsAllocated, RecordError, TopicCreated, TopicDeleted, decode,
    encode,
};
pub use state::{ApplyError, Broker, Change, MetadataState, Partition, Topic, TopicId};
