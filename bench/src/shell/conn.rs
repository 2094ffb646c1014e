//! One connection of an actor: a socket that never blocks, frames out, frames in.
//!
//! What always holds: answers are matched to requests in order, as brokers answer; the time at which a frame's first
//! byte was given to the socket is taken right before that write.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use bytes::{Buf, Bytes};
use turgo_net::FrameReader;

use crate::client::{Link, Lost};

use super::clock;

/// Answers may be this large.
const MAX_FRAME: usize = 256 << 20;
/// Pieces given to one write.
const PIECES: usize = 64;
/// Reads from one connection before others have their turn.
const READS_AT_ONCE: usize = 16;

struct Out {
    token: i32,
    pieces: VecDeque<Bytes>,
    sent: u64,
    answered: bool,
}

/// What came of a look at the socket.
#[derive(Debug)]
pub(super) enum Got {
    /// The answer to `token`, whose first byte left at `sent`.
    Answer { token: i32, sent: u64, frame: Bytes },
    /// The last byte of a request without answer left.
    Written { token: i32, sent: u64 },
}

/// The connection.
pub(super) struct Conn {
    pub(super) actor: usize,
    pub(super) link: Link,
    pub(super) address: String,
    pub(super) stream: TcpStream,
    pub(super) connecting_since: Option<u64>,
    pub(super) wants_write: bool,
    out: VecDeque<Out>,
    in_flight: VecDeque<(i32, u64)>,
    frames: FrameReader,
}

/// The first address that `address` resolves to.
pub(super) fn resolve(address: &str) -> std::io::Result<SocketAddr> {
    address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name resolves to no address"))
}

impl Conn {
    /// Begins to connect.
    pub(super) fn open(actor: usize, link: Link, address: &str) -> std::io::Result<Conn> {
        let target = resolve(address)?;
        let domain = socket2::Domain::for_address(target);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&target.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(e) => return Err(e),
        }
        Ok(Conn {
            actor,
            link,
            address: address.to_owned(),
            stream: socket.into(),
            connecting_since: Some(clock::now()),
            wants_write: true,
            out: VecDeque::new(),
            in_flight: VecDeque::new(),
            frames: FrameReader::new(MAX_FRAME),
        })
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, token: i32, pieces: Vec<Bytes>, answered: bool) {
        self.out.push_back(Out {
            token,
            pieces: pieces.into(),
            sent: 0,
            answered,
        });
    }

    /// The connect under way has ended: how.
    pub(super) fn connected(&mut self) -> std::io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.connecting_since = None;
        Ok(())
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self, got: &mut Vec<Got>) -> std::io::Result<()> {
        self.wants_write = false;
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut n = 0;
            for piece in self.out.iter().flat_map(|o| &o.pieces).take(PIECES) {
                slices[n] = IoSlice::new(piece);
                n += 1;
            }
            let at = clock::now();
            match self.stream.write_vectored(&slices[..n]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written, at, got),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.wants_write = true;
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize, at: u64, got: &mut Vec<Got>) {
        while written > 0 {
            let Some(front) = self.out.front_mut() else { return };
            if front.sent == 0 {
                front.sent = at;
                if front.answered {
                    self.in_flight.push_back((front.token, at));
                }
            }
            while let Some(piece) = front.pieces.front_mut() {
                let n = piece.len().min(written);
                piece.advance(n);
                written -= n;
                if !piece.is_empty() {
                    return;
                }
                front.pieces.pop_front();
            }
            if !front.answered {
                got.push(Got::Written {
                    token: front.token,
                    sent: front.sent,
                });
            }
            self.out.pop_front();
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, got: &mut Vec<Got>) -> std::io::Result<()> {
        for _ in 0..READS_AT_ONCE {
            let space = self.frames.space();
            let room = space.len();
            match self.stream.read(space) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.frames.filled(n);
                    while let Some(frame) = self.frames.next_frame().map_err(std::io::Error::other)? {
                        let (token, sent) = self
                            .in_flight
                            .pop_front()
                            .ok_or_else(|| std::io::Error::other("an answer to nothing that was asked"))?;
                        let correlation = frame.first_chunk().map(|c| i32::from_be_bytes(*c));
                        if correlation != Some(token) {
                            return Err(std::io::Error::other("answers out of order"));
                        }
                        got.push(Got::Answer { token, sent, frame });
                    }
                    if n < room {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Requests that will not be answered any more, in order.
    pub(super) fn unanswered(&self) -> Vec<Lost> {
        let sent = self.in_flight.iter().map(|(token, _)| Lost {
            token: *token,
            sent: true,
        });
        // A frame of which some bytes left is among those in flight, unless it has no answer.
        let queued = self
            .out
            .iter()
            .filter(|o| o.sent == 0 || !o.answered)
            .map(|o| Lost {
                token: o.token,
                sent: o.sent != 0,
            });
        sent.chain(queued).collect()
    }
}
