//! The one place that starts threads, executors and listeners: the broker as a process.
//!
//! [`serve`] checks the machine, opens the data directory, runs one executor per core, waits for a signal and
//! takes everything down in order. Every core runs [`core::run`].

mod admin;
mod connection;
pub mod core;
pub mod log;
pub mod notify;
mod sys;

pub use sys::Allocator;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use socket2::{Domain, Protocol, Socket, Type};
use turgo_storage::StoreConfig;
use turgo_tuning::preflight::Report;

use crate::cli::exit;
use crate::config::disk::Numbers;
use crate::config::{HostPort, LogFormat, NodeConfig};
use crate::node::Node;
pub use core::Report as CoreReport;
use core::{CoreArgs, Shared};

/// Exit status of a bug: a panic anywhere ends all cores together.
const EXIT_BUG: i32 = 70;
/// Slots of each channel between two cores; a message is a batch.
const CHANNEL: usize = 1024;
/// Submission and completion ring entries per core.
const RING_DEPTH: usize = 256;

/// Runs the broker until SIGTERM or SIGINT.
pub fn serve(config: NodeConfig, machine: Report) -> ExitCode {
    let started = Instant::now();
    sys::register_membarrier();
    sys::settle_memory();
    die_on_panic();
    let signals = sys::block_signals();
    log::set_form(config.log_format == LogFormat::Json);
    log::set_level(config.log_level.into());
    match start(&config, &machine, started) {
        Ok(running) => {
            let signal = loop {
                match sys::wait_signal(&signals) {
                    libc::SIGHUP => log::event(
                        "reload_ignored",
                        &[("reason", &"no setting is live in the node file")],
                    ),
                    signal => break signal,
                }
            };
            log::event("stopping", &[("signal", &signal)]);
            notify::tell("STOPPING=1");
            running.stop()
        }
        Err(error) => {
            eprintln!("turgo: {error}");
            ExitCode::from(exit::UNFIT)
        }
    }
}

/// Everything that runs.
struct Running {
    shared: Arc<Shared>,
    cores: Vec<glommio::ExecutorJoinHandle<Result<(), String>>>,
}

impl Running {
    fn stop(self) -> ExitCode {
        self.shared.ready.store(false, Ordering::Relaxed);
        self.shared.stop.raise();
        let mut code = ExitCode::SUCCESS;
        for core in self.cores {
            match core.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    log::error("core_failed", &[("error", &error)]);
                    code = ExitCode::from(exit::FAILED);
                }
                Err(error) => {
                    log::error("core_failed", &[("error", &error)]);
                    code = ExitCode::from(exit::FAILED);
                }
            }
        }
        log::event("stopped", &[]);
        code
    }
}

fn start(config: &NodeConfig, machine: &Report, started: Instant) -> Result<Running, String> {
    let data_dir = std::path::absolute(&config.data_dir).map_err(|e| format!("data directory: {e}"))?;
    std::fs::create_dir_all(&data_dir)
        .map_err(|e| format!("cannot create the data directory {}: {e}", data_dir.display()))?;
    let lock = turgo_storage::shell::lock_data_dir(&data_dir)
        .map_err(|e| format!("{}: {e}; is another broker running on it?", data_dir.display()))?;
    let files = sys::open_files_limit();
    let cpus = cpus(config)?;
    let listen = bind(&config.listen)?;
    let bound = listen
        .local_addr()
        .ok()
        .and_then(|a| a.as_socket())
        .ok_or("the listener has no address")?;
    let admin = match &config.admin {
        Some(admin) => Some(
            std::net::TcpListener::bind((admin.host.as_str(), admin.port))
                .map_err(|e| format!("admin address {admin}: {e}; choose another with --admin"))?,
        ),
        None => None,
    };
    let advertised = config.advertised_for(bound);
    let listened = HostPort {
        host: config.listen.host.clone(),
        port: bound.port(),
    };
    let n = cpus.len();
    let mut memory = config.memory_for(machine.facts.memory_bytes.unwrap_or(1 << 30), n);
    let needed = turgo_storage::memory_min(StoreConfig::default().max_batch_bytes) * n as u64;
    if config.memory_storage_bytes.is_none() {
        memory.storage_bytes = memory.storage_bytes.max(needed);
    }
    if memory.storage_bytes < needed {
        return Err(format!(
            "memory.storage is {} MiB; {n} cores need at least {} MiB: set it higher, or use fewer cores (--cores)",
            memory.storage_bytes >> 20,
            (needed >> 20) + 1,
        ));
    }
    let random = core::random();
    let mut store = StoreConfig {
        journal_file_bytes: config.journal_file_bytes,
        journal_files_max: (config.journal_ring_bytes / config.journal_file_bytes).max(4) as u32,
        memory_bytes: memory.storage_bytes / n as u64,
        low_space_percent: config.produce_stop_free_percent.round() as u8,
        no_space_percent: config.delete_only_free_percent.round() as u8,
        accept_loss: config.accept_loss,
        max_open_files: ((files as usize).saturating_sub(config.max_connections.min(files as usize / 2))
            / n
            / 2)
        .clamp(64, 4096),
        ..StoreConfig::default()
    };
    Numbers::of(config, &turgo_tuning::disk::load(&data_dir)).apply(&mut store);
    let shared = Arc::new(Shared {
        started,
        data_dir: data_dir.clone(),
        stop: core::Stop::default(),
        ready: AtomicBool::new(false),
        beats: (0..n).map(|_| AtomicU64::new(0)).collect(),
        reports: (0..n).map(|_| std::sync::Mutex::new(None)).collect(),
        drained: AtomicUsize::new(0),
        cores: n,
        store,
        node_id: config.node_id,
        cluster_id: config.cluster_id.clone(),
        _lock: lock,
        static_configs: Arc::new(config.static_configs(&listened, &advertised, &data_dir)),
    });
    notify::start(&shared)?;
    if let Some(admin) = admin {
        let (address, shared) = (admin.local_addr().ok(), shared.clone());
        std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || admin::serve(&admin, &shared))
            .map_err(|e| format!("admin thread: {e}"))?;
        if let Some(address) = address {
            log::event("admin", &[("address", &address)]);
        }
    }
    let node = |cluster_id: String| Node {
        id: config.node_id,
        cluster_id,
        rack: config.rack.clone(),
        advertised_host: advertised.host.clone(),
        advertised_port: advertised.port,
        data_dir: data_dir.display().to_string(),
        cores: n,
        max_request_bytes: config.max_frame_bytes,
        max_connections: config.max_connections,
        idle_timeout_ms: config.idle_timeout.as_millis() as u64,
        request_memory: (memory.network_bytes / 2) as usize / n,
        response_memory: (memory.network_bytes / 2) as usize / n,
        static_configs: shared.static_configs.clone(),
        load: (0..n).map(|_| AtomicUsize::new(0)).collect(),
        random: core::random,
    };
    let memlock = sys::memlock_limit();
    let mesh = glommio::channels::channel_mesh::MeshBuilder::full(n, CHANNEL);
    let (events, news) = mpsc::channel();
    let mut cores = Vec::new();
    let spawn = |index: usize, args: CoreArgs| {
        let placement = if config.pin_cores {
            Placement::Fixed(cpus[index])
        } else {
            Placement::Unbound
        };
        LocalExecutorBuilder::new(placement)
            .name(&format!("shard-{index}"))
            // Three rings per executor register the region, each charged to the limit; a quarter leaves room.
            .io_memory((memlock / (4 * n as u64)).clamp(64 << 10, 16 << 20) as usize)
            .ring_depth(RING_DEPTH)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .spawn(move || {
                turgo_tuning::sched::prompt_turns();
                core::run(args)
            })
            .map_err(|e| format!("core {index} does not start: {e}"))
    };
    // Core 0 makes the data directory ready; the others start when they know its layout.
    cores.push(spawn(
        0,
        CoreArgs {
            index: 0,
            shared: shared.clone(),
            mesh: mesh.clone(),
            events: events.clone(),
            prepare: Some(random),
            listener: Some(listen),
        },
    )?);
    let ended = |cores: Vec<glommio::ExecutorJoinHandle<Result<(), String>>>| -> String {
        for core in cores {
            match core.join() {
                Ok(Err(error)) => return error,
                Err(error) => return error.to_string(),
                Ok(Ok(())) => {}
            }
        }
        "a core ended at start".into()
    };
    let layout = match news.recv() {
        Ok(core::News::Layout(layout)) => layout,
        _ => return Err(ended(cores)),
    };
    let node = Arc::new(node(crate::ids::uuid_text(&layout.cluster_id)));
    let known = (layout, node.clone());
    shared.publish(known);
    for index in 1..n {
        let args = CoreArgs {
            index,
            shared: shared.clone(),
            mesh: mesh.clone(),
            events: events.clone(),
            prepare: None,
            listener: None,
        };
        cores.push(spawn(index, args)?);
    }
    drop(events);
    loop {
        match news.recv() {
            Ok(core::News::Serving) => break,
            Ok(core::News::Failed(error)) => {
                // The mesh and the stores of the others are of no use without this core.
                eprintln!("turgo: {error}");
                sys::exit_now(i32::from(exit::UNFIT));
            }
            Ok(core::News::Layout(_)) => {}
            Err(_) => return Err(ended(cores)),
        }
    }
    shared.ready.store(true, Ordering::Release);
    notify::tell("READY=1");
    log::event(
        "serving",
        &[
            ("listen", &bound),
            (
                "advertised",
                &format!("{}:{}", node.advertised_host, node.advertised_port),
            ),
            ("cluster", &node.cluster_id),
            ("node", &node.id),
            ("cores", &n),
            ("data", &data_dir.display()),
            ("started_ms", &started.elapsed().as_millis()),
        ],
    );
    eprintln!("listening on {bound}");
    Ok(Running { shared, cores })
}

/// The CPUs to run on: those of the affinity mask, as many as asked for. More cores than CPUs are possible
/// without pinning only.
fn cpus(config: &NodeConfig) -> Result<Vec<usize>, String> {
    let mask: Vec<usize> = core_affinity::get_core_ids()
        .ok_or("the affinity mask cannot be read")?
        .into_iter()
        .map(|core| core.id)
        .collect();
    let wanted = config.cores.unwrap_or(mask.len()).max(1);
    if wanted > mask.len() && config.pin_cores {
        return Err(format!(
            "{wanted} cores asked for, {} in the affinity mask; lower --cores or set node.pin_cores = false",
            mask.len()
        ));
    }
    Ok((0..wanted).map(|i| mask[i % mask.len()]).collect())
}

/// A listening socket that a second process cannot share: without SO_REUSEPORT its bind fails.
fn bind(address: &HostPort) -> Result<Socket, String> {
    let resolved: SocketAddr = address
        .resolve()
        .map_err(|e| format!("{address}: {e}"))?
        .first()
        .copied()
        .ok_or_else(|| format!("{address} resolves to no address"))?;
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(resolved), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&resolved.into())?;
        socket.listen(1024)?;
        Ok(socket)
    };
    open().map_err(|e| format!("cannot listen on {address}: {e}; choose another address with --listen"))
}

/// A panic ends the process before anything unwinds: a core must not die while others acknowledge.
fn die_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("bug: {info}\n{}", std::backtrace::Backtrace::force_capture());
        sys::exit_now(EXIT_BUG)
    }));
}
