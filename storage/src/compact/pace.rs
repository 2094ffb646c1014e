//! How fast the cleaner moves bytes: within the configured rate, and slower while the journal is busy.
//!
//! Reads and writes of a pass share a device and a core with group commit. After each of them the pass waits until the
//! configured rate allows the next; and while groups are under way it gives way, so that it takes at most about half of
//! the device's time.

use std::time::Duration;

use crate::core::Core;
use crate::env::Env;

/// A pause this long is worth a timer.
const LEAST_PAUSE_NS: u64 = 200_000;
/// Longest pause at once: a pass looks at the store's phase in between.
const LONGEST_PAUSE_NS: u64 = 100_000_000;

/// See the module's header.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When the bytes moved so far are paid for.
    paid_at_ns: u64,
    /// When the last operation began, at the earliest.
    last_ns: u64,
}

impl Pace {
    pub fn new(bytes_per_second: u64, now_ns: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_at_ns: now_ns,
            last_ns: now_ns,
        }
    }

    /// Time that `bytes` take at the configured rate.
    fn price_ns(&self, bytes: u64) -> u64 {
        (u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second)).min(u128::from(u64::MAX))
            as u64
    }

    /// Nanoseconds to wait after an operation that moved `bytes` and ended at `now_ns`. `busy`: groups of the journal
    /// were under way.
    fn pause_ns(&mut self, bytes: u64, now_ns: u64, busy: bool) -> u64 {
        // Time in which nothing was moved buys nothing.
        self.paid_at_ns = self
            .paid_at_ns
            .max(self.last_ns)
            .saturating_add(self.price_ns(bytes));
        let owed = self.paid_at_ns.saturating_sub(now_ns);
        let took = now_ns.saturating_sub(self.last_ns);
        let way = if busy { took.min(20_000_000) } else { 0 };
        owed.max(way)
    }

    /// Called after `bytes` were read or written.
    pub async fn moved<E: Env>(&mut self, core: &Core<E>, bytes: u64) {
        let now_ns = core.env.now_ns();
        let busy = {
            let journal = core.journal.borrow();
            !journal.in_flight.is_empty() || now_ns.saturating_sub(journal.last_submit_ns) < 2_000_000
        };
        let mut left = self.pause_ns(bytes, now_ns, busy);
        if left < LEAST_PAUSE_NS {
            left = 0;
        }
        while left > 0 && core.running() {
            let part = left.min(LONGEST_PAUSE_NS);
            core.env.sleep(Duration::from_nanos(part)).await;
            left -= part;
        }
        self.last_ns = core.env.now_ns();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_many_operations() {
        let mut pace = Pace::new(1 << 20, 0);
        let mut now = 0;
        for _ in 0..100 {
            // Each operation takes a millisecond.
            now += 1_000_000;
            now += pace.pause_ns(64 << 10, now, false);
            pace.last_ns = now;
        }
        let wanted = 100_u64 * (64 << 10) * 1_000_000_000 / (1 << 20);
        assert!(
            (wanted..wanted + 200_000_000).contains(&now),
            "{now} for {wanted}"
        );
    }

    #[test]
    fn a_busy_journal_gets_as_much_time_as_the_pass_takes() {
        let mut pace = Pace::new(u64::MAX, 0);
        assert_eq!(pace.pause_ns(1 << 20, 3_000_000, true), 3_000_000);
        assert_eq!(pace.pause_ns(1 << 20, 3_000_000, false), 0);
        assert_eq!(pace.pause_ns(1 << 20, 9_000_000_000, true), 20_000_000);
    }
}
