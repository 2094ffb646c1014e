//! Promise: the number of cores may change at any start, and a power cut at any moment of that loses nothing.

use turgo_storage::sim::campaign::{seeds, with_replay};
use turgo_storage::sim::remap::remap;

#[test]
fn a_power_cut_while_partitions_move_between_shards_loses_nothing() {
    let (mut points, mut count) = (0, 0);
    for seed in seeds(1, 40) {
        points += with_replay("crash_remap", seed, || remap(seed, 1, 300));
        count += 1;
    }
    println!("{count} seeds, {points} power cuts");
    assert!(points > 1000 || count < 40, "{points}");
}
