//! Messages to the service manager (`sd_notify(3)`): ready, alive, stopping.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told and nothing fails.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
pub fn watchdog() -> Option<std::time::Duration> {
    let ours = std::env::var("WATCHDOG_PID").map_or(Ok(true), |pid| pid.parse().map(|pid: u32| pid == std::process::id()));
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0 && ours == Ok(true)).then(|| std::time::Duration::from_micros(micros))
}
