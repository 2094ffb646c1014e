//! Cluster metadata: what topics, partitions, brokers and settings exist.
//!
//! A replayable state machine fed by a log. [`Planner`] turns a request into [`MetaRecord`]s against the applied state;
//! the shell appends them to the metadata log as one batch and, once it is durable, every shard applies them to its
//! [`MetadataState`] in log order and acts on the [`Change`]s. Plans are made one at a time, so each sees the result of
//! the one before. One broker is a quorum of one with the same code.
//!
//! Nothing here names a clock, a file, a socket or a random source: topic ids come in as a parameter.
//!
//! Always holds: the same records give the same state ([`MetadataState::fingerprint`]); a record that does not fit
//! the state is an error that changes nothing; bytes from the log are checked before they are believed.

mod alter;
mod eligible;
mod error;
mod names;
mod plan;
mod record;
mod state;

#[cfg(test)]
mod tests;

pub use alter::{AlterResource, AlteredResource, Altering};
pub(crate) use eligible::fitting;
pub use eligible::settle;
pub use error::ApiError;
pub use names::{CONSUMER_OFFSETS, TRANSACTION_STATE, check_name, is_internal};
pub use plan::{
    CreatedTopic, DeleteTopic, DeletedTopic, GrowTopic, NewTopic, Plan, Planner, ProducerIdBlock, Site,
    TopicCreation, TopicResult,
};
pub use record::{
    BrokerEndpoint, BrokerRegistered, ClusterCreated, ConfigSet, FeatureLevel, MetaRecord, PartitionChanged,
    PartitionsAdded, ProducerIdsAllocated, RecordError, TopicCreated, TopicDeleted,
};
pub use state::{ApplyError, Broker, Change, MetadataState, Partition, Snapshot, Topic, TopicId};
