//! One core: its executor's main task, from opening the store to closing it.

use std::cell::RefCell;
use std::io::Read;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::sleep;
use glommio::{Task, spawn_local};
use socket2::Socket;
use turgo_storage::Identity;
use turgo_storage::env::{Class, Env};
use turgo_storage::shell::GlommioEnv;
use turgo_storage::{Layout, Store, StoreConfig, StoreMetrics, prepare};

use super::connection::{self, Connections};
use super::{log, sys};
use crate::lanes;
use crate::node::Node;
use crate::shard::ops::Message;
use crate::shard::{Accepted, Shard, commit_listener};
use crate::stats::Snapshot;
use crate::sync::Queue;

/// Bounds a stall of the scheduler by its period, drives timers, and shows that the core lives.
const HEARTBEAT: Duration = Duration::from_millis(2);
/// The heartbeat of a core that nothing has asked anything since the last: an idle core is to cost little.
const IDLE_HEARTBEAT: Duration = Duration::from_millis(10);
/// How often retention, idle connections and the like are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Answers under way get so long at shutdown before their connections are cut.
const GRACE: Duration = Duration::from_secs(5);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A channel endpoint for batches of messages.
pub type Mesh =
    glommio::channels::channel_mesh::MeshBuilder<Vec<Message>, glommio::channels::channel_mesh::Full>;

/// What all cores and the threads beside them share.
pub struct Shared {
    /// Start of the process.
    pub started: Instant,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Raised once, by a signal.
    pub stop: Stop,
    /// True while clients are served.
    pub ready: AtomicBool,
    /// Milliseconds since the start at each core's last heartbeat.
    pub beats: Vec<AtomicU64>,
    /// Each core's latest figures.
    pub reports: Vec<Mutex<Option<Report>>>,
    /// Cores whose connections are all closed.
    pub drained: AtomicUsize,
    /// How many cores.
    pub cores: usize,
    /// Common part of the stores' configuration.
    pub store: StoreConfig,
    /// Broker id asked for.
    pub node_id: i32,
    /// Cluster id asked for.
    pub cluster_id: Option<String>,
    /// Kafka settings of the node's file.
    pub static_configs: Arc<std::collections::BTreeMap<String, String>>,
    /// Held for the life of the process.
    pub _lock: std::fs::File,
}

/// Figures of one core.
#[derive(Debug, Clone)]
pub struct Report {
    /// Counters and latencies.
    pub stats: Snapshot,
    /// The store's.
    pub store: StoreMetrics,
    /// Partitions that live on the core.
    pub partitions: usize,
    /// Topics of the cluster.
    pub topics: usize,
    /// Of the core's group coordinators.
    pub groups: crate::groups::Stats,
    /// Of the core's transaction coordinators.
    pub txns: crate::txn::Stats,
    /// Partitions whose markers those have not seen written yet.
    pub markers_pending: usize,
}

static KNOWN: OnceLock<(Layout, Arc<Node>)> = OnceLock::new();

impl Shared {
    /// Makes the layout and the node's facts known to all cores.
    pub fn publish(&self, known: (Layout, Arc<Node>)) {
        assert!(KNOWN.set(known).is_ok(), "published once");
    }
}

/// Layout and node, once the main thread published them: it does so when core 0 has told it the layout, and a core
/// alone in its mesh gets here first.
async fn known() -> (Layout, Arc<Node>) {
    loop {
        if let Some(known) = KNOWN.get() {
            return known.clone();
        }
        sleep(Duration::from_micros(200)).await;
    }
}

/// What a core tells the thread that started it.
pub enum News {
    /// The data directory is ready.
    Layout(Layout),
    /// All cores recovered and the listener accepts.
    Serving,
    /// A core cannot start.
    Failed(String),
}

/// What a core is started with.
pub struct CoreArgs {
    /// From 0.
    pub index: usize,
    /// See [`Shared`].
    pub shared: Arc<Shared>,
    /// Channels to all cores.
    pub mesh: Mesh,
    /// To the main thread.
    pub events: mpsc::Sender<News>,
    /// On core 0: sixteen random bytes for a new directory's identity.
    pub prepare: Option<[u8; 16]>,
    /// On core 0: the bound socket.
    pub listener: Option<Socket>,
}

/// Raised by the main thread, awaited by each core.
#[derive(Default)]
pub struct Stop {
    raised: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// Raises it.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        for waker in self.wakers.lock().expect("no holder panics").drain(..) {
            waker.wake();
        }
    }
    /// True once raised.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }
    /// Waits for it, in one task per core.
    pub async fn wait(&self) {
        let mut registered = false;
        std::future::poll_fn(|cx| {
            let mut wakers = self.wakers.lock().expect("no holder panics");
            if self.is_raised() {
                return Poll::Ready(());
            }
            if !registered {
                wakers.push(cx.waker().clone());
                registered = true;
            }
            Poll::Pending
        })
        .await
    }
}

/// Sixteen random bytes from the kernel.
pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("the kernel gives random bytes");
    bytes
}

type Slot = Rc<RefCell<Option<Rc<Shard<GlommioEnv>>>>>;

/// The main task of a core.
pub async fn run(args: CoreArgs) -> Result<(), String> {
    let slot: Slot = Rc::default();
    let heartbeat = heartbeat(args.index, args.shared.clone(), slot.clone());
    let events = args.events.clone();
    let result = run_core(args, &slot).await;
    slot.borrow_mut().take();
    heartbeat.cancel().await;
    if let Err(error) = &result {
        let _ = events.send(News::Failed(error.clone()));
    }
    result
}

fn heartbeat(index: usize, shared: Arc<Shared>, slot: Slot) -> Task<()> {
    spawn_local(async move {
        let (mut seen, mut period) = (0, HEARTBEAT);
        loop {
            sleep(period).await;
            shared.beats[index].store(shared.started.elapsed().as_millis() as u64, Ordering::Relaxed);
            let shard = slot.borrow().clone();
            if let Some(shard) = shard {
                shard.tick();
                let activity = shard.activity();
                period = if activity == seen {
                    IDLE_HEARTBEAT
                } else {
                    HEARTBEAT
                };
                seen = activity;
            }
        }
    })
}

async fn run_core(args: CoreArgs, slot: &Slot) -> Result<(), String> {
    let CoreArgs {
        index,
        shared,
        mesh,
        events,
        prepare: identity,
        listener,
    } = args;
    let env = GlommioEnv::new(shared.data_dir.clone(), shared.started)
        .await
        .map_err(|e| e.to_string())?;
    if let Some(random) = identity {
        let layout = prepare_directory(&env, &shared, random).await?;
        let _ = events.send(News::Layout(layout));
    }
    let (senders, mut receivers) = mesh.join().await.map_err(|e| format!("core {index}: {e}"))?;
    let (layout, node) = known().await;
    let partitions = Rc::default();
    let listener_of_commits = commit_listener(&partitions);
    let config = layout.shard_config(index as u32, &shared.store);
    let (store, recovered) = Store::open(env.clone(), config, listener_of_commits)
        .await
        .map_err(|e| format!("core {index}: {e}"))?;
    if !recovered.created {
        log::event(
            "recovered",
            &[
                ("core", &index),
                ("logs", &recovered.logs),
                ("frames", &recovered.frames),
                ("bytes", &recovered.bytes),
                ("clean", &recovered.clean),
                ("verdict", &format!("{:?}", recovered.verdict)),
                ("took_ms", &(recovered.took_ns / 1_000_000)),
            ],
        );
    }
    let outboxes: Vec<Rc<Queue<Message>>> = (0..shared.cores).map(|_| Rc::default()).collect();
    let shard = Shard::new(
        index,
        env.clone(),
        node,
        store.clone(),
        partitions,
        outboxes.clone(),
    );
    *slot.borrow_mut() = Some(shard.clone());

    let senders = Rc::new(senders);
    let mut tasks = Vec::new();
    for peer in (0..shared.cores).filter(|peer| *peer != index) {
        tasks.push(forward(senders.clone(), peer, outboxes[peer].clone()));
    }
    for (_, receiver) in receivers.streams() {
        let shard = shard.clone();
        tasks.push(spawn_local(async move {
            while let Some(batch) = receiver.recv().await {
                for message in batch {
                    shard.receive(message);
                }
            }
        }));
    }
    let connections = Rc::new(Connections::default());
    let arrivals = {
        let (shard, connections) = (shard.clone(), connections.clone());
        spawn_local(async move {
            while let Some(accepted) = shard.arrivals.pop().await {
                shard.env.spawn(
                    Class::Journal,
                    connection::serve(shard.clone(), connections.clone(), accepted),
                );
            }
        })
    };
    let housekeeping = housekeeping(shard.clone(), connections.clone(), shared.clone());
    let cleaner = {
        let shard = shard.clone();
        spawn_local(async move { shard.clean().await })
    };

    let mut accept = None;
    if let Some(listener) = listener {
        shard.load_metadata().await?;
        accept = Some(accept_connections(shard.clone(), sys::listener(listener)));
        let _ = events.send(News::Serving);
    }
    drop(events);
    shared.stop.wait().await;

    if let Some(accept) = accept {
        accept.cancel().await;
    }
    shard.arrivals.close();
    connections.stop_reading();
    let cut = {
        let connections = connections.clone();
        spawn_local(async move {
            sleep(GRACE).await;
            connections.close_all();
        })
    };
    shard.release_waits();
    connections.wait_empty().await;
    cut.cancel().await;
    arrivals.await;
    // Connections of other cores may still need this one.
    shared.drained.fetch_add(1, Ordering::SeqCst);
    while shared.drained.load(Ordering::SeqCst) < shared.cores {
        sleep(HEARTBEAT).await;
    }
    housekeeping.cancel().await;
    cleaner.cancel().await;
    shard.stop();
    store
        .close()
        .await
        .map_err(|e| format!("core {index}: closing the store: {e}"))?;
    for outbox in &outboxes {
        outbox.close();
    }
    for task in tasks {
        task.cancel().await;
    }
    Ok(())
}

async fn prepare_directory(env: &GlommioEnv, shared: &Shared, random: [u8; 16]) -> Result<Layout, String> {
    let cluster_id = match &shared.cluster_id {
        Some(text) => crate::ids::parse_uuid(text)
            .ok_or_else(|| format!("cluster id {text:?} is not 16 bytes in url-safe base64"))?,
        None => self::random(),
    };
    let identity = Identity {
        directory_id: random,
        cluster_id,
        broker_id: shared.node_id,
    };
    let cores = shared.cores;
    let owner = move |id: &turgo_storage::PartitionId| lanes::owner(id, cores) as u32;
    let layout = prepare(env, cores as u32, identity, &shared.store, &owner)
        .await
        .map_err(|e| e.to_string())?;
    if layout.broker_id != shared.node_id {
        return Err(format!(
            "the data directory belongs to node {}, this is node {}; set node.id or use another directory",
            layout.broker_id, shared.node_id
        ));
    }
    if shared.cluster_id.is_some() && layout.cluster_id != cluster_id {
        return Err(format!(
            "the data directory belongs to cluster {}",
            crate::ids::uuid_text(&layout.cluster_id)
        ));
    }
    Ok(layout)
}

/// One task per channel: two senders on one channel could both see room for one message.
fn forward(
    senders: Rc<glommio::channels::channel_mesh::Senders<Vec<Message>>>,
    peer: usize,
    outbox: Rc<Queue<Message>>,
) -> Task<()> {
    spawn_local(async move {
        loop {
            let batch = outbox.take_all().await;
            if batch.is_empty() || senders.send_to(peer, batch).await.is_err() {
                return;
            }
        }
    })
}

fn accept_connections(shard: Rc<Shard<GlommioEnv>>, listener: glommio::net::TcpListener) -> Task<()> {
    spawn_local(async move {
        loop {
            let accepted = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    log::warn("accept_failed", &[("error", &error)]);
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let load = &shard.node.load;
            let open: usize = load.iter().map(|n| n.load(Ordering::Relaxed)).sum();
            if open >= shard.node.max_connections {
                shard.stats.connections_rejected.add(1);
                continue; // dropped: closed
            }
            let Ok(peer) = accepted.peer_addr() else { continue };
            let socket = match sys::detach(&accepted) {
                Ok(socket) => socket,
                Err(error) => {
                    log::warn("accept_failed", &[("error", &error)]);
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let core = (0..load.len())
                .min_by_key(|i| load[*i].load(Ordering::Relaxed))
                .unwrap_or(0);
            load[core].fetch_add(1, Ordering::Relaxed);
            shard.stats.connections_accepted.add(1);
            shard.hand_over(
                core,
                Accepted {
                    socket,
                    peer,
                    unread: Vec::new(),
                },
            );
        }
    })
}

fn housekeeping(shard: Rc<Shard<GlommioEnv>>, connections: Rc<Connections>, shared: Arc<Shared>) -> Task<()> {
    spawn_local(async move {
        loop {
            sleep(HOUSEKEEPING).await;
            connections.close_idle(shard.now_ms().saturating_sub(shard.node.idle_timeout_ms));
            shard.housekeep().await;
            let report = Report {
                stats: shard.stats.snapshot(),
                store: shard.store.metrics(),
                partitions: shard.partition_count(),
                topics: shard.metadata().topic_count(),
                groups: shard.group_stats(),
                txns: shard.txn_stats(),
                markers_pending: shard.markers_pending(),
            };
            *shared.reports[shard.index].lock().expect("no holder panics") = Some(report);
        }
    })
}
