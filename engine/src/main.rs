//! The `turgo` command: see [`turgo_engine::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    turgo_engine::cli::run(turgo_engine::shell::serve)
}
