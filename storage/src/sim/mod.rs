//! Simulation: the storage procedures on a simulated disk, with every choice made by a seed.
//!
//! Compiled for tests only (feature `sim`). See `docs/testing-storage.md`.
pub mod batch;
pub mod campaign;
pub mod compaction;
pub mod damage;
pub mod disk;
pub mod enumerate;
pub mod env;
pub mod exec;
pub mod keyed;
pub mod life;
pub mod model;
pub mod params;
pub mod remap;
pub mod rng;
mod shell;
#[cfg(test)]
mod toy_tests;
pub mod watch;
pub mod workload;
