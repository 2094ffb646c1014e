//! engine of Turgo.

pub mod cli;
pub mod config;
pub mod groups;
pub mod validate;
