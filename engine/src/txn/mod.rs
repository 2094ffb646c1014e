//! Transaction coordinator: producer ids, epochs and transactions of the transactional ids of one partition of
//! `__transaction_state` (KIP-98, KIP-360, KIP-588, KIP-890).
//!
//! A machine. In: a request with a ticket, a time that has come, the fate of an append, the end of a marker job, fresh
//! producer ids, a record read back at start. Out ([`Effect`]): records to append, markers to write, answers. No clock,
//! socket, file or randomness, so a seed replays it. `crate::txn_host` drives it on the core that leads the partition.
//!
//! | file | what |
//! |-|-|
//! | `coordinator.rs` | events in, effects out; appends under way; requests that wait; loading, resigning |
//! | `requests.rs` | InitProducerId, AddPartitionsToTxn, describe, list |
//! | `end.rs` | EndTxn and everything else that ends a transaction |
//! | `deadlines.rs` | timeouts, expiry |
//! | `state.rs` | one transactional id and its transitions |
//! | `records.rs` | records of the internal topic |
//! | `messages.rs` | requests and answers without the wire |
//!
//! What always holds: a transition is answered, and acted upon, only once its record is committed; one id has at most
//! one append under way; markers are written only for a committed PrepareCommit or PrepareAbort, and that state is left
//! only when every one of them is durable; an epoch never falls while its producer id is in use.

mod coordinator;
mod deadlines;
mod end;
pub mod messages;
pub(crate) mod planted;
mod records;
mod requests;
mod state;

#[cfg(test)]
mod tests;

pub use coordinator::{Coordinator, Effect, MarkerJob, Stats, Ticket};
pub use records::Record;
pub use state::{TopicPartitions, TxnState};

/// Settings of the coordinator. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `transaction.max.timeout.ms`: a producer that asks for more is INVALID_TRANSACTION_TIMEOUT.
    pub max_timeout_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: how often transactions that took too long are
    /// looked for.
    pub abort_interval_ms: i64,
    /// `transactional.id.expiration.ms`: idle time after which an id is forgotten.
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: how often idle ids are looked for.
    pub expire_interval_ms: i64,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of one coordinator. Beyond one the request is refused and nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Transactional ids. A new one beyond it: COORDINATOR_NOT_AVAILABLE.
    pub ids: usize,
    /// Bytes of all transactional ids together. One beyond it: COORDINATOR_NOT_AVAILABLE.
    pub all_id_bytes: usize,
    /// Bytes of a transactional id. Longer: INVALID_REQUEST.
    pub id_bytes: usize,
    /// Bytes of one record, which lists all partitions of the transaction. Adding more: INVALID_REQUEST.
    pub record_bytes: usize,
    /// Requests that wait for a transition to be committed. One more: CONCURRENT_TRANSACTIONS.
    pub waiting: usize,
    /// How long a request waits for a transition before it is CONCURRENT_TRANSACTIONS, which makes the client come
    /// back.
    pub wait_ms: i64,
    /// Ids removed by one append of expiry.
    pub expired_per_append: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_timeout_ms: 15 * 60 * 1000,
            abort_interval_ms: 10_000,
            id_expiration_ms: 7 * 24 * 3_600_000,
            expire_interval_ms: 3_600_000,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            ids: 100_000,
            all_id_bytes: 16 << 20,
            id_bytes: 16_384,
            record_bytes: 512 << 10,
            waiting: 10_000,
            wait_ms: 1_000,
            expired_per_append: 1_000,
        }
    }
}
