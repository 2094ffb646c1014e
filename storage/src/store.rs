//! Signatures of the store while its body is being written.
#![allow(missing_docs, unused_variables)]
use std::rc::Rc;

use bytes::Bytes;

use crate::api::*;
use crate::env::Env;
use crate::format::kafka::BatchHeader;
use crate::producer::{ProducerEntry, ProducerError, Sequenced};

/// Durable storage of one core. Cheap to clone.
pub struct Store<E: Env>(Rc<E>);
impl<E: Env> Clone for Store<E> {
    fn clone(&self) -> Self { Self(self.0.clone()) }
}
/// One partition's log. Cheap to clone.
pub struct Log<E: Env>(Rc<E>);
impl<E: Env> Clone for Log<E> {
    fn clone(&self) -> Self { Self(self.0.clone()) }
}

fn later() -> ! { unreachable!("storage is being written") }

impl<E: Env> Store<E> {
    /// Recovers the shard in `config.dir` (or makes it) and starts its background tasks. `on_commit` is called in LSN
    /// order with the partitions whose durable end moved; it must not append.
    pub async fn open(env: E, config: StoreConfig, on_commit: Rc<dyn Fn(&[Advance])>) -> Result<(Self, Recovered), OpenError> { later() }
    pub fn create(&self, id: PartitionId, settings: LogSettings) -> Result<Log<E>, StoreError> { later() }
    pub fn log(&self, id: &PartitionId) -> Option<Log<E>> { later() }
    /// All logs, by rising id.
    pub fn logs(&self) -> Vec<Log<E>> { later() }
    /// Drops the log; none if there is none.
    pub fn drop_log(&self, id: &PartitionId) -> Option<Lsn> { later() }
    pub fn durable_lsn(&self) -> Lsn { later() }
    pub async fn wait_durable(&self, lsn: Lsn) -> Result<(), StoreError> { later() }
    pub fn pressure(&self) -> Pressure { later() }
    /// Returns when `pressure()` is below `limit`.
    pub async fn wait_pressure_below(&self, limit: Pressure) { later() }
    pub fn metrics(&self) -> StoreMetrics { later() }
    /// Drains, checkpoints, marks the shard clean. Every log handle is closed afterwards.
    pub async fn close(self) -> Result<(), StoreError> { later() }
    /// Drains everything durable and takes a checkpoint.
    pub async fn checkpoint(&self) -> Result<(), StoreError> { later() }
}

impl<E: Env> Log<E> {
    pub fn id(&self) -> PartitionId { later() }
    pub fn start_offset(&self) -> i64 { later() }
    /// Next offset to be written (LEO).
    pub fn end_offset(&self) -> i64 { later() }
    /// Offsets below are on stable media.
    pub fn durable_end(&self) -> i64 { later() }
    pub fn leader_epoch(&self) -> i32 { later() }
    pub fn size_bytes(&self) -> u64 { later() }
    pub fn settings(&self) -> LogSettings { later() }
    pub fn set_settings(&self, settings: LogSettings) { later() }
    pub fn append(&self, batch: &[u8], leader_epoch: i32, now_ms: i64) -> Result<Appended, AppendError> { later() }
    pub fn read(&self, offset: i64, max_bytes: usize, upto: i64, at_least_one: bool) -> Result<ReadOutcome, ReadError> { later() }
    pub async fn read_disk(&self, offset: i64, max_bytes: usize, upto: i64, at_least_one: bool) -> Result<Vec<Bytes>, ReadError> { later() }
    pub async fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<Bytes>, ReadError> { later() }
    pub async fn max_timestamp_batch(&self) -> Result<Option<Bytes>, ReadError> { later() }
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) { later() }
    /// Epoch that `offset` was written in; -1 if unknown.
    pub fn epoch_at(&self, offset: i64) -> i32 { later() }
    /// Notes that a leader epoch begins at the log end (EPOCH_START).
    pub fn start_epoch(&self, epoch: i32) -> Lsn { later() }
    /// Moves the log start (never back, never beyond the end) and removes segments wholly below.
    pub fn advance_start(&self, offset: i64) -> Result<Lsn, StoreError> { later() }
    /// Removes records from `end` on.
    pub fn truncate_to(&self, end: i64) -> Result<Lsn, StoreError> { later() }
    /// Applies retention.ms and retention.bytes.
    pub fn retention(&self, now_ms: i64) -> Retained { later() }
    pub fn producer(&self, producer_id: i64) -> Option<ProducerEntry> { later() }
    pub fn producers(&self) -> Vec<ProducerEntry> { later() }
    pub fn check_producer(&self, header: &BatchHeader) -> Result<Sequenced, ProducerError> { later() }
    /// First offset of the earliest open transaction; none if no transaction is open.
    pub fn first_unstable_offset(&self) -> Option<i64> { later() }
}

/// What [`prepare`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Identity of the data directory.
    pub directory_id: [u8; 16],
    /// Cluster the directory belongs to.
    pub cluster_id: [u8; 16],
    /// Broker the directory belongs to.
    pub broker_id: i32,
    /// Generation of shards.
    pub generation: u32,
    /// Shards of this generation.
    pub shards: u32,
    /// The directory was empty.
    pub created: bool,
}

impl Layout {
    /// The configuration of one shard, from one common to all.
    pub fn shard_config(&self, shard: u32, common: &StoreConfig) -> StoreConfig { later() }
}

/// Identities to give a new data directory; an existing one keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Identity of the data directory (random).
    pub directory_id: [u8; 16],
    /// Cluster (random if this node founds it).
    pub cluster_id: [u8; 16],
    /// This broker.
    pub broker_id: i32,
}

/// Makes the data directory ready for `shards` cores, before any of them opens its store.
pub async fn prepare<E: Env>(
    env: &E, shards: u32, identity: Identity, common: &StoreConfig, owner: &dyn Fn(&PartitionId) -> u32,
) -> Result<Layout, OpenError> { later() }
