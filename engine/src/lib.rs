//! engine of Turgo.

pub mod cli;
pub mod config;
pub mod configs;
pub mod groups;
pub mod metadata;
