//! Waiting within one core: a condition that tasks look at again after each notification.
//!
//! Nothing here is for other threads. A waiter reads [`Notify::version`], looks at its condition, and awaits
//! [`Notify::changed`]; no notification in between can be missed, as nothing else runs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

/// A version number that tasks can wait on.
#[derive(Default)]
pub struct Notify {
    version: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all waiters.
    pub fn notify(&self) {
        self.version.set(self.version.get().wrapping_add(1));
        let mut wakers = self.wakers.borrow_mut();
        if wakers.is_empty() {
            return;
        }
        let woken = std::mem::take(&mut *wakers);
        drop(wakers);
        for waker in woken {
            waker.wake();
        }
    }

    /// The number to pass to [`Notify::changed`].
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Waits until [`Notify::notify`] was called after `seen` was read.
    pub async fn changed(&self, seen: u64) {
        poll_fn(|cx| {
            if self.version.get() != seen {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits until `condition` holds, looking again after each notification.
    pub async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let seen = self.version();
            if condition() {
                return;
            }
            self.changed(seen).await;
        }
    }
}

/// Waits for whichever ends first; true if it was `first`. For timers and [`Notify`] only: a pending file operation
/// must not be polled next to something that wakes often.
pub async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) -> bool {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|cx| {
        if first.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        second.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// A number of permits.
#[derive(Default)]
pub struct Semaphore {
    taken: Cell<usize>,
    freed: Notify,
}

impl Semaphore {
    /// Takes a permit, of which there are `limit`.
    pub async fn acquire(&self, limit: usize) -> Permit<'_> {
        self.freed.until(|| self.taken.get() < limit.max(1)).await;
        self.taken.set(self.taken.get() + 1);
        Permit(self)
    }

    /// Gives back a permit that was kept.
    pub fn release(&self) {
        self.taken.set(self.taken.get() - 1);
        self.freed.notify();
    }

    /// Permits taken.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Waits until no permit is taken.
    pub async fn idle(&self) {
        self.freed.until(|| self.taken.get() == 0).await;
    }
}

/// A permit; dropping it gives it back.
pub struct Permit<'a>(&'a Semaphore);

impl Permit<'_> {
    /// Keeps the permit taken until [`Semaphore::release`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}
