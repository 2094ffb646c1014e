//! The broker: shards, partitions, metadata, coordinators, and the process around them.

pub mod apis;
pub mod cli;
pub mod config;
pub mod configs;
pub mod features;
mod group_host;
pub mod groups;
pub mod handlers;
pub mod ids;
pub mod lanes;
pub mod metadata;
mod metrics;
pub mod node;
pub mod requests;
pub mod sessions;
pub mod shard;
pub mod shell;
pub mod stats;
pub mod sync;
pub mod txn;
mod txn_host;
pub mod validate;
