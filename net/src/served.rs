//! What a Kafka 4.3 broker lists in its ApiVersions response.
//!
//! Clients are tested against exactly these ranges, so an API that is served at all is listed with its range from here;
//! one that is not served is not listed. The ranges are data, not derived from what the codec can parse: Produce is
//! listed from 0 although 0-2 are refused (librdkafka before 2.11.1 sends uncompressed otherwise, KAFKA-18659), and
//! InitProducerId stops at 5 because version 6 is not final.

use crate::api::{ApiKey, VersionRange};

/// One row of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The API.
    pub key: ApiKey,
    /// First version listed.
    pub min: i16,
    /// Last version listed.
    pub max: i16,
}

const fn row(key: ApiKey, min: i16, max: i16) -> Served {
    Served { key, min, max }
}

/// All APIs on a Kafka 4.3 broker's listener, ascending by key.
pub const KAFKA_4_3: [Served; 75] = [
    row(ApiKey::Produce, 0, 13),
    row(ApiKey::Fetch, 4, 18),
    row(ApiKey::ListOffsets, 1, 11),
    row(ApiKey::Metadata, 0, 13),
    row(ApiKey::OffsetCommit, 2, 10),
    row(ApiKey::OffsetFetch, 1, 10),
    row(ApiKey::FindCoordinator, 0, 6),
    row(ApiKey::JoinGroup, 0, 9),
    row(ApiKey::Heartbeat, 0, 4),
    row(ApiKey::LeaveGroup, 0, 5),
    row(ApiKey::SyncGroup, 0, 5),
    row(ApiKey::DescribeGroups, 0, 6),
    row(ApiKey::ListGroups, 0, 5),
    row(ApiKey::SaslHandshake, 0, 1),
    row(ApiKey::ApiVersions, 0, 4),
    row(ApiKey::CreateTopics, 2, 7),
    row(ApiKey::DeleteTopics, 1, 6),
    row(ApiKey::DeleteRecords, 0, 2),
    row(ApiKey::InitProducerId, 0, 5),
    row(ApiKey::OffsetForLeaderEpoch, 2, 4),
    row(ApiKey::AddPartitionsToTxn, 0, 5),
    row(ApiKey::AddOffsetsToTxn, 0, 4),
    row(ApiKey::EndTxn, 0, 5),
    row(ApiKey::WriteTxnMarkers, 1, 2),
    row(ApiKey::TxnOffsetCommit, 0, 5),
    row(ApiKey::DescribeAcls, 1, 3),
    row(ApiKey::CreateAcls, 1, 3),
    row(ApiKey::DeleteAcls, 1, 3),
    row(ApiKey::DescribeConfigs, 1, 4),
    row(ApiKey::AlterConfigs, 0, 2),
    row(ApiKey::AlterReplicaLogDirs, 1, 2),
    row(ApiKey::DescribeLogDirs, 1, 5),
    row(ApiKey::SaslAuthenticate, 0, 2),
    row(ApiKey::CreatePartitions, 0, 3),
    row(ApiKey::CreateDelegationToken, 1, 3),
    row(ApiKey::RenewDelegationToken, 1, 2),
    row(ApiKey::ExpireDelegationToken, 1, 2),
    row(ApiKey::DescribeDelegationToken, 1, 3),
    row(ApiKey::DeleteGroups, 0, 2),
    row(ApiKey::ElectLeaders, 0, 2),
    row(ApiKey::IncrementalAlterConfigs, 0, 1),
    row(ApiKey::AlterPartitionReassignments, 0, 1),
    row(ApiKey::ListPartitionReassignments, 0, 0),
    row(ApiKey::OffsetDelete, 0, 0),
    row(ApiKey::DescribeClientQuotas, 0, 1),
    row(ApiKey::AlterClientQuotas, 0, 1),
    row(ApiKey::DescribeUserScramCredentials, 0, 0),
    row(ApiKey::AlterUserScramCredentials, 0, 0),
    row(ApiKey::DescribeQuorum, 0, 2),
    row(ApiKey::UpdateFeatures, 0, 2),
    row(ApiKey::DescribeCluster, 0, 2),
    row(ApiKey::DescribeProducers, 0, 0),
    row(ApiKey::UnregisterBroker, 0, 0),
    row(ApiKey::DescribeTransactions, 0, 0),
    row(ApiKey::ListTransactions, 0, 2),
    row(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    row(ApiKey::ConsumerGroupDescribe, 0, 1),
    row(ApiKey::ListConfigResources, 0, 1),
    row(ApiKey::DescribeTopicPartitions, 0, 0),
    row(ApiKey::ShareGroupHeartbeat, 1, 1),
    row(ApiKey::ShareGroupDescribe, 1, 1),
    row(ApiKey::ShareFetch, 1, 2),
    row(ApiKey::ShareAcknowledge, 1, 2),
    row(ApiKey::AddRaftVoter, 0, 1),
    row(ApiKey::RemoveRaftVoter, 0, 0),
    row(ApiKey::InitializeShareGroupState, 0, 0),
    row(ApiKey::ReadShareGroupState, 0, 0),
    row(ApiKey::WriteShareGroupState, 0, 1),
    row(ApiKey::DeleteShareGroupState, 0, 0),
    row(ApiKey::ReadShareGroupStateSummary, 0, 1),
    row(ApiKey::StreamsGroupHeartbeat, 0, 0),
    row(ApiKey::StreamsGroupDescribe, 0, 0),
    row(ApiKey::DescribeShareGroupOffsets, 0, 1),
    row(ApiKey::AlterShareGroupOffsets, 0, 0),
    row(ApiKey::DeleteShareGroupOffsets, 0, 0),
];

/// The range a 4.3 broker lists for `key`, if it lists it.
pub fn range(key: ApiKey) -> Option<VersionRange> {
    let index = KAFKA_4_3.binary_search_by_key(&key, |row| row.key).ok()?;
    let Served { min, max, .. } = KAFKA_4_3[index];
    Some(VersionRange { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_differ_from_the_schemas_only_where_stated() {
        assert!(KAFKA_4_3.is_sorted_by_key(|row| row.key));
        for row in KAFKA_4_3 {
            let valid = row.key.valid_versions();
            let listed = (row.min, row.max);
            match row.key {
                ApiKey::Produce => assert_eq!((listed, valid.min), ((0, 13), 3)),
                ApiKey::InitProducerId => assert_eq!((listed, valid.max), ((0, 5), 6)),
                key => assert_eq!(listed, (valid.min, valid.max), "{key}"),
            }
            assert!(row.key.on_broker());
        }
        assert_eq!(range(ApiKey::JoinGroup), Some(VersionRange { min: 0, max: 9 }));
        assert_eq!(range(ApiKey::Vote), None);
    }
}
