//! Promise: a full disk refuses producers and nothing else; what was admitted is acknowledged without new space; when
//! space returns, so do producers.

use turgo_storage::sim::campaign::{seeds, with_replay};
use turgo_storage::sim::damage::fills_up;

#[test]
fn a_full_disk_stops_producers_and_not_the_process() {
    let (mut refused, mut count) = (0, 0);
    for seed in seeds(1, 20) {
        let (during, after) = with_replay("sim_space", seed, || fills_up(seed));
        assert!(
            after > 0,
            "seed {seed}: nothing was accepted after space had returned"
        );
        refused += during;
        count += 1;
    }
    println!("{count} seeds: {refused} appends refused");
    assert!(refused > 0 || count < 20, "no disk filled up");
}
