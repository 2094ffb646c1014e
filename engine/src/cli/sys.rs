//! The user's interrupt: SIGINT and SIGTERM raise a flag that long commands look at, so that a group
//! member leaves its group and output is flushed before the process ends.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

static RAISED: AtomicBool = AtomicBool::new(false);

extern "C" fn raise(_signal: libc::c_int) {
    // A second signal finds the default action and ends the process at once.
    RAISED.store(true, Ordering::SeqCst);
}

/// From here on SIGINT and SIGTERM raise the flag, once; waiting calls return `Interrupted`.
pub fn catch_interrupt() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all-zero bytes are a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = raise as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler stores to an atomic and nothing else, which is allowed in a handler.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

/// Whether the user wants out.
pub fn interrupted() -> bool {
    RAISED.load(Ordering::SeqCst)
}

/// Forgets an interrupt that was seen, so that what must still be done can be.
pub fn clear_interrupt() {
    RAISED.store(false, Ordering::SeqCst);
}

/// The time, for deadlines.
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Milliseconds since 1970, for the timestamps of records.
pub fn clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
