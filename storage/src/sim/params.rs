//! What a seed decides about a run: geometry, latencies, sizes.

use super::env::Latency;
use super::rng::Rng;
use crate::StoreConfig;
use std::time::Duration;

/// Parameters of a run.
#[derive(Debug, Clone)]
pub struct Params {
    /// Configuration of the store.
    pub config: StoreConfig,
    /// Partitions that live at a time, at most.
    pub partitions: usize,
    /// Ids per topic: with 1, a dropped partition comes back under the id it had.
    pub incarnations: u64,
    /// How long IO takes.
    pub latency: Latency,
    /// What a crash tears at.
    pub sector: usize,
    /// Bytes of the file system.
    pub capacity: u64,
    /// Superblock writes take 40 ms: much happens between the writes of a checkpoint and its end.
    pub slow_superblock: bool,
    /// Whether [`super::watch`] looks on.
    pub watch: bool,
}

impl Params {
    /// Small enough that the ring wraps, segments roll and memory fills within a few hundred operations.
    pub fn from_seed(seed: u64) -> Params {
        let mut rng = Rng::new(seed).fork("params");
        let max_batch_bytes = *rng.pick(&[2000u32, 6000, 12_000]);
        let group_bytes = *rng.pick(&[4096u32, 8192, 16_384]);
        // A file must take the largest group: the largest batch with its headers.
        let largest = (max_batch_bytes + 64 + 128)
            .next_multiple_of(4096)
            .max(group_bytes);
        let journal_file_bytes = u64::from(largest) * rng.range(2, 5) + 8192;
        let files = rng.range(4, 6) as u32;
        let config = StoreConfig {
            journal_file_bytes,
            journal_files_initial: 4,
            journal_files_max: files,
            prewrite_at_start: *rng.pick(&[0, 65_536, 1 << 20]),
            max_batch_bytes,
            group_bytes,
            window: rng.range(1, 4) as u32,
            seal_idle: Duration::from_millis(5),
            memory_bytes: *rng.pick(&[1 << 20, 4 << 20]),
            chunk_bytes: *rng.pick(&[4096, 16_384, 65_536]),
            read_ahead_bytes: *rng.pick(&[8192, 65_536]),
            read_depth: rng.range(1, 4) as u32,
            drain_depth: rng.range(1, 4) as u32,
            checkpoint_bytes: *rng.pick(&[16_384, 65_536, 1 << 20]),
            max_open_files: rng.range(2, 16) as usize,
            // Idle producers are forgotten by the clock; the model does not follow that.
            producer_expiration_ms: 1 << 50,
            space_interval: Duration::from_millis(500),
            ..StoreConfig::default()
        };
        let latency = match rng.below(3) {
            0 => Latency::default(),
            1 => Latency {
                low: 1000,
                high: 20_000,
                slow: 500_000,
            },
            _ => Latency {
                low: 20_000,
                high: 2_000_000,
                slow: 40_000_000,
            },
        };
        Params {
            config,
            partitions: rng.range(2, 6) as usize,
            incarnations: *rng.pick(&[1, 40]),
            latency,
            sector: *rng.pick(&[512, 4096]),
            capacity: 64 << 20,
            slow_superblock: rng.chance(1, 3),
            watch: true,
        }
    }
}
