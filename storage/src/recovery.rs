//! Start: superblock, checkpoint, scan, verdict, fence, replay.
//!
//! [`open`] makes a [`Core`] that is ready to serve. Nothing on disk is changed before the verdict is known and
//! accepted, except segment bytes behind recorded ends, which belong to nobody; so a start that refuses leaves the
//! evidence as it was, and a crash at any point repeats the same recovery (I6).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::api::*;
use crate::checkpoint::{
    checkpoint_path, epochs_from, producers_from, read_whole, removal_from, segment_from, write_checkpoint,
    write_whole,
};
use crate::core::{Core, LogState, Partition, Phase, Segment};
use crate::env::{ALIGN, Class, Env, File, IoBuf, OpenMode};
use crate::format::archive::{Checkpoint, PartitionRecord};
use crate::format::frame::{Frame, Kind, SegCreate};
use crate::format::group::{FENCE, GroupHeader};
use crate::format::kafka::BatchHeader;
use crate::format::segment::{parse_segment_name, partition_dir, segment_path};
use crate::format::superblock::{COPIES, Superblock};
use crate::journal::group_max;
use crate::journal::ring::{At, Geometry, Mark};
use crate::journal::scan::{Later, Scan, Stop, judge};
use crate::journal::write::{journal_path, position, superblock_path};
use crate::sync::Notify;

/// Bytes read at once from the journal.
const WINDOW: u32 = (2 << 20) / ALIGN as u32;
/// Windows read ahead.
const AHEAD: usize = 4;

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    move |error| OpenError::Io { what, error }
}

fn damaged<T>(text: impl Into<String>) -> Result<T, OpenError> {
    Err(OpenError::Damaged(text.into()))
}

/// Refuses configurations that cannot work.
pub(crate) fn check_config(config: &StoreConfig) -> Result<(), OpenError> {
    let wrong = |text: String| Err(OpenError::Config(text));
    let group = group_max(config) as u64;
    if config.journal_file_bytes % ALIGN as u64 != 0 || config.journal_file_bytes < 2 * group {
        return wrong(format!(
            "journal_file_bytes is {}; it must be a multiple of {ALIGN} and at least {}",
            config.journal_file_bytes,
            2 * group
        ));
    }
    if config.journal_file_bytes > u64::from(u32::MAX) {
        return wrong(format!(
            "journal_file_bytes is {}; it must be below 4 GiB",
            config.journal_file_bytes
        ));
    }
    if config.journal_files_initial < 4 || config.journal_files_max < config.journal_files_initial {
        return wrong(format!(
            "a journal needs at least 4 files and no more at start than in all; {} and {} are configured",
            config.journal_files_initial, config.journal_files_max
        ));
    }
    if !(1..=4).contains(&config.window) {
        return wrong(format!("window is {}; it must be 1 to 4", config.window));
    }
    let (low, high) = (crate::format::kafka::HEADER_BYTES as u32, 1 << 30);
    if !(low..=high).contains(&config.max_batch_bytes) {
        return wrong(format!(
            "max_batch_bytes is {}; it must be {low} to {high}",
            config.max_batch_bytes
        ));
    }
    if config.memory_bytes / 100 * 5 < u64::from(config.max_batch_bytes) {
        return wrong(format!(
            "memory_bytes is {}; batches of {} need at least {}",
            config.memory_bytes,
            config.max_batch_bytes,
            u64::from(config.max_batch_bytes) * 20
        ));
    }
    if config.chunk_bytes < 4096 || config.chunk_bytes > high {
        return wrong(format!(
            "chunk_bytes is {}; it must be 4096 to {high}",
            config.chunk_bytes
        ));
    }
    Ok(())
}

/// A 64-bit mix of what makes a journal unique.
fn journal_identity(config: &StoreConfig, wall_ms: i64, now_ns: u64) -> u64 {
    let mut x = wall_ms as u64
        ^ now_ns.rotate_left(32)
        ^ (u64::from(config.generation) << 48)
        ^ u64::from(config.shard);
    for word in config.directory_id.chunks_exact(8) {
        x ^= u64::from_le_bytes(word.try_into().expect("eight bytes"));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    x.max(1)
}

/// Where a shard's segment ids begin: apart from those of other journals, whose segments it may take over.
fn first_segment(journal_id: u64) -> u64 {
    (journal_id << 32).max(1)
}

/// Makes a new shard in `config.dir`: journal files, an optional first checkpoint, the superblock last.
pub(crate) async fn create_shard<E: Env>(
    env: &E,
    config: &StoreConfig,
    partitions: Vec<PartitionRecord>,
    first_lsn: u64,
    next_topic: u32,
) -> Result<(), OpenError> {
    check_config(config)?;
    let dir = &config.dir;
    for sub in ["journal", "ckpt"] {
        env.create_dir_all(&format!("{dir}/{sub}"))
            .await
            .map_err(io_error(format!("creating {dir}/{sub}")))?;
    }
    let journal_id = journal_identity(config, env.wall_ms(), env.now_ns());
    let mut superblock = Superblock {
        copy: 0,
        sequence: 1,
        parent_crc: 0,
        shard: config.shard,
        journal_id,
        epoch: 0,
        tail_file: 0,
        tail_page: 0,
        tail_group_seq: 1,
        tail_prev_crc: 0,
        ckpt_id: 0,
        ckpt_len: 0,
        ckpt_crc: 0,
        clean_shutdown: 1,
        acked_lsn: 0,
        tail_epoch: 0,
        group_max: group_max(config) as u32,
        file_pages: (config.journal_file_bytes / ALIGN as u64) as u32,
        file_count: config.journal_files_initial,
        tail_first_lsn: first_lsn,
    };
    let core = Core::new(env.clone(), config.clone(), Rc::new(|_| {}), superblock);
    for file in 0..superblock.file_count {
        let path = journal_path(dir, file);
        // What an earlier attempt left may hold groups of another journal.
        env.remove_file(&path)
            .await
            .map_err(io_error(format!("removing {path}")))?;
        let handle = core
            .make_journal_file(file)
            .await
            .map_err(io_error(format!("creating {path}")))?;
        if file == 0 {
            let bytes = config.prewrite_at_start.min(config.journal_file_bytes) / ALIGN as u64 * ALIGN as u64;
            let mut at = 0;
            while at < bytes {
                let len = (bytes - at).min(1 << 20) as usize;
                let (result, _) = handle.write_at(at, env.buffer(len)).await;
                result.map_err(io_error(format!("writing zeros to {path}")))?;
                at += len as u64;
            }
        }
        handle
            .close()
            .await
            .map_err(io_error(format!("closing {path}")))?;
    }
    let journal_dir = format!("{dir}/journal");
    env.sync_dir(&journal_dir)
        .await
        .map_err(io_error(format!("syncing {journal_dir}")))?;
    if !partitions.is_empty() {
        let checkpoint = Checkpoint {
            ckpt_id: 1,
            shard: config.shard,
            journal_id,
            epoch: 0,
            next_topic,
            next_segment: first_segment(journal_id),
            partitions,
            removals: Vec::new(),
        };
        let (len, crc) = write_checkpoint(env, dir, &checkpoint, true)
            .await
            .map_err(io_error("writing the first checkpoint"))?;
        superblock.ckpt_id = 1;
        superblock.ckpt_len = len;
        superblock.ckpt_crc = crc;
    }
    let mut image = Vec::with_capacity(COPIES * ALIGN);
    for copy in 0..COPIES {
        image.extend_from_slice(&superblock.page(copy));
    }
    let path = superblock_path(dir);
    write_whole(env, &path, &image, true)
        .await
        .map_err(io_error(format!("writing {path}")))?;
    sync_up(env, dir).await
}

/// Syncs a directory and those above it, up to the data directory.
pub(crate) async fn sync_up<E: Env>(env: &E, dir: &str) -> Result<(), OpenError> {
    let mut dir = dir;
    loop {
        env.sync_dir(dir)
            .await
            .map_err(io_error(format!("syncing {dir}")))?;
        match dir.rsplit_once('/') {
            Some((parent, _)) => dir = parent,
            None => break,
        }
    }
    env.sync_dir("")
        .await
        .map_err(io_error("syncing the data directory"))
}

async fn read_superblock<E: Env>(env: &E, config: &StoreConfig) -> Result<(Superblock, E::File), OpenError> {
    let path = superblock_path(&config.dir);
    let file = env
        .open(&path, OpenMode::WriteDurable)
        .await
        .map_err(io_error(format!("opening {path}")))?;
    // A process that crashed may have left bytes that no sync covered; what is judged must be what stays.
    file.sync().await.map_err(io_error(format!("syncing {path}")))?;
    let mut pages: Vec<Vec<u8>> = Vec::new();
    for copy in 0..COPIES {
        pages.push(match file.read_at((copy * ALIGN) as u64, ALIGN).await {
            Ok(buf) => buf.bytes().to_vec(),
            Err(_) => Vec::new(),
        });
    }
    let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
    let Some(superblock) = Superblock::choose(&pages) else {
        return damaged(format!(
            "{path}: no two of its four copies are valid and equal; restore the data directory from a replica or backup"
        ));
    };
    if superblock.shard != config.shard {
        return damaged(format!(
            "{path} is of shard {}, not {}",
            superblock.shard, config.shard
        ));
    }
    Ok((superblock, file))
}

async fn read_checkpoint<E: Env>(
    env: &E,
    config: &StoreConfig,
    sb: &Superblock,
) -> Result<Option<Checkpoint>, OpenError> {
    if sb.ckpt_id == 0 {
        return Ok(None);
    }
    let path = checkpoint_path(&config.dir, sb.ckpt_id);
    if sb.ckpt_len > crate::format::archive::ARCHIVE_MAX {
        return damaged(format!("{path}: impossible length {}", sb.ckpt_len));
    }
    let advice = "restore the data directory from a replica or backup";
    let bytes = match read_whole(env, &path, sb.ckpt_len as usize).await {
        Ok(bytes) => bytes,
        Err(e) => return damaged(format!("{path}: {e}; {advice}")),
    };
    if bytes.len() as u64 != sb.ckpt_len || crate::format::crc(&bytes) != sb.ckpt_crc {
        return damaged(format!(
            "{path}: not the checkpoint the superblock names; {advice}"
        ));
    }
    match Checkpoint::decode(&bytes, sb.ckpt_id) {
        Ok(c) if c.journal_id == sb.journal_id && c.shard == sb.shard => Ok(Some(c)),
        Ok(_) => damaged(format!("{path}: checkpoint of another shard; {advice}")),
        Err(e) => damaged(format!("{path}: {e}; {advice}")),
    }
}

type Slot<B> = Rc<(RefCell<Option<io::Result<B>>>, Notify)>;

/// The ring's pages in order, read ahead.
struct Stream<E: Env> {
    core: Rc<Core<E>>,
    /// Ranges still to be asked for: (file, first page, end page).
    ranges: VecDeque<(u32, u32, u32)>,
    pending: VecDeque<(At, u32, Slot<E::Buf>)>,
    current: Option<(At, u32, Option<E::Buf>)>,
    unreadable: bool,
}

impl<E: Env> Stream<E> {
    /// The ring's pages from `from` up to `to`, all around if they are equal.
    fn new(core: Rc<Core<E>>, from: At, to: At) -> Self {
        let geometry = core.journal.borrow().ring.geometry;
        let mut ranges = VecDeque::new();
        let mut add = |file, from: u32, to: u32| {
            let mut at = from;
            while at < to {
                ranges.push_back((file, at, (at + WINDOW).min(to)));
                at += WINDOW;
            }
        };
        if from.file == to.file && from.page < to.page {
            add(from.file, from.page, to.page);
        } else {
            add(from.file, from.page, geometry.file_pages);
            let mut file = (from.file + 1) % geometry.files;
            while file != to.file {
                add(file, 0, geometry.file_pages);
                file = (file + 1) % geometry.files;
            }
            add(to.file, 0, to.page);
        }
        Self {
            core,
            ranges,
            pending: VecDeque::new(),
            current: None,
            unreadable: false,
        }
    }

    fn ask(&mut self) {
        while self.pending.len() < AHEAD {
            let Some((file, from, to)) = self.ranges.pop_front() else {
                return;
            };
            let at = At { file, page: from };
            let slot: Slot<E::Buf> = Rc::default();
            self.pending.push_back((at, to - from, slot.clone()));
            let handle = self.core.journal_files.borrow()[file as usize].clone();
            let len = (to - from) as usize * ALIGN;
            self.core.spawn(Class::Journal, async move {
                let mut result = handle.read_at(position(at), len).await;
                if result.as_ref().map_or(true, |b| b.bytes().len() < len) {
                    result = handle.read_at(position(at), len).await;
                }
                let short = |b: E::Buf| {
                    if b.bytes().len() < len {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    } else {
                        Ok(b)
                    }
                };
                *slot.0.borrow_mut() = Some(result.and_then(short));
                slot.1.notify();
            });
        }
    }

    /// Takes the next window; false at the end of the ring.
    async fn next(&mut self) -> bool {
        self.ask();
        let Some((at, pages, slot)) = self.pending.pop_front() else {
            self.current = None;
            return false;
        };
        slot.1.until(|| slot.0.borrow().is_some()).await;
        let buf = slot.0.borrow_mut().take().expect("just seen");
        self.unreadable |= buf.is_err();
        self.current = Some((at, pages, buf.ok()));
        self.ask();
        true
    }

    /// Moves on until the window that holds `at` is current; false if the ring ends before.
    async fn seek(&mut self, at: At) -> bool {
        loop {
            if let Some((start, pages, _)) = &self.current
                && start.file == at.file
                && (start.page..start.page + pages).contains(&at.page)
            {
                return true;
            }
            if !self.next().await {
                return false;
            }
        }
    }

    /// Bytes of the current window from `at` on.
    fn here(&self, at: At) -> Option<&[u8]> {
        let (start, _, buf) = self.current.as_ref()?;
        let skip = at.page.checked_sub(start.page)? as usize * ALIGN;
        buf.as_ref()?.bytes().get(skip..)
    }

    /// `len` bytes from `at`, which the current window holds, put together from several windows if need be.
    async fn gather(&mut self, at: At, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(self.here(at)?);
        while bytes.len() < len {
            if !self.next().await {
                return None;
            }
            let (start, _, buf) = self.current.as_ref()?;
            if start.file != at.file || start.page == 0 {
                return None;
            }
            bytes.extend_from_slice(buf.as_ref()?.bytes());
        }
        bytes.truncate(len);
        Some(bytes)
    }
}

/// Applies frames to logs.
struct Replay<E: Env> {
    core: Rc<Core<E>>,
    logs: BTreeMap<(u32, u32), (Rc<Partition>, u64, u64)>,
    topics: BTreeMap<u32, [u8; 16]>,
    /// Frames of logs that are not known: gone later, or damage.
    orphans: BTreeSet<(u32, u32)>,
    suspects: BTreeSet<PartitionId>,
    frames: u64,
}

impl<E: Env> Replay<E> {
    fn new(core: &Rc<Core<E>>) -> Self {
        Self {
            core: core.clone(),
            logs: BTreeMap::new(),
            topics: BTreeMap::new(),
            orphans: BTreeSet::new(),
            suspects: BTreeSet::new(),
            frames: 0,
        }
    }

    /// Takes the state of a checkpoint.
    async fn load(&mut self, checkpoint: Checkpoint) -> Result<(), OpenError> {
        let core = self.core.clone();
        core.next_topic.set(checkpoint.next_topic);
        core.next_segment.set(checkpoint.next_segment);
        for (n, record) in checkpoint.partitions.iter().enumerate() {
            if n % 256 == 255 {
                core.env.sleep(Duration::from_micros(10)).await;
            }
            let id = PartitionId {
                topic: record.topic,
                partition: record.partition,
            };
            let Some(epochs) = epochs_from(&record.epochs) else {
                return damaged(
                    "checkpoint: leader epochs out of order; restore the data directory from a replica or backup",
                );
            };
            core.topics.borrow_mut().insert(record.topic, record.topic_no);
            let partition = Rc::new(Partition::new(id, record.topic_no, LogSettings::default()));
            {
                let state = &mut *partition.state.borrow_mut();
                state.start = record.log_start;
                state.end = record.drained_offset;
                state.epochs = epochs;
                state.producers = producers_from(&record.producers);
                state.last_lsn = record.drained_lsn;
                state.suspect = record.suspect;
                state.segments = record.segments.iter().map(segment_from).collect();
            }
            core.insert(partition.clone());
            self.topics.insert(record.topic_no, record.topic);
            self.logs.insert(
                (record.topic_no, record.partition),
                (partition, record.drained_lsn, record.producers_lsn),
            );
        }
        core.removals
            .borrow_mut()
            .extend(checkpoint.removals.iter().map(removal_from));
        Ok(())
    }

    fn suspect(&mut self, partition: &Partition, state: &mut LogState) {
        state.suspect = true;
        self.suspects.insert(partition.id);
    }

    /// Applies one frame. `wall_ms` is its group's time.
    fn apply(&mut self, frame: &Frame<'_>, wall_ms: i64) {
        self.frames += 1;
        let header = &frame.header;
        let key = (header.topic, header.partition);
        if frame.kind == Kind::Noop {
            return;
        }
        let lsn = header.lsn;
        if let (Kind::SegCreate, false) = (frame.kind, self.logs.contains_key(&key)) {
            match SegCreate::decode(frame.payload) {
                Ok(create) if create.creates_log => self.create(key, &create, header.base_offset),
                _ => {
                    self.orphans.insert(key);
                    return;
                }
            }
        }
        let Some((partition, drained_lsn, producers_lsn)) = self.logs.get(&key).cloned() else {
            if frame.kind == Kind::Drop {
                self.orphans.remove(&key);
            } else {
                self.orphans.insert(key);
            }
            return;
        };
        if lsn <= drained_lsn {
            return;
        }
        let core = self.core.clone();
        if frame.kind == Kind::Drop {
            let segments = std::mem::take(&mut partition.state.borrow_mut().segments);
            for segment in &segments {
                core.queue_removal(&partition, segment, lsn, 0, true);
            }
            core.remove(&partition);
            self.logs.remove(&key);
            self.suspects.remove(&partition.id);
            return;
        }
        let state = &mut *partition.state.borrow_mut();
        match frame.kind {
            Kind::Data => self.data(&partition, state, frame, wall_ms, producers_lsn),
            Kind::SegCreate => match SegCreate::decode(frame.payload) {
                Ok(create) => {
                    let next = core.next_segment.get().max(create.segment_id + 1);
                    core.next_segment.set(next);
                    if !state.segments.iter().any(|s| s.id == create.segment_id) {
                        if header.base_offset != state.end {
                            self.suspect(&partition, state);
                        }
                        state.tail.seal();
                        let base = header.base_offset.max(state.end);
                        state
                            .segments
                            .push(Segment::new(create.segment_id, base, create.generation));
                    }
                }
                Err(_) => self.suspect(&partition, state),
            },
            Kind::LogStart => {
                if header.base_offset > state.end {
                    state.end = header.base_offset;
                    self.suspect(&partition, state);
                }
                state.start = state.start.max(header.base_offset);
                core.trim_below_start(&partition, state, lsn);
            }
            Kind::EpochStart => {
                state.epochs.assign(header.leader_epoch, header.base_offset);
                state.tail.seal();
            }
            Kind::Truncate => {
                match core.truncate(&partition, state, header.base_offset.min(state.end)) {
                    Some(removed) => {
                        for segment in &removed {
                            core.queue_removal(&partition, segment, lsn, 0, false);
                        }
                    }
                    None => self.suspect(&partition, state),
                }
                state.truncate_lsn = lsn;
            }
            Kind::Drop | Kind::Noop => {}
        }
        state.last_lsn = lsn;
    }

    fn create(&mut self, key: (u32, u32), create: &SegCreate, base_offset: i64) {
        let core = &self.core;
        let id = PartitionId {
            topic: create.topic,
            partition: key.1,
        };
        self.topics.insert(key.0, create.topic);
        core.topics.borrow_mut().insert(create.topic, key.0);
        core.next_topic.set(core.next_topic.get().max(key.0 + 1));
        let partition = Rc::new(Partition::new(id, key.0, LogSettings::default()));
        {
            let mut state = partition.state.borrow_mut();
            state.start = base_offset;
            state.end = base_offset;
        }
        core.insert(partition.clone());
        self.logs.insert(key, (partition, 0, 0));
    }

    fn data(
        &mut self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        frame: &Frame<'_>,
        wall_ms: i64,
        producers_lsn: u64,
    ) {
        let header = match BatchHeader::parse(frame.payload) {
            Ok(h) if h.bytes == frame.payload.len() && h.base_offset == frame.header.base_offset => h,
            _ => return self.suspect(partition, state),
        };
        if header.base_offset < state.end || state.segments.is_empty() {
            return self.suspect(partition, state);
        }
        let gap = header.base_offset > state.end;
        if gap {
            self.suspect(partition, state);
        }
        let lsn = frame.header.lsn;
        let applied = lsn <= producers_lsn;
        let producers = applied.then(|| std::mem::take(&mut state.producers));
        self.core
            .apply_batch(partition, state, frame.payload, &header, lsn, wall_ms, gap);
        if let Some(producers) = producers {
            state.producers = producers;
        }
    }

    /// Drains when memory runs short.
    async fn relieve(&self) {
        let core = &self.core;
        if core.dirty_bytes.get() > core.budgets.soft_dirty {
            let target = core.budgets.soft_dirty / 4 * 3;
            core.drain_until(|core| core.dirty_bytes.get() <= target).await;
            core.evict_clean();
        }
    }
}

/// What the scan of the journal came to.
struct Scanned {
    scan: Scan,
    verdict: Verdict,
    later: Vec<Later>,
    unreadable: bool,
}

async fn scan_journal<E: Env>(
    core: &Rc<Core<E>>,
    replay: &mut Replay<E>,
    recovered: &mut Recovered,
) -> Result<Scanned, OpenError> {
    let superblock = *core.superblock.borrow();
    let tail = core.journal.borrow().ring.tail;
    let geometry = Geometry::of(&superblock);
    let mut scan = Scan::new(superblock.journal_id, geometry, superblock.epoch, tail);
    let first = geometry.place(tail.at);
    let mut stream = Stream::new(core.clone(), first, first);
    let mut groups_since_pause = 0;
    let mut bytes_since_pause = 0;
    loop {
        let at = scan.place();
        // Once around the ring: every page is live.
        if !stream.seek(at).await {
            break;
        }
        let Some(bytes) = stream.here(at) else { break };
        let (header, crc) = match scan.check_header(bytes) {
            Ok(found) => found,
            Err(Stop::Missing(_)) => break,
            Err(Stop::Foreign) => {
                return damaged(format!(
                    "{}: holds groups of another journal; put the right file back",
                    journal_path(&core.config.dir, at.file)
                ));
            }
        };
        let len = header.total_len as usize;
        let whole = if bytes.len() >= len {
            None
        } else {
            stream.gather(at, len).await
        };
        let bytes = match &whole {
            Some(whole) => whole.as_slice(),
            None => match stream.here(at).and_then(|b| b.get(..len)) {
                Some(bytes) => bytes,
                None => break,
            },
        };
        if !core.faults.no_body_crc && Scan::check_body(&header, bytes).is_err() {
            break;
        }
        if !apply_group(replay, &header, bytes) {
            break;
        }
        mark_group(core, &scan, &header);
        scan.accept(&header, crc);
        {
            let mut journal = core.journal.borrow_mut();
            journal.durable_lsn = scan.first_lsn - 1;
            journal.next_lsn = scan.first_lsn;
        }
        recovered.groups += 1;
        recovered.bytes += len as u64;
        replay.relieve().await;
        (groups_since_pause, bytes_since_pause) = (groups_since_pause + 1, bytes_since_pause + len);
        if groups_since_pause >= 64 || bytes_since_pause >= 1 << 20 {
            (groups_since_pause, bytes_since_pause) = (0, 0);
            core.env.sleep(Duration::ZERO).await;
        }
    }
    // Whatever lies behind the end, all around the ring.
    let mut later = Vec::new();
    let clean_at_tail = superblock.clean_shutdown == 1 && recovered.groups == 0;
    let look = !clean_at_tail && !core.faults.no_look_ahead;
    let from = scan.place();
    // A scan that met no end all around leaves nothing to look at; else the group it stopped at is looked at too.
    let ended = recovered.groups == 0 || from != first;
    let mut stream = Stream::new(core.clone(), from, first);
    while look && ended && stream.next().await {
        if let Some((start, pages, Some(buf))) = &stream.current {
            for page in 0..*pages {
                let bytes = &buf.bytes()[page as usize * ALIGN..];
                if bytes[..4] == GroupHeader::MAGIC.to_le_bytes() {
                    later.extend(Later::read(
                        bytes,
                        At {
                            file: start.file,
                            page: start.page + page,
                        },
                        &scan,
                    ));
                }
            }
        }
        core.env.sleep(Duration::ZERO).await;
    }
    later.sort_by_key(|l| (l.header.group_seq, l.header.epoch));
    let verdict = if core.faults.no_look_ahead {
        Verdict::CleanEnd
    } else {
        judge(&scan, superblock.acked_lsn, &later, stream.unreadable && look)
    };
    Ok(Scanned {
        scan,
        verdict,
        later,
        unreadable: stream.unreadable,
    })
}

/// Applies the frames of a group, all of them or none.
fn apply_group<E: Env>(replay: &mut Replay<E>, header: &GroupHeader, bytes: &[u8]) -> bool {
    let frames: Result<Vec<Frame<'_>>, _> = Scan::frames(header, bytes).collect();
    let Ok(frames) = frames else { return false };
    if frames.len() != header.frame_count as usize {
        return false;
    }
    let wall_ms = (header.wall_ns / 1_000_000) as i64;
    for frame in &frames {
        replay.apply(frame, wall_ms);
    }
    true
}

/// Lets the ring know of a group that was read back.
fn mark_group<E: Env>(core: &Core<E>, scan: &Scan, header: &GroupHeader) {
    let mut journal = core.journal.borrow_mut();
    let at = At {
        file: header.file_no,
        page: header.file_page,
    };
    journal.ring.head = at;
    let mark = Mark {
        at,
        group_seq: scan.group_seq,
        prev_crc: scan.prev_crc,
        epoch: scan.epoch,
        first_lsn: scan.first_lsn,
    };
    journal.ring.take(mark, header.total_len);
}

/// Reads a later group again, whole; none if its body is damaged too.
async fn read_later<E: Env>(core: &Core<E>, later: &Later) -> Option<Vec<u8>> {
    let at = At {
        file: later.header.file_no,
        page: later.header.file_page,
    };
    let len = later.header.total_len as usize;
    let file = core.journal_files.borrow()[at.file as usize].clone();
    let buf = file.read_at(position(at), len).await.ok()?;
    let bytes = buf.bytes().get(..len)?;
    Scan::check_body(&later.header, bytes).ok()?;
    Some(bytes.to_vec())
}

/// Keeps the bytes between the end and the next valid group aside, for whoever wants to look.
async fn keep_damage<E: Env>(core: &Core<E>, scan: &Scan, later: &[Later]) -> Result<(), OpenError> {
    let at = scan.place();
    let next = later.iter().map(|l| At {
        file: l.header.file_no,
        page: l.header.file_page,
    });
    let same_file = next
        .filter(|n| n.file == at.file && n.page > at.page)
        .map(|n| n.page)
        .min();
    let end = same_file
        .unwrap_or(scan.geometry.file_pages)
        .min(at.page + scan.geometry.group_pages);
    let file = core.journal_files.borrow()[at.file as usize].clone();
    let mut bytes = Vec::new();
    for page in at.page..end {
        match file.read_at(position(At { page, ..at }), ALIGN).await {
            Ok(buf) => bytes.extend_from_slice(buf.bytes()),
            Err(_) => bytes.resize(bytes.len() + ALIGN, 0),
        }
    }
    let dir = format!("{}/damaged", core.config.dir);
    core.env
        .create_dir_all(&dir)
        .await
        .map_err(io_error(format!("creating {dir}")))?;
    let path = format!(
        "{dir}/epoch-{}-file-{:02}-page-{}.bin",
        scan.epoch, at.file, at.page
    );
    write_whole(&core.env, &path, &bytes, true)
        .await
        .map_err(io_error(format!("writing {path}")))?;
    sync_up(&core.env, &dir).await
}

/// Checks that every file the logs name exists. Returns what is missing, in words, and the paths of files of theirs
/// that nothing names.
async fn check_files<E: Env>(
    core: &Rc<Core<E>>,
    replay: &mut Replay<E>,
) -> Result<(Vec<String>, Vec<String>), OpenError> {
    let logs: Vec<Rc<Partition>> = core.logs.borrow().values().cloned().collect();
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    for partition in logs {
        let named: Vec<(i64, u32, bool)> = {
            let state = partition.state.borrow();
            state
                .segments
                .iter()
                .map(|s| (s.base_offset, s.generation, s.end_position > 0))
                .collect()
        };
        let used = named.iter().any(|n| n.2);
        let waiting: Vec<(i64, u32)> = {
            let removals = core.removals.borrow();
            let mine = removals.iter().map(|r| &r.record);
            mine.filter(|r| r.topic == partition.id.topic && r.partition == partition.id.partition)
                .map(|r| (r.base_offset, r.generation))
                .collect()
        };
        if !used && waiting.is_empty() && named.len() == 1 && partition.state.borrow().end == 0 {
            continue;
        }
        let dir = partition_dir(&partition.id);
        let names = core
            .env
            .list_dir(&dir)
            .await
            .map_err(io_error(format!("listing {dir}")))?;
        let present: BTreeSet<(i64, u32)> = names.iter().filter_map(|n| parse_segment_name(n)).collect();
        for (base, generation, needed) in &named {
            if *needed && !present.contains(&(*base, *generation)) {
                let state = &mut *partition.state.borrow_mut();
                replay.suspect(&partition, state);
                missing.push(format!(
                    "{} is missing",
                    segment_path(&partition.id, *base, *generation)
                ));
            }
        }
        for file in present {
            let known = named.iter().any(|n| (n.0, n.1) == file) || waiting.contains(&file);
            if !known {
                // Left by a crash between a file's creation and anything that names it.
                unknown.push(segment_path(&partition.id, file.0, file.1));
            }
        }
    }
    Ok((missing, unknown))
}

/// Opens a shard. See the module's header.
pub(crate) async fn open<E: Env>(
    env: E,
    config: StoreConfig,
    on_commit: Rc<dyn Fn(&[Advance])>,
) -> Result<(Rc<Core<E>>, Recovered), OpenError> {
    let started = env.now_ns();
    check_config(&config)?;
    let mut recovered = Recovered::default();
    let names = env
        .list_dir(&config.dir)
        .await
        .map_err(io_error(format!("listing {}", config.dir)))?;
    if !names.iter().any(|n| n == "superblock") {
        if !config.create {
            return damaged(format!(
                "{} is missing; restore the data directory from a replica or backup",
                superblock_path(&config.dir)
            ));
        }
        recovered.created = true;
        create_shard(&env, &config, Vec::new(), 1, 1).await?;
    }
    let (superblock, superblock_file) = read_superblock(&env, &config).await?;
    recovered.clean = superblock.clean_shutdown == 1;
    let checkpoint = read_checkpoint(&env, &config, &superblock).await?;
    let core = Rc::new(Core::new(env, config, on_commit, superblock));
    *core.superblock_file.borrow_mut() = Some(superblock_file);
    if checkpoint.is_none() {
        core.next_segment.set(first_segment(superblock.journal_id));
    }
    open_journal(&core).await?;
    let mut replay = Replay::new(&core);
    if let Some(checkpoint) = checkpoint {
        replay.load(checkpoint).await?;
    }
    let mut scanned = scan_journal(&core, &mut replay, &mut recovered).await?;
    recovered.verdict = scanned.verdict;
    let mut reason = Vec::new();
    if scanned.verdict == Verdict::Damage {
        reason.push(format!(
            "{} at page {} holds no valid group {} although {}",
            journal_path(&core.config.dir, scanned.scan.place().file),
            scanned.scan.place().page,
            scanned.scan.group_seq,
            if scanned.unreadable {
                "a block of the journal is unreadable".to_owned()
            } else {
                format!(
                    "{} later groups exist or acknowledgements went beyond it",
                    scanned.later.len()
                )
            },
        ));
        replay_behind_damage(&core, &mut replay, &scanned, &mut recovered).await?;
    } else {
        recovered.discarded_groups = scanned.later.len() as u64;
    }
    let (missing, unknown) = check_files(&core, &mut replay).await?;
    reason.extend(missing);
    if !replay.orphans.is_empty() {
        reason.push(format!(
            "the journal holds frames of {} unknown logs",
            replay.orphans.len()
        ));
    }
    let suspects: Vec<PartitionId> = replay.suspects.iter().copied().collect();
    if (!suspects.is_empty() || !replay.orphans.is_empty()) && !core.config.accept_loss {
        if reason.is_empty() {
            reason.push("offsets show gaps or overlaps".to_owned());
        }
        core.set_phase(Phase::Closed);
        core.tasks.idle().await;
        close_files(&core).await;
        return Err(OpenError::Suspect {
            partitions: suspects,
            reason: reason.join("; "),
        });
    }
    recovered.suspects = suspects;
    if scanned.verdict == Verdict::Damage {
        keep_damage(&core, &scanned.scan, &scanned.later).await?;
        behind_last(&core, &mut scanned);
    }
    for path in unknown {
        core.env
            .remove_file(&path)
            .await
            .map_err(io_error(format!("removing {path}")))?;
    }
    finish(&core, &scanned, &mut recovered).await;
    let outgrown = group_max(&core.config) > core.superblock.borrow().group_max as usize;
    if scanned.verdict == Verdict::Damage || outgrown {
        // The tail moves past the damage, and to where larger groups may begin, before anything is appended.
        settle_at_start(&core, outgrown).await?;
    }
    recovered.frames = replay.frames;
    recovered.logs = core.logs.borrow().len();
    recovered.took_ns = core.env.now_ns().saturating_sub(started);
    Ok((core, recovered))
}

/// Drains and checkpoints before serving; then lets groups grow to what the configuration wants.
async fn settle_at_start<E: Env>(core: &Rc<Core<E>>, outgrown: bool) -> Result<(), OpenError> {
    let failed = |e: StoreError| OpenError::Io {
        what: "checkpoint at start".into(),
        error: io::Error::other(e),
    };
    core.settle().await.map_err(failed)?;
    if !outgrown {
        return Ok(());
    }
    let wanted = group_max(&core.config) as u32;
    let pages = wanted / ALIGN as u32;
    let file_pages = core.superblock.borrow().file_pages;
    let drained = core.dirty_logs.borrow().is_empty();
    if file_pages < 2 * pages || !drained {
        return Err(OpenError::Config(format!(
            "max_batch_bytes {} needs journal files of at least {} bytes; this shard has files of {}",
            core.config.max_batch_bytes,
            2 * u64::from(wanted),
            u64::from(file_pages) * ALIGN as u64
        )));
    }
    let _turn = core.superblock_lock.acquire(1).await;
    core.write_superblock(|sb| sb.group_max = wanted).await;
    core.journal.borrow_mut().ring.geometry.group_pages = pages;
    Ok(())
}

async fn open_journal<E: Env>(core: &Rc<Core<E>>) -> Result<(), OpenError> {
    let superblock = *core.superblock.borrow();
    let dir = format!("{}/journal", core.config.dir);
    let names = core
        .env
        .list_dir(&dir)
        .await
        .map_err(io_error(format!("listing {dir}")))?;
    for file in 0..superblock.file_count {
        let path = journal_path(&core.config.dir, file);
        if !names.iter().any(|n| path.ends_with(&format!("/{n}"))) {
            return damaged(format!(
                "{path} is missing; restore the data directory from a replica or backup"
            ));
        }
        let handle = core
            .open_journal_file(file)
            .await
            .map_err(io_error(format!("opening {path}")))?;
        let want = u64::from(superblock.file_pages) * ALIGN as u64;
        if handle.size() < want {
            return damaged(format!(
                "{path} has {} bytes, not {want}; restore the data directory",
                handle.size()
            ));
        }
        handle.sync().await.map_err(io_error(format!("syncing {path}")))?;
        core.journal_files.borrow_mut().push(handle);
    }
    Ok(())
}

async fn replay_behind_damage<E: Env>(
    core: &Rc<Core<E>>,
    replay: &mut Replay<E>,
    scanned: &Scanned,
    recovered: &mut Recovered,
) -> Result<(), OpenError> {
    let before: Vec<(PartitionId, u64)> = core
        .logs
        .borrow()
        .values()
        .map(|p| (p.id, p.state.borrow().last_lsn))
        .collect();
    let mut expected = scanned.scan.first_lsn;
    for later in &scanned.later {
        if later.header.first_lsn < expected {
            continue;
        }
        let Some(bytes) = read_later(core, later).await else {
            continue;
        };
        if apply_group(replay, &later.header, &bytes) {
            expected = later.header.next_lsn();
            let mut journal = core.journal.borrow_mut();
            journal.durable_lsn = expected - 1;
            journal.next_lsn = expected;
            recovered.groups += 1;
            recovered.bytes += u64::from(later.header.total_len);
        }
        replay.relieve().await;
    }
    for (id, last_lsn) in before {
        let partition = core.by_id.borrow().get(&id).cloned();
        if let Some(partition) = partition {
            let state = &mut *partition.state.borrow_mut();
            // No frame behind the damage proves that none is missing.
            if state.last_lsn == last_lsn {
                replay.suspect(&partition, state);
            }
        }
    }
    Ok(())
}

/// After damage the journal goes on behind the last valid group.
fn behind_last<E: Env>(core: &Core<E>, scanned: &mut Scanned) {
    let Some(last) = scanned.later.last().copied() else {
        return;
    };
    for later in &scanned.later {
        let mut journal = core.journal.borrow_mut();
        let at = At {
            file: later.header.file_no,
            page: later.header.file_page,
        };
        journal.ring.head = at;
        journal.ring.head.page += later.header.total_len / ALIGN as u32;
    }
    scanned.scan.accept(&last.header, last.crc);
    scanned.scan.first_lsn = scanned.scan.first_lsn.max(core.journal.borrow().next_lsn);
}

/// Raises the epoch, writes the fence, and makes the store ready to serve.
async fn finish<E: Env>(core: &Rc<Core<E>>, scanned: &Scanned, recovered: &mut Recovered) {
    let epoch = {
        let superblock = core.superblock.borrow();
        if core.faults.no_fence {
            superblock.epoch.max(1)
        } else {
            superblock.epoch + 1
        }
    };
    {
        let _turn = core.superblock_lock.acquire(1).await;
        core.write_superblock(|sb| {
            sb.epoch = epoch;
            sb.clean_shutdown = 0;
        })
        .await;
    }
    {
        let mut journal = core.journal.borrow_mut();
        let scan = &scanned.scan;
        journal.epoch = epoch;
        journal.next_seq = scan.group_seq;
        journal.prev_crc = scan.prev_crc;
        journal.prev_epoch = scan.epoch;
        journal.next_lsn = scan.first_lsn;
        journal.durable_lsn = scan.first_lsn - 1;
        journal.ring.head = scan.at;
        // Recovered rings are not pre-written again; only files added from here on are.
        let files = journal.ring.geometry.files;
        journal.ring.high = At { file: files, page: 0 };
        core.prewrite_at.set((files, 0));
    }
    if recovered.created {
        let mut journal = core.journal.borrow_mut();
        journal.ring.high = At::default();
        let pages = (core.config.prewrite_at_start / ALIGN as u64) as u32;
        core.prewrite_at
            .set((0, pages.min(journal.ring.geometry.file_pages)));
    }
    if !core.faults.no_fence {
        let lsn = core.journal.borrow_mut().push_noop(FENCE, core.env.now_ns());
        core.submit_one(true).await;
        core.durable(lsn).await;
    }
    for partition in core.logs.borrow().values() {
        let mut state = partition.state.borrow_mut();
        state.durable_end = state.end;
        assert!(state.start <= state.end, "log start beyond the log end");
    }
    recovered.epoch = epoch;
    core.removal_wake.notify();
}

/// Closes every file.
pub(crate) async fn close_files<E: Env>(core: &Core<E>) {
    core.files.close_all().await;
    let journal = std::mem::take(&mut *core.journal_files.borrow_mut());
    for file in journal {
        let _ = file.close().await;
    }
    let superblock = core.superblock_file.borrow_mut().take();
    if let Some(file) = superblock {
        let _ = file.close().await;
    }
}
