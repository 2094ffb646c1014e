//! Requests in flight of one actor: token to what the answer is for, with a deadline.

use std::collections::HashMap;

use super::Link;

/// An answer that takes longer is lost, and its connection with it, ns.
pub const REQUEST_TIMEOUT: u64 = 60_000_000_000;

/// What is in flight.
#[derive(Debug)]
pub struct Tracker<K> {
    next: i32,
    open: HashMap<i32, (Link, u64, K)>,
    /// When timeouts were looked for, ns.
    looked: u64,
}

impl<K> Default for Tracker<K> {
    fn default() -> Self {
        Tracker {
            next: 0,
            open: HashMap::new(),
            looked: 0,
        }
    }
}

impl<K> Tracker<K> {
    /// A token for the next request.
    pub fn token(&mut self) -> i32 {
        self.next = if self.next == i32::MAX { 1 } else { self.next + 1 };
        self.next
    }

    /// A request left at `now`.
    pub fn put(&mut self, token: i32, link: Link, now: u64, kind: K) {
        self.open.insert(token, (link, now, kind));
    }

    /// It was answered or lost.
    pub fn take(&mut self, token: i32) -> Option<K> {
        self.open.remove(&token).map(|o| o.2)
    }

    /// What is in flight.
    pub fn kinds(&self) -> impl Iterator<Item = &K> {
        self.open.values().map(|o| &o.2)
    }

    /// Everything in flight, in no order; nothing is afterwards.
    pub fn drain(&mut self) -> Vec<K> {
        self.open.drain().map(|(_, o)| o.2).collect()
    }

    /// Links whose oldest request is overdue at `now`; looks once a second.
    pub fn overdue(&mut self, now: u64) -> Vec<Link> {
        if now.saturating_sub(self.looked) < 1_000_000_000 {
            return Vec::new();
        }
        self.looked = now;
        let mut links: Vec<Link> = self
            .open
            .values()
            .filter(|o| now.saturating_sub(o.1) > REQUEST_TIMEOUT)
            .map(|o| o.0)
            .collect();
        links.sort_unstable();
        links.dedup();
        links
    }
}
