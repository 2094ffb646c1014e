//! Transaction coordinators on the core that owns their partition of `__transaction_state`.
//!
//! The coordinator itself is a machine ([`crate::txn`]); this module feeds it requests, time, producer ids, the fate of
//! its appends and of its markers, and carries out what it decides. It is loaded by replaying its partition; until then
//! it refuses.
//!
//! Invariants: a coordinator's records are appended in the order in which it gives them, and none is given up because
//! the store is full for the moment; markers are sent to the owners of their partitions until every one is durable or
//! its partition is gone; a coordinator that lost its partition answers everyone before it goes.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use turgo_net::ErrorCode;
use turgo_net::records::BatchBuilder;
use turgo_storage::env::{Class, Env};
use turgo_storage::{AppendError, PartitionId};

use crate::configs::NodeSettings;
use crate::metadata::TRANSACTION_STATE;
use crate::shard::Shard;
use crate::shard::ops::{Answer, MarkerWrite, Op};
use crate::shard::partition::Partition;
use crate::shard::replay::replay;
use crate::sync::{Countdown, Desk};
use crate::txn::messages::{Request, Response};
use crate::txn::{Config, Coordinator, Effect, MarkerJob, Record, Stats};

/// How long a marker that a partition cannot take for the moment waits before it is tried again.
const MARKER_RETRY: std::time::Duration = std::time::Duration::from_millis(20);

/// Coordinators of one core, by partition of the internal topic.
pub struct Txns<E: Env> {
    hosts: RefCell<HashMap<PartitionId, Rc<Host<E>>>>,
    /// Partitions whose marker is not written yet.
    markers_pending: Cell<usize>,
}

impl<E: Env> Default for Txns<E> {
    fn default() -> Self {
        Txns {
            hosts: RefCell::default(),
            markers_pending: Cell::new(0),
        }
    }
}

struct Host<E: Env> {
    partition: Rc<Partition<E>>,
    coordinator: RefCell<Coordinator>,
    desk: Desk<Response>,
    /// Batches that wait for room in the store, oldest first. One transactional id has one at most.
    backlog: RefCell<VecDeque<(u64, Vec<u8>)>>,
    resigned: Cell<bool>,
}

impl<E: Env> Shard<E> {
    /// Asks the coordinator of a transactional id, wherever it lives.
    pub(crate) async fn ask_txn(self: &Rc<Self>, transactional_id: &str, request: Request) -> Response {
        // As in Kafka, an id that names nothing is refused before anything else.
        if transactional_id.is_empty() {
            return request.refuse(ErrorCode::INVALID_REQUEST);
        }
        let refused = request.refuse(ErrorCode::NOT_COORDINATOR);
        let Some(id) = self.coordinator_of(TRANSACTION_STATE, transactional_id) else {
            return refused;
        };
        let owner = self.owner(&id);
        if owner == self.index {
            return self.txn_owned(id, request).await;
        }
        match self.submit(owner, Op::Txn(id, request)).await {
            Some(Answer::Txn(response)) => response,
            _ => refused,
        }
    }

    /// Starts a coordinator if the partition belongs to the internal topic.
    pub(crate) fn adopt_txn_coordinator(self: &Rc<Self>, partition: Rc<Partition<E>>) {
        let is_state = self
            .metadata()
            .topic_by_id(&partition.id.topic)
            .is_some_and(|topic| topic.name == TRANSACTION_STATE);
        if !is_state {
            return;
        }
        let host = Rc::new(Host {
            coordinator: RefCell::new(Coordinator::new(self.txn_config())),
            desk: Desk::default(),
            backlog: RefCell::default(),
            resigned: Cell::new(false),
            partition: partition.clone(),
        });
        self.txns.hosts.borrow_mut().insert(partition.id, host.clone());
        if partition.log.end_offset() == partition.log.start_offset() {
            self.coordinate_txn(&host, |coordinator, now_ms, out| coordinator.loaded(now_ms, out));
            return;
        }
        let shard = self.clone();
        self.env.spawn(Class::Journal, async move {
            let loaded = replay(&partition.log, |record| {
                if !record.control {
                    host.coordinator.borrow_mut().replay(record.key, record.value);
                }
                Ok(())
            })
            .await;
            match loaded {
                Ok(()) if host.resigned.get() => {}
                Ok(()) => {
                    shard.coordinate_txn(&host, |coordinator, now_ms, out| coordinator.loaded(now_ms, out));
                }
                // The coordinator goes on refusing: without its records it would hand out epochs a second time.
                Err(error) => {
                    crate::shell::log::event(
                        "transactions_unreadable",
                        &[("partition", &partition.id.partition), ("error", &error)],
                    );
                }
            }
        });
    }

    pub(crate) fn retire_txn_coordinator(self: &Rc<Self>, id: &PartitionId) {
        let host = self.txns.hosts.borrow_mut().remove(id);
        if let Some(host) = host {
            host.resigned.set(true);
            host.backlog.borrow_mut().clear();
            self.coordinate_txn(&host, |coordinator, _, out| coordinator.resign(out));
        }
    }

    /// Answers everyone who waits for a coordinator: the node is stopping.
    pub fn resign_txns(self: &Rc<Self>) {
        let ids: Vec<_> = self.txns.hosts.borrow().keys().copied().collect();
        for id in ids {
            self.retire_txn_coordinator(&id);
        }
    }

    /// A request for the coordinator of one internal partition.
    pub(crate) async fn txn_owned(self: &Rc<Self>, id: PartitionId, request: Request) -> Response {
        let host = self.txns.hosts.borrow().get(&id).cloned();
        match host {
            Some(host) => self.ask_txn_host(&host, request).await,
            None => request.refuse(ErrorCode::NOT_COORDINATOR),
        }
    }

    /// A request for every coordinator of this core.
    pub(crate) async fn txns_owned(self: &Rc<Self>, request: Request) -> Vec<Response> {
        let hosts: Vec<_> = self.txns.hosts.borrow().values().cloned().collect();
        let mut responses = Vec::with_capacity(hosts.len());
        for host in hosts {
            responses.push(self.ask_txn_host(&host, request.clone()).await);
        }
        responses
    }

    async fn ask_txn_host(self: &Rc<Self>, host: &Rc<Host<E>>, request: Request) -> Response {
        let refused = request.refuse(ErrorCode::NOT_COORDINATOR);
        let (ticket, filled) = host.desk.ticket();
        self.coordinate_txn(host, |coordinator, now_ms, out| {
            coordinator.request(now_ms, ticket, request, out);
        });
        filled.await.unwrap_or(refused)
    }

    /// Due deadlines of all coordinators, and appends that wait for room. Called with each heartbeat.
    pub(crate) fn tick_txns(self: &Rc<Self>) {
        let now_ms = self.env.wall_ms();
        let due: Vec<_> = {
            let hosts = self.txns.hosts.borrow();
            let is_due = |host: &&Rc<Host<E>>| {
                !host.backlog.borrow().is_empty()
                    || host
                        .coordinator
                        .borrow()
                        .next_deadline()
                        .is_some_and(|deadline| deadline <= now_ms)
            };
            hosts.values().filter(is_due).cloned().collect()
        };
        for host in due {
            self.append_txn_backlog(&host);
            self.coordinate_txn(&host, |coordinator, now_ms, out| coordinator.tick(now_ms, out));
        }
    }

    /// Broker settings changed.
    pub(crate) fn reconfigure_txns(&self) {
        let config = self.txn_config();
        let verifies = {
            let metadata = self.metadata();
            NodeSettings::resolve(&metadata.layers(self.node.id, &self.node.static_configs))
                .transaction_verification
        };
        self.verifies.set(verifies);
        for host in self.txns.hosts.borrow().values() {
            host.coordinator.borrow_mut().set_config(config.clone());
        }
    }

    /// Partitions whose markers the coordinators of this core have decided on and not yet seen written.
    pub fn markers_pending(&self) -> usize {
        self.txns.markers_pending.get()
    }

    /// Counts of all coordinators of this core.
    pub fn txn_stats(&self) -> Stats {
        let mut sum = Stats::default();
        for host in self.txns.hosts.borrow().values() {
            sum.add(&host.coordinator.borrow().stats());
        }
        sum
    }

    fn txn_config(&self) -> Config {
        let metadata = self.metadata();
        let node = NodeSettings::resolve(&metadata.layers(self.node.id, &self.node.static_configs));
        node.transactions()
    }

    /// Lets the coordinator take one event and carries out what it decides.
    fn coordinate_txn(
        self: &Rc<Self>,
        host: &Rc<Host<E>>,
        event: impl FnOnce(&mut Coordinator, i64, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        event(
            &mut host.coordinator.borrow_mut(),
            self.env.wall_ms(),
            &mut effects,
        );
        self.carry_out_txn(host, effects);
    }

    fn carry_out_txn(self: &Rc<Self>, host: &Rc<Host<E>>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { ticket, response } => host.desk.answer(ticket, response),
                Effect::Append { token, records } => self.append_txn(host, token, &records),
                Effect::Markers(job) => {
                    let (shard, host) = (self.clone(), host.clone());
                    self.env.spawn(Class::Journal, async move {
                        let number = job.job;
                        if shard.write_markers(&host, job).await {
                            shard.coordinate_txn(&host, |coordinator, now_ms, out| {
                                coordinator.markers_done(now_ms, number, out);
                            });
                        }
                    });
                }
                Effect::WantIds(count) => {
                    let (shard, host) = (self.clone(), host.clone());
                    self.env.spawn(Class::Journal, async move {
                        let mut ids = Vec::with_capacity(count);
                        for _ in 0..count {
                            ids.extend(shard.next_producer_id().await);
                        }
                        shard.coordinate_txn(&host, |coordinator, now_ms, out| {
                            coordinator.producer_ids(now_ms, &ids, out);
                        });
                    });
                }
            }
        }
    }

    fn append_txn(self: &Rc<Self>, host: &Rc<Host<E>>, token: u64, records: &[Record]) {
        let now_ms = self.env.wall_ms();
        let mut batch = BatchBuilder::new();
        let fits = records
            .iter()
            .all(|r| batch.push(now_ms, Some(&r.key), r.value.as_deref(), &[]).is_ok());
        if !fits {
            self.settle_txn(host, token, None, Err(ErrorCode::RECORD_LIST_TOO_LARGE));
            return;
        }
        host.backlog
            .borrow_mut()
            .push_back((token, batch.build_uncompressed()));
        self.append_txn_backlog(host);
    }

    /// Appends what waits, in order, as far as there is room. Heartbeats call again.
    fn append_txn_backlog(self: &Rc<Self>, host: &Rc<Host<E>>) {
        loop {
            let Some((token, batch)) = host.backlog.borrow_mut().pop_front() else {
                return;
            };
            let partition = &host.partition;
            let epoch = partition.leader_epoch.get();
            match partition.log.append(&batch, epoch, self.env.wall_ms()) {
                Ok(appended) => {
                    let done = Rc::new(Countdown::default());
                    partition.wait_for(appended.last_offset + 1, &done);
                    partition.advanced();
                    self.settle_txn(host, token, Some(done), Ok(()));
                }
                Err(AppendError::Busy) => {
                    host.backlog.borrow_mut().push_front((token, batch));
                    return;
                }
                Err(error) => {
                    let (code, _) = crate::shard::produce::append_error(&error);
                    self.settle_txn(host, token, None, Err(code));
                }
            }
        }
    }

    /// Tells the coordinator what became of an append, once it is known.
    fn settle_txn(
        self: &Rc<Self>,
        host: &Rc<Host<E>>,
        token: u64,
        done: Option<Rc<Countdown>>,
        fate: Result<(), ErrorCode>,
    ) {
        let (shard, host) = (self.clone(), host.clone());
        // A task even for a failure: the machine is not to be re-entered from its own effects.
        self.env.spawn(Class::Journal, async move {
            if let Some(done) = done {
                done.wait().await;
            }
            shard.coordinate_txn(&host, |coordinator, now_ms, out| match fate {
                Ok(()) => coordinator.committed(now_ms, token, out),
                Err(code) => coordinator.failed(now_ms, token, code, out),
            });
        });
    }

    /// Has the markers of a transaction written, for as long as it takes. False if the node stops before.
    async fn write_markers(self: &Rc<Self>, host: &Rc<Host<E>>, job: MarkerJob) -> bool {
        let mut missing: Vec<(String, i32)> = job
            .topics
            .into_iter()
            .flat_map(|(topic, partitions)| partitions.into_iter().map(move |p| (topic.clone(), p)))
            .collect();
        let pending = &self.txns.markers_pending;
        pending.set(pending.get() + missing.len());
        loop {
            let mut by_core: Vec<Vec<MarkerWrite>> = Vec::new();
            by_core.resize_with(self.cores, Vec::new);
            for (slot, (topic, partition)) in missing.iter().enumerate() {
                // A topic that is gone, or came anew under its name, has nothing of this transaction.
                let Some(id) = self.partition_named(topic, *partition) else {
                    continue;
                };
                by_core[self.owner(&id)].push(MarkerWrite {
                    slot: slot as u32,
                    id,
                    producer_id: job.producer_id,
                    producer_epoch: job.producer_epoch,
                    coordinator_epoch: host.partition.leader_epoch.get(),
                    commit: job.commit,
                    level: job.level,
                });
            }
            let mut again = Vec::new();
            for (writes, answer) in self.submit_markers(by_core) {
                match answer.await {
                    Some(results) => again.extend(
                        results
                            .into_iter()
                            .filter(|(_, error)| !is_settled(*error))
                            .map(|(slot, _)| slot),
                    ),
                    None => again.extend(writes),
                }
            }
            pending.set(pending.get() + again.len() - missing.len());
            if again.is_empty() {
                return true;
            }
            if self.stopping.get() || host.resigned.get() {
                pending.set(pending.get() - again.len());
                return false;
            }
            missing = again
                .into_iter()
                .map(|slot| missing[slot as usize].clone())
                .collect();
            self.env.sleep(MARKER_RETRY).await;
        }
    }

    /// The partition that a name and an index mean now.
    pub(crate) fn partition_named(&self, topic: &str, partition: i32) -> Option<PartitionId> {
        let metadata = self.metadata();
        let topic = metadata.topic(topic)?;
        let partition = u32::try_from(partition).ok()?;
        ((partition as usize) < topic.partitions.len()).then_some(PartitionId {
            topic: topic.id,
            partition,
        })
    }
}

/// Nothing is left to be done for the marker: it is written, or nothing it could end is there.
fn is_settled(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NONE
            | ErrorCode::INVALID_PRODUCER_EPOCH
            | ErrorCode::TRANSACTION_COORDINATOR_FENCED
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    )
}
