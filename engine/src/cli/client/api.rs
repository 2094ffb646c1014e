//! Which request goes with which response, and the newest version used here.
//!
//! Versions above the cap name topics by id; this client names them by name, which every broker accepts.

use turgo_net::ApiKey;
use turgo_net::messages::*;
use turgo_net::wire::{Decode, Encode};

/// One API of the protocol.
pub trait Api {
    /// Its key.
    const KEY: ApiKey;
    /// Newest version used here.
    const CAP: i16;
    /// What is sent.
    type Request<'a>: Encode;
    /// What comes back.
    type Response<'a>: Decode<'a>;
}

macro_rules! api {
    ($($name:ident: $request:ty => $response:ty, cap $cap:expr;)*) => {
        $(
            #[doc = concat!("The ", stringify!($name), " API.")]
            #[derive(Debug)]
            pub enum $name {}
            impl Api for $name {
                const KEY: ApiKey = ApiKey::$name;
                const CAP: i16 = $cap;
                type Request<'a> = $request;
                type Response<'a> = $response;
            }
        )*
    };
}

api! {
    ApiVersions: api_versions::ApiVersionsRequest<'a> => api_versions::ApiVersionsResponse<'a>, cap 4;
    Metadata: metadata::MetadataRequest<'a> => metadata::MetadataResponse<'a>, cap 13;
    Produce: produce::ProduceRequest<'a> => produce::ProduceResponse<'a>, cap 12;
    Fetch: fetch::FetchRequest<'a> => fetch::FetchResponse<'a>, cap 12;
    ListOffsets: list_offsets::ListOffsetsRequest<'a> => list_offsets::ListOffsetsResponse<'a>, cap 10;
    FindCoordinator: find_coordinator::FindCoordinatorRequest<'a> => find_coordinator::FindCoordinatorResponse<'a>, cap 6;
    JoinGroup: join_group::JoinGroupRequest<'a> => join_group::JoinGroupResponse<'a>, cap 9;
    SyncGroup: sync_group::SyncGroupRequest<'a> => sync_group::SyncGroupResponse<'a>, cap 5;
    Heartbeat: heartbeat::HeartbeatRequest<'a> => heartbeat::HeartbeatResponse, cap 4;
    LeaveGroup: leave_group::LeaveGroupRequest<'a> => leave_group::LeaveGroupResponse<'a>, cap 5;
    OffsetCommit: offset_commit::OffsetCommitRequest<'a> => offset_commit::OffsetCommitResponse<'a>, cap 9;
    OffsetFetch: offset_fetch::OffsetFetchRequest<'a> => offset_fetch::OffsetFetchResponse<'a>, cap 9;
    OffsetDelete: offset_delete::OffsetDeleteRequest<'a> => offset_delete::OffsetDeleteResponse<'a>, cap 0;
    ListGroups: list_groups::ListGroupsRequest<'a> => list_groups::ListGroupsResponse<'a>, cap 5;
    DescribeGroups: describe_groups::DescribeGroupsRequest<'a> => describe_groups::DescribeGroupsResponse<'a>, cap 6;
    DeleteGroups: delete_groups::DeleteGroupsRequest<'a> => delete_groups::DeleteGroupsResponse<'a>, cap 2;
    ConsumerGroupDescribe: consumer_group_describe::ConsumerGroupDescribeRequest<'a> => consumer_group_describe::ConsumerGroupDescribeResponse<'a>, cap 1;
    CreateTopics: create_topics::CreateTopicsRequest<'a> => create_topics::CreateTopicsResponse<'a>, cap 7;
    DeleteTopics: delete_topics::DeleteTopicsRequest<'a> => delete_topics::DeleteTopicsResponse<'a>, cap 6;
    CreatePartitions: create_partitions::CreatePartitionsRequest<'a> => create_partitions::CreatePartitionsResponse<'a>, cap 3;
    DeleteRecords: delete_records::DeleteRecordsRequest<'a> => delete_records::DeleteRecordsResponse<'a>, cap 2;
    DescribeConfigs: describe_configs::DescribeConfigsRequest<'a> => describe_configs::DescribeConfigsResponse<'a>, cap 4;
    IncrementalAlterConfigs: incremental_alter_configs::IncrementalAlterConfigsRequest<'a> => incremental_alter_configs::IncrementalAlterConfigsResponse<'a>, cap 1;
    DescribeCluster: describe_cluster::DescribeClusterRequest => describe_cluster::DescribeClusterResponse<'a>, cap 2;
    DescribeLogDirs: describe_log_dirs::DescribeLogDirsRequest<'a> => describe_log_dirs::DescribeLogDirsResponse<'a>, cap 4;
    InitProducerId: init_producer_id::InitProducerIdRequest<'a> => init_producer_id::InitProducerIdResponse, cap 5;
}
