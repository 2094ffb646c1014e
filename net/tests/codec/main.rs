//! The codec as a whole. One binary, because the random messages of all kinds are large to compile.

mod agreement;
mod apache_kafka;
mod fuzz;
mod golden;
mod support;
mod sys;
