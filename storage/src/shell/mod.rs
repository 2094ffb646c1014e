//! [`Env`] under the runtime: one executor per core, direct IO through io_uring.
//!
//! The only module of this crate that names the runtime, the clock and the file system. It has no opinions: every
//! decision is made by its callers. What it must know is how to use the runtime safely:
//!
//! - a short write is reported, never repaired; a write in flight is never cancelled;
//! - buffers come zeroed, because the runtime's are not, and old memory must not reach the disk;
//! - sizes are kept here, as the runtime looks them up by path;
//! - file-system metadata calls go to a blocking thread, and each is awaited.

mod sys;

use std::cell::Cell;
use std::fs::File as StdFile;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::io::{DmaBuffer, DmaFile, OpenOptions, ReadResult};
use glommio::{Latency, Shares, TaskQueueHandle, executor, spawn_local, spawn_local_into};

use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode, Space};

/// Exit status after an IO error that leaves the state of the media unknown.
pub const EXIT_STORAGE: i32 = 74;
/// Name of the lock file in a data directory.
const LOCK_FILE: &str = "lock";
/// Shares of background work against 1,000 of the journal.
const DRAIN_SHARES: usize = 300;
const BACKGROUND_SHARES: usize = 50;

/// Holds `dir` for this process: a second broker on the same directory is an error. Released when the file is
/// dropped or the process ends.
pub fn lock_data_dir(dir: &Path) -> io::Result<StdFile> {
    let file = StdFile::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the data directory is in use by another process",
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// One core's environment. Cheap to clone.
#[derive(Clone)]
pub struct GlommioEnv(Rc<Inner>);

struct Inner {
    root: PathBuf,
    start: Instant,
    drain: TaskQueueHandle,
    background: TaskQueueHandle,
}

impl GlommioEnv {
    /// Must be called on the executor that will use it. `root` is the data directory; `start` is the zero of
    /// [`Env::now_ns`], the same on all cores so that their deadlines compare.
    pub async fn new(root: PathBuf, start: Instant) -> io::Result<Self> {
        let queue = |shares, name| {
            executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
        };
        let env = GlommioEnv(Rc::new(Inner {
            drain: queue(DRAIN_SHARES, "drain"),
            background: queue(BACKGROUND_SHARES, "background"),
            root,
            start,
        }));
        env.probe_polling().await?;
        Ok(env)
    }

    /// The runtime decides with the first open of a device whether to poll it for completions; on an empty or
    /// write-only file it decides wrongly. So the first file is one made for it.
    async fn probe_polling(&self) -> io::Result<()> {
        let path = self.0.root.join(format!(".probe-{}", executor().id()));
        let file = path.clone();
        blocking(move || std::fs::write(file, vec![0; 2 * ALIGN])).await?;
        DmaFile::open(&path).await?.close().await?;
        blocking(move || std::fs::remove_file(path)).await
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.root.join(path)
    }
}

/// Runs a blocking call off the executor. A panic in it continues here.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let job = AssertUnwindSafe(job);
    match executor().spawn_blocking(move || catch_unwind(job)).await {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Success, or success because there was nothing to remove.
fn removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Env for GlommioEnv {
    type File = DirectFile;
    type Buf = Buffer;

    fn buffer(&self, len: usize) -> Buffer {
        let mut buffer = glommio::allocate_dma_buffer(len);
        buffer.as_bytes_mut().fill(0);
        Buffer(Memory::Own(buffer))
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        let queue = match class {
            Class::Journal => {
                spawn_local(task).detach();
                return;
            }
            Class::Drain => self.0.drain,
            Class::Background => self.0.background,
        };
        spawn_local_into(task, queue).expect("the queue was made on this executor").detach();
    }

    fn now_ns(&self) -> u64 {
        self.0.start.elapsed().as_nanos() as u64
    }

    fn wall_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
    }

    async fn sleep(&self, time: Duration) {
        // The runtime takes a sleep of zero for no sleep, and nothing else would run.
        glommio::timer::sleep(time.max(Duration::from_micros(1))).await;
    }

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<DirectFile> {
        let path = self.path(path);
        // The runtime would panic on a file system that cannot be looked at.
        let parent = path.parent().map(Path::to_path_buf).unwrap_or_default();
        blocking(move || std::fs::metadata(parent)).await?;
        let mut options = OpenOptions::new();
        options.read(true);
        let wanted = match mode {
            OpenMode::Read => libc::O_DIRECT,
            OpenMode::Write => {
                options.write(true).create(true);
                libc::O_DIRECT
            }
            OpenMode::WriteDurable => {
                options.write(true).create(true).custom_flags(libc::O_DSYNC);
                libc::O_DIRECT | libc::O_DSYNC
            }
        };
        let file = options.dma_open(&path).await?;
        let fd = file.as_raw_fd();
        if sys::flags(fd)? & wanted != wanted {
            let text = format!("{}: the file system has no direct or no synchronous IO", path.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let size = sys::size(fd)?;
        Ok(DirectFile { file: Rc::new(file), size: Rc::new(Cell::new(size)) })
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || std::fs::create_dir_all(path)).await
    }

    async fn list_dir(&self, path: &str) -> io::Result<Vec<String>> {
        let path = self.path(path);
        blocking(move || {
            let entries = match std::fs::read_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                other => other?,
            };
            let mut names = Vec::new();
            for entry in entries {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || StdFile::open(path)?.sync_all()).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        blocking(move || std::fs::rename(from, to)).await
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || removed(std::fs::remove_file(path))).await
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || removed(std::fs::remove_dir(path))).await
    }

    async fn space(&self) -> io::Result<Space> {
        let root = self.0.root.clone();
        blocking(move || sys::space(&root)).await
    }

    fn poison(&self, what: &str, error: &io::Error) -> ! {
        eprintln!(
            "storage failed: {what}: {error}\n\
             The device or file system under {} did not keep a write. Nothing is retried, because the kernel may \
             forget such an error and a second try would lie. Check the device (dmesg, SMART), then start again: \
             recovery decides what is intact.",
            self.0.root.display()
        );
        sys::exit_now(EXIT_STORAGE)
    }
}

/// A file opened for direct IO.
#[derive(Clone)]
pub struct DirectFile {
    file: Rc<DmaFile>,
    size: Rc<Cell<u64>>,
}

impl File for DirectFile {
    type Buf = Buffer;

    async fn write_at(&self, at: u64, buf: Buffer) -> (io::Result<usize>, Buffer) {
        let len = buf.bytes().len();
        let shared = Rc::new(buf.into_own());
        let result = self.file.write_rc_at(shared.clone(), at).await.map_err(io::Error::from);
        if let Ok(written) = &result {
            self.size.set(self.size.get().max(at + *written as u64));
        }
        let buffer = match Rc::try_unwrap(shared) {
            Ok(buffer) => buffer,
            // The runtime may hold the buffer a little longer; the caller only wants one of that size.
            Err(_) => glommio::allocate_dma_buffer(len),
        };
        (result, Buffer(Memory::Own(buffer)))
    }

    async fn read_at(&self, at: u64, len: usize) -> io::Result<Buffer> {
        let read = self.file.read_at_aligned(at, len).await?;
        Ok(Buffer(Memory::Read { result: read, trimmed: None }))
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(self.file.fdatasync().await?)
    }

    async fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.pre_allocate(len, false).await?;
        self.size.set(self.size.get().max(len));
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size.get()
    }

    async fn close(self) -> io::Result<()> {
        self.file.close_rc().await?;
        Ok(())
    }
}

/// Memory of the runtime: made for a write, or the result of a read.
pub struct Buffer(Memory);

enum Memory {
    Own(DmaBuffer),
    Read { result: ReadResult, trimmed: Option<usize> },
}

impl Buffer {
    /// The buffer itself; the result of a read is copied, since the runtime cannot write it.
    fn into_own(self) -> DmaBuffer {
        match self.0 {
            Memory::Own(buffer) => buffer,
            Memory::Read { .. } => {
                let bytes = self.bytes();
                let mut own = glommio::allocate_dma_buffer(bytes.len());
                own.as_bytes_mut().copy_from_slice(bytes);
                own
            }
        }
    }
}

impl IoBuf for Buffer {
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(buffer) => buffer.as_bytes(),
            Memory::Read { result, trimmed } => {
                let len = trimmed.unwrap_or(result.len());
                &result[..len]
            }
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if matches!(self.0, Memory::Read { .. }) {
            let placeholder = Memory::Own(glommio::allocate_dma_buffer(0));
            let read = Buffer(std::mem::replace(&mut self.0, placeholder));
            self.0 = Memory::Own(read.into_own());
        }
        match &mut self.0 {
            Memory::Own(buffer) => buffer.as_bytes_mut(),
            Memory::Read { .. } => unreachable!("converted above"),
        }
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Memory::Own(buffer) => buffer.trim_to_size(len),
            Memory::Read { result, trimmed } => {
                assert!(len <= result.len(), "truncated beyond its length");
                *trimmed = Some(len);
            }
        }
    }
}
