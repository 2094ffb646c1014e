//! The journal's pages in ring order, read ahead.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use crate::core::Core;
use crate::env::{ALIGN, Class, Env, File, IoBuf};
use crate::journal::ring::At;
use crate::journal::write::position;
use crate::sync::Notify;

/// Bytes read at once from the journal.
const WINDOW: u32 = (2 << 20) / ALIGN as u32;
/// Windows read ahead.
const AHEAD: usize = 4;

type Slot<B> = Rc<(RefCell<Option<io::Result<B>>>, Notify)>;

/// The ring's pages in order, read ahead.
pub(super) struct Stream<E: Env> {
    core: Rc<Core<E>>,
    /// Ranges still to be asked for: (file, first page, end page).
    ranges: VecDeque<(u32, u32, u32)>,
    pending: VecDeque<(At, u32, Slot<E::Buf>)>,
    pub(super) current: Option<(At, u32, Option<E::Buf>)>,
    pub(super) unreadable: bool,
}

impl<E: Env> Stream<E> {
    /// The ring's pages from `from` up to `to`, all around if they are equal.
    pub(super) fn new(core: Rc<Core<E>>, from: At, to: At) -> Self {
        let geometry = core.journal.borrow().ring.geometry;
        let mut ranges = VecDeque::new();
        let mut add = |file, from: u32, to: u32| {
            let mut at = from;
            while at < to {
                ranges.push_back((file, at, (at + WINDOW).min(to)));
                at += WINDOW;
            }
        };
        if from.file == to.file && from.page < to.page {
            add(from.file, from.page, to.page);
        } else {
            add(from.file, from.page, geometry.file_pages);
            let mut file = (from.file + 1) % geometry.files;
            while file != to.file {
                add(file, 0, geometry.file_pages);
                file = (file + 1) % geometry.files;
            }
            add(to.file, 0, to.page);
        }
        Self {
            core,
            ranges,
            pending: VecDeque::new(),
            current: None,
            unreadable: false,
        }
    }

    fn ask(&mut self) {
        while self.pending.len() < AHEAD {
            let Some((file, from, to)) = self.ranges.pop_front() else {
                return;
            };
            let at = At { file, page: from };
            let slot: Slot<E::Buf> = Rc::default();
            self.pending.push_back((at, to - from, slot.clone()));
            let handle = self.core.journal_files.borrow()[file as usize].clone();
            let len = (to - from) as usize * ALIGN;
            self.core.spawn(Class::Journal, async move {
                let mut result = handle.read_at(position(at), len).await;
                if result.as_ref().map_or(true, |b| b.bytes().len() < len) {
                    result = handle.read_at(position(at), len).await;
                }
                let short = |b: E::Buf| {
                    if b.bytes().len() < len {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    } else {
                        Ok(b)
                    }
                };
                *slot.0.borrow_mut() = Some(result.and_then(short));
                slot.1.notify();
            });
        }
    }

    /// Takes the next window; false at the end of the ring.
    pub(super) async fn next(&mut self) -> bool {
        self.ask();
        let Some((at, pages, slot)) = self.pending.pop_front() else {
            self.current = None;
            return false;
        };
        slot.1.until(|| slot.0.borrow().is_some()).await;
        let buf = slot.0.borrow_mut().take().expect("just seen");
        self.unreadable |= buf.is_err();
        self.current = Some((at, pages, buf.ok()));
        self.ask();
        true
    }

    /// Moves on until the window that holds `at` is current; false if the ring ends before.
    pub(super) async fn seek(&mut self, at: At) -> bool {
        loop {
            if let Some((start, pages, _)) = &self.current
                && start.file == at.file
                && (start.page..start.page + pages).contains(&at.page)
            {
                return true;
            }
            if !self.next().await {
                return false;
            }
        }
    }

    /// Bytes of the current window from `at` on.
    pub(super) fn here(&self, at: At) -> Option<&[u8]> {
        let (start, _, buf) = self.current.as_ref()?;
        let skip = at.page.checked_sub(start.page)? as usize * ALIGN;
        buf.as_ref()?.bytes().get(skip..)
    }

    /// `len` bytes from `at`, which the current window holds, put together from several windows if need be.
    pub(super) async fn gather(&mut self, at: At, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(self.here(at)?);
        while bytes.len() < len {
            if !self.next().await {
                return None;
            }
            let (start, _, buf) = self.current.as_ref()?;
            if start.file != at.file || start.page == 0 {
                return None;
            }
            bytes.extend_from_slice(buf.as_ref()?.bytes());
        }
        bytes.truncate(len);
        Some(bytes)
    }
}
