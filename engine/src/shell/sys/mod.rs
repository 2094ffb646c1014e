//! Kernel calls that neither the standard library nor the runtime offers.
#![allow(unsafe_code)]

mod allocator;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use bytes::Bytes;
use glommio::net::{TcpListener, TcpStream};

pub use allocator::Allocator;

/// Pieces that one `sendmsg` takes (`IOV_MAX` of Linux).
const IOV_MAX: usize = 1024;

/// Registers for expedited memory barriers. Must come before the first thread, else the first park of every
/// executor pays 5 to 13 ms for the registration.
pub fn register_membarrier() {
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
    // SAFETY: passes no memory; a kernel without the call answers ENOSYS, which only costs the speed-up.
    unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0) };
}

/// Settles how memory is had from the kernel; must come before the first executor.
///
/// A shard must not wait for pages: clearing one huge page at its first touch took 5 ms on a virtual machine, and
/// memory that is given back is cleared again when it is next needed. So no huge pages, and what was once had is kept:
/// the budgets bound it.
pub fn settle_memory() {
    /// `mi_option_purge_delay`, which the binding has no name for.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: libc::c_long = -1;
    // SAFETY: passes no memory; a kernel that refuses leaves huge pages as the machine has them.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    // SAFETY: sets one number of the allocator, before other threads use it.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}

/// Ends the process now: no destructor and no exit handler runs on a broken one.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Blocks SIGTERM, SIGINT and SIGHUP in this thread and all that it starts later.
pub fn block_signals() -> libc::sigset_t {
    // SAFETY: `set` is a valid sigset_t after sigemptyset, and all calls only read or write it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    }
}

/// Waits for one of the blocked signals and returns its number.
pub fn wait_signal(set: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    while unsafe { libc::sigwait(set, &mut signal) } != 0 {}
    signal
}

/// Files that may be open.
pub fn open_files_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur
}

/// Memory that may be locked, bytes.
pub fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    limit.rlim_cur
}

/// Takes a listening socket over as the runtime's listener.
pub fn listener(socket: socket2::Socket) -> TcpListener {
    // SAFETY: `socket` gives its descriptor away, so the listener is its only owner.
    unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }
}

/// Takes the descriptor out of a stream, so that another core can attach it.
pub fn detach(stream: &TcpStream) -> io::Result<OwnedFd> {
    // SAFETY: `stream` stays open to the end of this function; the clone is a descriptor of its own.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    fd.try_clone_to_owned() // sets CLOEXEC
}

/// A second descriptor of the same socket.
pub fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the caller's stream keeps `fd` open during the call; the clone is a descriptor of its own.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// Serves a descriptor from another core on this one.
pub fn attach(fd: OwnedFd) -> TcpStream {
    // SAFETY: the stream takes the descriptor over.
    unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }
}

/// Ends the reading side of a connection: its reader gets 0, its writer finishes.
pub fn shutdown_read(fd: i32) {
    // SAFETY: passes no memory; a closed descriptor answers EBADF.
    unsafe { libc::shutdown(fd, libc::SHUT_RD) };
}

/// Ends a connection in both directions: reader and writer of it return.
pub fn shutdown_both(fd: i32) {
    // SAFETY: passes no memory; a closed descriptor answers EBADF.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Sends what the socket takes at once of `parts`, where the first `skip` bytes of the first are already sent. Returns the bytes sent; 0 if the socket takes nothing now.
pub fn send_now(fd: i32, parts: &[Bytes], skip: usize) -> io::Result<usize> {
    let mut iov = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; 64];
    let mut large = Vec::new();
    let count = parts.len().min(IOV_MAX);
    let iov: &mut [libc::iovec] = if count <= iov.len() {
        &mut iov[..count]
    } else {
        large.resize(count, iov[0]);
        &mut large
    };
    for (i, part) in parts[..count].iter().enumerate() {
        let part = if i == 0 { &part[skip..] } else { &part[..] };
        iov[i] = libc::iovec {
            iov_base: part.as_ptr() as *mut _,
            iov_len: part.len(),
        };
    }
    // SAFETY: zero is a valid msghdr; `iov` and the parts it points to outlive the call, which only reads them.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = iov.as_mut_ptr();
        message.msg_iovlen = iov.len() as _;
        libc::sendmsg(fd, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            e => Err(e),
        },
    }
}
