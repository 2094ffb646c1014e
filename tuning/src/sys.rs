//! Kernel calls of this crate: ring probe, disk probe, limits. Everything here has a safe face.
//!
//! The rings live for milliseconds on the calling thread, before any executor exists.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode, types};

/// Kernel's `struct sched_attr` in its first size, with the two clamps of later ones (sched_setattr(2)).
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// Sets the slice of the calling thread's turns, ns, and keeps everything else about how it is scheduled.
pub fn set_slice(ns: u64) -> io::Result<()> {
    let mut attr = SchedAttr::default();
    let size = std::mem::size_of::<SchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes of `attr`, which is that large and plain numbers throughout.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attr, size, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Real-time policies know no slice of this kind, and SCHED_DEADLINE takes the field for something else.
    if attr.policy != libc::SCHED_OTHER as u32 && attr.policy != libc::SCHED_BATCH as u32 {
        return Ok(());
    }
    attr.size = size as u32;
    attr.runtime = ns;
    // SAFETY: the kernel reads `size` bytes of `attr`.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attr, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a trial ring showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingProbe {
    /// Operations the runtime needs and this kernel (or a filter) lacks.
    pub missing: Vec<&'static str>,
    /// Errno of registering a 64 KiB buffer, if it failed.
    pub register_buffers: Option<i32>,
}

/// Operations of the runtime, by the kernel's names.
const OPERATIONS: &[(&str, u8)] = &[
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// Makes a ring, asks for its operations, registers a buffer. The error is the errno of making the ring.
pub fn probe_ring() -> Result<RingProbe, i32> {
    let ring = IoUring::new(8).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    let mut probe = Probe::new();
    let missing = match ring.submitter().register_probe(&mut probe) {
        Ok(()) => OPERATIONS
            .iter()
            .filter(|(_, code)| !probe.is_supported(*code))
            .map(|(name, _)| *name)
            .collect(),
        // A filter that lets rings be made but not asked will refuse the rest too.
        Err(error) => return Err(error.raw_os_error().unwrap_or(0)),
    };
    let mut buffer = AlignedBuffer::new(64 << 10);
    let vector = libc::iovec {
        iov_base: buffer.bytes_mut().as_mut_ptr().cast(),
        iov_len: buffer.len,
    };
    // SAFETY: the region is ours and outlives the registration, which is undone (or the ring dropped)
    // before `buffer` is; no operation uses it.
    let registered = unsafe { ring.submitter().register_buffers(&[vector]) };
    let register_buffers = registered
        .as_ref()
        .err()
        .map(|error| error.raw_os_error().unwrap_or(0));
    if registered.is_ok() {
        // A failure here is repaired by dropping the ring.
        let _ = ring.submitter().unregister_buffers();
    }
    drop(ring);
    drop(buffer);
    Ok(RingProbe {
        missing,
        register_buffers,
    })
}

/// Zeroed memory aligned to 4 KiB, as direct IO needs it.
pub(crate) struct AlignedBuffer {
    pub(crate) pointer: *mut u8,
    pub(crate) len: usize,
}

impl AlignedBuffer {
    /// `len` bytes, a multiple of 4 KiB above zero.
    pub(crate) fn new(len: usize) -> Self {
        assert!(len > 0 && len.is_multiple_of(4096));
        // SAFETY: the layout has a size above zero.
        let pointer = unsafe { alloc_zeroed(Self::layout(len)) };
        if pointer.is_null() {
            handle_alloc_error(Self::layout(len));
        }
        AlignedBuffer { pointer, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, 4096).expect("a small size and a power of two")
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `pointer` covers `len` initialised (zeroed) bytes, owned by `self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.pointer, Self::layout(self.len)) }
    }
}

/// Which step of the disk probe failed, with its errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// The file could not be made: permissions, read-only, no space.
    Create(i32),
    /// Opening with `O_DIRECT | O_DSYNC` failed: the filesystem has no direct IO.
    Direct(i32),
    /// Writing ahead failed.
    Prepare(i32),
    /// A synchronous direct write of 4 KiB through io_uring failed.
    Write(i32),
    /// What was read back differs from what was written.
    Differs,
}

/// Block written in each step of the disk probe, bytes.
const BLOCK: usize = 4096;
/// Blocks in the probe's file.
const BLOCKS: usize = 16;

/// Times up to 16 direct synchronous 4 KiB writes at depth 1 to a file in `directory` that was written
/// ahead, and reads one back. Stops when `budget` is used up, after at least two writes. The file has no
/// name while it is used, so nothing is left behind. Returns microseconds in the order measured.
pub fn probe_disk(directory: &Path, budget: Duration) -> Result<Vec<u32>, DiskFault> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
    let name = directory.join(format!(".turgo-preflight-{}", std::process::id()));
    let plain = OpenOptions::new()
        .read(true)
        .write(true)
        // A run that was killed here may have left one.
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&name)
        .map_err(|error| DiskFault::Create(errno(error)))?;
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(&name);
    // Unlinked before any other step can fail.
    let unlinked = std::fs::remove_file(&name);
    let direct = direct.map_err(|error| DiskFault::Direct(errno(error)))?;
    unlinked.map_err(|error| DiskFault::Create(errno(error)))?;
    plain
        .write_all_at(&[0u8; BLOCK * BLOCKS], 0)
        .map_err(|error| DiskFault::Prepare(errno(error)))?;
    plain
        .sync_all()
        .map_err(|error| DiskFault::Prepare(errno(error)))?;
    let times = timed_writes(&direct, budget)?;
    let mut back = AlignedBuffer::new(BLOCK);
    direct
        .read_exact_at(back.bytes_mut(), 0)
        .map_err(|error| DiskFault::Write(errno(error)))?;
    if back.bytes_mut().iter().any(|byte| *byte != PATTERN) {
        return Err(DiskFault::Differs);
    }
    Ok(times)
}

const PATTERN: u8 = 0xA5;

fn timed_writes(file: &File, budget: Duration) -> Result<Vec<u32>, DiskFault> {
    let errno = |error: io::Error| DiskFault::Write(error.raw_os_error().unwrap_or(0));
    let mut ring = IoUring::new(4).map_err(errno)?;
    let mut buffer = AlignedBuffer::new(BLOCK);
    buffer.bytes_mut().fill(PATTERN);
    let mut times = Vec::with_capacity(BLOCKS);
    let began = Instant::now();
    for block in 0..BLOCKS {
        if block >= 2 && began.elapsed() > budget {
            break;
        }
        let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), buffer.pointer, BLOCK as u32)
            .offset((block * BLOCK) as u64)
            .build();
        let submitted = Instant::now();
        // SAFETY: file and buffer outlive the operation: it is waited for below, and when waiting fails
        // the ring is dropped first, which ends or completes it.
        unsafe { ring.submission().push(&entry) }.expect("the ring is empty");
        loop {
            match ring.submit_and_wait(1) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(error)),
            }
        }
        let done = ring.completion().next().expect("one completion was waited for");
        times.push(u32::try_from(submitted.elapsed().as_micros()).unwrap_or(u32::MAX));
        match done.result() {
            written if written == BLOCK as i32 => {}
            negative if negative < 0 => return Err(DiskFault::Write(-negative)),
            _ => return Err(DiskFault::Write(libc::EIO)),
        }
    }
    Ok(times)
}

/// Size and free space of a filesystem, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this user may still write.
    pub free_bytes: u64,
}

/// Space of the filesystem that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let path =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: all-zero bytes are a valid statvfs, a struct of integers.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a C string and `stat` is writable for the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let unit = stat.f_frsize;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(unit),
        free_bytes: stat.f_bavail.saturating_mul(unit),
    })
}

/// Names and addresses of this machine's interfaces.
pub fn addresses() -> io::Result<Vec<(String, std::net::IpAddr)>> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `head` is writable for the call, which makes a list that is freed below.
    if unsafe { libc::getifaddrs(&mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = head;
    while !at.is_null() {
        // SAFETY: `at` is an element of the list, which lives until it is freed below.
        let entry = unsafe { &*at };
        at = entry.ifa_next;
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: the name is a C string of the list, and `ifa_addr` points to a socket address of its family, of which
        // the two read here are known; both live as long as the list.
        let (name, address) = unsafe {
            let name = std::ffi::CStr::from_ptr(entry.ifa_name)
                .to_string_lossy()
                .into_owned();
            let address: std::net::IpAddr = match i32::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into()
                }
                libc::AF_INET6 => {
                    let v6 = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr).into()
                }
                _ => continue,
            };
            (name, address)
        };
        found.push((name, address));
    }
    // SAFETY: the list was made by getifaddrs and nothing of it is used any more.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// Raises the soft limit of open files and of locked memory to the hard limit. Failures leave it as it was.
pub fn raise_limits() {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK] {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is writable for the call.
        let read = unsafe { libc::getrlimit(resource, &mut limit) };
        if read == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            // SAFETY: `limit` is readable for the call.
            unsafe { libc::setrlimit(resource, &limit) };
        }
    }
}

/// The system's words for an errno.
pub fn words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}
