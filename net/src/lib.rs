//! net of Turgo: bytes to Kafka requests and back.
//!
//! [`frame`] cuts a stream into frames, [`header`] reads what precedes a body and builds whole frames, [`messages`] is
//! every message of Kafka 4.3 (generated from `schemas/`), written in terms of [`wire`]. [`api`] lists the APIs,
//! [`served`] the ranges a 4.3 broker advertises, [`ErrorCode`] the error codes. `docs/codec.md` tells how the codec is
//! built and what bounds it keeps.
//!
//! Nothing here knows a socket, a clock or the runtime: the engine's shells move the bytes.

pub mod api;
mod error;
pub mod frame;
pub mod header;
pub mod messages;
pub mod records;
pub mod served;
pub mod wire;

pub use api::{ApiKey, request_header_version, response_header_version};
pub use error::ErrorCode;
pub use frame::{FrameError, FrameReader};
pub use header::{RequestHeader, ResponseHeader, encode_request, encode_response};
pub use wire::{DecodeError, EncodeError, Reader, Records, Uuid, Writer};
