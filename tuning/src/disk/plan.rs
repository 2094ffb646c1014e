//! What the measurement of a disk does, and how its time is shared out. Pure.

use std::time::Duration;

/// What is done to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Direct writes with `O_DSYNC` to a file written ahead: the journal.
    WriteDurable,
    /// A direct write, then `fdatasync`: what O_DSYNC saves.
    WriteThenSync,
    /// Direct writes with `O_DSYNC` to space allocated but never written: what writing ahead saves.
    WriteAllocated,
    /// Direct writes without a flush, one after the other: the drain.
    Write,
    /// Direct reads, one after the other: consumers that catch up.
    Read,
    /// Direct reads anywhere.
    ReadRandom,
}

impl Kind {
    /// Its word in the file and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::WriteDurable => "write_durable",
            Kind::WriteThenSync => "write_fdatasync",
            Kind::WriteAllocated => "write_allocated",
            Kind::Write => "write",
            Kind::Read => "read",
            Kind::ReadRandom => "read_random",
        }
    }
}

/// Other work on the device at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// Reads or writes, of 1 MiB.
    pub kind: Kind,
    /// How many at once.
    pub depth: usize,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: Kind,
    /// Bytes of each request.
    pub block_bytes: usize,
    /// Requests at once.
    pub depth: usize,
    /// What goes on beside it.
    pub beside: Option<Beside>,
    /// Its time.
    pub time: Duration,
}

/// Sizes of durable writes, bytes.
pub const SIZES: [usize; 6] = [4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20];
/// Durable writes at once: groups in flight.
pub const DEPTHS: [usize; 3] = [1, 2, 4];
/// Size of the journal's writes that are watched beside other work.
pub const JOURNAL: usize = 16 << 10;
/// Size of the drain's and of catch-up reads.
pub const CHUNK: usize = 1 << 20;
/// Chunk writes at once that the drain may choose.
pub const DRAIN_DEPTHS: [usize; 3] = [1, 2, 4];
/// Catch-up reads at once that a core may choose.
pub const READ_DEPTHS: [usize; 4] = [1, 2, 4, 8];

/// The steps, with `total` shared out among them.
pub fn steps(total: Duration) -> Vec<Step> {
    let mut weighed: Vec<(f64, Step)> = Vec::new();
    let mut add = |weight, kind, block_bytes, depth, beside| {
        weighed.push((
            weight,
            Step {
                kind,
                block_bytes,
                depth,
                beside,
                time: Duration::ZERO,
            },
        ));
    };
    for size in SIZES {
        for depth in DEPTHS {
            // The first is the floor, and needs samples for its tail.
            let weight = if size == SIZES[0] && depth == 1 { 4.0 } else { 1.0 };
            add(weight, Kind::WriteDurable, size, depth, None);
        }
    }
    for size in [4 << 10, 128 << 10, 1 << 20] {
        add(1.0, Kind::WriteThenSync, size, 1, None);
    }
    for size in [4 << 10, 128 << 10] {
        add(0.5, Kind::WriteAllocated, size, 1, None);
    }
    for depth in DRAIN_DEPTHS {
        // The longest last: a cache that runs full shows in its second half.
        add(depth as f64, Kind::Write, CHUNK, depth, None);
    }
    for depth in READ_DEPTHS {
        add(1.0, Kind::Read, CHUNK, depth, None);
    }
    add(1.0, Kind::ReadRandom, 4 << 10, 1, None);
    add(1.0, Kind::ReadRandom, 4 << 10, 32, None);
    for (kind, depths) in [(Kind::Write, &DRAIN_DEPTHS[..]), (Kind::Read, &READ_DEPTHS[..])] {
        for &depth in depths {
            add(1.0, Kind::WriteDurable, JOURNAL, 1, Some(Beside { kind, depth }));
        }
    }
    let sum: f64 = weighed.iter().map(|(weight, _)| weight).sum();
    weighed
        .into_iter()
        .map(|(weight, step)| Step {
            time: total.mul_f64(weight / sum),
            ..step
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_shared_out_whole_and_every_step_gets_some() {
        let total = Duration::from_secs(30);
        let steps = steps(total);
        let sum: Duration = steps.iter().map(|step| step.time).sum();
        assert!(sum.abs_diff(total) < Duration::from_millis(1), "{sum:?}");
        assert!(steps.iter().all(|step| step.time > Duration::from_millis(100)));
        assert!(
            steps
                .iter()
                .all(|step| step.block_bytes % 4096 == 0 && step.depth > 0)
        );
        for size in SIZES {
            for depth in DEPTHS {
                let same = |step: &&Step| {
                    (step.kind, step.block_bytes, step.depth, step.beside)
                        == (Kind::WriteDurable, size, depth, None)
                };
                assert_eq!(steps.iter().filter(same).count(), 1, "{size} {depth}");
            }
        }
    }
}
