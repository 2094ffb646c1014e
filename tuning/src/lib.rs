//! tuning of Turgo: looks at the machine and says what it means for a broker.
//!
//! [`preflight`] runs at every start: kernel, io_uring, limits, filesystem, direct IO, space, memory and a
//! short measurement of the flush latency, each finding with advice. It reads; it changes nothing but the
//! process's own soft limits, and only where [`preflight::raise_limits`] is called.
//!
//! [`tune`] is what `turgo tune` does: it compares settings of the machine with what a broker wants, changes them when
//! told to, and takes that back. [`disk`] measures the device under the data. Both look through [`files`] and [`host`].
//! [`sched`] is how a single thread asks for prompt turns.

pub mod disk;
pub mod files;
pub mod host;
pub mod preflight;
pub mod sched;
mod sys;
pub mod tune;
