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
}
