//! A lean Kafka client as machines: no sockets, clocks or threads here.
//!
//! An [`Actor`] is one producer or consumer. The worker (`crate::shell::worker`) tells it the time, brings it answers
//! and carries out its [`Effect`]s. Requests are built by the project's codec at versions that name topics, not ids, so
//! that nothing needs to be looked up on the way.

pub mod cluster;
pub mod consumer;
pub mod group;
pub mod producer;
pub mod requests;
mod tracker;

use std::sync::Arc;

use bytes::Bytes;
use turgo_net::{ErrorCode, FrameError};

use crate::integrity::{SeenLog, SentLog};
use crate::stats::{Recorder, Span};

pub use requests::{Versions, parse};

/// Why a request has no answer. The text says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Operator: nothing listens there, or the network fails.
    #[error("{address}: {error}; is a broker running there?")]
    Network {
        /// Where.
        address: String,
        /// The system's error.
        error: String,
    },
    /// The other end does not speak the protocol as expected.
    #[error("{0}")]
    Protocol(String),
    /// The broker refused.
    #[error("{what}: {} ({})", .code.name(), .code.0)]
    Refused {
        /// What was asked.
        what: String,
        /// Kafka's error code.
        code: ErrorCode,
    },
}

impl From<turgo_net::DecodeError> for ClientError {
    fn from(error: turgo_net::DecodeError) -> Self {
        ClientError::Protocol(format!("unreadable answer: {error}"))
    }
}
impl From<turgo_net::EncodeError> for ClientError {
    fn from(error: turgo_net::EncodeError) -> Self {
        ClientError::Protocol(format!("request cannot be built: {error}"))
    }
}
impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        ClientError::Protocol(format!("answer is not a frame: {error}"))
    }
}

/// What a connection of an actor is for. An actor has at most one for each broker and purpose, because a broker answers
/// the requests of one connection in order and a long poll would hold up the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Produce or fetch.
    Data,
    /// Metadata, offsets, producer ids.
    Control,
    /// The coordinator of a group or a transaction.
    Coordinator,
}

/// One connection of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// Broker id; below 0: the bootstrap server -1 - id.
    pub node: i32,
    /// What for.
    pub role: Role,
}

/// What an actor wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame; open the connection if there is none.
    Send {
        /// Where to.
        link: Link,
        /// `host:port` of it.
        address: Arc<str>,
        /// Comes back with the answer; is the correlation id.
        token: i32,
        /// The frame in pieces.
        frame: Vec<Bytes>,
        /// The broker will answer.
        answered: bool,
    },
    /// Close a connection; what is in flight on it is lost.
    Close(Link),
    /// The run cannot go on.
    Fail(ClientError),
}

/// What the worker lends an actor for one call.
pub struct Context<'a> {
    /// Now, ns.
    pub now: u64,
    /// What to do.
    pub effects: &'a mut Vec<Effect>,
    /// Where to count.
    pub recorder: &'a mut Recorder,
}

/// A request that was in flight when its connection went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Its token.
    pub token: i32,
    /// Some of its bytes may have reached the broker.
    pub sent: bool,
}

/// One producer or consumer.
pub trait Actor: Send {
    /// Time has come: `wake()` passed, or something happened.
    fn tick(&mut self, cx: &mut Context<'_>);
    /// A request was answered; its first byte went to the socket at `sent`.
    fn answer(&mut self, link: Link, token: i32, sent: u64, frame: &Bytes, cx: &mut Context<'_>);
    /// The last byte of a request without answer is with the socket.
    fn written(&mut self, token: i32, sent: u64, cx: &mut Context<'_>);
    /// A connection is gone.
    fn lost(&mut self, link: Link, requests: &[Lost], cx: &mut Context<'_>);
    /// When [`Actor::tick`] is due next, ns; `u64::MAX`: not before something happens.
    fn wake(&self) -> u64;
    /// Set up and waiting for the start.
    fn ready(&self) -> bool;
    /// The schedules are known.
    fn start(&mut self, span: Span);
    /// Consumers: this many records lie in each partition; finish when they are read.
    fn finish_at(&mut self, ends: &Ends);
    /// Nothing left to do.
    fn done(&self) -> bool;
    /// Time is up: what is still out is counted as it is.
    fn give_up(&mut self, cx: &mut Context<'_>);
    /// What it knows for the verdict.
    fn logs(&mut self) -> Logs;
    /// What it waits for, for messages about a run that hangs.
    fn waiting_for(&self) -> String;
}

/// An actor's contribution to the verdict.
#[derive(Debug, Default)]
pub struct Logs {
    /// A producer's.
    pub sent: SentLog,
    /// A tail or verifying reader's, with its group.
    pub seen: Option<(u32, SeenLog)>,
    /// When a reader with a backlog had drained it, ns.
    pub drained_at: Option<u64>,
}

/// End offsets: topic number, then partition.
pub type Ends = Arc<Vec<Vec<i64>>>;
