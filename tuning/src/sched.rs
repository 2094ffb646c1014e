//! How the kernel's scheduler treats a thread.

/// Turns of a thread that must answer quickly, ns: the shortest that the kernel takes.
const SLICE: u64 = 100_000;

/// Asks for short and therefore prompt turns for the calling thread.
///
/// The fair scheduler (EEVDF, since Linux 6.6) lets the thread run next whose turn ends first, so a thread with turns
/// of 0.1 ms that wakes up need not wait until another has had its 3 ms; it gets no more of the CPU for that. Needs no
/// privilege. Kernels before 6.12 take the call and change nothing; one that refuses it (a seccomp filter) leaves the
/// thread as it was, which costs only the tail.
pub fn prompt_turns() {
    let _ = crate::sys::set_slice(SLICE);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_may_ask_for_short_turns() {
        std::thread::spawn(|| crate::sys::set_slice(super::SLICE).expect("every kernel since 3.14 takes it"))
            .join()
            .expect("no panic");
    }
}
