//! One client connection: a reader task and a writer task.
//!
//! The reader takes frames in order and begins each; the writer sends answers in the same order. Produce requests
//! overlap, up to [`PIPELINE`] of them, because producers count on it; every other request waits until all before
//! it are answered and written, as in Kafka, which also stops a client that does not read its answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use turgo_net::FrameReader;
use turgo_storage::env::{Class, Env};

use super::sys;
use crate::requests::{self, Client, Close, InFlight};
use crate::shard::{Accepted, Shard};
use crate::sync::{BudgetGuard, Event, Filled, Queue, oneshot};

/// Requests of one connection that may be unanswered at a time.
const PIPELINE: usize = 64;
/// Bytes from which on a frame waits for memory before it is read.
const LONG_FRAME: usize = 64 << 10;
/// Bytes of answers that leave with one call, if more than one is ready: a journal group completes many at once.
const TOGETHER: usize = 64 << 10;

/// What the shell keeps of each open connection of a core.
#[derive(Default)]
pub struct Connections {
    open: RefCell<HashMap<u64, (RawFd, Rc<Cell<u64>>)>>,
    next: Cell<u64>,
    empty: Event,
}

impl Connections {
    /// Ends connections that were idle since before `since_ms`.
    pub fn close_idle(&self, since_ms: u64) {
        for (fd, last) in self.open.borrow().values() {
            if last.get() < since_ms {
                sys::shutdown_both(*fd);
            }
        }
    }
    /// Stops reading from all connections; answers under way are still written.
    pub fn stop_reading(&self) {
        for (fd, _) in self.open.borrow().values() {
            sys::shutdown_read(*fd);
        }
    }
    /// Ends all connections now.
    pub fn close_all(&self) {
        for (fd, _) in self.open.borrow().values() {
            sys::shutdown_both(*fd);
        }
    }
    /// Waits until none is open.
    pub async fn wait_empty(&self) {
        while !self.open.borrow().is_empty() {
            self.empty.wait().await;
        }
    }
}

/// An answer on its way out, in request order.
struct Slot {
    answer: Filled<Result<Option<Vec<Bytes>>, Close>>,
}

/// Requests begun and not yet written.
#[derive(Default)]
struct Window {
    count: Cell<usize>,
    moved: Event,
    failed: Cell<bool>,
    /// The connection goes on elsewhere: its socket must stay open.
    moving: Cell<bool>,
}

impl Window {
    async fn wait_below(&self, limit: usize) {
        while self.count.get() >= limit && !self.failed.get() {
            self.moved.wait().await;
        }
    }
}

/// Serves a connection until either side ends it.
pub async fn serve<E: Env>(shard: Rc<Shard<E>>, connections: Rc<Connections>, accepted: Accepted) {
    let peer = accepted.peer;
    let stream = sys::attach(accepted.socket);
    let _ = stream.set_nodelay(true);
    let fd = stream.as_raw_fd();
    let id = connections.next.get();
    connections.next.set(id + 1);
    let last_active = Rc::new(Cell::new(shard.now_ms()));
    connections
        .open
        .borrow_mut()
        .insert(id, (fd, last_active.clone()));
    shard.stats.connections_open.add(1);
    super::log::debug("connection_served", &[("peer", &peer), ("core", &shard.index)]);

    let (reader, writer) = futures_lite::io::split(stream);
    let slots = Rc::new(Queue::default());
    let window = Rc::new(Window::default());
    let (done, written) = oneshot();
    {
        let (shard, slots, window) = (shard.clone(), slots.clone(), window.clone());
        shard.clone().env.spawn(Class::Journal, async move {
            write_answers(&shard, fd, writer, &slots, &window).await;
            window.failed.set(true);
            window.moved.raise();
            if !window.moving.get() {
                sys::shutdown_both(fd);
            }
            done.fill(());
        });
    }
    let client = Client {
        peer: peer.to_string(),
        host: format!("/{}", peer.ip()),
        ..Client::default()
    };
    let mut frames = FrameReader::new(shard.node.max_request_bytes);
    frames.feed(&accepted.unread);
    let mut source = Source {
        shard: shard.clone(),
        socket: reader,
        frames,
        last_active,
    };
    let mut moving = None;
    match read_requests(&shard, &mut source, &slots, &window, &client).await {
        Err(Ended::Refused(why)) => {
            shard.stats.connections_rejected.add(1);
            super::log::warn("connection_closed", &[("peer", &client.peer), ("reason", &why)]);
        }
        Err(Ended::Closed) => super::log::debug("connection_ended", &[("peer", &client.peer)]),
        Ok(core) => moving = sys::duplicate(fd).ok().map(|socket| (core, socket)),
    }
    if moving.is_some() {
        window.moving.set(true);
    }
    slots.close();
    written.await;
    shard.stats.connections_open.sub(1);
    let load = &shard.node.load;
    load[shard.index].fetch_sub(1, Ordering::Relaxed);
    if let Some((core, socket)) = moving {
        load[core].fetch_add(1, Ordering::Relaxed);
        shard.stats.connections_moved.add(1);
        let unread = source.frames.take_unread();
        shard.hand_over(core, Accepted { socket, peer, unread });
    }
    connections.open.borrow_mut().remove(&id);
    connections.empty.raise();
}

enum Ended {
    /// The other side closed, or the socket failed: nothing to say.
    Closed,
    /// We close because of what came.
    Refused(String),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended::Closed
    }
}

async fn read_requests<E: Env>(
    shard: &Rc<Shard<E>>,
    source: &mut Source<E>,
    slots: &Rc<Queue<Slot>>,
    window: &Rc<Window>,
    client: &Client,
) -> Result<usize, Ended> {
    loop {
        if let Some(core) = requests::attraction(shard, client) {
            // Everything before must be answered here, or answers could overtake each other.
            window.wait_below(1).await;
            if !window.failed.get() {
                return Ok(core);
            }
        }
        let (frame, memory) = source.next().await?;
        if window.failed.get() {
            return Err(Ended::Closed);
        }
        let arrived = shard.env.now_ns();
        // A produce waits only for others before it to be begun, and they are: they began when they were read.
        window.wait_below(PIPELINE).await;
        let in_flight = match requests::begin(shard, client, frame) {
            Ok(in_flight) => in_flight,
            Err(close) => return Err(Ended::Refused(close.to_string())),
        };
        match in_flight {
            InFlight::Produce(produce) => {
                shard.stats.append_stage.record_ns(shard.env.now_ns() - arrived);
                let (fill, answer) = oneshot();
                window.count.set(window.count.get() + 1);
                slots.push(Slot { answer });
                let shard = shard.clone();
                shard.clone().env.spawn(Class::Journal, async move {
                    let answer = produce.finish(&shard).await;
                    shard
                        .stats
                        .produce_latency
                        .record_ns(shard.env.now_ns() - arrived);
                    drop(memory);
                    fill.fill(answer);
                });
            }
            InFlight::Other(pending) => {
                window.wait_below(1).await;
                if window.failed.get() {
                    return Err(Ended::Closed);
                }
                let latency = if pending.is_fetch() {
                    &shard.stats.fetch_latency
                } else {
                    &shard.stats.other_latency
                };
                let answer = requests::answer(pending, client).await;
                latency.record_ns(shard.env.now_ns() - arrived);
                drop(memory);
                let (fill, filled) = oneshot();
                let refused = answer.as_ref().err().map(ToString::to_string);
                window.count.set(window.count.get() + 1);
                slots.push(Slot { answer: filled });
                fill.fill(answer.map(Some));
                if let Some(why) = refused {
                    return Err(Ended::Refused(why));
                }
            }
        }
    }
}

async fn write_answers<E: Env>(
    shard: &Rc<Shard<E>>,
    fd: RawFd,
    mut writer: futures_lite::io::WriteHalf<TcpStream>,
    slots: &Queue<Slot>,
    window: &Window,
) {
    while let Some(first) = slots.pop().await {
        let (mut parts, mut bytes, mut answers) = (Vec::new(), 0, 0);
        let mut failed = false;
        let mut next = Some(first);
        while let Some(slot) = next {
            match slot.answer.await {
                Some(Ok(answer)) => {
                    answers += 1;
                    let answer = answer.unwrap_or_default();
                    bytes += answer.iter().map(Bytes::len).sum::<usize>();
                    match parts.is_empty() {
                        true => parts = answer,
                        false => parts.extend(answer),
                    }
                }
                Some(Err(_)) | None => {
                    failed = true;
                    break;
                }
            }
            next = match bytes < TOGETHER {
                true => slots.pop_if(|slot| slot.answer.is_ready()),
                false => None,
            };
        }
        if !parts.is_empty() {
            let ready = shard.env.now_ns();
            let _memory = shard.response_memory.charge(bytes);
            if write_all(fd, &mut writer, &parts).await.is_err() {
                return;
            }
            shard.stats.bytes_out.add(bytes as u64);
            let took = shard.env.now_ns() - ready;
            shard.stats.write_stage.record_ns_of(took, answers);
        }
        if failed {
            return;
        }
        window.count.set(window.count.get() - answers);
        window.moved.raise();
    }
}

/// Sends all parts in order: as much as the socket takes with each call, waiting for room in between.
async fn write_all(
    fd: RawFd,
    writer: &mut futures_lite::io::WriteHalf<TcpStream>,
    parts: &[Bytes],
) -> io::Result<()> {
    let (mut first, mut skip) = (0, 0);
    while first < parts.len() {
        if parts[first].len() == skip {
            (first, skip) = (first + 1, 0);
            continue;
        }
        let mut sent = sys::send_now(fd, &parts[first..], skip)?;
        if sent == 0 {
            // Waits for room and then sends what fits of this part.
            sent = writer.write(&parts[first][skip..]).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        skip += sent;
        while first < parts.len() && skip >= parts[first].len() {
            skip -= parts[first].len();
            first += 1;
        }
    }
    Ok(())
}

/// Frames from a socket.
struct Source<E: Env> {
    shard: Rc<Shard<E>>,
    socket: futures_lite::io::ReadHalf<TcpStream>,
    frames: FrameReader,
    last_active: Rc<Cell<u64>>,
}

impl<E: Env> Source<E> {
    /// The next frame without its length, and the memory it holds.
    async fn next(&mut self) -> Result<(Bytes, BudgetGuard), Ended> {
        let mut memory = None;
        let mut pieces = (0, 0);
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => {
                    // What came in one piece waited for nobody.
                    let (count, first_ns) = pieces;
                    if count > 1 {
                        let stage = &self.shard.stats.read_stage;
                        stage.record_ns(self.shard.env.now_ns() - first_ns);
                    }
                    let memory = memory.unwrap_or_else(|| self.shard.request_memory.charge(frame.len()));
                    return Ok((frame, memory));
                }
                Ok(None) => {}
                Err(error) => return Err(Ended::Refused(error.to_string())),
            }
            // Long frames wait for room before they are read; short ones only count.
            if memory.is_none()
                && let Some(missing) = self.frames.missing().filter(|missing| *missing > LONG_FRAME)
            {
                memory = Some(self.shard.request_memory.acquire(missing).await);
            }
            let n = self.socket.read(self.frames.space()).await?;
            if n == 0 {
                return Err(Ended::Closed);
            }
            self.frames.filled(n);
            if pieces.0 == 0 {
                pieces.1 = self.shard.env.now_ns();
            }
            pieces.0 += 1;
            self.last_active.set(self.shard.now_ms());
            self.shard.stats.bytes_in.add(n as u64);
        }
    }
}
