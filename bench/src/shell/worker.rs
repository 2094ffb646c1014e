//! One load thread: its actors, their connections, and the wait for whatever comes next.
//!
//! Never blocks but in `epoll_wait`, with a deadline taken from the actors. Orders come from the phase
//! ([`super::phase`]) through a channel, results go back through another.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use rustix::event::{Timespec, epoll};

use crate::client::{Actor, ClientError, Context, Effect, Ends, Link, Logs};
use crate::stats::{Part, Recorder, Span, Totals};

use super::clock;
use super::conn::{Conn, Got};

/// Longest wait: orders are looked at this often, ns.
const LOOK: u64 = 20_000_000;
/// A connect that takes longer has failed, ns.
const CONNECT_TIMEOUT: u64 = 10_000_000_000;
/// Counts go to the phase this often, ns.
const REPORT: u64 = 500_000_000;

/// What the phase orders.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// The schedules are known.
    Start(Span),
    /// Producers are done; these are the ends of the log.
    Finish(Ends),
    /// Time is up.
    GiveUp {
        /// Readers go on.
        producers_only: bool,
    },
    /// Give the results and end.
    Stop,
}

/// What a worker tells.
pub(super) enum News {
    /// Where it stands: all set up; producers done; all done.
    State {
        worker: usize,
        ready: bool,
        written: bool,
        done: bool,
    },
    /// What was counted since.
    Parts(BTreeMap<u32, Part>),
    /// It cannot go on.
    Failed(ClientError),
    /// What it waits for.
    Waiting(Vec<String>),
    /// Its results; the last news.
    Result(Box<(Totals, Vec<Logs>)>),
}

/// What a worker is made of.
pub(super) struct WorkerParts {
    pub(super) index: usize,
    /// Actors, and whether each is a producer.
    pub(super) actors: Vec<(bool, Box<dyn Actor>)>,
    pub(super) orders: Receiver<Order>,
    pub(super) news: Sender<News>,
    /// ns; 0: do not spin.
    pub(super) margin: u64,
    pub(super) cpu: Option<usize>,
    /// No answer from anywhere for this long ends the run, ns.
    pub(super) patience: u64,
}

struct Worker {
    index: usize,
    actors: Vec<(bool, Box<dyn Actor>)>,
    conns: Vec<Option<Conn>>,
    links: HashMap<(usize, Link), usize>,
    epoll: rustix::fd::OwnedFd,
    recorder: Recorder,
    news: Sender<News>,
    margin: u64,
    patience: u64,
    effects: Vec<Effect>,
    got: Vec<Got>,
    state: (bool, bool, bool),
    heard: u64,
    failure: Option<(u64, ClientError)>,
}

/// Runs until told to stop.
pub(super) fn run(parts: WorkerParts) {
    if let Some(cpu) = parts.cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    turgo_tuning::sched::prompt_turns();
    let news = parts.news.clone();
    let epoll = match epoll::create(epoll::CreateFlags::CLOEXEC) {
        Ok(fd) => fd,
        Err(error) => {
            let _ = news.send(News::Failed(ClientError::Protocol(format!("epoll: {error}"))));
            return;
        }
    };
    let worker = Worker {
        index: parts.index,
        actors: parts.actors,
        conns: Vec::new(),
        links: HashMap::new(),
        epoll,
        recorder: Recorder::new(Span::NEVER),
        news: parts.news,
        margin: parts.margin,
        patience: parts.patience,
        effects: Vec::new(),
        got: Vec::new(),
        state: (false, false, false),
        heard: clock::now(),
        failure: None,
    };
    worker.run(&parts.orders);
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut reported = clock::now();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let mut looked = 0;
        loop {
            let now = clock::now();
            if now - looked >= LOOK / 4 {
                looked = now;
                match orders.try_recv() {
                    Ok(Order::Stop) => return self.finish(),
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => {}
                }
                self.tell_state();
                if now - reported >= REPORT {
                    reported = now;
                    let _ = self.news.send(News::Parts(self.recorder.take_parts()));
                    self.look_at_connects(now);
                    self.lose_patience(now);
                }
            }
            let mut next = now + LOOK;
            for index in 0..self.actors.len() {
                if self.actors[index].1.wake() <= now {
                    self.with(index, |actor, cx| actor.tick(cx));
                }
                next = next.min(self.actors[index].1.wake());
            }
            self.wait(next, &mut events);
        }
    }

    /// Waits for sockets, at most until `next`, and serves them.
    fn wait(&mut self, next: u64, events: &mut Vec<epoll::Event>) {
        let now = clock::now();
        let left = next.saturating_sub(now).saturating_sub(self.margin);
        let timeout = Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            tv_nsec: (left % 1_000_000_000) as i64,
        };
        events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let _ = self
                    .news
                    .send(News::Failed(ClientError::Protocol(format!("epoll: {error}"))));
            }
        }
        if events.is_empty() && self.margin > 0 {
            std::hint::spin_loop();
        }
        for event in events.iter() {
            let slot = event.data.u64() as usize;
            let flags = event.flags;
            self.serve(slot, flags);
        }
    }

    fn serve(&mut self, slot: usize, flags: epoll::EventFlags) {
        let Some(conn) = self.conns.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let result = (|| {
            if conn.connecting_since.is_some() {
                if !flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::ERR | epoll::EventFlags::HUP)
                {
                    return Ok(());
                }
                conn.connected()?;
            }
            if flags.intersects(epoll::EventFlags::OUT) {
                conn.write(&mut self.got)?;
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                conn.read(&mut self.got)?;
            }
            Ok(())
        })();
        let actor = conn.actor;
        let link = conn.link;
        self.deliver(actor, link);
        self.after(slot, result);
    }

    /// Brings what was read to its actor.
    fn deliver(&mut self, actor: usize, link: Link) {
        let mut got = std::mem::take(&mut self.got);
        for item in got.drain(..) {
            match item {
                Got::Answer { token, sent, frame } => {
                    self.heard = clock::now();
                    self.failure = None;
                    self.with(actor, |a, cx| a.answer(link, token, sent, &frame, cx));
                }
                Got::Written { token, sent } => self.with(actor, |a, cx| a.written(token, sent, cx)),
            }
        }
        if self.got.is_empty() {
            self.got = got;
        }
    }

    /// Sets what to wait for on a connection, or closes it.
    fn after(&mut self, slot: usize, result: std::io::Result<()>) {
        if let Err(error) = result {
            return self.drop_conn(slot, &error.to_string());
        }
        let Some(conn) = self.conns.get(slot).and_then(Option::as_ref) else {
            return;
        };
        let mut flags = epoll::EventFlags::IN;
        if conn.wants_write || conn.connecting_since.is_some() {
            flags |= epoll::EventFlags::OUT;
        }
        let _ = epoll::modify(
            &self.epoll,
            &conn.stream,
            epoll::EventData::new_u64(slot as u64),
            flags,
        );
    }

    fn drop_conn(&mut self, slot: usize, why: &str) {
        let Some(conn) = self.conns.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, &conn.stream);
        self.links.remove(&(conn.actor, conn.link));
        self.recorder.totals.lost_connections += 1;
        self.note_failure(&conn.address, why);
        let lost = conn.unanswered();
        let link = conn.link;
        let actor = conn.actor;
        drop(conn);
        self.with(actor, |a, cx| a.lost(link, &lost, cx));
    }

    fn note_failure(&mut self, address: &str, why: &str) {
        if self.failure.is_none() {
            let error = ClientError::Network {
                address: address.to_owned(),
                error: why.to_owned(),
            };
            self.failure = Some((clock::now(), error));
        }
    }

    fn lose_patience(&mut self, now: u64) {
        if let Some((since, error)) = &self.failure
            && now.saturating_sub((*since).max(self.heard)) > self.patience
        {
            let _ = self.news.send(News::Failed(error.clone()));
            self.failure = None;
        }
    }

    fn look_at_connects(&mut self, now: u64) {
        for slot in 0..self.conns.len() {
            let stuck = self.conns[slot]
                .as_ref()
                .and_then(|c| c.connecting_since)
                .is_some_and(|since| now.saturating_sub(since) > CONNECT_TIMEOUT);
            if stuck {
                self.drop_conn(slot, "no connection after 10 s");
            }
        }
    }

    /// Lets an actor act, then does what it wants.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut dyn Actor, &mut Context<'_>)) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut cx = Context {
            now: clock::now(),
            effects: &mut effects,
            recorder: &mut self.recorder,
        };
        act(self.actors[index].1.as_mut(), &mut cx);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send {
                    link,
                    address,
                    token,
                    frame,
                    answered,
                } => {
                    self.send(index, link, &address, token, frame, answered);
                }
                Effect::Close(link) => {
                    if let Some(slot) = self.links.get(&(index, link)).copied() {
                        self.drop_conn(slot, "no answer in a minute");
                    }
                }
                Effect::Fail(error) => {
                    let _ = self.news.send(News::Failed(error));
                }
            }
        }
        if self.effects.is_empty() {
            self.effects = effects;
        }
    }

    fn send(
        &mut self,
        actor: usize,
        link: Link,
        address: &str,
        token: i32,
        frame: Vec<bytes::Bytes>,
        answered: bool,
    ) {
        let slot = match self.links.get(&(actor, link)) {
            Some(slot) => *slot,
            None => match self.open(actor, link, address) {
                Ok(slot) => slot,
                Err(error) => {
                    self.note_failure(address, &error.to_string());
                    let lost = [crate::client::Lost { token, sent: false }];
                    return self.with(actor, |a, cx| a.lost(link, &lost, cx));
                }
            },
        };
        let Some(conn) = self.conns[slot].as_mut() else {
            return;
        };
        conn.push(token, frame, answered);
        if conn.connecting_since.is_none() && !conn.wants_write {
            let result = conn.write(&mut self.got);
            if result.is_err() || conn.wants_write {
                self.after(slot, result);
            }
            if !self.got.is_empty() {
                self.deliver(actor, link);
            }
        }
    }

    fn open(&mut self, actor: usize, link: Link, address: &str) -> std::io::Result<usize> {
        let conn = Conn::open(actor, link, address)?;
        let slot = self
            .conns
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.conns.len());
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(
            &self.epoll,
            &conn.stream,
            epoll::EventData::new_u64(slot as u64),
            flags,
        )?;
        if slot == self.conns.len() {
            self.conns.push(None);
        }
        self.conns[slot] = Some(conn);
        self.links.insert((actor, link), slot);
        Ok(slot)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start(span) => {
                self.recorder.set_span(span);
                self.actors.iter_mut().for_each(|(_, a)| a.start(span));
            }
            Order::Finish(ends) => self.actors.iter_mut().for_each(|(_, a)| a.finish_at(&ends)),
            Order::GiveUp { producers_only } => {
                let late: Vec<usize> = (0..self.actors.len())
                    .filter(|i| (self.actors[*i].0 || !producers_only) && !self.actors[*i].1.done())
                    .collect();
                let waiting = late.iter().map(|i| self.actors[*i].1.waiting_for()).collect();
                let _ = self.news.send(News::Waiting(waiting));
                for index in late {
                    self.with(index, |a, cx| a.give_up(cx));
                }
            }
            Order::Stop => {}
        }
    }

    fn tell_state(&mut self) {
        let ready = self.actors.iter().all(|(_, a)| a.ready());
        let written = self.actors.iter().all(|(producer, a)| !producer || a.done());
        let done = self.actors.iter().all(|(_, a)| a.done());
        if self.state != (ready, written, done) {
            self.state = (ready, written, done);
            let _ = self.news.send(News::State {
                worker: self.index,
                ready,
                written,
                done,
            });
        }
    }

    fn finish(mut self) {
        let logs = self.actors.iter_mut().map(|(_, a)| a.logs()).collect();
        let _ = self.news.send(News::Parts(self.recorder.take_parts()));
        let _ = self
            .news
            .send(News::Result(Box::new((self.recorder.totals, logs))));
    }
}
