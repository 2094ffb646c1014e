//! The coordinator itself: ids by name, appends under way, requests that wait, deadlines.
//!
//! One id makes one transition at a time. A request that comes while one is under way, or while markers are being
//! written, waits its turn, at most [`super::Limits::wait_ms`]; Kafka answers CONCURRENT_TRANSACTIONS at once and lets
//! the client ask again. To a client the two differ in time only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use turgo_net::ErrorCode;

use super::Config;
use super::messages::{AddPartitions, Level, Producer, Request, Response, Topics, all};
use super::planted::{Bug, planted};
use super::records::{self, Record};
use super::state::{Txn, TxnState};

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
    pub topics: Topics,
}

/// Counts for metrics and for the operator's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactional ids known.
    pub ids: usize,
    /// Transactions open.
    pub open: usize,
    /// Transactional ids by the state of their transaction, in the order of [`TxnState::ALL`].
    pub by_state: [usize; 6],
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
    /// Of those, because another instance of the producer began anew.
    pub fences: u64,
    /// Ids removed because nobody used them.
    pub expired_ids: u64,
    /// Records that could not be read while loading, and were skipped.
    pub bad_records: u64,
    /// Appends that failed.
    pub failed_appends: u64,
}

impl Stats {
    /// Adds another coordinator's.
    pub fn add(&mut self, other: &Stats) {
        self.ids += other.ids;
        self.open += other.open;
        for (sum, more) in self.by_state.iter_mut().zip(other.by_state) {
            *sum += more;
        }
        self.completing += other.completing;
        self.waiting += other.waiting;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.timeouts += other.timeouts;
        self.fences += other.fences;
        self.expired_ids += other.expired_ids;
        self.bad_records += other.bad_records;
        self.failed_appends += other.failed_appends;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub token: u64,
    /// `None` removes the id.
    pub next: Option<Txn>,
    pub op: Op,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub ticket: Ticket,
    pub until_ms: i64,
    pub request: Request,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// As committed.
    pub txn: Txn,
    pub pending: Option<Pending>,
    pub waiting: VecDeque<Waiting>,
    /// Markers being written.
    job: Option<u64>,
}

impl Entry {
    pub fn new(txn: Txn) -> Entry {
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
    pub(super) phase: Phase,
    pub(super) entries: BTreeMap<Rc<str>, Entry>,
    /// Bytes of their names.
    pub(super) id_bytes: usize,
    /// Ids that each append is about.
    pub(super) appends: BTreeMap<u64, Vec<Rc<str>>>,
    pub(super) last_token: u64,
    /// Ids whose markers are being written, by job.
    jobs: BTreeMap<u64, Rc<str>>,
    last_job: u64,
    /// When each open transaction has taken too long.
    pub(super) open: BTreeSet<(i64, Rc<str>)>,
    /// When each waiting request has waited too long.
    pub(super) waits: BTreeSet<(i64, Ticket, Rc<str>)>,
    /// Complete transactions whose record could not be appended.
    pub(super) incomplete: BTreeSet<Rc<str>>,
    /// Fresh producer ids.
    spare_ids: Vec<i64>,
    /// Requests that wait for one.
    for_ids: VecDeque<(Ticket, Request)>,
    pub(super) next_abort_ms: i64,
    pub(super) next_expire_ms: i64,
    pub(super) stats: Stats,
}

impl Coordinator {
    /// A coordinator that has yet to be given its partition's records.
    pub fn new(config: Config) -> Coordinator {
        Coordinator {
            config,
            phase: Phase::Loading,
            entries: BTreeMap::new(),
            id_bytes: 0,
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
                self.forget(&id);
            }
            Some(Some(txn)) => {
                self.forget(&id);
                self.know(id.into(), txn);
            }
            Some(None) => self.stats.bad_records += 1,
        }
    }

    /// A transactional id comes.
    pub(super) fn know(&mut self, id: Rc<str>, txn: Txn) {
        self.stats.by_state[txn.state as usize] += 1;
        self.id_bytes += id.len();
        self.entries.insert(id, Entry::new(txn));
    }

    /// A transactional id goes.
    fn forget(&mut self, id: &str) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.stats.by_state[entry.txn.state as usize] -= 1;
        self.id_bytes -= id.len();
        Some(entry)
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
                self.remove(now_ms, &id, out);
                continue;
            };
            if entry.txn.state == TxnState::Ongoing {
                self.open.remove(&(deadline(&entry.txn), id.clone()));
            }
            let entry = self.entries.get_mut(&id).expect("looked up above");
            self.stats.by_state[entry.txn.state as usize] -= 1;
            entry.txn = next;
            let txn = &entry.txn;
            self.stats.by_state[txn.state as usize] += 1;
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
                        EndReply::Fenced(ticket) => {
                            self.stats.fences += 1;
                            out.push(Effect::Reply {
                                ticket,
                                response: Response::Producer(Producer::refused(
                                    ErrorCode::CONCURRENT_TRANSACTIONS,
                                )),
                            });
                        }
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
                self.forget(&id);
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
                    let is_add = |w: &Waiting| matches!(w.request, Request::AddPartitions(_));
                    while entry.waiting.front().is_some_and(is_add) {
                        let Some(next) = entry.waiting.pop_front() else {
                            break;
                        };
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

    /// The id is gone. Whoever asked meanwhile asks for one that nobody knows.
    fn remove(&mut self, now_ms: i64, id: &Rc<str>, out: &mut Vec<Effect>) {
        let Some(entry) = self.forget(id) else {
            return;
        };
        for waiting in entry.waiting {
            self.waits.remove(&(waiting.until_ms, waiting.ticket, id.clone()));
            self.take_turn(now_ms, waiting.ticket, waiting.request, out);
        }
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
                    self.jobs.contains_key(&job),
                    self.phase == Phase::Active,
                    "{id}: job"
                );
            }
        }
        assert_eq!(open, self.open, "deadlines of open transactions");
        let id_bytes: usize = self.entries.keys().map(|id| id.len()).sum();
        assert_eq!(id_bytes, self.id_bytes, "bytes of ids");
        for state in TxnState::ALL {
            let count = self.entries.values().filter(|e| e.txn.state == state).count();
            assert_eq!(count, self.stats.by_state[state as usize], "ids in {state:?}");
        }
        assert_eq!(waits, self.waits, "deadlines of waiting requests");
    }

    #[cfg(test)]
    pub(super) fn txn(&self, id: &str) -> Option<&Txn> {
        self.entries.get(id).map(|entry| &entry.txn)
    }
}

/// The markers that a decided transaction needs.
pub(super) fn markers(job: u64, txn: &Txn) -> MarkerJob {
    let mut topics: Topics = txn
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

/// When an open transaction has taken too long.
pub(super) fn deadline(txn: &Txn) -> i64 {
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
