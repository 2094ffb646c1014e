//! The controller of a cluster of one, and how every core follows it.
//!
//! Metadata is a log: partition 0 of Kafka's `__cluster_metadata`, owned by core 0. A proposal is planned against
//! the applied state, its records are appended as one batch, and once that batch is durable they are applied on
//! every core; only then does the proposer get its answer. Proposals are handled one at a time, so a plan never
//! sees a state that another plan is about to change. At start the whole log is replayed the same way.
//!
//! A quorum of several voters will replace "durable here" by "committed by a majority"; nothing else changes.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use turgo_net::records::BatchBuilder;
use turgo_storage::env::{Class, Env};
use turgo_storage::{AppendError, Log, LogSettings, PartitionId, StoreError};

use crate::configs::{ResourceType, TopicSettings};
use crate::lanes::METADATA_TOPIC;
use crate::metadata::{
    BrokerEndpoint, BrokerRegistered, Change, ClusterCreated, MetaRecord, MetadataState, ProducerIdsAllocated,
};
use crate::shard::Shard;
use crate::shard::ops::{Answer, MetadataLog, Op};
use crate::shard::partition::Partition;
use crate::shard::replay::replay;
use crate::shard::settings::PartitionSettings;
use crate::sync::{Filler, Queue, oneshot};

/// Result of a plan, whatever it is; `None` if the controller is stopping.
pub type Verdict = Option<Box<dyn Any + Send + Sync>>;

type Plan = dyn FnOnce(&MetadataState) -> (Vec<MetaRecord>, Box<dyn Any + Send + Sync>) + Send + Sync;

/// A change to metadata, to be planned by the controller.
pub struct Proposal(Box<Plan>);

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proposal")
    }
}

/// The metadata log; lives on core 0.
const METADATA_LOG: PartitionId = PartitionId {
    topic: METADATA_TOPIC,
    partition: 0,
};
/// Epoch of the one voter's leadership, which never changes hands.
const LEADER_EPOCH: i32 = 0;
/// Name of the one listener, as Kafka calls an unencrypted one.
pub const LISTENER: &str = "PLAINTEXT";
/// Producer ids that one core reserves at a time.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// How long what the store has no room for waits before it is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(2);
/// Records after which the log is cut to one snapshot.
const SNAPSHOT_RECORDS: usize = 50_000;

/// Proposals waiting on core 0.
pub struct Control<E: Env> {
    queue: Queue<(Proposal, Filler<Verdict>)>,
    log: RefCell<Option<Log<E>>>,
}

impl<E: Env> Default for Control<E> {
    fn default() -> Self {
        Control {
            queue: Queue::default(),
            log: RefCell::new(None),
        }
    }
}

impl<E: Env> Control<E> {
    pub(crate) fn stop(&self) {
        self.queue.close();
    }
}

impl<E: Env> Shard<E> {
    /// Has the controller plan a change: `plan` gets the current state and returns records to commit and a result,
    /// which comes back once the records are durable and applied on all cores. `None` while stopping.
    pub async fn propose<T: Send + Sync + 'static>(
        self: &Rc<Self>,
        plan: impl FnOnce(&MetadataState) -> (Vec<MetaRecord>, T) + Send + Sync + 'static,
    ) -> Option<T> {
        let plan = move |state: &MetadataState| {
            let (records, result) = plan(state);
            (records, Box::new(result) as Box<dyn Any + Send + Sync>)
        };
        let proposal = Proposal(Box::new(plan));
        let verdict = if self.index == 0 {
            self.propose_owned(proposal).await
        } else {
            match self.submit(0, Op::Propose(proposal)).await {
                Some(Answer::Proposed(verdict)) => verdict,
                _ => None,
            }
        };
        verdict
            .and_then(|result| result.downcast().ok())
            .map(|result| *result)
    }

    pub(crate) async fn propose_owned(&self, proposal: Proposal) -> Verdict {
        let (fill, filled) = oneshot();
        self.control.queue.push((proposal, fill));
        filled.await.flatten()
    }

    pub(crate) async fn producer_ids_owned(self: &Rc<Self>) -> Option<(i64, i64)> {
        let broker_id = self.node.id;
        self.propose(move |state| {
            let first = state.next_producer_id();
            let next = first + PRODUCER_ID_BLOCK;
            let record = ProducerIdsAllocated { broker_id, next };
            (
                vec![MetaRecord::ProducerIdsAllocated(record)],
                (first, PRODUCER_ID_BLOCK),
            )
        })
        .await
    }

    /// On core 0, at start: replays the metadata log, applies it on all cores and starts taking proposals.
    pub async fn load_metadata(self: &Rc<Self>) -> Result<(), String> {
        let log = match self.store.log(&METADATA_LOG) {
            Some(log) => log,
            None => self
                .store
                .create(METADATA_LOG, metadata_settings())
                .map_err(|e| format!("the metadata log cannot be created: {e}"))?,
        };
        log.set_settings(metadata_settings());
        let mut records = Vec::new();
        replay(&log, |record| {
            let value = record.value.ok_or("a record without a value")?;
            records.push(MetaRecord::decode(value).map_err(|e| format!("offset {}: {e}", record.offset))?);
            Ok(())
        })
        .await
        .map_err(|error| format!("the metadata log cannot be read: {error}"))?;
        let count = records.len();
        *self.control.log.borrow_mut() = Some(log.clone());
        self.apply_everywhere(records, true).await;
        let shard = self.clone();
        self.env.spawn(
            Class::Journal,
            async move { shard.run_controller(log, count).await },
        );
        self.register().await
    }

    pub(crate) fn metadata_log_owned(&self) -> Option<MetadataLog> {
        let log = self.control.log.borrow();
        let log = log.as_ref()?;
        Some(MetadataLog {
            end: log.end_offset(),
            high_watermark: log.durable_end(),
            leader_epoch: LEADER_EPOCH,
        })
    }

    /// Makes this start of the broker known, and the cluster on its first start; settings that the features in force
    /// ask for are set.
    async fn register(self: &Rc<Self>) -> Result<(), String> {
        let node = self.node.clone();
        let registered = self
            .propose(move |state| {
                let mut records = Vec::new();
                if state.cluster_id().is_none()
                    && let Some(cluster_id) = crate::ids::parse_uuid(&node.cluster_id)
                {
                    records.push(MetaRecord::ClusterCreated(ClusterCreated { cluster_id }));
                }
                records.push(MetaRecord::BrokerRegistered(BrokerRegistered {
                    id: node.id,
                    incarnation: (node.random)(),
                    epoch: state.broker(node.id).map_or(0, |last| last.epoch + 1),
                    rack: node.rack.clone(),
                    endpoints: vec![BrokerEndpoint {
                        listener: LISTENER.into(),
                        host: node.advertised_host.clone(),
                        port: node.advertised_port,
                    }],
                }));
                records.extend(crate::metadata::settle(state, &node.static_configs));
                (records, ())
            })
            .await;
        registered.ok_or_else(|| "the metadata log takes no records".into())
    }

    async fn run_controller(self: Rc<Self>, log: Log<E>, mut count: usize) {
        while let Some((proposal, fill)) = self.control.queue.pop().await {
            let (records, result) = (proposal.0)(&self.metadata());
            if !records.is_empty() {
                count += records.len();
                if self.commit(&log, &records).await.is_none() {
                    continue; // stopping: the filler's drop tells the proposer
                }
                self.apply_everywhere(records, false).await;
            }
            fill.fill(Some(result));
            if count > SNAPSHOT_RECORDS {
                count = self.snapshot(&log).await;
            }
        }
    }

    /// Appends records as one batch and waits for it; gives the first offset, or nothing if the store is closing.
    async fn commit(&self, log: &Log<E>, records: &[MetaRecord]) -> Option<i64> {
        let now_ms = self.env.wall_ms();
        let mut batch = BatchBuilder::new();
        for record in records {
            batch.push(now_ms, None, Some(&record.encode()), &[]).ok()?;
        }
        let batch = batch.build_uncompressed();
        let appended = loop {
            match log.append(&batch, LEADER_EPOCH, now_ms) {
                Ok(appended) => break appended,
                // A start on a journal that was full when the power went, or a burst of records: what is decided here
                // waits for room however long it takes.
                Err(AppendError::Busy) if !self.stopping.get() => self.env.sleep(RETRY).await,
                Err(_) => return None,
            }
        };
        self.store.wait_durable(appended.lsn).await.ok()?;
        Some(appended.base_offset)
    }

    /// Writes the whole state as one batch and forgets what came before. Returns the records in the log.
    async fn snapshot(&self, log: &Log<E>) -> usize {
        let records = self.metadata().snapshot();
        if let Some(start) = self.commit(log, &records).await
            && let Ok(lsn) = log.advance_start(start)
        {
            let _ = self.store.wait_durable(lsn).await;
        }
        records.len()
    }

    async fn apply_everywhere(self: &Rc<Self>, records: Vec<MetaRecord>, first: bool) {
        let records = Arc::new(records);
        let waits: Vec<_> = (0..self.cores)
            .filter(|core| *core != self.index)
            .map(|core| {
                self.submit(
                    core,
                    Op::Apply {
                        records: records.clone(),
                        first,
                    },
                )
            })
            .collect();
        self.apply(&records, first);
        for wait in waits {
            wait.await;
        }
    }

    /// Applies committed records on this core. `first`: they are the whole log, and logs that no topic explains
    /// are left over from a deletion that a crash cut short.
    ///
    /// A record that does not fit the state is a bug or damage that no one may build on: the process ends.
    pub(crate) fn apply(self: &Rc<Self>, records: &[MetaRecord], first: bool) {
        for record in records {
            let changes = self.metadata_mut().apply(record);
            match changes {
                Ok(changes) if !first => changes.into_iter().for_each(|change| self.follow(change)),
                Ok(_) => {}
                Err(error) => panic!("the metadata log does not fit itself: {error}"),
            }
        }
        if first {
            self.set_loaded();
            self.reconfigure_txns();
            self.reconcile();
        }
    }

    fn reconcile(self: &Rc<Self>) {
        self.renew_settings();
        let wanted: Vec<PartitionId> = self.metadata().all_partitions().collect();
        let known: std::collections::HashSet<_> = wanted.iter().copied().collect();
        for log in self.store.logs() {
            if log.id() != METADATA_LOG && !known.contains(&log.id()) {
                self.store.drop_log(&log.id());
            }
        }
        for id in wanted {
            self.adopt(id);
        }
    }

    fn follow(self: &Rc<Self>, change: Change) {
        match change {
            Change::PartitionAdded(id) => {
                self.adopt(id);
                self.tell_groups_of_topics(id.partition == 0);
            }
            Change::PartitionChanged(id) => {
                if let Some(served) = self.partition(&id) {
                    served.leader_epoch.set(self.metadata().leader_epoch(&id));
                }
            }
            Change::TopicRemoved { id, partitions, name } => {
                for partition in 0..partitions {
                    self.retire(&PartitionId { topic: id, partition });
                }
                self.forget_topic_offsets(&name, id);
                self.tell_groups_of_topics(false);
            }
            Change::TopicConfig(id) => {
                let settings = self.partition_settings(&id);
                let partitions: Vec<_> = self
                    .partitions
                    .borrow()
                    .values()
                    .filter(|p| p.id.topic == id)
                    .cloned()
                    .collect();
                for partition in partitions {
                    partition.set_settings(settings.clone());
                }
            }
            Change::BrokerConfig => {
                let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
                for partition in partitions {
                    let settings = self.partition_settings(&partition.id.topic);
                    partition.set_settings(settings);
                }
                self.renew_settings();
                self.reconfigure_groups();
                self.reconfigure_txns();
            }
            Change::Reset => {
                self.reconcile();
                self.tell_groups_of_topics(true);
            }
            Change::Broker(_) => self.tell_groups_of_topics(false),
            Change::GroupConfig(_) | Change::ClientMetrics(_) | Change::Feature(_) => {}
        }
    }

    /// Serves a partition if it lives here: opens or creates its log, later if the journal has no room for that now.
    fn adopt(self: &Rc<Self>, id: PartitionId) {
        if self.try_adopt(id) {
            return;
        }
        let shard = self.clone();
        self.env.spawn(Class::Journal, async move {
            loop {
                shard.env.sleep(RETRY).await;
                let is_gone = shard.metadata().partition(&id).is_none();
                if is_gone || shard.stopping.get() || shard.try_adopt(id) {
                    return;
                }
            }
        });
    }

    /// False if there is no room in the journal.
    fn try_adopt(self: &Rc<Self>, id: PartitionId) -> bool {
        if self.owner(&id) != self.index || self.partition(&id).is_some() {
            return true;
        }
        let settings = self.partition_settings(&id.topic);
        let log = match self.store.log(&id) {
            Some(log) => {
                log.set_settings(settings.log);
                log
            }
            None => match self.store.create(id, settings.log) {
                Ok(log) => log,
                Err(StoreError::NoSpace(_)) => return false,
                // The store is closing; the next start creates what is missing.
                Err(_) => return true,
            },
        };
        let epoch = self.metadata().leader_epoch(&id);
        let partition = Rc::new(Partition::new(id, log, epoch, settings));
        self.partitions.borrow_mut().insert(id, partition.clone());
        self.adopt_coordinator(partition.clone());
        self.adopt_txn_coordinator(partition);
        true
    }

    fn partition_settings(&self, topic: &[u8; 16]) -> Rc<PartitionSettings> {
        let metadata = self.metadata();
        let settings = match metadata.topic_by_id(topic) {
            Some(found) => {
                let layers = metadata.layers(self.node.id, &self.node.static_configs);
                let overrides = metadata.overrides(ResourceType::Topic, &found.name);
                PartitionSettings::new(&TopicSettings::resolve(overrides, &layers), found.internal)
            }
            None => PartitionSettings::new(&TopicSettings::default(), false),
        };
        Rc::new(settings)
    }

    fn retire(self: &Rc<Self>, id: &PartitionId) {
        let partition = self.partitions.borrow_mut().remove(id);
        if let Some(partition) = partition {
            self.store.drop_log(id);
            self.retire_coordinator(id);
            self.retire_txn_coordinator(id);
            partition.retire();
        }
    }
}

/// The metadata log keeps everything until a snapshot cuts it, and goes on when space is short.
fn metadata_settings() -> LogSettings {
    LogSettings {
        retention_bytes: -1,
        retention_ms: -1,
        system: true,
        ..LogSettings::default()
    }
}
