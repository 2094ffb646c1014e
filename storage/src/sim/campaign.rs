//! Campaigns: chains of lives by seed, each life's crashes enumerated. What `storage/tests/` runs.
//!
//! Everything follows from one seed, so a failure is replayed by it alone.

use super::disk::{Disk, Fate};
use super::enumerate::{CrashPoint, Plan, Recording, enumerate, sample};
use super::life::{End, Expected, Life, Script, judge, live};
use super::params::Params;
use super::rng::Rng;
use super::shell;
use super::workload::Counts;
use crate::{PlantedFaults, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

/// How much a campaign does per seed.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Lives in a chain.
    pub lives: usize,
    /// Operations per life.
    pub steps: usize,
    /// Images per prefix, where there are too many for all.
    pub samples: usize,
    /// All images of a prefix are visited when there are at most this many.
    pub exhaustive: usize,
    /// Prefixes visited, in thousandths.
    pub prefix_permille: u64,
    /// Recoveries whose own crashes are enumerated, in thousandths.
    pub nested_permille: u64,
    /// Prefixes of such a recovery that are visited, in thousandths.
    pub nested_prefix_permille: u64,
    /// Look at every write as it happens ([`super::watch`]); without, only recoveries are judged.
    pub watch: bool,
}

/// What a campaign did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lives lived.
    pub lives: u64,
    /// Power cuts whose recovery was judged.
    pub points: u64,
    /// Of these, power cuts inside a recovery.
    pub nested: u64,
    /// Recoveries that judged the journal's end an in-flight hole.
    pub holes: u64,
    /// IO events recorded.
    pub events: u64,
    /// Groups that replaced older ones: how often the ring wrapped.
    pub overwritten: u64,
    /// What the workloads did.
    pub counts: Counts,
    /// Fingerprint of every life and verdict.
    pub hash: u64,
}

impl Stats {
    /// Adds another campaign's figures.
    pub fn add(&mut self, other: &Stats) {
        self.lives += other.lives;
        self.points += other.points;
        self.nested += other.nested;
        self.holes += other.holes;
        self.events += other.events;
        self.overwritten += other.overwritten;
        self.counts.add(&other.counts);
        self.hash = self.hash.rotate_left(7) ^ other.hash;
    }
}

/// Runs a chain of lives and enumerates the crashes of each. Panics where an invariant is broken.
pub fn chain(seed: u64, effort: &Effort, faults: PlantedFaults) -> Stats {
    let root = Rng::new(seed);
    let mut rng = root.fork("chain");
    let mut params = Params::from_seed(seed);
    params.config.faults = faults;
    params.watch = effort.watch;
    let mut stats = Stats::default();
    let mut disk = Disk::new(params.capacity, params.sector);
    let mut expected = Expected::nothing();
    let mut now_ns = 1_000_000_000;
    for number in 0..effort.lives {
        let close = rng.chance(1, 5);
        let cut_after = if !close && rng.chance(2, 3) {
            Some(rng.range(3, 40 * effort.steps as u64))
        } else {
            None
        };
        let life = live(Script {
            params: params.clone(),
            seed: rng.u64(),
            disk,
            now_ns,
            expected,
            steps: effort.steps,
            cut_after,
            close,
            faults: None,
        });
        if let End::Poisoned(why) | End::Refused(why) = &life.end {
            panic!("life {number} of seed {seed} met no fault and ended: {why}");
        }
        stats.lives += 1;
        stats.events += life.log.len() as u64;
        stats.overwritten += life.overwritten;
        stats.counts.add(&life.counts);
        stats.hash = stats.hash.rotate_left(9) ^ life.hash;
        let history = Rc::new(life.history.clone());
        let plan = Plan {
            seed: rng.u64(),
            exhaustive: effort.exhaustive,
            samples: effort.samples,
            prefix_permille: effort.prefix_permille,
        };
        enumerate_life(number, &life, &history, &plan, effort, &mut stats);
        // How it goes on: what the life left, after a power cut or with the machine still running.
        let whole = life.log.len();
        expected = if life.end == End::Closed {
            Expected::State(Box::new(history.now.clone()))
        } else {
            life.expected_at(&history, whole)
        };
        disk = if rng.chance(1, 4) {
            life.disk.process_exit(&mut rng)
        } else {
            let fates = sample(&life.disk.atoms(), &mut rng);
            life.disk.crash(&fates)
        };
        now_ns = life.now_ns + rng.range(1, 10_000_000_000);
    }
    stats
}

fn enumerate_life(
    number: usize,
    life: &Life,
    history: &Rc<super::model::History>,
    plan: &Plan,
    effort: &Effort,
    stats: &mut Stats,
) {
    let recording = Recording {
        start: life.start.clone(),
        log: life.log.clone(),
    };
    let mut rng = Rng::new(plan.seed).fork("nested");
    let closed_at = if life.end == End::Closed {
        Some(life.log.len())
    } else {
        None
    };
    enumerate(&recording, plan, |point| {
        let CrashPoint {
            prefix,
            index,
            fates,
            disk,
        } = point;
        let expected = if Some(prefix) == closed_at {
            Expected::State(Box::new(history.now.clone()))
        } else {
            life.expected_at(history, prefix)
        };
        let seed = rng.u64();
        let start = disk.clone();
        let first = guarded(|| judge(&life.params, disk, seed, life.now_ns, &expected));
        stats.points += 1;
        let first = match first {
            Ok(first) => first,
            Err(why) => panic!(
                "life {number}, power cut after event {prefix} of {} (store open from {}), image {index}: {why}\n{}",
                life.log.len(),
                life.opened_at,
                describe(life, prefix, &fates)
            ),
        };
        stats.holes += u64::from(first.recovered.verdict == Verdict::InFlightHole);
        if !rng.chance(effort.nested_permille, 1000) {
            return true;
        }
        // I6: a power cut inside that recovery leads to the same state.
        let recovery = Recording {
            start,
            log: first.log.clone(),
        };
        let inner = Plan {
            seed: rng.u64(),
            exhaustive: 4,
            samples: 1,
            prefix_permille: effort.nested_prefix_permille,
        };
        let same = Expected::State(Box::new(first.state.clone()));
        enumerate(&recovery, &inner, |again| {
            let seed = rng.u64();
            let second = guarded(|| judge(&life.params, again.disk, seed, life.now_ns, &same));
            stats.points += 1;
            stats.nested += 1;
            let broken = match second {
                Ok(second) if second.found == first.found => None,
                Ok(_) => Some("another state was found".to_string()),
                Err(why) => Some(why),
            };
            if let Some(why) = broken {
                panic!(
                    "I6: life {number}, power cut after event {prefix} of {}, image {index}, and again after event {} \
                     of {} of its recovery, image {} ({:?}): {why}\n{}",
                    life.log.len(),
                    again.prefix,
                    first.log.len(),
                    again.index,
                    again.fates,
                    describe(life, prefix, &fates)
                );
            }
            true
        });
        true
    });
}

/// Turns a panic of the store under judgement into an error.
fn guarded<T>(judge: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(judge)) {
        Ok(result) => result,
        Err(payload) => Err(format!("recovery panicked: {}", panic_text(&*payload))),
    }
}

/// The message of a panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_string(),
        (None, None) => "a panic without a message".to_string(),
    }
}

/// The end of the story: last events, and what the cut kept.
fn describe(life: &Life, prefix: usize, fates: &[Fate]) -> String {
    let mut disk = life.start.clone();
    let mut out = String::new();
    let from = prefix.saturating_sub(25);
    for (n, io) in life.log[..prefix].iter().enumerate() {
        disk.apply(io);
        if n >= from {
            out.push_str(&format!("  {n:5} {}\n", show(&disk, io)));
        }
    }
    for (atom, fate) in disk.atoms().iter().zip(fates) {
        let path = match atom {
            super::disk::Atom::Write { ino, .. } | super::disk::Atom::Size(ino) => {
                disk.path_of(*ino).unwrap_or("?")
            }
            super::disk::Atom::Entry => "",
        };
        out.push_str(&format!("  unflushed {atom:?} {path}: {fate:?}\n"));
    }
    let issued = life.history.issued(prefix);
    for (n, noted) in life.history.changes[..issued]
        .iter()
        .enumerate()
        .skip(issued.saturating_sub(40))
    {
        let what = noted.change.describe();
        out.push_str(&format!(
            "  change {n} at event {}, LSN {}: {what}\n",
            noted.at_io, noted.lsn
        ));
    }
    out.push_str(&format!("  {:?}", life.params.config));
    out
}

/// One event in words.
pub fn show(disk: &Disk, io: &super::disk::Io) -> String {
    use super::disk::Io;
    let path = |ino: &u32| disk.path_of(*ino).unwrap_or("?").to_string();
    match io {
        Io::Submit {
            id,
            ino,
            at,
            data,
            durable,
        } => {
            format!(
                "write {id}: {} at {at}, {} bytes{}",
                path(ino),
                data.len(),
                if *durable { ", durable" } else { "" }
            )
        }
        Io::SyncSubmit { id, ino } => format!("sync {id}: {}", path(ino)),
        Io::Allocate { ino, len } => format!("allocate {} to {len}", path(ino)),
        Io::Read { ino, at, len } => format!("read {} at {at}, {len} bytes", path(ino)),
        other => format!("{other:?}"),
    }
}

/// Seeds a test runs: `SIM_SEED` alone, or `first..first + count` with `SIM_SEEDS` for the count, or until
/// `FUZZ_SECONDS` have passed.
pub fn seeds(first: u64, count: u64) -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        return Box::new(std::iter::once(seed));
    }
    if let Some(seconds) = number("FUZZ_SECONDS") {
        let started = shell::now();
        let first = number("SIM_FIRST").unwrap_or(first);
        return Box::new((first..).take_while(move |_| started.elapsed() < Duration::from_secs(seconds)));
    }
    let count = number("SIM_SEEDS").unwrap_or(count);
    Box::new(first..first + count)
}

/// Runs `body` for one seed; when it panics, says how to see that again.
pub fn with_replay<T>(test: &str, seed: u64, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            eprintln!("seed {seed} failed: {}", panic_text(&*payload));
            eprintln!("replay: SIM_SEED={seed} cargo test -p turgo-storage --test {test} -- --nocapture");
            resume_unwind(payload)
        }
    }
}
