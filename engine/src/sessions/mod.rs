//! Incremental fetch sessions (KIP-227): what a consumer asked for and was told, so that it need not say it again.
//!
//! A [`Cache`] is one core's share of the node's sessions. It is a machine: time and random numbers come in as
//! parameters, and it does not know logs. A session stays where it was made; its id says where ([`home`]), so that a
//! request that arrives on another core finds it.
//!
//! A fetch of a session is a *round*: [`Cache::begin`] takes the request's changes and gives the list of partitions
//! with what the client knows of each; the caller reads, drops what the client need not be told ([`Seen::news`]), and
//! [`Cache::finish`] notes what was told. Nothing is noted while a long poll goes on, so a round that is tried again
//! until there are enough bytes tells everything in the end.
//!
//! As in Kafka: a full cache takes a new session only in place of one that was not used for [`STALE_MS`], or of a less
//! valuable one (followers before consumers, then many partitions before few) that has had its [`STALE_MS`] of life;
//! a follower's also takes the place of a consumer's younger one. Otherwise the client goes on without session.
//!
//! Always holds: no more than [`Limits::slots`] sessions; no more than [`Limits::bytes`] of memory, counted with
//! [`PARTITION_BYTES`] and [`TOPIC_BYTES`], which Kafka does not bound; every session is in each index exactly once.

mod session;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

pub use session::{News, Round, RoundPart, Seen, Told, TopicName, Want};
use session::{Session, next_epoch};

/// Time without use after which a session gives way to any other, and least age at which a more valuable one may take
/// its place, milliseconds. Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`.
pub const STALE_MS: u64 = 120_000;
/// What a partition of a session is counted with, bytes.
pub const PARTITION_BYTES: usize = 160;
/// What a topic of a session is counted with besides its name, bytes.
pub const TOPIC_BYTES: usize = 160;
/// Memory that all sessions of a node may take, bytes: about 600,000 partitions.
pub const NODE_BYTES: usize = 96 << 20;

/// Epoch of a request that wants a session made.
pub const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that wants no session.
pub const FINAL_EPOCH: i32 = -1;

/// Ceilings of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub slots: usize,
    /// Memory, see the module.
    pub bytes: usize,
}

impl Limits {
    /// The share of core `index` of `cores` in a node that keeps `slots` sessions.
    pub fn share(slots: usize, index: usize, cores: usize) -> Limits {
        Limits {
            slots: slots / cores + usize::from(index < slots % cores),
            bytes: NODE_BYTES / cores,
        }
    }
}

/// The core where a session lives.
pub fn home(id: i32, cores: usize) -> usize {
    id.unsigned_abs() as usize % cores
}

/// Why a session cannot be used. All are the client's to act on: it starts a new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND (70): evicted, never there, or it outgrew the memory.
    NotFound,
    /// INVALID_FETCH_SESSION_EPOCH (71): a request of the session was lost or came twice.
    Epoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR (106): the session was made with topic names and goes on with ids, or the other
    /// way round (KIP-516).
    TopicId,
}

/// What a request of a session changes and asks.
#[derive(Debug, Clone)]
pub struct Update {
    /// Of the request.
    pub id: i32,
    /// Of the request.
    pub epoch: i32,
    /// The request names topics by id (version 13 and later).
    pub uses_ids: bool,
    /// Topics of the two lists below, by position.
    pub topics: Vec<TopicName>,
    /// Partitions to add or to ask for differently: topic, partition, terms.
    pub wanted: Vec<(u32, i32, Want)>,
    /// Partitions to forget.
    pub forgotten: Vec<(u32, i32)>,
}

/// Figures of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now.
    pub sessions: usize,
    /// Partitions in them.
    pub partitions: usize,
    /// Memory counted.
    pub bytes: usize,
    /// Sessions made since the start.
    pub created: u64,
    /// Sessions that gave way to others since the start.
    pub evicted: u64,
}

/// Value of a session: a larger one is kept before a smaller one.
type Value = (bool, usize, i32);

/// Sessions of one core. See the module.
#[derive(Debug)]
pub struct Cache {
    limits: Limits,
    index: usize,
    cores: usize,
    sessions: HashMap<i32, Session>,
    last_used: BTreeSet<(u64, i32)>,
    /// What any new session may replace: sessions with [`STALE_MS`] of life.
    evictable_by_all: BTreeSet<Value>,
    /// What a follower's may replace: those, and all consumers'.
    evictable_by_privileged: BTreeSet<Value>,
    partitions: usize,
    bytes: usize,
    created: u64,
    evicted: u64,
}

impl Cache {
    /// An empty cache on core `index` of `cores`.
    pub fn new(limits: Limits, index: usize, cores: usize) -> Cache {
        Cache {
            limits,
            index,
            cores,
            sessions: HashMap::new(),
            last_used: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
            partitions: 0,
            bytes: 0,
            created: 0,
            evicted: 0,
        }
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            partitions: self.partitions,
            bytes: self.bytes,
            created: self.created,
            evicted: self.evicted,
        }
    }

    /// Makes a session of a full fetch that was just answered with `parts`; a partition named twice counts with its
    /// last terms. Gives its id, or 0 if there is no room. `privileged`: the client is a follower.
    pub fn create(
        &mut self,
        now_ms: u64,
        privileged: bool,
        uses_ids: bool,
        topics: &[TopicName],
        parts: impl Iterator<Item = (u32, i32, Want, Seen)>,
        random: impl FnOnce() -> u32,
    ) -> i32 {
        let mut session = Session::new(privileged, uses_ids, now_ms);
        let mut numbers = vec![None; topics.len()];
        for (topic, partition, want, seen) in parts {
            let number = session.number(topics, &mut numbers, topic);
            session.put(number, partition, want, Some(seen));
            if session.bytes() > self.limits.bytes {
                return 0;
            }
        }
        while self.sessions.len() >= self.limits.slots || self.bytes + session.bytes() > self.limits.bytes {
            if !self.evict((privileged, session.len(), 0), now_ms) {
                return 0;
            }
        }
        // 31 bits, of which the remainder names the core; 0 means none. The next that is free, so that a bad source of
        // randomness costs time and not more.
        let cores = self.cores as u32;
        let mut word = random() >> 1;
        let id = loop {
            let candidate = (word - word % cores).checked_add(self.index as u32);
            match candidate.map(i32::try_from) {
                Some(Ok(id)) if id > 0 && !self.sessions.contains_key(&id) => break id,
                _ => word = word.wrapping_add(cores) & (u32::MAX >> 1),
            }
        };
        self.created += 1;
        self.insert(id, session, now_ms);
        id
    }

    /// Takes a request of a session. `None`: the session has nothing left to ask for, and is gone.
    pub fn begin(&mut self, now_ms: u64, update: &Update) -> Result<Option<Round>, SessionError> {
        let session = self.sessions.get(&update.id).ok_or(SessionError::NotFound)?;
        if session.epoch != update.epoch {
            return Err(SessionError::Epoch);
        }
        if session.uses_ids != update.uses_ids {
            return Err(SessionError::TopicId);
        }
        let mut session = self.take(update.id).expect("looked up above");
        let mut numbers = vec![None; update.topics.len()];
        for (topic, partition, want) in &update.wanted {
            let number = session.number(&update.topics, &mut numbers, *topic);
            session.put(number, *partition, *want, None);
            if self.bytes + session.bytes() > self.limits.bytes {
                return Err(SessionError::NotFound);
            }
        }
        for (topic, partition) in &update.forgotten {
            session.remove(&update.topics[*topic as usize], *partition);
        }
        if session.is_empty() {
            return Ok(None);
        }
        session.epoch = next_epoch(session.epoch);
        let round = session.round();
        self.insert(update.id, session, now_ms);
        Ok(Some(round))
    }

    /// Notes what the answer of a round tells. An error: another request of the session came meanwhile, and the answer
    /// must say so instead. A session that is gone is no error: the next request will be told.
    pub fn finish(&mut self, id: i32, epoch: i32, told: &[Told]) -> Result<(), SessionError> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if session.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        for told in told {
            session.told(told);
        }
        Ok(())
    }

    /// Forgets a session.
    pub fn close(&mut self, id: i32) {
        self.take(id);
    }

    /// Makes room for a session of this value.
    fn evict(&mut self, value: Value, now_ms: u64) -> bool {
        let Some((used_ms, id)) = self.last_used.first().copied() else {
            return false;
        };
        if now_ms.saturating_sub(used_ms) > STALE_MS {
            self.evicted += 1;
            self.take(id);
            return true;
        }
        let evictable = if value.0 {
            &self.evictable_by_privileged
        } else {
            &self.evictable_by_all
        };
        match evictable.first().copied() {
            Some(least) if value >= least => {
                self.evicted += 1;
                self.take(least.2);
                true
            }
            _ => false,
        }
    }

    fn insert(&mut self, id: i32, mut session: Session, now_ms: u64) {
        session.used_ms = now_ms;
        let value = (session.privileged, session.len(), id);
        session.value = value;
        let grown = now_ms.saturating_sub(session.created_ms) > STALE_MS;
        if grown || !session.privileged {
            self.evictable_by_privileged.insert(value);
        }
        if grown {
            self.evictable_by_all.insert(value);
        }
        self.last_used.insert((now_ms, id));
        self.partitions += session.len();
        self.bytes += session.bytes();
        self.sessions.insert(id, session);
    }

    fn take(&mut self, id: i32) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.last_used.remove(&(session.used_ms, id));
        self.evictable_by_all.remove(&session.value);
        self.evictable_by_privileged.remove(&session.value);
        self.partitions -= session.len();
        self.bytes -= session.bytes();
        Some(session)
    }

    /// Panics if an invariant is broken.
    pub fn check(&self) {
        assert!(self.sessions.len() <= self.limits.slots, "too many sessions");
        assert!(self.bytes <= self.limits.bytes, "too much memory");
        assert_eq!(self.last_used.len(), self.sessions.len());
        assert_eq!(
            self.partitions,
            self.sessions.values().map(Session::len).sum::<usize>()
        );
        assert_eq!(
            self.bytes,
            self.sessions.values().map(Session::bytes).sum::<usize>()
        );
        for (id, session) in &self.sessions {
            assert_eq!(home(*id, self.cores), self.index, "a session of another core");
            assert!(self.last_used.contains(&(session.used_ms, *id)));
            assert!(session.privileged || self.evictable_by_privileged.contains(&session.value));
            session.check();
        }
        for value in self.evictable_by_all.iter().chain(&self.evictable_by_privileged) {
            assert_eq!(self.sessions.get(&value.2).map(|s| s.value), Some(*value));
        }
    }
}
