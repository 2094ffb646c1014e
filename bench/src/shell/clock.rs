//! The clock of a run: CLOCK_MONOTONIC in nanoseconds, the same for all processes of a machine.

use rustix::time::{ClockId, clock_gettime};

/// Now, ns.
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Wall clock, ms since 1970.
pub fn wall_ms() -> i64 {
    let t = clock_gettime(ClockId::Realtime);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// Waits for `ns`.
pub fn pause(ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(ns));
}
