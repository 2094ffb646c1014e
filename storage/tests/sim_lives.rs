//! Promise: through long lives with a small ring, little memory and small segments, every answer is the model's.

use turgo_storage::PlantedFaults;
use turgo_storage::sim::campaign::{Effort, Stats, chain, seeds, with_replay};

const LONG: Effort = Effort {
    lives: 4,
    steps: 500,
    samples: 1,
    exhaustive: 1,
    prefix_permille: 2,
    nested_permille: 0,
    nested_prefix_permille: 0,
    watch: true,
};

#[test]
fn long_lives_answer_as_the_model_does() {
    let mut total = Stats::default();
    let mut count = 0;
    for seed in seeds(1000, 20) {
        total.add(&with_replay("sim_lives", seed, || {
            chain(seed, &LONG, PlantedFaults::default())
        }));
        count += 1;
    }
    println!("{count} seeds: {total:?}");
    if count >= 20 {
        let counts = total.counts;
        assert!(
            counts.appends > 5000 && counts.disk_reads > 500 && counts.memory_reads > 500,
            "{total:?}"
        );
        assert!(
            counts.truncations > 50 && counts.log_starts > 50 && counts.drops > 20,
            "{total:?}"
        );
        assert!(counts.duplicates > 20 && counts.checkpoints > 20, "{total:?}");
        assert!(total.overwritten > 500, "the ring hardly wraps: {total:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let effort = Effort {
        lives: 2,
        steps: 120,
        ..LONG
    };
    let run = |seed| chain(seed, &effort, PlantedFaults::default());
    for seed in 1..=3 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).hash, run(2).hash);
}
