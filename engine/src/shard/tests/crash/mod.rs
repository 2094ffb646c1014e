//! Promise: whenever the power goes while transactions run, each of them is there wholly or not at all, as its client
//! was told, and nothing hangs.
//!
//! Everything is the broker's own: requests as bytes, coordinators, gates and markers, stores, recovery. Only the disk,
//! the clock and the order of tasks are simulated. A history is run once on one or two cores, which share a disk and no
//! journal; then the power is cut after every single IO event, with what a drive may have kept of the rest, a broker is
//! started on that, let come to rest, and judged:
//!
//! - acknowledged commits are seen by readers of committed records, whole and once; acknowledged aborts, and what nobody
//!   committed, never; commits that were under way, wholly or not at all;
//! - offsets committed in a transaction agree with its records;
//! - what a reader was shown stays; readers sort records out as the markers in the log say;
//! - no transaction is open, no last stable offset stands still;
//! - every producer can go on, with an epoch or producer id that nobody had.
//!
//! `SIM_SEED` replays one seed of the walks, `SIM_SEEDS` says how many, `SIM_STORY=1` tells every IO.

mod clients;
mod facts;
mod histories;
mod judge;
mod machine;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use turgo_storage::sim::campaign::panic_text;
use turgo_storage::sim::disk::{Disk, Fate, Io};
use turgo_storage::sim::enumerate::{Plan, Recording, enumerate, sample};
use turgo_storage::sim::env::SimEnv;
use turgo_storage::sim::rng::Rng;

use clients::World;
use facts::Facts;
use histories::History;
use machine::Broker;

use crate::txn::planted::{Bug, PLANTED};

/// How much is done for a history.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// All images of a power cut are judged where there are at most this many.
    exhaustive: usize,
    /// Otherwise this many.
    samples: usize,
    /// Chance of a power cut after each IO event, in thousandths.
    prefix_permille: u64,
    /// Chance that the recovery from a power cut is cut itself, here and there, in thousandths.
    nested_permille: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    events: usize,
    cuts: usize,
    nested: usize,
    ended: usize,
}

/// One life of a broker: where it began, what it did to the disk, what its clients know.
struct Life {
    cores: usize,
    recording: Recording,
    facts: Facts,
    now_ns: u64,
}

fn live(seed: u64, cores: usize, disk: Disk, now_ns: u64, facts: Facts, history: History) -> Life {
    let is_new = disk.used() == 0;
    let env = SimEnv::start(disk.clone(), seed, now_ns);
    let facts = Rc::new(RefCell::new(facts));
    let opened = Rc::new(Cell::new(0));
    let main = {
        let (env, facts, opened) = (env.clone(), facts.clone(), opened.clone());
        async move {
            let broker = Broker::start(&env, cores).await;
            if is_new {
                broker.create_topics().await;
                assert_eq!(
                    broker.data_cores().len(),
                    cores,
                    "every core has something to lose"
                );
                opened.set(env.log_len());
            }
            let world = World { broker, facts };
            history(world, Rng::new(seed).fork("history")).await;
        }
    };
    env.run(main).expect_done("a life without faults");
    let now_ns = env.exec().now();
    let (_, mut log) = env.end();
    // Before there were topics there was nothing to lose.
    let mut start = disk;
    let rest: Vec<Io> = log.split_off(opened.get());
    log.iter().for_each(|io| start.apply(io));
    let mut facts = facts.take();
    facts.rebase(opened.get());
    Life {
        cores,
        recording: Recording { start, log: rest },
        facts,
        now_ns,
    }
}

/// Starts a broker on what a power cut left, and judges it. Gives that life of the broker, in which the judge was the
/// client.
fn recover(life: &Life, disk: Disk, seed: u64, cut: usize) -> Result<Life, String> {
    let start = disk.clone();
    let env = SimEnv::start(disk, seed, life.now_ns + 1_000_000);
    let facts = Rc::new(RefCell::new(life.facts.at_cut(cut)));
    let main = {
        let (env, cores, facts) = (env.clone(), life.cores, facts.clone());
        let expected = life.facts.expected(cut);
        async move {
            let broker = Broker::start(&env, cores).await;
            judge::judge(&World { broker, facts }, &expected).await
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| env.run(main).expect_done("recovery")));
    let now_ns = env.exec().now();
    let log = env.end().1;
    match outcome {
        Ok(judged) => judged.map(|()| Life {
            cores: life.cores,
            recording: Recording { start, log },
            facts: facts.take(),
            now_ns,
        }),
        Err(payload) => Err(panic_text(&*payload)),
    }
}

/// Cuts the power everywhere in a life. Panics with the story of the first cut that something is wrong after.
fn cut_everywhere(life: &Life, seed: u64, effort: &Effort) -> Done {
    let mut done = Done {
        events: life.recording.log.len(),
        ended: life.facts.ended(),
        ..Done::default()
    };
    let mut rng = Rng::new(seed).fork("cuts");
    let plan = Plan {
        seed: rng.u64(),
        exhaustive: effort.exhaustive,
        samples: effort.samples,
        prefix_permille: effort.prefix_permille,
    };
    enumerate(&life.recording, &plan, |point| {
        done.cuts += 1;
        let place = format!("power cut after event {}, image {}", point.prefix, point.index);
        let second = judged(life, &place, point.disk, rng.u64(), point.prefix);
        if rng.chance(effort.nested_permille, 1000) {
            let plan = Plan {
                seed: rng.u64(),
                exhaustive: 2,
                samples: 1,
                prefix_permille: 100,
            };
            enumerate(&second.recording, &plan, |again| {
                done.nested += 1;
                let place = format!("{place}, and again after event {}", again.prefix);
                judged(&second, &place, again.disk, rng.u64(), again.prefix);
                true
            });
        }
        true
    });
    done
}

fn judged(life: &Life, place: &str, disk: Disk, seed: u64, cut: usize) -> Life {
    recover(life, disk, seed, cut).unwrap_or_else(|why| {
        panic!(
            "{place} of {}: {why}\n{}",
            life.recording.log.len(),
            life.facts.story(cut, 60)
        )
    })
}

/// A history on a new disk, and all power cuts in it.
fn one(seed: u64, cores: usize, history: History, effort: &Effort) -> Done {
    let disk = Disk::new(64 << 20, if seed.is_multiple_of(2) { 512 } else { 4096 });
    let life = live(seed, cores, disk, 1_000_000_000, Facts::default(), history);
    cut_everywhere(&life, seed, effort)
}

/// A walk, a power cut somewhere in it, and a walk on what that left; all power cuts of the second.
fn two(seed: u64, cores: usize, effort: &Effort) -> Done {
    let mut rng = Rng::new(seed).fork("between");
    let disk = Disk::new(64 << 20, 4096);
    let first = live(
        seed,
        cores,
        disk,
        1_000_000_000,
        Facts::default(),
        histories::walk,
    );
    let cut = rng.index(first.recording.log.len() + 1);
    let mut disk = first.recording.start.clone();
    first.recording.log[..cut].iter().for_each(|io| disk.apply(io));
    let fates = sample(&disk.atoms(), &mut rng);
    let disk = disk.crash(&fates);
    let facts = first.facts.at_cut(cut);
    let second = live(seed + 1, cores, disk, first.now_ns, facts, histories::walk);
    cut_everywhere(&second, seed, effort)
}

/// The same on what another history left, whole.
fn afterwards(seed: u64, cores: usize, before: History, history: History, effort: &Effort) -> Done {
    let disk = Disk::new(64 << 20, 512);
    let first = live(seed, cores, disk, 1_000_000_000, Facts::default(), before);
    let mut disk = first.recording.start.clone();
    first.recording.log.iter().for_each(|io| disk.apply(io));
    let kept = vec![Fate::Keep; disk.atoms().len()];
    let disk = disk.crash(&kept);
    let facts = first.facts.at_cut(first.recording.log.len());
    let life = live(seed + 1, cores, disk, first.now_ns, facts, history);
    cut_everywhere(&life, seed, effort)
}

const SCRIPTS: [(&str, History); 7] = [
    ("in turn", histories::in_turn_now),
    ("in turn, of old", histories::in_turn_of_old),
    ("left open", histories::left_open_now),
    ("left open, of old", histories::left_open_of_old),
    ("taken over", histories::taken_over_now),
    ("taken over, of old", histories::taken_over_of_old),
    ("late copies", histories::late_copies),
];

#[test]
fn scripts_survive_a_power_cut_after_any_event() {
    let effort = Effort {
        exhaustive: 4,
        samples: 2,
        prefix_permille: 1000,
        nested_permille: 10,
    };
    for (name, history) in SCRIPTS {
        for cores in [1, 2] {
            let done = one(7, cores, history, &effort);
            println!("{name}, {cores} cores: {done:?}");
            assert!(done.ended >= 2 && done.cuts > done.events / 2);
        }
    }
}

#[test]
fn epochs_that_are_used_up_survive_a_power_cut_after_any_event() {
    let effort = Effort {
        exhaustive: 4,
        samples: 2,
        prefix_permille: 1000,
        nested_permille: 10,
    };
    for history in [histories::used_up as History, histories::fenced_at_the_end] {
        for cores in [1, 2] {
            let done = afterwards(3, cores, histories::long_ago, history, &effort);
            println!("{cores} cores: {done:?}");
            assert!(done.ended >= 2 && done.cuts > done.events / 2);
        }
    }
}

/// Seeds of a test: one, or so many.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("SIM_SEEDS").unwrap_or(count),
    }
}

#[test]
fn walks_survive_a_power_cut_anywhere() {
    let effort = Effort {
        exhaustive: 1,
        samples: 1,
        prefix_permille: 400,
        nested_permille: 5,
    };
    let mut all = Done::default();
    let seeds = seeds(12);
    for seed in seeds.clone() {
        let cores = 1 + seed as usize % 2;
        let done = catch_unwind(AssertUnwindSafe(|| match seed % 3 {
            0 => two(seed, cores, &effort),
            _ => one(seed, cores, histories::walk, &effort),
        }));
        match done {
            Ok(done) => {
                println!("seed {seed}: {done:?}");
                assert!(done.cuts > 10, "a seed that does little");
                all.ended += done.ended;
            }
            Err(payload) => {
                eprintln!("SIM_SEED={seed} cargo test -p turgo-engine --lib shard::tests::crash::walks");
                std::panic::resume_unwind(payload);
            }
        }
    }
    // A client may be fenced for good by another of its name, but not all of them.
    let count = (seeds.end - seeds.start) as usize;
    assert!(all.ended > 3 * count, "{} of {count} seeds", all.ended);
}

/// The first history in which the bug that is switched on is noticed.
fn found() -> Option<String> {
    let effort = Effort {
        exhaustive: 2,
        samples: 1,
        prefix_permille: 500,
        nested_permille: 0,
    };
    let scripts = SCRIPTS
        .iter()
        .flat_map(|(name, history)| [(*name, *history, 2), (*name, *history, 1)]);
    let walks = (1..=8).map(|seed| ("a walk", histories::walk as History, 1 + seed as usize % 2));
    scripts
        .chain(walks)
        .enumerate()
        .find_map(|(n, (name, history, cores))| {
            let caught = catch_unwind(AssertUnwindSafe(|| one(n as u64 + 1, cores, history, &effort)));
            let why = panic_text(&*caught.err()?);
            Some(format!(
                "{name}, {cores} cores: {}",
                why.lines().next().unwrap_or_default()
            ))
        })
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [
        Bug::LostMarker,
        Bug::EarlyMarker,
        Bug::EarlyComplete,
        Bug::EarlyAnswer,
        Bug::NoFence,
        Bug::ForgottenAtLoad,
        Bug::Endless,
        Bug::SkippedStable,
        Bug::EarlyMarkerAnswer,
        Bug::DoubledMarker,
        Bug::OpenGate,
        Bug::LostOffsets,
    ];
    let mut missed = Vec::new();
    for bug in bugs {
        PLANTED.set(Some(bug));
        let found = found();
        PLANTED.set(None);
        match found {
            Some(why) => println!("{bug:?}: {why}"),
            None => missed.push(bug),
        }
    }
    assert_eq!(missed, [], "planted and not found");
}
