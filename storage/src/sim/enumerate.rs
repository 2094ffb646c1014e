//! The crash enumerator: what could a power cut have left, at every point of a recorded run?
//!
//! In the manner of ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018): for every prefix of the
//! IO log, every subset of what was not yet flushed is a possible image, torn at sector granularity. All are visited
//! where they are few, and a seeded sample where they are many. The visitor recovers from the image and judges what it
//! finds against what had been acknowledged at that prefix.

use super::disk::{Atom, Disk, Fate, Io};
use super::rng::Rng;

/// A run: where the disk stood, and what happened to it.
#[derive(Clone)]
pub struct Recording {
    /// The disk before the first event.
    pub start: Disk,
    /// The events in order.
    pub log: Vec<Io>,
}

/// How much of the space to visit.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Seed of every sampling choice.
    pub seed: u64,
    /// Visit all images of a prefix when there are at most this many.
    pub exhaustive: usize,
    /// Otherwise visit this many.
    pub samples: usize,
    /// Visit each prefix with this chance, in thousandths; 1000 visits all.
    pub prefix_permille: u64,
}

/// One possible image.
pub struct CrashPoint {
    /// Events before the power cut.
    pub prefix: usize,
    /// Number of this image among those of its prefix.
    pub index: usize,
    /// What became of each unflushed thing.
    pub fates: Vec<Fate>,
    /// The image.
    pub disk: Disk,
}

/// True for events after which no image becomes possible that was not possible before, and no acknowledgement leaves.
fn is_silent(io: &Io) -> bool {
    matches!(
        io,
        Io::Read { .. } | Io::SyncSubmit { .. } | Io::DirSyncSubmit { .. }
    )
}

/// Visits the possible images of a recording; returns how many. `visit` returns false to stop early.
pub fn enumerate(recording: &Recording, plan: &Plan, mut visit: impl FnMut(CrashPoint) -> bool) -> usize {
    let mut rng = Rng::new(plan.seed);
    let mut disk = recording.start.clone();
    let mut visited = 0;
    for prefix in 0..=recording.log.len() {
        if prefix > 0 {
            disk.apply(&recording.log[prefix - 1]);
            if is_silent(&recording.log[prefix - 1]) && prefix < recording.log.len() {
                continue;
            }
        }
        if plan.prefix_permille < 1000 && !rng.chance(plan.prefix_permille, 1000) {
            continue;
        }
        let atoms = disk.atoms();
        for (index, fates) in choices(&atoms, plan, &mut rng).into_iter().enumerate() {
            let image = disk.crash(&fates);
            visited += 1;
            if !visit(CrashPoint {
                prefix,
                index,
                fates,
                disk: image,
            }) {
                return visited;
            }
        }
    }
    visited
}

/// Combinations of fates for `atoms`.
fn choices(atoms: &[Atom], plan: &Plan, rng: &mut Rng) -> Vec<Vec<Fate>> {
    let options = |atom: &Atom| match atom {
        Atom::Write { sectors, .. } if *sectors > 1 => 4,
        _ => 2,
    };
    let total = atoms
        .iter()
        .map(options)
        .try_fold(1usize, |all, n| all.checked_mul(n));
    if let Some(total) = total
        && total <= plan.exhaustive
    {
        return (0..total)
            .map(|mut code| {
                let mut fates = Vec::with_capacity(atoms.len());
                for atom in atoms {
                    let n = options(atom);
                    fates.push(option(atom, code % n, rng));
                    code /= n;
                }
                fates
            })
            .collect();
    }
    (0..plan.samples).map(|_| sample(atoms, rng)).collect()
}

fn option(atom: &Atom, choice: usize, rng: &mut Rng) -> Fate {
    match (choice, atom) {
        (0, _) => Fate::Drop,
        (1, _) => Fate::Keep,
        (2, Atom::Write { sectors, .. }) => Fate::Head(rng.range(1, *sectors as u64 - 1) as usize),
        _ => Fate::Scatter(rng.u64()),
    }
}

/// One random combination: often an extreme one, since bugs of ordering live there.
pub fn sample(atoms: &[Atom], rng: &mut Rng) -> Vec<Fate> {
    let style = rng.below(8);
    let special = if atoms.is_empty() {
        0
    } else {
        rng.index(atoms.len())
    };
    // Writes of one file may all share a fate: a drive that flushed everything but one file.
    let victim = atoms.get(special).copied();
    let same_file = |atom: &Atom| match (atom, victim) {
        (
            Atom::Write { ino, .. } | Atom::Size(ino),
            Some(Atom::Write { ino: other, .. } | Atom::Size(other)),
        ) => *ino == other,
        (Atom::Entry, Some(Atom::Entry)) => true,
        _ => false,
    };
    atoms
        .iter()
        .enumerate()
        .map(|(index, atom)| match style {
            0 => Fate::Drop,
            1 => Fate::Keep,
            2 if index == special => Fate::Drop,
            2 => Fate::Keep,
            3 if index == special => Fate::Keep,
            3 => Fate::Drop,
            4 if same_file(atom) => Fate::Drop,
            4 => Fate::Keep,
            5 if same_file(atom) => Fate::Keep,
            5 => Fate::Drop,
            6 => {
                let coin = rng.index(2);
                option(atom, coin, rng)
            }
            _ => {
                let choices = if matches!(atom, Atom::Write { sectors, .. } if *sectors > 1) {
                    4
                } else {
                    2
                };
                let choice = rng.index(choices);
                option(atom, choice, rng)
            }
        })
        .collect()
}
