//! Name of one partition.

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// Topic id.
    pub topic: [u8; 16],
    /// Index within the topic.
    pub partition: u32,
}
