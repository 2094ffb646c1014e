//! Which core owns a partition.
//!
//! A partition hashes to one of 4,096 lanes and a core owns a contiguous range of lanes, so a change of the core
//! count moves whole lanes. Data files name no core (see `turgo_storage`), so nothing is copied.

use turgo_storage::PartitionId;

/// Number of lanes, fixed for ever: it decides where journals keep a partition.
pub const LANES: u64 = 4096;

/// Topic id of the metadata log, reserved by Kafka for `__cluster_metadata`.
pub const METADATA_TOPIC: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The lane of a partition. Partitions of one topic lie on consecutive strides, so that a topic with as many
/// partitions as cores uses every core.
pub fn lane(id: &PartitionId) -> u64 {
    let topic = u64::from_le_bytes(id.topic[..8].try_into().expect("8 of 16 bytes"))
        ^ u64::from_le_bytes(id.topic[8..].try_into().expect("8 of 16 bytes"));
    // A multiple of the golden ratio spreads neighbours evenly for any core count (Knuth, TAOCP 6.4).
    let spread = (u64::from(id.partition)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
    (mix(topic) >> 52).wrapping_add(spread) % LANES
}

/// The core that owns a partition, of `cores`. The metadata log is on core 0.
pub fn owner(id: &PartitionId, cores: usize) -> usize {
    if id.topic == METADATA_TOPIC {
        return 0;
    }
    (lane(id) * cores as u64 / LANES) as usize
}

fn mix(mut x: u64) -> u64 {
    // splitmix64's finaliser (Steele et al., OOPSLA 2014).
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Hashes partition ids for tables. Topic ids are random and ours, so no client can choose partitions that collide,
/// and a multiplication will do.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartitionHasher(u64);

/// Makes [`PartitionHasher`]s.
pub type ByPartition = std::hash::BuildHasherDefault<PartitionHasher>;

impl std::hash::Hasher for PartitionHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn finish(&self) -> u64 {
        // Tables look at the low bits, which a multiplication leaves poor.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_one_topic_spread_evenly() {
        for cores in [1, 2, 3, 4, 8, 16] {
            for seed in 0..20u8 {
                let mut counts = vec![0; cores];
                let n = 64 * cores as u32;
                for partition in 0..n {
                    counts[owner(
                        &PartitionId {
                            topic: [seed; 16],
                            partition,
                        },
                        cores,
                    )] += 1;
                }
                let (lo, hi) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(hi - lo <= 16, "{cores} cores: {counts:?}");
            }
        }
    }

    #[test]
    fn partitions_of_a_table_hardly_collide() {
        use std::hash::BuildHasher;
        let mut buckets = vec![0; 4096];
        for topic in 0..16u8 {
            for partition in 0..256 {
                let topic = mix(u64::from(topic)).to_le_bytes().repeat(2);
                let id = PartitionId {
                    topic: topic.try_into().expect("16 bytes"),
                    partition,
                };
                buckets[ByPartition::default().hash_one(id) as usize % 4096] += 1;
            }
        }
        assert!(*buckets.iter().max().expect("some") <= 8, "{buckets:?}");
        let used = buckets.iter().filter(|n| **n > 0).count();
        assert!(used > 2400, "chance would use 2589 of 4096, not {used}");
    }
}
