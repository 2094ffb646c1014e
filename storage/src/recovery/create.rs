//! Making a shard: journal files, an optional first checkpoint, the superblock last.

use std::rc::Rc;

use super::io_error;
use crate::api::*;
use crate::checkpoint::{write_checkpoint, write_whole};
use crate::core::Core;
use crate::env::{ALIGN, Env, File};
use crate::format::archive::{Checkpoint, PartitionRecord};
use crate::format::superblock::{COPIES, Superblock};
use crate::journal::group_max;
use crate::journal::write::{journal_path, superblock_path};

/// Refuses configurations that cannot work.
pub(crate) fn check_config(config: &StoreConfig) -> Result<(), OpenError> {
    let wrong = |text: String| Err(OpenError::Config(text));
    let group = group_max(config) as u64;
    // Four files of this size still take the largest batch and two control frames when two are kept free.
    let least = 2 * (group + ALIGN as u64);
    if !config.journal_file_bytes.is_multiple_of(ALIGN as u64) || config.journal_file_bytes < least {
        return wrong(format!(
            "journal_file_bytes is {}; it must be a multiple of {ALIGN} and at least {}",
            config.journal_file_bytes, least
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
    let memory_min = memory_min(config.max_batch_bytes);
    if config.memory_bytes < memory_min {
        return wrong(format!(
            "memory_bytes is {}; batches of {} need at least {memory_min}",
            config.memory_bytes, config.max_batch_bytes,
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

/// Least memory of one core's store that accepts batches of `max_batch_bytes`: two of them, not yet drained, stay
/// within the share of dirty data.
pub fn memory_min(max_batch_bytes: u32) -> u64 {
    u64::from(max_batch_bytes) * 2 * 100 / 35 + 100
}

/// A 64-bit mix of what makes a journal unique.
pub(super) fn journal_identity(config: &StoreConfig, wall_ms: i64, now_ns: u64) -> u64 {
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
pub(super) fn first_segment(journal_id: u64) -> u64 {
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
        written_files: 0,
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
                let (result, _) = handle.write_at(at, env.zeroed(len)).await;
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
    // Under another name until it is whole: a shard with a superblock is a shard.
    let path = superblock_path(dir);
    let tmp = format!("{path}.tmp");
    write_whole(env, &tmp, &image, true)
        .await
        .map_err(io_error(format!("writing {tmp}")))?;
    env.sync_dir(dir)
        .await
        .map_err(io_error(format!("syncing {dir}")))?;
    env.rename(&tmp, &path)
        .await
        .map_err(io_error(format!("renaming {tmp}")))?;
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
