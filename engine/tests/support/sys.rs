//! The two kernel calls that the standard library does not offer.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Kills a whole process group at once; a group that is already gone is no error.
pub fn kill_group(leader: u32) {
    // SAFETY: kill touches no memory of this process; the group was made by `process_group(0)` of our own child.
    unsafe { libc::kill(-(leader as i32), libc::SIGKILL) };
}

/// Sends the signal that asks a process to end.
pub fn terminate(pid: u32) {
    // SAFETY: kill touches no memory of this process; the pid is our own, not yet reaped child.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}

/// Ties the child's life to ours: a test run that is killed leaves no broker behind.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: runs in the child between fork and exec; prctl is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
