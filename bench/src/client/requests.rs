//! Requests that producers and consumers send, built by the codec, and reading the answers.

use std::borrow::Cow;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::wire::{Decode, Encode};
use turgo_net::{Reader, Records, ResponseHeader, encode_request};

use super::ClientError;

/// What this client calls itself.
pub const CLIENT_ID: &str = "turgo-bench";

/// The newest version of each API that this client speaks: by name instead of topic id, and for transactions those
/// with explicit AddPartitionsToTxn, which every broker since 3.x understands.
fn newest(key: ApiKey) -> i16 {
    match key {
        ApiKey::Produce | ApiKey::Fetch | ApiKey::Metadata => 12,
        ApiKey::CreateTopics => 7,
        ApiKey::DeleteTopics => 6,
        ApiKey::ListOffsets => 7,
        ApiKey::DescribeConfigs => 4,
        ApiKey::FindCoordinator | ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => 3,
        ApiKey::JoinGroup => 5,
        ApiKey::OffsetCommit => 7,
        ApiKey::OffsetFetch => 5,
        ApiKey::InitProducerId => 4,
        ApiKey::AddPartitionsToTxn | ApiKey::EndTxn => 3,
        ApiKey::DescribeCluster => 0,
        _ => 0,
    }
}

/// The versions that both sides speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// (key, oldest, newest) as the broker says.
    offered: Vec<(i16, i16, i16)>,
}

impl Versions {
    /// From an ApiVersions answer.
    pub fn new(offered: Vec<(i16, i16, i16)>) -> Versions {
        Versions { offered }
    }

    /// Narrows to what another broker of the cluster speaks as well.
    pub fn narrow(&mut self, other: &Versions) {
        self.offered.retain_mut(|(key, min, max)| {
            other.offered.iter().find(|o| o.0 == *key).is_some_and(|o| {
                (*min, *max) = ((*min).max(o.1), (*max).min(o.2));
                *min <= *max
            })
        });
    }

    /// Whether the cluster serves `key` at all.
    pub fn serves(&self, key: ApiKey) -> bool {
        self.offered.iter().any(|o| o.0 == key as i16)
    }

    /// The newest version of `key` that both sides speak, at most `cap`.
    ///
    /// # Errors
    /// There is none.
    pub fn at_most(&self, key: ApiKey, cap: i16) -> Result<i16, ClientError> {
        let (_, min, max) =
            self.offered.iter().find(|o| o.0 == key as i16).ok_or_else(|| {
                ClientError::Protocol(format!("this cluster does not serve {}", key.name()))
            })?;
        let version = newest(key).min(*max).min(cap);
        if version < *min {
            return Err(ClientError::Protocol(format!(
                "this cluster serves {} from version {min} on; this client speaks up to {}",
                key.name(),
                newest(key).min(cap)
            )));
        }
        Ok(version)
    }

    /// The newest version of `key` that both sides speak.
    ///
    /// # Errors
    /// There is none.
    pub fn of(&self, key: ApiKey) -> Result<i16, ClientError> {
        self.at_most(key, i16::MAX)
    }
}

/// Builds a frame.
///
/// # Errors
/// The body says something that the version cannot.
pub fn frame<M: Encode>(key: ApiKey, version: i16, token: i32, body: &M) -> Result<Vec<Bytes>, ClientError> {
    Ok(encode_request(key, version, token, Some(CLIENT_ID), body)?.into_parts())
}

/// Reads an answer's body.
///
/// # Errors
/// The bytes are no answer of that kind.
pub fn parse<'a, M: Decode<'a>>(frame: &'a [u8], key: ApiKey, version: i16) -> Result<M, ClientError> {
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, key, version)?;
    Ok(M::decode(&mut reader, version)?)
}

/// A produce request: batches for partitions of one topic. Batches are referenced, not copied.
///
/// # Errors
/// See [`frame`].
pub fn produce(
    version: i16,
    token: i32,
    acks: i16,
    transactional_id: Option<&str>,
    topic: &str,
    batches: impl Iterator<Item = (i32, Bytes)>,
) -> Result<Vec<Bytes>, ClientError> {
    let request = ProduceRequest {
        transactional_id: transactional_id.map(Cow::Borrowed),
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: batches
                .map(|(index, bytes)| PartitionProduceData {
                    index,
                    records: Records::Chunks(vec![bytes]),
                })
                .collect(),
            ..Default::default()
        }],
    };
    frame(ApiKey::Produce, version, token, &request)
}

/// A metadata request for some topics; creates none.
///
/// # Errors
/// See [`frame`].
pub fn metadata<'a>(
    version: i16,
    token: i32,
    topics: impl Iterator<Item = &'a str>,
) -> Result<Vec<Bytes>, ClientError> {
    let request = MetadataRequest {
        topics: Some(
            topics
                .map(|name| MetadataRequestTopic {
                    name: Some(name.into()),
                    ..Default::default()
                })
                .collect(),
        ),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    frame(ApiKey::Metadata, version, token, &request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_newest_that_all_brokers_and_we_speak() {
        let mut versions = Versions::new(vec![(0, 3, 13), (1, 4, 18), (3, 0, 13)]);
        assert_eq!(versions.of(ApiKey::Produce).expect("served"), 12);
        versions.narrow(&Versions::new(vec![(0, 3, 9), (1, 13, 18)]));
        assert_eq!(versions.of(ApiKey::Produce).expect("served"), 9);
        assert_eq!(versions.at_most(ApiKey::Produce, 5).expect("served"), 5);
        let error = versions
            .of(ApiKey::Fetch)
            .expect_err("from 13 on by id only")
            .to_string();
        assert!(error.contains("from version 13"), "{error}");
        assert!(!versions.serves(ApiKey::Metadata));
        assert!(versions.of(ApiKey::Metadata).is_err());
    }
}
