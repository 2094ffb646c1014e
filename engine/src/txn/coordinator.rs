//! The coordinator itself: ids by name, appends under way, requests that wait, deadlines.
//!
//! One id makes one transition at a time. A request that comes while one is under way, or while markers are being
//! written, waits its turn, at most [`super::Limits::wait_ms`]; Kafka answers CONCURRENT_TRANSACTIONS at once and lets
//! the client ask again. To a client the two differ in time only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use turgo_net::ErrorCode;

use super::messages::{
    AddPartitions, Described, InitProducerId, ListTransactions, Listed, Producer, Request, Response, TV2, all,
};
use super::planted::{Bug, planted};
use super::records::{self, Record};
use super::state::{TopicPartitions, Txn, TxnState};
use super::{Config, messages::Level};

/// Names a request in its answer.
pub type Ticket = u64;

/// What the host must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append these records, as one batch, to the coordinator's partition, then report [`Coordinator::committed`] once
    /// the batch is committed or [`Coordinator::failed`] once it cannot be.
    Append {
        /// Names the append in the report. Grows by one with each append.
        token: u64,
        /// Never empty.
        records: Vec<Record>,
    },
    /// Write markers, however long it takes, and report [`Coordinator::markers_done`] once all of them are durable or
    /// their partitions are gone.
    Markers(MarkerJob),
    /// Answer a request.
    Reply {
        /// The ticket that came with the request.
        ticket: Ticket,
        /// The answer.
        response: Response,
    },
    /// Bring fresh producer ids ([`Coordinator::producer_ids`]), so many at least.
    WantIds(usize),
}

/// Markers of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerJob {
    /// Names the job in the report.
    pub job: u64,
    /// Producer id of the transaction.
    pub producer_id: i64,
    /// Epoch that the markers carry.
    pub producer_epoch: i16,
    /// Outcome.
    pub commit: bool,
    /// Level of the client that wrote the transaction: decides which epochs a partition accepts (KIP-1228).
    pub level: Level,
    /// Where.
    pub topics: super::messages::Topics,
}

/// Counts for metrics and for the operator's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactional ids known.
    pub ids: usize,
    /// Transactions open.
    pub open: usize,
    /// Transactions whose markers are being written.
    pub completing: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions aborted.
    pub aborts: u64,
    /// Of those, because they took too long.
    pub timeouts: u64,
    /// Ids removed because nobody used them.
    pub expired_ids: u64,
    /// Records that could not be read while loading, and were skipped.
    pub bad_records: u64,
    /// Appends that failed.
    pub failed_appends: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
    Resigned,
}

/// What an append does once its fate is known.
#[derive(Debug)]
pub(super) enum Op {
    /// A producer begins anew.
    Init(Ticket),
    /// Partitions joined.
    Add(Vec<(Ticket, AddPartitions)>),
    /// The outcome is decided.
    End(EndReply),
    /// All markers are written.
    Complete,
    /// The id goes.
    Expire,
}

/// Whom to tell that an outcome is decided.
#[derive(Debug)]
pub(super) enum EndReply {
    /// The client that asked for it.
    Client(Ticket),
    /// A producer that wants to begin anew and is to ask again.
    Fenced(Ticket),
    /// Nobody: it took too long.
    TimedOut,
}

#[derive(Debug)]
pub(super) struct Pending {
    token: u64,
    /// `None` removes the id.
    next: Option<Txn>,
    op: Op,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    until_ms: i64,
    request: Request,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// As committed.
    pub txn: Txn,
    pub pending: Option<Pending>,
    waiting: VecDeque<Waiting>,
    /// Markers being written.
    job: Option<u64>,
}

impl Entry {
    fn new(txn: Txn) -> Entry {
        Entry {
            txn,
            pending: None,
            waiting: VecDeque::new(),
            job: None,
        }
    }

    /// Nothing can be decided now: a transition is under way.
    pub fn is_busy(&self) -> bool {
        self.pending.is_some() || self.txn.state.is_prepared()
    }
}

/// What became of a request.
pub(super) enum Outcome {
    /// Answered, or will be.
    Done,
    /// To be asked again later.
    Wait(Request),
    /// Needs a fresh producer id.
    NeedsId(Request),
}

/// The transaction coordinator of one partition of the internal topic. See the module's header.
///
/// `now_ms` everywhere is ms since the epoch. A coordinator serves one term of leadership.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: Config,
    phase: Phase,
    pub(super) entries: BTreeMap<Rc<str>, Entry>,
    /// Ids that each append is about.
    appends: BTreeMap<u64, Vec<Rc<str>>>,
    last_token: u64,
    /// Ids whose markers are being written, by job.
    jobs: BTreeMap<u64, Rc<str>>,
    last_job: u64,
    /// When each open transaction has taken too long.
    open: BTreeSet<(i64, Rc<str>)>,
    /// When each waiting request has waited too long.
    waits: BTreeSet<(i64, Ticket, Rc<str>)>,
    /// Complete transactions whose record could not be appended.
    incomplete: BTreeSet<Rc<str>>,
    /// Fresh producer ids.
    spare_ids: Vec<i64>,
    /// Requests that wait for one.
    for_ids: VecDeque<(Ticket, Request)>,
    next_abort_ms: i64,
    next_expire_ms: i64,
    pub(super) stats: Stats,
}

/// How long after a failed append of a complete transaction it is tried again, ms.
const RETRY_MS: i64 = 50;

impl Coordinator {
    /// A coordinator that has yet to be given its partition's records.
    pub fn new(config: Config) -> Coordinator {
        Coordinator {
            config,
            phase: Phase::Loading,
            entries: BTreeMap::new(),
            appends: BTreeMap::new(),
            last_token: 0,
            jobs: BTreeMap::new(),
            last_job: 0,
            open: BTreeSet::new(),
            waits: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            spare_ids: Vec::new(),
            for_ids: VecDeque::new(),
            next_abort_ms: i64::MAX,
            next_expire_ms: i64::MAX,
            stats: Stats::default(),
        }
    }

    /// Takes in one committed record; records come in offset order, before [`Coordinator::loaded`]. One that cannot be
    /// read is skipped and counted.
    pub fn replay(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        assert_eq!(self.phase, Phase::Loading, "replay after loading");
        let Some(id) = key.and_then(records::decode_key) else {
            self.stats.bad_records += 1;
            return;
        };
        match value.map(records::decode_value) {
            None => {
                self.entries.remove(id.as_str());
            }
            Some(Some(txn)) => {
                self.entries.insert(id.into(), Entry::new(txn));
            }
            Some(None) => self.stats.bad_records += 1,
        }
    }

    /// All records have been replayed: requests are served from now on, and decided transactions are completed.
    pub fn loaded(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        assert_eq!(self.phase, Phase::Loading, "loaded twice");
        self.phase = Phase::Active;
        self.next_abort_ms = now_ms.saturating_add(self.config.abort_interval_ms);
        self.next_expire_ms = now_ms.saturating_add(self.config.expire_interval_ms);
        let ids: Vec<Rc<str>> = self.entries.keys().cloned().collect();
        for id in ids {
            self.entered(&id, out);
        }
    }

    /// New settings.
    pub fn set_config(&mut self, config: Config) {
        // A shorter interval counts from now on, not from when the longer one ends.
        let sooner = |next: i64, old: i64, new: i64| next.saturating_sub(old.saturating_sub(new).max(0));
        self.next_abort_ms = sooner(
            self.next_abort_ms,
            self.config.abort_interval_ms,
            config.abort_interval_ms,
        );
        self.next_expire_ms = sooner(
            self.next_expire_ms,
            self.config.expire_interval_ms,
            config.expire_interval_ms,
        );
        self.config = config;
    }

    /// Serves one request. The answer comes back as [`Effect::Reply`] with `ticket`, now or after a later event.
    pub fn request(&mut self, now_ms: i64, ticket: Ticket, request: Request, out: &mut Vec<Effect>) {
        if let Some(error) = self.admission(&request) {
            let response = request.refuse(error);
            out.push(Effect::Reply { ticket, response });
            return;
        }
        match request {
            Request::Describe(id) => {
                let response = Response::Described(self.describe(id));
                out.push(Effect::Reply { ticket, response });
            }
            Request::List(list) => {
                let response = Response::Listed(Ok(self.list(now_ms, &list)));
                out.push(Effect::Reply { ticket, response });
            }
            request => self.take_turn(now_ms, ticket, request, out),
        }
    }

    /// Why a request is refused before it is looked at more closely.
    fn admission(&self, request: &Request) -> Option<ErrorCode> {
        let id = match request {
            Request::InitProducerId(r) => r.transactional_id.as_str(),
            Request::AddPartitions(r) => r.transactional_id.as_str(),
            Request::End(r) => r.transactional_id.as_str(),
            Request::Describe(id) => id.as_str(),
            Request::List(_) => "-",
        };
        if id.is_empty() || id.len() > self.config.limits.id_bytes {
            return Some(ErrorCode::INVALID_REQUEST);
        }
        if let Request::InitProducerId(r) = request
            && !(1..=self.config.max_timeout_ms).contains(&r.timeout_ms)
        {
            return Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        match self.phase {
            Phase::Loading => Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            Phase::Resigned => Some(ErrorCode::NOT_COORDINATOR),
            Phase::Active => None,
        }
    }

    fn take_turn(&mut self, now_ms: i64, ticket: Ticket, request: Request, out: &mut Vec<Effect>) {
        let id = name(&request);
        let queued = self.entries.get(id).is_some_and(|e| !e.waiting.is_empty());
        let outcome = if queued {
            Outcome::Wait(request)
        } else {
            self.process(now_ms, ticket, request, out)
        };
        match outcome {
            Outcome::Done => {}
            Outcome::NeedsId(request) => self.wait_for_id(ticket, request, out),
            Outcome::Wait(request) => {
                if self.waits.len() >= self.config.limits.waiting {
                    let response = request.refuse(ErrorCode::CONCURRENT_TRANSACTIONS);
                    out.push(Effect::Reply { ticket, response });
                    return;
                }
                let until_ms = now_ms.saturating_add(self.config.limits.wait_ms);
                let (id, _) = self.entries.get_key_value(name(&request)).expect("it is busy");
                let id = id.clone();
                self.waits.insert((until_ms, ticket, id.clone()));
                let entry = self.entries.get_mut(&id).expect("it is busy");
                entry.waiting.push_back(Waiting {
                    ticket,
                    until_ms,
                    request,
                });
            }
        }
    }

    fn process(&mut self, now_ms: i64, ticket: Ticket, request: Request, out: &mut Vec<Effect>) -> Outcome {
        match request {
            Request::InitProducerId(init) => self.init(now_ms, ticket, init, out),
            Request::AddPartitions(add) => self.add(now_ms, vec![(ticket, add)], out),
            Request::End(end) => self.end(now_ms, ticket, end, out),
            Request::Describe(_) | Request::List(_) => unreachable!("answered at once"),
        }
    }

    // ---- producer ids ----

    fn wait_for_id(&mut self, ticket: Ticket, request: Request, out: &mut Vec<Effect>) {
        if self.for_ids.len() >= self.config.limits.waiting {
            let response = request.refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
            out.push(Effect::Reply { ticket, response });
            return;
        }
        self.for_ids.push_back((ticket, request));
        out.push(Effect::WantIds(1));
    }

    /// Fresh producer ids, never given out before; none if there are none to be had now.
    pub fn producer_ids(&mut self, now_ms: i64, ids: &[i64], out: &mut Vec<Effect>) {
        self.spare_ids.extend(ids);
        for _ in 0..self.for_ids.len() {
            if self.spare_ids.is_empty() && !ids.is_empty() {
                // Others have asked for more.
                break;
            }
            let Some((ticket, request)) = self.for_ids.pop_front() else {
                break;
            };
            if ids.is_empty() {
                let response = request.refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                out.push(Effect::Reply { ticket, response });
            } else {
                self.take_turn(now_ms, ticket, request, out);
            }
        }
    }

    pub(super) fn has_id(&self) -> bool {
        !self.spare_ids.is_empty()
    }

    /// A fresh id where one is needed; the caller has checked that there is one.
    pub(super) fn fresh_id(&mut self) -> i64 {
        self.spare_ids.pop().expect("checked")
    }

    fn init(&mut self, now_ms: i64, ticket: Ticket, init: InitProducerId, out: &mut Vec<Effect>) -> Outcome {
        let refuse = |out: &mut Vec<Effect>, error| {
            let response = Response::Producer(Producer::refused(error));
            out.push(Effect::Reply { ticket, response });
            Outcome::Done
        };
        let Some((id, entry)) = self.entries.get_key_value(init.transactional_id.as_str()) else {
            if self.entries.len() >= self.config.limits.ids {
                return refuse(out, ErrorCode::COORDINATOR_NOT_AVAILABLE);
            }
            if !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            let txn = Txn::new(self.fresh_id(), init.timeout_ms, now_ms);
            let next = txn
                .raise_epoch(init.timeout_ms, None, now_ms)
                .expect("epochs are left");
            let id: Rc<str> = init.transactional_id.into();
            self.entries.insert(id.clone(), Entry::new(txn));
            self.append(&id, Some(next), Op::Init(ticket), out);
            return Outcome::Done;
        };
        if entry.is_busy() {
            return Outcome::Wait(Request::InitProducerId(init));
        }
        let id = id.clone();
        let txn = &entry.txn;
        let known = |(producer_id, epoch): (i64, i16)| {
            txn.epoch == -1
                || producer_id == txn.producer_id
                || (producer_id == txn.previous_id && epoch >= super::state::LAST_EPOCH)
        };
        if !init.expected.is_none_or(known) {
            return refuse(out, ErrorCode::PRODUCER_FENCED);
        }
        if txn.state == TxnState::Ongoing {
            // Whoever has the epoch is fenced and the transaction aborted; the producer asks again for an epoch of its
            // own, which nobody else has ever had.
            if txn.is_exhausted() && !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            self.prepare(now_ms, &id, false, TV2, EndReply::Fenced(ticket), out);
            return Outcome::Done;
        }
        let expected = init.expected.map(|(_, epoch)| epoch);
        let next = if txn.is_exhausted() && expected.is_none_or(|epoch| epoch == txn.epoch) {
            if !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            let fresh = self.fresh_id();
            let txn = &self.entries[&id].txn;
            txn.rotate(fresh, init.timeout_ms, expected.is_some(), now_ms)
        } else {
            match txn.raise_epoch(init.timeout_ms, expected, now_ms) {
                Ok(next) => next,
                Err(error) => return refuse(out, error),
            }
        };
        self.append(&id, Some(next), Op::Init(ticket), out);
        Outcome::Done
    }

    // ---- partitions ----

    /// Adds the partitions of several requests with one record.
    fn add(&mut self, now_ms: i64, adds: Vec<(Ticket, AddPartitions)>, out: &mut Vec<Effect>) -> Outcome {
        let name = adds[0].1.transactional_id.as_str();
        let Some((id, entry)) = self.entries.get_key_value(name) else {
            for (ticket, add) in &adds {
                answer_add(out, *ticket, add, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
            }
            return Outcome::Done;
        };
        if entry.is_busy() {
            let mut adds = adds;
            assert_eq!(adds.len(), 1, "those that wait are taken out when it is free");
            let (_, add) = adds.pop().expect("one");
            return Outcome::Wait(Request::AddPartitions(add));
        }
        let txn = &entry.txn;
        let mut new = TopicPartitions::new();
        let mut bytes = records::size(&txn.partitions);
        let mut level = txn.level;
        let mut added = Vec::new();
        for (ticket, add) in adds {
            if add.producer_id != txn.producer_id {
                answer_add(out, ticket, &add, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
                continue;
            }
            if add.producer_epoch != txn.epoch {
                answer_add(out, ticket, &add, ErrorCode::PRODUCER_FENCED);
                continue;
            }
            if add.verify_only {
                let verdict = |topic: &str, partition: i32| {
                    if txn.contains(topic, partition) {
                        ErrorCode::NONE
                    } else {
                        ErrorCode::TRANSACTION_ABORTABLE
                    }
                };
                let answer = add.topics.iter().map(|(topic, partitions)| {
                    let partitions = partitions.iter().map(|p| (*p, verdict(topic, *p)));
                    (topic.clone(), partitions.collect())
                });
                let response = Response::Added(answer.collect());
                out.push(Effect::Reply { ticket, response });
                continue;
            }
            let mut partitions = TopicPartitions::new();
            for (topic, ids) in &add.topics {
                if !ids.is_empty() {
                    partitions.entry(topic.as_str().into()).or_default().extend(ids);
                }
            }
            let more = records::size(&partitions);
            if bytes + more > self.config.limits.record_bytes {
                answer_add(out, ticket, &add, ErrorCode::INVALID_REQUEST);
                continue;
            }
            bytes += more;
            level = add.level;
            for (topic, ids) in partitions {
                new.entry(topic).or_default().extend(ids);
            }
            added.push((ticket, add));
        }
        if added.is_empty() {
            return Outcome::Done;
        }
        let there = txn.state == TxnState::Ongoing
            && new
                .iter()
                .all(|(topic, ids)| ids.iter().all(|p| txn.contains(topic, *p)));
        if there {
            for (ticket, add) in &added {
                answer_add(out, *ticket, add, ErrorCode::NONE);
            }
            return Outcome::Done;
        }
        let (id, next) = (id.clone(), txn.add(new, level, now_ms));
        self.append(&id, Some(next), Op::Add(added), out);
        Outcome::Done
    }

    // ---- appends ----

    /// Issues the record of a transition.
    pub(super) fn append(&mut self, id: &Rc<str>, next: Option<Txn>, op: Op, out: &mut Vec<Effect>) {
        self.last_token += 1;
        let token = self.last_token;
        let record = records::encode(id, next.as_ref()).expect("names and sizes were checked");
        let entry = self.entries.get_mut(id).expect("a known id");
        assert!(entry.pending.is_none(), "{id}: two transitions at once");
        entry.pending = Some(Pending { token, next, op });
        self.appends.insert(token, vec![id.clone()]);
        out.push(Effect::Append {
            token,
            records: vec![record],
        });
    }

    /// The append `token` is committed. Reported in order of issue.
    pub fn committed(&mut self, now_ms: i64, token: u64, out: &mut Vec<Effect>) {
        for id in self.appends.remove(&token).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let Some(pending) = entry.pending.take_if(|p| p.token == token) else {
                continue;
            };
            let Some(next) = pending.next else {
                self.stats.expired_ids += 1;
                self.remove(&id);
                continue;
            };
            if entry.txn.state == TxnState::Ongoing {
                self.open.remove(&(deadline(&entry.txn), id.clone()));
            }
            let entry = self.entries.get_mut(&id).expect("looked up above");
            entry.txn = next;
            let txn = &entry.txn;
            let producer = |(id, epoch)| {
                Response::Producer(Producer {
                    error: ErrorCode::NONE,
                    id,
                    epoch,
                })
            };
            match pending.op {
                Op::Init(ticket) => out.push(Effect::Reply {
                    ticket,
                    response: producer((txn.producer_id, txn.epoch)),
                }),
                Op::Add(adds) => out.extend(adds.into_iter().map(|(ticket, add)| Effect::Reply {
                    ticket,
                    response: Response::Added(all(&add.topics, ErrorCode::NONE)),
                })),
                Op::End(reply) => {
                    if txn.state == TxnState::PrepareCommit {
                        self.stats.commits += 1;
                    } else {
                        self.stats.aborts += 1;
                    }
                    match reply {
                        EndReply::Client(_) if planted(Bug::EarlyAnswer) => {}
                        EndReply::Client(ticket) => out.push(Effect::Reply {
                            ticket,
                            response: producer(txn.after()),
                        }),
                        EndReply::Fenced(ticket) => out.push(Effect::Reply {
                            ticket,
                            response: Response::Producer(Producer::refused(
                                ErrorCode::CONCURRENT_TRANSACTIONS,
                            )),
                        }),
                        EndReply::TimedOut => self.stats.timeouts += 1,
                    }
                }
                Op::Complete | Op::Expire => {}
            }
            self.entered(&id, out);
            if planted(Bug::EarlyComplete) {
                let job = self.entries[&id].job;
                job.into_iter()
                    .for_each(|job| self.markers_done(now_ms, job, out));
            }
            self.drain(now_ms, &id, out);
        }
    }

    /// The append `token` will not be committed, for the reason `error`. What it stood for is undone.
    pub fn failed(&mut self, now_ms: i64, token: u64, error: ErrorCode, out: &mut Vec<Effect>) {
        self.stats.failed_appends += 1;
        let error = from_append(error);
        for id in self.appends.remove(&token).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let Some(pending) = entry.pending.take_if(|p| p.token == token) else {
                continue;
            };
            let refused = |ticket| Effect::Reply {
                ticket,
                response: Response::Producer(Producer::refused(error)),
            };
            match pending.op {
                Op::Init(ticket) | Op::End(EndReply::Client(ticket) | EndReply::Fenced(ticket)) => {
                    out.push(refused(ticket));
                }
                Op::Add(adds) => out.extend(adds.into_iter().map(|(ticket, add)| Effect::Reply {
                    ticket,
                    response: Response::Added(all(&add.topics, error)),
                })),
                Op::Complete => {
                    self.incomplete.insert(id.clone());
                }
                Op::End(EndReply::TimedOut) | Op::Expire => {}
            }
            self.drain(now_ms, &id, out);
            let unborn = |e: &Entry| e.txn.epoch == -1 && e.pending.is_none() && e.waiting.is_empty();
            if self.entries.get(&id).is_some_and(unborn) {
                self.entries.remove(&id);
            }
        }
    }

    /// A state is in force: what follows from it by itself.
    fn entered(&mut self, id: &Rc<str>, out: &mut Vec<Effect>) {
        let entry = self.entries.get_mut(id).expect("a known id");
        let txn = &entry.txn;
        if txn.state == TxnState::Ongoing {
            self.open.insert((deadline(txn), id.clone()));
        }
        if !txn.state.is_prepared() || (planted(Bug::ForgottenAtLoad) && self.last_token == 0) {
            return;
        }
        self.last_job += 1;
        let job = self.last_job;
        let markers = markers(job, txn);
        entry.job = Some(job);
        self.jobs.insert(job, id.clone());
        out.push(Effect::Markers(markers));
    }

    /// All markers of a job are durable, or their partitions are gone.
    pub fn markers_done(&mut self, now_ms: i64, job: u64, out: &mut Vec<Effect>) {
        let Some(id) = self.jobs.remove(&job) else {
            return;
        };
        let entry = self
            .entries
            .get_mut(&id)
            .expect("an id whose markers are being written");
        entry.job = None;
        let next = entry.txn.complete(now_ms);
        self.append(&id, Some(next), Op::Complete, out);
    }

    /// Lets requests that wait have their turn, as far as they can.
    fn drain(&mut self, now_ms: i64, id: &Rc<str>, out: &mut Vec<Effect>) {
        loop {
            let Some(entry) = self.entries.get_mut(id) else {
                return;
            };
            if entry.is_busy() {
                return;
            }
            let Some(first) = entry.waiting.pop_front() else {
                return;
            };
            self.waits.remove(&(first.until_ms, first.ticket, id.clone()));
            let outcome = match first.request {
                Request::AddPartitions(add) => {
                    let mut adds = vec![(first.ticket, add)];
                    while let Some(next) = entry
                        .waiting
                        .pop_front_if(|w| matches!(w.request, Request::AddPartitions(_)))
                    {
                        self.waits.remove(&(next.until_ms, next.ticket, id.clone()));
                        if let Request::AddPartitions(add) = next.request {
                            adds.push((next.ticket, add));
                        }
                    }
                    self.add(now_ms, adds, out)
                }
                request => self.process(now_ms, first.ticket, request, out),
            };
            match outcome {
                Outcome::Done => {}
                Outcome::NeedsId(request) => self.wait_for_id(first.ticket, request, out),
                Outcome::Wait(_) => unreachable!("{id} is free"),
            }
        }
    }

    fn remove(&mut self, id: &Rc<str>) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        // Nobody waits for an id that nobody used for days; should one, it is not there any more.
        assert!(
            entry.waiting.is_empty() || self.phase != Phase::Active,
            "{id}: removed while asked"
        );
    }

    // ---- time ----

    /// Lets every deadline up to `now_ms` take effect. Harmless when called early or late.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        if self.phase != Phase::Active {
            return;
        }
        while let Some((until_ms, ticket, id)) = self.waits.pop_first() {
            if until_ms > now_ms {
                self.waits.insert((until_ms, ticket, id));
                break;
            }
            let entry = self.entries.get_mut(&id).expect("it waits for a known id");
            let at = entry
                .waiting
                .iter()
                .position(|w| w.ticket == ticket)
                .expect("it waits");
            let waited = entry.waiting.remove(at).expect("found");
            out.push(Effect::Reply {
                ticket,
                response: waited.request.refuse(ErrorCode::CONCURRENT_TRANSACTIONS),
            });
        }
        for id in std::mem::take(&mut self.incomplete) {
            let next = self.entries[&id].txn.complete(now_ms);
            self.append(&id, Some(next), Op::Complete, out);
        }
        if now_ms >= self.next_abort_ms {
            self.next_abort_ms = now_ms.saturating_add(self.config.abort_interval_ms.max(1));
            self.abort_timed_out(now_ms, out);
        }
        if now_ms >= self.next_expire_ms {
            let more = self.expire(now_ms, out);
            let interval = if more {
                RETRY_MS
            } else {
                self.config.expire_interval_ms.max(1)
            };
            self.next_expire_ms = now_ms.saturating_add(interval);
        }
    }

    /// When [`Coordinator::tick`] should be called next; asked after every event.
    pub fn next_deadline(&self) -> Option<i64> {
        if self.phase != Phase::Active {
            return None;
        }
        let wait = self.waits.first().map(|(until_ms, ..)| *until_ms);
        let abort = (!self.open.is_empty()).then_some(self.next_abort_ms);
        let expire = (!self.entries.is_empty()).then_some(self.next_expire_ms);
        // Ticks come often; a failed append is simply tried with the next.
        let again = (!self.incomplete.is_empty()).then_some(i64::MIN);
        [wait, abort, expire, again].into_iter().flatten().min()
    }

    fn abort_timed_out(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        if planted(Bug::Endless) {
            return;
        }
        let due: Vec<Rc<str>> = self
            .open
            .iter()
            .take_while(|(deadline, _)| *deadline < now_ms)
            .map(|(_, id)| id.clone())
            .collect();
        for id in due {
            let entry = &self.entries[&id];
            if entry.is_busy() {
                continue;
            }
            if entry.txn.is_exhausted() && !self.has_id() {
                // With the id that comes it is aborted the next time.
                out.push(Effect::WantIds(1));
                continue;
            }
            self.prepare(now_ms, &id, false, TV2, EndReply::TimedOut, out);
        }
    }

    /// Removes ids that nobody used for long; true if there are more.
    fn expire(&mut self, now_ms: i64, out: &mut Vec<Effect>) -> bool {
        let expired = |entry: &Entry| {
            !entry.is_busy()
                && entry.waiting.is_empty()
                && entry.txn.state != TxnState::Ongoing
                && entry.txn.updated_ms.saturating_add(self.config.id_expiration_ms) <= now_ms
        };
        let max = self.config.limits.expired_per_append.max(1);
        let ids: Vec<Rc<str>> = self
            .entries
            .iter()
            .filter(|(_, entry)| expired(entry))
            .map(|(id, _)| id.clone())
            .take(max)
            .collect();
        if ids.is_empty() {
            return false;
        }
        self.last_token += 1;
        let token = self.last_token;
        let mut records = Vec::with_capacity(ids.len());
        for id in &ids {
            records.push(records::encode(id, None).expect("names were checked"));
            self.entries.get_mut(id).expect("listed above").pending = Some(Pending {
                token,
                next: None,
                op: Op::Expire,
            });
        }
        let more = ids.len() == max;
        self.appends.insert(token, ids);
        out.push(Effect::Append { token, records });
        more
    }

    /// The partition is led by another from now on, or the node stops: everyone who waits is told.
    pub fn resign(&mut self, out: &mut Vec<Effect>) {
        self.phase = Phase::Resigned;
        let mut refuse = |ticket, response| out.push(Effect::Reply { ticket, response });
        let gone = ErrorCode::NOT_COORDINATOR;
        for (ticket, request) in self.for_ids.drain(..) {
            refuse(ticket, request.refuse(gone));
        }
        for entry in self.entries.values_mut() {
            for waiting in entry.waiting.drain(..) {
                refuse(waiting.ticket, waiting.request.refuse(gone));
            }
            match entry.pending.take().map(|p| p.op) {
                Some(Op::Init(ticket) | Op::End(EndReply::Client(ticket) | EndReply::Fenced(ticket))) => {
                    refuse(ticket, Response::Producer(Producer::refused(gone)))
                }
                Some(Op::Add(adds)) => {
                    for (ticket, add) in adds {
                        refuse(ticket, Response::Added(all(&add.topics, gone)));
                    }
                }
                Some(Op::End(EndReply::TimedOut) | Op::Complete | Op::Expire) | None => {}
            }
        }
        self.appends.clear();
        self.jobs.clear();
        self.open.clear();
        self.waits.clear();
        self.incomplete.clear();
    }

    // ---- questions ----

    fn describe(&self, id: String) -> Described {
        match self.entries.get(id.as_str()).filter(|e| e.txn.epoch >= 0) {
            None => Described {
                error: ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
                transactional_id: id,
                ..Described::default()
            },
            Some(Entry { txn, .. }) => Described {
                error: ErrorCode::NONE,
                transactional_id: id,
                state: txn.state.name(),
                timeout_ms: txn.timeout_ms,
                start_ms: txn.start_ms,
                producer_id: txn.producer_id,
                producer_epoch: txn.epoch,
                topics: txn
                    .partitions
                    .iter()
                    .map(|(topic, partitions)| (topic.to_string(), partitions.iter().copied().collect()))
                    .collect(),
            },
        }
    }

    fn list(&self, now_ms: i64, list: &ListTransactions) -> Vec<Listed> {
        let wanted = |txn: &Txn| {
            txn.epoch >= 0
                && (list.states.is_empty() || list.states.contains(&txn.state))
                && (list.producer_ids.is_empty() || list.producer_ids.contains(&txn.producer_id))
                && (list.duration_ms < 0 || now_ms.saturating_sub(txn.start_ms) > list.duration_ms)
        };
        self.entries
            .iter()
            .filter(|(_, entry)| wanted(&entry.txn))
            .map(|(id, Entry { txn, .. })| Listed {
                transactional_id: id.to_string(),
                producer_id: txn.producer_id,
                state: txn.state.name(),
            })
            .collect()
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        Stats {
            ids: self.entries.len(),
            open: self.open.len(),
            completing: self.jobs.len(),
            waiting: self.waits.len() + self.for_ids.len(),
            ..self.stats
        }
    }

    /// Panics if an invariant is broken.
    pub fn check(&self) {
        let mut open = BTreeSet::new();
        let mut waits = BTreeSet::new();
        for (id, entry) in &self.entries {
            entry.txn.check(id);
            if let Some(pending) = &entry.pending {
                assert!(
                    self.appends
                        .get(&pending.token)
                        .is_some_and(|ids| ids.contains(id)),
                    "{id}: an append nobody knows"
                );
                if let Some(next) = &pending.next {
                    next.check(id);
                }
            }
            assert!(
                entry.is_busy() || entry.waiting.is_empty() || self.phase != Phase::Active,
                "{id}: requests wait for nothing"
            );
            if entry.txn.state == TxnState::Ongoing && self.phase == Phase::Active {
                open.insert((deadline(&entry.txn), id.clone()));
            }
            for waiting in &entry.waiting {
                waits.insert((waiting.until_ms, waiting.ticket, id.clone()));
            }
            if let Some(job) = entry.job {
                assert!(
                    entry.txn.state.is_prepared(),
                    "{id}: markers in {:?}",
                    entry.txn.state
                );
                assert_eq!(
                    self.jobs.get(&job).is_some(),
                    self.phase == Phase::Active,
                    "{id}: job"
                );
            }
        }
        assert_eq!(open, self.open, "deadlines of open transactions");
        assert_eq!(waits, self.waits, "deadlines of waiting requests");
    }

    #[cfg(test)]
    pub(super) fn txn(&self, id: &str) -> Option<&Txn> {
        self.entries.get(id).map(|entry| &entry.txn)
    }
}

/// The markers that a decided transaction needs.
pub(super) fn markers(job: u64, txn: &Txn) -> MarkerJob {
    let mut topics: super::messages::Topics = txn
        .partitions
        .iter()
        .map(|(topic, partitions)| (topic.to_string(), partitions.iter().copied().collect()))
        .collect();
    if planted(Bug::LostMarker)
        && let Some((_, partitions)) = topics.last_mut()
    {
        partitions.pop();
    }
    MarkerJob {
        job,
        producer_id: txn.producer_id,
        producer_epoch: txn.epoch,
        commit: txn.state == TxnState::PrepareCommit,
        level: txn.level,
        topics,
    }
}

/// One answer for all partitions of a request.
fn answer_add(out: &mut Vec<Effect>, ticket: Ticket, add: &AddPartitions, error: ErrorCode) {
    let response = Response::Added(all(&add.topics, error));
    out.push(Effect::Reply { ticket, response });
}

/// When an open transaction has taken too long.
fn deadline(txn: &Txn) -> i64 {
    txn.start_ms.saturating_add(i64::from(txn.timeout_ms))
}

/// The id that a request is about.
fn name(request: &Request) -> &str {
    match request {
        Request::InitProducerId(r) => &r.transactional_id,
        Request::AddPartitions(r) => &r.transactional_id,
        Request::End(r) => &r.transactional_id,
        Request::Describe(id) => id,
        Request::List(_) => "",
    }
}

/// What a client is told when the record of its transition could not be appended: "look the coordinator up again", in
/// one of two ways. Never UNKNOWN_SERVER_ERROR, which clients take for fatal or, worse, for success.
fn from_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => ErrorCode::INVALID_REQUEST,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}
