//! What the coordinator is asked and what it answers, without the wire.
//!
//! Fields carry the protocol's names. Checks that need the cluster's metadata (does a topic exist) are the caller's, as
//! is the choice of error code where it differs by version only (PRODUCER_FENCED or INVALID_PRODUCER_EPOCH).

use turgo_net::ErrorCode;

use super::state::TxnState;

/// Level of `transaction.version` that a client works by: 2 if partitions are added by the produce itself and every end
/// of a transaction raises the epoch (KIP-890), 0 for all clients before.
pub type Level = i16;
/// The level of the protocol before KIP-890 part 2.
pub const TV0: Level = 0;
/// The level of KIP-890 part 2.
pub const TV2: Level = 2;

/// Topics with partition indexes.
pub type Topics = Vec<(String, Vec<i32>)>;

/// A request to the coordinator of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// InitProducerId 0 to 5 with a transactional id.
    InitProducerId(InitProducerId),
    /// AddPartitionsToTxn 0 to 5, AddOffsetsToTxn, and what Produce 12 and TxnOffsetCommit 5 imply.
    AddPartitions(AddPartitions),
    /// EndTxn 0 to 5.
    End(EndTxn),
    /// One id of DescribeTransactions.
    Describe(String),
    /// ListTransactions 0 to 2, for the ids of this coordinator.
    List(ListTransactions),
}

/// InitProducerId.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitProducerId {
    /// The id.
    pub transactional_id: String,
    /// How long a transaction may be open.
    pub timeout_ms: i32,
    /// Producer id and epoch that the producer believes to have (KIP-360).
    pub expected: Option<(i64, i16)>,
}

/// AddPartitionsToTxn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddPartitions {
    /// The id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// What to add.
    pub topics: Topics,
    /// Add nothing, only say what is in the transaction (KIP-890 part 1).
    pub verify_only: bool,
    /// How the client works.
    pub level: Level,
}

/// EndTxn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndTxn {
    /// The id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Commit or abort.
    pub commit: bool,
    /// How the client works.
    pub level: Level,
}

/// ListTransactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListTransactions {
    /// States wanted; empty is all. Names nobody knows have been taken out.
    pub states: Vec<TxnState>,
    /// Producer ids wanted; empty is all.
    pub producer_ids: Vec<i64>,
    /// Only transactions that have been open longer, ms; negative is all.
    pub duration_ms: i64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::InitProducerId`] and [`Request::End`].
    Producer(Producer),
    /// To [`Request::AddPartitions`], in the order asked.
    Added(Vec<(String, Vec<(i32, ErrorCode)>)>),
    /// To [`Request::Describe`].
    Described(Described),
    /// To [`Request::List`].
    Listed(Result<Vec<Listed>, ErrorCode>),
}

/// Answer to InitProducerId and EndTxn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// `NONE` or why not.
    pub error: ErrorCode,
    /// Producer id from now on; -1 on error.
    pub id: i64,
    /// Epoch from now on; -1 on error.
    pub epoch: i16,
}

impl Producer {
    /// A refusal.
    pub fn refused(error: ErrorCode) -> Producer {
        Producer {
            error,
            id: -1,
            epoch: -1,
        }
    }
}

/// One transaction of DescribeTransactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// `NONE` or why there is nothing to tell.
    pub error: ErrorCode,
    /// As asked.
    pub transactional_id: String,
    /// State's name; empty on error.
    pub state: &'static str,
    /// How long a transaction may be open.
    pub timeout_ms: i32,
    /// Start of the transaction, ms since the epoch; -1 if none was ever begun.
    pub start_ms: i64,
    /// Producer id.
    pub producer_id: i64,
    /// Epoch.
    pub producer_epoch: i16,
    /// Partitions in the transaction.
    pub topics: Topics,
}

/// One transaction of ListTransactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// State's name.
    pub state: &'static str,
}

impl Request {
    /// The refusal of the whole request.
    pub fn refuse(&self, error: ErrorCode) -> Response {
        match self {
            Request::InitProducerId(_) | Request::End(_) => Response::Producer(Producer::refused(error)),
            Request::AddPartitions(add) => Response::Added(all(&add.topics, error)),
            Request::Describe(id) => Response::Described(Described {
                error,
                transactional_id: id.clone(),
                ..Described::default()
            }),
            // A coordinator that is not one has no transactions.
            Request::List(_) if error == ErrorCode::NOT_COORDINATOR => Response::Listed(Ok(Vec::new())),
            Request::List(_) => Response::Listed(Err(error)),
        }
    }
}

/// The same answer for every partition.
pub(super) fn all(topics: &Topics, error: ErrorCode) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
    topics
        .iter()
        .map(|(topic, partitions)| (topic.clone(), partitions.iter().map(|p| (*p, error)).collect()))
        .collect()
}
