//! Load generator and latency measurements against any Kafka endpoint.
//!
//! Producers send on a schedule that does not depend on answers (open loop), and latency counts from the time at which
//! a batch was due, so a stall of the server shows in every batch that was due meanwhile (coordinated omission is
//! not possible). A run whose generator could not keep its own schedule says so.
//!
//! The client is [`client`]: blocking sockets over the project's codec, one writer and one reader thread for each
//! connection.

pub mod client;
pub mod floor;
pub mod load;
pub mod report;
pub mod run;

pub use run::{BenchArgs, run};
