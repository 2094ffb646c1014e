//! How a load thread waits for the next intended time: sleep until shortly before, then spin.

use serde::{Deserialize, Serialize};

use crate::spec::Pacing;

use super::clock;

/// What was chosen, and what a sleep costs on this machine.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Chosen {
    /// `spin` or `sleep`.
    pub mode: String,
    /// Why.
    pub why: String,
    /// A sleep ends this early and the rest is spun, us; 0 when only sleeping.
    pub margin_us: f64,
    /// How much a sleep of 200 us overslept on this machine just before the run, us: median.
    pub oversleep_p50_us: f64,
    /// The same at 99 %.
    pub oversleep_p99_us: f64,
}

impl Chosen {
    /// Margin in ns; 0: do not spin.
    pub fn margin(&self) -> u64 {
        (self.margin_us * 1e3) as u64
    }
}

/// Measures sleeps and chooses. `local`: the broker is on this machine; `pinned`: the user gave CPUs; `threads`: load
/// threads.
pub fn choose(asked: Pacing, local: bool, pinned: bool, threads: usize) -> Chosen {
    const SLEEPS: usize = 200;
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut over: Vec<u64> = (0..SLEEPS)
        .map(|_| {
            let from = clock::now();
            clock::pause(200_000);
            (clock::now() - from).saturating_sub(200_000)
        })
        .collect();
    over.sort_unstable();
    let (p50, p99) = (over[SLEEPS / 2], over[SLEEPS * 99 / 100]);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (spin, why) = match asked {
        Pacing::Spin => (true, "asked for".to_owned()),
        Pacing::Sleep => (false, "asked for".to_owned()),
        Pacing::Auto if pinned => (true, "load threads have CPUs of their own (--cpus)".to_owned()),
        Pacing::Auto if !local && cpus > threads => (
            true,
            format!("the broker is elsewhere and {threads} of {cpus} CPUs are enough"),
        ),
        Pacing::Auto if local && cpus >= threads + 2 => (
            true,
            format!("{cpus} CPUs for {threads} load threads and a broker"),
        ),
        Pacing::Auto => (
            false,
            format!("{cpus} CPUs for {threads} load threads and what else runs here; give --cpus to spin"),
        ),
    };
    // Longer than nearly every oversleep, but not so long that the core never sleeps.
    let margin = if spin {
        (p99 + 20_000).clamp(50_000, 1_000_000)
    } else {
        0
    };
    Chosen {
        mode: if spin { "spin" } else { "sleep" }.to_owned(),
        why,
        margin_us: margin as f64 / 1e3,
        oversleep_p50_us: p50 as f64 / 1e3,
        oversleep_p99_us: p99 as f64 / 1e3,
    }
}
