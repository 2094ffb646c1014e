//! The runtime behind [`crate::Env`]: glommio's direct files, timers and task queues, and its blocking thread for
//! directory operations.
//!
//! One [`GlommioEnv`] belongs to one executor. Only what both lines of glommio offer is used. The rules it keeps: files
//! are opened outside hot paths and never while one is unlinked (opening asks the filesystem about the path again); a
//! write is never cancelled and its result is compared by the caller; durable files are checked to be direct and
//! synchronous; sizes are kept here; blocking calls catch panics.

mod sys;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use glommio::io::{DmaFile, OpenOptions, ReadResult};
use glommio::{GlommioError, Latency, Shares, TaskQueueHandle};

use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode, Space};
use crate::sync::Semaphore;

/// Exit status after an IO error that leaves the state of the media unknown.
pub const EXIT_STORAGE: i32 = 74;

/// Shortest sleep: what lets network readiness be seen next to a busy task.
const BREATH: Duration = Duration::from_micros(10);

fn io_error<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::IoError(error) => error,
        GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

/// Runs a job on the executor's blocking thread. A panic goes on in the caller.
pub async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let job = AssertUnwindSafe(job);
    let result = glommio::executor()
        .spawn_blocking(move || {
            let job = job;
            catch_unwind(AssertUnwindSafe(job.0))
        })
        .await;
    match result {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Name of the lock file in a data directory.
pub const LOCK_FILE: &str = "lock";

/// Holds `dir` for this process: a second broker on the same directory is an error. Released when the file is dropped
/// or the process ends.
pub fn lock_data_dir(dir: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the data directory is in use by another process",
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

struct Inner {
    root: PathBuf,
    start: Instant,
    queues: [TaskQueueHandle; 3],
    /// Held while a file is opened or a path goes away.
    paths: Semaphore,
}

/// The world as one executor sees it. Cheap to clone.
#[derive(Clone)]
pub struct GlommioEnv(Rc<Inner>);

impl GlommioEnv {
    /// The environment of the calling executor, for the data directory `root`, which must exist. `start` is the zero of
    /// [`Env::now_ns`], the same on all cores so that their deadlines compare. Opens a file in `root` first, as the first
    /// open of a device decides how glommio drives it.
    pub async fn new(root: PathBuf, start: Instant) -> io::Result<Self> {
        let probe = root.join(format!(".probe-{}", glommio::executor().id()));
        let written = probe.clone();
        blocking(move || std::fs::write(&written, vec![0_u8; 2 * ALIGN])).await?;
        let opened = DmaFile::open(&probe).await.map_err(io_error);
        let opened = match opened {
            Ok(file) => file.close().await.map_err(io_error),
            Err(e) => Err(e),
        };
        blocking(move || std::fs::remove_file(&probe)).await?;
        opened?;
        let queue = |shares, name| {
            glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
        };
        Ok(Self(Rc::new(Inner {
            root,
            start,
            queues: [
                queue(1000, "journal"),
                queue(200, "drain"),
                queue(50, "storage background"),
            ],
            paths: Semaphore::default(),
        })))
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.0.root.clone()
        } else {
            self.0.root.join(path)
        }
    }
}

impl Env for GlommioEnv {
    type File = GlommioFile;
    type Buf = GlommioBuf;

    fn buffer(&self, len: usize) -> GlommioBuf {
        assert!(len.is_multiple_of(ALIGN) && len > 0, "buffer length {len}");
        GlommioBuf(Inside::Own(glommio::allocate_dma_buffer(len)))
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        let queue = self.0.queues[class as usize];
        match glommio::spawn_local_into(task, queue) {
            Ok(task) => drop(task.detach()),
            Err(e) => unreachable!("a task queue of this executor is gone: {e}"),
        }
    }

    fn now_ns(&self) -> u64 {
        self.0.start.elapsed().as_nanos() as u64
    }

    fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64)
    }

    async fn sleep(&self, time: Duration) {
        glommio::timer::sleep(time.max(BREATH)).await;
    }

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<GlommioFile> {
        let _alone = self.0.paths.acquire(1).await;
        let full = self.path(path);
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true).create(true);
            }
            OpenMode::WriteDurable => {
                options.write(true).create(true).custom_flags(libc::O_DSYNC);
            }
        }
        let file = options.dma_open(&full).await.map_err(io_error)?;
        let need = libc::O_DIRECT
            | if mode == OpenMode::WriteDurable {
                libc::O_DSYNC
            } else {
                0
            };
        let flags = sys::flags(file.as_raw_fd())?;
        if flags & need != need {
            let _ = file.close().await;
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{}: the filesystem has no direct IO; use ext4 or XFS on a local disk",
                    full.display()
                ),
            ));
        }
        let size = sys::size(file.as_raw_fd())?;
        Ok(GlommioFile {
            file: Rc::new(file),
            size: Rc::new(Cell::new(size)),
        })
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || std::fs::create_dir_all(path)).await
    }

    async fn list_dir(&self, path: &str) -> io::Result<Vec<String>> {
        let path = self.path(path);
        blocking(move || {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) => return Err(e),
            };
            let mut names = Vec::new();
            for entry in entries {
                // A name that is not UTF-8 is not ours.
                names.extend(entry?.file_name().into_string().ok());
            }
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || std::fs::File::open(path)?.sync_all()).await
    }

    async fn sync_all(&self) -> io::Result<bool> {
        let root = self.0.root.clone();
        blocking(move || sys::sync_filesystem(&std::fs::File::open(root)?).map(|()| true)).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let _alone = self.0.paths.acquire(1).await;
        let (from, to) = (self.path(from), self.path(to));
        blocking(move || std::fs::rename(from, to)).await
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        let _alone = self.0.paths.acquire(1).await;
        let path = self.path(path);
        blocking(move || absent_is_fine(std::fs::remove_file(path))).await
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || absent_is_fine(std::fs::remove_dir(path))).await
    }

    async fn space(&self) -> io::Result<Space> {
        let path = self.0.root.clone();
        blocking(move || sys::space(&path)).await
    }

    fn poison(&self, what: &str, error: &io::Error) -> ! {
        eprintln!(
            "turgo: storage failed and the process stops now, so that nothing wrong is acknowledged.\n  what:   {what}\n  \
             error:  {error} (errno {})\n  where:  {}\n  advice: check the device and filesystem (dmesg, smartctl), then \
             start again; recovery reads back what is on stable media.",
            error.raw_os_error().unwrap_or(0),
            self.0.root.display(),
        );
        sys::exit(EXIT_STORAGE)
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An open direct file.
#[derive(Clone)]
pub struct GlommioFile {
    file: Rc<DmaFile>,
    size: Rc<Cell<u64>>,
}

impl GlommioFile {
    fn grown(&self, to: u64) {
        self.size.set(self.size.get().max(to));
    }
}

impl File for GlommioFile {
    type Buf = GlommioBuf;

    async fn write_at(&self, at: u64, buf: GlommioBuf) -> (io::Result<usize>, GlommioBuf) {
        let buf = Rc::new(buf.into_own());
        let result = self.file.write_rc_at(buf.clone(), at).await.map_err(io_error);
        if let Ok(written) = result {
            self.grown(at + written as u64);
        }
        let buf = match Rc::try_unwrap(buf) {
            Ok(buf) => buf,
            // The reactor may hold its count for a moment longer; the caller gets a buffer of the same kind.
            Err(_) => glommio::allocate_dma_buffer(ALIGN),
        };
        (result, GlommioBuf(Inside::Own(buf)))
    }

    async fn read_at(&self, at: u64, len: usize) -> io::Result<GlommioBuf> {
        let result = self.file.read_at_aligned(at, len).await.map_err(io_error)?;
        Ok(GlommioBuf(Inside::Read(result)))
    }

    async fn sync(&self) -> io::Result<()> {
        self.file.fdatasync().await.map_err(io_error)
    }

    async fn allocate(&self, len: u64) -> io::Result<()> {
        // The size grows too: a direct write that extends its file would be made on a kernel worker.
        self.file.pre_allocate(len, false).await.map_err(io_error)?;
        self.grown(len);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size.get()
    }

    async fn close(self) -> io::Result<()> {
        self.file.close_rc().await.map(|_| ()).map_err(io_error)
    }
}

enum Inside {
    Own(glommio::io::DmaBuffer),
    Read(ReadResult),
}

/// Aligned memory: our own, or what a read returned (copied before it is changed).
pub struct GlommioBuf(Inside);

impl GlommioBuf {
    fn into_own(mut self) -> glommio::io::DmaBuffer {
        self.own();
        match self.0 {
            Inside::Own(buf) => buf,
            Inside::Read(_) => unreachable!("just made"),
        }
    }

    fn own(&mut self) -> &mut glommio::io::DmaBuffer {
        if let Inside::Read(read) = &self.0 {
            let mut buf = glommio::allocate_dma_buffer(read.len());
            buf.as_bytes_mut().copy_from_slice(read);
            self.0 = Inside::Own(buf);
        }
        match &mut self.0 {
            Inside::Own(buf) => buf,
            Inside::Read(_) => unreachable!("just replaced"),
        }
    }
}

impl IoBuf for GlommioBuf {
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Inside::Own(buf) => buf.as_bytes(),
            Inside::Read(read) => read,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.own().as_bytes_mut()
    }

    fn truncate(&mut self, len: usize) {
        assert!(len.is_multiple_of(ALIGN), "buffer length {len}");
        self.own().trim_to_size(len);
    }
}
