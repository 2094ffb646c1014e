//! What storage asks of the world: files, aligned buffers, time, background tasks.
//!
//! Storage's procedures (group commit, drain, checkpoint, recovery) are async code over [`Env`], so the same
//! compiled procedures run under the runtime ([`crate::shell`]) and under a seeded simulator with a simulated
//! disk. Nothing else in this crate may name a file, a clock, a thread or a random source.
//!
//! Everything is single-threaded: an `Env` belongs to one core.

#![allow(async_fn_in_trait)] // futures here never leave their core, so no `Send` bound is wanted

use std::future::Future;
use std::io;
use std::time::Duration;

/// Offsets, lengths and addresses of every IO are multiples of this, in bytes.
pub const ALIGN: usize = 4096;

/// How a file is opened. A file is always direct (it bypasses the page cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Reads and writes; created if absent. A write is volatile until [`File::sync`].
    Write,
    /// As `Write`, but a completed write is on stable media (`O_DSYNC`).
    WriteDurable,
}

/// Scheduling class of a background task, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Group commit: everything a client waits for.
    Journal,
    /// Writing tail data to segments.
    Drain,
    /// Retention, unlinking, scrubbing.
    Background,
}

/// Free and total bytes of the filesystem that holds the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes an unprivileged writer may still allocate.
    pub free: u64,
    /// Size of the filesystem.
    pub total: u64,
}

/// One core's view of the world. Paths are relative to the data directory, with `/` between parts.
pub trait Env: Clone + 'static {
    /// An open file.
    type File: File<Buf = Self::Buf>;
    /// An aligned buffer that can be written to a file.
    type Buf: IoBuf;

    /// A buffer of `len` bytes, a multiple of [`ALIGN`], that may hold anything: its user writes every byte.
    fn buffer(&self, len: usize) -> Self::Buf;
    /// A buffer of `len` zeros; `len` is a multiple of [`ALIGN`].
    fn zeroed(&self, len: usize) -> Self::Buf {
        let mut buf = self.buffer(len);
        buf.bytes_mut().fill(0);
        buf
    }
    /// Runs `task` on this core until it ends or the environment goes away.
    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static);
    /// Monotonic nanoseconds from an arbitrary start.
    fn now_ns(&self) -> u64;
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
    /// Suspends the calling task. `Duration::ZERO` still lets other tasks run.
    async fn sleep(&self, time: Duration);
    /// Opens a file. Creating it makes its directory entry volatile until [`Env::sync_dir`].
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;
    /// Creates a directory and its parents.
    async fn create_dir_all(&self, path: &str) -> io::Result<()>;
    /// Names of the entries of a directory, sorted; empty if the directory does not exist.
    async fn list_dir(&self, path: &str) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals inside `path` durable.
    async fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Makes all that the data directory's filesystem holds durable, if there is one call for that; false if not.
    async fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Renames a file, replacing `to`. Durable after `sync_dir` of both directories.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Removing an absent file succeeds.
    async fn remove_file(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory. Removing an absent directory succeeds.
    async fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Space of the filesystem under the data directory.
    async fn space(&self) -> io::Result<Space>;
    /// Ends the process because its storage can no longer be trusted (EIO on write or sync). Never returns under
    /// the runtime; the simulator records it and never lets the caller run on.
    fn poison(&self, what: &str, error: &io::Error) -> !;
}

/// An open file of an [`Env`]. Cheap to clone; clones share the descriptor.
pub trait File: Clone + 'static {
    /// See [`Env::Buf`].
    type Buf: IoBuf;
    /// Writes the whole buffer at `at`, a multiple of [`ALIGN`]. Returns the bytes written, which may be fewer, and
    /// the buffer for reuse.
    async fn write_at(&self, at: u64, buf: Self::Buf) -> (io::Result<usize>, Self::Buf);
    /// Reads up to `len` bytes at `at`, both multiples of [`ALIGN`]; fewer at the end of the file.
    async fn read_at(&self, at: u64, len: usize) -> io::Result<Self::Buf>;
    /// Makes completed writes and the file's size durable (`fdatasync`).
    async fn sync(&self) -> io::Result<()>;
    /// Reserves space for `0..len` without changing what a reader sees of existing bytes (`fallocate`).
    async fn allocate(&self, len: u64) -> io::Result<()>;
    /// Size in bytes as of opening or the furthest completed write or allocation since.
    fn size(&self) -> u64;
    /// Closes the descriptor once all clones are closed or dropped.
    async fn close(self) -> io::Result<()>;
}

/// Memory that can be handed to [`File::write_at`]: aligned to [`ALIGN`] in address and length.
pub trait IoBuf: 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Shortens the buffer to `len`, a multiple of [`ALIGN`].
    fn truncate(&mut self, len: usize);
}
