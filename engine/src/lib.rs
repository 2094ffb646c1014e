//! The broker: shards, partitions, metadata, coordinators, and the process around them.

pub mod cli;
pub mod config;
pub mod configs;
pub mod groups;
pub mod handlers;
pub mod metadata;
pub mod validate;
