//! Kernel calls that neither the runtime nor the standard library offers.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::env::Space;

/// Status flags of an open descriptor.
pub fn flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY: F_GETFL only reads the flags of a descriptor; a bad one is an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(flags)
    }
}

/// Size of an open file.
pub fn size(fd: RawFd) -> io::Result<u64> {
    // SAFETY: all-zero is a valid `stat`; the call writes it and keeps nothing.
    let stat = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) < 0 {
            return Err(io::Error::last_os_error());
        }
        stat
    };
    Ok(stat.st_size as u64)
}

/// Makes everything on the filesystem that holds `on` durable (syncfs(2)).
pub fn sync_filesystem(on: &std::fs::File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `on` is borrowed; no memory is passed.
    match unsafe { libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(on)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Free and total bytes of the filesystem that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call; all-zero is a valid `statvfs`, which the call writes.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) < 0 {
            return Err(io::Error::last_os_error());
        }
        stat
    };
    Ok(Space {
        free: stat.f_bavail * stat.f_frsize,
        total: stat.f_blocks * stat.f_frsize,
    })
}

/// Ends the process at once: no destructor and no exit handler may run on state that is not trusted.
pub fn exit(status: i32) -> ! {
    // SAFETY: `_exit` takes no memory and does not return.
    unsafe { libc::_exit(status) }
}
