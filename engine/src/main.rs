//! The `turgo` command: see [`turgo_engine::cli`].

use std::process::ExitCode;

use turgo_engine::config::NodeConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the broker.
fn serve(config: NodeConfig) -> ExitCode {
    eprintln!(
        "turgo: this build has no broker yet; would listen on {}",
        config.listen
    );
    ExitCode::from(turgo_engine::cli::exit::UNFIT)
}

fn main() -> ExitCode {
    turgo_engine::cli::run(serve)
}
