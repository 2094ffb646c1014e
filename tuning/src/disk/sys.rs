//! Timed requests on a ring. Everything here has a safe face.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};

use super::plan::Kind;
use crate::sys::AlignedBuffer;

/// What a step gave.
pub struct Timed {
    /// Latencies, nanoseconds, from submission to completion seen.
    pub times: Histogram<u64>,
    /// Bytes moved in the first and in the second half of the time.
    pub bytes: [u64; 2],
    /// How long it really took.
    pub elapsed: Duration,
}

/// Requests on `file`.
pub struct Work<'a> {
    /// Open for direct IO, and with `O_DSYNC` where the kind wants it.
    pub file: &'a File,
    /// Bytes of the file to use, a multiple of the block.
    pub len: u64,
    /// What to do. [`Kind::WriteAllocated`] goes through the file once.
    pub kind: Kind,
    /// Bytes of each request.
    pub block: usize,
    /// Requests at once.
    pub depth: usize,
}

struct Slot {
    buffer: AlignedBuffer,
    since: Instant,
}

/// A ring with requests under way. Dropping it waits for them: the kernel writes into the buffers until then.
struct Flight {
    ring: IoUring,
    slots: Vec<Slot>,
    /// Completions still to come.
    pending: usize,
}

impl Flight {
    fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        while self.pending > 0 {
            if self.wait().is_err() {
                // The kernel may still write into the buffers: better lost than reused.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            self.pending -= self.ring.completion().count().min(self.pending);
        }
    }
}

/// Most seconds a single request may be told to have taken.
const SLOWEST_NS: u64 = 600_000_000_000;

/// An empty histogram of nanoseconds, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SLOWEST_NS, 3).expect("bounds that are known to be right")
}

/// Keeps `work.depth` requests under way until `budget` is used up or `stop` is raised, at least one each.
pub fn run(work: &Work, budget: Duration, stop: Option<&AtomicBool>) -> io::Result<Timed> {
    let fill = |seed: u64| {
        let mut buffer = AlignedBuffer::new(work.block);
        // Nothing to compress or to find again, for devices that try.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for word in buffer.bytes_mut().chunks_exact_mut(8) {
            state = next(state);
            word.copy_from_slice(&state.to_le_bytes());
        }
        buffer
    };
    let began = Instant::now();
    let mut flight = Flight {
        ring: IoUring::new((work.depth as u32 * 2).next_power_of_two().max(4))?,
        slots: (0..work.depth as u64)
            .map(|slot| Slot {
                buffer: fill(slot + 1),
                since: began,
            })
            .collect(),
        pending: 0,
    };
    let blocks = work.len / work.block as u64;
    assert!(blocks > 0, "a file smaller than a block cannot be measured");
    let (mut at, mut random) = (0u64, 0x2545_f491_4f6c_dd1du64);
    let mut times = histogram();
    let mut bytes = [0u64; 2];
    let began = Instant::now();
    for slot in 0..work.depth {
        submit(
            work,
            &mut flight,
            slot,
            next_block(work, blocks, &mut at, &mut random),
        )?;
    }
    while flight.pending > 0 {
        flight.wait()?;
        let done: Vec<(u64, i32)> = flight
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        let now = Instant::now();
        flight.pending -= done.len();
        for (data, result) in done {
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            let (slot, is_sync) = ((data >> 1) as usize, data & 1 == 1);
            if !is_sync && result as usize != work.block {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("{result} of {} bytes were moved", work.block),
                ));
            }
            if work.kind == Kind::WriteThenSync && !is_sync {
                continue;
            }
            let taken = now.duration_since(flight.slots[slot].since);
            times.saturating_record(taken.as_nanos() as u64);
            let elapsed = now.duration_since(began);
            bytes[usize::from(elapsed > budget / 2)] += work.block as u64;
            let is_used_up = work.kind == Kind::WriteAllocated && at >= blocks;
            let is_over = match stop {
                Some(stop) => stop.load(Ordering::Relaxed),
                None => elapsed >= budget,
            };
            if !is_over && !is_used_up {
                submit(
                    work,
                    &mut flight,
                    slot,
                    next_block(work, blocks, &mut at, &mut random),
                )?;
            }
        }
    }
    Ok(Timed {
        times,
        bytes,
        elapsed: began.elapsed(),
    })
}

/// xorshift64.
fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

fn next_block(work: &Work, blocks: u64, at: &mut u64, random: &mut u64) -> u64 {
    if work.kind == Kind::ReadRandom {
        *random = next(*random);
        return *random % blocks;
    }
    let block = *at % blocks;
    *at += 1;
    block
}

fn submit(work: &Work, flight: &mut Flight, slot: usize, block: u64) -> io::Result<()> {
    let Flight { ring, slots, pending } = flight;
    let file = types::Fd(work.file.as_raw_fd());
    let state = &mut slots[slot];
    let (pointer, len, offset) = (state.buffer.pointer, work.block as u32, block * work.block as u64);
    let data = (slot as u64) << 1;
    let first = match work.kind {
        Kind::Read | Kind::ReadRandom => opcode::Read::new(file, pointer, len).offset(offset).build(),
        _ => opcode::Write::new(file, pointer, len).offset(offset).build(),
    };
    let mut entries = vec![first.user_data(data)];
    if work.kind == Kind::WriteThenSync {
        // Linked: the sync starts when the write is done.
        entries[0] = entries[0].clone().flags(Flags::IO_LINK);
        let sync = opcode::Fsync::new(file)
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        entries.push(sync.user_data(data | 1));
    }
    state.since = Instant::now();
    // SAFETY: the buffer belongs to the slot and the slot to the flight, which waits for every completion before it gives
    // them up; `file` is borrowed for longer than the flight lives; the slot has no other request under way.
    unsafe { ring.submission().push_multiple(&entries) }.map_err(|_| io::Error::other("the ring is full"))?;
    *pending += entries.len();
    // Submitted now: it must not wait for the next look at completions.
    loop {
        match ring.submit() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|_| ()),
        }
    }
}

/// Space for a file that is not written.
pub fn allocate(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: passes no memory; the descriptor is open for the call.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
