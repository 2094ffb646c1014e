//! Facts of this node that every core knows and nothing changes while it runs.

use std::sync::Arc;

use crate::metadata::Site;

/// See the module.
#[derive(Debug)]
pub struct Node {
    /// Broker id in the protocol.
    pub id: i32,
    /// Cluster id: 16 random bytes in url-safe base64, made when the data directory was.
    pub cluster_id: String,
    /// Rack, if it has one.
    pub rack: Option<String>,
    /// Host name that clients are told to connect to.
    pub advertised_host: String,
    /// Port that clients are told to connect to.
    pub advertised_port: u16,
    /// Data directory as given by the operator, absolute.
    pub data_dir: String,
    /// Cores that serve.
    pub cores: usize,
    /// Largest request accepted, bytes (`socket.request.max.bytes`).
    pub max_request_bytes: usize,
    /// Connections accepted at a time.
    pub max_connections: usize,
    /// A connection without a request for so long is closed (`connections.max.idle.ms`).
    pub idle_timeout_ms: u64,
    /// Bytes of requests that one core holds before it stops reading sockets.
    pub request_memory: usize,
    /// Bytes of responses that one core holds before it stops serving fetches.
    pub response_memory: usize,
    /// Broker settings given in the node's file, by Kafka's names.
    pub static_configs: Arc<std::collections::BTreeMap<String, String>>,
    /// Open connections by core: the next goes where there are fewest.
    pub load: Vec<std::sync::atomic::AtomicUsize>,
    /// Sixteen random bytes, for ids. The shell provides it.
    pub random: fn() -> [u8; 16],
}

impl Node {
    /// What the metadata planner needs to know of this node.
    pub fn site(&self) -> Site<'_> {
        Site {
            node_id: self.id,
            cluster_id: &self.cluster_id,
            host: &self.advertised_host,
            port: self.advertised_port,
            rack: self.rack.as_deref(),
            static_configs: &self.static_configs,
        }
    }
}
