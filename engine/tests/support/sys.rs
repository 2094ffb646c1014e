//! The two kernel calls that the standard library does not offer.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{LazyLock, Mutex, mpsc};

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

/// Starts a child whose life is tied to this process's: a test run that is killed leaves no broker behind.
///
/// The kernel ties it to the thread that starts it (prctl(2), PR_SET_PDEATHSIG), and a test's thread ends with the test
/// while others still use the broker. So a thread that never ends does it.
pub fn spawn_tied(mut command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = queue.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    die_with_parent(&mut command);
    let (answer, started) = mpsc::channel();
    let orders = STARTER.lock().expect("no holder panics").clone();
    orders.send((command, answer)).expect("the starter runs");
    started.recv().expect("the starter answers")
}

fn die_with_parent(command: &mut Command) {
    // SAFETY: runs in the child between fork and exec; prctl is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
