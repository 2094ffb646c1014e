//! One core's share of the broker: partitions, coordinators, the applied metadata, calls to other cores.
//!
//! The shell feeds it frames, messages of other cores and heartbeats; it names no runtime. A request enters on
//! the core of its connection, is split by owner, and each part is served where the partition lives: here by a
//! plain call, elsewhere by one [`ops::Message`] per core and request. Answers come back the same way.
//!
//! Invariants: only the owner touches a log; messages between two cores keep their order, so that pipelined
//! produce requests of one connection are appended in order; no `RefCell` borrow lives across an await.

pub mod cleaner;
pub mod control;
pub mod fetch;
pub mod offsets;
pub mod ops;
pub mod partition;
pub mod produce;
pub mod replay;
pub mod sessions;
pub mod settings;
pub mod txn;

#[cfg(test)]
pub(crate) mod tests;

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use turgo_storage::env::{Class, Env};
use turgo_storage::{Advance, PartitionId, Store};

use crate::configs::NodeSettings;
use crate::lanes::{self, ByPartition};
use crate::metadata::MetadataState;
use crate::node::Node;
use crate::sessions::{Cache, Limits};
use crate::shard::ops::{Answer, Message, Op};
use crate::shard::partition::Partition;
use crate::stats::ShardStats;
use crate::sync::{Budget, Desk, Queue, Timers};
use crate::validate::Validator;

/// Ceiling of a batch's records after decompression: bounds the time that one batch may take.
pub(crate) const MAX_DECOMPRESSED: usize = 128 << 20;

/// A connection on its way to another core. Dropping it closes the socket.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: OwnedFd,
    /// Who is at the other end, for logs.
    pub peer: std::net::SocketAddr,
    /// Bytes read from it that no request has used yet.
    pub unread: Vec<u8>,
}

/// Partitions of a core. Apart from [`Shard`], so that the commit callback can hold it.
pub type Partitions<E> = Rc<RefCell<HashMap<PartitionId, Rc<Partition<E>>, ByPartition>>>;

/// See the module.
pub struct Shard<E: Env> {
    /// This core's number, from 0.
    pub index: usize,
    /// Number of cores.
    pub cores: usize,
    /// The world.
    pub env: E,
    /// Facts of the node, the same on all cores.
    pub node: std::sync::Arc<Node>,
    /// This core's logs.
    pub store: Store<E>,
    /// Events that wait for a time.
    pub timers: Rc<Timers>,
    /// Counters and histograms.
    pub stats: ShardStats,
    /// Bytes of requests held on this core.
    pub request_memory: Rc<Budget>,
    /// Bytes of responses held on this core.
    pub response_memory: Rc<Budget>,
    /// Group coordinators of the internal partitions that live here.
    pub groups: crate::group_host::Groups<E>,
    /// Transaction coordinators of the internal partitions that live here.
    pub txns: crate::txn_host::Txns<E>,
    /// Connections handed over by other cores, for the shell.
    pub arrivals: Queue<Accepted>,
    pub(crate) partitions: Partitions<E>,
    metadata: RefCell<MetadataState>,
    pub(crate) control: control::Control<E>,
    pub(crate) produce_backlog: produce::Backlog,
    pub(crate) stopping: Cell<bool>,
    /// `transaction.partition.verification.enable`.
    pub(crate) verifies: Cell<bool>,
    /// The metadata log has been applied.
    loaded: Cell<bool>,
    activity: Cell<u64>,
    /// When retention was last applied, on the shards' clock.
    retention_at: Cell<Option<u64>>,
    pub(crate) validator: RefCell<Validator>,
    pub(crate) sessions: RefCell<Cache>,
    settings: RefCell<Rc<NodeSettings>>,
    outboxes: Vec<Rc<Queue<Message>>>,
    calls: Desk<Answer>,
    producer_ids: RefCell<(i64, i64)>,
}

/// Routes commit notices of the store to the partitions.
pub fn commit_listener<E: Env>(partitions: &Partitions<E>) -> Rc<dyn Fn(&[Advance])> {
    let partitions = Rc::downgrade(partitions);
    Rc::new(move |advances| {
        let Some(partitions) = partitions.upgrade() else {
            return;
        };
        for advance in advances {
            let partition = partitions.borrow().get(&advance.id).cloned();
            if let Some(partition) = partition {
                partition.advanced();
            }
        }
    })
}

impl<E: Env> Shard<E> {
    /// Puts a core together from an open store. `outboxes[i]` leads to core `i`.
    pub fn new(
        index: usize,
        env: E,
        node: std::sync::Arc<Node>,
        store: Store<E>,
        partitions: Partitions<E>,
        outboxes: Vec<Rc<Queue<Message>>>,
    ) -> Rc<Self> {
        let cores = outboxes.len();
        let metadata = MetadataState::new();
        let settings = NodeSettings::resolve(&metadata.layers(node.id, &node.static_configs));
        let slots = Limits::share(settings.fetch_session_slots as usize, index, cores);
        Rc::new(Shard {
            index,
            cores,
            env,
            sessions: RefCell::new(Cache::new(slots, index, cores)),
            settings: RefCell::new(Rc::new(settings)),
            metadata: RefCell::new(metadata),
            request_memory: Budget::new(node.request_memory),
            response_memory: Budget::new(node.response_memory),
            node,
            store,
            timers: Rc::default(),
            stats: ShardStats::default(),
            groups: crate::group_host::Groups::default(),
            txns: crate::txn_host::Txns::default(),
            verifies: Cell::new(true),
            loaded: Cell::new(false),
            arrivals: Queue::default(),
            partitions,
            control: control::Control::default(),
            produce_backlog: produce::Backlog::default(),
            stopping: Cell::new(false),
            activity: Cell::new(0),
            retention_at: Cell::new(None),
            validator: RefCell::new(Validator::new(MAX_DECOMPRESSED)),
            outboxes,
            calls: Desk::default(),
            producer_ids: RefCell::new((0, 0)),
        })
    }

    /// Metadata as applied on this core.
    pub fn metadata(&self) -> Ref<'_, MetadataState> {
        self.metadata.borrow()
    }

    pub(crate) fn metadata_mut(&self) -> std::cell::RefMut<'_, MetadataState> {
        self.metadata.borrow_mut()
    }

    /// Broker settings in force.
    pub fn settings(&self) -> Rc<NodeSettings> {
        self.settings.borrow().clone()
    }

    /// Resolves the broker settings again, after a change.
    pub(crate) fn renew_settings(&self) {
        let metadata = self.metadata();
        let settings = NodeSettings::resolve(&metadata.layers(self.node.id, &self.node.static_configs));
        *self.settings.borrow_mut() = Rc::new(settings);
    }

    /// The core that owns a partition.
    pub fn owner(&self, id: &PartitionId) -> usize {
        lanes::owner(id, self.cores)
    }

    /// The cores that own any of these, each once.
    pub fn owners<'a>(&self, ids: impl Iterator<Item = &'a PartitionId>) -> Vec<usize> {
        let mut owners = Vec::with_capacity(2);
        for id in ids {
            let owner = self.owner(id);
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        owners
    }

    /// A partition that lives here.
    pub fn partition(&self, id: &PartitionId) -> Option<Rc<Partition<E>>> {
        self.partitions.borrow().get(id).cloned()
    }

    /// Milliseconds on the clock that deadlines are given in; the same on all cores.
    pub fn now_ms(&self) -> u64 {
        self.env.now_ns() / 1_000_000
    }

    /// Runs the timers and retries what waited for room. The shell calls it with every heartbeat.
    pub fn tick(self: &Rc<Self>) {
        self.timers.fire(self.now_ms());
        self.retry_backlog();
        self.tick_groups();
        self.tick_txns();
    }

    /// Grows with everything that this core is asked to do.
    pub fn activity(&self) -> u64 {
        self.activity.get()
    }

    /// Something was asked of this core.
    pub fn note_activity(&self) {
        self.activity.set(self.activity.get() + 1);
    }

    /// The partition of an internal topic whose coordinator owns a group or a transactional id; `None` while there is no
    /// such topic.
    pub(crate) fn coordinator_of(&self, topic: &str, key: &str) -> Option<PartitionId> {
        let metadata = self.metadata();
        let topic = metadata.topic(topic)?;
        Some(PartitionId {
            topic: topic.id,
            partition: crate::groups::partition_for(key, topic.partitions.len() as u32),
        })
    }

    /// Asks a core, which may be this one. `None` if that core is shutting down.
    pub async fn call(self: &Rc<Self>, core: usize, op: Op) -> Option<Answer> {
        if core == self.index {
            return self.serve(op).await;
        }
        self.submit(core, op).await
    }

    /// Sends a request to another core now; the future only waits. Calls keep the order of submission.
    pub fn submit(&self, core: usize, op: Op) -> crate::sync::Filled<Answer> {
        let (call, filled) = self.calls.ticket();
        self.outboxes[core].push(Message::Call {
            from: self.index,
            call,
            op,
            at_ns: self.env.now_ns(),
        });
        filled
    }

    /// Hands a connection to another core.
    pub fn hand_over(&self, core: usize, connection: Accepted) {
        if core == self.index {
            self.arrivals.push(connection);
        } else {
            self.outboxes[core].push(Message::Connection(connection));
        }
    }

    /// Takes a message of another core. Produce is appended before this returns; everything else may wait.
    pub fn receive(self: &Rc<Self>, message: Message) {
        self.note_activity();
        let arrived = |at_ns| {
            let hop = self.env.now_ns().saturating_sub(at_ns);
            self.stats.hop_stage.record_ns(hop);
        };
        match message {
            Message::Return { call, answer, at_ns } => {
                arrived(at_ns);
                self.calls.answer(call, answer);
            }
            Message::Connection(connection) => self.arrivals.push(connection),
            Message::Call {
                from,
                call,
                op,
                at_ns,
            } => {
                arrived(at_ns);
                let (outbox, env) = (self.outboxes[from].clone(), self.env.clone());
                let reply = move |answer| {
                    let at_ns = env.now_ns();
                    outbox.push(Message::Return { call, answer, at_ns });
                };
                match op {
                    Op::Produce(op) => {
                        let deadline_ms = op.deadline_ms;
                        let pending = self.produce_owned(op);
                        let shard = self.clone();
                        self.env.spawn(Class::Journal, async move {
                            reply(Answer::Produced(shard.finish_produce(pending, deadline_ms).await));
                        });
                    }
                    op => {
                        let shard = self.clone();
                        self.env.spawn(Class::Journal, async move {
                            if let Some(answer) = shard.serve(op).await {
                                reply(answer);
                            }
                        });
                    }
                }
            }
        }
    }

    /// Partitions that live here.
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// Ends all waits for data and for coordinators: the node is stopping.
    pub fn release_waits(self: &Rc<Self>) {
        self.stopping.set(true);
        self.timers.fire(u64::MAX);
        self.resign_groups();
        self.resign_txns();
    }

    /// True once the metadata log has been applied: what is not known then does not exist.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.get()
    }

    pub(crate) fn set_loaded(&self) {
        self.loaded.set(true);
    }

    /// Stops taking proposals.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Applies retention to all logs of this core, as often as `log.retention.check.interval.ms` says. The shell calls
    /// it about once a second.
    pub async fn housekeep(&self) {
        self.count_member_bytes();
        let interval_ms = self.settings().retention_check_interval_ms;
        // The first pass comes one interval after the start.
        let last_ms = self.retention_at.get().unwrap_or(self.now_ms());
        if self.now_ms() < last_ms.saturating_add(interval_ms) {
            self.retention_at.set(Some(last_ms));
            return;
        }
        self.retention_at.set(Some(self.now_ms()));
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        let now_ms = self.env.wall_ms();
        for (i, partition) in partitions.iter().enumerate() {
            if partition.settings().cleanup_delete {
                partition.log.retention(now_ms);
            } else {
                partition.log.expire_producers(now_ms);
            }
            // Requests go first: a pause above zero lets the sockets be looked at.
            if i % 64 == 63 {
                self.env.sleep(std::time::Duration::from_micros(10)).await;
            }
        }
    }

    async fn serve(self: &Rc<Self>, op: Op) -> Option<Answer> {
        Some(match op {
            Op::Produce(op) => {
                let deadline_ms = op.deadline_ms;
                let pending = self.produce_owned(op);
                Answer::Produced(self.finish_produce(pending, deadline_ms).await)
            }
            Op::Fetch(op) => Answer::Fetched(self.fetch_owned(op).await),
            Op::Watch {
                parts,
                read_committed,
                deadline_ms,
            } => Answer::Watched {
                moved: self.watch_owned(&parts, read_committed, deadline_ms).await,
            },
            Op::Offsets(queries) => Answer::Offsets(self.offsets_owned(&queries).await),
            Op::EpochEnds(queries) => Answer::Offsets(self.epoch_ends_owned(&queries)),
            Op::Trim(queries) => Answer::Offsets(self.trim_owned(&queries).await),
            Op::Sizes => Answer::Sizes(self.sizes_owned()),
            Op::Apply { records, first } => {
                self.apply(&records, first);
                Answer::Done
            }
            Op::Group(id, caller, request) => Answer::Group(self.group_owned(id, caller, request).await),
            Op::Groups(caller, request) => Answer::Groups(self.groups_owned(caller, request).await),
            Op::Txn(id, request) => Answer::Txn(self.txn_owned(id, request).await),
            Op::Txns(request) => Answer::Txns(self.txns_owned(request).await),
            Op::TxnOffsets(id, transactional_id, caller, request) => Answer::Group(
                self.txn_offsets_owned(id, &transactional_id, caller, request)
                    .await,
            ),
            Op::Markers(writes) => Answer::Markers(self.markers_owned(writes).await),
            Op::Producers(asked) => Answer::Producers(self.producers_owned(&asked)),
            Op::Propose(proposal) => Answer::Proposed(self.propose_owned(proposal).await),
            Op::ProducerIds => Answer::ProducerIds(self.producer_ids_owned().await),
            Op::BeginRound(update) => Answer::Round(self.begin_round_owned(&update)),
            Op::FinishRound { id, epoch, told } => {
                Answer::RoundFinished(self.finish_round_owned(id, epoch, &told))
            }
            Op::MetadataLog => Answer::MetadataLog(self.metadata_log_owned()),
            Op::CloseSession(id) => {
                self.close_session_owned(id);
                Answer::Done
            }
        })
    }

    /// The next producer id, or `None` if the controller could not reserve more.
    pub async fn next_producer_id(self: &Rc<Self>) -> Option<i64> {
        loop {
            {
                let mut block = self.producer_ids.borrow_mut();
                if block.1 > 0 {
                    let id = block.0;
                    *block = (id + 1, block.1 - 1);
                    return Some(id);
                }
            }
            let Some(Answer::ProducerIds(Some(block))) = self.call(0, Op::ProducerIds).await else {
                return None;
            };
            // Two callers may each have fetched a block: the later one wins and the earlier block is skipped.
            *self.producer_ids.borrow_mut() = block;
        }
    }
}
