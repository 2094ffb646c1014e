//! Durable storage of one core: a journal with group commit, segments, recovery.
//!
//! The engine opens one [`Store`] per core, appends batches to its [`Log`]s, answers producers when `on_commit` says
//! that they are durable, and reads from memory or disk.

pub mod api;
pub mod env;
pub mod epochs;
pub mod format;
pub mod map;
pub mod producer;
pub mod store;

pub use api::*;
pub use env::Env;
pub use format::kafka::BatchHeader;
pub use producer::{ProducerBatch, ProducerEntry, ProducerError, Sequenced};
pub use store::{Layout, Log, Store, prepare};
