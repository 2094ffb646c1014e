//! Reading the journal back: valid groups are replayed as they come, then whatever lies behind the end is looked at.

use std::rc::Rc;
use std::time::Duration;

use super::damaged;
use super::replay::{Replay, apply_group};
use super::stream::Stream;
use crate::api::*;
use crate::core::Core;
use crate::env::{ALIGN, Env, IoBuf};
use crate::format::group::GroupHeader;
use crate::journal::ring::{At, Geometry, Mark};
use crate::journal::scan::{Later, Scan, Stop, judge};
use crate::journal::write::journal_path;

/// What the scan of the journal came to.
pub(super) struct Scanned {
    pub(super) scan: Scan,
    pub(super) verdict: Verdict,
    pub(super) later: Vec<Later>,
    pub(super) unreadable: bool,
}

pub(super) async fn scan_journal<E: Env>(
    core: &Rc<Core<E>>,
    replay: &mut Replay<E>,
    recovered: &mut Recovered,
) -> Result<Scanned, OpenError> {
    let superblock = *core.superblock.borrow();
    let tail = core.journal.borrow().ring.tail;
    let geometry = Geometry::of(&superblock);
    let mut scan = Scan::new(superblock.journal_id, geometry, superblock.epoch, tail);
    let first = geometry.place(tail.at);
    let mut stream = Stream::new(core.clone(), first, first);
    let mut groups_since_pause = 0;
    let mut bytes_since_pause = 0;
    loop {
        let at = scan.place();
        // Once around the ring: every page is live.
        if !stream.seek(at).await {
            break;
        }
        let Some(bytes) = stream.here(at) else { break };
        let (header, crc) = match scan.check_header(bytes) {
            Ok(found) => found,
            Err(Stop::Missing(_)) => break,
            Err(Stop::Foreign) => {
                return damaged(format!(
                    "{}: holds groups of another journal; put the right file back",
                    journal_path(&core.config.dir, at.file)
                ));
            }
        };
        let len = header.total_len as usize;
        let whole = if bytes.len() >= len {
            None
        } else {
            stream.gather(at, len).await
        };
        let bytes = match &whole {
            Some(whole) => whole.as_slice(),
            None => match stream.here(at).and_then(|b| b.get(..len)) {
                Some(bytes) => bytes,
                None => break,
            },
        };
        if !core.faults.no_body_crc && Scan::check_body(&header, bytes).is_err() {
            break;
        }
        if !apply_group(replay, &header, bytes) {
            break;
        }
        mark_group(core, &scan, &header);
        scan.accept(&header, crc);
        {
            let mut journal = core.journal.borrow_mut();
            journal.durable_lsn = scan.first_lsn - 1;
            journal.next_lsn = scan.first_lsn;
        }
        recovered.groups += 1;
        recovered.bytes += len as u64;
        replay.relieve().await;
        (groups_since_pause, bytes_since_pause) = (groups_since_pause + 1, bytes_since_pause + len);
        // No client waits for this core yet; its heartbeat does.
        if groups_since_pause >= 1024 || bytes_since_pause >= 8 << 20 {
            (groups_since_pause, bytes_since_pause) = (0, 0);
            core.env.sleep(Duration::ZERO).await;
        }
    }
    // Whatever lies behind the end, all around the ring.
    let mut later = Vec::new();
    let clean_at_tail = superblock.clean_shutdown == 1 && recovered.groups == 0;
    let look = !clean_at_tail && !core.faults.no_look_ahead;
    let from = scan.place();
    // A scan that met no end all around leaves nothing to look at; else the group it stopped at is looked at too.
    let ended = recovered.groups == 0 || from != first;
    let mut stream = Stream::new(core.clone(), from, first);
    while look && ended && stream.next().await {
        if let Some((start, pages, Some(buf))) = &stream.current {
            for page in 0..*pages {
                let bytes = &buf.bytes()[page as usize * ALIGN..];
                if bytes[..4] == GroupHeader::MAGIC.to_le_bytes() {
                    later.extend(Later::read(
                        bytes,
                        At {
                            file: start.file,
                            page: start.page + page,
                        },
                        &scan,
                    ));
                }
            }
        }
    }
    later.sort_by_key(|l| (l.header.group_seq, l.header.epoch));
    let verdict = if core.faults.no_look_ahead {
        Verdict::CleanEnd
    } else {
        judge(&scan, superblock.acked_lsn, &later, stream.unreadable && look)
    };
    Ok(Scanned {
        scan,
        verdict,
        later,
        unreadable: stream.unreadable,
    })
}

/// Lets the ring know of a group that was read back.
pub(super) fn mark_group<E: Env>(core: &Core<E>, scan: &Scan, header: &GroupHeader) {
    let mut journal = core.journal.borrow_mut();
    let at = At {
        file: header.file_no,
        page: header.file_page,
    };
    journal.ring.head = at;
    let mark = Mark {
        at,
        group_seq: scan.group_seq,
        prev_crc: scan.prev_crc,
        epoch: scan.epoch,
        first_lsn: scan.first_lsn,
    };
    journal.ring.take(mark, header.total_len);
}
