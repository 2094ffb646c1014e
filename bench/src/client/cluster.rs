//! Which broker leads which partition, as one actor knows it.
//!
//! Filled from Metadata answers. Knowledge of a newer leader epoch is never replaced by that of an older one, so an
//! answer from a broker that lags does not send an actor back to a leader that is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use turgo_net::messages::metadata::MetadataResponse;

/// Leader of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Broker id; -1: none.
    pub node: i32,
    /// Its epoch; -1: not told.
    pub epoch: i32,
}

impl Leader {
    /// Not known.
    pub const NONE: Leader = Leader { node: -1, epoch: -1 };
}

/// The cluster as known.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Addresses to start from, and to return to when all brokers known are gone.
    bootstrap: Vec<Arc<str>>,
    nodes: BTreeMap<i32, Arc<str>>,
    /// Topic name, leaders by partition.
    topics: BTreeMap<String, Vec<Leader>>,
    /// Which node to ask next.
    turn: usize,
}

impl ClusterView {
    /// Knows only where to start.
    pub fn new(bootstrap: &[Arc<str>]) -> ClusterView {
        ClusterView {
            bootstrap: bootstrap.to_vec(),
            ..ClusterView::default()
        }
    }

    /// `host:port` of a node, or of bootstrap server -1 - `node`.
    pub fn address(&self, node: i32) -> Option<&Arc<str>> {
        if node < 0 {
            self.bootstrap.get((-1 - node) as usize)
        } else {
            self.nodes.get(&node)
        }
    }

    /// A node to ask for metadata: all in turn, so that one that is gone is asked once in a round.
    pub fn any(&mut self) -> i32 {
        let known = self.nodes.len() + self.bootstrap.len();
        self.turn = (self.turn + 1) % known.max(1);
        match self.nodes.keys().nth(self.turn) {
            Some(node) => *node,
            None => -1 - (self.turn.saturating_sub(self.nodes.len()) as i32),
        }
    }

    /// Brokers known.
    pub fn nodes(&self) -> impl Iterator<Item = (i32, &Arc<str>)> {
        self.nodes.iter().map(|(id, address)| (*id, address))
    }

    /// Adds a node that a coordinator lookup named.
    pub fn learn_node(&mut self, node: i32, address: String) {
        self.nodes.insert(node, address.into());
    }

    /// Partitions of a topic; 0: not known.
    pub fn partitions(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, Vec::len)
    }

    /// Leader of a partition.
    pub fn leader(&self, topic: &str, partition: u32) -> Leader {
        self.topics
            .get(topic)
            .and_then(|leaders| leaders.get(partition as usize))
            .copied()
            .unwrap_or(Leader::NONE)
    }

    /// Takes an answer; returns the names of topics that the cluster does not know (yet).
    pub fn learn(&mut self, answer: &MetadataResponse<'_>) -> Vec<String> {
        if !answer.brokers.is_empty() {
            self.nodes = answer
                .brokers
                .iter()
                .map(|b| (b.node_id, Arc::from(join(&b.host, b.port))))
                .collect();
        }
        let mut unknown = Vec::new();
        for topic in &answer.topics {
            let Some(name) = topic.name.as_deref() else {
                continue;
            };
            if topic.error_code != 0 {
                unknown.push(name.to_owned());
                continue;
            }
            let leaders = self.topics.entry(name.to_owned()).or_default();
            for p in &topic.partitions {
                let Ok(index) = usize::try_from(p.partition_index) else {
                    continue;
                };
                if leaders.len() <= index {
                    leaders.resize(index + 1, Leader::NONE);
                }
                let new = Leader {
                    node: p.leader_id,
                    epoch: p.leader_epoch,
                };
                let old = leaders[index];
                if new.epoch >= old.epoch || new.epoch < 0 {
                    leaders[index] = new;
                }
            }
        }
        unknown
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn join(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use turgo_net::messages::metadata::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;

    fn answer(leader: i32, epoch: i32) -> MetadataResponse<'static> {
        MetadataResponse {
            brokers: vec![
                MetadataResponseBroker {
                    node_id: 1,
                    host: "a".into(),
                    port: 9092,
                    ..Default::default()
                },
                MetadataResponseBroker {
                    node_id: 2,
                    host: "::1".into(),
                    port: 9093,
                    ..Default::default()
                },
            ],
            topics: vec![MetadataResponseTopic {
                name: Some("t".into()),
                partitions: vec![MetadataResponsePartition {
                    partition_index: 1,
                    leader_id: leader,
                    leader_epoch: epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_stale_answer_does_not_bring_back_an_old_leader() {
        let mut view = ClusterView::new(&["x:1".into()]);
        assert_eq!(view.any(), -1);
        assert!(view.learn(&answer(1, 5)).is_empty());
        view.learn(&answer(2, 6));
        view.learn(&answer(1, 5));
        assert_eq!(view.leader("t", 1), Leader { node: 2, epoch: 6 });
        assert_eq!(view.leader("t", 0), Leader::NONE);
        assert_eq!(view.address(2).map(|a| &**a), Some("[::1]:9093"));
        assert_eq!(view.address(-1).map(|a| &**a), Some("x:1"));
        let asked: std::collections::BTreeSet<i32> = (0..6).map(|_| view.any()).collect();
        assert_eq!(
            asked,
            [-1, 1, 2].into(),
            "every node and bootstrap server has its turn"
        );
    }
}
