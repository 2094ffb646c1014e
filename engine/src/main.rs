//! The `turgo` command: see [`turgo_engine::cli`].

use std::process::ExitCode;

use turgo_engine::config::NodeConfig;
use turgo_tuning::preflight::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the broker.
fn serve(config: NodeConfig, _machine: Report) -> ExitCode {
    eprintln!(
        "turgo: this build has no broker yet; would listen on {}",
        config.listen
    );
    ExitCode::from(turgo_engine::cli::exit::UNFIT)
}

fn main() -> ExitCode {
    turgo_engine::cli::run(serve)
}
