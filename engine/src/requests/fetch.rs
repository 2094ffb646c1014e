//! Fetch (KIP-74, KIP-227, KIP-320, KIP-516, KIP-595, KIP-951).
//!
//! A request names everything (a full fetch), or belongs to a session ([`crate::sessions`]) and names what changed. Both
//! become a list of partitions to read. The answer names, as Kafka's does, first what was read, then what could not
//! be; in a session only what is news.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use turgo_net::{ErrorCode, Records, Uuid};
use turgo_storage::PartitionId;
use turgo_storage::env::Env;

use super::{Call, Client, Close};
use crate::sessions::{
    FINAL_EPOCH, INITIAL_EPOCH, News, Round, Seen, SessionError, Told, TopicName, Update, Want,
};
use crate::shard::Shard;
use crate::shard::ops::{FetchOp, Fetched, PartFetch};

/// Longest wait that a client may ask for, so that a hostile value cannot park a request for weeks.
const MAX_WAIT_MS: i32 = 5 * 60 * 1000;
/// First version that names topics by id (KIP-516).
const BY_ID: i16 = 13;
/// First version that tells where the leader is (KIP-951).
const WITH_ENDPOINTS: i16 = 16;

/// A partition that the request asks for.
struct Item {
    /// By position in [`Asked::topics`].
    topic: u32,
    partition: i32,
    want: Want,
    /// In a session: where it is kept and what the client was told.
    place: u32,
    seen: Seen,
}

/// A topic as the client calls it.
struct Topic<'a> {
    name: Cow<'a, str>,
    id: Uuid,
}

/// What a request asks for, in the order to read it.
struct Asked<'a> {
    topics: Vec<Topic<'a>>,
    items: Vec<Item>,
}

impl<'a> Asked<'a> {
    /// By the request alone.
    fn whole(request: &FetchRequest<'a>) -> Asked<'a> {
        let topics = request
            .topics
            .iter()
            .map(|topic| Topic {
                name: topic.topic.clone(),
                id: topic.topic_id,
            })
            .collect();
        let items = request
            .topics
            .iter()
            .zip(0..)
            .flat_map(|(topic, number)| topic.partitions.iter().map(move |part| (number, part)))
            .map(|(topic, part)| Item {
                topic,
                partition: part.partition,
                want: Want {
                    offset: part.fetch_offset,
                    max_bytes: part.partition_max_bytes,
                    leader_epoch: part.current_leader_epoch,
                    last_epoch: part.last_fetched_epoch,
                },
                place: 0,
                seen: Seen::NOTHING,
            })
            .collect();
        Asked { topics, items }
    }

    /// By a session.
    fn round(round: &'a Round) -> Asked<'a> {
        let topics = round
            .topics
            .iter()
            .map(|topic| match topic {
                TopicName::Name(name) => Topic {
                    name: Cow::Borrowed(name.as_ref()),
                    id: Uuid::default(),
                },
                TopicName::Id(id) => Topic {
                    name: Cow::Borrowed(""),
                    id: Uuid(*id),
                },
            })
            .collect();
        let items = round
            .parts
            .iter()
            .map(|part| Item {
                topic: part.topic,
                partition: part.partition,
                want: part.want,
                place: part.place,
                seen: part.seen,
            })
            .collect();
        Asked { topics, items }
    }

    /// Topics as a session calls them.
    fn names(&self, by_id: bool) -> Vec<TopicName> {
        self.topics
            .iter()
            .map(|topic| session_name(topic, by_id))
            .collect()
    }
}

fn session_name(topic: &Topic<'_>, by_id: bool) -> TopicName {
    if by_id {
        TopicName::Id(topic.id.0)
    } else {
        TopicName::Name(topic.name.as_ref().into())
    }
}

/// What a request of a session changes.
fn update(request: &FetchRequest<'_>, version: i16) -> Update {
    let by_id = version >= BY_ID;
    let asked = Asked::whole(request);
    let mut topics = asked.names(by_id);
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let number = topics.len() as u32;
        topics.push(session_name(
            &Topic {
                name: topic.topic.clone(),
                id: topic.topic_id,
            },
            by_id,
        ));
        forgotten.extend(topic.partitions.iter().map(|partition| (number, *partition)));
    }
    Update {
        id: request.session_id,
        epoch: request.session_epoch,
        uses_ids: by_id,
        topics,
        wanted: asked
            .items
            .iter()
            .map(|item| (item.topic, item.partition, item.want))
            .collect(),
        forgotten,
    }
}

/// The terms of a request that concern all its partitions.
struct Terms {
    version: i16,
    max_wait_ms: i32,
    min_bytes: i32,
    max_bytes: i32,
    read_committed: bool,
    /// The client is a replica.
    follower: bool,
}

impl Terms {
    fn of(request: &FetchRequest<'_>, version: i16) -> Terms {
        let replica = if version >= 15 {
            request.replica_state.replica_id
        } else {
            request.replica_id
        };
        Terms {
            version,
            max_wait_ms: request.max_wait_ms,
            min_bytes: request.min_bytes,
            max_bytes: request.max_bytes,
            read_committed: request.isolation_level == READ_COMMITTED,
            follower: replica >= 0,
        }
    }
}

/// Isolation level of readers that see only what was committed (KIP-98).
const READ_COMMITTED: i8 = 1;

pub(super) async fn answer<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = FetchRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let terms = Terms::of(&request, call.version);
    let by_id = call.version >= BY_ID;
    let (id, epoch) = (request.session_id, request.session_epoch);
    if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
        // Whatever session it names ends here.
        if id != 0 {
            shard.close_session(id).await;
        }
        let asked = Asked::whole(&request);
        let results = read(shard, client, &terms, &asked).await;
        let mut session_id = 0;
        // A connection that is about to leave this core makes its session there.
        if epoch == INITIAL_EPOCH && super::attraction(shard, client).is_none() {
            let parts = results.iter().map(|result| {
                let item = &asked.items[result.slot as usize];
                let news = news(result);
                let seen = Seen::NOTHING.news(&news).unwrap_or(news.marks);
                (item.topic, item.partition, item.want, seen)
            });
            session_id = shard.create_session(terms.follower, by_id, &asked.names(by_id), parts);
        }
        return respond(shard, call, &terms, &asked, results, session_id);
    }
    let round = match shard.begin_round(update(&request, call.version)).await {
        Ok(Some(round)) => round,
        // Everything was forgotten, which ended the session.
        Ok(None) => return call.encode(&FetchResponse::default()),
        Err(error) => return refuse(shard, call, error, 0),
    };
    let asked = Asked::round(&round);
    let mut results = read(shard, client, &terms, &asked).await;
    let mut told = Vec::new();
    results.retain(|result| {
        let item = &asked.items[result.slot as usize];
        let news = news(result);
        let seen = item.seen.news(&news);
        told.extend(seen.map(|seen| Told {
            place: item.place,
            seen,
            data: news.data,
        }));
        seen.is_some()
    });
    if super::attraction(shard, client).is_some() {
        shard.close_session(id).await;
        return respond(shard, call, &terms, &asked, results, 0);
    }
    if let Err(error) = shard.finish_round(id, round.epoch, told).await {
        return refuse(shard, call, error, id);
    }
    respond(shard, call, &terms, &asked, results, id)
}

/// An answer that is only an error. The connection goes on.
fn refuse<E: Env>(
    shard: &Shard<E>,
    call: &Call,
    error: SessionError,
    session_id: i32,
) -> Result<Vec<Bytes>, Close> {
    let error = match error {
        SessionError::NotFound => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        SessionError::Epoch => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        SessionError::TopicId => ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    };
    shard.stats.error(call.api as i16, error.0);
    call.encode(&FetchResponse {
        error_code: error.0,
        session_id,
        ..Default::default()
    })
}

fn news(result: &Fetched) -> News {
    News {
        marks: Seen {
            high_watermark: result.high_watermark,
            last_stable: result.last_stable,
            log_start: result.log_start,
        },
        data: result.bytes() > 0,
        error: !result.error.is_none(),
        diverging: result.diverging.is_some(),
    }
}

/// Reads what is asked for, waiting as the terms say. Slots are positions in [`Asked::items`]; what cannot be read
/// comes last.
async fn read<E: Env>(
    shard: &Rc<Shard<E>>,
    client: &Client,
    terms: &Terms,
    asked: &Asked<'_>,
) -> Vec<Fetched> {
    let (mut parts, mut refused) = (Vec::with_capacity(asked.items.len()), Vec::new());
    {
        let metadata = shard.metadata();
        let known: Vec<_> = asked
            .topics
            .iter()
            .map(|topic| {
                if terms.version >= BY_ID {
                    metadata
                        .topic_by_id(&topic.id.0)
                        .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
                } else {
                    metadata
                        .topic(&topic.name)
                        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
                }
            })
            .collect();
        for (item, slot) in asked.items.iter().zip(0..) {
            let index = u32::try_from(item.partition).unwrap_or(u32::MAX);
            match known[item.topic as usize] {
                Ok(topic) if (index as usize) < topic.partitions.len() => parts.push(PartFetch {
                    slot,
                    id: PartitionId {
                        topic: topic.id,
                        partition: index,
                    },
                    offset: item.want.offset,
                    max_bytes: usize::try_from(item.want.max_bytes).unwrap_or(0),
                    leader_epoch: item.want.leader_epoch,
                    last_epoch: item.want.last_epoch,
                }),
                Ok(_) => refused.push(Fetched::error(slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
                Err(error) => refused.push(Fetched::error(slot, error)),
            }
        }
    }
    let settings = shard.settings();
    let max_bytes = usize::try_from(terms.max_bytes).unwrap_or(0);
    let max_bytes = max_bytes.min(settings.fetch_max_bytes as usize);
    // Responses that clients do not take yet leave less room; one batch is always returned.
    drop(shard.response_memory.acquire(1).await);
    let max_bytes = max_bytes.min(shard.response_memory.free());
    if parts.is_empty() {
        // There is nothing to wait for.
        return refused;
    }
    let mut results: Vec<Fetched>;
    if terms.follower {
        // No replica but this broker has any partition, so none is known.
        let error = |part: &PartFetch| match part.leader_epoch {
            -1 => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            _ => ErrorCode::UNKNOWN_LEADER_EPOCH,
        };
        results = parts
            .iter()
            .map(|part| Fetched::error(part.slot, error(part)))
            .collect();
    } else {
        client.affinity.note(shard.owners(parts.iter().map(|p| &p.id)));
        let min_bytes = terms.min_bytes.max(0) as usize;
        let wait_ms = terms.max_wait_ms.clamp(0, MAX_WAIT_MS) as u64;
        let op = FetchOp {
            parts,
            max_bytes,
            min_bytes: min_bytes.min(max_bytes),
            deadline_ms: shard.now_ms() + wait_ms,
            no_zstd: terms.version < 10,
            read_committed: terms.read_committed,
        };
        results = shard.fetch(op).await;
        results.sort_unstable_by_key(|r| r.slot);
    }
    results.extend(refused);
    results
}

fn respond<E: Env>(
    shard: &Shard<E>,
    call: &Call,
    terms: &Terms,
    asked: &Asked<'_>,
    results: Vec<Fetched>,
    session_id: i32,
) -> Result<Vec<Bytes>, Close> {
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let mut last_topic = None;
    let mut led = false;
    for result in results {
        shard.stats.error(call.api as i16, result.error.0);
        let item = &asked.items[result.slot as usize];
        let topic = &asked.topics[item.topic as usize];
        let mut data = partition_data(item.partition, result, terms);
        if let Some(leader) = current_leader(shard, terms, topic, &data) {
            data.current_leader = leader;
            led = true;
        }
        // Neighbours of the same topic share an entry, as in Kafka.
        match responses.last_mut().filter(|_| last_topic == Some(item.topic)) {
            Some(entry) => entry.partitions.push(data),
            None => responses.push(FetchableTopicResponse {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions: vec![data],
                ..Default::default()
            }),
        }
        last_topic = Some(item.topic);
    }
    let node = &shard.node;
    let endpoint = || NodeEndpoint {
        node_id: node.id,
        host: node.advertised_host.as_str().into(),
        port: i32::from(node.advertised_port),
        rack: node.rack.as_deref().map(Cow::Borrowed),
        ..Default::default()
    };
    call.encode(&FetchResponse {
        session_id,
        responses,
        node_endpoints: led.then(endpoint).into_iter().collect(),
        ..Default::default()
    })
}

/// Who leads a partition, for a client that seems not to know (KIP-951).
fn current_leader<E: Env>(
    shard: &Shard<E>,
    terms: &Terms,
    topic: &Topic<'_>,
    data: &PartitionData<'_>,
) -> Option<LeaderIdAndEpoch> {
    let stale = [
        ErrorCode::NOT_LEADER_OR_FOLLOWER.0,
        ErrorCode::FENCED_LEADER_EPOCH.0,
    ];
    if terms.version < WITH_ENDPOINTS || !stale.contains(&data.error_code) {
        return None;
    }
    let metadata = shard.metadata();
    let index = usize::try_from(data.partition_index).ok()?;
    let partition = metadata.topic_by_id(&topic.id.0)?.partitions.get(index)?;
    Some(LeaderIdAndEpoch {
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        ..Default::default()
    })
}

fn partition_data<'a>(index: i32, result: Fetched, terms: &Terms) -> PartitionData<'a> {
    let diverging_epoch = match result.diverging {
        Some((epoch, end_offset)) => EpochEndOffset {
            epoch,
            end_offset,
            ..Default::default()
        },
        None => EpochEndOffset::default(),
    };
    PartitionData {
        partition_index: index,
        error_code: result.error.0,
        high_watermark: result.high_watermark,
        last_stable_offset: result.last_stable,
        log_start_offset: result.log_start,
        diverging_epoch,
        // Kafka's answer to read_uncommitted is null, to read_committed a list.
        aborted_transactions: terms.read_committed.then(|| {
            let aborted = |(producer_id, first_offset)| AbortedTransaction {
                producer_id,
                first_offset,
            };
            result.aborted.into_iter().map(aborted).collect()
        }),
        preferred_read_replica: -1,
        records: Records::Chunks(result.chunks),
        ..Default::default()
    }
}
