//! A partition's settings in the forms that its parts use, made once per change of the topic's configuration.

use turgo_net::records::{Compression, TimestampType};
use turgo_storage::LogSettings;

use crate::configs::{self, CompressionType, TopicSettings};
use crate::validate::{TopicCompression, TopicRules};

/// See the module.
#[derive(Debug, Clone)]
pub struct PartitionSettings {
    /// For the log.
    pub log: LogSettings,
    /// For validation.
    pub rules: TopicRules,
    /// Retention and DeleteRecords may remove records.
    pub cleanup_delete: bool,
    /// The broker stamps records.
    pub log_append_time: bool,
    /// Stored batches are zstd whatever the producer sends.
    pub zstd: bool,
}

impl PartitionSettings {
    /// From a topic's resolved configuration. `internal`: written by the broker itself.
    pub fn new(topic: &TopicSettings, internal: bool) -> Self {
        let log_append_time = topic.timestamp_type == configs::TimestampType::LogAppendTime;
        // A segment is never rolled early without jitter; the jitter only shortens, as in Kafka.
        let log = LogSettings {
            segment_bytes: topic.segment_bytes,
            segment_ms: if topic.cleanup_compact {
                // The active segment is not compacted, so it must not outlast what must be (KIP-354).
                topic.segment_ms.min(topic.max_compaction_lag_ms).max(1)
            } else {
                topic.segment_ms.max(1)
            },
            retention_bytes: topic.retention_bytes,
            retention_ms: topic.retention_ms,
            durability: match topic.durability {
                configs::Durability::Disk => turgo_storage::Durability::Disk,
                configs::Durability::Memory => turgo_storage::Durability::Memory,
            },
            file_delete_delay_ms: topic.file_delete_delay_ms,
            compact: topic.cleanup_compact,
            min_cleanable_ppm: (topic.min_cleanable_dirty_ratio.clamp(0.0, 1.0) * 1e6) as u32,
            min_compaction_lag_ms: i64::try_from(topic.min_compaction_lag_ms).unwrap_or(i64::MAX),
            max_compaction_lag_ms: i64::try_from(topic.max_compaction_lag_ms).unwrap_or(i64::MAX),
            delete_retention_ms: i64::try_from(topic.delete_retention_ms).unwrap_or(i64::MAX),
            system: internal,
        };
        let rules = TopicRules {
            max_message_bytes: topic.max_message_bytes as usize,
            segment_bytes: usize::try_from(topic.segment_bytes).unwrap_or(usize::MAX),
            compression: match topic.compression {
                CompressionType::Producer => TopicCompression::Producer,
                CompressionType::Uncompressed => TopicCompression::Codec(Compression::None, None),
                CompressionType::Gzip => TopicCompression::Codec(Compression::Gzip, None),
                CompressionType::Snappy => TopicCompression::Codec(Compression::Snappy, None),
                CompressionType::Lz4 => TopicCompression::Codec(Compression::Lz4, None),
                CompressionType::Zstd => TopicCompression::Codec(Compression::Zstd, None),
            },
            timestamp_type: if log_append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: topic.timestamp_before_max_ms,
            timestamp_after_max_ms: topic.timestamp_after_max_ms,
            compacted: topic.cleanup_compact,
            internal,
        };
        PartitionSettings {
            log,
            rules,
            cleanup_delete: topic.cleanup_delete,
            log_append_time,
            zstd: topic.compression == CompressionType::Zstd,
        }
    }
}
