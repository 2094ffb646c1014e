//! The journal of one core: frames gather in an open group; groups are written one after the other, D in flight.
//!
//! [`Journal`] is the pure part: what is pending, where the next group goes, what is durable. The procedures that
//! move bytes are in [`write`](self::write); the scan that reads them back is in [`scan`].
//!
//! Invariants: LSNs are dense in order of [`Journal::push`]; groups are submitted in LSN order and become durable in
//! LSN order (I4); at most `window` groups are in flight (R4); a group never crosses a file and the last free file is
//! only taken by recovery's fence (R7).

pub(crate) mod ring;
pub mod scan;
pub(crate) mod write;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::api::StoreConfig;
use crate::core::Partition;
use crate::env::ALIGN;
use crate::format::frame::{FrameHeader, Kind, SegCreate, payload_crc};
use crate::format::group::GroupHeader;
use crate::format::superblock::Superblock;
use crate::format::{crc, pages};
use crate::tail::sys::Lease;
use ring::{Mark, Ring};

/// Payload of a pending frame.
pub(crate) enum Body {
    /// A batch in a slab.
    Batch(Lease),
    /// A small payload of its own.
    Small(Box<[u8]>),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Batch(lease) => lease.as_ref(),
            Body::Small(bytes) => bytes,
        }
    }
}

/// A frame that waits for its group to be written.
pub(crate) struct Pending {
    pub kind: Kind,
    pub topic: u32,
    pub partition: u32,
    pub base_offset: i64,
    pub last_offset_delta: u32,
    pub leader_epoch: i32,
    pub max_timestamp: i64,
    pub payload_len: u32,
    pub body: Body,
}

/// A partition's log end when a group was closed.
pub(crate) struct GroupEnd {
    pub partition: Rc<Partition>,
    pub end: i64,
}

/// What a frame makes of its log once durable, for [`Journal::push`].
pub(crate) struct EndOf<'a> {
    pub partition: &'a Rc<Partition>,
    /// The partition's [`crate::core::LogState::group_mark`].
    pub mark: &'a mut (u64, usize),
    /// Log end after the frame.
    pub end: i64,
}

/// Frames that will be one write.
pub(crate) struct Group {
    pub serial: u64,
    pub first_lsn: u64,
    pub frames: Vec<Pending>,
    /// Bytes of header and frames.
    pub used: usize,
    pub ends: Vec<GroupEnd>,
    /// Time of the first frame.
    pub since_ns: u64,
    pub flags: u32,
}

/// A group whose write is under way.
pub(crate) struct InFlight {
    pub seq: u64,
    pub last_lsn: u64,
    pub done: bool,
    pub ends: Vec<GroupEnd>,
    pub since_ns: u64,
    pub submitted_ns: u64,
}

/// See the module's header.
pub(crate) struct Journal {
    pub ring: Ring,
    pub journal_id: u64,
    pub epoch: u64,
    pub next_lsn: u64,
    pub durable_lsn: u64,
    pub next_seq: u64,
    pub prev_crc: u32,
    pub prev_epoch: u64,
    /// Groups waiting, oldest first; the last may take more frames.
    pub queue: VecDeque<Group>,
    pub in_flight: VecDeque<InFlight>,
    /// Bytes the queue will take in the ring, pads included.
    pub queued_bytes: usize,
    next_serial: u64,
    group_limit: usize,
    /// The last group written holds frames that no later group proves complete.
    pub unsealed: bool,
    /// Time of the last submission.
    pub last_submit_ns: u64,
}

/// Bytes of the largest group a configuration needs.
pub(crate) fn group_max(config: &StoreConfig) -> usize {
    let largest_batch = pages(GroupHeader::BYTES + FrameHeader::framed(config.max_batch_bytes as usize));
    largest_batch.max(pages(config.group_bytes as usize))
}

impl Journal {
    pub fn new(superblock: &Superblock, config: &StoreConfig) -> Self {
        Self {
            ring: Ring::new(superblock),
            journal_id: superblock.journal_id,
            epoch: superblock.epoch,
            next_lsn: superblock.tail_first_lsn,
            durable_lsn: superblock.tail_first_lsn - 1,
            next_seq: superblock.tail_group_seq,
            prev_crc: superblock.tail_prev_crc,
            prev_epoch: superblock.tail_epoch,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            queued_bytes: 0,
            next_serial: 1,
            group_limit: pages(config.group_bytes as usize).min(group_max(config)),
            unsealed: false,
            last_submit_ns: 0,
        }
    }

    /// Groups are gathered or on their way.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.in_flight.is_empty()
    }

    /// Newest LSN given out; 0 if none was.
    pub fn last_lsn(&self) -> u64 {
        self.next_lsn - 1
    }

    /// Adds a frame to the open group and returns its LSN. `end` is what a completed group makes durable.
    pub fn push(&mut self, frame: Pending, end: Option<EndOf<'_>>, now_ns: u64) -> u64 {
        let framed = FrameHeader::framed(frame.payload_len as usize);
        let open = self
            .queue
            .back()
            .is_some_and(|g| g.flags == 0 && (g.used + framed <= self.group_limit || g.frames.is_empty()));
        if !open {
            self.queue.push_back(Group {
                serial: self.next_serial,
                first_lsn: self.next_lsn,
                frames: Vec::with_capacity(8),
                used: GroupHeader::BYTES,
                ends: Vec::new(),
                since_ns: now_ns,
                flags: 0,
            });
            self.next_serial += 1;
            self.queued_bytes += ALIGN;
        }
        let group = self.queue.back_mut().expect("just made");
        let before = pages(group.used);
        group.used += framed;
        self.queued_bytes += pages(group.used) - before;
        group.frames.push(frame);
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        if let Some(EndOf { partition, mark, end }) = end {
            // The list has one entry per partition and group; the mark says which.
            if mark.0 == group.serial {
                group.ends[mark.1].end = end;
            } else {
                *mark = (group.serial, group.ends.len());
                group.ends.push(GroupEnd {
                    partition: partition.clone(),
                    end,
                });
            }
        }
        lsn
    }

    /// A log was truncated to `end`: groups on their way make no more than that durable.
    pub fn truncated(&mut self, partition: &Rc<Partition>, end: i64) {
        let queued = self.queue.iter_mut().flat_map(|g| &mut g.ends);
        let flying = self.in_flight.iter_mut().flat_map(|g| &mut g.ends);
        for entry in queued
            .chain(flying)
            .filter(|e| Rc::ptr_eq(&e.partition, partition))
        {
            entry.end = entry.end.min(end);
        }
    }

    /// Adds a group of one NOOP frame with these flags. Returns its LSN.
    pub fn push_noop(&mut self, flags: u32, now_ns: u64) -> u64 {
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        self.queued_bytes += ALIGN;
        self.queue.push_back(Group {
            serial: self.next_serial,
            first_lsn: lsn,
            frames: vec![Pending {
                kind: Kind::Noop,
                topic: 0,
                partition: 0,
                base_offset: 0,
                last_offset_delta: 0,
                leader_epoch: -1,
                max_timestamp: 0,
                payload_len: 0,
                body: Body::Small(Box::default()),
            }],
            used: GroupHeader::BYTES + FrameHeader::BYTES,
            ends: Vec::new(),
            since_ns: now_ns,
            flags,
        });
        self.next_serial += 1;
        lsn
    }

    /// True if a batch of `len` bytes surely finds room in the ring behind everything queued, leaving files for control
    /// frames and for a fence.
    pub fn has_room(&self, len: usize) -> bool {
        // The batch may roll a segment first.
        let need =
            self.queued_bytes + FrameHeader::framed(len) + FrameHeader::framed(SegCreate::BYTES) + 2 * ALIGN;
        self.ring.room_bytes(2) >= need as u64
    }

    /// True if a control frame that takes `framed` bytes surely finds room behind everything queued, the file kept for a
    /// fence aside. What is admitted so can be written without any file becoming free, so a checkpoint, which waits for
    /// it, can always end.
    pub fn has_control_room(&self, framed: usize) -> bool {
        let need = self.queued_bytes + framed + 2 * ALIGN;
        self.ring.room_bytes(1) >= need as u64
    }

    /// The mark of the next group to be submitted.
    pub fn head_mark(&self) -> Mark {
        Mark {
            at: self.ring.head,
            group_seq: self.next_seq,
            prev_crc: self.prev_crc,
            epoch: self.prev_epoch,
            first_lsn: self.queue.front().map_or(self.next_lsn, |g| g.first_lsn),
        }
    }

    /// Takes the first queued group for submission; its place in the ring must have been made by [`Ring::advance`].
    /// Returns the group with the header it gets.
    pub fn take(&mut self, window: u32, wall_ns: u64) -> (Group, GroupHeader) {
        let group = self.queue.pop_front().expect("a queued group");
        let total = pages(group.used);
        self.queued_bytes -= total;
        let header = GroupHeader {
            flags: group.flags,
            journal_id: self.journal_id,
            epoch: self.epoch,
            group_seq: self.next_seq,
            first_lsn: group.first_lsn,
            acked_lsn: self.durable_lsn,
            file_no: self.ring.head.file,
            file_page: self.ring.head.page,
            total_len: total as u32,
            used_len: group.used as u32,
            frame_count: group.frames.len() as u32,
            prev_group_crc: self.prev_crc,
            body_crc: 0,
            window,
            wall_ns,
        };
        (group, header)
    }

    /// Notes that the group with `header` and `crc` is being written.
    pub fn submitted(&mut self, group: Group, header: &GroupHeader, crc: u32, now_ns: u64) {
        self.ring.take(
            Mark {
                at: self.ring.head,
                group_seq: self.next_seq,
                prev_crc: self.prev_crc,
                epoch: self.prev_epoch,
                first_lsn: group.first_lsn,
            },
            header.total_len,
        );
        self.in_flight.push_back(InFlight {
            seq: self.next_seq,
            last_lsn: header.next_lsn() - 1,
            done: false,
            ends: group.ends,
            since_ns: group.since_ns,
            submitted_ns: now_ns,
        });
        self.next_seq += 1;
        self.prev_crc = crc;
        self.prev_epoch = self.epoch;
        self.unsealed = group.flags == 0;
        self.last_submit_ns = now_ns;
    }

    /// Notes that a group's write is complete, and takes the groups that are durable now, in order.
    pub fn completed(&mut self, seq: u64, out_of_order: bool) -> Vec<InFlight> {
        if let Some(group) = self.in_flight.iter_mut().find(|g| g.seq == seq) {
            group.done = true;
        }
        let mut durable = Vec::new();
        if out_of_order {
            // A planted fault: see `PlantedFaults::ack_out_of_order`.
            let mut at = 0;
            while at < self.in_flight.len() {
                if self.in_flight[at].done {
                    durable.extend(self.in_flight.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        while self.in_flight.front().is_some_and(|g| g.done) {
            durable.extend(self.in_flight.pop_front());
        }
        for group in &durable {
            assert!(
                out_of_order || group.last_lsn > self.durable_lsn,
                "durable LSN moved back"
            );
            self.durable_lsn = self.durable_lsn.max(group.last_lsn);
        }
        durable
    }
}

/// Writes a group into a buffer of `header.total_len` bytes, pads included. Returns the CRC of its header.
pub(crate) fn encode(group: &Group, mut header: GroupHeader, buf: &mut [u8]) -> u32 {
    assert_eq!(
        buf.len(),
        header.total_len as usize,
        "buffer does not fit the group"
    );
    let mut at = GroupHeader::BYTES;
    for (lsn, frame) in (group.first_lsn..).zip(&group.frames) {
        let payload = frame.body.bytes();
        assert_eq!(payload.len(), frame.payload_len as usize, "frame payload changed");
        let image = FrameHeader {
            kind: frame.kind as u8,
            flags: 0,
            lsn,
            topic: frame.topic,
            partition: frame.partition,
            base_offset: frame.base_offset,
            last_offset_delta: frame.last_offset_delta,
            leader_epoch: frame.leader_epoch,
            payload_len: frame.payload_len,
            payload_crc: payload_crc(frame.kind, payload),
            max_timestamp: frame.max_timestamp,
        };
        buf[at..at + FrameHeader::BYTES].copy_from_slice(&image.encode().0);
        at += FrameHeader::BYTES;
        buf[at..at + payload.len()].copy_from_slice(payload);
        buf[at + payload.len()..at + crate::format::pad8(payload.len())].fill(0);
        at += crate::format::pad8(payload.len());
    }
    assert_eq!(at, group.used, "group size miscounted");
    buf[at..].fill(0);
    header.body_crc = crc(&buf[GroupHeader::BYTES..at]);
    let (image, crc) = header.encode();
    buf[..GroupHeader::BYTES].copy_from_slice(&image);
    crc
}
