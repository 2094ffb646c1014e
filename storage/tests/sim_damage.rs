//! Promise: whatever a drive does, wrong bytes are never served, and missing ones are not passed over in silence when
//! anything on the disk proves that they were there.

use std::time::Duration;
use turgo_storage::PlantedFaults;
use turgo_storage::sim::campaign::{seeds, with_replay};
use turgo_storage::sim::damage::{HarmStats, failing, harm_journal, harm_manifest, rot_segments};
use turgo_storage::sim::env::{Fault, OpKind};
use turgo_storage::sim::life::End;

#[test]
fn damage_to_the_live_journal_is_noticed_wherever_it_can_be_proven() {
    let mut total = HarmStats::default();
    let mut count = 0;
    for seed in seeds(1, 60) {
        let stats = with_replay("sim_damage", seed, || {
            harm_journal(seed, PlantedFaults::default())
        });
        total.images += stats.images;
        total.noticed += stats.noticed;
        total.unprovable += stats.unprovable;
        total.harmless += stats.harmless;
        count += 1;
    }
    println!("{count} seeds: {total:?}");
    if count >= 60 {
        assert!(total.noticed > 50 && total.images > 150, "{total:?}");
    }
}

#[test]
fn rot_in_segments_is_never_served() {
    let (mut harmed, mut missing) = (0, 0);
    for seed in seeds(1, 25) {
        let (files, records) = with_replay("sim_damage", seed, || {
            rot_segments(seed, PlantedFaults::default())
        });
        harmed += files;
        missing += records;
    }
    println!("{harmed} segments with a flipped bit, {missing} batches refused");
}

#[test]
fn damaged_or_missing_files_are_refused_and_spare_copies_used() {
    for seed in seeds(1, 6) {
        with_replay("sim_damage", seed, || harm_manifest(seed));
    }
}

const EIO: Fault = Fault::Error(5);

/// One operation fails; the process must stop, and what is left must recover.
fn stops(kind: OpKind, path: &'static str, fault: Fault) {
    let mut met = 0;
    for seed in seeds(1, 12) {
        for index in [1, 7, 23] {
            let end = with_replay("sim_damage", seed, || failing(seed, kind, path, index, fault));
            match end {
                End::Poisoned(_) => met += 1,
                // The store refuses to open over what fails before it has opened.
                End::Refused(_) => {}
                // The operation never came.
                End::Finished => {}
                other => panic!("seed {seed}, {kind:?} {index} of {path}: {other:?}"),
            }
        }
    }
    assert!(
        met > 0 || std::env::var("SIM_SEED").is_ok(),
        "{kind:?} of {path} never failed in a running store"
    );
}

#[test]
fn a_journal_write_that_fails_stops_the_process() {
    stops(OpKind::Write, "/journal/", EIO);
}

#[test]
fn a_short_journal_write_stops_the_process() {
    stops(OpKind::Write, "/journal/", Fault::Short(0));
}

#[test]
fn a_segment_write_that_fails_stops_the_process() {
    stops(OpKind::Write, ".seg", EIO);
}

#[test]
fn a_segment_sync_that_fails_stops_the_process() {
    stops(OpKind::Sync, ".seg", EIO);
}

#[test]
fn a_superblock_write_that_fails_stops_the_process() {
    stops(OpKind::Write, "/superblock", EIO);
}

#[test]
fn a_drive_that_stalls_for_seconds_loses_nothing() {
    for seed in seeds(1, 6) {
        let end = with_replay("sim_damage", seed, || {
            failing(
                seed,
                OpKind::Write,
                "/journal/",
                9,
                Fault::Stall(Duration::from_secs(4)),
            )
        });
        assert_eq!(end, End::Finished);
    }
}

#[test]
fn one_failed_read_is_retried_and_one_corrupt_read_is_never_served() {
    for seed in seeds(1, 10) {
        for fault in [EIO, Fault::Corrupt(seed)] {
            let end = with_replay("sim_damage", seed, || {
                failing(seed, OpKind::Read, ".seg", 2, fault)
            });
            assert_eq!(end, End::Finished, "seed {seed}, {fault:?}");
        }
    }
}
