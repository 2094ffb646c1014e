//! The journal's procedures: submitting groups, sealing, pre-writing and growing the ring, writing the superblock.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::ring::At;
use super::{InFlight, encode};
use crate::api::{Advance, Commit, Pressure};
use crate::core::{Core, Phase};
use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode};
use crate::format::frame::FrameHeader;
use crate::format::group::SEAL;
use crate::format::superblock::{COPIES, Superblock};
use crate::sync::either;

/// Path of a journal file.
pub(crate) fn journal_path(dir: &str, file: u32) -> String {
    format!("{dir}/journal/j-{file:02}")
}

/// Path of the superblock.
pub(crate) fn superblock_path(dir: &str) -> String {
    format!("{dir}/superblock")
}

/// The error of a write that ended early.
pub(crate) fn short_write(done: usize, wanted: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::WriteZero,
        format!("short write: {done} of {wanted} bytes"),
    )
}

impl<E: Env> Core<E> {
    /// Starts a background task; the store's close waits for it.
    pub fn spawn(self: &Rc<Self>, class: Class, task: impl Future<Output = ()> + 'static) {
        let core = self.clone();
        self.env.spawn(class, async move {
            let _alive = core.tasks.acquire(usize::MAX).await;
            task.await;
        });
    }

    /// Submits groups as they come, until the store is closed. The journal's own task.
    pub async fn run_journal(self: Rc<Self>) {
        loop {
            let seen = self.journal_wake.version();
            if self.phase.get() == Phase::Closed {
                return;
            }
            if !self.submit_one(false).await {
                self.journal_wake.changed(seen).await;
            }
        }
    }

    /// Submits the next group if there is one, the window is open and the ring has room. `fence`: may take the last
    /// free file.
    pub async fn submit_one(self: &Rc<Self>, fence: bool) -> bool {
        let window = self.config.window.clamp(1, 4);
        {
            let mut journal = self.journal.borrow_mut();
            let blocked = journal.in_flight.len() >= window as usize && !self.faults.no_window;
            if journal.queue.is_empty() || blocked {
                return false;
            }
            let before = journal.ring.head.file;
            let advanced = journal.ring.advance(fence);
            let rolled = journal.ring.head.file != before;
            drop(journal);
            if !advanced {
                self.ring_wanted.set(true);
            }
            if rolled || !advanced {
                // Draining, checkpoints and growth follow the files that are live.
                self.work_wake.notify();
            }
            if !advanced {
                return false;
            }
        }
        // Zeros on their way to the very pages the group needs must land first.
        loop {
            let seen = self.prewrite_moved.version();
            let overlap = {
                let journal = self.journal.borrow();
                let at = journal.ring.head;
                let end = at.page
                    + (journal.queue.front().map_or(0, |g| crate::format::pages(g.used)) / ALIGN) as u32;
                self.prewrite_claim
                    .get()
                    .is_some_and(|(f, a, b)| f == at.file && a < end && at.page < b)
            };
            if !overlap {
                break;
            }
            self.prewrite_moved.changed(seen).await;
        }
        let now_ns = self.env.now_ns();
        let (file, at, buf, seq, total, ends_now) = {
            let mut journal = self.journal.borrow_mut();
            let wall_ns = (self.env.wall_ms().max(0) as u64).saturating_mul(1_000_000);
            let (group, header) = journal.take(window, wall_ns);
            let mut buf = self.env.buffer(header.total_len as usize);
            let crc = encode(&group, header, buf.bytes_mut());
            if self.faults.dirty_pads && header.used_len < header.total_len {
                buf.bytes_mut()[header.used_len as usize] = 1;
            }
            let at = journal.ring.head;
            let seq = journal.next_seq;
            journal.submitted(group, &header, crc, now_ns);
            let ends_now = if self.faults.ack_before_complete {
                journal.completed(seq, true)
            } else {
                Vec::new()
            };
            let file = self.journal_files.borrow()[at.file as usize].clone();
            (file, at, buf, seq, header.total_len as usize, ends_now)
        };
        self.committed(ends_now);
        let core = self.clone();
        self.spawn(Class::Journal, async move {
            let (result, _) = file.write_at(u64::from(at.page) * ALIGN as u64, buf).await;
            match result {
                Ok(n) if n == total => core.group_complete(seq, total, now_ns),
                Ok(n) => core.env.poison("journal write", &short_write(n, total)),
                Err(e) => core.env.poison("journal write", &e),
            }
        });
        true
    }

    fn group_complete(self: &Rc<Self>, seq: u64, total: usize, submitted_ns: u64) {
        let durable = self
            .journal
            .borrow_mut()
            .completed(seq, self.faults.ack_out_of_order);
        {
            let now = self.env.now_ns();
            let mut counters = self.counters.borrow_mut();
            counters.groups += 1;
            let us = |from: u64| (now.saturating_sub(from) / 1000).max(1);
            counters.write_us.saturating_record(us(submitted_ns));
            counters.group_bytes.saturating_record(total as u64);
            for group in &durable {
                counters.wait_us.saturating_record(us(group.since_ns));
            }
            if let Some(group) = durable.last() {
                self.last_commit.set(Commit {
                    submitted_ns: group.submitted_ns,
                    completed_ns: now,
                });
            }
        }
        self.committed(durable);
        self.journal_wake.notify();
    }

    /// Makes groups durable in the eyes of their logs, and tells the engine.
    fn committed(&self, groups: Vec<InFlight>) {
        if groups.is_empty() {
            return;
        }
        let mut advances = Vec::new();
        for group in &groups {
            advances.clear();
            for end in &group.ends {
                let mut state = end.partition.state.borrow_mut();
                if state.dropped {
                    continue;
                }
                let to = end.end;
                if to > state.durable_end {
                    state.durable_end = to;
                    advances.push(Advance {
                        id: end.partition.id,
                        durable_end: to,
                    });
                }
            }
            if !advances.is_empty() {
                (self.on_commit)(&advances);
            }
        }
        self.durable_moved.notify();
        if !self.removals.borrow().is_empty() {
            self.removal_wake.notify();
        }
    }

    /// Waits until everything up to `lsn` is durable; false if the store closed first.
    pub async fn durable(&self, lsn: u64) -> bool {
        self.durable_moved
            .until(|| self.journal.borrow().durable_lsn >= lsn || self.phase.get() == Phase::Closed)
            .await;
        self.journal.borrow().durable_lsn >= lsn
    }

    /// Writes a SEAL group after each quiet time that follows a group of frames (R5).
    pub async fn run_sealer(self: Rc<Self>) {
        let idle = self.config.seal_idle;
        while self.running() {
            let seen = self.durable_moved.version();
            let quiet_at = {
                let journal = self.journal.borrow();
                (journal.unsealed && journal.in_flight.is_empty() && journal.queue.is_empty())
                    .then(|| journal.last_submit_ns.saturating_add(idle.as_nanos() as u64))
            };
            match quiet_at {
                None => self.durable_moved.changed(seen).await,
                Some(at) => {
                    let now = self.env.now_ns();
                    if now >= at && !self.control_room(FrameHeader::BYTES) {
                        // A seal proves much, but it must not take the room a checkpoint depends on.
                        self.pressure_moved
                            .until(|| {
                                !self.running() || self.journal.borrow().has_control_room(FrameHeader::BYTES)
                            })
                            .await;
                    } else if now >= at {
                        self.journal.borrow_mut().push_noop(SEAL, now);
                        self.journal_wake.notify();
                        self.durable_moved.changed(seen).await;
                    } else {
                        self.env.sleep(Duration::from_nanos(at - now)).await;
                    }
                }
            }
        }
    }

    /// Opens a journal file for group writes.
    pub async fn open_journal_file(&self, file: u32) -> io::Result<E::File> {
        let mode = if self.faults.journal_not_durable {
            OpenMode::Write
        } else {
            OpenMode::WriteDurable
        };
        self.env.open(&journal_path(&self.config.dir, file), mode).await
    }

    /// Writes zeros over one range of a journal file through its durable handle. False if the device had no room.
    async fn zero(&self, file: &E::File, from: u64, len: usize) -> bool {
        let (result, _) = file.write_at(from, self.env.zeroed(len)).await;
        match result {
            Ok(n) if n == len => true,
            Ok(n) => self.env.poison("journal pre-write", &short_write(n, len)),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => false,
            Err(e) => self.env.poison("journal pre-write", &e),
        }
    }

    /// Makes a journal file of full size, its extents reserved. The directory still has to be synced.
    pub async fn make_journal_file(&self, file: u32) -> io::Result<E::File> {
        let handle = self.open_journal_file(file).await?;
        let bytes = self.config_file_bytes();
        if handle.size() < bytes {
            handle.allocate(bytes).await?;
            // The last page makes the size real whatever the filesystem does with a reservation.
            let last = bytes - ALIGN as u64;
            let (result, _) = handle.write_at(last, self.env.zeroed(ALIGN)).await;
            match result? {
                n if n == ALIGN => {}
                n => return Err(short_write(n, ALIGN)),
            }
        }
        handle.sync().await?;
        Ok(handle)
    }

    fn config_file_bytes(&self) -> u64 {
        u64::from(self.superblock.borrow().file_pages) * ALIGN as u64
    }

    /// Writes zeros ahead of the journal through files that were only reserved, so that group writes need no filesystem
    /// metadata (R3), and adds files to the ring ahead of need. Once a file is written to its end, the superblock says
    /// so: the next start goes on behind it.
    pub async fn run_prewriter(self: Rc<Self>) {
        const STEP: u32 = 256;
        while self.running() {
            let seen = self.work_wake.version();
            if self.grow().await {
                continue;
            }
            let next = {
                let journal = self.journal.borrow();
                let ring = &journal.ring;
                let pages = ring.geometry.file_pages;
                let (mut file, mut page) = self.prewrite_at.get();
                // Skip what the journal has reached, and leave a gap so that the two rarely meet.
                if file < ring.high.file {
                    (file, page) = (ring.high.file, 0);
                }
                if file == ring.high.file {
                    page = page.max(ring.high.page + ring.geometry.group_pages.max(STEP));
                }
                if page >= pages {
                    (file, page) = (file + 1, 0);
                }
                (file < ring.geometry.files).then(|| (file, page, (page + STEP).min(pages)))
            };
            let Some((file, from, to)) = next else {
                self.note_written().await;
                self.work_wake.changed(seen).await;
                continue;
            };
            self.yield_to_groups(At { file, page: from }).await;
            self.prewrite_at.set((file, to));
            self.prewrite_claim.set(Some((file, from, to)));
            let handle = self.journal_files.borrow()[file as usize].clone();
            let done = self
                .zero(
                    &handle,
                    u64::from(from) * ALIGN as u64,
                    (to - from) as usize * ALIGN,
                )
                .await;
            self.prewrite_claim.set(None);
            self.prewrite_moved.notify();
            if !done {
                // No room even for reserved extents: stop; groups still find their reserved places.
                self.prewrite_at.set((u32::MAX, 0));
            } else if from == 0 && file > 0 {
                self.note_written().await;
            }
        }
    }

    /// While groups are being written and the zeros are well ahead of them, zeros wait: their metadata and bandwidth
    /// would show in the groups' latency.
    async fn yield_to_groups(&self, at: At) {
        /// Pages ahead of the head that are worth any disturbance: 16 MiB.
        const LEAD: u32 = 4096;
        const BUSY_NS: u64 = 5_000_000;
        const PAUSE: Duration = Duration::from_millis(8);
        let far = {
            let journal = self.journal.borrow();
            let high = journal.ring.high;
            let busy = self.env.now_ns().saturating_sub(journal.last_submit_ns) < BUSY_NS;
            let lead = if at.file == high.file {
                at.page.saturating_sub(high.page)
            } else {
                (journal.ring.geometry.file_pages - high.page).saturating_add(at.page)
            };
            busy && lead >= LEAD
        };
        if far {
            self.env.sleep(PAUSE).await;
        }
    }

    /// Tells the superblock how many files, from the first, the zeros or the groups have gone through.
    async fn note_written(&self) {
        let (at, files) = (
            self.prewrite_at.get().0,
            self.journal.borrow().ring.geometry.files,
        );
        let at_end = self.prewrite_at.get().1 >= self.superblock.borrow().file_pages;
        let high = self.journal.borrow().ring.high.file;
        let written = (at.saturating_add(u32::from(at_end))).max(high).min(files);
        if at == u32::MAX || written <= self.superblock.borrow().written_files {
            return;
        }
        let _turn = self.superblock_lock.acquire(1).await;
        self.write_superblock(|sb| sb.written_files = written).await;
    }

    /// Adds a file to the ring if few are free and the configuration allows one more. True if it did.
    async fn grow(&self) -> bool {
        let wanted = {
            let journal = self.journal.borrow();
            let ring = &journal.ring;
            ring.free_files() < 4 && ring.geometry.files < self.config.journal_files_max && ring.may_grow()
        };
        if !wanted || self.phase.get() != Phase::Open || self.pressure() >= Pressure::LowSpace {
            return false;
        }
        let file = self.journal.borrow().ring.geometry.files;
        let made = match self.make_journal_file(file).await {
            Ok(handle) => self
                .env
                .sync_dir(&format!("{}/journal", self.config.dir))
                .await
                .map(|()| handle),
            Err(e) => Err(e),
        };
        let handle = match made {
            Ok(handle) => handle,
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.space.borrow_mut().exhausted();
                return false;
            }
            Err(e) => self.env.poison("journal growth", &e),
        };
        let _turn = self.superblock_lock.acquire(1).await;
        // From the superblock's change until the ring knows of it, the head must not go from the last file to the first:
        // a scan after a crash would look for the next group in the new file.
        {
            let mut journal = self.journal.borrow_mut();
            if !journal.ring.may_grow() {
                return false;
            }
            journal.ring.growing = true;
        }
        self.write_superblock(|sb| sb.file_count = file + 1).await;
        self.journal_files.borrow_mut().push(handle);
        {
            let mut journal = self.journal.borrow_mut();
            journal.ring.geometry.files = file + 1;
            journal.ring.growing = false;
        }
        self.journal_wake.notify();
        self.ring_freed();
        true
    }

    /// Notes that the ring has more room.
    pub fn ring_freed(&self) {
        self.ring_wanted.set(false);
        self.pressure_moved.notify();
        self.journal_wake.notify();
        self.work_wake.notify();
    }

    /// Changes the superblock and writes all copies, one at a time. The caller holds [`Core::superblock_lock`].
    pub async fn write_superblock(&self, change: impl FnOnce(&mut Superblock)) {
        let next = {
            let current = self.superblock.borrow();
            let mut next = *current;
            change(&mut next);
            next.parent_crc = current.crc();
            next.sequence = current.sequence + 1;
            next.acked_lsn = self.journal.borrow().durable_lsn.max(current.acked_lsn);
            next
        };
        let file = self.superblock_file.borrow().clone().expect("superblock is open");
        for copy in 0..COPIES {
            let mut buf = self.env.zeroed(ALIGN);
            buf.bytes_mut().copy_from_slice(&next.page(copy));
            let (result, _) = file.write_at((copy * ALIGN) as u64, buf).await;
            match result {
                Ok(ALIGN) => {}
                Ok(n) => self.env.poison("superblock write", &short_write(n, ALIGN)),
                Err(e) => self.env.poison("superblock write", &e),
            }
        }
        *self.superblock.borrow_mut() = next;
    }

    /// Waits for `time` or until the phase changes.
    pub async fn pause(&self, time: Duration) {
        let seen = self.phase_moved.version();
        either(self.env.sleep(time), self.phase_moved.changed(seen)).await;
    }
}

/// Where the ring's pages begin in a file, for messages.
pub(crate) fn position(at: At) -> u64 {
    u64::from(at.page) * ALIGN as u64
}
