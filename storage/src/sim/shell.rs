//! The simulator's only look at a real clock: how long a test may still run.

use std::time::Instant;

/// The time now.
pub fn now() -> Instant {
    Instant::now()
}
