//! Messages to the service manager (`sd_notify(3)`): ready, alive, stopping.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told and nothing fails.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Shared;

/// Sends `message`, lines of `NAME=VALUE`, if somebody listens.
pub fn tell(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let path = path.into_encoded_bytes();
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(String::from_utf8_lossy(&path).as_ref()),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.send_to_addr(message.as_bytes(), &address)
    });
    if let Err(error) = sent {
        eprintln!("turgo: NOTIFY_SOCKET: {error}");
    }
}

/// How often the manager wants to hear that this process is alive, if it does (`WATCHDOG_USEC`).
fn watchdog() -> Option<Duration> {
    let ours = match std::env::var("WATCHDOG_PID") {
        Ok(pid) => pid.parse() == Ok(std::process::id()),
        Err(_) => true,
    };
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0 && ours).then(|| Duration::from_micros(micros))
}

/// Longest pause between two messages.
const STEP: Duration = Duration::from_secs(5);
/// How much longer a start may take after each sign that a core works on it.
const LONGER_US: u64 = 60_000_000;

/// Starts the thread that keeps the manager informed, if one listens. While the broker serves, it is told to be alive
/// when *every* core has ticked since the last time, so a single stalled core is enough for a restart. While it starts,
/// each sign of life of any core puts the limit of the start off, so a long recovery is not cut short.
pub fn start(shared: &Arc<Shared>) -> Result<(), String> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let shared = shared.clone();
    let step = watchdog().map_or(STEP, |limit| (limit / 3).min(STEP));
    std::thread::Builder::new()
        .name("notify".into())
        .spawn(move || {
            let mut seen = vec![0; shared.beats.len()];
            let mut has_served = false;
            loop {
                std::thread::sleep(step);
                let now: Vec<u64> = shared
                    .beats
                    .iter()
                    .map(|beat| beat.load(Ordering::Relaxed))
                    .collect();
                let ticked = now.iter().zip(&seen).filter(|(now, seen)| now > seen).count();
                let is_ready = shared.ready.load(Ordering::Relaxed);
                has_served |= is_ready;
                let alive = if is_ready { ticked == now.len() } else { ticked > 0 };
                if !alive {
                    continue;
                }
                seen = now;
                if has_served {
                    tell("WATCHDOG=1");
                } else {
                    tell(&format!("WATCHDOG=1\nEXTEND_TIMEOUT_USEC={LONGER_US}"));
                }
            }
        })
        .map(|_| ())
        .map_err(|error| format!("notify thread: {error}"))
}
