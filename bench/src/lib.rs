//! Load generator and latency measurements against any Kafka endpoint.
//!
//! Records leave on a schedule that does not depend on answers (open loop), and latency counts from the time at which a
//! record was due, so a stall of the server shows in every record that was due meanwhile. A run whose generator could
//! not keep its schedule says INVALID. `docs/benchmarks.md` tells what each figure means.
//!
//! Machines: [`schedule`], [`values`], [`stamp`], [`integrity`], [`latency`], [`stats`], [`client`], [`slo`]. The
//! [`shell`] drives them; the [`report`] tells what came of it.

pub mod cli;
pub mod client;
pub mod compare;
pub mod integrity;
pub mod latency;
pub mod omb;
pub mod presets;
pub mod ranges;
pub mod report;
pub mod schedule;
pub mod search;
pub mod shell;
pub mod slo;
pub mod spec;
pub mod stamp;
pub mod stats;
pub mod units;
pub mod values;

pub use cli::{BenchArgs, run};
