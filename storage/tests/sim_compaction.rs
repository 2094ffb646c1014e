//! Promise: compaction loses nothing that counts. After any power cut, with passes of the cleaner in between, the newest
//! value of each key is there, in order, at its offset; transactions are what they were; and what a pass should remove is
//! gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use turgo_storage::PlantedFaults;
use turgo_storage::sim::campaign::{panic_text, seeds, with_replay};
use turgo_storage::sim::compaction::{KeyedEffort, KeyedStats, keyed_chain};

const EFFORT: KeyedEffort = KeyedEffort {
    lives: 3,
    steps: 250,
    samples: 1,
    prefix_permille: 60,
};

#[test]
fn every_power_cut_leaves_the_newest_of_each_key() {
    let mut total = KeyedStats::default();
    let mut count = 0;
    for seed in seeds(1, 40) {
        total.add(&with_replay("sim_compaction", seed, || {
            keyed_chain(seed, &EFFORT, PlantedFaults::default())
        }));
        count += 1;
    }
    println!("{count} seeds: {total:?}");
    if count >= 40 {
        assert!(total.passes > 300 && total.removed > 3000, "{total:?}");
        assert!(
            total.ended > 500 && total.reads > 500 && total.points > 3000,
            "{total:?}"
        );
    }
}

/// Seeds tried before a bug counts as missed.
const SEEDS: u64 = 40;

fn found(plant: impl Fn(&mut PlantedFaults)) {
    let mut faults = PlantedFaults::default();
    plant(&mut faults);
    let caught = (1..=SEEDS).find_map(|seed| {
        let result = catch_unwind(AssertUnwindSafe(|| keyed_chain(seed, &EFFORT, faults)));
        result.err().map(|payload| (seed, panic_text(&*payload)))
    });
    let (seed, why) = caught.unwrap_or_else(|| panic!("{faults:?} was not noticed in {SEEDS} seeds"));
    println!("seed {seed}: {}", why.lines().next().unwrap_or_default());
}

#[test]
fn a_swap_before_its_output_is_synced_is_found() {
    found(|f| f.swap_before_sync = true);
}

#[test]
fn unlinking_before_the_swap_is_durable_is_found() {
    found(|f| f.unlink_before_durable = true);
}

#[test]
fn tombstones_removed_early_are_found() {
    found(|f| f.tombstones_at_once = true);
}

#[test]
fn cleaning_beyond_the_last_stable_offset_is_found() {
    found(|f| f.clean_beyond_stable = true);
}

#[test]
fn aborted_records_that_stay_are_found() {
    found(|f| f.aborted_kept = true);
}
