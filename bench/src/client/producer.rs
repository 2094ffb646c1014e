//! One producer: takes records when they are due, batches them, sends the batches, and counts the answers.
//!
//! What always holds: a record is taken up when it is due whatever happened to those before; building it may wait for
//! memory, sending for the in-flight limit, and both waits count in its response time. Batches of one partition leave
//! in order; after a retriable error the partition is held until the fate of all its batches in flight is known, then
//! they leave again in the same order, so an idempotent producer is never out of sequence.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use turgo_net::messages::metadata::MetadataResponse;
use turgo_net::records::{BatchBuilder, Compressor, Header};

use super::cluster::ClusterView;
use super::tracker::Tracker;
use super::{ClientError, Context, Effect, Link, Role, Versions, parse, requests};
use crate::integrity::SentPart;
use crate::schedule::Schedule;
use crate::spec::{Acks, Workload};
use crate::stamp::{ABORTED, HEADER_NAME, Stamp};
use crate::stats::Span;
use crate::values::{KeySource, Values, partition_of};

mod actor;
mod settle;
mod txn;
use txn::Txn;

/// A refused or lost request is tried again after this, ns.
const BACKOFF: u64 = 50_000_000;
/// A batch without success for this long has failed, ns.
const DELIVERY_TIMEOUT: u64 = 120_000_000_000;
/// Records built in one go before sockets are looked at again.
const BUILD_AT_ONCE: usize = 256;

/// What a producer is made of.
pub struct ProducerParts {
    /// Number in the run.
    pub id: u32,
    /// Number of its topic.
    pub topic: u32,
    /// The workload.
    pub workload: Arc<Workload>,
    /// Where to start.
    pub view: ClusterView,
    /// What the cluster speaks.
    pub versions: Versions,
    /// When records are due, ns from the start.
    pub schedule: Schedule,
    /// What they hold.
    pub values: Values,
    /// Their keys.
    pub keys: KeySource,
    /// The run.
    pub run: u64,
    /// Wall clock minus the clock of the run, ms: for record timestamps.
    pub wall_ms: i64,
    /// Stop after this many bytes of values (filling a backlog).
    pub byte_limit: u64,
}

/// Records that were due together.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    intended: u64,
    enqueued: u64,
    count: u32,
}

#[derive(Debug)]
struct Batch {
    partition: u32,
    bytes: Bytes,
    first: u64,
    count: u32,
    value_bytes: u64,
    base_sequence: i32,
    arrivals: Vec<Arrival>,
    born: u64,
    /// It may have reached the broker.
    maybe_sent: bool,
}

/// Records that are collected for one partition.
#[derive(Debug, Default)]
struct Open {
    builder: BatchBuilder,
    arrivals: Vec<Arrival>,
    value_bytes: u64,
    born: u64,
}

#[derive(Debug, Default)]
struct Partition {
    open: Open,
    sealed: VecDeque<Batch>,
    /// Waiting to be sent again, by sequence.
    retry: BTreeMap<u64, Batch>,
    in_flight: u32,
    /// Linger is over for the open batch.
    due: bool,
    /// It stands in the queue of its leader.
    queued: bool,
    /// Held until this time after an error.
    held_until: u64,
    sequence: i32,
    in_transaction: bool,
    log: SentPart,
}

impl Partition {
    fn sendable(&self) -> bool {
        self.retry.is_empty() && (!self.sealed.is_empty() || (self.due && !self.open.builder.is_empty()))
    }
}

#[derive(Debug, Default)]
struct Node {
    in_flight: usize,
    queue: VecDeque<u32>,
    not_before: u64,
}

#[derive(Debug)]
enum Kind {
    Produce { node: i32, batches: Vec<Batch> },
    Metadata,
    Greeting,
    ProducerId,
    TxnCoordinator,
    AddPartitions(Vec<u32>),
    EndTxn { sent: u64 },
}

/// The machine.
pub struct Producer {
    id: u32,
    topic: u32,
    name: String,
    w: Arc<Workload>,
    view: ClusterView,
    versions: Versions,
    schedule: Schedule,
    values: Values,
    keys: KeySource,
    run: u64,
    wall_ms: i64,
    byte_limit: u64,
    bytes_made: u64,

    span: Span,
    partitions: Vec<Partition>,
    nodes: HashMap<i32, Node>,
    requests: Tracker<Kind>,
    /// Taken up, not yet built.
    pending: VecDeque<Arrival>,
    /// Partitions whose open batch waits for its linger time: (deadline, partition, number of its first record).
    lingering: VecDeque<(u64, u32, u64)>,
    /// Record bytes built and not answered.
    buffered: usize,
    /// Batches sealed and not answered.
    outstanding: usize,
    sticky: u32,
    sticky_bytes: usize,
    compressor: Compressor,
    scratch: Vec<u8>,

    /// (id, epoch), once known.
    producer_id: Option<(i64, i16)>,
    /// A permanent refusal broke the sequence: a new id is needed when nothing is in flight.
    reset_id: bool,
    txn: Option<Txn>,
    greeted: BTreeSet<i32>,
    /// When to ask for metadata again; `u64::MAX`: not needed.
    refresh_at: u64,
    ask_id_at: u64,
    /// Something in flight is about ids or metadata.
    ready: bool,
    stopped: bool,
    wake: u64,
}

impl Producer {
    /// A producer that knows where to start.
    pub fn new(parts: ProducerParts) -> Producer {
        let w = parts.workload;
        let partitions = (0..w.partitions).map(|_| Partition::default()).collect();
        let mut rng = fastrand::Rng::with_seed(w.seed ^ (u64::from(parts.id) << 32) ^ 0x5EED);
        let sticky = rng.u32(0..w.partitions.max(1));
        let txn = w
            .transactions
            .map(|t| Txn::new(format!("turgo-bench-{:x}-{}", parts.run, parts.id), t));
        Producer {
            id: parts.id,
            topic: parts.topic,
            name: w.topic_name(parts.topic),
            view: parts.view,
            versions: parts.versions,
            schedule: parts.schedule,
            values: parts.values,
            keys: parts.keys,
            run: parts.run,
            wall_ms: parts.wall_ms,
            byte_limit: parts.byte_limit,
            bytes_made: 0,
            span: Span::NEVER,
            partitions,
            nodes: HashMap::new(),
            requests: Tracker::default(),
            pending: VecDeque::new(),
            lingering: VecDeque::new(),
            buffered: 0,
            outstanding: 0,
            sticky,
            sticky_bytes: 0,
            compressor: Compressor::new(),
            scratch: Vec::new(),
            producer_id: None,
            reset_id: false,
            txn,
            greeted: BTreeSet::new(),
            refresh_at: 0,
            ask_id_at: 0,
            ready: false,
            stopped: false,
            wake: 0,
            w,
        }
    }

    fn send(
        &mut self,
        link: Link,
        key: ApiKey,
        build: impl FnOnce(i32, i16) -> Result<Vec<Bytes>, ClientError>,
        kind: Kind,
        cx: &mut Context<'_>,
    ) {
        let Some(address) = self.view.address(link.node).cloned() else {
            self.refresh_at = self.refresh_at.min(cx.now);
            return;
        };
        let cap = if self.txn.is_some() && key == ApiKey::Produce {
            11
        } else {
            i16::MAX
        };
        let token = self.requests.token();
        match self
            .versions
            .at_most(key, cap)
            .and_then(|version| build(token, version))
        {
            Ok(frame) => {
                let answered = !(key == ApiKey::Produce && self.w.acks == Acks::None);
                self.requests.put(token, link, cx.now, kind);
                cx.effects.push(Effect::Send {
                    link,
                    address,
                    token,
                    frame,
                    answered,
                });
            }
            Err(error) => cx.effects.push(Effect::Fail(error)),
        }
    }

    // ---- setting up ----

    fn has_leaders(&self) -> bool {
        self.view.partitions(&self.name) >= self.partitions.len()
            && (0..self.w.partitions).all(|p| self.view.leader(&self.name, p).node >= 0)
    }

    fn set_up(&mut self, cx: &mut Context<'_>) {
        if self.w.idempotent && self.producer_id.is_none() && cx.now >= self.ask_id_at {
            self.ask_id_at = u64::MAX;
            self.ask_producer_id(cx);
        }
        if self.has_leaders() && !self.ready {
            let leaders: BTreeSet<i32> = (0..self.w.partitions)
                .map(|p| self.view.leader(&self.name, p).node)
                .collect();
            for node in leaders {
                // Opens the connection, so that the first records do not pay for it.
                if self.greeted.insert(node) {
                    let name = self.name.clone();
                    let link = Link {
                        node,
                        role: Role::Data,
                    };
                    self.send(
                        link,
                        ApiKey::Metadata,
                        |token, version| requests::metadata(version, token, std::iter::once(&*name)),
                        Kind::Greeting,
                        cx,
                    );
                }
            }
            let greeting = self.requests.kinds().any(|k| matches!(k, Kind::Greeting));
            self.ready = !greeting && (!self.w.idempotent || self.producer_id.is_some());
        }
    }

    fn ask_producer_id(&mut self, cx: &mut Context<'_>) {
        let (id, link) = match &self.txn {
            None => (
                None,
                Link {
                    node: self.view.any(),
                    role: Role::Control,
                },
            ),
            Some(txn) => match txn.coordinator {
                Some(node) => (
                    Some(txn.id.clone()),
                    Link {
                        node,
                        role: Role::Coordinator,
                    },
                ),
                None => return self.find_coordinator(cx),
            },
        };
        self.send(
            link,
            ApiKey::InitProducerId,
            |token, version| {
                let request = InitProducerIdRequest {
                    transactional_id: id.as_deref().map(Into::into),
                    transaction_timeout_ms: 60_000,
                    ..Default::default()
                };
                requests::frame(ApiKey::InitProducerId, version, token, &request)
            },
            Kind::ProducerId,
            cx,
        );
    }

    fn got_producer_id(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::InitProducerId)?;
        let answer: InitProducerIdResponse = parse(frame, ApiKey::InitProducerId, version)?;
        let code = ErrorCode(answer.error_code);
        if code.is_none() {
            self.producer_id = Some((answer.producer_id, answer.producer_epoch));
            self.restart_sequences();
            for index in 0..self.partitions.len() as u32 {
                self.enqueue_partition(index);
            }
        } else if code.retriable() || matches!(code.0, 14 | 15 | 16 | 51) {
            // Coordinator loading, absent or moved, or the transaction before is still ending.
            cx.recorder.error(code.name(), cx.now);
            if let Some(txn) = &mut self.txn
                && matches!(code.0, 15 | 16)
            {
                txn.coordinator = None;
            }
            self.ask_id_at = cx.now + BACKOFF;
        } else {
            return Err(ClientError::Refused {
                what: "getting a producer id".into(),
                code,
            });
        }
        Ok(())
    }

    /// All batches that wait get sequences from 0 under the new id.
    fn restart_sequences(&mut self) {
        let Some((id, epoch)) = self.producer_id else {
            return;
        };
        for p in &mut self.partitions {
            let mut sequence = 0i32;
            let retry = std::mem::take(&mut p.retry);
            let waiting: VecDeque<Batch> = retry.into_values().chain(p.sealed.drain(..)).collect();
            p.sealed = waiting;
            for batch in &mut p.sealed {
                batch.base_sequence = sequence;
                let mut bytes = batch.bytes.to_vec();
                set_producer(&mut bytes, id, epoch, sequence);
                batch.bytes = bytes.into();
                sequence = next_sequence(sequence, batch.count);
            }
            p.sequence = sequence;
        }
    }

    fn refresh(&mut self, cx: &mut Context<'_>) {
        if cx.now < self.refresh_at || self.requests.kinds().any(|k| matches!(k, Kind::Metadata)) {
            return;
        }
        self.refresh_at = u64::MAX;
        let link = Link {
            node: self.view.any(),
            role: Role::Control,
        };
        let name = self.name.clone();
        self.send(
            link,
            ApiKey::Metadata,
            |token, version| requests::metadata(version, token, std::iter::once(&*name)),
            Kind::Metadata,
            cx,
        );
    }

    fn got_metadata(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::Metadata)?;
        let answer: MetadataResponse<'_> = parse(frame, ApiKey::Metadata, version)?;
        let unknown = self.view.learn(&answer);
        if !unknown.is_empty() || !self.has_leaders() {
            self.refresh_at = cx.now + BACKOFF;
        }
        // Partitions may have moved: they queue at their leader of now.
        for index in 0..self.partitions.len() as u32 {
            if self.partitions[index as usize].sendable() {
                self.partitions[index as usize].queued = false;
                self.enqueue_partition(index);
            }
        }
        Ok(())
    }

    // ---- taking up and building ----

    fn take_up(&mut self, cx: &mut Context<'_>) {
        let (start, end) = (self.span.start, self.span.end);
        if start == u64::MAX || self.stopped {
            return;
        }
        if self.w.closed() {
            if cx.now >= end || self.bytes_made >= self.byte_limit {
                self.stopped = true;
            }
            return;
        }
        loop {
            match self.schedule.peek().map(|t| start + t) {
                Some(due) if due < end && self.bytes_made < self.byte_limit => {
                    if due > cx.now {
                        return;
                    }
                    self.schedule.take();
                    let count = self.w.burst;
                    cx.recorder.due(due, cx.now, u64::from(count));
                    self.pending.push_back(Arrival {
                        intended: due,
                        enqueued: cx.now,
                        count,
                    });
                }
                _ => {
                    self.stopped = true;
                    return;
                }
            }
        }
    }

    /// In a closed loop the next records are due as soon as there is room for them.
    fn closed_arrivals(&mut self, cx: &mut Context<'_>) {
        if !self.w.closed() || self.stopped || cx.now < self.span.start || self.span.start == u64::MAX {
            return;
        }
        let nodes = self.nodes.len().max(1);
        let together = if self.w.batch_records > 0 {
            1
        } else {
            (self.partitions.len() / nodes).clamp(1, 16)
        };
        let limit = self.w.in_flight * nodes * together;
        if self.pending.is_empty() && self.outstanding < limit && self.buffered < self.w.buffer_bytes {
            let count = match self.w.batch_records {
                0 => self.w.burst.max(1),
                n => n,
            };
            cx.recorder.due(cx.now, cx.now, u64::from(count));
            self.pending.push_back(Arrival {
                intended: cx.now,
                enqueued: cx.now,
                count,
            });
        }
    }

    fn choose_partition(&mut self) -> (u32, Option<u64>) {
        let count = self.partitions.len() as u32;
        match self.keys.draw() {
            Some(key) => (partition_of(self.keys.bytes(key), count), Some(key)),
            None => {
                if !self.w.sticky || self.sticky_bytes >= self.w.batch_bytes {
                    self.next_sticky();
                }
                (self.sticky, None)
            }
        }
    }

    fn next_sticky(&mut self) {
        self.sticky = (self.sticky + 1) % self.partitions.len() as u32;
        self.sticky_bytes = 0;
    }

    /// Builds what was taken up, as far as memory allows; whether there is more to do at once.
    fn build(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUILD_AT_ONCE {
            if self.buffered >= self.w.buffer_bytes || self.txn.as_ref().is_some_and(Txn::ending) {
                return false;
            }
            if self.pending.is_empty() {
                self.closed_arrivals(cx);
            }
            let Some(front) = self.pending.front_mut() else {
                return false;
            };
            let arrival = Arrival { count: 1, ..*front };
            front.count -= 1;
            if front.count == 0 {
                self.pending.pop_front();
            }
            self.build_record(arrival, cx);
        }
        true
    }

    fn build_record(&mut self, arrival: Arrival, cx: &mut Context<'_>) {
        let (index, key) = self.choose_partition();
        let mut flags = 0;
        if let Some(txn) = &mut self.txn {
            txn.begin(cx.now);
            if txn.aborts() {
                flags |= ABORTED;
            }
        }
        self.values.next_into(&mut self.scratch);
        let p = &mut self.partitions[index as usize];
        let stamp = Stamp {
            flags,
            run: self.run,
            producer: self.id,
            partition: index,
            sequence: p.log.next,
            intended: arrival.intended,
            built: cx.now,
        };
        let apart;
        let header;
        let headers: &[Header<'_>] = if self.w.stamp_apart() {
            apart = stamp.apart(&self.scratch);
            header = [Header {
                key: HEADER_NAME,
                value: Some(&apart),
            }];
            &header
        } else {
            stamp.seal(&mut self.scratch);
            &[]
        };
        let key_bytes = key.map(|k| *self.keys.bytes(k));
        let timestamp = (cx.now / 1_000_000) as i64 + self.wall_ms;
        let add = self.scratch.len() + 32;
        if !p.open.builder.is_empty() && p.open.builder.uncompressed_bytes() + add > self.w.batch_bytes {
            self.seal(index, cx);
        }
        let p = &mut self.partitions[index as usize];
        if let Err(error) = p.open.builder.push(
            timestamp,
            key_bytes.as_ref().map(|k| &k[..]),
            Some(&self.scratch),
            headers,
        ) {
            cx.effects
                .push(Effect::Fail(ClientError::Protocol(format!("batch: {error}"))));
            return;
        }
        if p.open.arrivals.is_empty() {
            p.open.born = cx.now;
            p.due = false;
            self.lingering
                .push_back((cx.now + self.w.linger_us * 1000, index, p.log.next));
        }
        match p.open.arrivals.last_mut() {
            Some(last) if last.intended == arrival.intended && last.enqueued == arrival.enqueued => {
                last.count += 1
            }
            _ => p.open.arrivals.push(arrival),
        }
        p.log.next += 1;
        p.open.value_bytes += self.scratch.len() as u64;
        self.bytes_made += self.scratch.len() as u64;
        self.buffered += add;
        self.sticky_bytes += add;
        let full = p.open.builder.uncompressed_bytes() + add > self.w.batch_bytes;
        if full || (self.w.batch_records > 0 && p.open.builder.count() >= self.w.batch_records as usize) {
            self.seal(index, cx);
            if key.is_none() && self.w.sticky {
                self.next_sticky();
            }
        }
    }

    /// Closes the open batch of a partition.
    fn seal(&mut self, index: u32, cx: &mut Context<'_>) {
        let p = &mut self.partitions[index as usize];
        let open = std::mem::take(&mut p.open);
        p.due = false;
        let (id, epoch) = self.producer_id.unwrap_or((-1, -1));
        let sequence = if self.w.idempotent { p.sequence } else { -1 };
        let count = open.builder.count() as u32;
        let mut builder = open
            .builder
            .producer(id, epoch, sequence)
            .compression(self.w.compression, self.w.level)
            .transactional(self.txn.is_some());
        let mut bytes = Vec::with_capacity(builder.uncompressed_bytes());
        if let Err(error) = builder.build_into(&mut self.compressor, &mut bytes) {
            cx.effects
                .push(Effect::Fail(ClientError::Protocol(format!("batch: {error}"))));
            return;
        }
        p.sequence = next_sequence(p.sequence, count);
        builder.clear();
        p.open.builder = builder;
        p.sealed.push_back(Batch {
            partition: index,
            bytes: bytes.into(),
            first: p.log.next - u64::from(count),
            count,
            value_bytes: open.value_bytes,
            base_sequence: sequence,
            arrivals: open.arrivals,
            born: open.born,
            maybe_sent: false,
        });
        self.outstanding += 1;
        self.enqueue_partition(index);
    }

    fn enqueue_partition(&mut self, index: u32) {
        let p = &mut self.partitions[index as usize];
        if p.queued || !p.sendable() {
            return;
        }
        if let Some(txn) = &mut self.txn
            && !p.in_transaction
        {
            txn.want(index);
            return;
        }
        let leader = self.view.leader(&self.name, index).node;
        if leader < 0 {
            return;
        }
        p.queued = true;
        self.nodes.entry(leader).or_default().queue.push_back(index);
    }

    // ---- sending ----

    fn expire_linger(&mut self, now: u64) {
        while let Some((deadline, index, first)) = self.lingering.front().copied() {
            // After the end nothing more will come to wait for.
            if deadline > now && !(self.stopped && self.pending.is_empty()) {
                break;
            }
            self.lingering.pop_front();
            let p = &mut self.partitions[index as usize];
            let open_first = p.log.next - p.open.builder.count() as u64;
            if !p.open.builder.is_empty() && open_first == first {
                p.due = true;
                self.enqueue_partition(index);
            }
        }
    }

    fn drain_nodes(&mut self, cx: &mut Context<'_>) {
        if self.reset_id {
            return self.reset_when_quiet(cx);
        }
        let nodes: Vec<i32> = self
            .nodes
            .iter()
            .filter(|(_, n)| !n.queue.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for node in nodes {
            while self.send_to(node, cx) {}
        }
    }

    /// Sends one request to `node` if it may have one; whether it was.
    fn send_to(&mut self, node: i32, cx: &mut Context<'_>) -> bool {
        let Some(state) = self.nodes.get_mut(&node) else {
            return false;
        };
        if state.queue.is_empty() || state.in_flight >= self.w.in_flight || state.not_before > cx.now {
            return false;
        }
        let mut waiting = std::mem::take(&mut state.queue);
        let (mut batches, mut bytes): (Vec<Batch>, usize) = (Vec::new(), 0);
        let mut again = Vec::new();
        while let Some(index) = waiting.pop_front() {
            if self.view.leader(&self.name, index).node != node {
                self.partitions[index as usize].queued = false;
                self.enqueue_partition(index);
                continue;
            }
            if self.partitions[index as usize].sealed.is_empty() && self.partitions[index as usize].due {
                // `seal` would queue the partition again; it is queued.
                self.seal(index, cx);
            }
            let p = &mut self.partitions[index as usize];
            p.queued = false;
            let Some(batch) = p.sealed.pop_front() else {
                continue;
            };
            if !batches.is_empty() && bytes + batch.bytes.len() > self.w.request_bytes {
                p.sealed.push_front(batch);
                p.queued = true;
                waiting.push_front(index);
                break;
            }
            bytes += batch.bytes.len();
            p.in_flight += 1;
            batches.push(batch);
            again.push(index);
        }
        let state = self.nodes.entry(node).or_default();
        // What moved in meanwhile (never of this node's own) stays behind what was waiting.
        waiting.extend(state.queue.drain(..));
        state.queue = waiting;
        for index in again {
            self.enqueue_partition(index);
        }
        if batches.is_empty() {
            return false;
        }
        self.nodes.entry(node).or_default().in_flight += 1;
        let name = self.name.clone();
        let transactional = self.txn.as_ref().map(|t| t.id.clone());
        let acks = self.w.acks.code();
        let list: Vec<(i32, Bytes)> = batches
            .iter()
            .map(|b| (b.partition as i32, b.bytes.clone()))
            .collect();
        self.send(
            Link {
                node,
                role: Role::Data,
            },
            ApiKey::Produce,
            |token, version| {
                requests::produce(
                    version,
                    token,
                    acks,
                    transactional.as_deref(),
                    &name,
                    list.into_iter(),
                )
            },
            Kind::Produce { node, batches },
            cx,
        );
        true
    }

    fn held(&self) -> bool {
        self.partitions.iter().any(|p| !p.retry.is_empty())
    }

    fn idle(&self) -> bool {
        self.pending.is_empty()
            && self.outstanding == 0
            && self.partitions.iter().all(|p| p.open.builder.is_empty())
    }

    fn plan_wake(&mut self, more: bool, now: u64) {
        let mut wake = self.refresh_at.min(self.ask_id_at);
        if more {
            wake = now;
        } else if self.span.start != u64::MAX && !self.stopped {
            let due = if self.w.closed() {
                self.span.end
            } else {
                self.schedule.peek().map_or(now, |t| self.span.start + t)
            };
            wake = wake.min(due);
            if self.w.closed() && now < self.span.start {
                wake = wake.min(self.span.start);
            }
        }
        if let Some((deadline, ..)) = self.lingering.front() {
            // An overdue batch waits for the in-flight limit: an answer wakes it.
            if *deadline > now {
                wake = wake.min(*deadline);
            }
        }
        if let Some(at) = self
            .nodes
            .values()
            .filter(|n| !n.queue.is_empty() && n.not_before > now)
            .map(|n| n.not_before)
            .min()
        {
            wake = wake.min(at);
        }
        if self.outstanding > 0 && self.held() {
            wake = wake.min(now + BACKOFF / 10);
        }
        if let Some(txn) = &self.txn {
            wake = wake.min(txn.wake());
        }
        // Timeouts are looked for once a second.
        self.wake = wake.min(now + 1_000_000_000);
    }
}

/// The sequence after `count` more records: it wraps behind `i32::MAX`, as the protocol has it.
fn next_sequence(sequence: i32, count: u32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

/// Changes id, epoch and sequence of a whole batch, and its CRC.
fn set_producer(batch: &mut [u8], id: i64, epoch: i16, sequence: i32) {
    batch[43..51].copy_from_slice(&id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests;
