//! Cutting a byte stream into frames, without trusting what it says.
//!
//! A frame is an int32 size and that many bytes. [`FrameReader`] is the whole machine, for requests on a broker and for
//! responses on a client: the shell asks for [`FrameReader::space`], reads from its socket into it, reports
//! [`FrameReader::filled`], and takes frames from [`FrameReader::next_frame`] until there are none.
//!
//! What always holds: a size below zero or above the ceiling is an error before any of its bytes are stored, and the
//! memory held grows with what was received, never with what was claimed: at most [`EAGER_BYTES`] or
//! [`GROWTH`] times the bytes received, whichever is more.

use bytes::{Bytes, BytesMut};

/// Kafka's default for `socket.request.max.bytes`: the largest frame accepted.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 100 * 1024 * 1024;
/// Room offered for reading while no larger frame is under way, in bytes.
pub const READ_BLOCK_BYTES: usize = 16 * 1024;
/// A frame up to this size gets its whole room at once, in bytes.
pub const EAGER_BYTES: usize = 256 * 1024;
/// Beyond [`EAGER_BYTES`], room grows to this many times what was received.
pub const GROWTH: usize = 4;

/// Room below this is not worth a read; a new block is begun.
const LEAST_SPACE_BYTES: usize = 2 * 1024;
const SIZE_BYTES: usize = 4;

/// Why a stream is no sequence of frames. The peer is at fault; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A negative size.
    #[error("frame of {0} bytes")]
    Negative(i32),
    /// More than this end accepts.
    #[error("frame of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The size claimed.
        size: usize,
        /// The ceiling.
        max: usize,
    },
}

/// Collects received bytes and cuts them into frames.
#[derive(Debug)]
pub struct FrameReader {
    /// All initialised: `received` bytes from the peer, then room to read into.
    buf: BytesMut,
    received: usize,
    max_frame_bytes: usize,
}

impl FrameReader {
    /// Accepts frames of at most `max_frame_bytes`, the size prefix not counted.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            received: 0,
            max_frame_bytes: max_frame_bytes.min(i32::MAX as usize),
        }
    }

    /// Bytes received and not yet taken as frames.
    pub fn buffered(&self) -> usize {
        self.received
    }

    /// Bytes still missing from the frame under way; `None` while its size is not known either. 0 when a frame is
    /// ready.
    pub fn missing(&self) -> Option<usize> {
        match self.size() {
            Ok(Some(size)) => Some((SIZE_BYTES + size).saturating_sub(self.received)),
            _ => None,
        }
    }

    /// Room to read into, never empty. Call [`FrameReader::next_frame`] until it yields nothing first: complete frames
    /// only make the room larger.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_space();
        &mut self.buf[self.received..]
    }

    /// `bytes` of [`FrameReader::space`] were received.
    pub fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.buf.len() - self.received,
            "more bytes than there was room for"
        );
        self.received += bytes;
    }

    /// Takes the bytes received and not yet taken as frames, for a connection that goes on elsewhere.
    pub fn take_unread(&mut self) -> Vec<u8> {
        let unread = self.buf[..self.received].to_vec();
        self.buf.clear();
        self.received = 0;
        unread
    }

    /// Copies received bytes in, for a shell that reads into memory of its own.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.filled(n);
            bytes = &bytes[n..];
        }
    }

    /// The next complete frame without its size, sharing the memory it was received in; `None` when more bytes are
    /// needed.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.size()? else { return Ok(None) };
        let whole = SIZE_BYTES + size;
        if self.received < whole {
            return Ok(None);
        }
        let mut frame = self.buf.split_to(whole);
        self.received -= whole;
        Ok(Some(frame.split_off(SIZE_BYTES).freeze()))
    }

    /// The size of the frame under way, once received, checked.
    fn size(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buf[..self.received].first_chunk::<SIZE_BYTES>() else {
            return Ok(None);
        };
        let claimed = i32::from_be_bytes(*prefix);
        let size = usize::try_from(claimed).map_err(|_| FrameError::Negative(claimed))?;
        if size > self.max_frame_bytes {
            return Err(FrameError::TooLarge {
                size,
                max: self.max_frame_bytes,
            });
        }
        Ok(Some(size))
    }

    /// Bytes that the buffer should span now: the whole frame if it is small or nearly there, else a multiple of what
    /// has arrived.
    fn target(&self) -> usize {
        // A bad size is reported by `next_frame`; until then there is merely room for a little more.
        let whole = self
            .size()
            .ok()
            .flatten()
            .map_or(SIZE_BYTES, |size| SIZE_BYTES + size);
        if whole <= self.received {
            // Complete already; the caller did not take it. One more block at a time.
            return self.received + LEAST_SPACE_BYTES;
        }
        whole.min(EAGER_BYTES.max(self.received * GROWTH))
    }

    fn make_space(&mut self) {
        let target = self.target();
        let room = self.buf.len() - self.received;
        let enough = self.buf.len() >= target && (room >= LEAST_SPACE_BYTES || self.size_known());
        if room > 0 && enough {
            return;
        }
        // A fresh zeroed block: the old one may be shared with frames already handed out. What was received of the
        // frame under way moves over; growth by a factor keeps that below half of the frame.
        let mut fresh = BytesMut::zeroed(target.max(READ_BLOCK_BYTES));
        fresh[..self.received].copy_from_slice(&self.buf[..self.received]);
        self.buf = fresh;
    }

    fn size_known(&self) -> bool {
        self.received >= SIZE_BYTES
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_FRAME_BYTES)
    }
}

#[cfg(test)]
mod tests;
