//! What consumer groups are asked and what they answer, without the wire. Fields carry the protocol's names.

use super::TopicId;

/// Partitions by topic, as the wire lists them.
pub type TopicPartitions = Vec<(TopicId, Vec<i32>)>;

/// ConsumerGroupHeartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatRequest {
    /// Group id.
    pub group_id: String,
    /// Member id; made by the client from version 1 on.
    pub member_id: String,
    /// 0 to join, -1 to leave, -2 to leave as a static member that will return, else the member's epoch.
    pub member_epoch: i32,
    /// Instance id of a static member.
    pub instance_id: Option<String>,
    /// Rack of the member; `None`: unchanged.
    pub rack_id: Option<String>,
    /// Time the member needs to give partitions up, ms; -1: unchanged.
    pub rebalance_timeout_ms: i32,
    /// Topics it reads; `None`: unchanged.
    pub subscribed_topic_names: Option<Vec<String>>,
    /// Pattern of the topics it reads (version 1 and up); `None`: unchanged, empty: none.
    pub subscribed_topic_regex: Option<String>,
    /// Assignor it would like; `None`: unchanged.
    pub server_assignor: Option<String>,
    /// Partitions it holds; `None`: unchanged.
    pub topic_partitions: Option<TopicPartitions>,
    /// Sixteen fresh random bytes, for the id of a member that brings none (version 0).
    pub new_member_uuid: [u8; 16],
}

impl Default for ConsumerHeartbeatRequest {
    fn default() -> ConsumerHeartbeatRequest {
        ConsumerHeartbeatRequest {
            group_id: String::new(),
            member_id: String::new(),
            member_epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            subscribed_topic_names: None,
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: None,
            new_member_uuid: [0; 16],
        }
    }
}

/// ConsumerGroupHeartbeat's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerHeartbeatResponse {
    /// Error code.
    pub error_code: i16,
    /// Words for the client's log.
    pub error_message: Option<String>,
    /// Member id; `None` on error.
    pub member_id: Option<String>,
    /// Epoch to send from now on.
    pub member_epoch: i32,
    /// When to heartbeat next, ms.
    pub heartbeat_interval_ms: i32,
    /// Partitions to hold; `None`: as before.
    pub assignment: Option<TopicPartitions>,
}

impl ConsumerHeartbeatResponse {
    /// A refusal.
    pub fn error(error_code: i16, error_message: Option<String>) -> ConsumerHeartbeatResponse {
        ConsumerHeartbeatResponse {
            error_code,
            error_message,
            ..ConsumerHeartbeatResponse::default()
        }
    }
}

/// One group of ConsumerGroupDescribe's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedConsumerGroup {
    /// Error code.
    pub error_code: i16,
    /// Words for the client's log.
    pub error_message: Option<String>,
    /// Group id.
    pub group_id: String,
    /// State's name, empty on error.
    pub group_state: &'static str,
    /// Epoch of the group.
    pub group_epoch: i32,
    /// Epoch of the target assignment.
    pub assignment_epoch: i32,
    /// Assignor in use.
    pub assignor_name: String,
    /// Members by id.
    pub members: Vec<DescribedConsumerMember>,
}

/// Partitions of a topic as they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedPartitions {
    /// Topic id.
    pub topic_id: TopicId,
    /// Topic name.
    pub topic_name: String,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

/// One member of a described group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedConsumerMember {
    /// Member id.
    pub member_id: String,
    /// Instance id.
    pub instance_id: Option<String>,
    /// Rack.
    pub rack_id: Option<String>,
    /// Epoch.
    pub member_epoch: i32,
    /// Client id.
    pub client_id: String,
    /// Client address.
    pub client_host: String,
    /// Topics subscribed by name.
    pub subscribed_topic_names: Vec<String>,
    /// Pattern subscribed; empty: none.
    pub subscribed_topic_regex: String,
    /// What it holds, partitions it is giving up included. Topics that are gone are left out.
    pub assignment: Vec<DescribedPartitions>,
    /// What it is to hold.
    pub target_assignment: Vec<DescribedPartitions>,
    /// It uses the classic protocol.
    pub is_classic: bool,
}
