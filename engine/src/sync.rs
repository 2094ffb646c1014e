//! Waiting within one core: one-shot values, countdowns, events with a deadline.
//!
//! Nothing here names a runtime: wakers come from whoever polls, time comes from [`Timers::fire`], which the
//! shell calls with each heartbeat. All types are single-threaded and cheap (one `Rc` each).

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
    filler_gone: Cell<bool>,
}

/// The writing end of [`oneshot`]. Dropping it unfilled ends the wait with `None`.
pub struct Filler<T>(Rc<Slot<T>>);

/// The waiting end of [`oneshot`].
pub struct Filled<T>(Rc<Slot<T>>);

/// A value that one task sets and another awaits.
pub fn oneshot<T>() -> (Filler<T>, Filled<T>) {
    let slot = Rc::new(Slot {
        value: RefCell::new(None),
        waker: RefCell::new(None),
        filler_gone: Cell::new(false),
    });
    (Filler(slot.clone()), Filled(slot))
}

impl<T> Filler<T> {
    /// Sets the value and wakes the waiter.
    pub fn fill(self, value: T) {
        *self.0.value.borrow_mut() = Some(value);
    }
}

impl<T> Filler<T> {
    /// False once the waiting end is gone.
    pub fn is_awaited(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }
}

impl<T> Filled<T> {
    /// True if awaiting it would not wait.
    pub fn is_ready(&self) -> bool {
        self.0.filler_gone.get() || self.0.value.borrow().is_some()
    }
}

impl<T> Drop for Filler<T> {
    fn drop(&mut self) {
        self.0.filler_gone.set(true);
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl<T> Future for Filled<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.0.value.borrow_mut().take() {
            return Poll::Ready(Some(value));
        }
        if self.0.filler_gone.get() {
            return Poll::Ready(None);
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Answers that are waited for, each under a ticket of its own. Dropping a desk ends the waits with `None`.
pub struct Desk<T> {
    waiting: RefCell<HashMap<u64, Filler<T>>>,
    next: Cell<u64>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Desk {
            waiting: RefCell::default(),
            next: Cell::new(0),
        }
    }
}

impl<T> Desk<T> {
    /// A ticket that no one had, and what to wait for.
    pub fn ticket(&self) -> (u64, Filled<T>) {
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        let (fill, filled) = oneshot();
        self.waiting.borrow_mut().insert(ticket, fill);
        (ticket, filled)
    }

    /// Gives the answer to whoever has the ticket, if somebody has.
    pub fn answer(&self, ticket: u64, value: T) {
        let fill = self.waiting.borrow_mut().remove(&ticket);
        if let Some(fill) = fill {
            fill.fill(value);
        }
    }
}

/// Completes once it was counted down as often as it was raised. Starts at zero: complete.
#[derive(Default)]
pub struct Countdown {
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Countdown {
    /// One more thing to wait for.
    pub fn raise(&self) {
        self.left.set(self.left.get() + 1);
    }
    /// One of the things happened.
    pub fn lower(&self) {
        let left = self.left.get();
        assert!(left > 0, "counted down below zero");
        self.left.set(left - 1);
        if left == 1
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }
    /// True if nothing is left to wait for.
    pub fn is_complete(&self) -> bool {
        self.left.get() == 0
    }
    /// Waits for zero. One waiter at a time.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.is_complete() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// An event that may be raised many times and awaited many times by one task; raising twice counts once.
#[derive(Default)]
pub struct Event {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Event {
    /// Raises the event.
    pub fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
    /// True once raised and not yet consumed.
    pub fn is_raised(&self) -> bool {
        self.raised.get()
    }
    /// Runs `task` to its end, or drops it and gives `None` if the event is raised first.
    pub async fn unless_first<F: Future>(&self, task: F) -> Option<F::Output> {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = task.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if self.raised.get() {
                return Poll::Ready(None);
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
    /// Waits for the event and consumes it.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Events raised when their time comes. Resolution is that of the calls to [`Timers::fire`].
#[derive(Default)]
pub struct Timers {
    heap: RefCell<BinaryHeap<Reverse<(u64, u64)>>>,
    events: RefCell<std::collections::HashMap<u64, Rc<Event>>>,
    next: Cell<u64>,
}

/// Cancels its timer when dropped.
pub struct TimerGuard {
    timers: Rc<Timers>,
    id: u64,
}

impl Drop for TimerGuard {
    fn drop(&mut self) {
        self.timers.events.borrow_mut().remove(&self.id);
    }
}

impl Timers {
    /// Raises `event` at `at_ms` on the caller's clock, unless the guard is dropped before.
    pub fn arm(self: &Rc<Self>, at_ms: u64, event: Rc<Event>) -> TimerGuard {
        let id = self.next.get();
        self.next.set(id + 1);
        self.events.borrow_mut().insert(id, event);
        self.heap.borrow_mut().push(Reverse((at_ms, id)));
        TimerGuard {
            timers: self.clone(),
            id,
        }
    }
    /// Raises everything due at `now_ms`.
    pub fn fire(&self, now_ms: u64) {
        let mut heap = self.heap.borrow_mut();
        while let Some(Reverse((at, id))) = heap.peek().copied() {
            // Cancelled timers leave the heap when they reach its top, due or not.
            let live = self.events.borrow().contains_key(&id);
            if live && at > now_ms {
                break;
            }
            heap.pop();
            if let Some(event) = self.events.borrow_mut().remove(&id) {
                event.raise();
            }
        }
        // Long timers cancelled early would pile up below the top: rebuild when most are dead.
        if heap.len() > 1024 && heap.len() > 4 * self.events.borrow().len() {
            let live = self.events.borrow();
            heap.retain(|Reverse((_, id))| live.contains_key(id));
        }
    }
}

/// A queue between tasks of one core. Unbounded by itself: who pushes holds a bounded right to do so (a request
/// slot, a connection's window).
pub struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    event: Event,
    closed: Cell<bool>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            items: RefCell::default(),
            event: Event::default(),
            closed: Cell::new(false),
        }
    }
}

impl<T> Queue<T> {
    /// Adds an item; dropped silently once closed.
    pub fn push(&self, item: T) {
        if !self.closed.get() {
            self.items.borrow_mut().push_back(item);
            self.event.raise();
        }
    }
    /// No more items; the receiver drains what is there.
    pub fn close(&self) {
        self.closed.set(true);
        self.event.raise();
    }
    /// Items waiting.
    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }
    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.borrow().is_empty()
    }
    /// Waits for the next item; `None` once closed and empty.
    pub async fn pop(&self) -> Option<T> {
        loop {
            if let Some(item) = self.items.borrow_mut().pop_front() {
                return Some(item);
            }
            if self.closed.get() {
                return None;
            }
            self.event.wait().await;
        }
    }
    /// Takes the next item if there is one and it is as asked.
    pub fn pop_if(&self, asked: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut items = self.items.borrow_mut();
        match items.front() {
            Some(item) if asked(item) => items.pop_front(),
            _ => None,
        }
    }
    /// Waits until something is there and takes all of it; empty once closed.
    pub async fn take_all(&self) -> Vec<T> {
        loop {
            let items: Vec<T> = self.items.borrow_mut().drain(..).collect();
            if !items.is_empty() || self.closed.get() {
                return items;
            }
            self.event.wait().await;
        }
    }
}

/// A bounded amount of something, taken in order of arrival.
pub struct Budget {
    limit: usize,
    used: Cell<usize>,
    waiters: RefCell<VecDeque<std::rc::Weak<Event>>>,
}

/// Gives back what it took when dropped.
pub struct BudgetGuard {
    budget: Rc<Budget>,
    amount: usize,
}

impl Drop for BudgetGuard {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.amount);
        self.budget.wake_first();
    }
}

impl Budget {
    /// A budget of `limit`.
    pub fn new(limit: usize) -> Rc<Self> {
        Rc::new(Budget {
            limit,
            used: Cell::new(0),
            waiters: RefCell::default(),
        })
    }
    /// What is left.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.used.get())
    }
    /// Takes `amount` now, even beyond the limit: for what exists already.
    pub fn charge(self: &Rc<Self>, amount: usize) -> BudgetGuard {
        self.used.set(self.used.get() + amount);
        BudgetGuard {
            budget: self.clone(),
            amount,
        }
    }
    /// Waits until `amount` is left, or until nothing is in use if it exceeds the limit, and takes it.
    pub async fn acquire(self: &Rc<Self>, amount: usize) -> BudgetGuard {
        if self.waiters.borrow().is_empty() && self.fits(amount) {
            return self.charge(amount);
        }
        let event = Rc::new(Event::default());
        self.waiters.borrow_mut().push_back(Rc::downgrade(&event));
        loop {
            let first = {
                let mut waiters = self.waiters.borrow_mut();
                while waiters.front().is_some_and(|w| w.strong_count() == 0) {
                    waiters.pop_front();
                }
                waiters
                    .front()
                    .is_some_and(|w| std::ptr::eq(w.as_ptr(), Rc::as_ptr(&event)))
            };
            if first && self.fits(amount) {
                self.waiters.borrow_mut().pop_front();
                let guard = self.charge(amount);
                self.wake_first();
                return guard;
            }
            event.wait().await;
        }
    }
    fn fits(&self, amount: usize) -> bool {
        self.used.get() == 0 || self.used.get() + amount <= self.limit
    }
    fn wake_first(&self) {
        let mut waiters = self.waiters.borrow_mut();
        while let Some(first) = waiters.front() {
            match first.upgrade() {
                Some(event) => return event.raise(),
                None => waiters.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn oneshot_gives_the_value_or_none_when_dropped() {
        let (fill, wait) = oneshot();
        fill.fill(7);
        assert_eq!(block_on(wait), Some(7));
        let (fill, wait) = oneshot::<i32>();
        drop(fill);
        assert_eq!(block_on(wait), None);
    }

    #[test]
    fn countdown_completes_at_zero_only() {
        let c = Countdown::default();
        c.raise();
        c.raise();
        c.lower();
        assert!(block_on(poll_once(c.wait())).is_none());
        c.lower();
        assert!(block_on(poll_once(c.wait())).is_some());
    }

    #[test]
    fn timers_fire_in_time_and_not_after_cancel() {
        let timers = Rc::new(Timers::default());
        let (a, b) = (Rc::new(Event::default()), Rc::new(Event::default()));
        let _ga = timers.arm(10, a.clone());
        let gb = timers.arm(5, b.clone());
        drop(gb);
        timers.fire(9);
        assert!(!a.is_raised() && !b.is_raised());
        timers.fire(10);
        assert!(a.is_raised() && !b.is_raised());
    }

    #[test]
    fn budget_serves_in_order_and_lets_an_oversized_taker_in_alone() {
        let budget = Budget::new(10);
        let a = block_on(budget.acquire(8));
        let mut b = Box::pin(budget.acquire(100));
        let mut c = Box::pin(budget.acquire(1));
        assert!(block_on(poll_once(&mut b)).is_none());
        assert!(
            block_on(poll_once(&mut c)).is_none(),
            "c would fit, but b came first"
        );
        drop(a);
        let b = block_on(poll_once(&mut b)).expect("alone");
        assert!(block_on(poll_once(&mut c)).is_none());
        drop(b);
        assert!(block_on(poll_once(&mut c)).is_some());
    }
}
