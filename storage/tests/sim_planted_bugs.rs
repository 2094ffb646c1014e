//! Promise: the checkers can fail. Each ordering rule is switched off in turn, and the campaigns find it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use turgo_storage::PlantedFaults;
use turgo_storage::sim::campaign::{Effort, chain, panic_text};
use turgo_storage::sim::damage::{harm_journal, rot_segments};

const EFFORT: Effort = Effort {
    lives: 3,
    steps: 50,
    samples: 3,
    exhaustive: 8,
    prefix_permille: 250,
    nested_permille: 30,
    nested_prefix_permille: 200,
    watch: false,
};

/// Seeds tried before a bug counts as missed.
const SEEDS: u64 = 40;

/// The first seed whose campaign notices, with what it said.
fn hunt(mut campaign: impl FnMut(u64)) -> Option<(u64, String)> {
    (1..=SEEDS).find_map(|seed| {
        let caught = catch_unwind(AssertUnwindSafe(|| campaign(seed)));
        caught.err().map(|payload| (seed, panic_text(&*payload)))
    })
}

fn found_by_power_cuts(plant: impl Fn(&mut PlantedFaults)) {
    found(&EFFORT, plant);
}

fn found(effort: &Effort, plant: impl Fn(&mut PlantedFaults)) {
    let mut faults = PlantedFaults::default();
    plant(&mut faults);
    let found = hunt(|seed| {
        chain(seed, effort, faults);
    });
    let (seed, why) = found.unwrap_or_else(|| panic!("{faults:?} was not noticed in {SEEDS} seeds"));
    println!("seed {seed}: {}", why.lines().next().unwrap_or_default());
}

/// Longer lives under the eyes of the watcher, few power cuts: for rules that a full ring puts to the test.
fn found_by_watching(plant: impl Fn(&mut PlantedFaults)) {
    found(
        &Effort {
            steps: 400,
            prefix_permille: 3,
            watch: true,
            ..EFFORT
        },
        plant,
    );
}

/// Longer lives and sparser power cuts: for rules that matter only when several things come together.
fn found_in_long_lives(plant: impl Fn(&mut PlantedFaults)) {
    found(
        &Effort {
            steps: 400,
            prefix_permille: 30,
            samples: 1,
            exhaustive: 1,
            ..EFFORT
        },
        plant,
    );
}

fn found_by_damage(plant: impl Fn(&mut PlantedFaults)) {
    let mut faults = PlantedFaults::default();
    plant(&mut faults);
    let found = hunt(|seed| {
        harm_journal(seed, faults);
        rot_segments(seed, faults);
    });
    let (seed, why) = found.unwrap_or_else(|| panic!("{faults:?} was not noticed in {SEEDS} seeds"));
    println!("seed {seed}: {}", why.lines().next().unwrap_or_default());
}

#[test]
fn acknowledging_before_completion_is_found() {
    found_by_power_cuts(|f| f.ack_before_complete = true);
}

#[test]
fn acknowledging_out_of_order_is_found() {
    found_by_power_cuts(|f| f.ack_out_of_order = true);
}

#[test]
fn a_journal_without_dsync_is_found() {
    found_by_power_cuts(|f| f.journal_not_durable = true);
}

#[test]
fn ignoring_the_window_is_found() {
    found_by_power_cuts(|f| f.no_window = true);
}

#[test]
fn a_checkpoint_before_its_segments_are_synced_is_found() {
    found_by_power_cuts(|f| f.checkpoint_before_segment_sync = true);
}

#[test]
fn a_superblock_before_its_checkpoint_is_synced_is_found() {
    found_by_power_cuts(|f| f.superblock_before_checkpoint_sync = true);
}

#[test]
fn reuse_before_the_superblock_is_found() {
    found_by_watching(|f| f.reuse_before_superblock = true);
}

#[test]
fn unlinking_before_the_reason_is_durable_is_found() {
    found_by_power_cuts(|f| f.unlink_before_durable = true);
}

#[test]
fn recovery_without_a_fence_is_found() {
    found_by_power_cuts(|f| f.no_fence = true);
}

#[test]
fn recovery_without_looking_ahead_is_found() {
    found_by_damage(|f| f.no_look_ahead = true);
}

#[test]
fn recovery_that_trusts_group_bodies_is_found() {
    found_by_power_cuts(|f| f.no_body_crc = true);
}

#[test]
fn replaying_what_the_checkpoint_holds_is_found() {
    found_by_power_cuts(|f| f.replay_applies_all = true);
}

#[test]
fn a_segment_whose_directory_was_not_synced_is_found() {
    found_by_power_cuts(|f| f.no_directory_sync = true);
}

#[test]
fn a_checkpoint_in_the_middle_of_a_truncation_is_found() {
    found_in_long_lives(|f| f.no_truncation_settling = true);
}

#[test]
fn serving_unchecked_chunks_is_found() {
    found_by_damage(|f| f.no_chunk_crc = true);
}

#[test]
fn pads_that_are_not_zero_are_found() {
    found_by_watching(|f| f.dirty_pads = true);
}
