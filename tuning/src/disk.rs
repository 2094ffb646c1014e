//! How long a durable write takes: the floor under every acknowledgement.

use std::path::Path;
use std::time::Duration;

use crate::sys;

/// Nanoseconds of `count` direct synchronous writes of 4 KiB at depth 1 to pre-written files in `directory`, in the
/// order measured, at a resolution of a microsecond. Nothing is left behind.
pub fn durable_writes(directory: &Path, count: usize) -> std::io::Result<Vec<u64>> {
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let some = sys::probe_disk(directory, Duration::from_secs(1))
            .map_err(|fault| std::io::Error::other(format!("{}: {fault:?}", directory.display())))?;
        times.extend(some.into_iter().map(|us| u64::from(us) * 1_000));
    }
    times.truncate(count);
    Ok(times)
}
