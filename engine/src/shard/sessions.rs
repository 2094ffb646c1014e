//! Fetch sessions of a core, and how a request finds the core of its session.
//!
//! A session is made on the core of its client's connection and stays there, so that a round needs no other core. A
//! connection that moves to another core closes its session with its last answer before, and the client starts a new
//! one; a client that comes back with its session over another connection is served through two calls to the
//! session's core.

use std::rc::Rc;

use turgo_storage::env::Env;

use crate::sessions::{Round, Seen, SessionError, Told, TopicName, Update, Want, home};
use crate::shard::Shard;
use crate::shard::ops::{Answer, Op};

impl<E: Env> Shard<E> {
    /// Takes a request of a session; see [`crate::sessions::Cache::begin`].
    pub async fn begin_round(self: &Rc<Self>, update: Update) -> Result<Option<Round>, SessionError> {
        let core = home(update.id, self.cores);
        if core == self.index {
            return self.begin_round_owned(&update);
        }
        match self.submit(core, Op::BeginRound(update)).await {
            Some(Answer::Round(begun)) => begun,
            _ => Err(SessionError::NotFound),
        }
    }

    /// Notes what the answer of a round tells; see [`crate::sessions::Cache::finish`].
    pub async fn finish_round(
        self: &Rc<Self>,
        id: i32,
        epoch: i32,
        told: Vec<Told>,
    ) -> Result<(), SessionError> {
        let core = home(id, self.cores);
        if core == self.index {
            return self.finish_round_owned(id, epoch, &told);
        }
        match self.submit(core, Op::FinishRound { id, epoch, told }).await {
            Some(Answer::RoundFinished(finished)) => finished,
            _ => Ok(()),
        }
    }

    /// Forgets a session, wherever it is.
    pub async fn close_session(self: &Rc<Self>, id: i32) {
        let core = home(id, self.cores);
        if core == self.index {
            self.close_session_owned(id);
        } else {
            self.submit(core, Op::CloseSession(id)).await;
        }
    }

    /// Makes a session here, of a full fetch and what its answer tells; 0 if there is no room.
    pub fn create_session(
        &self,
        privileged: bool,
        uses_ids: bool,
        topics: &[TopicName],
        parts: impl Iterator<Item = (u32, i32, Want, Seen)>,
    ) -> i32 {
        let random = || {
            let [a, b, c, d, ..] = (self.node.random)();
            u32::from_le_bytes([a, b, c, d])
        };
        let id =
            self.sessions
                .borrow_mut()
                .create(self.now_ms(), privileged, uses_ids, topics, parts, random);
        self.count_sessions();
        id
    }

    pub(crate) fn begin_round_owned(&self, update: &Update) -> Result<Option<Round>, SessionError> {
        let begun = self.sessions.borrow_mut().begin(self.now_ms(), update);
        self.count_sessions();
        begun
    }

    pub(crate) fn finish_round_owned(&self, id: i32, epoch: i32, told: &[Told]) -> Result<(), SessionError> {
        self.sessions.borrow_mut().finish(id, epoch, told)
    }

    pub(crate) fn close_session_owned(&self, id: i32) {
        self.sessions.borrow_mut().close(id);
        self.count_sessions();
    }

    fn count_sessions(&self) {
        let stats = self.sessions.borrow().stats();
        self.stats.fetch_sessions.set(stats.sessions as u64);
        self.stats.fetch_session_partitions.set(stats.partitions as u64);
        self.stats.fetch_session_bytes.set(stats.bytes as u64);
        self.stats.fetch_sessions_created.set(stats.created);
        self.stats.fetch_sessions_evicted.set(stats.evicted);
    }
}
