//! Reading the journal back: which groups count, and how its end is judged.
//!
//! Pure: [`Scan::check`] accepts or refuses the next group, [`judge`] gives the verdict over what lies behind the first
//! group that is missing. Recovery feeds both with what it reads.
//!
//! A group counts only if everything about it fits: CRCs, journal, own location, dense numbers, the chain, and an epoch
//! that is its predecessor's, or a higher one that a FENCE opens, and never above the superblock's.

use super::ring::{At, Geometry, Mark};
use crate::api::Verdict;
use crate::env::ALIGN;
use crate::format::frame::Frames;
use crate::format::group::{FENCE, GroupHeader};
use crate::format::{Invalid, crc};

/// What the next group must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Identity every group carries.
    pub journal_id: u64,
    /// The ring.
    pub geometry: Geometry,
    /// Highest epoch in use.
    pub epoch_max: u64,
    /// Behind the last valid group.
    pub at: At,
    /// Number of the next group.
    pub group_seq: u64,
    /// First LSN of the next group.
    pub first_lsn: u64,
    /// Header CRC of the last valid group.
    pub prev_crc: u32,
    /// Epoch of the last valid group.
    pub epoch: u64,
}

/// Why the scan stopped at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nothing valid is there, or a group that was torn or belongs to the past.
    Missing(&'static str),
    /// A valid group of another journal is there.
    Foreign,
}

impl Scan {
    /// Starts at a superblock's tail.
    pub fn new(journal_id: u64, geometry: Geometry, epoch_max: u64, tail: Mark) -> Self {
        Self {
            journal_id,
            geometry,
            epoch_max,
            at: tail.at,
            group_seq: tail.group_seq,
            first_lsn: tail.first_lsn,
            prev_crc: tail.prev_crc,
            epoch: tail.epoch,
        }
    }

    /// Where the next group must lie.
    pub fn place(&self) -> At {
        self.geometry.place(self.at)
    }

    /// Judges the header found at [`Scan::place`].
    pub fn check_header(&self, bytes: &[u8]) -> Result<(GroupHeader, u32), Stop> {
        let at = self.place();
        let (header, crc) = GroupHeader::read(bytes).map_err(|e| Stop::Missing(e.0))?;
        if header.journal_id != self.journal_id {
            return Err(Stop::Foreign);
        }
        let fits = header.total_len / ALIGN as u32 <= self.geometry.file_pages - at.page;
        let missing = |what| Err(Stop::Missing(what));
        if (header.file_no, header.file_page) != (at.file, at.page) || !fits {
            return missing("group of another place");
        }
        if header.group_seq != self.group_seq || header.first_lsn != self.first_lsn {
            return missing("group of another number");
        }
        if header.prev_group_crc != self.prev_crc {
            return missing("group chain broken");
        }
        let opens = header.epoch > self.epoch && header.flags & FENCE != 0;
        if (header.epoch != self.epoch && !opens) || header.epoch > self.epoch_max {
            return missing("group of another epoch");
        }
        Ok((header, crc))
    }

    /// Judges the whole group behind a header that was accepted; `bytes` are its `total_len`.
    pub fn check_body(header: &GroupHeader, bytes: &[u8]) -> Result<(), Invalid> {
        let body = bytes
            .get(GroupHeader::BYTES..header.used_len as usize)
            .ok_or(Invalid("group cut short"))?;
        if crc(body) != header.body_crc {
            return Err(Invalid("group body CRC mismatch"));
        }
        Ok(())
    }

    /// The frames of a group whose body was accepted.
    pub fn frames<'a>(header: &GroupHeader, bytes: &'a [u8]) -> Frames<'a> {
        Frames::new(
            &bytes[GroupHeader::BYTES..header.used_len as usize],
            header.first_lsn,
            header.frame_count,
        )
    }

    /// Moves on behind an accepted group.
    pub fn accept(&mut self, header: &GroupHeader, crc: u32) {
        self.at = At {
            file: header.file_no,
            page: header.file_page + header.total_len / ALIGN as u32,
        };
        self.group_seq = header.group_seq.saturating_add(1);
        self.first_lsn = header.next_lsn();
        self.prev_crc = crc;
        self.epoch = header.epoch;
    }
}

/// A valid group header behind the first missing group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// Its header.
    pub header: GroupHeader,
    /// CRC of its header.
    pub crc: u32,
}

impl Later {
    /// Reads a header from a page behind the end; none if it is not a later group of this journal.
    pub fn read(page: &[u8], at: At, scan: &Scan) -> Option<Self> {
        let (header, crc) = GroupHeader::read(page).ok()?;
        let here =
            (header.file_no, header.file_page) == (at.file, at.page) && header.journal_id == scan.journal_id;
        let later =
            header.group_seq > scan.group_seq && header.epoch >= scan.epoch && header.epoch <= scan.epoch_max;
        (here && later).then_some(Self { header, crc })
    }
}

/// The verdict over a journal whose first missing group would be `scan.group_seq` with `scan.first_lsn`.
///
/// `superblock_acked`: the superblock's `acked_lsn`. `unreadable`: a block of the ring could not be read.
pub fn judge(scan: &Scan, superblock_acked: u64, later: &[Later], unreadable: bool) -> Verdict {
    let acked = later
        .iter()
        .map(|l| l.header.acked_lsn)
        .fold(superblock_acked, u64::max);
    let beyond_window =
        |l: &&Later| l.header.group_seq >= scan.group_seq.saturating_add(u64::from(l.header.window));
    if unreadable || acked >= scan.first_lsn || later.iter().any(|l| beyond_window(&l)) {
        Verdict::Damage
    } else if later.is_empty() {
        Verdict::CleanEnd
    } else {
        Verdict::InFlightHole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> Scan {
        Scan {
            journal_id: 7,
            geometry: Geometry {
                files: 4,
                file_pages: 16,
                group_pages: 4,
            },
            epoch_max: 3,
            at: At { file: 0, page: 2 },
            group_seq: 10,
            first_lsn: 100,
            prev_crc: 5,
            epoch: 2,
        }
    }

    fn header(seq: u64) -> GroupHeader {
        GroupHeader {
            flags: 0,
            journal_id: 7,
            epoch: 2,
            group_seq: seq,
            first_lsn: 100,
            acked_lsn: 50,
            file_no: 0,
            file_page: 2,
            total_len: 4096,
            used_len: 192,
            frame_count: 1,
            prev_group_crc: 5,
            body_crc: 0,
            window: 2,
            wall_ns: 0,
        }
    }

    fn later(seq: u64, acked_lsn: u64) -> Later {
        Later {
            header: GroupHeader {
                acked_lsn,
                ..header(seq)
            },
            crc: 0,
        }
    }

    #[test]
    fn nothing_behind_the_end_is_clean() {
        assert_eq!(judge(&scan(), 99, &[], false), Verdict::CleanEnd);
    }

    #[test]
    fn groups_inside_the_window_are_a_hole() {
        assert_eq!(judge(&scan(), 99, &[later(11, 99)], false), Verdict::InFlightHole);
    }

    #[test]
    fn a_group_at_the_window_or_an_acked_lsn_or_an_unreadable_block_is_damage() {
        assert_eq!(judge(&scan(), 0, &[later(12, 0)], false), Verdict::Damage);
        assert_eq!(judge(&scan(), 0, &[later(11, 100)], false), Verdict::Damage);
        assert_eq!(judge(&scan(), 100, &[], false), Verdict::Damage);
        assert_eq!(judge(&scan(), 0, &[], true), Verdict::Damage);
    }

    #[test]
    fn a_group_counts_only_if_everything_fits() {
        let ok = |h: GroupHeader| scan().check_header(&h.encode().0);
        assert!(ok(header(10)).is_ok());
        let wrong = [
            header(9),
            header(11),
            GroupHeader {
                first_lsn: 101,
                ..header(10)
            },
            GroupHeader {
                prev_group_crc: 6,
                ..header(10)
            },
            GroupHeader {
                epoch: 1,
                ..header(10)
            },
            GroupHeader {
                epoch: 3,
                ..header(10)
            },
            GroupHeader {
                epoch: 4,
                flags: FENCE,
                ..header(10)
            },
            GroupHeader {
                file_page: 3,
                ..header(10)
            },
            GroupHeader {
                file_no: 1,
                ..header(10)
            },
        ];
        for h in wrong {
            assert!(matches!(ok(h), Err(Stop::Missing(_))), "{h:?}");
        }
        assert!(
            ok(GroupHeader {
                epoch: 3,
                flags: FENCE,
                ..header(10)
            })
            .is_ok()
        );
        assert_eq!(
            ok(GroupHeader {
                journal_id: 8,
                ..header(10)
            }),
            Err(Stop::Foreign)
        );
    }

    #[test]
    fn stale_groups_are_not_later_groups() {
        let at = At { file: 0, page: 2 };
        let stale = GroupHeader {
            epoch: 1,
            ..header(12)
        };
        assert!(Later::read(&stale.encode().0, at, &scan()).is_none());
        assert!(Later::read(&header(10).encode().0, at, &scan()).is_none());
        assert!(Later::read(&header(11).encode().0, at, &scan()).is_some());
    }
}
