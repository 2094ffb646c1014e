//! One consumer: fetches its partitions, checks every record, measures end to end.
//!
//! Partitions are dealt out by the runner or come from the group protocol ([`super::group`]). What always holds: one
//! fetch is out for each broker, the next leaves as soon as the last is read; a record is judged once for each time
//! it is read; nothing is skipped without being counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_net::messages::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic,
    PartitionData,
};
use turgo_net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use turgo_net::messages::metadata::MetadataResponse;
use turgo_net::records::{BatchError, BatchView, Decompressor, batches};

use super::cluster::ClusterView;
use super::group::Member;
use super::tracker::Tracker;
use super::{Actor, ClientError, Context, Effect, Ends, Link, Logs, Lost, Role, Versions, parse, requests};
use crate::integrity::{Place, SeenLog};
use crate::spec::Workload;
use crate::stamp::{HEADER_NAME, Stamp, StampError};
use crate::stats::Span;

/// A refused or lost request is tried again after this, ns.
pub(super) const BACKOFF: u64 = 50_000_000;
/// A batch may decompress to this many bytes.
const DECOMPRESSED_CEILING: usize = 256 << 20;

/// What a reader is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Follows the tail; its records are measured and judged.
    Tail,
    /// Reads what was written after the run; its records are judged.
    Verify,
    /// Reads the log from its start over and over; only bytes are counted.
    CatchUp,
}

/// What a consumer is made of.
pub struct ConsumerParts {
    /// Number in the run.
    pub id: u32,
    /// Number of its group.
    pub group: u32,
    /// The group protocol's name for it, if partitions come from there.
    pub group_name: Option<String>,
    /// The workload.
    pub workload: Arc<Workload>,
    /// Where to start.
    pub view: ClusterView,
    /// What the cluster speaks.
    pub versions: Versions,
    /// Its partitions, if dealt out.
    pub assigned: Vec<Place>,
    /// Where to begin, by topic and partition.
    pub starts: Ends,
    /// The run.
    pub run: u64,
    /// What for.
    pub purpose: Purpose,
    /// Tell when all records before these were read.
    pub backlog: Option<Ends>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    offset: i64,
    held_until: u64,
    /// Offset as the session of its leader knows it; -1: not in a session.
    in_session: i64,
}

#[derive(Debug, Default)]
struct Session {
    id: i32,
    epoch: i32,
    busy: bool,
    not_before: u64,
    members: BTreeSet<Place>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Fetch { node: i32, asked: BTreeMap<Place, i64> },
    Metadata,
    Greeting,
    Earliest,
    FindCoordinator,
    Join,
    Sync,
    Heartbeat,
    Offsets,
    Commit,
}

/// The machine.
pub struct Consumer {
    pub(super) id: u32,
    group: u32,
    pub(super) w: Arc<Workload>,
    pub(super) view: ClusterView,
    pub(super) versions: Versions,
    pub(super) topics: Vec<String>,
    topic_numbers: HashMap<String, u32>,
    pub(super) starts: Ends,
    run: u64,
    purpose: Purpose,
    backlog: Option<Ends>,
    drained_at: Option<u64>,
    span: Span,
    positions: BTreeMap<Place, Position>,
    sessions: HashMap<i32, Session>,
    pub(super) requests: Tracker<Kind>,
    pub(super) member: Option<Member>,
    seen: SeenLog,
    decompressor: Decompressor,
    greeted: BTreeSet<i32>,
    refresh_at: u64,
    ends: Option<Ends>,
    ready: bool,
    wake: u64,
}

impl Consumer {
    /// A consumer that knows where to start.
    pub fn new(parts: ConsumerParts) -> Consumer {
        let topics: Vec<String> = (0..parts.workload.topics)
            .map(|t| parts.workload.topic_name(t))
            .collect();
        let topic_numbers = topics
            .iter()
            .enumerate()
            .map(|(i, t)| (t.clone(), i as u32))
            .collect();
        let mut consumer = Consumer {
            id: parts.id,
            group: parts.group,
            w: parts.workload,
            view: parts.view,
            versions: parts.versions,
            topics,
            topic_numbers,
            starts: parts.starts,
            run: parts.run,
            purpose: parts.purpose,
            backlog: parts.backlog,
            drained_at: None,
            span: Span::NEVER,
            positions: BTreeMap::new(),
            sessions: HashMap::new(),
            requests: Tracker::default(),
            member: parts.group_name.map(Member::new),
            seen: SeenLog::default(),
            decompressor: Decompressor::new(),
            greeted: BTreeSet::new(),
            refresh_at: 0,
            ends: None,
            ready: false,
            wake: 0,
        };
        for place in parts.assigned {
            consumer.add(place, None);
        }
        consumer
    }

    /// Reads `place` from `offset`, or from where the run begins.
    pub(super) fn add(&mut self, place: Place, offset: Option<i64>) {
        let start = self
            .starts
            .get(place.0 as usize)
            .and_then(|t| t.get(place.1 as usize))
            .copied()
            .unwrap_or(0);
        self.positions.insert(
            place,
            Position {
                offset: offset.unwrap_or(start),
                held_until: 0,
                in_session: -1,
            },
        );
    }

    /// Reads nothing any more.
    pub(super) fn clear(&mut self) {
        self.positions.clear();
        // The session must forget them; a new one is simplest and rare.
        for session in self.sessions.values_mut() {
            (session.id, session.epoch) = (0, 0);
            session.members.clear();
        }
    }

    pub(super) fn offsets(&self) -> impl Iterator<Item = (Place, i64)> + '_ {
        self.positions.iter().map(|(place, p)| (*place, p.offset))
    }

    pub(super) fn topic_number(&self, name: &str) -> Option<u32> {
        self.topic_numbers.get(name).copied()
    }

    pub(super) fn send(
        &mut self,
        link: Link,
        key: ApiKey,
        build: impl FnOnce(i32, i16) -> Result<Vec<Bytes>, ClientError>,
        kind: Kind,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(address) = self.view.address(link.node).cloned() else {
            self.refresh_at = self.refresh_at.min(cx.now);
            return false;
        };
        let token = self.requests.token();
        match self.versions.of(key).and_then(|version| build(token, version)) {
            Ok(frame) => {
                self.requests.put(token, link, cx.now, kind);
                cx.effects.push(Effect::Send {
                    link,
                    address,
                    token,
                    frame,
                    answered: true,
                });
                true
            }
            Err(error) => {
                cx.effects.push(Effect::Fail(error));
                false
            }
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
        let topics = self.topics.clone();
        self.send(
            link,
            ApiKey::Metadata,
            |token, version| requests::metadata(version, token, topics.iter().map(String::as_str)),
            Kind::Metadata,
            cx,
        );
    }

    fn got_metadata(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::Metadata)?;
        let answer: MetadataResponse<'_> = parse(frame, ApiKey::Metadata, version)?;
        let unknown = self.view.learn(&answer);
        let leaderless = self.positions.keys().any(|p| self.leader(*p) < 0);
        if !unknown.is_empty() || leaderless {
            self.refresh_at = cx.now + BACKOFF;
        }
        Ok(())
    }

    fn leader(&self, place: Place) -> i32 {
        self.topics
            .get(place.0 as usize)
            .map_or(-1, |name| self.view.leader(name, place.1).node)
    }

    fn set_up(&mut self, cx: &mut Context<'_>) {
        let leaders: BTreeSet<i32> = self.positions.keys().map(|p| self.leader(*p)).collect();
        if leaders.contains(&-1) {
            return;
        }
        for node in leaders {
            if self.greeted.insert(node) {
                let topics = self.topics.clone();
                self.send(
                    Link {
                        node,
                        role: Role::Data,
                    },
                    ApiKey::Metadata,
                    |token, version| requests::metadata(version, token, topics.iter().map(String::as_str)),
                    Kind::Greeting,
                    cx,
                );
            }
        }
        let greeting = self.requests.kinds().any(|k| matches!(k, Kind::Greeting));
        let joined = self.member.as_ref().is_none_or(Member::stable);
        self.ready = !greeting && joined;
    }

    // ---- fetching ----

    /// Old data is read from the start of the run on, not while others still set up: the time it takes is told.
    fn waits_for_start(&self) -> bool {
        self.backlog.is_some()
    }

    fn fetch_all(&mut self, cx: &mut Context<'_>) {
        if cx.now < self.span.start && self.waits_for_start() {
            return;
        }
        let mut by_node: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
        for (place, position) in &self.positions {
            let leader = self.leader(*place);
            if leader >= 0 && position.held_until <= cx.now && !self.finished(*place, position.offset) {
                by_node.entry(leader).or_default().push(*place);
            }
        }
        for (node, places) in by_node {
            let session = self.sessions.entry(node).or_default();
            if !session.busy && session.not_before <= cx.now {
                self.fetch(node, places, cx);
            }
        }
    }

    fn fetch(&mut self, node: i32, places: Vec<Place>, cx: &mut Context<'_>) {
        let session = self.sessions.entry(node).or_default();
        let full = session.id == 0;
        let wanted: BTreeSet<Place> = places.iter().copied().collect();
        let mut topics: BTreeMap<u32, Vec<FetchPartition>> = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for place in &places {
            let Some(position) = self.positions.get_mut(place) else {
                continue;
            };
            asked.insert(*place, position.offset);
            if full || position.in_session != position.offset || !session.members.contains(place) {
                position.in_session = position.offset;
                topics.entry(place.0).or_default().push(FetchPartition {
                    partition: place.1 as i32,
                    fetch_offset: position.offset,
                    partition_max_bytes: self.w.fetch_partition_bytes,
                    ..Default::default()
                });
            }
        }
        let mut forgotten: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        if !full {
            for place in session.members.difference(&wanted) {
                forgotten.entry(place.0).or_default().push(place.1 as i32);
            }
        }
        session.members = wanted;
        session.busy = true;
        let names = &self.topics;
        let request = FetchRequest {
            max_wait_ms: self.w.fetch_wait_ms,
            min_bytes: self.w.fetch_min_bytes,
            max_bytes: self.w.fetch_max_bytes,
            isolation_level: i8::from(self.w.transactions.is_some()),
            session_id: session.id,
            session_epoch: session.epoch,
            topics: topics
                .into_iter()
                .map(|(t, partitions)| FetchTopic {
                    topic: names[t as usize].clone().into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            forgotten_topics_data: forgotten
                .into_iter()
                .map(|(t, partitions)| ForgottenTopic {
                    topic: names[t as usize].clone().into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let sent = self.send(
            Link {
                node,
                role: Role::Data,
            },
            ApiKey::Fetch,
            |token, version| requests::frame(ApiKey::Fetch, version, token, &request),
            Kind::Fetch { node, asked },
            cx,
        );
        if !sent {
            self.sessions.entry(node).or_default().busy = false;
        }
    }

    fn fetched(
        &mut self,
        node: i32,
        asked: &BTreeMap<Place, i64>,
        frame: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::Fetch)?;
        let answer: FetchResponse<'_> = parse(frame, ApiKey::Fetch, version)?;
        let session = self.sessions.entry(node).or_default();
        session.busy = false;
        let code = ErrorCode(answer.error_code);
        if !code.is_none() {
            // 70, 71: the broker dropped the session; anything else is a failure of the whole fetch.
            (session.id, session.epoch) = (0, 0);
            if !matches!(code.0, 70 | 71) {
                session.not_before = cx.now + BACKOFF;
                cx.recorder.error(code.name(), cx.now);
                if !code.retriable() {
                    return Err(ClientError::Refused {
                        what: "fetching".into(),
                        code,
                    });
                }
            }
            return Ok(());
        }
        if answer.session_id == 0 {
            (session.id, session.epoch) = (0, 0);
        } else {
            session.epoch = if session.id == answer.session_id && session.epoch < i32::MAX {
                session.epoch + 1
            } else {
                1
            };
            session.id = answer.session_id;
        }
        for topic in &answer.responses {
            let Some(number) = self.topic_number(&topic.topic) else {
                continue;
            };
            for data in &topic.partitions {
                let place = (number, data.partition_index as u32);
                // The position may have moved since (a rebalance): then the answer is about another reading.
                let Some(offset) = asked.get(&place) else { continue };
                if self.positions.get(&place).is_some_and(|p| p.offset == *offset) {
                    self.partition(place, data, cx)?;
                }
            }
        }
        self.note_drained(cx.now);
        Ok(())
    }

    fn partition(
        &mut self,
        place: Place,
        data: &PartitionData<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        const OUT_OF_RANGE: i16 = 1;
        let code = ErrorCode(data.error_code);
        if !code.is_none() {
            cx.recorder.error(code.name(), cx.now);
            if let Some(p) = self.positions.get_mut(&place) {
                p.held_until = cx.now + BACKOFF;
                p.in_session = -1;
            }
            // 74, 75: epochs in motion.
            if code.0 == OUT_OF_RANGE {
                self.ask_earliest(place, cx);
            } else if code.retriable() || matches!(code.0, 74 | 75) {
                self.refresh_at = self.refresh_at.min(cx.now);
            } else {
                let what = format!("fetching {}-{}", self.topics[place.0 as usize], place.1);
                return Err(ClientError::Refused { what, code });
            }
            return Ok(());
        }
        let bytes: std::borrow::Cow<'_, [u8]> = match &data.records {
            turgo_net::Records::Slice(bytes) => std::borrow::Cow::Borrowed(bytes),
            other => std::borrow::Cow::Owned(other.to_vec()),
        };
        self.read(
            place,
            &bytes,
            data.aborted_transactions.as_deref().unwrap_or(&[]),
            cx,
        );
        Ok(())
    }

    /// Judges all records of an answer's partition and moves the position behind them.
    fn read(&mut self, place: Place, bytes: &[u8], aborted: &[AbortedTransaction], cx: &mut Context<'_>) {
        let Some(mut offset) = self.positions.get(&place).map(|p| p.offset) else {
            return;
        };
        let mut aborted: Vec<&AbortedTransaction> = aborted.iter().collect();
        aborted.sort_by_key(|a| std::cmp::Reverse(a.first_offset));
        let mut rolled_back: BTreeSet<i64> = BTreeSet::new();
        for batch in batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // An answer may end in the middle of a batch.
                Err(BatchError::Truncated { .. }) => break,
                Err(_) => {
                    self.seen.corrupt += 1;
                    break;
                }
            };
            let next = batch.last_offset() + 1;
            if next <= offset {
                continue;
            }
            while let Some(first) = aborted.last().filter(|a| a.first_offset <= batch.last_offset()) {
                rolled_back.insert(first.producer_id);
                aborted.pop();
            }
            let attributes = batch.attributes();
            if attributes.is_control() {
                rolled_back.remove(&batch.producer_id());
            } else if !(attributes.is_transactional() && rolled_back.contains(&batch.producer_id())) {
                match self.purpose {
                    Purpose::CatchUp => {
                        let bytes = batch.total_bytes() as u64;
                        cx.recorder
                            .caught_up(batch.record_count().max(0) as u64, bytes, cx.now);
                    }
                    Purpose::Tail | Purpose::Verify => self.judge(place, offset, &batch, cx),
                }
            }
            offset = next;
        }
        if let Some(p) = self.positions.get_mut(&place) {
            p.offset = offset;
        }
        if self.purpose == Purpose::CatchUp {
            self.rewind_at_end(place, offset);
        }
    }

    /// A catch-up reader begins again where it began when it meets the end.
    fn rewind_at_end(&mut self, place: Place, offset: i64) {
        let end = self
            .backlog
            .as_ref()
            .and_then(|b| b.get(place.0 as usize)?.get(place.1 as usize).copied());
        if end.is_some_and(|end| offset >= end) && self.ends.is_none() {
            self.add(place, None);
        }
    }

    fn judge(&mut self, place: Place, from: i64, batch: &BatchView<'_>, cx: &mut Context<'_>) {
        if !batch.crc_ok() {
            self.seen.corrupt += 1;
            return;
        }
        let records = match batch.records(&mut self.decompressor, DECOMPRESSED_CEILING) {
            Ok(records) => records,
            Err(_) => {
                self.seen.corrupt += 1;
                return;
            }
        };
        for record in records {
            let Ok(record) = record else {
                self.seen.corrupt += 1;
                return;
            };
            if record.offset < from {
                continue;
            }
            let value = record.value.unwrap_or_default();
            let apart = record.headers.last(HEADER_NAME).and_then(|h| h.value);
            match Stamp::read(value, apart) {
                Ok(stamp) if stamp.run == self.run => {
                    self.seen.see(place, &stamp);
                    // What was due before the start is backlog: its age is no latency.
                    if self.purpose == Purpose::Tail {
                        if stamp.intended >= self.span.start {
                            cx.recorder
                                .consumed(stamp.intended, stamp.built, cx.now, value.len() as u64);
                        } else {
                            cx.recorder.caught_up(1, value.len() as u64, cx.now);
                        }
                    }
                }
                Ok(_) | Err(StampError::Foreign) => self.seen.foreign += 1,
                Err(StampError::Corrupt) => self.seen.corrupt += 1,
            }
        }
    }

    fn note_drained(&mut self, now: u64) {
        if self.drained_at.is_none()
            && self.purpose == Purpose::Tail
            && let Some(backlog) = &self.backlog
            && !self.positions.is_empty()
            && self
                .positions
                .iter()
                .all(|(place, p)| p.offset >= end_of(backlog, *place))
        {
            self.drained_at = Some(now);
        }
    }

    fn ask_earliest(&mut self, place: Place, cx: &mut Context<'_>) {
        let node = self.leader(place);
        if node < 0 {
            self.refresh_at = self.refresh_at.min(cx.now);
            return;
        }
        let name = self.topics[place.0 as usize].clone();
        self.send(
            Link {
                node,
                role: Role::Control,
            },
            ApiKey::ListOffsets,
            |token, version| {
                let request = ListOffsetsRequest {
                    replica_id: -1,
                    topics: vec![ListOffsetsTopic {
                        name: name.into(),
                        partitions: vec![ListOffsetsPartition {
                            partition_index: place.1 as i32,
                            timestamp: -2,
                            ..Default::default()
                        }],
                    }],
                    ..Default::default()
                };
                requests::frame(ApiKey::ListOffsets, version, token, &request)
            },
            Kind::Earliest,
            cx,
        );
    }

    fn got_earliest(&mut self, frame: &Bytes) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::ListOffsets)?;
        let answer: ListOffsetsResponse<'_> = parse(frame, ApiKey::ListOffsets, version)?;
        for topic in &answer.topics {
            let Some(number) = self.topic_number(&topic.name) else {
                continue;
            };
            for p in topic.partitions.iter().filter(|p| p.error_code == 0) {
                let place = (number, p.partition_index as u32);
                if let Some(position) = self.positions.get_mut(&place) {
                    // Only forward: what is gone is gone, and the verdict names it.
                    position.offset = position.offset.max(p.offset);
                    position.held_until = 0;
                }
            }
        }
        Ok(())
    }

    fn finished(&self, place: Place, offset: i64) -> bool {
        self.purpose != Purpose::Tail
            && self
                .ends
                .as_ref()
                .is_some_and(|ends| offset >= end_of(ends, place))
    }

    fn plan_wake(&mut self, now: u64) {
        let mut wake = self.refresh_at.min(now + 1_000_000_000);
        for p in self.positions.values().filter(|p| p.held_until > now) {
            wake = wake.min(p.held_until);
        }
        for s in self.sessions.values().filter(|s| s.not_before > now) {
            wake = wake.min(s.not_before);
        }
        if self.waits_for_start() && now < self.span.start {
            wake = wake.min(self.span.start);
        }
        if let Some(member) = &self.member {
            wake = wake.min(member.wake());
        }
        self.wake = wake;
    }
}

fn end_of(ends: &Ends, place: Place) -> i64 {
    ends.get(place.0 as usize)
        .and_then(|t| t.get(place.1 as usize))
        .copied()
        .unwrap_or(0)
}

impl Actor for Consumer {
    fn tick(&mut self, cx: &mut Context<'_>) {
        self.refresh(cx);
        self.drive_member(cx);
        if !self.ready {
            self.set_up(cx);
        }
        self.fetch_all(cx);
        for link in self.requests.overdue(cx.now) {
            cx.effects.push(Effect::Close(link));
        }
        self.plan_wake(cx.now);
    }

    fn answer(&mut self, _link: Link, token: i32, _sent: u64, frame: &Bytes, cx: &mut Context<'_>) {
        let Some(kind) = self.requests.take(token) else {
            return;
        };
        let result = match kind {
            Kind::Fetch { node, asked } => self.fetched(node, &asked, frame, cx),
            Kind::Metadata | Kind::Greeting => self.got_metadata(frame, cx),
            Kind::Earliest => self.got_earliest(frame),
            Kind::FindCoordinator => self.got_coordinator(frame, cx),
            Kind::Join => self.joined(frame, cx),
            Kind::Sync => self.synced(frame, cx),
            Kind::Heartbeat => self.heard(frame, cx),
            Kind::Offsets => self.got_offsets(frame, cx),
            Kind::Commit => self.committed(frame, cx),
        };
        if let Err(error) = result {
            cx.effects.push(Effect::Fail(error));
        }
        self.wake = cx.now;
    }

    fn written(&mut self, _token: i32, _sent: u64, _cx: &mut Context<'_>) {}

    fn lost(&mut self, link: Link, requests: &[Lost], cx: &mut Context<'_>) {
        self.refresh_at = self.refresh_at.min(cx.now + BACKOFF);
        if link.role == Role::Data {
            self.greeted.remove(&link.node);
            self.sessions.insert(
                link.node,
                Session {
                    not_before: cx.now + BACKOFF,
                    ..Session::default()
                },
            );
        }
        for lost in requests {
            match self.requests.take(lost.token) {
                Some(Kind::Earliest | Kind::Fetch { .. } | Kind::Metadata | Kind::Greeting) | None => {}
                Some(_) => self.lost_coordinator(cx.now),
            }
        }
        self.wake = cx.now;
    }

    fn wake(&self) -> u64 {
        self.wake
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn start(&mut self, span: Span) {
        self.span = span;
        self.wake = 0;
    }

    fn finish_at(&mut self, ends: &Ends) {
        self.ends = Some(ends.clone());
        self.wake = 0;
    }

    fn done(&self) -> bool {
        let Some(ends) = &self.ends else { return false };
        self.purpose == Purpose::CatchUp
            || (self.member.as_ref().is_none_or(Member::stable)
                && self
                    .positions
                    .iter()
                    .all(|(place, p)| p.offset >= end_of(ends, *place)))
    }

    fn give_up(&mut self, _cx: &mut Context<'_>) {
        self.requests.drain();
    }

    fn logs(&mut self) -> Logs {
        Logs {
            seen: (self.purpose != Purpose::CatchUp).then(|| (self.group, std::mem::take(&mut self.seen))),
            drained_at: self.drained_at,
            ..Logs::default()
        }
    }

    fn waiting_for(&self) -> String {
        if self.member.as_ref().is_some_and(|m| !m.stable()) {
            return format!("consumer {} waits for its group", self.id);
        }
        if !self.ready {
            return format!(
                "consumer {} waits for connections to the leaders of its partitions",
                self.id
            );
        }
        let behind: i64 = match &self.ends {
            None => 0,
            Some(ends) => self
                .positions
                .iter()
                .map(|(place, p)| (end_of(ends, *place) - p.offset).max(0))
                .sum(),
        };
        format!("consumer {} is {behind} records behind", self.id)
    }
}
