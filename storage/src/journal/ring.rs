//! Geometry of the journal's ring: where groups go, which files are live, where a scan may begin.
//!
//! A pure machine inside [`super::Journal`].
//!
//! Invariants: live files are `tail.file ..= head.file` in ring order; marks are in order and the first is the tail;
//! a group is placed at `head` if at least `group_max` remains in the file, else at the start of the next.

use std::collections::VecDeque;

use crate::env::ALIGN;
use crate::format::superblock::Superblock;

/// A page of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    /// File.
    pub file: u32,
    /// Page of 4 KiB in it.
    pub page: u32,
}

/// A group a scan may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it was or will be placed; not yet normalised over the end of a file.
    pub at: At,
    /// Its number.
    pub group_seq: u64,
    /// Header CRC of the group before.
    pub prev_crc: u32,
    /// Epoch of the group before.
    pub epoch: u64,
    /// Its first LSN.
    pub first_lsn: u64,
}

/// Fixed sizes of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Files.
    pub files: u32,
    /// Pages of each.
    pub file_pages: u32,
    /// Pages of the largest group.
    pub group_pages: u32,
}

impl Geometry {
    /// The ring a superblock describes.
    pub fn of(superblock: &Superblock) -> Self {
        Self {
            files: superblock.file_count,
            file_pages: superblock.file_pages,
            group_pages: superblock.group_max / ALIGN as u32,
        }
    }

    /// Where the group goes that follows `at`.
    pub fn place(&self, at: At) -> At {
        if self.file_pages - at.page >= self.group_pages {
            at
        } else {
            self.next_file(at.file)
        }
    }

    /// Start of the next file.
    pub fn next_file(&self, file: u32) -> At {
        At {
            file: (file + 1) % self.files,
            page: 0,
        }
    }
}

/// See the module's header.
#[derive(Debug)]
pub struct Ring {
    /// Sizes.
    pub geometry: Geometry,
    /// Behind the last group.
    pub head: At,
    /// First group that counts.
    pub tail: Mark,
    /// Groups after the tail, about one per MiB and one per file.
    marks: VecDeque<Mark>,
    /// Furthest page, in order of files, that was ever taken.
    pub high: At,
    /// A file is being added: the head may not go from the last file to the first.
    pub growing: bool,
}

const MARK_PAGES: u32 = 256;

impl Ring {
    /// A ring as the superblock describes it, empty.
    pub fn new(superblock: &Superblock) -> Self {
        let at = At {
            file: superblock.tail_file,
            page: superblock.tail_page,
        };
        let tail = Mark {
            at,
            group_seq: superblock.tail_group_seq,
            prev_crc: superblock.tail_prev_crc,
            epoch: superblock.tail_epoch,
            first_lsn: superblock.tail_first_lsn,
        };
        Self {
            geometry: Geometry::of(superblock),
            head: at,
            tail,
            marks: VecDeque::new(),
            high: at,
            growing: false,
        }
    }

    /// Files that hold live groups, the one being filled included.
    pub fn live_files(&self) -> u32 {
        let files = self.geometry.files;
        (self.head.file + files - self.tail.at.file) % files + 1
    }

    /// Files without live groups.
    pub fn free_files(&self) -> u32 {
        self.geometry.files - self.live_files()
    }

    /// Bytes that groups surely find behind the head while `reserve` files stay free.
    pub fn room_bytes(&self, reserve: u32) -> u64 {
        let Geometry {
            file_pages,
            group_pages,
            ..
        } = self.geometry;
        let here = (file_pages - self.head.page).saturating_sub(group_pages);
        let per_file = file_pages - group_pages;
        let files = self.free_files().saturating_sub(reserve);
        (u64::from(here) + u64::from(files) * u64::from(per_file)) * ALIGN as u64
    }

    /// Moves the head to where the next group goes; false if that would take the last free file and `fence` is not set.
    pub fn advance(&mut self, fence: bool) -> bool {
        let to = self.geometry.place(self.head);
        if to.file != self.head.file && self.free_files() <= u32::from(!fence) {
            return false;
        }
        if self.growing && to.file < self.head.file {
            return false;
        }
        self.head = to;
        true
    }

    /// Takes `len` bytes at the head for the group of `mark`.
    pub fn take(&mut self, mark: Mark, len: u32) {
        let pages = len / ALIGN as u32;
        assert!(
            self.head.page + pages <= self.geometry.file_pages,
            "group crosses its file"
        );
        let last = self.marks.back().unwrap_or(&self.tail);
        if last.at.file != mark.at.file || mark.at.page >= last.at.page + MARK_PAGES {
            self.marks.push_back(mark);
        }
        self.head.page += pages;
        self.high = self.high.max(self.head);
    }

    /// The last mark whose groups and all later ones hold every frame from `lsn` on; `head` is the mark of the next
    /// group.
    pub fn mark_for(&self, lsn: u64, head: Mark) -> Mark {
        if head.first_lsn <= lsn {
            return head;
        }
        self.marks
            .iter()
            .rev()
            .find(|m| m.first_lsn <= lsn)
            .copied()
            .unwrap_or(self.tail)
    }

    /// First LSN of the group from which on at most `files` files are live; none if no more are live now.
    pub fn lsn_keeping(&self, files: u32) -> Option<u64> {
        let drop = self.live_files().checked_sub(files.max(1)).filter(|&n| n > 0)?;
        let file = (self.tail.at.file + drop) % self.geometry.files;
        self.marks.iter().find(|m| m.at.file == file).map(|m| m.first_lsn)
    }

    /// Moves the tail to `mark`, once every superblock copy names it.
    pub fn set_tail(&mut self, mark: Mark) {
        while self.marks.front().is_some_and(|m| m.group_seq <= mark.group_seq) {
            self.marks.pop_front();
        }
        self.tail = mark;
    }

    /// True if a file can be added at the end of the ring: the live range does not wrap over it.
    pub fn may_grow(&self) -> bool {
        self.tail.at.file <= self.head.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(files: u32, pages: u32, group: u32) -> Ring {
        let zero = Mark {
            at: At::default(),
            group_seq: 1,
            prev_crc: 0,
            epoch: 0,
            first_lsn: 1,
        };
        Ring {
            geometry: Geometry {
                files,
                file_pages: pages,
                group_pages: group,
            },
            head: At::default(),
            tail: zero,
            marks: VecDeque::new(),
            high: At::default(),
            growing: false,
        }
    }

    fn put(ring: &mut Ring, seq: u64, pages: u32) -> bool {
        if !ring.advance(false) {
            return false;
        }
        let mark = Mark {
            at: ring.head,
            group_seq: seq,
            prev_crc: 0,
            epoch: 0,
            first_lsn: seq,
        };
        ring.take(mark, pages * ALIGN as u32);
        true
    }

    #[test]
    fn the_last_free_file_is_kept_for_the_fence() {
        let mut r = ring(4, 8, 4);
        let mut seq = 0;
        while put(&mut r, seq + 1, 2) {
            seq += 1;
        }
        assert_eq!((r.live_files(), r.free_files()), (3, 1));
        assert!(r.advance(true));
        assert_eq!(r.free_files(), 0);
    }

    #[test]
    fn room_is_a_lower_bound() {
        for (pages, group) in [(8, 4), (16, 3), (9, 1), (7, 7)] {
            let mut r = ring(5, pages, group);
            let room = r.room_bytes(1) / ALIGN as u64;
            let mut seq = 0;
            while put(&mut r, seq + 1, 1) {
                seq += 1;
            }
            assert!(
                seq >= room,
                "{seq} groups of a page found room, {room} were promised"
            );
        }
    }

    #[test]
    fn tail_moves_to_the_last_mark_at_or_before_an_lsn() {
        let mut r = ring(4, 1024, 16);
        for seq in 1..=150 {
            assert!(put(&mut r, seq, 16));
        }
        let head = Mark {
            at: r.head,
            group_seq: 151,
            prev_crc: 0,
            epoch: 0,
            first_lsn: 151,
        };
        let mark = r.mark_for(100, head);
        assert!(mark.first_lsn <= 100 && mark.first_lsn > 60, "{mark:?}");
        assert_eq!(r.mark_for(151, head), head);
        let keep_one = r.lsn_keeping(1).expect("more than one file is live");
        r.set_tail(r.mark_for(keep_one, head));
        assert_eq!(r.live_files(), 1);
        assert!(r.may_grow());
    }
}
