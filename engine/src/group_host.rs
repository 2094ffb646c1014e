//! Group coordinators on the core that owns their partition of `__consumer_offsets`.
//!
//! The coordinator itself is a machine ([`crate::groups`]); this module feeds it requests, time and the fate of its
//! appends, and carries out what it decides. It is loaded by replaying its partition; until then it refuses.
//!
//! Invariants: a coordinator's records are appended in the order in which it gives them; `committed` is reported in
//! the same order; a coordinator that lost its partition answers everyone before it goes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use turgo_net::records::{Attributes, BatchBuilder};
use turgo_storage::PartitionId;
use turgo_storage::env::{Class, Env};

use crate::configs::{NodeSettings, ResourceType};
use crate::groups::consumer::cluster::{Cluster, Overrides, TopicInfo};
use crate::groups::messages::{Caller, Request, Response};
use crate::groups::room::Room;
use crate::groups::{Config, Coordinator, Effect, ReplayRecord, Stats, codes};
use crate::shard::Shard;
use crate::shard::partition::Partition;
use crate::shard::replay::replay;
use crate::sync::{Countdown, Desk, Filled, oneshot};
use crate::txn::planted::{Bug, planted};

/// How often what members hold is counted, at most.
const COUNT_INTERVAL_MS: u64 = 5_000;

/// Coordinators of one core, by partition of the internal topic.
pub struct Groups<E: Env> {
    hosts: RefCell<HashMap<PartitionId, Rc<Host<E>>>>,
    /// Bytes that members may still bring, and when that was counted last, on the shards' clock.
    room: Rc<Room>,
    counted_ms: Cell<Option<u64>>,
}

impl<E: Env> Default for Groups<E> {
    fn default() -> Self {
        Groups {
            hosts: RefCell::default(),
            room: Rc::default(),
            counted_ms: Cell::new(None),
        }
    }
}

struct Host<E: Env> {
    partition: Rc<Partition<E>>,
    coordinator: RefCell<Coordinator>,
    desk: Desk<Response>,
    /// The latest append whose fate has not been reported, or the loading: what comes next is reported after it, whatever
    /// task runs first.
    tail: RefCell<Option<Filled<()>>>,
}

/// The cluster as coordinators see it: the metadata that this core has applied.
struct Known<E: Env>(Weak<Shard<E>>);

impl<E: Env> std::fmt::Debug for Known<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

impl<E: Env> Cluster for Known<E> {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let shard = self.0.upgrade()?;
        let metadata = shard.metadata();
        let topic = metadata.topic(name)?;
        Some(TopicInfo {
            id: topic.id,
            partitions: i32::try_from(topic.count()).unwrap_or(i32::MAX),
        })
    }

    fn name(&self, id: &[u8; 16]) -> Option<String> {
        let shard = self.0.upgrade()?;
        let metadata = shard.metadata();
        Some(metadata.topic_by_id(id)?.name.clone())
    }

    fn racks(&self, name: &str) -> Vec<Vec<String>> {
        let Some(shard) = self.0.upgrade() else {
            return Vec::new();
        };
        let metadata = shard.metadata();
        let rack = |broker: &i32| metadata.broker(*broker).and_then(|broker| broker.rack.clone());
        let Some(topic) = metadata.topic(name) else {
            return Vec::new();
        };
        if topic
            .partitions
            .iter()
            .all(|p| p.replicas.iter().all(|broker| rack(broker).is_none()))
        {
            return Vec::new();
        }
        topic
            .partitions
            .iter()
            .map(|partition| partition.replicas.iter().filter_map(rack).collect())
            .collect()
    }

    fn each_topic(&self, each: &mut dyn FnMut(&str)) {
        if let Some(shard) = self.0.upgrade() {
            shard.metadata().topics().for_each(|topic| each(&topic.name));
        }
    }

    fn version(&self) -> i64 {
        let version = self.0.upgrade().map_or(0, |shard| shard.metadata().applied());
        i64::try_from(version).unwrap_or(i64::MAX)
    }

    fn overrides(&self, group: &str) -> Overrides {
        let Some(shard) = self.0.upgrade() else {
            return Overrides::default();
        };
        let metadata = shard.metadata();
        let set = metadata.overrides(ResourceType::Group, group);
        let number = |name: &str| set.get(name).and_then(|text| text.trim().parse().ok());
        if set.is_empty() {
            return Overrides::default();
        }
        Overrides {
            session_timeout_ms: number("consumer.session.timeout.ms"),
            heartbeat_interval_ms: number("consumer.heartbeat.interval.ms"),
            assignment_interval_ms: number("consumer.assignment.interval.ms"),
        }
    }
}

impl<E: Env> Shard<E> {
    /// Starts a coordinator if the partition belongs to the internal topic.
    pub(crate) fn adopt_coordinator(self: &Rc<Self>, partition: Rc<Partition<E>>) {
        let is_offsets = self
            .metadata()
            .topic_by_id(&partition.id.topic)
            .is_some_and(|topic| topic.name == crate::metadata::CONSUMER_OFFSETS);
        if !is_offsets {
            return;
        }
        let host = Rc::new(Host {
            coordinator: RefCell::new(
                Coordinator::in_cluster(self.group_config(), Rc::new(Known(Rc::downgrade(self))))
                    .within(self.groups.room.clone()),
            ),
            desk: Desk::default(),
            tail: RefCell::default(),
            partition: partition.clone(),
        });
        self.groups.hosts.borrow_mut().insert(partition.id, host.clone());
        self.count_member_bytes();
        if partition.log.end_offset() == partition.log.start_offset() {
            self.coordinate(&host, |coordinator, now_ms, out| coordinator.loaded(now_ms, out));
            return;
        }
        // A marker may be written while the records are read, and must find the offsets that it decides about.
        let (told, after) = oneshot();
        *host.tail.borrow_mut() = Some(after);
        let shard = self.clone();
        self.env.spawn(Class::Journal, async move {
            let _told = told;
            let loaded = replay(&partition.log, |record| {
                if record.control {
                    if let (Some(producer_id), Some(commit)) = (record.producer_id, outcome(record.key)) {
                        host.coordinator.borrow_mut().end_transaction(producer_id, commit);
                    }
                    return Ok(());
                }
                host.coordinator.borrow_mut().replay(ReplayRecord {
                    offset: record.offset,
                    producer_id: record.producer_id,
                    key: record.key,
                    value: record.value,
                });
                Ok(())
            })
            .await;
            match loaded {
                Ok(()) => shard.coordinate(&host, |coordinator, now_ms, out| coordinator.loaded(now_ms, out)),
                // The coordinator goes on refusing: serving without its offsets would reset consumers.
                Err(error) => {
                    crate::shell::log::error(
                        "group_offsets_unreadable",
                        &[("partition", &partition.id.partition), ("error", &error)],
                    );
                }
            }
        });
    }

    pub(crate) fn retire_coordinator(self: &Rc<Self>, id: &PartitionId) {
        let host = self.groups.hosts.borrow_mut().remove(id);
        if let Some(host) = host {
            self.coordinate(&host, |coordinator, _, out| coordinator.resign(out));
        }
    }

    /// A request for the coordinator of one internal partition.
    pub(crate) async fn group_owned(
        self: &Rc<Self>,
        id: PartitionId,
        caller: Caller,
        request: Request,
    ) -> Response {
        let host = self.groups.hosts.borrow().get(&id).cloned();
        match host {
            Some(host) => self.ask(&host, &caller, request).await,
            None => request.refuse(codes::NOT_COORDINATOR, caller.api_version),
        }
    }

    /// Offsets of a transaction: the partition joins it, or is known to be in it, before they are written.
    pub(crate) async fn txn_offsets_owned(
        self: &Rc<Self>,
        id: PartitionId,
        transactional_id: &str,
        caller: Caller,
        request: Request,
    ) -> Response {
        let host = self.groups.hosts.borrow().get(&id).cloned();
        let (Some(host), Request::TxnOffsetCommit(commit)) = (host, &request) else {
            return request.refuse(codes::NOT_COORDINATOR, caller.api_version);
        };
        // A group that cannot be joins no transaction.
        if commit.group_id.is_empty() {
            return self.ask(&host, &caller, request).await;
        }
        let (producer_id, epoch) = (commit.producer_id, commit.producer_epoch);
        let joined = self
            .join_transaction(
                &host.partition,
                transactional_id,
                producer_id,
                epoch,
                caller.api_version,
            )
            .await;
        match joined {
            // What the host does up to the append does not wait, so no marker comes in between.
            Ok(()) => self.ask(&host, &caller, request).await,
            Err(error) => request.refuse(error.0, caller.api_version),
        }
    }

    /// A marker that ends at `end` is in the log of an offsets partition: once it is durable, the offsets of the
    /// transaction count or are gone. `None` for other partitions.
    pub(crate) fn end_offsets(
        self: &Rc<Self>,
        id: &PartitionId,
        producer_id: i64,
        commit: bool,
        end: i64,
    ) -> Option<Filled<()>> {
        let host = self.groups.hosts.borrow().get(id).cloned()?;
        let (in_force, waits) = oneshot();
        let (told, after) = oneshot();
        let before = host.tail.borrow_mut().replace(after);
        let done = Rc::new(Countdown::default());
        host.partition.wait_for(end, &done);
        self.env.spawn(Class::Journal, async move {
            done.wait().await;
            if let Some(before) = before {
                before.await;
            }
            if !(commit && planted(Bug::LostOffsets)) {
                host.coordinator.borrow_mut().end_transaction(producer_id, commit);
            }
            told.fill(());
            in_force.fill(());
        });
        Some(waits)
    }

    /// A request for every coordinator of this core.
    pub(crate) async fn groups_owned(self: &Rc<Self>, caller: Caller, request: Request) -> Vec<Response> {
        let hosts: Vec<_> = self.groups.hosts.borrow().values().cloned().collect();
        let mut responses = Vec::with_capacity(hosts.len());
        for host in hosts {
            responses.push(self.ask(&host, &caller, request.clone()).await);
        }
        responses
    }

    async fn ask(self: &Rc<Self>, host: &Rc<Host<E>>, caller: &Caller, request: Request) -> Response {
        let refused = request.refuse(codes::NOT_COORDINATOR, caller.api_version);
        let (ticket, filled) = host.desk.ticket();
        self.coordinate(host, |coordinator, now_ms, out| {
            coordinator.request(now_ms, ticket, caller, request, out);
        });
        filled.await.unwrap_or(refused)
    }

    /// Due deadlines of all coordinators. Called with each heartbeat.
    pub(crate) fn tick_groups(self: &Rc<Self>) {
        let now_ms = self.env.wall_ms();
        let due: Vec<_> = {
            let hosts = self.groups.hosts.borrow();
            let is_due = |host: &&Rc<Host<E>>| {
                host.coordinator
                    .borrow()
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= now_ms)
            };
            hosts.values().filter(is_due).cloned().collect()
        };
        for host in due {
            self.coordinate(&host, |coordinator, now_ms, out| coordinator.tick(now_ms, out));
        }
    }

    /// A topic is gone: its committed offsets go too.
    pub(crate) fn forget_topic_offsets(self: &Rc<Self>, name: &str, id: [u8; 16]) {
        let hosts: Vec<_> = self.groups.hosts.borrow().values().cloned().collect();
        for host in hosts {
            self.coordinate(&host, |coordinator, now_ms, out| {
                coordinator.delete_topics(now_ms, &[(name.to_owned(), id)], out);
            });
        }
    }

    /// Topics changed; `created` if there is a new one.
    pub(crate) fn tell_groups_of_topics(&self, created: bool) {
        for host in self.groups.hosts.borrow().values() {
            host.coordinator.borrow_mut().topics_changed(created);
        }
    }

    /// Broker settings changed.
    pub(crate) fn reconfigure_groups(&self) {
        let config = self.group_config();
        for host in self.groups.hosts.borrow().values() {
            host.coordinator.borrow_mut().set_config(config.clone());
        }
    }

    /// Bounds what members hold by as much as requests may hold on this core. Called about once a second.
    pub(crate) fn count_member_bytes(&self) {
        let (now_ms, room) = (self.now_ms(), &self.groups.room);
        let due = match self.groups.counted_ms.get() {
            None => true,
            Some(counted_ms) => room.was_taken_from() && now_ms >= counted_ms + COUNT_INTERVAL_MS,
        };
        if !due {
            return;
        }
        self.groups.counted_ms.set(Some(now_ms));
        let hosts = self.groups.hosts.borrow();
        let held: usize = hosts
            .values()
            .map(|host| host.coordinator.borrow().member_bytes())
            .sum();
        room.reset(self.node.request_memory.saturating_sub(held));
    }

    /// Counts of all coordinators of this core.
    pub fn group_stats(&self) -> Stats {
        let mut sum = Stats::default();
        for host in self.groups.hosts.borrow().values() {
            sum.add(&host.coordinator.borrow().stats());
        }
        sum
    }

    /// Answers everyone who waits for a coordinator: the node is stopping.
    pub fn resign_groups(self: &Rc<Self>) {
        let ids: Vec<_> = self.groups.hosts.borrow().keys().copied().collect();
        for id in ids {
            self.retire_coordinator(&id);
        }
    }

    fn group_config(&self) -> Config {
        let metadata = self.metadata();
        let node = NodeSettings::resolve(&metadata.layers(self.node.id, &self.node.static_configs));
        node.groups()
    }

    /// Lets the coordinator take one event and carries out what it decides.
    fn coordinate(
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
        for effect in effects {
            match effect {
                Effect::Reply { ticket, response } => host.desk.answer(ticket, response),
                Effect::Append {
                    token,
                    producer,
                    records,
                } => {
                    let now_ms = self.env.wall_ms();
                    let mut batch = BatchBuilder::new();
                    if let Some(producer) = producer {
                        batch = batch
                            .producer(producer.id, producer.epoch, -1)
                            .attributes(Attributes(0).with_transactional(true));
                    }
                    let fits = records
                        .iter()
                        .all(|r| batch.push(now_ms, Some(&r.key), r.value.as_deref(), &[]).is_ok());
                    self.append_for(host, token, fits.then(|| batch.build_uncompressed()));
                }
            }
        }
    }

    fn append_for(self: &Rc<Self>, host: &Rc<Host<E>>, token: u64, batch: Option<Vec<u8>>) {
        let partition = host.partition.clone();
        let appended = match batch {
            Some(batch) => partition
                .log
                .append(&batch, partition.leader_epoch.get(), self.env.wall_ms())
                .map_err(|error| crate::shard::produce::append_error(&error).0.0),
            None => Err(turgo_net::ErrorCode::RECORD_LIST_TOO_LARGE.0),
        };
        let (shard, host) = (self.clone(), host.clone());
        let done = Rc::new(Countdown::default());
        if let Ok(appended) = &appended {
            partition.wait_for(appended.last_offset + 1, &done);
            partition.advanced();
        }
        let (told, after) = oneshot();
        let before = host.tail.borrow_mut().replace(after);
        // A task even for a failure: the machine is not to be re-entered from its own effects.
        self.env.spawn(Class::Journal, async move {
            done.wait().await;
            if let Some(before) = before {
                before.await;
            }
            shard.coordinate(&host, |coordinator, now_ms, out| match appended {
                Ok(appended) => coordinator.committed(now_ms, token, appended.base_offset, out),
                Err(code) => coordinator.failed(now_ms, token, code, out),
            });
            told.fill(());
        });
    }
}

/// What a marker's key says: commit or abort; `None` for a control record of another kind.
fn outcome(key: Option<&[u8]>) -> Option<bool> {
    match key? {
        [_, _, 0, 0, ..] => Some(false),
        [_, _, 0, 1, ..] => Some(true),
        _ => None,
    }
}
