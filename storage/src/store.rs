//! One core's store: opening, creating and dropping logs, waiting for durability, background work, closing.

use std::io;
use std::rc::Rc;

use crate::api::*;
use crate::core::{Core, Partition, Phase, Segment, summary};
use crate::env::{Class, Env};
use crate::format::frame::Kind;
use crate::log::{CONTROL_FRAMES, Log, control, ring_full};
use crate::policy::{self, View, Work};
use crate::recovery;
use crate::space::Room;

/// Durable storage of one core. Cheap to clone; all clones are one store.
pub struct Store<E: Env> {
    pub(crate) core: Rc<Core<E>>,
}

impl<E: Env> Clone for Store<E> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

impl<E: Env> Store<E> {
    /// Recovers the shard in `config.dir`, or makes it, and starts its background tasks.
    ///
    /// `on_commit` is called with the logs whose durable end moved, once per completed group and in LSN order. It must
    /// not call back into the store; it may wake tasks that do.
    pub async fn open(
        env: E,
        config: StoreConfig,
        on_commit: OnCommit,
    ) -> Result<(Self, Recovered), OpenError> {
        let (core, recovered) = recovery::open(env, config, on_commit).await?;
        match core.env.space().await {
            Ok(space) => {
                core.space
                    .borrow_mut()
                    .observe(space, core.dirty_bytes.get() as u64);
            }
            Err(error) => {
                return Err(OpenError::Io {
                    what: "reading free space".into(),
                    error,
                });
            }
        }
        core.set_phase(Phase::Open);
        core.spawn(Class::Journal, core.clone().run_journal());
        core.spawn(Class::Journal, core.clone().run_sealer());
        core.spawn(Class::Drain, core.clone().run_work());
        core.spawn(Class::Drain, core.clone().run_prewriter());
        core.spawn(Class::Background, core.clone().run_removals());
        core.spawn(Class::Background, core.clone().run_space());
        Ok((Self { core }, recovered))
    }

    fn handle(&self, partition: Rc<Partition>) -> Log<E> {
        Log {
            core: self.core.clone(),
            partition,
        }
    }

    /// Creates an empty log. It survives a crash once the LSN of [`Log::created_lsn`] is durable; no file is made before
    /// its first batches are drained.
    pub fn create(&self, id: PartitionId, settings: LogSettings) -> Result<Log<E>, StoreError> {
        let core = &self.core;
        if core.phase.get() != Phase::Open {
            return Err(StoreError::Closed);
        }
        if core.by_id.borrow().contains_key(&id) {
            return Err(StoreError::Exists);
        }
        if !core.control_room(CONTROL_FRAMES) {
            return Err(ring_full());
        }
        let partition = Rc::new(Partition::new(id, core.topic_no(&id.topic), settings));
        core.roll(&partition, &mut partition.state.borrow_mut(), true);
        core.insert(partition.clone());
        Ok(self.handle(partition))
    }

    /// The log of a partition.
    pub fn log(&self, id: &PartitionId) -> Option<Log<E>> {
        self.core.by_id.borrow().get(id).cloned().map(|p| self.handle(p))
    }

    /// All logs, by rising id.
    pub fn logs(&self) -> Vec<Log<E>> {
        self.core
            .logs
            .borrow()
            .values()
            .cloned()
            .map(|p| self.handle(p))
            .collect()
    }

    /// Drops a log; none if there is none. Its handles answer `Dropped`, leases stay readable, files go once the frame
    /// is durable.
    pub fn drop_log(&self, id: &PartitionId) -> Option<Lsn> {
        let core = &self.core;
        if core.phase.get() != Phase::Open {
            return None;
        }
        let partition = core.by_id.borrow().get(id).cloned()?;
        let lsn = {
            let state = &mut *partition.state.borrow_mut();
            let frame = control(&partition, Kind::Drop, state.end, -1, Box::default());
            let lsn = core.journal_control(&partition, state, frame);
            for segment in std::mem::take(&mut state.segments) {
                core.queue_removal(&partition, &segment, lsn.0, 0, true);
            }
            // What compaction is writing goes too, even if a crash comes before the pass notices.
            for output in core.outputs.borrow().iter().filter(|o| o.0 == *id) {
                let segment = Segment::new(u64::MAX, output.1, output.2);
                core.queue_removal(&partition, &segment, lsn.0, 0, true);
            }
            lsn
        };
        core.remove(&partition);
        Some(lsn)
    }

    /// Everything up to this LSN is on stable media.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn(self.core.journal.borrow().durable_lsn)
    }

    /// Newest LSN given out.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.core.journal.borrow().last_lsn())
    }

    /// Waits until everything up to `lsn` is on stable media.
    pub async fn wait_durable(&self, lsn: Lsn) -> Result<(), StoreError> {
        if self.core.durable(lsn.0).await {
            Ok(())
        } else {
            Err(StoreError::Closed)
        }
    }

    /// What admission must do now.
    pub fn pressure(&self) -> Pressure {
        self.core.pressure()
    }

    /// Waits until [`Store::pressure`] is below `limit`, or the store closes.
    pub async fn wait_pressure_below(&self, limit: Pressure) {
        let core = &self.core;
        core.pressure_moved
            .until(|| core.pressure() < limit || !core.running())
            .await;
    }

    /// Drains everything and takes a checkpoint.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        if self.core.phase.get() != Phase::Open {
            return Err(StoreError::Closed);
        }
        self.core.drain_all().await;
        self.core.checkpoint(false).await
    }

    /// Looks at free space now rather than at the next interval.
    pub async fn check_space(&self) -> Result<(), StoreError> {
        self.core
            .look_at_space()
            .await
            .map_err(|e| StoreError::Io(e.to_string()))
    }

    /// Times of the newest durable group. In a commit callback, and in the tasks that it wakes, this is the group that
    /// made their batches durable.
    pub fn last_commit(&self) -> Commit {
        self.core.last_commit.get()
    }

    /// Gauges, counters and distributions since the store opened.
    pub fn metrics(&self) -> StoreMetrics {
        let core = &self.core;
        let counters = core.counters.borrow();
        let space = core.space.borrow().space();
        let mut metrics = StoreMetrics {
            logs: core.logs.borrow().len(),
            journal_write_us: summary(&counters.write_us),
            group_bytes: summary(&counters.group_bytes),
            commit_wait_us: summary(&counters.wait_us),
            groups: counters.groups,
            batches: counters.batches,
            appended_bytes: counters.appended_bytes,
            dirty_bytes: core.dirty_bytes.get() as u64,
            clean_bytes: core.clean_bytes.get() as u64,
            catchup_bytes: core.reads.bytes() as u64,
            chunks: counters.chunks,
            drained_bytes: counters.drained_bytes,
            checkpoints: counters.checkpoints,
            disk_reads: counters.disk_reads,
            disk_read_bytes: counters.disk_read_bytes,
            corrupt_chunks: counters.corrupt_chunks,
            compactions: counters.compactions,
            compacted_in_bytes: counters.compacted_in,
            compacted_out_bytes: counters.compacted_out,
            free_bytes: space.free,
            total_bytes: space.total,
            pressure: core.pressure(),
            ..StoreMetrics::default()
        };
        let file_bytes = u64::from(core.superblock.borrow().file_pages) * crate::env::ALIGN as u64;
        let journal = core.journal.borrow();
        metrics.journal_written_bytes = u64::from(core.superblock.borrow().written_files) * file_bytes;
        metrics.journal_live_bytes = u64::from(journal.ring.live_files()) * file_bytes;
        metrics.journal_ring_bytes = u64::from(journal.ring.geometry.files) * file_bytes;
        for partition in core.logs.borrow().values() {
            let state = partition.state.borrow();
            metrics.segments += state.segments.len() as u64;
            metrics.log_bytes += state.segments.iter().map(|s| s.total.bytes).sum::<u64>();
        }
        metrics
    }

    /// Refuses further appends, makes what was appended durable, drains, checkpoints, marks the shard clean and ends the
    /// background tasks. Without space to drain, everything stays in the journal and the next start replays it.
    pub async fn close(self) -> Result<(), StoreError> {
        let core = self.core;
        if core.phase.get() != Phase::Open {
            return Err(StoreError::Closed);
        }
        core.set_phase(Phase::Closing);
        let newest = core.journal.borrow().last_lsn();
        core.durable(newest).await;
        // The seal may have come in between; from here on nobody adds frames.
        let newest = core.journal.borrow().last_lsn();
        core.durable(newest).await;
        let settled = core.settle().await;
        {
            // A checkpoint that another handle asked for ends first; later ones find the store closed.
            let _turn = core.checkpoint_lock.acquire(1).await;
            core.set_phase(Phase::Closed);
        }
        core.tasks.idle().await;
        recovery::close_files(&core).await;
        settled
    }
}

impl<E: Env> Log<E> {
    /// LSN of the log's newest frame; right after [`Store::create`] the one that creates it.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.partition.state.borrow().last_lsn)
    }
}

impl<E: Env> Core<E> {
    fn view(&self) -> View {
        let journal = self.journal.borrow();
        let ring = &journal.ring;
        // Two files stay free of appends: one for control frames, one for a fence.
        let usable = self.config.journal_files_max.max(ring.geometry.files) - 2;
        View {
            dirty: self.dirty_bytes.get(),
            soft: self.budgets.soft_dirty,
            ring_target: ring.lsn_keeping((usable / 4).max(1)),
            ring_tight: self.ring_wanted.get() || ring.live_files() * 2 > usable,
            first_dirty: self.dirty_logs.borrow().keys().next().copied(),
            drained: self.drained_since_checkpoint.get(),
            checkpoint_bytes: self.config.checkpoint_bytes,
            stalled: self.drain_stalled.get(),
        }
    }

    /// Drains and checkpoints as the policy says. The work task.
    async fn run_work(self: Rc<Self>) {
        while self.phase.get() == Phase::Open {
            let seen = self.work_wake.version();
            match policy::next(&self.view()) {
                Work::Idle => self.work_wake.changed(seen).await,
                Work::ReleaseRing => {
                    if !self.ring_wanted.get() {
                        self.work_wake.changed(seen).await;
                        continue;
                    }
                    self.ring_freed();
                }
                Work::DrainBelow(lsn) => {
                    let below =
                        move |core: &Self| core.dirty_logs.borrow().keys().next().is_none_or(|&l| l >= lsn);
                    self.drain_until(below).await;
                }
                Work::DrainTo(bytes) => {
                    self.drain_gently(move |core| core.dirty_bytes.get() <= bytes)
                        .await
                }
                Work::Checkpoint => {
                    if self.checkpoint(false).await.is_err() {
                        // Out of space: looked at again after the next look at free space.
                        self.drain_stalled.set(true);
                        self.work_wake.changed(seen).await;
                    }
                }
            }
        }
    }

    /// Looks at free space.
    pub(crate) async fn look_at_space(&self) -> io::Result<()> {
        let space = self.env.space().await?;
        let before = self.space.borrow().room();
        let room = self
            .space
            .borrow_mut()
            .observe(space, self.dirty_bytes.get() as u64);
        if room < before {
            self.pressure_moved.notify();
        }
        if room != Room::None && self.drain_stalled.replace(false) {
            self.work_wake.notify();
        }
        Ok(())
    }

    async fn run_space(self: Rc<Self>) {
        while self.running() {
            self.pause(self.config.space_interval).await;
            // A filesystem that does not answer is no reason to stop; the next write will tell.
            let _ = self.look_at_space().await;
        }
    }
}
