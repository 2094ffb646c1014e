//! A lean blocking client: enough of Kafka's protocol for the `turgo` command, on one thread.
//!
//! [`Client`] knows the cluster (brokers, topics, leaders, coordinators) and keeps one connection to each
//! broker it needs. Commands build requests themselves; what several of them share is here: routing,
//! deadlines, retries of what is safe to repeat, offsets.

pub mod api;
mod connection;
mod error;
pub mod group;
mod offsets;
pub mod partitioner;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use turgo_net::ErrorCode;
use turgo_net::messages::find_coordinator::FindCoordinatorRequest;
use turgo_net::messages::metadata::{MetadataRequest, MetadataRequestTopic};

pub use api::Api;
pub use connection::{Connection, Reply, Sent, Served};
pub use error::{ClientError, refusal};
pub use offsets::{Spot, SpotError};

use crate::cli::args;
use crate::cli::exit::CliError;
use crate::cli::sys::{self, interrupted};
use crate::config::HostPort;

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Index in the topic.
    pub index: i32,
    /// Broker to ask; -1: none right now.
    pub leader: i32,
    /// Epoch of that leadership; -1 where the broker does not tell.
    pub leader_epoch: i32,
    /// Brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
    /// Those not reachable.
    pub offline: Vec<i32>,
    /// What the broker says of it; 0 is well.
    pub error: i16,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Id, as text; zero where the broker has none.
    pub id: String,
    /// Kept by the brokers for themselves.
    pub internal: bool,
    /// What the broker says of it; 0 is well.
    pub error: i16,
    /// Partitions by index.
    pub partitions: Vec<Partition>,
}

/// A broker as the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Where clients connect.
    pub address: HostPort,
    /// Rack, if it has one.
    pub rack: Option<String>,
}

/// Which topics to ask about.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// None: only the brokers.
    Brokers,
    /// All.
    All,
    /// These.
    Names(&'a [String]),
}

/// Pauses between attempts: 50 ms, doubling to 1 s, until a deadline.
#[derive(Debug)]
pub struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    /// Attempts until `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Backoff {
            deadline,
            pause: Duration::from_millis(50),
        }
    }

    /// Waits; `false` when there is no time for another attempt or the user wants out.
    pub fn wait(&mut self) -> bool {
        if interrupted() || sys::now() + self.pause >= self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        !interrupted()
    }
}

/// A cluster and the connections to it.
#[derive(Debug)]
pub struct Client {
    bootstrap: Vec<HostPort>,
    client_id: String,
    timeout: Duration,
    /// Brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// Broker that carries out changes; -1 when unknown.
    pub controller: i32,
    connections: HashMap<i32, Connection>,
    /// The broker that answered first; it has no id of its own until metadata names it.
    first: Option<Connection>,
}

impl Client {
    /// Connects to the first bootstrap broker that answers and learns the others from it.
    pub fn connect(args: &args::Connection) -> Result<Self, CliError> {
        let bootstrap = args
            .bootstrap
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse::<HostPort>()
                    .map_err(|why| CliError::Usage(format!("--bootstrap: \"{text}\" {why}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if bootstrap.is_empty() {
            return Err(CliError::Usage(
                "--bootstrap names no broker; write HOST:PORT".into(),
            ));
        }
        let mut client = Client {
            bootstrap,
            client_id: args.client_id.clone(),
            timeout: args.timeout,
            brokers: BTreeMap::new(),
            cluster_id: None,
            controller: -1,
            connections: HashMap::new(),
            first: None,
        };
        client.metadata(Wanted::Brokers, false)?;
        Ok(client)
    }

    /// When an operation that starts now must be done.
    pub fn deadline(&self) -> Instant {
        sys::now() + self.timeout
    }

    /// Time for one operation.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// [`Client::timeout`] as the protocol writes it.
    pub fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// A connection to any broker: one that is open, else a bootstrap broker, else a known one.
    fn any(&mut self, deadline: Instant) -> Result<&mut Connection, ClientError> {
        if self.first.is_none() {
            if let Some(&id) = self.connections.keys().next() {
                return Ok(self.connections.get_mut(&id).expect("its key was there"));
            }
            let mut failures = Vec::new();
            let known = self.brokers.values().map(|broker| broker.address.clone());
            let candidates: Vec<HostPort> = self.bootstrap.iter().cloned().chain(known).collect();
            let until = sys::now() + self.timeout.min(Duration::from_secs(10));
            for address in candidates {
                match Connection::open(&address.host, address.port, &self.client_id, until.min(deadline)) {
                    Ok(connection) => {
                        self.first = Some(connection);
                        break;
                    }
                    Err(ClientError::Interrupted) => return Err(ClientError::Interrupted),
                    Err(error) => failures.push(error),
                }
            }
            if self.first.is_none() {
                // Something that answers and is no Kafka is worth more than a refusal elsewhere.
                if let Some(error) = failures.iter().find(|error| !error.is_transient()) {
                    return Err(error.clone());
                }
                let words: Vec<String> = failures.iter().map(ToString::to_string).collect();
                return Err(ClientError::Unreachable(format!(
                    "{}. Start a broker with `turgo serve`, or name a running one: --bootstrap HOST:PORT",
                    words.join("; ")
                )));
            }
        }
        Ok(self.first.as_mut().expect("opened above"))
    }

    /// The connection to broker `id`, opened when needed.
    pub fn broker(&mut self, id: i32, deadline: Instant) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&id) {
            let Some(broker) = self.brokers.get(&id) else {
                return Err(ClientError::Unreachable(format!(
                    "broker {id} is not in the cluster's metadata"
                )));
            };
            let HostPort { host, port } = broker.address.clone();
            let connection = Connection::open(&host, port, &self.client_id, deadline).map_err(|error| match error {
                ClientError::Unreachable(why) => ClientError::Unreachable(format!(
                    "broker {id} tells clients to connect to {host}:{port}, which fails here: {why}. Its advertised \
                     address must be reachable from this machine"
                )),
                error => error,
            })?;
            self.connections.insert(id, connection);
        }
        Ok(self.connections.get_mut(&id).expect("inserted above"))
    }

    /// Drops the connection to broker `id`, after a failure.
    pub fn forget(&mut self, id: i32) {
        self.connections.remove(&id);
    }

    /// Asks broker `id`.
    pub fn call<'r, A: Api>(
        &mut self,
        id: i32,
        deadline: Instant,
        request: impl FnOnce(i16) -> A::Request<'r>,
    ) -> Result<Reply<A>, ClientError> {
        let result = self.broker(id, deadline)?.call::<A>(deadline, request);
        if matches!(&result, Err(error) if !matches!(error, ClientError::Unsupported { .. } | ClientError::Request(_)))
        {
            self.forget(id);
        }
        result
    }

    /// Asks whichever broker answers.
    pub fn call_any<'r, A: Api>(
        &mut self,
        deadline: Instant,
        request: impl FnOnce(i16) -> A::Request<'r>,
    ) -> Result<Reply<A>, ClientError> {
        let result = self.any(deadline)?.call::<A>(deadline, request);
        if matches!(&result, Err(error) if !matches!(error, ClientError::Unsupported { .. } | ClientError::Request(_)))
        {
            self.first = None;
            self.connections.clear();
        }
        result
    }

    /// Asks the controller, where there is one to name; in newer clusters any broker passes changes on.
    pub fn call_controller<'r, A: Api>(
        &mut self,
        deadline: Instant,
        request: impl FnOnce(i16) -> A::Request<'r>,
    ) -> Result<Reply<A>, ClientError> {
        if self.brokers.contains_key(&self.controller) {
            self.call::<A>(self.controller, deadline, request)
        } else {
            self.call_any::<A>(deadline, request)
        }
    }

    /// Refreshes the cluster's picture and returns the topics asked for, sorted by name. Repeats on lost
    /// connections until the deadline.
    pub fn metadata(&mut self, wanted: Wanted<'_>, create: bool) -> Result<Vec<Topic>, ClientError> {
        let deadline = self.deadline();
        let mut backoff = Backoff::new(deadline);
        loop {
            let reached_before = self.first.is_some() || !self.brokers.is_empty();
            match self.metadata_once(wanted, create, deadline) {
                Err(error) if error.is_transient() && reached_before && backoff.wait() => {}
                result => return result,
            }
        }
    }

    fn metadata_once(
        &mut self,
        wanted: Wanted<'_>,
        create: bool,
        deadline: Instant,
    ) -> Result<Vec<Topic>, ClientError> {
        let reply = self.call_any::<api::Metadata>(deadline, |version| {
            let names = match wanted {
                Wanted::All => None,
                Wanted::Brokers => Some(&[][..]),
                Wanted::Names(names) => Some(names),
            };
            let mut topics = names.map(|names| {
                let name = |name: &String| MetadataRequestTopic {
                    name: Some(name.clone().into()),
                    ..Default::default()
                };
                names.iter().map(name).collect::<Vec<_>>()
            });
            // Version 0 cannot ask for none: an empty list means all there.
            if version == 0 {
                topics = Some(topics.unwrap_or_default());
            }
            MetadataRequest {
                topics,
                // Before version 4 a broker always created.
                allow_auto_topic_creation: create || version < 4,
                ..Default::default()
            }
        })?;
        let answer = reply.body()?;
        if answer.error_code != 0 {
            let broker = self.bootstrap[0].to_string();
            return Err(ClientError::Protocol {
                broker,
                why: refusal(answer.error_code, None),
            });
        }
        self.brokers = answer
            .brokers
            .iter()
            .map(|broker| {
                let address = HostPort {
                    host: broker.host.to_string(),
                    port: broker.port as u16,
                };
                let rack = broker.rack.as_ref().map(|rack| rack.to_string());
                (broker.node_id, Broker { address, rack })
            })
            .collect();
        self.controller = answer.controller_id;
        self.cluster_id = answer.cluster_id.as_ref().map(|id| id.to_string());
        let mut topics: Vec<Topic> = answer
            .topics
            .iter()
            .map(|topic| Topic {
                name: topic.name.as_deref().unwrap_or_default().to_string(),
                id: topic.topic_id.to_string(),
                internal: topic.is_internal,
                error: topic.error_code,
                partitions: {
                    let mut partitions: Vec<Partition> = topic
                        .partitions
                        .iter()
                        .map(|partition| Partition {
                            index: partition.partition_index,
                            leader: partition.leader_id,
                            leader_epoch: partition.leader_epoch,
                            replicas: partition.replica_nodes.clone(),
                            in_sync: partition.isr_nodes.clone(),
                            offline: partition.offline_replicas.clone(),
                            error: partition.error_code,
                        })
                        .collect();
                    partitions.sort_by_key(|partition| partition.index);
                    partitions
                },
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The topics `names`, all with leaders; waits for elections, not for topics that do not exist.
    pub fn topics(&mut self, names: &[String], create: bool) -> Result<Vec<Topic>, CliError> {
        let mut backoff = Backoff::new(self.deadline());
        // A cluster that creates topics by itself has the new one within moments.
        let mut creation = Backoff::new(sys::now() + self.timeout.min(Duration::from_secs(5)));
        loop {
            let topics = self.metadata(Wanted::Names(names), create)?;
            let unknown = |topic: &&Topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            if let Some(topic) = topics.iter().find(unknown) {
                if create && creation.wait() {
                    continue;
                }
                let name = &topic.name;
                return Err(CliError::Failed(format!(
                    "topic {name} does not exist; `turgo topic list` shows what does, `turgo topic create {name}` makes it"
                )));
            }
            if let Some(topic) = topics
                .iter()
                .find(|topic| topic.error != 0 && !ErrorCode(topic.error).retriable())
            {
                return Err(CliError::Failed(format!(
                    "topic {}: {}",
                    topic.name,
                    refusal(topic.error, None)
                )));
            }
            let settled = topics.iter().all(|topic| {
                topic.error == 0
                    && !topic.partitions.is_empty()
                    && topic.partitions.iter().all(|p| p.leader >= 0)
            });
            if settled {
                return Ok(topics);
            }
            if !backoff.wait() {
                if interrupted() {
                    return Err(CliError::Interrupted);
                }
                let leaderless: Vec<String> = topics
                    .iter()
                    .flat_map(|topic| {
                        let without = topic.partitions.iter().filter(|p| p.leader < 0);
                        without
                            .map(|p| format!("{}/{}", topic.name, p.index))
                            .collect::<Vec<_>>()
                    })
                    .take(5)
                    .collect();
                return Err(CliError::Unreachable(format!(
                    "no leader for {}; `turgo topic describe` shows which brokers are missing",
                    leaderless.join(", ")
                )));
            }
        }
    }

    /// The broker that coordinates `group`. Waits while the cluster prepares one.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, CliError> {
        let deadline = self.deadline();
        let mut backoff = Backoff::new(deadline);
        loop {
            let found = self.coordinator_once(group, deadline);
            let why = match found {
                Ok(Ok(id)) => return Ok(id),
                Ok(Err((code, message))) => {
                    let words = refusal(code, message.as_deref());
                    if !ErrorCode(code).retriable() {
                        return Err(CliError::Failed(format!("group {group}: {words}")));
                    }
                    format!("no coordinator for group {group}: {words}")
                }
                Err(error) if error.is_transient() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if !backoff.wait() {
                return Err(if interrupted() {
                    CliError::Interrupted
                } else {
                    CliError::Unreachable(why)
                });
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn coordinator_once(
        &mut self,
        group: &str,
        deadline: Instant,
    ) -> Result<Result<i32, (i16, Option<String>)>, ClientError> {
        let reply = self.call_any::<api::FindCoordinator>(deadline, |version| {
            if version >= 4 {
                FindCoordinatorRequest {
                    coordinator_keys: vec![group.to_string().into()],
                    ..Default::default()
                }
            } else {
                FindCoordinatorRequest {
                    key: group.to_string().into(),
                    ..Default::default()
                }
            }
        })?;
        let answer = reply.body()?;
        let (code, message, id, host, port) = match answer.coordinators.first() {
            Some(c) => (c.error_code, &c.error_message, c.node_id, &c.host, c.port),
            None => (
                answer.error_code,
                &answer.error_message,
                answer.node_id,
                &answer.host,
                answer.port,
            ),
        };
        if code != 0 {
            return Ok(Err((code, message.as_deref().map(str::to_string))));
        }
        let address = HostPort {
            host: host.to_string(),
            port: port as u16,
        };
        self.brokers.entry(id).or_insert(Broker { address, rack: None });
        Ok(Ok(id))
    }
}
