//! What the black-box judges share: a broker of their own, foreign client programs, and the flights.
//!
//! Every judge is a test in `judge_*.rs`. It takes a [`Broker`], drives it with a client that knows nothing of this
//! project, compares, and reports one plain line through [`Judge`]. Nothing here reaches into the broker: it is a
//! process with an address, a data directory and signals. With `TURGO_TEST_ENDPOINT=HOST:PORT` the same judges run
//! against a broker that is already there, for example Apache Kafka, which shows that they ask for nothing odd.
#![allow(dead_code, missing_docs, unused_imports, unused_macros)] // Each test binary uses its part of this module.

pub mod apps;
pub mod broker;
pub mod dialogue;
pub mod flights;
pub mod librdkafka;
pub mod programs;
pub mod shell;
mod sys;
pub mod tools;
pub mod wire;

use std::io::Write;
use std::time::{Duration, Instant};

pub use broker::Broker;

/// One judge's verdict: a line on standard error, past the test harness's capture, whatever the outcome.
pub struct Judge {
    name: String,
    began: Instant,
    over: bool,
}

impl Judge {
    pub fn begin(name: &str) -> Judge {
        Judge {
            name: name.to_owned(),
            began: Instant::now(),
            over: false,
        }
    }

    pub fn passed(mut self, details: &str) {
        self.over = true;
        say(&format!(
            "judge {}: passed in {:.1} s: {details}",
            self.name,
            self.began.elapsed().as_secs_f64()
        ));
    }

    /// For a machine that lacks a tool. Under CI nothing may be skipped, so there it fails.
    pub fn skipped(mut self, why: &str) {
        self.over = true;
        say(&format!("judge {}: SKIPPED: {why}", self.name));
        assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {why}");
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if !self.over {
            say(&format!(
                "judge {}: FAILED after {:.1} s",
                self.name,
                self.began.elapsed().as_secs_f64()
            ));
        }
    }
}

/// Looks until `check` gives something, and fails with `why` if that takes longer than `limit`. A judge waits for a
/// condition, never for a time: the pause only leaves the processor to what is waited for.
pub fn wait_for<T>(limit: Duration, why: impl FnOnce() -> String, mut check: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        if Instant::now() >= deadline {
            panic!("not within {limit:?}: {}", why());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Prints a line at once, even from a test that passes. (The harness captures the print macros only.)
pub fn say(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// A name no earlier run used, for topics and groups on a broker that may live longer than the test.
pub fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970");
    let run = now.as_millis() % 100_000_000;
    format!(
        "{stem}-{run}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
