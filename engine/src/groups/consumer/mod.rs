//! Consumer groups of the next protocol (KIP-848): members heartbeat, the coordinator assigns.
//!
//! Each group has an *epoch* that rises with everything that may change who reads what; a *target assignment*, computed
//! here for one such epoch; and per member a *current assignment* that approaches the target: a member first gives up
//! what it must, only then is another told to take it. A heartbeat moves its member as far as it can go at that moment.
//! Members of the classic protocol can take part: their JoinGroup, SyncGroup and Heartbeat are answered from the same
//! state, and whole groups change from one protocol to the other while they run.
//!
//! Called by the coordinator, which routes requests and deadlines of consumer groups here. State is a set of keyed
//! values, exactly those that go to the log: a request is worked into changes ([`group::Change`]), which are applied
//! and appended as one batch ([`work`]). Replaying the log applies the same changes.
//!
//! What always holds:
//! - a partition is in the current assignment of a member (to read or to give up) of at most one member, as long as
//!   the log is our own;
//! - a member is told of nothing before its record is committed: while a group's batch is on its way, further requests
//!   to the group wait and are then worked into the next batch together;
//! - a batch that fails leaves no trace;
//! - epochs of a group and of its members do not go back.
//!
//! | module | what |
//! |-|-|
//! | `cluster` | what the machine wants to know of topics and of a group's own settings |
//! | `group` | the state and its indexes |
//! | `heartbeat` | ConsumerGroupHeartbeat: joining, staying, leaving, deadlines |
//! | `classic` | members of the classic protocol in a consumer group |
//! | `migrate` | groups that change their protocol |
//! | `assignor` | target assignments: `uniform` and `range` |
//! | `reconcile` | from the current assignment towards the target |
//! | `work` | batches, waiting requests, undoing |
//! | `records` | changes to and from records |
//! | `queries` | ConsumerGroupDescribe, and who may commit, fetch and delete offsets |

pub mod assignor;
mod classic;
pub mod cluster;
mod group;
mod heartbeat;
pub mod messages;
mod migrate;
mod pattern;
mod protocol;
mod queries;
mod reconcile;
pub(super) mod records;
pub(super) mod work;

pub(super) use group::{ConsumerGroup, GroupPhase};
pub(super) use queries::Committer;
pub(super) use work::Consumers;

/// Id of a topic, 16 raw bytes.
pub type TopicId = [u8; 16];

/// Member epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;
/// Member epoch of a member that leaves for good.
const LEAVE_EPOCH: i32 = -1;
/// Member epoch of a static member that leaves for a while and keeps its partitions.
const STATIC_LEAVE_EPOCH: i32 = -2;

/// Which ways a group may change its protocol while it has members (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Neither way.
    Disabled,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of this name, in any case; `None` for another word.
    pub fn from_name(name: &str) -> Option<MigrationPolicy> {
        [
            ("disabled", MigrationPolicy::Disabled),
            ("upgrade", MigrationPolicy::Upgrade),
            ("downgrade", MigrationPolicy::Downgrade),
            ("bidirectional", MigrationPolicy::Bidirectional),
        ]
        .into_iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|(_, policy)| policy)
    }

    fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// Settings of consumer groups, under Kafka's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `consumer` is among `group.coordinator.rebalance.protocols`. Otherwise heartbeats are UNSUPPORTED_VERSION.
    pub enabled: bool,
    /// `group.consumer.session.timeout.ms`; a group's own `consumer.session.timeout.ms` precedes it.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`; a group's own `consumer.heartbeat.interval.ms` precedes it.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`: least time between two target assignments of a group; a group's own
    /// `consumer.assignment.interval.ms` precedes it.
    pub assignment_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub max_size: usize,
    /// `group.consumer.assignors`; the first is the default. Not empty.
    pub assignors: Vec<assignor::Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`: how often patterns are matched again without a reason, ms.
    pub regex_refresh_ms: i64,
    /// Least time between two matchings of a group's patterns because of new topics, ms.
    pub regex_refresh_min_ms: i64,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            enabled: true,
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            max_size: i32::MAX as usize,
            assignors: vec![assignor::Assignor::Uniform, assignor::Assignor::Range],
            migration: MigrationPolicy::Bidirectional,
            regex_refresh_ms: 600_000,
            regex_refresh_min_ms: 10_000,
        }
    }
}

/// Whether a heartbeat can be worked off at all: its answer if not.
pub(super) fn validate(
    request: &messages::ConsumerHeartbeatRequest,
    api_version: i16,
    config: &super::Config,
) -> Result<(), messages::ConsumerHeartbeatResponse> {
    let refused = |code, message| messages::ConsumerHeartbeatResponse::error(code, message);
    if !config.consumer.enabled {
        let code = super::codes::UNSUPPORTED_VERSION;
        return Err(refused(code, None));
    }
    heartbeat::validate(request, api_version, &config.consumer, config.limits.string_bytes)
        .map_err(|refusal| refused(refusal.code, Some(refusal.message)))
}

/// A request that is refused: its code, and words for the client's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: i16,
    pub message: String,
}

impl Refusal {
    fn new(code: i16, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}
