//! `turgo topic`.

use std::collections::BTreeMap;

use serde_json::json;
use turgo_net::ErrorCode;
use turgo_net::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use turgo_net::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use turgo_net::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use turgo_net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use turgo_net::messages::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};

use super::args::{Position, TopicCommand};
use super::client::{Backoff, Client, ClientError, Spot, Topic, Wanted, api, refusal};
use super::configs::{self, Resource};
use super::exit::CliError;
use super::output::{Out, Table, list, or_dash};
use crate::config::kafka_value;

/// Runs `turgo topic`.
pub fn run(client: &mut Client, command: TopicCommand, out: &mut Out<'_>) -> Result<(), CliError> {
    match command {
        TopicCommand::Create {
            names,
            partitions,
            replication_factor,
            set,
            if_not_exists,
            dry_run,
        } => {
            let wish = Creation {
                partitions,
                replication_factor,
                set,
                if_not_exists,
                dry_run,
            };
            create(client, &names, &wish, out)
        }
        TopicCommand::Delete { names, if_exists } => delete(client, &names, if_exists, out),
        TopicCommand::List { containing, all } => show_list(client, containing.as_deref(), all, out),
        TopicCommand::Describe { names } => describe(client, &names, out),
        TopicCommand::Alter {
            name,
            set,
            unset,
            dry_run,
        } => {
            if set.is_empty() && unset.is_empty() {
                return Err(CliError::Usage(
                    "nothing to change; give --set KEY=VALUE or --unset KEY".into(),
                ));
            }
            configs::alter(client, &Resource::topic(&name), &set, &unset, dry_run, out)
        }
        TopicCommand::AddPartitions { name, to, dry_run } => add_partitions(client, &name, to, dry_run, out),
        TopicCommand::Trim {
            name,
            before,
            partitions,
            dry_run,
        } => trim(client, &name, before, &partitions, dry_run, out),
    }
}

/// Prints what became of each item: `outcomes` holds name, words for success or refusal, extra JSON.
fn report(
    out: &mut Out<'_>,
    outcomes: Vec<(String, Result<String, String>, serde_json::Value)>,
) -> Result<(), CliError> {
    let total = outcomes.len();
    let mut failures = Vec::new();
    let mut documents = Vec::new();
    for (name, outcome, mut document) in outcomes {
        if let Some(object) = document.as_object_mut() {
            object.insert("topic".into(), json!(name));
            object.insert("error".into(), json!(outcome.as_ref().err()));
        }
        documents.push(document);
        match outcome {
            Ok(words) if !out.is_json() => out.line(words)?,
            Ok(_) => {}
            Err(words) => failures.push(format!("topic {name}: {words}")),
        }
    }
    if out.is_json() {
        out.json(&json!(documents))?;
    }
    match failures.len() {
        0 => Ok(()),
        1 if total == 1 => Err(CliError::Failed(failures.remove(0))),
        failed => {
            for failure in &failures {
                eprintln!("turgo: {failure}");
            }
            Err(CliError::Partly { failed, total })
        }
    }
}

struct Creation {
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    set: Vec<(String, String)>,
    if_not_exists: bool,
    dry_run: bool,
}

fn create(client: &mut Client, names: &[String], wish: &Creation, out: &mut Out<'_>) -> Result<(), CliError> {
    let settings: Vec<(String, String)> = wish
        .set
        .iter()
        .map(|(name, value)| (name.clone(), kafka_value(name, value)))
        .collect();
    let deadline = client.deadline();
    let timeout_ms = client.timeout_ms();
    let mut backoff = Backoff::new(deadline);
    loop {
        let reply = client.call_controller::<api::CreateTopics>(deadline, |version| CreateTopicsRequest {
            topics: names
                .iter()
                .map(|name| CreatableTopic {
                    name: name.as_str().into(),
                    // The cluster's own defaults are asked for by -1, which older brokers do not know.
                    num_partitions: wish.partitions.unwrap_or(if version >= 4 { -1 } else { 1 }),
                    replication_factor: wish
                        .replication_factor
                        .unwrap_or(if version >= 4 { -1 } else { 1 }),
                    configs: settings
                        .iter()
                        .map(|(name, value)| CreatableTopicConfig {
                            name: name.as_str().into(),
                            value: Some(value.as_str().into()),
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            timeout_ms,
            validate_only: wish.dry_run,
        })?;
        let answer = reply.body()?;
        if answer
            .topics
            .iter()
            .any(|topic| topic.error_code == ErrorCode::NOT_CONTROLLER.0)
            && backoff.wait()
        {
            client.metadata(Wanted::Brokers, false)?;
            continue;
        }
        let mut outcomes = Vec::new();
        for topic in &answer.topics {
            let name = topic.name.to_string();
            let there = topic.error_code == ErrorCode::TOPIC_ALREADY_EXISTS.0;
            let outcome = match topic.error_code {
                0 => {
                    let verb = if wish.dry_run { "could create" } else { "created" };
                    let partitions = if topic.num_partitions > 0 {
                        Some(topic.num_partitions)
                    } else {
                        wish.partitions
                    };
                    let shape = partitions.map_or_else(String::new, |n| {
                        let replicas = if topic.replication_factor > 0 {
                            topic.replication_factor
                        } else {
                            1
                        };
                        format!(
                            ", {n} partition{}, {replicas} replica{}",
                            plural(i64::from(n)),
                            plural(i64::from(replicas))
                        )
                    });
                    Ok(format!("{verb} {name}{shape}"))
                }
                _ if there && wish.if_not_exists => Ok(format!("{name} is there already")),
                code => Err(refusal(code, topic.error_message.as_deref())),
            };
            let document = json!({
                "created": topic.error_code == 0 && !wish.dry_run,
                "id": (!topic.topic_id.is_zero()).then(|| topic.topic_id.to_string()),
                "partitions": (topic.num_partitions > 0).then_some(topic.num_partitions),
                "replication_factor": (topic.replication_factor > 0).then_some(topic.replication_factor),
            });
            outcomes.push((name, outcome, document));
        }
        return report(out, outcomes);
    }
}

fn plural(count: i64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn delete(client: &mut Client, names: &[String], if_exists: bool, out: &mut Out<'_>) -> Result<(), CliError> {
    let deadline = client.deadline();
    let timeout_ms = client.timeout_ms();
    let mut backoff = Backoff::new(deadline);
    loop {
        let reply = client.call_controller::<api::DeleteTopics>(deadline, |version| {
            let mut request = DeleteTopicsRequest {
                timeout_ms,
                ..Default::default()
            };
            if version >= 6 {
                request.topics = names
                    .iter()
                    .map(|name| DeleteTopicState {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect();
            } else {
                request.topic_names = names.iter().map(|name| name.as_str().into()).collect();
            }
            request
        })?;
        let answer = reply.body()?;
        if answer
            .responses
            .iter()
            .any(|topic| topic.error_code == ErrorCode::NOT_CONTROLLER.0)
            && backoff.wait()
        {
            client.metadata(Wanted::Brokers, false)?;
            continue;
        }
        let mut outcomes = Vec::new();
        for topic in &answer.responses {
            let name = topic.name.as_deref().unwrap_or_default().to_string();
            let absent = topic.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            let outcome = match topic.error_code {
                0 => Ok(format!("deleted {name}")),
                _ if absent && if_exists => Ok(format!("{name} is not there")),
                code => Err(refusal(code, topic.error_message.as_deref())),
            };
            outcomes.push((name, outcome, json!({ "deleted": topic.error_code == 0 })));
        }
        return report(out, outcomes);
    }
}

fn show_list(
    client: &mut Client,
    containing: Option<&str>,
    all: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let mut topics = client.metadata(Wanted::All, false)?;
    topics
        .retain(|topic| (all || !topic.internal) && containing.is_none_or(|text| topic.name.contains(text)));
    if out.is_json() {
        let documents: Vec<_> = topics
            .iter()
            .map(|topic| {
                json!({
                    "topic": topic.name,
                    "id": topic.id,
                    "internal": topic.internal,
                    "partitions": topic.partitions.len(),
                    "replication_factor": topic.partitions.first().map_or(0, |p| p.replicas.len()),
                })
            })
            .collect();
        return out.json(&json!(documents));
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS"]);
    for topic in &topics {
        let replicas = topic
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        table.row([
            topic.name.clone(),
            topic.partitions.len().to_string(),
            replicas.to_string(),
        ]);
    }
    out.table(&table)
}

/// Bytes of each partition on its leader; empty where brokers do not tell.
fn sizes(client: &mut Client, topics: &[Topic]) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
    for topic in topics {
        for partition in topic.partitions.iter().filter(|partition| partition.leader >= 0) {
            by_leader
                .entry(partition.leader)
                .or_default()
                .entry(&topic.name)
                .or_default()
                .push(partition.index);
        }
    }
    let mut sizes = BTreeMap::new();
    for (leader, wanted) in by_leader {
        let deadline = client.deadline();
        let reply = client.call::<api::DescribeLogDirs>(leader, deadline, |_| DescribeLogDirsRequest {
            topics: Some(
                wanted
                    .iter()
                    .map(|(name, partitions)| DescribableLogDirTopic {
                        topic: (*name).into(),
                        partitions: partitions.clone(),
                    })
                    .collect(),
            ),
        });
        let reply = match reply {
            Ok(reply) => reply,
            Err(ClientError::Unsupported { .. }) => continue,
            Err(error) => return Err(error),
        };
        for directory in reply.body()?.results {
            for topic in directory.topics {
                for partition in topic
                    .partitions
                    .iter()
                    .filter(|partition| !partition.is_future_key)
                {
                    sizes.insert(
                        (topic.name.to_string(), partition.partition_index),
                        partition.partition_size,
                    );
                }
            }
        }
    }
    Ok(sizes)
}

fn describe(client: &mut Client, names: &[String], out: &mut Out<'_>) -> Result<(), CliError> {
    let wanted = if names.is_empty() {
        Wanted::All
    } else {
        Wanted::Names(names)
    };
    let topics = client.metadata(wanted, false)?;
    let total = topics.len();
    let (good, bad): (Vec<Topic>, Vec<Topic>) = topics
        .into_iter()
        .partition(|topic| topic.error == 0 || topic.error == ErrorCode::LEADER_NOT_AVAILABLE.0);
    let led: Vec<(String, i32)> = good
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .filter(|p| p.leader >= 0)
                .map(|p| (topic.name.clone(), p.index))
        })
        .collect();
    let starts = client.offsets(&led, Spot::Earliest, false)?;
    let ends = client.offsets(&led, Spot::Latest, false)?;
    let sizes = sizes(client, &good)?;
    let resources: Vec<Resource> = good.iter().map(|topic| Resource::topic(&topic.name)).collect();
    let changed = configs::changed_topic_settings(client, &resources)?;
    let mut documents = Vec::new();
    for (at, topic) in good.iter().enumerate() {
        let settings = changed.get(&topic.name).cloned().unwrap_or_default();
        let mut table = Table::new(&[
            "PARTITION",
            "LEADER",
            "EPOCH",
            "REPLICAS",
            "IN SYNC",
            "START",
            "END",
            "RECORDS",
            "BYTES",
        ]);
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.index);
            let start = starts.get(&key).and_then(|offset| offset.ok());
            let end = ends.get(&key).and_then(|offset| offset.ok());
            let size = sizes.get(&key).copied();
            let count = start.zip(end).map(|(start, end)| end - start);
            table.row([
                partition.index.to_string(),
                if partition.leader < 0 {
                    "none".into()
                } else {
                    partition.leader.to_string()
                },
                or_dash((partition.leader_epoch >= 0).then_some(partition.leader_epoch)),
                list(&partition.replicas),
                list(&partition.in_sync),
                or_dash(start),
                or_dash(end),
                or_dash(count),
                or_dash(size),
            ]);
            partitions.push(json!({
                "partition": partition.index,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "in_sync": partition.in_sync,
                "offline": partition.offline,
                "start_offset": start,
                "end_offset": end,
                "bytes": size,
            }));
        }
        if out.is_json() {
            let settings: serde_json::Map<String, serde_json::Value> = settings
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            documents.push(json!({
                "topic": topic.name,
                "id": topic.id,
                "internal": topic.internal,
                "settings": settings,
                "partitions": partitions,
            }));
            continue;
        }
        let gap = if at > 0 { "\n" } else { "" };
        let internal = if topic.internal { ", internal" } else { "" };
        let count = topic.partitions.len();
        out.line(format!(
            "{gap}{}: {count} partition{}{internal}, id {}",
            topic.name,
            plural(count as i64),
            topic.id
        ))?;
        for (name, value) in &settings {
            out.line(format!("  {name}={value}"))?;
        }
        out.table(&table)?;
    }
    if out.is_json() {
        out.json(&json!(documents))?;
    }
    if let ([topic], 1) = (bad.as_slice(), total) {
        return Err(CliError::Failed(missing(topic)));
    }
    for topic in &bad {
        eprintln!("turgo: {}", missing(topic));
    }
    match bad.len() {
        0 => Ok(()),
        failed => Err(CliError::Partly { failed, total }),
    }
}

fn missing(topic: &Topic) -> String {
    if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0 {
        format!(
            "topic {} does not exist; `turgo topic list` shows what does",
            topic.name
        )
    } else {
        format!("topic {}: {}", topic.name, refusal(topic.error, None))
    }
}

fn add_partitions(
    client: &mut Client,
    name: &str,
    to: i32,
    dry_run: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let deadline = client.deadline();
    let timeout_ms = client.timeout_ms();
    let reply = client.call_controller::<api::CreatePartitions>(deadline, |_| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count: to,
            assignments: None,
        }],
        timeout_ms,
        validate_only: dry_run,
    })?;
    let answer = reply.body()?;
    let outcomes = answer
        .results
        .iter()
        .map(|topic| {
            let outcome = match topic.error_code {
                0 if dry_run => Ok(format!("{name} could have {to} partitions")),
                0 => Ok(format!("{name} has {to} partitions now")),
                code => Err(refusal(code, topic.error_message.as_deref())),
            };
            (topic.name.to_string(), outcome, json!({ "partitions": to }))
        })
        .collect();
    report(out, outcomes)
}

fn trim(
    client: &mut Client,
    name: &str,
    before: Position,
    only: &[i32],
    dry_run: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let topic = client.topics(&[name.to_string()], false)?.remove(0);
    if let Some(missing) = only
        .iter()
        .find(|index| !topic.partitions.iter().any(|p| p.index == **index))
    {
        return Err(CliError::Usage(format!("{name} has no partition {missing}")));
    }
    let wanted: Vec<(String, i32)> = topic
        .partitions
        .iter()
        .filter(|partition| only.is_empty() || only.contains(&partition.index))
        .map(|partition| (name.to_string(), partition.index))
        .collect();
    let starts = client.all_offsets(&wanted, Spot::Earliest, false)?;
    let ends = client.all_offsets(&wanted, Spot::Latest, false)?;
    let found = match before {
        Position::Timestamp(ms) => client.all_offsets(&wanted, Spot::Time(ms), false)?,
        _ => BTreeMap::new(),
    };
    let mut targets = BTreeMap::new();
    for key in &wanted {
        let (start, end) = (starts[key], ends[key]);
        let target = match before {
            Position::End => end,
            Position::Offset(offset) => offset,
            Position::FromEnd(keep) => (end - keep).max(start),
            // Nothing is that new: everything is older.
            Position::Timestamp(_) => Some(found[key]).filter(|offset| *offset >= 0).unwrap_or(end),
            Position::Beginning | Position::Stored => {
                return Err(CliError::Usage(
                    "--before takes an offset, end, -N or @MILLISECONDS".into(),
                ));
            }
        };
        targets.insert(key.1, (start, target, end));
    }
    let mut low = BTreeMap::new();
    let mut failures = BTreeMap::new();
    if !dry_run {
        let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (index, (start, target, _)) in &targets {
            if target <= start {
                continue;
            }
            let leader = topic
                .partitions
                .iter()
                .find(|p| p.index == *index)
                .map_or(-1, |p| p.leader);
            by_leader.entry(leader).or_default().push(DeleteRecordsPartition {
                partition_index: *index,
                offset: *target,
            });
        }
        for (leader, partitions) in by_leader {
            let deadline = client.deadline();
            let timeout_ms = client.timeout_ms();
            let reply = client.call::<api::DeleteRecords>(leader, deadline, |_| DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: name.into(),
                    partitions,
                }],
                timeout_ms,
            })?;
            for partition in reply.body()?.topics.iter().flat_map(|topic| &topic.partitions) {
                match partition.error_code {
                    0 => low.insert(partition.partition_index, partition.low_watermark),
                    code => failures.insert(partition.partition_index, i64::from(code)),
                };
            }
        }
    }
    let mut table = Table::new(&["PARTITION", "START", "NEW START", "DELETED", "END"]);
    let mut documents = Vec::new();
    for (index, (start, target, end)) in &targets {
        let after = if dry_run {
            (*target).clamp(*start, *end)
        } else {
            low.get(index).copied().unwrap_or(*start)
        };
        let failure = failures.get(index).map(|code| refusal(*code as i16, None));
        table.row([
            index.to_string(),
            start.to_string(),
            after.to_string(),
            (after - start).to_string(),
            end.to_string(),
        ]);
        documents.push(json!({
            "topic": name,
            "partition": index,
            "start_offset": start,
            "new_start_offset": after,
            "end_offset": end,
            "dry_run": dry_run,
            "error": failure,
        }));
        if let Some(failure) = failure {
            eprintln!("turgo: {name}/{index}: {failure}");
        }
    }
    if out.is_json() {
        out.json(&json!(documents))?
    } else {
        out.table(&table)?
    }
    match failures.len() {
        0 => Ok(()),
        failed => Err(CliError::Partly {
            failed,
            total: targets.len(),
        }),
    }
}
