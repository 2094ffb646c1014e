//! Requests as they come from a connection: header, dispatch by API, answers as bytes.
//!
//! The shell calls [`begin`] for every frame, in order. Produce requests give an [`InFlight::Produce`] whose
//! batches are already appended or on their way; everything else is answered by [`answer`], one at a time per
//! connection, as Kafka does.

mod admin;
mod api_versions;
mod consumer_groups;
mod fetch;
mod groups;
mod log_dirs;
mod offsets;
mod produce;
mod quorum;
mod txn;
mod txn_admin;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::header::{HeaderError, RequestHeader};
use turgo_net::wire::Encode;
use turgo_net::{DecodeError, EncodeError, ErrorCode, Reader, Writer, encode_response};
use turgo_storage::env::Env;

use crate::shard::Shard;
pub use produce::ProduceInFlight;

/// Why a connection is closed instead of answered; Kafka does the same in each case.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The header cannot be read.
    #[error("unreadable request header: {0}")]
    Header(HeaderError),
    /// No such API here.
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    /// A version that was not offered.
    #[error("{api} version {version} is not served")]
    Version {
        /// The API's name.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The body cannot be read.
    #[error("unreadable {api} version {version}: {error}")]
    Body {
        /// The API's name.
        api: &'static str,
        /// The request's version.
        version: i16,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An acks=0 produce failed: there is no answer to put the error in.
    #[error("a produce with acks=0 failed with {0}")]
    SilentFailure(ErrorCode),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// A bug: the answer cannot be encoded.
    #[error("answer to {api} version {version} cannot be encoded: {error}")]
    Encode {
        /// The API's name.
        api: &'static str,
        /// The request's version.
        version: i16,
        /// What is wrong with it.
        error: EncodeError,
    },
}

/// What a connection knows about its client.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// `host:port` of the other end.
    pub peer: String,
    /// Host of the other end, with a slash in front, as Kafka shows it for group members.
    pub host: String,
    /// Where its data lives.
    pub affinity: Affinity,
}

/// Which core a connection's produce and fetch requests go to, so that the connection can move there.
#[derive(Debug, Clone, Default)]
pub struct Affinity {
    core: Cell<usize>,
    streak: Cell<u32>,
    leaving: Cell<Option<usize>>,
}

impl Affinity {
    /// A request went to these cores.
    pub fn note(&self, cores: impl IntoIterator<Item = usize>) {
        let mut cores = cores.into_iter();
        match (cores.next(), cores.next()) {
            (Some(core), None) if core == self.core.get() => {
                self.streak.set(self.streak.get().saturating_add(1))
            }
            (Some(core), None) => {
                self.core.set(core);
                self.streak.set(1);
            }
            (Some(_), Some(_)) => self.streak.set(0),
            (None, _) => {}
        }
    }
    /// The core that alone served so many requests in a row, if there is one.
    pub fn settled(&self, requests: u32) -> Option<usize> {
        (self.streak.get() >= requests).then(|| self.core.get())
    }
}

/// A connection whose last so many produce and fetch requests all went to one other core moves there.
const SETTLED: u32 = 64;
/// How many connections more than the average a core may have and still attract more.
const CROWD: usize = 8;

/// The core that a connection should move to: the one that owns all it asks for, unless that is crowded. Once it is
/// said, it stays: the connection's fetch session may have been closed for it.
pub fn attraction<E: Env>(shard: &Shard<E>, client: &Client) -> Option<usize> {
    let affinity = &client.affinity;
    if affinity.leaving.get().is_some() {
        return affinity.leaving.get();
    }
    let core = affinity.settled(SETTLED).filter(|core| *core != shard.index)?;
    let load = |core: usize| shard.node.load[core].load(std::sync::atomic::Ordering::Relaxed);
    let mean = (0..shard.cores).map(load).sum::<usize>() / shard.cores;
    if load(core) <= mean + CROWD {
        affinity.leaving.set(Some(core));
    }
    affinity.leaving.get()
}

/// A request that was begun.
pub enum InFlight<E: Env> {
    /// A produce: its batches are on their way, [`ProduceInFlight::finish`] waits for them.
    Produce(ProduceInFlight),
    /// Anything else: [`answer`] does it.
    Other(Pending<E>),
}

/// A request whose header is read and whose version is served.
pub struct Pending<E: Env> {
    shard: Rc<Shard<E>>,
    call: Call,
}

impl<E: Env> Pending<E> {
    /// True for a Fetch, whose latency includes a wait that the client asked for.
    pub fn is_fetch(&self) -> bool {
        self.call.api == ApiKey::Fetch
    }
}

/// Header fields of a request and its bytes.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
    pub(crate) frame: Bytes,
    /// Where the body starts in `frame`.
    body: usize,
}

impl Call {
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.frame[self.body..])
    }
    pub(crate) fn body_error(&self, error: DecodeError) -> Close {
        Close::Body {
            api: self.api.name(),
            version: self.version,
            error,
        }
    }
    pub(crate) fn encode<T: Encode>(&self, body: &T) -> Result<Vec<Bytes>, Close> {
        encode_response(self.api, self.version, self.correlation_id, body)
            .map(Writer::into_parts)
            .map_err(|error| Close::Encode {
                api: self.api.name(),
                version: self.version,
                error,
            })
    }
}

/// Reads the header and, for a produce, starts it.
pub fn begin<E: Env>(shard: &Rc<Shard<E>>, client: &Client, frame: Bytes) -> Result<InFlight<E>, Close> {
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::decode(&mut reader).map_err(Close::Header)?;
    let api = ApiKey::try_from(header.api_key).map_err(|_| Close::UnknownApi(header.api_key))?;
    let Some((min, max)) = crate::apis::served(api) else {
        return Err(Close::UnknownApi(header.api_key));
    };
    let version = header.api_version;
    shard.note_activity();
    shard.stats.request(header.api_key);
    if api != ApiKey::ApiVersions && !(min..=max).contains(&version) {
        return Err(Close::Version {
            api: api.name(),
            version,
        });
    }
    let body = frame.len() - reader.remaining();
    let call = Call {
        api,
        version,
        correlation_id: header.correlation_id,
        client_id: header.client_id.map(|id| id.into_owned()),
        body,
        frame,
    };
    if api == ApiKey::Produce {
        return Ok(InFlight::Produce(produce::begin(shard, client, call)?));
    }
    Ok(InFlight::Other(Pending {
        shard: shard.clone(),
        call,
    }))
}

/// Serves a request that is not a produce.
pub async fn answer<E: Env>(pending: Pending<E>, client: &Client) -> Result<Vec<Bytes>, Close> {
    let Pending { shard, call } = pending;
    match call.api {
        ApiKey::ApiVersions => api_versions::answer(&shard, &call),
        ApiKey::Metadata => admin::metadata(&shard, &call).await,
        ApiKey::Fetch => fetch::answer(&shard, &call, client).await,
        ApiKey::ListOffsets => offsets::list_offsets(&shard, &call).await,
        ApiKey::OffsetForLeaderEpoch => offsets::epochs(&shard, &call).await,
        ApiKey::DeleteRecords => offsets::delete_records(&shard, &call).await,
        ApiKey::InitProducerId => txn::init_producer_id(&shard, &call).await,
        ApiKey::AddPartitionsToTxn => txn::add_partitions(&shard, &call).await,
        ApiKey::AddOffsetsToTxn => txn::add_offsets(&shard, &call).await,
        ApiKey::EndTxn => txn::end(&shard, &call).await,
        ApiKey::TxnOffsetCommit => txn::commit_offsets(&shard, &call, client).await,
        ApiKey::WriteTxnMarkers => txn_admin::write_markers(&shard, &call).await,
        ApiKey::DescribeProducers => txn_admin::describe_producers(&shard, &call).await,
        ApiKey::DescribeTransactions => txn_admin::describe(&shard, &call).await,
        ApiKey::ListTransactions => txn_admin::list(&shard, &call).await,
        ApiKey::CreateTopics => admin::create_topics(&shard, &call).await,
        ApiKey::DeleteTopics => admin::delete_topics(&shard, &call).await,
        ApiKey::CreatePartitions => admin::create_partitions(&shard, &call).await,
        ApiKey::DescribeConfigs => admin::describe_configs(&shard, &call).await,
        ApiKey::AlterConfigs => admin::alter_configs(&shard, &call).await,
        ApiKey::IncrementalAlterConfigs => admin::incremental_alter_configs(&shard, &call).await,
        ApiKey::DescribeCluster => admin::describe_cluster(&shard, &call).await,
        ApiKey::DescribeTopicPartitions => admin::describe_topic_partitions(&shard, &call).await,
        ApiKey::ElectLeaders => admin::elect_leaders(&shard, &call),
        ApiKey::AlterPartitionReassignments => admin::alter_reassignments(&shard, &call),
        ApiKey::ListPartitionReassignments => admin::list_reassignments(&call),
        ApiKey::UpdateFeatures => admin::update_features(&shard, &call).await,
        ApiKey::UnregisterBroker => admin::unregister_broker(&shard, &call),
        ApiKey::ListConfigResources => admin::list_config_resources(&shard, &call),
        ApiKey::DescribeQuorum => quorum::answer(&shard, &call).await,
        ApiKey::AlterReplicaLogDirs => log_dirs::alter(&shard, &call),
        ApiKey::DescribeLogDirs => log_dirs::answer(&shard, &call).await,
        ApiKey::FindCoordinator => groups::find_coordinator(&shard, &call).await,
        ApiKey::JoinGroup => groups::join(&shard, &call, client).await,
        ApiKey::SyncGroup => groups::sync(&shard, &call, client).await,
        ApiKey::Heartbeat => groups::heartbeat(&shard, &call, client).await,
        ApiKey::LeaveGroup => groups::leave(&shard, &call, client).await,
        ApiKey::OffsetCommit => groups::offset_commit(&shard, &call, client).await,
        ApiKey::OffsetFetch => groups::offset_fetch(&shard, &call).await,
        ApiKey::OffsetDelete => groups::offset_delete(&shard, &call).await,
        ApiKey::ListGroups => groups::list(&shard, &call).await,
        ApiKey::DescribeGroups => groups::describe(&shard, &call).await,
        ApiKey::DeleteGroups => groups::delete(&shard, &call).await,
        ApiKey::ConsumerGroupHeartbeat => consumer_groups::heartbeat(&shard, &call, client).await,
        ApiKey::ConsumerGroupDescribe => consumer_groups::describe(&shard, &call).await,
        other => Err(Close::UnknownApi(other as i16)),
    }
}
