//! Start: superblock, checkpoint, scan, verdict, fence, replay.
//!
//! [`open`] makes a [`Core`] that is ready to serve. Nothing on disk is changed before the verdict is known and
//! accepted, except segment bytes behind recorded ends, which belong to nobody; so a start that refuses leaves the
//! evidence as it was, and a crash at any point repeats the same recovery (I6).

mod create;
mod replay;
mod scanning;
mod stream;

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use crate::api::*;
use crate::checkpoint::{checkpoint_path, read_whole, write_whole};
use crate::core::{Core, Partition, Phase};
use crate::env::{ALIGN, Env, File, IoBuf, OpenMode};
use crate::format::archive::Checkpoint;
use crate::format::group::FENCE;
use crate::format::segment::{parse_segment_name, partition_dir, segment_path};
use crate::format::superblock::{COPIES, Superblock};
use crate::journal::group_max;
use crate::journal::ring::At;
use crate::journal::scan::{Later, Scan};
use crate::journal::write::{journal_path, position, short_write, superblock_path};
pub(crate) use create::create_shard;
pub use create::memory_min;
use create::{check_config, first_segment, sync_up};
use replay::{Replay, apply_group};
use scanning::{Scanned, scan_journal};

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    move |error| OpenError::Io { what, error }
}

fn damaged<T>(text: impl Into<String>) -> Result<T, OpenError> {
    Err(OpenError::Damaged(text.into()))
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
    // The next update takes the copies one by one from the first; until then all four must be equal, or a power cut in
    // it could leave no two.
    for (copy, found) in pages.iter().enumerate() {
        let page = superblock.page(copy);
        if *found == &page[..] {
            continue;
        }
        let mut buf = env.zeroed(ALIGN);
        buf.bytes_mut().copy_from_slice(&page);
        let (result, _) = file.write_at((copy * ALIGN) as u64, buf).await;
        match result.map_err(io_error(format!("writing {path}")))? {
            ALIGN => {}
            n => return Err(io_error(format!("writing {path}"))(short_write(n, ALIGN))),
        }
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
    on_commit: OnCommit,
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
    core.replaying.set(false);
    for partition in core.set_aside.take() {
        let first = {
            let state = partition.state.borrow();
            state.tail.first_dirty_lsn().filter(|_| !state.dropped)
        };
        core.reindex_dirty(&partition, None, first);
    }
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
        // Behind the head lies nothing that counts, up to the tail. Pages that no group and no zeros ever reached are
        // pre-written from here on; once the head has come round there are none.
        let came_round = journal.ring.head.file < journal.ring.tail.at.file;
        let files = journal.ring.geometry.files;
        let written = core.superblock.borrow().written_files.min(files);
        let from = if came_round { files } else { written };
        journal.ring.high = if came_round {
            At { file: files, page: 0 }
        } else {
            scan.at
        };
        core.prewrite_at.set((from, 0));
    }
    if recovered.created {
        let pages = (core.config.prewrite_at_start / ALIGN as u64) as u32;
        let file_pages = core.journal.borrow().ring.geometry.file_pages;
        core.prewrite_at.set((0, pages.min(file_pages)));
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
