//! Kernel calls of the shell, each with a safe face.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::env::Space;

/// Status flags of an open descriptor.
pub fn flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY: F_GETFL passes no memory; a closed descriptor answers EBADF.
    match unsafe { libc::fcntl(fd, libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags),
    }
}

/// Size of an open file in bytes.
pub fn size(fd: RawFd) -> io::Result<u64> {
    // SAFETY: zero is a valid stat, and the kernel fills one.
    let stat = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat
    };
    Ok(stat.st_size.max(0) as u64)
}

/// Space of the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: zero is a valid statvfs, `path` ends with a zero byte, and the kernel fills one statvfs.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat
    };
    Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
}

/// Ends the process now: no destructor and no exit handler runs on a broken one.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}
