//! Promise: after a power cut at any moment, recovery finds a prefix of what was done, with everything that was
//! acknowledged in it, and a power cut during recovery changes nothing about that.
//!
//! Chains of lives by seed; at every event of every life, the images a power cut could leave are recovered and compared
//! with the model. `SIM_SEED` replays one seed, `SIM_SEEDS` sets their number, `FUZZ_SECONDS` runs for a time.

use turgo_storage::PlantedFaults;
use turgo_storage::sim::campaign::{Effort, Stats, chain, seeds, with_replay};

const EFFORT: Effort = Effort {
    lives: 3,
    steps: 60,
    samples: 2,
    exhaustive: 8,
    prefix_permille: 400,
    nested_permille: 30,
    nested_prefix_permille: 300,
    watch: true,
};

#[test]
fn every_power_cut_leaves_a_prefix_with_all_acknowledged() {
    let mut total = Stats::default();
    let mut count = 0;
    for seed in seeds(1, 60) {
        total.add(&with_replay("crash_enumerator", seed, || {
            chain(seed, &EFFORT, PlantedFaults::default())
        }));
        count += 1;
    }
    println!("{count} seeds: {total:?}");
    if count >= 60 {
        assert!(total.points > 30_000, "{total:?}");
        assert!(total.nested > 3000, "{total:?}");
        assert!(total.overwritten > 1000, "the ring hardly wraps: {total:?}");
    }
}
