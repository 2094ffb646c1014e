//! A deterministic executor: one thread, a virtual clock, and a seeded choice of which runnable task goes next.
//!
//! [`super::env::SimEnv`] runs the storage procedures on it. Time moves only when nothing is runnable (to the next
//! event) and by a few hundred nanoseconds per poll. Events (IO completions) are closures in a time-ordered queue, so
//! an IO happens even when the future that started it is gone, as in a kernel.
//!
//! A run ends in one of the ways of [`Outcome`]. After that every task is dropped: a simulated process does not outlive
//! its end.

use super::rng::{Rng, TraceHash};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The main task returned.
    Done(T),
    /// The process ended itself: [`crate::env::Env::poison`].
    Poisoned(String),
    /// [`Exec::halt`] was called: the machine stopped between two polls.
    Halted,
    /// Nothing is runnable and nothing will happen any more.
    Stuck,
}

impl<T> Outcome<T> {
    /// The main task's result; panics with `what` for any other end.
    pub fn expect_done(self, what: &str) -> T {
        match self {
            Outcome::Done(value) => value,
            Outcome::Poisoned(why) => panic!("{what}: the process poisoned itself: {why}"),
            Outcome::Halted => panic!("{what}: halted"),
            Outcome::Stuck => panic!("{what}: no task can run and no event is due (a lost wake-up)"),
        }
    }
}

/// Payload of the unwinding that [`crate::env::Env::poison`] starts; private so that nothing else can end a process.
struct PoisonPayload(String);

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Event = Box<dyn FnOnce()>;

#[derive(Default)]
struct ReadyQueue {
    ids: Vec<usize>,
    queued: Vec<bool>,
}

struct TaskWaker {
    id: usize,
    ready: Arc<Mutex<ReadyQueue>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock().expect("single-threaded");
        if !ready.queued[self.id] {
            ready.queued[self.id] = true;
            ready.ids.push(self.id);
        }
    }
}

struct Slot {
    task: Option<Task>,
    waker: Waker,
}

struct Inner {
    now: Cell<u64>,
    sequence: Cell<u64>,
    polls: Cell<u64>,
    poll_limit: Cell<u64>,
    halted: Cell<bool>,
    dead: Cell<bool>,
    tasks: RefCell<Vec<Slot>>,
    ready: Arc<Mutex<ReadyQueue>>,
    events: RefCell<BTreeMap<(u64, u64), Event>>,
    rng: RefCell<Rng>,
    hash: Cell<TraceHash>,
}

/// Handle to the executor; clones share it.
#[derive(Clone)]
pub struct Exec(Rc<Inner>);

impl Exec {
    /// An executor whose choices depend on `rng` and whose clock starts at `now` nanoseconds.
    pub fn new(rng: Rng, now: u64) -> Exec {
        Exec(Rc::new(Inner {
            now: Cell::new(now),
            sequence: Cell::new(0),
            polls: Cell::new(0),
            poll_limit: Cell::new(20_000_000),
            halted: Cell::new(false),
            dead: Cell::new(false),
            tasks: RefCell::new(Vec::new()),
            ready: Arc::new(Mutex::new(ReadyQueue::default())),
            events: RefCell::new(BTreeMap::new()),
            rng: RefCell::new(rng),
            hash: Cell::new(TraceHash::default()),
        }))
    }

    /// Virtual nanoseconds.
    pub fn now(&self) -> u64 {
        self.0.now.get()
    }

    /// Fingerprint of everything that happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.0.hash.get().value()
    }

    /// Mixes a fact into the fingerprint.
    pub fn trace(&self, word: u64) {
        let mut hash = self.0.hash.get();
        hash.add(word);
        self.0.hash.set(hash);
    }

    /// Polls done so far.
    pub fn polls(&self) -> u64 {
        self.0.polls.get()
    }

    /// A run that needs more polls than this panics: it spins.
    pub fn set_poll_limit(&self, polls: u64) {
        self.0.poll_limit.set(polls);
    }

    /// Stops the machine before the next poll, as a power cut does.
    pub fn halt(&self) {
        self.0.halted.set(true);
    }

    /// True once the machine was halted or its process ended; nothing submitted later has an effect.
    pub fn is_dead(&self) -> bool {
        self.0.dead.get() || self.0.halted.get()
    }

    /// Adds a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.0.dead.get() {
            return; // dropped: a task that starts others while it is torn down
        }
        let mut tasks = self.0.tasks.borrow_mut();
        let id = tasks.len();
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            ready: self.0.ready.clone(),
        }));
        tasks.push(Slot {
            task: Some(Box::pin(task)),
            waker,
        });
        let mut ready = self.0.ready.lock().expect("single-threaded");
        ready.queued.push(true);
        ready.ids.push(id);
    }

    /// Calls `event` at virtual time `at` (or now, when that has passed).
    pub fn at(&self, at: u64, event: impl FnOnce() + 'static) {
        if self.0.dead.get() {
            return;
        }
        let sequence = self.0.sequence.get();
        self.0.sequence.set(sequence + 1);
        self.0
            .events
            .borrow_mut()
            .insert((at.max(self.now()), sequence), Box::new(event));
    }

    /// Completes at virtual time `at`; a time in the past still yields once.
    pub fn sleep_until(&self, at: u64) -> impl Future<Output = ()> + 'static {
        let cell: Completion<()> = Completion::new();
        let done = cell.clone();
        self.at(at, move || done.complete(()));
        cell
    }

    /// Ends the simulated process: unwinds to [`Exec::run`].
    pub fn poison(&self, why: String) -> ! {
        resume_unwind(Box::new(PoisonPayload(why)))
    }

    /// Runs `main` and everything it spawns until `main` returns or the process ends. Background tasks stay alive
    /// after [`Outcome::Done`]: the next `run` continues them. Panics of tasks pass through.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Outcome<T> {
        let result: Rc<RefCell<Option<T>>> = Rc::new(RefCell::new(None));
        let out = result.clone();
        self.spawn(async move {
            let value = main.await;
            *out.borrow_mut() = Some(value);
        });
        loop {
            if self.0.halted.get() {
                self.shut_down();
                return Outcome::Halted;
            }
            if let Some(value) = result.borrow_mut().take() {
                return Outcome::Done(value);
            }
            if let Some(id) = self.next_ready() {
                if let Err(payload) = self.poll(id) {
                    self.shut_down();
                    return match payload.downcast::<PoisonPayload>() {
                        Ok(poison) => Outcome::Poisoned(poison.0),
                        Err(panic) => resume_unwind(panic),
                    };
                }
                continue;
            }
            let next = self.0.events.borrow_mut().pop_first();
            match next {
                Some(((at, _), event)) => {
                    self.0.now.set(at.max(self.now()));
                    self.trace(at);
                    event();
                }
                None => {
                    self.shut_down();
                    return Outcome::Stuck;
                }
            }
        }
    }

    /// Takes one runnable task by seeded choice, after firing the events that are due.
    fn next_ready(&self) -> Option<usize> {
        loop {
            let due = {
                let mut events = self.0.events.borrow_mut();
                match events.first_key_value() {
                    Some(((at, _), _)) if *at <= self.now() => events.pop_first(),
                    _ => None,
                }
            };
            match due {
                Some((_, event)) => event(),
                None => break,
            }
        }
        let mut ready = self.0.ready.lock().expect("single-threaded");
        if ready.ids.is_empty() {
            return None;
        }
        let at = self.0.rng.borrow_mut().index(ready.ids.len());
        let id = ready.ids.swap_remove(at);
        ready.queued[id] = false;
        Some(id)
    }

    fn poll(&self, id: usize) -> Result<(), Box<dyn Any + Send>> {
        let (task, waker) = {
            let mut tasks = self.0.tasks.borrow_mut();
            let slot = &mut tasks[id];
            (slot.task.take(), slot.waker.clone())
        };
        let Some(mut task) = task else { return Ok(()) };
        let polls = self.0.polls.get() + 1;
        self.0.polls.set(polls);
        assert!(
            polls <= self.0.poll_limit.get(),
            "more than {polls} polls: the simulated process spins"
        );
        self.trace(id as u64);
        let cost = 100 + self.0.rng.borrow_mut().below(400);
        self.0.now.set(self.now() + cost);
        let mut context = Context::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => self.0.tasks.borrow_mut()[id].task = Some(task),
            Ok(Poll::Ready(())) => {}
            Err(payload) => return Err(payload),
        }
        Ok(())
    }

    /// Drops every task and event. Called at the end of a process; also breaks the reference cycles between the tasks
    /// and the environment they hold.
    pub fn shut_down(&self) {
        self.0.dead.set(true);
        // Dropping a task may drop others' handles, never run them; taken out first so that no borrow is held.
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        let events = std::mem::take(&mut *self.0.events.borrow_mut());
        drop(tasks);
        drop(events);
        let mut ready = self.0.ready.lock().expect("single-threaded");
        ready.ids.clear();
    }
}

struct CompletionState<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// A one-shot result that an event fills and a future awaits.
pub struct Completion<T>(Rc<RefCell<CompletionState<T>>>);

impl<T> Clone for Completion<T> {
    fn clone(&self) -> Self {
        Completion(self.0.clone())
    }
}

impl<T> Default for Completion<T> {
    fn default() -> Self {
        Completion::new()
    }
}

impl<T> Completion<T> {
    /// Not yet complete.
    pub fn new() -> Self {
        Completion(Rc::new(RefCell::new(CompletionState {
            value: None,
            waker: None,
        })))
    }

    /// Sets the result and wakes the waiter.
    pub fn complete(&self, value: T) {
        let mut state = self.0.borrow_mut();
        assert!(state.value.is_none(), "completed twice");
        state.value = Some(value);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Completion<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping_pong(seed: u64) -> (Vec<u64>, u64) {
        let exec = Exec::new(Rng::new(seed), 0);
        let order = Rc::new(RefCell::new(Vec::new()));
        for n in 0..5u64 {
            let (exec2, order) = (exec.clone(), order.clone());
            exec.spawn(async move {
                for round in 0..3 {
                    exec2.sleep_until(round * 10).await;
                    order.borrow_mut().push(n);
                }
            });
        }
        let exec2 = exec.clone();
        exec.run(async move { exec2.sleep_until(1_000_000).await })
            .expect_done("ping pong");
        let order = order.borrow().clone();
        (order, exec.trace_hash())
    }

    #[test]
    fn same_seed_gives_the_same_order_and_hash() {
        assert_eq!(ping_pong(7), ping_pong(7));
        assert_ne!(ping_pong(7).1, ping_pong(8).1);
        assert_ne!(ping_pong(7).0, ping_pong(8).0, "the seed chooses the order");
    }

    #[test]
    fn poison_ends_the_process_and_drops_its_tasks() {
        let exec = Exec::new(Rng::new(1), 0);
        let held = Rc::new(());
        let (other, exec2) = (held.clone(), exec.clone());
        exec.spawn(async move {
            exec2.sleep_until(u64::MAX).await;
            drop(other);
        });
        let exec2 = exec.clone();
        let outcome: Outcome<()> = exec.run(async move { exec2.poison("EIO".into()) });
        assert!(matches!(outcome, Outcome::Poisoned(why) if why == "EIO"));
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn a_task_nobody_will_wake_is_reported() {
        let exec = Exec::new(Rng::new(1), 0);
        let outcome: Outcome<()> = exec.run(Completion::new());
        assert!(matches!(outcome, Outcome::Stuck));
    }
}
