//! The `turgo` command: see [`turgo_engine::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: turgo_engine::shell::Allocator = turgo_engine::shell::Allocator;

fn main() -> ExitCode {
    turgo_engine::cli::run(turgo_engine::shell::serve)
}
