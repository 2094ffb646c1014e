//! [`Env`] over the simulated disk: latencies and faults by seed, every change recorded.
//!
//! One [`SimEnv`] is one life of a process, from start to power cut: it owns an executor and the disk as it was left
//! by the life before. [`SimEnv::end`] takes the disk and the recorded log out.
//!
//! A misaligned address or length, a write through a reading handle and a second writer in another mode (R11) panic:
//! on the real system they are EINVAL or undefined, always a bug of the caller.

use super::disk::{Disk, Ino, Io, Landed, Meta, Node, parent};
use super::exec::{Completion, Exec, Outcome};
use super::rng::{Rng, TraceHash};
use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode, Space};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Kind of an operation that a fault can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// [`File::write_at`].
    Write,
    /// [`File::read_at`].
    Read,
    /// [`File::sync`].
    Sync,
    /// [`Env::sync_dir`].
    SyncDir,
    /// [`File::allocate`].
    Allocate,
    /// Opening, listing, renaming, removing.
    Meta,
}

/// One operation, as the fault plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// What it is.
    pub kind: OpKind,
    /// Path the file was opened under.
    pub path: &'a str,
    /// Position in bytes (0 where there is none).
    pub at: u64,
    /// Length in bytes (0 where there is none).
    pub len: u64,
    /// Running number of operations of this kind in this life, from 0.
    pub index: u64,
}

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails with this errno; a write may have left any of its sectors behind.
    Error(i32),
    /// A write stops after this many bytes and says so.
    Short(u64),
    /// A write is confirmed and never happens.
    Lost,
    /// A write is confirmed and lands at this position of the same file.
    Moved(u64),
    /// A read returns bytes with a bit flipped, chosen by this number; the media are intact.
    Corrupt(u64),
    /// It takes this much longer.
    Stall(Duration),
}

/// Decides what goes wrong with each operation.
pub type FaultPlan = Box<dyn FnMut(&Op<'_>) -> Fault>;
type Observer = Box<dyn FnMut(&Disk, &Io)>;

/// Nanoseconds that operations take: uniform in `low..=high`, and up to `slow` in one of 64 cases.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Shortest.
    pub low: u64,
    /// Longest of the usual ones.
    pub high: u64,
    /// Longest of the unusual ones.
    pub slow: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency {
            low: 10_000,
            high: 200_000,
            slow: 4_000_000,
        }
    }
}

struct Machine {
    exec: Exec,
    disk: RefCell<Disk>,
    log: RefCell<Vec<Io>>,
    hash: Cell<TraceHash>,
    rng: RefCell<Rng>,
    latency: Cell<Latency>,
    faults: RefCell<Option<FaultPlan>>,
    observer: RefCell<Option<Observer>>,
    counts: RefCell<[u64; 6]>,
    next_id: Cell<u64>,
    halt_at: Cell<u64>,
    wall_base_ms: i64,
    open_files: Cell<usize>,
    story: bool,
}

/// The simulated world of one core; clones share it.
#[derive(Clone)]
pub struct SimEnv(Rc<Machine>);

/// Virtual wall clock at virtual time zero: some time in 2026.
pub const WALL_BASE_MS: i64 = 1_780_000_000_000;

impl SimEnv {
    /// A life that starts on `disk` at `now_ns`, with choices of its own by `seed`.
    pub fn start(disk: Disk, seed: u64, now_ns: u64) -> SimEnv {
        let rng = Rng::new(seed);
        SimEnv(Rc::new(Machine {
            exec: Exec::new(rng.fork("schedule"), now_ns),
            disk: RefCell::new(disk),
            log: RefCell::new(Vec::new()),
            hash: Cell::new(TraceHash::default()),
            rng: RefCell::new(rng.fork("io")),
            latency: Cell::new(Latency::default()),
            faults: RefCell::new(None),
            observer: RefCell::new(None),
            counts: RefCell::new([0; 6]),
            next_id: Cell::new(1),
            halt_at: Cell::new(u64::MAX),
            wall_base_ms: WALL_BASE_MS,
            open_files: Cell::new(0),
            story: std::env::var_os("SIM_STORY").is_some(),
        }))
    }

    /// The executor.
    pub fn exec(&self) -> &Exec {
        &self.0.exec
    }

    /// Runs `main` (see [`Exec::run`]).
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Outcome<T> {
        self.0.exec.run(main)
    }

    /// Ends the life: drops its tasks, and returns the disk as of now (not crashed) and the log.
    pub fn end(&self) -> (Disk, Vec<Io>) {
        self.0.exec.shut_down();
        *self.0.faults.borrow_mut() = None;
        *self.0.observer.borrow_mut() = None;
        (
            self.0.disk.borrow().clone(),
            std::mem::take(&mut *self.0.log.borrow_mut()),
        )
    }

    /// Events recorded so far: the position that an acknowledgement made now belongs to.
    pub fn log_len(&self) -> usize {
        self.0.log.borrow().len()
    }

    /// Cuts the power once `events` have been recorded.
    pub fn halt_after(&self, events: u64) {
        self.0.halt_at.set(events);
    }

    /// Fingerprint of the schedule and of every IO with its bytes.
    pub fn trace_hash(&self) -> u64 {
        let mut hash = self.0.hash.get();
        hash.add(self.0.exec.trace_hash());
        hash.value()
    }

    /// Decides for each operation whether it fails.
    pub fn set_faults(&self, plan: impl FnMut(&Op<'_>) -> Fault + 'static) {
        *self.0.faults.borrow_mut() = Some(Box::new(plan));
    }

    /// No faults from now on.
    pub fn clear_faults(&self) {
        *self.0.faults.borrow_mut() = None;
    }

    /// Shows each event to `observer` just before it is applied to the disk.
    pub fn set_observer(&self, observer: impl FnMut(&Disk, &Io) + 'static) {
        *self.0.observer.borrow_mut() = Some(Box::new(observer));
    }

    /// How long operations take.
    pub fn set_latency(&self, latency: Latency) {
        self.0.latency.set(latency);
    }

    /// Sets the bytes the file system can hold.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.disk.borrow_mut().capacity = bytes;
    }

    /// Looks at the disk as it is now.
    pub fn with_disk<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.0.disk.borrow_mut())
    }

    /// Descriptors open now.
    pub fn open_files(&self) -> usize {
        self.0.open_files.get()
    }

    /// Tells what happens on standard error when `SIM_STORY` is set, for following one seed.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.0.story {
            eprintln!(
                "{:>12} us {:>5} {}",
                self.0.exec.now() / 1000,
                self.log_len(),
                what()
            );
        }
    }

    fn emit(&self, io: Io) {
        let machine = &*self.0;
        if machine.exec.is_dead() {
            return;
        }
        self.tell(|| super::campaign::show(&machine.disk.borrow(), &io));
        if let Some(observer) = &mut *machine.observer.borrow_mut() {
            observer(&machine.disk.borrow(), &io);
        }
        machine.disk.borrow_mut().apply(&io);
        let mut hash = machine.hash.get();
        hash_io(&mut hash, &io);
        hash.add(machine.exec.now());
        machine.hash.set(hash);
        let mut log = machine.log.borrow_mut();
        log.push(io);
        if log.len() as u64 >= machine.halt_at.get() {
            machine.exec.halt();
        }
    }

    fn id(&self) -> u64 {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        id
    }

    fn fault(&self, kind: OpKind, path: &str, at: u64, len: u64) -> Fault {
        let index = {
            let mut counts = self.0.counts.borrow_mut();
            let count = &mut counts[kind as usize];
            *count += 1;
            *count - 1
        };
        match &mut *self.0.faults.borrow_mut() {
            Some(plan) => plan(&Op {
                kind,
                path,
                at,
                len,
                index,
            }),
            None => Fault::None,
        }
    }

    /// When an operation that starts now completes. `weight` multiplies the usual latency.
    fn due(&self, fault: Fault, weight: u64) -> u64 {
        let latency = self.0.latency.get();
        let mut rng = self.0.rng.borrow_mut();
        let high = if rng.chance(1, 64) {
            latency.slow
        } else {
            latency.high
        };
        let mut ns = rng.range(latency.low, high.max(latency.low)) * weight;
        if let Fault::Stall(extra) = fault {
            ns += extra.as_nanos() as u64;
        }
        self.0.exec.now() + ns
    }

    async fn pause(&self, fault: Fault) {
        let due = self.due(fault, 1);
        self.0.exec.sleep_until(due).await;
    }

    async fn meta(&self, path: &str) -> io::Result<()> {
        let fault = self.fault(OpKind::Meta, path, 0, 0);
        self.pause(fault).await;
        match fault {
            Fault::Error(errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn node(&self, path: &str) -> Option<Node> {
        self.0.disk.borrow().lookup(path)
    }

    fn require_dir(&self, path: &str) -> io::Result<()> {
        match self.node(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }
}

fn hash_io(hash: &mut TraceHash, io: &Io) {
    match io {
        Io::Submit {
            id,
            ino,
            at,
            data,
            durable,
        } => {
            for word in [
                1,
                *id,
                u64::from(*ino),
                *at,
                u64::from(crc32c::crc32c(data)),
                u64::from(*durable),
            ] {
                hash.add(word);
            }
        }
        Io::Complete { id, landed } => {
            hash.add(2);
            hash.add(*id);
            hash.add_str(match landed {
                Landed::Whole => "whole",
                Landed::Short(_) => "short",
                Landed::Lost => "lost",
                Landed::Moved(_) => "moved",
                Landed::Failed => "failed",
            });
        }
        Io::SyncSubmit { id, .. } => [3, *id].map(|w| hash.add(w)).into_iter().collect(),
        Io::SyncComplete { id, ok } => [4, *id, u64::from(*ok)]
            .map(|w| hash.add(w))
            .into_iter()
            .collect(),
        Io::Allocate { ino, len } => [5, u64::from(*ino), *len]
            .map(|w| hash.add(w))
            .into_iter()
            .collect(),
        Io::Meta(meta) => match meta {
            Meta::Create { path, .. } => hash.add_str(path),
            Meta::Mkdir { path } => hash.add_str(path),
            Meta::Remove { path } => hash.add_str(path),
            Meta::Rename { from, to } => {
                hash.add_str(from);
                hash.add_str(to);
            }
        },
        Io::DirSyncSubmit { id, path } => {
            hash.add(*id);
            hash.add_str(path);
        }
        Io::DirSyncComplete { id } => [6, *id].map(|w| hash.add(w)).into_iter().collect(),
        Io::Read { ino, at, len } => [7, u64::from(*ino), *at, *len]
            .map(|w| hash.add(w))
            .into_iter()
            .collect(),
    }
}

impl Env for SimEnv {
    type File = SimFile;
    type Buf = SimBuf;

    fn buffer(&self, len: usize) -> SimBuf {
        assert!(len.is_multiple_of(ALIGN), "EINVAL: a buffer of {len} bytes");
        // What a writer leaves of it would be found by the checks of pads.
        SimBuf(vec![0xA5; len])
    }

    fn spawn(&self, _class: Class, task: impl Future<Output = ()> + 'static) {
        self.0.exec.spawn(task);
    }

    fn now_ns(&self) -> u64 {
        self.0.exec.now()
    }

    fn wall_ms(&self) -> i64 {
        self.0.wall_base_ms + (self.0.exec.now() / 1_000_000) as i64
    }

    async fn sleep(&self, time: Duration) {
        let until = self.0.exec.now() + time.as_nanos() as u64;
        self.0.exec.sleep_until(until).await;
    }

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        self.meta(path).await?;
        self.require_dir(parent(path))?;
        let ino = match (self.node(path), mode) {
            (Some(Node::File(ino)), _) => ino,
            (Some(Node::Dir), _) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            (None, OpenMode::Read) => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
            (None, _) => {
                let ino = self.0.disk.borrow().next_ino();
                self.emit(Io::Meta(Meta::Create {
                    path: path.into(),
                    ino,
                }));
                if self.0.exec.is_dead() {
                    // The power went in the middle; this task is never polled again.
                    std::future::pending::<()>().await;
                }
                ino
            }
        };
        self.0.open_files.set(self.0.open_files.get() + 1);
        Ok(SimFile(Rc::new(Handle {
            env: self.clone(),
            ino,
            mode,
            path: path.into(),
        })))
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.meta(path).await?;
        let mut upto = 0;
        for part in path.split('/') {
            upto += part.len();
            let dir = &path[..upto];
            match self.node(dir) {
                Some(Node::Dir) => {}
                Some(Node::File(_)) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
                None => self.emit(Io::Meta(Meta::Mkdir { path: dir.into() })),
            }
            upto += 1;
        }
        Ok(())
    }

    async fn list_dir(&self, path: &str) -> io::Result<Vec<String>> {
        self.meta(path).await?;
        Ok(self
            .0
            .disk
            .borrow()
            .list(path)
            .into_iter()
            .map(|(name, _)| name)
            .collect())
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let fault = self.fault(OpKind::SyncDir, path, 0, 0);
        self.require_dir(path)?;
        let id = self.id();
        self.emit(Io::DirSyncSubmit {
            id,
            path: path.into(),
        });
        let done = Completion::new();
        let (env, filled) = (self.clone(), done.clone());
        self.0.exec.at(self.due(fault, 2), move || {
            filled.complete(match fault {
                Fault::Error(errno) => Err(io::Error::from_raw_os_error(errno)),
                _ => {
                    env.emit(Io::DirSyncComplete { id });
                    Ok(())
                }
            });
        });
        done.await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.meta(from).await?;
        if parent(from) != parent(to) {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        match (self.node(from), self.node(to)) {
            (Some(Node::File(_)), Some(Node::Dir)) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            (Some(Node::File(_)), _) => {
                self.emit(Io::Meta(Meta::Rename {
                    from: from.into(),
                    to: to.into(),
                }));
                Ok(())
            }
            (Some(Node::Dir), _) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            (None, _) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        self.meta(path).await?;
        match self.node(path) {
            Some(Node::File(_)) => {
                self.emit(Io::Meta(Meta::Remove { path: path.into() }));
                Ok(())
            }
            Some(Node::Dir) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None => Ok(()),
        }
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.meta(path).await?;
        let empty = self.0.disk.borrow().list(path).is_empty();
        match self.node(path) {
            Some(Node::Dir) if empty => {
                self.emit(Io::Meta(Meta::Remove { path: path.into() }));
                Ok(())
            }
            Some(Node::Dir) => Err(io::Error::from_raw_os_error(libc::ENOTEMPTY)),
            Some(Node::File(_)) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            None => Ok(()),
        }
    }

    async fn space(&self) -> io::Result<Space> {
        let disk = self.0.disk.borrow();
        Ok(Space {
            free: disk.capacity.saturating_sub(disk.used()),
            total: disk.capacity,
        })
    }

    fn poison(&self, what: &str, error: &io::Error) -> ! {
        self.0.exec.poison(format!("{what}: {error}"))
    }
}

struct Handle {
    env: SimEnv,
    ino: Ino,
    mode: OpenMode,
    path: Rc<str>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let open = &self.env.0.open_files;
        open.set(open.get() - 1);
    }
}

/// An open file of a [`SimEnv`].
#[derive(Clone)]
pub struct SimFile(Rc<Handle>);

impl File for SimFile {
    type Buf = SimBuf;

    async fn write_at(&self, at: u64, buf: SimBuf) -> (io::Result<usize>, SimBuf) {
        let Handle { env, ino, mode, path } = &*self.0;
        let len = buf.0.len();
        assert!(
            *mode != OpenMode::Read,
            "EBADF: writing through a reading handle of {path}"
        );
        assert!(
            at.is_multiple_of(ALIGN as u64),
            "EINVAL: a write at {at} of {path}"
        );
        assert!(
            len.is_multiple_of(ALIGN) && len > 0,
            "EINVAL: a write of {len} bytes to {path}"
        );
        let mut fault = env.fault(OpKind::Write, path, at, len as u64);
        {
            let disk = env.0.disk.borrow();
            if disk.growth(*ino, at, len as u64) > disk.capacity.saturating_sub(disk.used()) {
                fault = Fault::Error(libc::ENOSPC);
            }
        }
        let id = env.id();
        let durable = *mode == OpenMode::WriteDurable;
        let no_space = fault == Fault::Error(libc::ENOSPC);
        if !no_space {
            env.emit(Io::Submit {
                id,
                ino: *ino,
                at,
                data: Rc::from(&buf.0[..]),
                durable,
            });
        }
        let (landed, result) = match fault {
            Fault::Error(errno) => (Landed::Failed, Err(io::Error::from_raw_os_error(errno))),
            Fault::Short(bytes) => (Landed::Short(bytes), Ok(bytes as usize)),
            Fault::Lost => (Landed::Lost, Ok(len)),
            Fault::Moved(to) => (Landed::Moved(to), Ok(len)),
            Fault::None | Fault::Corrupt(_) | Fault::Stall(_) => (Landed::Whole, Ok(len)),
        };
        let done = Completion::new();
        let (env2, filled) = (env.clone(), done.clone());
        env.0.exec.at(env.due(fault, 1), move || {
            if !no_space {
                env2.emit(Io::Complete { id, landed });
            }
            filled.complete((result, buf));
        });
        done.await
    }

    async fn read_at(&self, at: u64, len: usize) -> io::Result<SimBuf> {
        let Handle { env, ino, path, .. } = &*self.0;
        assert!(
            at.is_multiple_of(ALIGN as u64),
            "EINVAL: a read at {at} of {path}"
        );
        assert!(
            len.is_multiple_of(ALIGN) && len > 0,
            "EINVAL: a read of {len} bytes of {path}"
        );
        let fault = env.fault(OpKind::Read, path, at, len as u64);
        env.pause(fault).await;
        if let Fault::Error(errno) = fault {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut bytes = env.0.disk.borrow().read(*ino, at, len);
        env.emit(Io::Read {
            ino: *ino,
            at,
            len: bytes.len() as u64,
        });
        if let Fault::Corrupt(seed) = fault
            && !bytes.is_empty()
        {
            let bit = Rng::new(seed).index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(SimBuf(bytes))
    }

    async fn sync(&self) -> io::Result<()> {
        let Handle { env, ino, path, .. } = &*self.0;
        let fault = env.fault(OpKind::Sync, path, 0, 0);
        let (id, ino) = (env.id(), *ino);
        env.emit(Io::SyncSubmit { id, ino });
        let done = Completion::new();
        let (env2, filled) = (env.clone(), done.clone());
        env.0.exec.at(env.due(fault, 4), move || {
            let errno = match fault {
                Fault::Error(errno) => Some(errno),
                _ => None,
            };
            env2.emit(Io::SyncComplete {
                id,
                ok: errno.is_none(),
            });
            filled.complete(errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno))));
        });
        done.await
    }

    async fn allocate(&self, len: u64) -> io::Result<()> {
        let Handle { env, ino, path, mode } = &*self.0;
        assert!(
            *mode != OpenMode::Read,
            "EBADF: allocating through a reading handle of {path}"
        );
        let fault = env.fault(OpKind::Allocate, path, 0, len);
        env.pause(fault).await;
        if let Fault::Error(errno) = fault {
            return Err(io::Error::from_raw_os_error(errno));
        }
        {
            let disk = env.0.disk.borrow();
            if disk.allocation_growth(*ino, len) > disk.capacity.saturating_sub(disk.used()) {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
        }
        env.emit(Io::Allocate { ino: *ino, len });
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.env.0.disk.borrow().size(self.0.ino)
    }

    async fn close(self) -> io::Result<()> {
        let env = self.0.env.clone();
        drop(self);
        env.pause(Fault::None).await;
        Ok(())
    }
}

/// A buffer of the simulator.
pub struct SimBuf(Vec<u8>);

impl IoBuf for SimBuf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn truncate(&mut self, len: usize) {
        assert!(
            len.is_multiple_of(ALIGN) && len <= self.0.len(),
            "EINVAL: truncating a buffer to {len}"
        );
        self.0.truncate(len);
    }
}
