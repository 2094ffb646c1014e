//! Rules of the coordinator one by one, and a simulation of everything at once.

mod rules;
mod sim;

use turgo_net::ErrorCode;

use super::messages::*;
use super::{Config, Coordinator, Effect, Record};

/// A small generator of random numbers (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// A coordinator whose effects are carried out at once, unless a test says otherwise.
pub(super) struct Rig {
    pub coordinator: Coordinator,
    pub log: Vec<Record>,
    /// Appends not yet committed.
    pub appends: Vec<(u64, Vec<Record>)>,
    pub markers: Vec<super::MarkerJob>,
    pub replies: Vec<(u64, Response)>,
    pub now_ms: i64,
    next_ticket: u64,
    next_id: i64,
    /// Appends are committed, markers written as they come.
    pub at_once: bool,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(Config::default(), Vec::new())
    }

    /// A coordinator that has loaded `log`.
    pub fn with(config: Config, log: Vec<Record>) -> Rig {
        let mut coordinator = Coordinator::new(config);
        for record in &log {
            coordinator.replay(Some(&record.key), record.value.as_deref());
        }
        let mut rig = Rig {
            coordinator,
            log,
            appends: Vec::new(),
            markers: Vec::new(),
            replies: Vec::new(),
            now_ms: 1_000_000,
            next_ticket: 0,
            next_id: 500,
            at_once: true,
        };
        rig.event(|c, now_ms, out| c.loaded(now_ms, out));
        rig
    }

    pub fn event(&mut self, event: impl FnOnce(&mut Coordinator, i64, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        event(&mut self.coordinator, self.now_ms, &mut out);
        self.coordinator.check();
        let mut wanted = self.carry_out(out);
        while wanted > 0 {
            wanted -= 1;
            self.next_id += 1;
            let mut out = Vec::new();
            self.coordinator
                .producer_ids(self.now_ms, &[self.next_id], &mut out);
            wanted += self.carry_out(out);
        }
        if self.at_once {
            self.settle();
        }
    }

    /// Returns how many producer ids are wanted.
    fn carry_out(&mut self, out: Vec<Effect>) -> usize {
        let mut wanted = 0;
        for effect in out {
            match effect {
                Effect::Append { token, records } => self.appends.push((token, records)),
                Effect::Markers(job) => self.markers.push(job),
                Effect::Reply { ticket, response } => self.replies.push((ticket, response)),
                Effect::WantIds(count) => wanted += count,
            }
        }
        wanted
    }

    /// Commits what is to be appended and reports markers written, until nothing is left.
    pub fn settle(&mut self) {
        loop {
            if !self.appends.is_empty() {
                self.commit();
            } else if !self.markers.is_empty() {
                self.write_markers();
            } else {
                return;
            }
        }
    }

    /// The oldest append is committed.
    pub fn commit(&mut self) {
        let (token, records) = self.appends.remove(0);
        self.log.extend(records);
        self.event(|c, now_ms, out| c.committed(now_ms, token, out));
    }

    /// The oldest marker job is done.
    pub fn write_markers(&mut self) -> super::MarkerJob {
        let job = self.markers.remove(0);
        self.event(|c, now_ms, out| c.markers_done(now_ms, job.job, out));
        job
    }

    pub fn ask(&mut self, request: Request) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.event(|c, now_ms, out| c.request(now_ms, ticket, request, out));
        ticket
    }

    /// The answer to a ticket, if there is one.
    pub fn answer(&mut self, ticket: u64) -> Option<Response> {
        let at = self.replies.iter().position(|(t, _)| *t == ticket)?;
        Some(self.replies.remove(at).1)
    }

    pub fn now(&mut self, request: Request) -> Response {
        let ticket = self.ask(request);
        self.answer(ticket).expect("an answer at once")
    }

    pub fn tick(&mut self, ms: i64) {
        self.now_ms += ms;
        self.event(|c, now_ms, out| c.tick(now_ms, out));
    }

    pub fn init(&mut self, id: &str, expected: Option<(i64, i16)>) -> Producer {
        producer(self.now(init(id, expected)))
    }

    pub fn add(&mut self, id: &str, by: (i64, i16), level: Level, partitions: &[i32]) -> ErrorCode {
        added(self.now(add(id, by, level, partitions)))
    }

    pub fn end(&mut self, id: &str, by: (i64, i16), level: Level, commit: bool) -> Producer {
        producer(self.now(end(id, by, level, commit)))
    }

    pub fn state(&mut self, id: &str) -> Described {
        match self.now(Request::Describe(id.to_owned())) {
            Response::Described(described) => described,
            other => panic!("{other:?}"),
        }
    }

    /// A coordinator that takes over with what was committed.
    pub fn reload(&self) -> Rig {
        let mut next = Rig::with(Config::default(), self.log.clone());
        next.now_ms = self.now_ms;
        next.next_id = self.next_id + 100;
        next
    }
}

pub(super) fn init(id: &str, expected: Option<(i64, i16)>) -> Request {
    Request::InitProducerId(InitProducerId {
        transactional_id: id.to_owned(),
        timeout_ms: 60_000,
        expected,
    })
}

pub(super) fn add(
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
    level: Level,
    partitions: &[i32],
) -> Request {
    Request::AddPartitions(AddPartitions {
        transactional_id: id.to_owned(),
        producer_id,
        producer_epoch,
        topics: vec![("t".to_owned(), partitions.to_vec())],
        verify_only: false,
        level,
    })
}

pub(super) fn end(
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
    level: Level,
    commit: bool,
) -> Request {
    Request::End(EndTxn {
        transactional_id: id.to_owned(),
        producer_id,
        producer_epoch,
        commit,
        level,
    })
}

pub(super) fn producer(response: Response) -> Producer {
    match response {
        Response::Producer(producer) => producer,
        other => panic!("{other:?}"),
    }
}

/// The one code of an answer to AddPartitionsToTxn.
pub(super) fn added(response: Response) -> ErrorCode {
    match response {
        Response::Added(added) => {
            let codes: Vec<ErrorCode> = added.iter().flat_map(|(_, p)| p).map(|(_, code)| *code).collect();
            assert!(codes.windows(2).all(|w| w[0] == w[1]), "{codes:?}");
            codes[0]
        }
        other => panic!("{other:?}"),
    }
}
