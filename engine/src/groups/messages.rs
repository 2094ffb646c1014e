//! What the coordinator is asked and what it answers, without the wire.
//!
//! Fields carry the protocol's names. The engine fills requests from decoded messages and turns answers into
//! messages of the same request version; where versions differ in more than layout, the field says so. Topic ids are
//! 16 raw bytes, all zero when unknown. Checks that need the cluster's metadata (does the topic exist, what is its
//! id) are the caller's.

use super::codes;
pub use super::consumer::messages::*;
use bytes::Bytes;

/// Who asks, as far as the coordinator cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Client id of the request header; empty when null.
    pub client_id: String,
    /// Address of the client as shown by DescribeGroups, `/10.0.0.7` by Kafka's convention.
    pub client_host: String,
    /// Version of the request.
    pub api_version: i16,
}

/// A request to the coordinator of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// JoinGroup 0 to 9.
    Join(JoinRequest),
    /// SyncGroup 0 to 5.
    Sync(SyncRequest),
    /// Heartbeat 0 to 4.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup 0 to 5.
    Leave(LeaveRequest),
    /// OffsetCommit 2 to 10.
    OffsetCommit(OffsetCommitRequest),
    /// TxnOffsetCommit 0 to 5: the offsets stay pending until the producer's transaction ends.
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// One group of OffsetFetch 1 to 10.
    OffsetFetch(OffsetFetchRequest),
    /// OffsetDelete 0.
    OffsetDelete(OffsetDeleteRequest),
    /// ListGroups 0 to 5, for the groups of this coordinator.
    List(ListRequest),
    /// DescribeGroups 0 to 6, for groups of this coordinator.
    Describe(Vec<String>),
    /// DeleteGroups 0 to 2, for groups of this coordinator.
    Delete(Vec<String>),
    /// ConsumerGroupHeartbeat 0 to 1.
    ConsumerHeartbeat(ConsumerHeartbeatRequest),
    /// ConsumerGroupDescribe 0 to 1, for groups of this coordinator.
    ConsumerDescribe(Vec<String>),
}

/// One assignment protocol a member speaks, in the member's order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Name, for instance "range".
    pub name: String,
    /// The member's metadata for it.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// Group id.
    pub group_id: String,
    /// Member id, empty when the coordinator is to make one.
    pub member_id: String,
    /// Instance id of a static member (version 5 and up).
    pub group_instance_id: Option<String>,
    /// "consumer", "connect" or any other family of protocols.
    pub protocol_type: String,
    /// Protocols, most wanted first.
    pub protocols: Vec<Protocol>,
    /// Session timeout, ms.
    pub session_timeout_ms: i32,
    /// Rebalance timeout, ms; not read in version 0, which uses the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Why the client joins (version 8 and up); kept for the log only.
    pub reason: Option<String>,
    /// Sixteen fresh random bytes. A member id made here is the client id (or instance id), a dash and these as a
    /// UUID: the coordinator itself has no source of randomness.
    pub new_member_uuid: [u8; 16],
}

/// SyncGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// Group id.
    pub group_id: String,
    /// Generation the member joined.
    pub generation_id: i32,
    /// Member id.
    pub member_id: String,
    /// Instance id of a static member.
    pub group_instance_id: Option<String>,
    /// Protocol type the member believes in (version 5 and up).
    pub protocol_type: Option<String>,
    /// Protocol the member believes in (version 5 and up).
    pub protocol_name: Option<String>,
    /// The leader's assignment: member id and bytes; empty from others.
    pub assignments: Vec<(String, Bytes)>,
}

/// Heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// Group id.
    pub group_id: String,
    /// Generation of the member.
    pub generation_id: i32,
    /// Member id.
    pub member_id: String,
    /// Instance id of a static member.
    pub group_instance_id: Option<String>,
}

/// LeaveGroup. Versions before 3 name one member without instance id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaveRequest {
    /// Group id.
    pub group_id: String,
    /// Members that leave.
    pub members: Vec<LeavingMember>,
}

/// One member of a LeaveGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeavingMember {
    /// Member id; empty when a static member is removed by instance id alone.
    pub member_id: String,
    /// Instance id.
    pub group_instance_id: Option<String>,
    /// Why (version 5 and up); kept for the log only.
    pub reason: Option<String>,
}

/// OffsetCommit. The caller has removed topics and partitions that do not exist and filled in topic ids it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// Group id; may be empty.
    pub group_id: String,
    /// Generation or member epoch, -1 for a client outside group management.
    pub generation_id: i32,
    /// Member id, empty for a client outside group management.
    pub member_id: String,
    /// Instance id of a static member (version 7 and up).
    pub group_instance_id: Option<String>,
    /// How long to keep the offsets, ms (version 2 to 4, where -1 on the wire is `None`); `None` leaves it to the
    /// broker.
    pub retention_time_ms: Option<i64>,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

impl Default for OffsetCommitRequest {
    fn default() -> OffsetCommitRequest {
        OffsetCommitRequest {
            group_id: String::new(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: Vec::new(),
        }
    }
}

/// TxnOffsetCommit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOffsetCommitRequest {
    /// Group id; may be empty.
    pub group_id: String,
    /// Producer id of the transaction.
    pub producer_id: i64,
    /// Producer epoch of the transaction.
    pub producer_epoch: i16,
    /// Generation, -1 when unknown (versions before 3).
    pub generation_id: i32,
    /// Member id, empty when unknown.
    pub member_id: String,
    /// Instance id of a static member.
    pub group_instance_id: Option<String>,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

/// One topic of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitTopic {
    /// Topic name.
    pub name: String,
    /// Topic id, zero when unknown.
    pub topic_id: [u8; 16],
    /// Partitions.
    pub partitions: Vec<CommitPartition>,
}

/// One partition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPartition {
    /// Partition index.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read, -1 when unknown.
    pub leader_epoch: i32,
    /// Free text.
    pub metadata: Option<String>,
}

/// One group of an OffsetFetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// Group id; may be empty.
    pub group_id: String,
    /// Member of a consumer group that asks (version 9 and up).
    pub member_id: Option<String>,
    /// Its epoch; -1 when no member asks.
    pub member_epoch: i32,
    /// Topics wanted; `None` is all topics with an offset.
    pub topics: Option<Vec<FetchTopic>>,
    /// Answer UNSTABLE_OFFSET_COMMIT where a transaction is still open (version 7 and up).
    pub require_stable: bool,
}

impl Default for OffsetFetchRequest {
    fn default() -> OffsetFetchRequest {
        OffsetFetchRequest {
            group_id: String::new(),
            member_id: None,
            member_epoch: -1,
            topics: None,
            require_stable: false,
        }
    }
}

/// One topic of an OffsetFetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchTopic {
    /// Topic name.
    pub name: String,
    /// Topic id, zero when the request named the topic; an offset committed under another id is not returned.
    pub topic_id: [u8; 16],
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

/// OffsetDelete. The caller has removed topics and partitions that do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    /// Group id.
    pub group_id: String,
    /// Topics and partitions.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// ListGroups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// States wanted, any case; empty is all (version 4 and up).
    pub states_filter: Vec<String>,
    /// Group types wanted, any case; empty is all (version 5 and up).
    pub types_filter: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Join`].
    Join(JoinResponse),
    /// To [`Request::Sync`].
    Sync(SyncResponse),
    /// To [`Request::Heartbeat`]: the error code.
    Heartbeat(i16),
    /// To [`Request::Leave`].
    Leave(LeaveResponse),
    /// To [`Request::OffsetCommit`] and [`Request::TxnOffsetCommit`].
    OffsetCommit(OffsetCommitResponse),
    /// To [`Request::OffsetFetch`].
    OffsetFetch(OffsetFetchResponse),
    /// To [`Request::OffsetDelete`].
    OffsetDelete(OffsetDeleteResponse),
    /// To [`Request::List`].
    List(ListResponse),
    /// To [`Request::Describe`], in the order asked.
    Describe(Vec<DescribedGroup>),
    /// To [`Request::Delete`], in the order asked, an id asked twice once: group id and error code.
    Delete(Vec<(String, i16)>),
    /// To [`Request::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerHeartbeatResponse),
    /// To [`Request::ConsumerDescribe`], in the order asked.
    ConsumerDescribe(Vec<DescribedConsumerGroup>),
}

/// JoinGroup's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinResponse {
    /// Error code.
    pub error_code: i16,
    /// Generation joined, -1 on error.
    pub generation_id: i32,
    /// Protocol type (version 7 and up).
    pub protocol_type: Option<String>,
    /// Chosen protocol. Versions before 7 cannot say null and say the empty string instead.
    pub protocol_name: Option<String>,
    /// Member id of the leader, empty on error.
    pub leader: String,
    /// The leader must not compute an assignment (version 9 and up).
    pub skip_assignment: bool,
    /// Member id of the asker.
    pub member_id: String,
    /// All members with their metadata, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as shown to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Member id.
    pub member_id: String,
    /// Instance id of a static member.
    pub group_instance_id: Option<String>,
    /// Metadata for the chosen protocol.
    pub metadata: Bytes,
}

impl JoinResponse {
    /// A refusal.
    pub fn error(error_code: i16, member_id: &str) -> JoinResponse {
        JoinResponse {
            error_code,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }
}

/// SyncGroup's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncResponse {
    /// Error code.
    pub error_code: i16,
    /// Protocol type (version 5 and up).
    pub protocol_type: Option<String>,
    /// Chosen protocol (version 5 and up).
    pub protocol_name: Option<String>,
    /// The member's assignment, empty on error.
    pub assignment: Bytes,
}

/// LeaveGroup's answer. Before version 3 only `error_code` exists, and it is the member's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaveResponse {
    /// Error of the whole request.
    pub error_code: i16,
    /// One entry per member asked, in order.
    pub members: Vec<LeftMember>,
}

/// One member of LeaveGroup's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    /// Member id as asked.
    pub member_id: String,
    /// Instance id as asked.
    pub group_instance_id: Option<String>,
    /// Error code.
    pub error_code: i16,
}

/// OffsetCommit's answer: topic name, topic id and (partition, error code) each, in the order asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// One entry per topic asked.
    pub topics: Vec<CommittedTopic>,
}

/// One topic of OffsetCommit's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedTopic {
    /// Topic name as asked.
    pub name: String,
    /// Topic id as asked.
    pub topic_id: [u8; 16],
    /// Partition and error code, in the order asked.
    pub partitions: Vec<(i32, i16)>,
}

/// OffsetFetch's answer for one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// Group id as asked.
    pub group_id: String,
    /// Error of the group (version 2 and up; version 1 finds it in every partition).
    pub error_code: i16,
    /// Offsets.
    pub topics: Vec<FetchedTopic>,
}

/// One topic of OffsetFetch's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Topic name.
    pub name: String,
    /// Topic id as asked, zero when all topics were asked.
    pub topic_id: [u8; 16],
    /// Partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// One partition of OffsetFetch's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Partition index.
    pub partition: i32,
    /// Committed offset, -1 when there is none.
    pub offset: i64,
    /// Committed leader epoch, -1 when there is none.
    pub leader_epoch: i32,
    /// Committed metadata, empty when there is none.
    pub metadata: String,
    /// Error code.
    pub error_code: i16,
}

impl FetchedPartition {
    /// A partition without an offset.
    pub fn none(partition: i32, error_code: i16) -> FetchedPartition {
        FetchedPartition {
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
            error_code,
        }
    }
}

/// OffsetDelete's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetDeleteResponse {
    /// Error of the whole request; `topics` is then empty.
    pub error_code: i16,
    /// Topic and (partition, error code) each.
    pub topics: Vec<(String, Vec<(i32, i16)>)>,
}

/// ListGroups' answer of one coordinator. The caller merges; a coordinator that is not one has no groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListResponse {
    /// Error code.
    pub error_code: i16,
    /// Groups by id.
    pub groups: Vec<ListedGroup>,
}

/// One group of ListGroups' answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Group id.
    pub group_id: String,
    /// Protocol type, empty when the group has none.
    pub protocol_type: String,
    /// State's name (version 4 and up).
    pub group_state: &'static str,
    /// Type's name (version 5 and up).
    pub group_type: &'static str,
}

/// One group of DescribeGroups' answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Error code.
    pub error_code: i16,
    /// Message (version 6 and up).
    pub error_message: Option<String>,
    /// Group id.
    pub group_id: String,
    /// State's name; "Dead" for a group nobody knows.
    pub group_state: &'static str,
    /// Protocol type.
    pub protocol_type: String,
    /// Chosen protocol, only while the group is stable.
    pub protocol_data: String,
    /// Members in join order.
    pub members: Vec<DescribedMember>,
}

/// One member of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Member id.
    pub member_id: String,
    /// Instance id (version 4 and up).
    pub group_instance_id: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Client address.
    pub client_host: String,
    /// Metadata for the chosen protocol, only while the group is stable.
    pub member_metadata: Bytes,
    /// Assignment.
    pub member_assignment: Bytes,
}

impl Request {
    /// The refusal of this request as a whole with `code`, in the shape Kafka gives it at `api_version`.
    pub fn refuse(&self, code: i16, api_version: i16) -> Response {
        match self {
            Request::Join(request) => Response::Join(JoinResponse::error(code, &request.member_id)),
            Request::Sync(_) => Response::Sync(SyncResponse {
                error_code: code,
                ..SyncResponse::default()
            }),
            // A member whose coordinator still loads is to stay calm, not to rejoin.
            Request::Heartbeat(_) if code == codes::COORDINATOR_LOAD_IN_PROGRESS => {
                Response::Heartbeat(codes::NONE)
            }
            Request::Heartbeat(_) => Response::Heartbeat(code),
            Request::Leave(request) if code == codes::UNKNOWN_MEMBER_ID && api_version >= 3 => {
                let refused = |member: &LeavingMember| LeftMember {
                    member_id: member.member_id.clone(),
                    group_instance_id: member.group_instance_id.clone(),
                    error_code: code,
                };
                Response::Leave(LeaveResponse {
                    error_code: codes::NONE,
                    members: request.members.iter().map(refused).collect(),
                })
            }
            Request::Leave(_) => Response::Leave(LeaveResponse {
                error_code: code,
                members: Vec::new(),
            }),
            Request::OffsetCommit(OffsetCommitRequest { topics, .. })
            | Request::TxnOffsetCommit(TxnOffsetCommitRequest { topics, .. }) => {
                let refused = |topic: &CommitTopic| CommittedTopic {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic.partitions.iter().map(|p| (p.partition, code)).collect(),
                };
                Response::OffsetCommit(OffsetCommitResponse {
                    topics: topics.iter().map(refused).collect(),
                })
            }
            Request::OffsetFetch(request) => {
                let refused = |topic: &FetchTopic| FetchedTopic {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|p| FetchedPartition::none(*p, code))
                        .collect(),
                };
                let topics = match &request.topics {
                    Some(topics) if api_version < 2 => topics.iter().map(refused).collect(),
                    _ => Vec::new(),
                };
                Response::OffsetFetch(OffsetFetchResponse {
                    group_id: request.group_id.clone(),
                    error_code: code,
                    topics,
                })
            }
            Request::OffsetDelete(_) => Response::OffsetDelete(OffsetDeleteResponse {
                error_code: code,
                topics: Vec::new(),
            }),
            Request::List(_) if code == codes::NOT_COORDINATOR => Response::List(ListResponse::default()),
            Request::List(_) => Response::List(ListResponse {
                error_code: code,
                groups: Vec::new(),
            }),
            Request::Describe(groups) => {
                let refused = |id: &String| DescribedGroup {
                    error_code: code,
                    group_id: id.clone(),
                    ..DescribedGroup::default()
                };
                Response::Describe(groups.iter().map(refused).collect())
            }
            Request::Delete(groups) => Response::Delete(groups.iter().map(|id| (id.clone(), code)).collect()),
            Request::ConsumerHeartbeat(_) => {
                Response::ConsumerHeartbeat(ConsumerHeartbeatResponse::error(code, None))
            }
            Request::ConsumerDescribe(groups) => {
                let refused = |id: &String| DescribedConsumerGroup {
                    error_code: code,
                    group_id: id.clone(),
                    ..DescribedConsumerGroup::default()
                };
                Response::ConsumerDescribe(groups.iter().map(refused).collect())
            }
        }
    }
}

impl Response {
    /// Turns an answer that waited for an append into the refusal the failed append calls for.
    pub(super) fn failed(self, code: i16) -> Response {
        match self {
            Response::Join(response) => Response::Join(JoinResponse::error(code, &response.member_id)),
            Response::Sync(_) => Response::Sync(SyncResponse {
                error_code: code,
                ..SyncResponse::default()
            }),
            Response::Heartbeat(_) => Response::Heartbeat(code),
            Response::Leave(_) => Response::Leave(LeaveResponse {
                error_code: code,
                members: Vec::new(),
            }),
            Response::OffsetCommit(mut response) => {
                for (_, error_code) in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    *error_code = code;
                }
                Response::OffsetCommit(response)
            }
            Response::OffsetFetch(response) => {
                // Consumers before 3.9 retry NOT_COORDINATOR here, but not COORDINATOR_NOT_AVAILABLE.
                let error_code = match code {
                    codes::COORDINATOR_NOT_AVAILABLE => codes::NOT_COORDINATOR,
                    other => other,
                };
                Response::OffsetFetch(OffsetFetchResponse {
                    error_code,
                    topics: Vec::new(),
                    ..response
                })
            }
            Response::OffsetDelete(_) => Response::OffsetDelete(OffsetDeleteResponse {
                error_code: code,
                topics: Vec::new(),
            }),
            Response::List(_) => Response::List(ListResponse {
                error_code: code,
                groups: Vec::new(),
            }),
            Response::Describe(mut groups) => {
                for group in &mut groups {
                    *group = DescribedGroup {
                        error_code: code,
                        group_id: std::mem::take(&mut group.group_id),
                        ..DescribedGroup::default()
                    };
                }
                Response::Describe(groups)
            }
            Response::Delete(mut groups) => {
                for (_, error_code) in &mut groups {
                    *error_code = code;
                }
                Response::Delete(groups)
            }
            Response::ConsumerHeartbeat(_) => {
                Response::ConsumerHeartbeat(ConsumerHeartbeatResponse::error(code, None))
            }
            Response::ConsumerDescribe(mut groups) => {
                for group in &mut groups {
                    *group = DescribedConsumerGroup {
                        error_code: code,
                        group_id: std::mem::take(&mut group.group_id),
                        ..DescribedConsumerGroup::default()
                    };
                }
                Response::ConsumerDescribe(groups)
            }
        }
    }
}
