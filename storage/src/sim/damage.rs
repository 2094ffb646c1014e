//! Campaigns with damage: drives that lose, misplace or rot what they confirmed, fail, stall or fill up.
//!
//! Without faults, a power cut may only lose what was never acknowledged. With them, acknowledged records can be gone;
//! what is promised then is honesty: the store never serves wrong bytes, and never goes on silently where the journal
//! holds evidence that something is missing (I12, I13).

use super::disk::{Disk, Fate, Ino, Io};
use super::env::{Fault, OpKind, SimEnv};
use super::exec::Outcome;
use super::life::{End, Expected, Life, Script, live, open};
use super::model::{Found, FoundPartition, Stored, parse};
use super::params::Params;
use super::rng::Rng;
use super::workload::Shared;
use crate::{Log, OpenError, PartitionId, PlantedFaults, ReadError, ReadOutcome, Recovered, Verdict};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

/// Kinds of damage to the live journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// A confirmed group was never written.
    Lost,
    /// A confirmed group was written elsewhere in its file.
    Moved,
    /// A bit of a group's body changed.
    BodyRot,
    /// A bit of a group's header changed.
    HeaderRot,
}

/// What became of damaged journals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HarmStats {
    /// Images opened.
    pub images: u64,
    /// The store refused to open, or named suspects.
    pub noticed: u64,
    /// The damaged group was the last and nothing proved it complete: the gap that only a replica closes.
    pub unprovable: u64,
    /// The damage lay where nothing is needed any more.
    pub harmless: u64,
}

/// A group header of the journal, by the offsets of its layout.
#[derive(Debug, Clone, Copy)]
struct Group {
    ino: Ino,
    at: u64,
    seq: u64,
    first_lsn: u64,
    acked_lsn: u64,
    used: usize,
    frames: u32,
    epoch: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Valid group headers in the ring, by rising sequence.
fn groups(disk: &Disk, dir: &str) -> Vec<Group> {
    let prefix = format!("{dir}/journal/");
    let mut found = Vec::new();
    for (path, ino) in disk.files() {
        if !path.starts_with(&prefix) {
            continue;
        }
        let size = disk.size(ino);
        for at in (0..size).step_by(4096) {
            let page = disk.read(ino, at, 4096);
            if page.len() < 4096 || half(&page, 0) == 0 {
                continue;
            }
            let mut header = page[..128].to_vec();
            let crc = half(&header, 4);
            header[4..8].fill(0);
            let used = half(&page, 68) as usize;
            if crc32c::crc32c(&header) != crc || used < 128 {
                continue;
            }
            let whole = disk.read(ino, at, used);
            if whole.len() < used || crc32c::crc32c(&whole[128..]) != half(&page, 80) {
                continue;
            }
            found.push(Group {
                ino,
                at,
                seq: word(&page, 32),
                first_lsn: word(&page, 40),
                acked_lsn: word(&page, 48),
                used,
                frames: half(&page, 72),
                epoch: word(&page, 24),
            });
        }
    }
    found.sort_by_key(|g| (g.seq, g.epoch));
    found
}

/// First group that the superblock needs, and the acknowledged LSN it states.
fn superblock(disk: &Disk, dir: &str) -> (u64, u64) {
    let Some(super::disk::Node::File(ino)) = disk.lookup(&format!("{dir}/superblock")) else {
        return (0, 0);
    };
    let copies = disk.read(ino, 0, 16_384);
    let copies: Vec<&[u8]> = copies
        .chunks(4096)
        .filter(|c| c.len() == 4096 && word(c, 16) > 0)
        .collect();
    // One copy alone, of an update that the power cut, counts for nothing.
    let pairs = copies
        .iter()
        .filter(|c| copies.iter().filter(|d| word(d, 16) == word(c, 16)).count() >= 2);
    pairs
        .max_by_key(|c| word(c, 16))
        .map_or((0, 0), |c| (word(c, 56), word(c, 96)))
}

/// Lives once, harms one group of the live journal, and opens what is left. Panics when the store is not honest.
pub fn harm_journal(seed: u64, planted: PlantedFaults) -> HarmStats {
    let mut rng = Rng::new(seed).fork("harm");
    let mut params = Params::from_seed(seed);
    params.config.faults = planted;
    let life = live(Script {
        params: params.clone(),
        seed: rng.u64(),
        disk: Disk::new(params.capacity, params.sector),
        now_ns: 1_000_000_000,
        expected: Expected::nothing(),
        steps: 40,
        cut_after: Some(rng.range(200, 1500)),
        close: false,
        faults: None,
    });
    let mut stats = HarmStats::default();
    if life.opened_at > life.log.len() {
        return stats; // cut before it had opened
    }
    let history = Rc::new(life.history.clone());
    // Cuts at several moments; everything confirmed is there, some of the rest.
    for _ in 0..6 {
        let prefix = rng.range(life.opened_at as u64, life.log.len() as u64) as usize;
        let mut disk = life.start.clone();
        for io in &life.log[..prefix] {
            disk.apply(io);
        }
        let fate = if rng.chance(1, 2) { Fate::Keep } else { Fate::Drop };
        let mut image = disk.crash(&vec![fate; disk.atoms().len()]);
        let dir = &params.config.dir;
        let (tail, stated) = superblock(&image, dir);
        let live_groups: Vec<Group> = groups(&image, dir)
            .into_iter()
            .filter(|g| g.seq >= tail)
            .collect();
        if live_groups.is_empty() {
            continue;
        }
        // Often among the last ones, where the verdicts are close to each other.
        let victim = if rng.chance(1, 2) {
            live_groups[live_groups.len() - 1 - rng.index(live_groups.len().min(4))]
        } else {
            *rng.pick(&live_groups)
        };
        let harm = *rng.pick(&[Harm::Lost, Harm::Moved, Harm::BodyRot, Harm::HeaderRot]);
        inflict(&mut image, &victim, harm, &disk, &mut rng);
        stats.images += 1;
        let left: Vec<Group> = groups(&image, dir)
            .into_iter()
            .filter(|g| g.seq > victim.seq)
            .collect();
        let proven = stated >= victim.first_lsn || left.iter().any(|g| g.acked_lsn >= victim.first_lsn);
        let expected = life.expected_at(&history, prefix);
        let story = format!(
            "seed {seed}: {harm:?} of group {} (frames {} from LSN {}) with tail {tail}, cut after event {prefix}; \
             later groups {:?}",
            victim.seq,
            victim.frames,
            victim.first_lsn,
            left.iter().map(|g| (g.seq, g.acked_lsn)).collect::<Vec<_>>()
        );
        match open_and_read(&params, image.clone(), rng.u64(), life.now_ns, false) {
            Ok((found, recovered)) => {
                let whole = expected.check(&found).is_ok();
                if whole {
                    stats.harmless += 1;
                } else {
                    assert_honest(&life, &found, &story);
                    if recovered.verdict == Verdict::Damage {
                        // Judged rightly; what is missing (a log start, say) leaves no partition in doubt.
                        stats.noticed += 1;
                    } else {
                        assert!(
                            !proven,
                            "I13: {story}: opened as if nothing were missing: {recovered:?}"
                        );
                        stats.unprovable += 1;
                    }
                }
            }
            Err(refusal) => {
                stats.noticed += 1;
                assert!(
                    matches!(refusal, OpenError::Suspect { .. } | OpenError::Damaged(_)),
                    "{story}: refused with {refusal}"
                );
                // The operator accepts the loss: what is left is served, and nothing else.
                params.config.accept_loss = true;
                let opened = open_and_read(&params, image, rng.u64(), life.now_ns, true);
                params.config.accept_loss = false;
                match opened {
                    Ok((found, _)) => assert_honest(&life, &found, &story),
                    Err(OpenError::Damaged(_)) => {}
                    Err(other) => panic!("{story}: with loss accepted: {other}"),
                }
            }
        }
    }
    stats
}

fn inflict(image: &mut Disk, victim: &Group, harm: Harm, _before: &Disk, rng: &mut Rng) {
    let total = victim.used.next_multiple_of(4096);
    let bytes = image.read(victim.ino, victim.at, total);
    match harm {
        Harm::Lost => image.damage(victim.ino, victim.at, &vec![0; total]),
        Harm::Moved => {
            let size = image.size(victim.ino);
            let to = rng.below(size / 4096) * 4096;
            image.damage(victim.ino, victim.at, &vec![0; total]);
            if to + total as u64 <= size && to > victim.at + total as u64 {
                // It lands on free pages or on later groups, as misdirected writes do.
                image.damage(victim.ino, to, &bytes);
            }
        }
        Harm::BodyRot | Harm::HeaderRot => {
            let (low, high) = if harm == Harm::BodyRot {
                (128, victim.used)
            } else {
                (0, 96)
            };
            if low < high {
                let mut bytes = bytes;
                bytes[rng.range(low as u64, high as u64 - 1) as usize] ^= 1 << rng.below(8);
                image.damage(victim.ino, victim.at, &bytes);
            }
        }
    }
}

/// Every batch found was at its offset at some time of the life.
fn assert_honest(life: &Life, found: &Found, story: &str) {
    let mut ever: HashMap<(PartitionId, i64), Vec<Rc<Stored>>> = HashMap::new();
    for (id, partition) in &life.history.base.partitions {
        for stored in partition.batches.values() {
            ever.entry((*id, stored.base)).or_default().push(stored.clone());
        }
    }
    for noted in &life.history.changes {
        if let super::model::Change::Append(id, stored) = &noted.change {
            ever.entry((*id, stored.base)).or_default().push(stored.clone());
        }
    }
    for (id, partition) in &found.partitions {
        for stored in partition.batches.values() {
            let known = ever
                .get(&(*id, stored.base))
                .is_some_and(|all| all.iter().any(|s| s == stored));
            assert!(
                known,
                "I2: {story}: {} serves a batch at {} that was never there",
                super::model::name(*id),
                stored.base
            );
        }
    }
}

/// Opens and reads everything; unreadable ranges are left out when `tolerant`.
fn open_and_read(
    params: &Params,
    disk: Disk,
    seed: u64,
    now_ns: u64,
    tolerant: bool,
) -> Result<(Found, Recovered), OpenError> {
    let env = SimEnv::start(disk, seed, now_ns);
    env.set_latency(params.latency);
    let main = {
        let (env, params) = (env.clone(), params.clone());
        async move {
            let (store, recovered) = open(&env, &params, Shared::new(env.clone())).await?;
            let mut found = Found::default();
            let mut rng = Rng::new(seed);
            for log in store.logs() {
                let partition = read_tolerant(&log, &mut rng, tolerant).await;
                found.partitions.insert(log.id(), partition);
            }
            Ok((found, recovered))
        }
    };
    let outcome = env.run(main);
    env.end();
    match outcome {
        Outcome::Done(result) => result,
        Outcome::Poisoned(why) => Err(OpenError::Damaged(format!("poisoned: {why}"))),
        Outcome::Halted | Outcome::Stuck => panic!("recovery hangs"),
    }
}

/// Reads a log; where a range is corrupt or missing and `tolerant`, goes on behind it.
async fn read_tolerant(log: &Log<SimEnv>, rng: &mut Rng, tolerant: bool) -> FoundPartition {
    if !tolerant {
        return super::life::read_all(log, rng).await;
    }
    let mut partition = FoundPartition {
        start: log.start_offset(),
        end: log.end_offset(),
        ..FoundPartition::default()
    };
    let mut next = partition.start;
    while next < partition.end {
        let answer = match log.read(next, 4000, partition.end, true) {
            Ok(ReadOutcome::Ready(parts)) => Ok(parts),
            Ok(ReadOutcome::Disk) => log.read_disk(next, 4000, partition.end, true).await,
            Err(error) => Err(error),
        };
        let got = match answer {
            Ok(parts) => parse(&parts.concat()).unwrap_or_else(|why| panic!("reading at {next}: {why}")),
            Err(ReadError::Corrupt { .. } | ReadError::Device { .. }) => Vec::new(),
            Err(error) => panic!("reading at {next}: {error}"),
        };
        let before = next;
        for stored in got {
            assert!(
                stored.last >= next,
                "I3: {}..={} where {next} was read",
                stored.base,
                stored.last
            );
            next = stored.last + 1;
            partition.batches.insert(stored.base, Rc::new(stored));
        }
        if next == before {
            next += 1;
        }
    }
    partition
}

/// Flips a bit in each of a few segment files of a life that ended well, and reads everything: each record is right, or
/// an error. Returns (files harmed, errors met).
pub fn rot_segments(seed: u64, planted: PlantedFaults) -> (u64, u64) {
    let mut rng = Rng::new(seed).fork("rot");
    let mut params = Params::from_seed(seed);
    params.config.faults = planted;
    let life = live(Script {
        params: params.clone(),
        seed: rng.u64(),
        disk: Disk::new(params.capacity, params.sector),
        now_ns: 1_000_000_000,
        expected: Expected::nothing(),
        steps: 80,
        cut_after: None,
        close: true,
        faults: None,
    });
    assert_eq!(life.end, End::Closed);
    let mut image = life.disk.crash(&vec![Fate::Keep; life.disk.atoms().len()]);
    let segments: Vec<(String, Ino)> = image
        .files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".seg"))
        .collect();
    let mut harmed = 0;
    for (_, ino) in &segments {
        let size = image.size(*ino);
        if size > 4096 && rng.chance(1, 2) {
            let at = rng.range(4096, size - 1) / 512 * 512;
            let mut sector = image.read(*ino, at, 512);
            let bit = rng.index(sector.len() * 8);
            sector[bit / 8] ^= 1 << (bit % 8);
            image.damage(*ino, at, &sector);
            harmed += 1;
        }
    }
    let (found, _) =
        open_and_read(&params, image, rng.u64(), life.now_ns, true).expect("segments are not read at start");
    assert_honest(&life, &found, &format!("seed {seed}: rot in {harmed} segments"));
    let mut missing = 0;
    for (id, partition) in &life.history.now.partitions {
        let found = &found.partitions[id];
        missing += partition
            .batches
            .keys()
            .filter(|base| !found.batches.contains_key(base))
            .count() as u64;
    }
    (harmed, missing)
}

/// What a store says when files it cannot do without are damaged or missing.
pub fn harm_manifest(seed: u64) {
    let mut rng = Rng::new(seed).fork("manifest");
    let params = Params::from_seed(seed);
    let life = live(Script {
        params: params.clone(),
        seed: rng.u64(),
        disk: Disk::new(params.capacity, params.sector),
        now_ns: 1_000_000_000,
        expected: Expected::nothing(),
        steps: 60,
        cut_after: None,
        close: true,
        faults: None,
    });
    let image = life.disk.crash(&vec![Fate::Drop; life.disk.atoms().len()]);
    let dir = &params.config.dir;
    let ino_of = |path: &str| match image.lookup(path) {
        Some(super::disk::Node::File(ino)) => ino,
        _ => panic!("{path} is not there"),
    };
    let open = |image: Disk| open_and_read(&params, image, seed, life.now_ns, false);
    let expect_whole = |image: Disk, story: &str| {
        let (found, recovered) = open(image).unwrap_or_else(|e| panic!("seed {seed}: {story}: {e}"));
        let state = Expected::State(Box::new(life.history.now.clone()));
        state
            .check(&found)
            .unwrap_or_else(|why| panic!("seed {seed}: {story} ({recovered:?}): {why}"));
        recovered
    };
    let expect_refusal = |image: Disk, story: &str| match open(image) {
        Err(OpenError::Damaged(_) | OpenError::Suspect { .. } | OpenError::Io { .. }) => {}
        Err(other) => panic!("seed {seed}: {story}: refused with {other}"),
        Ok((_, recovered)) => panic!("seed {seed}: {story}: opened all the same: {recovered:?}"),
    };
    assert!(
        expect_whole(image.clone(), "untouched").clean,
        "seed {seed}: closed and not clean"
    );
    // Superblock copies: two equal ones suffice.
    let superblock = ino_of(&format!("{dir}/superblock"));
    for lost in [
        vec![0],
        vec![3],
        vec![1, 2],
        vec![0, 3],
        vec![0, 1, 2],
        vec![0, 1, 2, 3],
    ] {
        let mut image = image.clone();
        for copy in &lost {
            let mut noise = vec![0; 4096];
            if rng.chance(1, 2) {
                noise = image.read(superblock, copy * 4096, 4096);
                noise[rng.index(256)] ^= 1 << rng.below(8);
            }
            image.damage(superblock, copy * 4096, &noise);
        }
        let story = format!("superblock copies {lost:?} damaged");
        if lost.len() <= 2 {
            drop(expect_whole(image, &story))
        } else {
            expect_refusal(image, &story)
        }
    }
    // Removing an old checkpoint is not synced; only the newest counts.
    let newest = image
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|p| p.starts_with(&format!("{dir}/ckpt/")))
        .max();
    for (path, ino) in image.files() {
        let size = image.size(ino);
        if newest.as_ref() == Some(&path) && size > 0 {
            let mut rotten = image.clone();
            let at = rng.below(64);
            let mut bytes = rotten.read(ino, 0, 512);
            bytes[at as usize] ^= 1 << rng.below(8);
            rotten.damage(ino, 0, &bytes);
            expect_refusal(rotten, "checkpoint rotten");
        }
        let named = path.starts_with(&format!("{dir}/journal/")) || newest.as_ref() == Some(&path);
        // A segment that retention has removed may still wait for its delay; nobody misses it.
        let segment = path.ends_with(".seg") && rng.chance(1, 4);
        if named {
            let mut gone = image.clone();
            gone.lose_file(&path);
            expect_refusal(gone, &format!("{path} missing"));
        } else if segment {
            let mut gone = image.clone();
            gone.lose_file(&path);
            match open(gone) {
                Err(OpenError::Suspect { .. }) => {}
                Err(other) => panic!("seed {seed}: {path} missing: refused with {other}"),
                Ok((found, _)) => {
                    let state = Expected::State(Box::new(life.history.now.clone()));
                    state
                        .check(&found)
                        .unwrap_or_else(|why| panic!("seed {seed}: {path} missing: {why}"));
                }
            }
        }
    }
}

/// A fault that hits the `index`-th operation of `kind` on paths containing `path`.
pub fn nth(kind: OpKind, path: &'static str, index: u64, fault: Fault) -> super::env::FaultPlan {
    let seen = Cell::new(0);
    Box::new(move |op| {
        if op.kind != kind || !op.path.contains(path) {
            return Fault::None;
        }
        seen.set(seen.get() + 1);
        if seen.get() == index { fault } else { Fault::None }
    })
}

/// Lives with one failing operation after the store has opened; checks what is left afterwards. Returns how it ended.
pub fn failing(seed: u64, kind: OpKind, path: &'static str, index: u64, fault: Fault) -> End {
    let mut rng = Rng::new(seed).fork("failing");
    let params = Params::from_seed(seed);
    let life = live(Script {
        params: params.clone(),
        seed: rng.u64(),
        disk: Disk::new(params.capacity, params.sector),
        now_ns: 1_000_000_000,
        expected: Expected::nothing(),
        steps: 60,
        cut_after: None,
        close: false,
        faults: Some(nth(kind, path, index, fault)),
    });
    if life.opened_at > life.log.len() {
        return life.end;
    }
    let history = Rc::new(life.history.clone());
    for _ in 0..4 {
        let atoms = life.disk.atoms();
        let image = life.disk.crash(&super::enumerate::sample(&atoms, &mut rng));
        let expected = life.expected_at(&history, life.log.len());
        if let Err(why) = super::life::judge(&params, image, rng.u64(), life.now_ns, &expected) {
            panic!(
                "seed {seed}: {fault:?} at {kind:?} {index} of {path}, then {:?}: {why}",
                life.end
            );
        }
    }
    life.end
}

/// Number of IO events of a kind on a path in a log, for choosing where to fail.
pub fn writes_to(life: &Life, path: &str) -> usize {
    let mut disk = life.start.clone();
    let mut count = 0;
    for io in &life.log {
        if let Io::Submit { ino, .. } = io
            && disk.path_of(*ino).is_some_and(|p| p.contains(path))
        {
            count += 1;
        }
        disk.apply(io);
    }
    count
}

/// Fills a small disk and gives it space back. Returns appends refused while it was full, and batches appended after.
pub fn fills_up(seed: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed).fork("space");
    let mut params = Params::from_seed(seed);
    let ring = params.config.journal_file_bytes * u64::from(params.config.journal_files_max);
    params.capacity = ring + rng.range(300_000, 1_500_000);
    let script = |disk: Disk, expected, now_ns, seed| Script {
        params: params.clone(),
        seed,
        disk,
        now_ns,
        expected,
        steps: 250,
        cut_after: None,
        close: false,
        faults: None,
    };
    let disk = Disk::new(params.capacity, params.sector);
    let first = live(script(disk, Expected::nothing(), 1_000_000_000, rng.u64()));
    assert_eq!(
        first.end,
        End::Finished,
        "a full disk stops producers, not the process"
    );
    let history = Rc::new(first.history.clone());
    let mut disk = first
        .disk
        .crash(&super::enumerate::sample(&first.disk.atoms(), &mut rng));
    disk.capacity = 64 << 20;
    let expected = first.expected_at(&history, first.log.len());
    let second = live(script(disk, expected, first.now_ns + 1_000_000_000, rng.u64()));
    assert_eq!(second.end, End::Finished);
    (first.counts.refused, second.counts.appends)
}
