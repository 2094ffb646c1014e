//! Open segment files: a bounded cache of handles for writing and for reading.
//!
//! Handles are made by the drain (write) and by reads (read only, so that a missing file is never created by one). The
//! least recently used is closed when the bound is exceeded; clones in use keep their descriptor.

use std::cell::{Cell, RefCell};
use std::io;

use crate::env::{Class, Env, File, OpenMode};
use crate::map::Map;

/// Handles by segment and by whether they write, each with the tick of its last use.
type Open<F> = Map<(u64, bool), (F, u64)>;

/// See the module's header.
pub(crate) struct Files<E: Env> {
    open: RefCell<Open<E::File>>,
    limit: usize,
    tick: Cell<u64>,
}

impl<E: Env> Files<E> {
    pub fn new(limit: usize) -> Self {
        Self {
            open: RefCell::default(),
            limit: limit.max(8),
            tick: Cell::new(0),
        }
    }

    /// The handle of a segment's file, opened if need be.
    pub async fn get(&self, env: &E, segment_id: u64, path: &str, write: bool) -> io::Result<E::File> {
        let tick = self.tick.get() + 1;
        self.tick.set(tick);
        if let Some((file, used)) = self.open.borrow_mut().get_mut(&(segment_id, write)) {
            *used = tick;
            return Ok(file.clone());
        }
        let mode = if write { OpenMode::Write } else { OpenMode::Read };
        let file = env.open(path, mode).await?;
        let other = self
            .open
            .borrow_mut()
            .insert((segment_id, write), (file.clone(), tick));
        if let Some((other, _)) = other {
            close(env, other);
        }
        while self.open.borrow().len() > self.limit {
            let oldest = self
                .open
                .borrow()
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| *key);
            let evicted = oldest.and_then(|key| self.open.borrow_mut().remove(&key));
            if let Some((evicted, _)) = evicted {
                close(env, evicted);
            }
        }
        Ok(file)
    }

    /// A handle that is open already, the writing one first.
    pub fn cached(&self, segment_id: u64) -> Option<E::File> {
        let open = self.open.borrow();
        open.get(&(segment_id, true))
            .or_else(|| open.get(&(segment_id, false)))
            .map(|(file, _)| file.clone())
    }

    /// Closes a segment's handles.
    pub fn forget(&self, env: &E, segment_id: u64) {
        for write in [false, true] {
            let file = self.open.borrow_mut().remove(&(segment_id, write));
            if let Some((file, _)) = file {
                close(env, file);
            }
        }
    }

    /// Closes all handles.
    pub async fn close_all(&self) {
        let all: Vec<_> = self
            .open
            .borrow_mut()
            .drain()
            .map(|(_, (file, _))| file)
            .collect();
        for file in all {
            // A failed close loses nothing: every byte that counts was synced before.
            let _ = file.close().await;
        }
    }
}

fn close<E: Env>(env: &E, file: E::File) {
    env.spawn(Class::Background, async move {
        let _ = file.close().await;
    });
}
