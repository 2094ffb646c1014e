//! What no broker on this machine can beat: a loopback round trip, and a durable write to the device.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use turgo_tuning::disk::{Stored, load};

use crate::latency::Latency;
use crate::report::StoredFloor;

use super::clock;

/// Round trips of `bytes` over loopback TCP, `count` of them after a tenth for warming up, ns.
///
/// # Errors
/// The network of this machine.
pub fn loopback(bytes: usize, count: usize) -> std::io::Result<Latency> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buf = vec![0; bytes];
        loop {
            match stream.read_exact(&mut buf) {
                Ok(()) => stream.write_all(&buf[..buf.len().min(64)])?,
                Err(_) => return Ok(()),
            }
        }
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (out, mut back) = (vec![1; bytes], vec![0; bytes.min(64)]);
    let mut times = Latency::new();
    for i in 0..count + count / 10 {
        let start = clock::now();
        stream.write_all(&out)?;
        stream.read_exact(&mut back)?;
        if i >= count / 10 {
            times.record_span(start, clock::now(), 1);
        }
    }
    drop(stream);
    echo.join()
        .map_err(|_| std::io::Error::other("the echo thread panicked"))??;
    Ok(times)
}

/// Durable writes of 4 KiB to a pre-written file in `dir`, ns.
///
/// # Errors
/// The directory cannot be written, or its filesystem has no direct IO.
pub fn flush(dir: &Path, count: usize) -> std::io::Result<Latency> {
    let mut times = Latency::new();
    for ns in turgo_tuning::disk::durable_writes(dir, count)? {
        times.record(ns);
    }
    Ok(times)
}

/// What `turgo tune disk` stored in `dir`, if it is of this device.
pub fn stored(dir: &Path) -> Option<StoredFloor> {
    match load(dir) {
        Stored::Valid(found) => Some(StoredFloor {
            measured: found.date.clone(),
            p50_us: found.floor.p50_us,
            p99_us: found.floor.p99_us,
            p999_us: found.floor.p999_us,
        }),
        Stored::Ignored(_) | Stored::Absent => None,
    }
}
