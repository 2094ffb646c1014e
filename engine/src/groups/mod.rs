//! Group coordinator: classic and consumer groups, and their committed offsets.
//!
//! One [`Coordinator`] owns the groups whose ids hash to one partition of `__consumer_offsets`. It is a machine: the
//! shard that leads the partition hands it time and one event (a request, a due deadline, the fate of an append) and
//! carries out the [`Effect`]s: records to append to that partition, answers to give. It reads no clock, no socket,
//! no file and no random source, so a seed replays it.
//!
//! What always holds:
//! - every ticket handed in with a request comes back exactly once, with its answer;
//! - an offset is visible to OffsetFetch only once its record is committed; an assignment leaves only once the
//!   generation's record is committed;
//! - a member gets at most one assignment per generation, and only of the generation it synced with;
//! - replaying the committed records gives the offsets and the stored generation of every group.
//!
//! It leaves to others: which broker is the coordinator of a group, authorisation, whether topics exist, encoding.
//! Rules and error codes are those of Apache Kafka 4.3 (KIP-62, 345, 394, 447, 518, 559, 709, 800, 814, 1043);
//! `docs/groups.md` tells them, with the bounds. Consumer groups (KIP-848) are in [`consumer`].

mod checks;
pub mod codes;
pub mod consumer;
mod coordinator;
mod group;
mod membership;
pub mod messages;
mod offsets;
mod planted;
mod rebalance;
pub mod records;
mod replay;
mod requests;
pub mod room;
#[cfg(test)]
mod tests;
mod timers;

pub use coordinator::{Coordinator, Effect, Producer, ReplayRecord, Stats};
pub use group::{GroupState, Ticket};

/// Settings of the coordinator, under Kafka's names; all may differ from one start to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more first members.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`, at most [`Limits::members_per_group`].
    pub max_size: usize,
    /// How long a new member's first JoinGroup may stay parked before the member is given up.
    pub new_member_join_timeout_ms: i64,
    /// `offset.metadata.max.bytes`, in UTF-16 units as Kafka counts.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// Settings of consumer groups.
    pub consumer: consumer::ConsumerConfig,
    /// Ceilings that no client can lift.
    pub limits: Limits,
}

/// Ceilings on what clients can make one coordinator hold. Beyond one, the request is refused with a retriable
/// error and nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Groups, simple ones included. A new one beyond it: COORDINATOR_NOT_AVAILABLE.
    pub groups: usize,
    /// Members of one group. One more: GROUP_MAX_SIZE_REACHED.
    pub members_per_group: usize,
    /// Member ids of one group handed out and not yet used. One more: COORDINATOR_NOT_AVAILABLE.
    pub pending_members_per_group: usize,
    /// Appends under way. One more: COORDINATOR_NOT_AVAILABLE.
    pub appends_in_flight: usize,
    /// Bytes of a group id, member id, instance id, client id, protocol name or type. Longer: INVALID_REQUEST
    /// (a group id: INVALID_GROUP_ID). At most 32,730: a record holds 32,767, and a
    /// member id is 37 longer than what it is made from.
    pub string_bytes: usize,
    /// Assignment protocols of one member. More: INCONSISTENT_GROUP_PROTOCOL.
    pub protocols_per_member: usize,
    /// Records of one append that need not be atomic (expiry, topic deletion, group deletion).
    pub records_per_append: usize,
    /// Requests that wait for a batch of their consumer group. One more: COORDINATOR_NOT_AVAILABLE.
    pub waiting_per_group: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            new_member_join_timeout_ms: 300_000,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            retention_check_interval_ms: 600_000,
            consumer: consumer::ConsumerConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            groups: 1_000_000,
            members_per_group: 100_000,
            pending_members_per_group: 10_000,
            appends_in_flight: 100_000,
            string_bytes: 16_384,
            protocols_per_member: 256,
            records_per_append: 2_000,
            waiting_per_group: 100_000,
        }
    }
}

/// The partition of `__consumer_offsets` (of `partitions`) that owns `group`: Java's `String.hashCode` over UTF-16
/// units with the sign bit cleared, modulo the count. `partitions` is at least 1.
pub fn partition_for(group: &str, partitions: u32) -> u32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash & i32::MAX) as u32 % partitions
}
