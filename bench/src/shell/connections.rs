//! Connections that are load by themselves: many that do nothing, and some that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::ClientError;
use crate::latency::Latency;

use super::admin::Connection;
use super::clock;

/// Open connections that do nothing.
pub struct Idle {
    connections: Vec<Connection>,
}

impl Idle {
    /// Opens `count`, one after the other, each greeted with ApiVersions.
    ///
    /// # Errors
    /// One was refused: says how many were open.
    pub fn open(bootstrap: &[Arc<str>], count: u32) -> Result<Idle, ClientError> {
        let mut connections = Vec::new();
        for i in 0..count as usize {
            match Connection::open(&bootstrap[i % bootstrap.len().max(1)]) {
                Ok(connection) => connections.push(connection),
                Err(ClientError::Network { address, error }) => {
                    let error = format!(
                        "{error} (with {i} of {count} idle connections open; raise the limit of open files on both sides, or \
                         lower --idle-connections)"
                    );
                    return Err(ClientError::Network { address, error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Idle { connections })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

/// A thread that opens and closes connections on a schedule.
pub struct Churn {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(Latency, u64)>>,
}

impl Churn {
    /// `rate` per second, until stopped.
    pub fn start(bootstrap: &[Arc<str>], rate: f64) -> Churn {
        if rate <= 0.0 {
            return Churn {
                stop: Arc::default(),
                thread: None,
            };
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, bootstrap) = (stop.clone(), bootstrap.to_vec());
        let thread = std::thread::spawn(move || {
            let (mut times, mut failed) = (Latency::new(), 0);
            let start = clock::now();
            for i in 0u64.. {
                let due = start + (i as f64 / rate * 1e9) as u64;
                while clock::now() < due {
                    if seen.load(Ordering::Relaxed) {
                        return (times, failed);
                    }
                    clock::pause((due - clock::now().min(due)).min(50_000_000));
                }
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                match Connection::open(&bootstrap[i as usize % bootstrap.len()]) {
                    // From the intended time, as everything here.
                    Ok(_) => times.record_span(due, clock::now(), 1),
                    Err(_) => failed += 1,
                }
            }
            (times, failed)
        });
        Churn {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it: times from the intended moment to the answer of ApiVersions, and how many failed.
    pub fn stop(mut self) -> (Latency, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|t| t.join().ok()).unwrap_or_default()
    }
}
