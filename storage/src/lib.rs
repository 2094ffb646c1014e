//! Durable storage of one core: a journal with group commit, segments, recovery.
//!
//! The engine opens one [`Store`] per core, appends batches to its [`Log`]s, answers producers when `on_commit` says
//! that they are durable, and reads from memory or disk. How the pieces fit is in `docs/storage.md`, what they write
//! in `docs/formats.md`.
//!
//! Procedures (group commit, drain, checkpoint, recovery) are async code over [`Env`]; decisions (what a group holds,
//! what a scan means, what to drain, what to retain) are plain machines. Only [`shell`] touches the runtime.

pub mod api;
mod checkpoint;
pub mod compact;
mod core;
mod drain;
pub mod env;
pub mod epochs;
mod files;
pub mod format;
pub mod journal;
mod log;
pub mod map;
mod policy;
mod prepare;
pub mod producer;
mod read;
mod recovery;
pub mod shell;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod space;
mod store;
mod sync;
mod tail;
pub mod testing;
pub mod txn;

pub use api::*;
pub use compact::records::{Codec, CodecError};
pub use compact::{CompactError, Compacted, CompactionLimits, SharedCodec};
pub use env::Env;
pub use format::kafka::BatchHeader;
pub use log::Log;
pub use prepare::{Identity, Layout, prepare};
pub use producer::{ProducerBatch, ProducerEntry, ProducerError, Sequenced};
pub use recovery::memory_min;
pub use store::Store;
pub use txn::AbortedTxn;
