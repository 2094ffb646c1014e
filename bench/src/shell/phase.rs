//! One phase of a run: starts load threads, lets them set up, gives the start, waits for the end, collects.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::client::{Actor, ClientError, Ends, Logs};
use crate::stats::{Part, Span, Totals};

use super::clock;
use super::worker::{self, News, Order, WorkerParts};

/// Setting up takes at most this long, ns.
const SET_UP: u64 = 120_000_000_000;
/// From the order to the first intended time, ns: the order must have reached every thread.
const LEAD: u64 = 50_000_000;

/// One thread's actors; `true`: a producer.
pub type Crew = Vec<(bool, Box<dyn Actor>)>;

/// What a phase is made of.
pub struct PhaseParts {
    /// One list for each thread.
    pub crews: Vec<Crew>,
    /// CPUs for the threads, in turn.
    pub cpus: Vec<usize>,
    /// ns; 0: threads do not spin.
    pub margin: u64,
    /// No answer from anywhere for this long ends the run, ns.
    pub patience: u64,
    /// Not measured, ns.
    pub warmup: u64,
    /// Measured, ns.
    pub duration: u64,
    /// Interval, ns.
    pub interval: u64,
    /// Answers that are out at the end are awaited this long, ns; readers get the same again.
    pub drain: u64,
}

/// What came of it.
pub struct PhaseOutcome {
    /// Counts of the measured span.
    pub totals: Totals,
    /// What the actors know.
    pub logs: Vec<Logs>,
    /// By interval.
    pub parts: BTreeMap<u32, Part>,
    /// When it was.
    pub span: Span,
    /// Everything was answered and read; else what was still awaited.
    pub waiting: Vec<String>,
    /// When producers had their last answer, ns.
    pub written_at: u64,
}

/// Sees a phase while it runs.
pub trait Observer {
    /// Called about every 100 ms; `parts` is all so far.
    fn look(&mut self, now: u64, span: &Span, parts: &BTreeMap<u32, Part>);
}

struct Threads {
    orders: Vec<Sender<Order>>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl Threads {
    fn order(&self, order: &Order) {
        for sender in &self.orders {
            let _ = sender.send(order.clone());
        }
    }
}

/// Runs a phase. `ends` is asked for the ends of the log when all is written.
///
/// # Errors
/// The endpoint refused, was lost, or did not let the actors set up.
pub fn run(
    parts: PhaseParts,
    mut ends: impl FnMut() -> Result<Ends, ClientError>,
    observer: &mut dyn Observer,
) -> Result<PhaseOutcome, ClientError> {
    let (news_to, news) = channel();
    let mut threads = Threads {
        orders: Vec::new(),
        handles: Vec::new(),
    };
    let count = parts.crews.len();
    let producing = parts.crews.iter().flatten().any(|(producer, _)| *producer);
    for (index, actors) in parts.crews.into_iter().enumerate() {
        let (orders_to, orders) = channel();
        threads.orders.push(orders_to);
        let cpu = (!parts.cpus.is_empty()).then(|| parts.cpus[index % parts.cpus.len()]);
        let worker = WorkerParts {
            index,
            actors,
            orders,
            news: news_to.clone(),
            margin: parts.margin,
            cpu,
            patience: parts.patience,
        };
        let handle = std::thread::Builder::new()
            .name(format!("load-{index}"))
            .spawn(move || worker::run(worker))
            .map_err(|e| ClientError::Protocol(format!("a load thread cannot start: {e}")))?;
        threads.handles.push(handle);
    }
    drop(news_to);

    let mut states = vec![(false, false, false); count];
    let mut all: BTreeMap<u32, Part> = BTreeMap::new();
    let mut span = Span::NEVER;
    let mut stage = Stage::SettingUp;
    let mut deadline = clock::now() + SET_UP;
    let mut waiting = Vec::new();
    let mut written_at = 0;
    let mut totals = Totals::default();
    let mut logs = Vec::new();
    let mut results = 0;
    while results < count {
        let received = news.recv_timeout(Duration::from_millis(20));
        let now = clock::now();
        match received {
            Ok(News::State {
                worker,
                ready,
                written,
                done,
            }) => states[worker] = (ready, written, done),
            Ok(News::Parts(parts)) => {
                for (index, part) in parts {
                    match all.entry(index) {
                        std::collections::btree_map::Entry::Vacant(v) => {
                            v.insert(part);
                        }
                        std::collections::btree_map::Entry::Occupied(mut o) => o.get_mut().add(&part),
                    }
                }
            }
            Ok(News::Failed(error)) => {
                threads.order(&Order::Stop);
                return Err(error);
            }
            Ok(News::Waiting(list)) => waiting.extend(list),
            Ok(News::Result(result)) => {
                results += 1;
                totals.add(&result.0);
                logs.extend(result.1);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ClientError::Protocol(
                    "a load thread ended without its results".into(),
                ));
            }
        }
        if stage != Stage::SettingUp {
            observer.look(now, &span, &all);
        }
        match stage {
            Stage::SettingUp => {
                if states.iter().all(|s| s.0) {
                    span = Span {
                        start: now + LEAD,
                        begin: now + LEAD + parts.warmup,
                        end: now + LEAD + parts.warmup + parts.duration,
                        interval: parts.interval,
                    };
                    threads.order(&Order::Start(span));
                    stage = Stage::Writing;
                    deadline = span.end + parts.drain;
                } else if now > deadline {
                    threads.order(&Order::GiveUp {
                        producers_only: false,
                    });
                    return Err(set_up_failed(&news));
                }
            }
            Stage::Writing => {
                // Without producers everything is written at once; readers still have their time.
                let written = states.iter().all(|s| s.1) && (producing || now >= span.end);
                if written || now > deadline {
                    if !written {
                        threads.order(&Order::GiveUp { producers_only: true });
                    }
                    written_at = now;
                    threads.order(&Order::Finish(ends()?));
                    stage = Stage::Reading;
                    deadline = clock::now() + parts.drain;
                }
            }
            Stage::Reading => {
                if states.iter().all(|s| s.2) || now > deadline {
                    if !states.iter().all(|s| s.2) {
                        threads.order(&Order::GiveUp {
                            producers_only: false,
                        });
                    }
                    threads.order(&Order::Stop);
                    stage = Stage::Collecting;
                }
            }
            Stage::Collecting => {}
        }
    }
    for handle in threads.handles {
        let _ = handle.join();
    }
    Ok(PhaseOutcome {
        totals,
        logs,
        parts: all,
        span,
        waiting,
        written_at,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SettingUp,
    Writing,
    Reading,
    Collecting,
}

fn set_up_failed(news: &std::sync::mpsc::Receiver<News>) -> ClientError {
    let until = clock::now() + 1_000_000_000;
    let mut waiting = Vec::new();
    while clock::now() < until && waiting.is_empty() {
        if let Ok(News::Waiting(list)) = news.recv_timeout(Duration::from_millis(100)) {
            waiting.extend(list);
        }
    }
    waiting.truncate(3);
    ClientError::Protocol(format!("not ready after two minutes: {}", waiting.join("; ")))
}
