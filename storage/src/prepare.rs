//! What happens before any core opens its store: the data directory's format, and a changed number of cores.
//!
//! A shard's state lives under `gen-NNNN/shard-NNN`; segments live under `topics/` and name no core. When the number of
//! cores changed, every shard of the old generation is recovered, drained and checkpointed, the logs' records are dealt
//! out to the shards of a new generation, and `format` is switched to it. A crash before the switch leaves the old
//! generation in force, one after it the new; what the other left is removed by the next start.

use std::io;
use std::rc::Rc;

use crate::api::*;
use crate::checkpoint::{partition_record, write_whole};
use crate::core::Phase;
use crate::env::{ALIGN, Env, File, IoBuf, OpenMode};
use crate::format::archive::{PartitionRecord, SegmentRecord};
use crate::format::manifest::{COPIES, Manifest, PATH};
use crate::format::segment::TOPICS;
use crate::journal::write::short_write;
use crate::recovery;

/// What [`prepare`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Identity of the data directory.
    pub directory_id: [u8; 16],
    /// Cluster the directory belongs to.
    pub cluster_id: [u8; 16],
    /// Broker the directory belongs to.
    pub broker_id: i32,
    /// Generation of shards in force.
    pub generation: u32,
    /// Shards in it.
    pub shards: u32,
    /// The directory was empty.
    pub created: bool,
    /// Shards before, if their number changed.
    pub remapped_from: Option<u32>,
}

/// Identities to give a new data directory; an existing one keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Identity of the data directory (random).
    pub directory_id: [u8; 16],
    /// Cluster (random if this node founds it).
    pub cluster_id: [u8; 16],
    /// This broker.
    pub broker_id: i32,
}

fn generation_dir(generation: u32) -> String {
    format!("gen-{generation:04}")
}

fn shard_dir(generation: u32, shard: u32) -> String {
    format!("{}/shard-{shard:03}", generation_dir(generation))
}

impl Layout {
    /// The configuration of one shard, from one common to all.
    pub fn shard_config(&self, shard: u32, common: &StoreConfig) -> StoreConfig {
        shard_config(common, self.directory_id, self.generation, shard)
    }
}

fn shard_config(common: &StoreConfig, directory_id: [u8; 16], generation: u32, shard: u32) -> StoreConfig {
    StoreConfig {
        dir: shard_dir(generation, shard),
        shard,
        generation,
        directory_id,
        create: false,
        ..common.clone()
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    move |error| OpenError::Io { what, error }
}

/// Makes the data directory ready for `shards` cores, before any of them opens its store. The caller holds the
/// directory's lock. `owner` says which shard a partition belongs to when their number changed; it must be below
/// `shards`.
pub async fn prepare<E: Env>(
    env: &E,
    shards: u32,
    identity: Identity,
    common: &StoreConfig,
    owner: &dyn Fn(&PartitionId) -> u32,
) -> Result<Layout, OpenError> {
    if shards == 0 || shards > 1000 {
        return Err(OpenError::Config(format!(
            "{shards} shards; there must be 1 to 1000"
        )));
    }
    let names = env
        .list_dir("")
        .await
        .map_err(io_error("listing the data directory"))?;
    if !names.iter().any(|n| n == PATH) {
        return found(env, shards, identity, common, &names).await;
    }
    let manifest = read_manifest(env).await?;
    let mut layout = Layout {
        directory_id: manifest.directory_id,
        cluster_id: manifest.cluster_id,
        broker_id: manifest.broker_id,
        generation: manifest.generation,
        shards: manifest.shards,
        created: false,
        remapped_from: None,
    };
    remove_other_generations(env, &names, manifest.generation).await?;
    if manifest.shards != shards {
        let next = Manifest {
            sequence: manifest.sequence + 1,
            generation: manifest.generation + 1,
            shards,
            ..manifest
        };
        remap(env, &manifest, &next, common, owner).await?;
        write_manifest(env, &next, manifest.sequence as usize % COPIES).await?;
        remove_generation(env, manifest.generation).await?;
        layout.generation = next.generation;
        layout.shards = shards;
        layout.remapped_from = Some(manifest.shards);
    }
    Ok(layout)
}

/// Makes a new data directory. `format` is written last: without it there is nothing to lose yet.
async fn found<E: Env>(
    env: &E,
    shards: u32,
    identity: Identity,
    common: &StoreConfig,
    names: &[String],
) -> Result<Layout, OpenError> {
    let topics = env.list_dir(TOPICS).await.map_err(io_error("listing topics"))?;
    if !topics.is_empty() {
        return Err(OpenError::Damaged(
            "the data directory holds topics but no file named format; restore it from a replica or backup, or empty \
             the directory to start anew"
                .into(),
        ));
    }
    remove_other_generations(env, names, 0).await?;
    env.create_dir_all(TOPICS)
        .await
        .map_err(io_error("creating topics"))?;
    for shard in 0..shards {
        let config = shard_config(common, identity.directory_id, 1, shard);
        recovery::create_shard(env, &config, Vec::new(), 1, 1).await?;
    }
    env.sync_dir("")
        .await
        .map_err(io_error("syncing the data directory"))?;
    let manifest = Manifest {
        copy: 0,
        sequence: 1,
        cluster_id: identity.cluster_id,
        directory_id: identity.directory_id,
        broker_id: identity.broker_id,
        generation: 1,
        shards,
        feature_bits: 0,
    };
    let mut image = manifest.page(0);
    image.extend_from_slice(&manifest.page(1));
    let tmp = format!("{PATH}.tmp");
    let write = async {
        write_whole(env, &tmp, &image, true).await?;
        env.rename(&tmp, PATH).await?;
        env.sync_dir("").await
    };
    write.await.map_err(io_error("writing the format file"))?;
    Ok(Layout {
        directory_id: identity.directory_id,
        cluster_id: identity.cluster_id,
        broker_id: identity.broker_id,
        generation: 1,
        shards,
        created: true,
        remapped_from: None,
    })
}

async fn read_manifest<E: Env>(env: &E) -> Result<Manifest, OpenError> {
    let file = env
        .open(PATH, OpenMode::WriteDurable)
        .await
        .map_err(io_error("opening the format file"))?;
    file.sync().await.map_err(io_error("syncing the format file"))?;
    let mut pages = Vec::new();
    for copy in 0..COPIES {
        let page = file.read_at((copy * ALIGN) as u64, ALIGN).await;
        pages.push(page.map_or_else(|_| Vec::new(), |buf| buf.bytes().to_vec()));
    }
    file.close().await.map_err(io_error("closing the format file"))?;
    let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
    Manifest::choose(&pages).map_err(|e| {
        OpenError::Damaged(format!(
            "the file format is unusable ({e}); restore it from a backup of this data directory"
        ))
    })
}

/// Writes one copy, then the other: the old one stays valid until the new one is durable.
async fn write_manifest<E: Env>(env: &E, manifest: &Manifest, first: usize) -> Result<(), OpenError> {
    let file = env
        .open(PATH, OpenMode::WriteDurable)
        .await
        .map_err(io_error("opening the format file"))?;
    for copy in [first, (first + 1) % COPIES] {
        let mut buf = env.zeroed(ALIGN);
        buf.bytes_mut().copy_from_slice(&manifest.page(copy));
        let (result, _) = file.write_at((copy * ALIGN) as u64, buf).await;
        match result {
            Ok(ALIGN) => {}
            Ok(n) => env.poison("format file", &short_write(n, ALIGN)),
            Err(e) => env.poison("format file", &e),
        }
    }
    file.close().await.map_err(io_error("closing the format file"))
}

async fn remove_other_generations<E: Env>(env: &E, names: &[String], keep: u32) -> Result<(), OpenError> {
    for name in names {
        if let Some(generation) = name.strip_prefix("gen-").and_then(|n| n.parse::<u32>().ok())
            && generation != keep
        {
            remove_generation(env, generation).await?;
        }
    }
    Ok(())
}

async fn remove_generation<E: Env>(env: &E, generation: u32) -> Result<(), OpenError> {
    let root = generation_dir(generation);
    let failed = || io_error(format!("removing {root}"));
    for shard in env.list_dir(&root).await.map_err(failed())? {
        let shard = format!("{root}/{shard}");
        // The superblock goes first: without it the rest is nothing.
        env.remove_file(&format!("{shard}/superblock"))
            .await
            .map_err(failed())?;
        for sub in ["journal", "ckpt", "damaged"] {
            let dir = format!("{shard}/{sub}");
            for file in env.list_dir(&dir).await.map_err(failed())? {
                env.remove_file(&format!("{dir}/{file}"))
                    .await
                    .map_err(failed())?;
            }
            env.remove_dir(&dir).await.map_err(failed())?;
        }
        env.remove_file(&format!("{shard}/superblock.tmp"))
            .await
            .map_err(failed())?;
        env.remove_dir(&shard).await.map_err(failed())?;
    }
    env.remove_dir(&root).await.map_err(failed())?;
    env.sync_dir("").await.map_err(failed())
}

/// Recovers the old generation and writes the new one.
async fn remap<E: Env>(
    env: &E,
    from: &Manifest,
    to: &Manifest,
    common: &StoreConfig,
    owner: &dyn Fn(&PartitionId) -> u32,
) -> Result<(), OpenError> {
    let mut dealt: Vec<Vec<PartitionRecord>> = (0..to.shards).map(|_| Vec::new()).collect();
    let mut newest_lsn = 0;
    for shard in 0..from.shards {
        let config = shard_config(common, from.directory_id, from.generation, shard);
        let (core, _) = recovery::open(env.clone(), config, Rc::new(|_| {})).await?;
        core.settle().await.map_err(|e| OpenError::Io {
            what: format!("draining shard {shard} for a changed number of cores"),
            error: io::Error::other(e),
        })?;
        if !core.dirty_logs.borrow().is_empty() {
            return Err(OpenError::Io {
                what: format!("draining shard {shard} for a changed number of cores"),
                error: io::Error::from(io::ErrorKind::StorageFull),
            });
        }
        core.remove_all_queued().await;
        let last_lsn = core.journal.borrow().last_lsn();
        newest_lsn = newest_lsn.max(last_lsn);
        for partition in core.logs.borrow().values() {
            let shard = owner(&partition.id);
            assert!(shard < to.shards, "owner of a partition is beyond the last shard");
            dealt[shard as usize].push(partition_record(partition, &partition.state.borrow(), last_lsn));
        }
        core.set_phase(Phase::Closed);
        core.tasks.idle().await;
        recovery::close_files(&core).await;
    }
    for (shard, mut records) in (0..).zip(dealt) {
        let mut topics: std::collections::BTreeMap<[u8; 16], u32> = std::collections::BTreeMap::new();
        for record in &mut records {
            let next = topics.len() as u32 + 1;
            record.topic_no = *topics.entry(record.topic).or_insert(next);
            record.drained_lsn = newest_lsn;
            record.producers_lsn = newest_lsn;
            debug_assert!(
                record
                    .segments
                    .iter()
                    .all(|s: &SegmentRecord| s.end_position.is_multiple_of(ALIGN as u64))
            );
        }
        let config = shard_config(common, to.directory_id, to.generation, shard);
        recovery::create_shard(env, &config, records, newest_lsn + 1, topics.len() as u32 + 1).await?;
    }
    Ok(())
}
