//! The only place of this crate that knows clocks, sockets, threads and files.
//!
//! [`worker`] drives actors on one thread, [`runner`] drives workers through a run, [`admin`] talks to a cluster
//! before and after it.

pub mod admin;
pub mod clock;
mod conn;
pub mod connections;
pub mod env;
pub mod floor;
pub mod kafka;
pub mod live;
pub mod pacing;
pub mod phase;
pub mod runner;
pub mod stages;
pub mod watch;
mod worker;
