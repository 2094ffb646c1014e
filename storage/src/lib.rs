//! Durable storage of one core: a journal with group commit, segments, recovery.
pub mod env;
pub mod shell;
