//! `turgo group`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use turgo_net::ErrorCode;
use turgo_net::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use turgo_net::messages::consumer_protocol::ConsumerProtocolAssignment;
use turgo_net::messages::decode_versioned;
use turgo_net::messages::delete_groups::DeleteGroupsRequest;
use turgo_net::messages::describe_groups::DescribeGroupsRequest;
use turgo_net::messages::list_groups::ListGroupsRequest;
use turgo_net::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::args::{GroupCommand, Position, Shift, TopicPartitions};
use super::client::group::{self, Partitions, Stored};
use super::client::{Backoff, Client, ClientError, Spot, api, refusal};
use super::exit::CliError;
use super::output::{Out, Table, or_dash};

/// Runs `turgo group`.
pub fn run(client: &mut Client, command: GroupCommand, out: &mut Out<'_>) -> Result<(), CliError> {
    match command {
        GroupCommand::List { state } => list(client, &state, out),
        GroupCommand::Describe { groups } => describe(client, &groups, out),
        GroupCommand::Seek {
            group,
            topics,
            to,
            dry_run,
        } => seek(client, &group, &topics, to, dry_run, out),
        GroupCommand::Delete { groups } => delete(client, &groups, out),
        GroupCommand::DeleteOffsets { group, topics } => delete_offsets(client, &group, &topics, out),
    }
}

fn list(client: &mut Client, states: &[String], out: &mut Out<'_>) -> Result<(), CliError> {
    let mut rows = BTreeSet::new();
    let ids: Vec<i32> = client.brokers.keys().copied().collect();
    for id in ids {
        let mut backoff = Backoff::new(client.deadline());
        loop {
            let deadline = client.deadline();
            let reply = client.call::<api::ListGroups>(id, deadline, |version| ListGroupsRequest {
                states_filter: if version >= 4 {
                    states.iter().map(|s| s.as_str().into()).collect()
                } else {
                    vec![]
                },
                ..Default::default()
            })?;
            let answer = reply.body()?;
            if group::waits_for_coordinator(answer.error_code) && backoff.wait() {
                continue;
            }
            if answer.error_code != 0 {
                return Err(CliError::Failed(format!(
                    "broker {id}: {}",
                    refusal(answer.error_code, None)
                )));
            }
            for found in &answer.groups {
                rows.insert((
                    found.group_id.to_string(),
                    found.group_state.to_string(),
                    found.group_type.to_string(),
                    found.protocol_type.to_string(),
                    id,
                ));
            }
            break;
        }
    }
    if out.is_json() {
        let documents: Vec<_> = rows
            .iter()
            .map(|(group, state, kind, protocol, coordinator)| {
                json!({ "group": group, "state": state, "type": kind, "protocol_type": protocol, "coordinator": coordinator })
            })
            .collect();
        return out.json(&json!(documents));
    }
    let mut table = Table::new(&["GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR"]);
    for (group, state, kind, protocol, coordinator) in rows {
        let dash = |text: String| if text.is_empty() { "-".to_string() } else { text };
        table.row([
            group,
            dash(state),
            dash(kind),
            dash(protocol),
            coordinator.to_string(),
        ]);
    }
    out.table(&table)
}

/// A member as the coordinator tells it.
struct Member {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    assigned: Partitions,
}

/// A group as the coordinator tells it.
struct Described {
    state: String,
    kind: &'static str,
    protocol: String,
    coordinator: i32,
    members: Vec<Member>,
}

/// `None`: there is no such group, though offsets may be stored under the name.
fn described(client: &mut Client, name: &str) -> Result<Option<Described>, CliError> {
    let mut backoff = Backoff::new(client.deadline());
    loop {
        let coordinator = client.coordinator(name)?;
        match classic(client, coordinator, name) {
            Ok(Ok(Some(found))) => return Ok(Some(found)),
            Ok(Ok(None)) => return Ok(modern(client, coordinator, name)?),
            Ok(Err(code)) if group::waits_for_coordinator(code) && backoff.wait() => {}
            Ok(Err(code)) => return Err(CliError::Failed(format!("group {name}: {}", refusal(code, None)))),
            Err(error) if error.is_transient() && backoff.wait() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn classic(
    client: &mut Client,
    coordinator: i32,
    name: &str,
) -> Result<Result<Option<Described>, i16>, ClientError> {
    let deadline = client.deadline();
    let reply = client.call::<api::DescribeGroups>(coordinator, deadline, |_| DescribeGroupsRequest {
        groups: vec![name.into()],
        ..Default::default()
    })?;
    let answer = reply.body()?;
    let Some(found) = answer.groups.first() else {
        return Ok(Ok(None));
    };
    match ErrorCode(found.error_code) {
        ErrorCode::NONE => {}
        ErrorCode::GROUP_ID_NOT_FOUND => return Ok(Ok(None)),
        code => return Ok(Err(code.0)),
    }
    if found.group_state == "Dead" && found.members.is_empty() {
        return Ok(Ok(None));
    }
    let members = found
        .members
        .iter()
        .map(|member| Member {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.trim_start_matches('/').to_string(),
            // Other protocol types keep something else there.
            assigned: decode_versioned::<ConsumerProtocolAssignment<'_>>(&member.member_assignment)
                .map(|assignment| {
                    let topics = assignment.assigned_partitions.into_iter();
                    topics
                        .map(|topic| (topic.topic.to_string(), topic.partitions))
                        .collect()
                })
                .unwrap_or_default(),
        })
        .collect();
    Ok(Ok(Some(Described {
        state: found.group_state.to_string(),
        kind: "classic",
        protocol: found.protocol_data.to_string(),
        coordinator,
        members,
    })))
}

/// A group of the newer protocol (KIP-848), which DescribeGroups does not show.
fn modern(client: &mut Client, coordinator: i32, name: &str) -> Result<Option<Described>, ClientError> {
    let deadline = client.deadline();
    let reply =
        client.call::<api::ConsumerGroupDescribe>(coordinator, deadline, |_| ConsumerGroupDescribeRequest {
            group_ids: vec![name.into()],
            ..Default::default()
        });
    let reply = match reply {
        Ok(reply) => reply,
        Err(ClientError::Unsupported { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let answer = reply.body()?;
    let Some(found) = answer.groups.first().filter(|found| found.error_code == 0) else {
        return Ok(None);
    };
    let members = found
        .members
        .iter()
        .map(|member| Member {
            id: member.member_id.to_string(),
            instance_id: member.instance_id.as_ref().map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.trim_start_matches('/').to_string(),
            assigned: member
                .assignment
                .topic_partitions
                .iter()
                .map(|topic| (topic.topic_name.to_string(), topic.partitions.clone()))
                .collect(),
        })
        .collect();
    Ok(Some(Described {
        state: found.group_state.to_string(),
        kind: "consumer",
        protocol: found.assignor_name.to_string(),
        coordinator,
        members,
    }))
}

fn describe(client: &mut Client, groups: &[String], out: &mut Out<'_>) -> Result<(), CliError> {
    let mut documents = Vec::new();
    let mut missing = Vec::new();
    for (at, name) in groups.iter().enumerate() {
        let found = described(client, name)?;
        let stored = group::stored(client, name, None)?;
        let Some(found) = found.or_else(|| {
            (!stored.is_empty()).then(|| Described {
                state: "Empty".into(),
                kind: "classic",
                protocol: String::new(),
                coordinator: -1,
                members: vec![],
            })
        }) else {
            missing.push(name);
            continue;
        };
        let mut owners: BTreeMap<(String, i32), &Member> = BTreeMap::new();
        for member in &found.members {
            for (topic, partitions) in &member.assigned {
                owners.extend(partitions.iter().map(|index| ((topic.clone(), *index), member)));
            }
        }
        let keys: BTreeSet<(String, i32)> = stored.keys().chain(owners.keys()).cloned().collect();
        let keys: Vec<(String, i32)> = keys.into_iter().collect();
        let ends = client.offsets(&keys, Spot::Latest, false)?;
        let mut table = Table::new(&[
            "TOPIC",
            "PARTITION",
            "STORED",
            "END",
            "LAG",
            "CLIENT",
            "HOST",
            "MEMBER",
        ]);
        let mut partitions = Vec::new();
        let mut total_lag = 0;
        for key in &keys {
            let offset = stored.get(key).copied();
            let end = ends.get(key).and_then(|end| end.ok());
            let lag = offset.zip(end).map(|(offset, end)| (end - offset).max(0));
            total_lag += lag.unwrap_or(0);
            let owner = owners.get(key);
            table.row([
                key.0.clone(),
                key.1.to_string(),
                or_dash(offset),
                or_dash(end),
                or_dash(lag),
                or_dash(owner.map(|member| member.client_id.clone())),
                or_dash(owner.map(|member| member.host.clone())),
                or_dash(owner.map(|member| member.instance_id.clone().unwrap_or_else(|| member.id.clone()))),
            ]);
            partitions.push(json!({
                "topic": key.0,
                "partition": key.1,
                "stored_offset": offset,
                "end_offset": end,
                "lag": lag,
                "member": owner.map(|member| &member.id),
            }));
        }
        if out.is_json() {
            let members: Vec<_> = found
                .members
                .iter()
                .map(|member| {
                    json!({
                        "member": member.id,
                        "instance_id": member.instance_id,
                        "client_id": member.client_id,
                        "host": member.host,
                        "partitions": member.assigned,
                    })
                })
                .collect();
            documents.push(json!({
                "group": name,
                "state": found.state,
                "type": found.kind,
                "strategy": found.protocol,
                "coordinator": (found.coordinator >= 0).then_some(found.coordinator),
                "lag": total_lag,
                "members": members,
                "partitions": partitions,
            }));
            continue;
        }
        let gap = if at > 0 { "\n" } else { "" };
        let strategy = if found.protocol.is_empty() {
            String::new()
        } else {
            format!(", {}", found.protocol)
        };
        let idle: Vec<&str> = found
            .members
            .iter()
            .filter(|m| m.assigned.is_empty())
            .map(|m| m.client_id.as_str())
            .collect();
        out.line(format!(
            "{gap}{name}: {}{strategy}, members {}, lag {total_lag}",
            found.state,
            found.members.len()
        ))?;
        if !idle.is_empty() {
            out.line(format!("without partitions: {}", idle.join(", ")))?;
        }
        out.table(&table)?;
    }
    if out.is_json() {
        out.json(&json!(documents))?;
    }
    match missing.as_slice() {
        [] => Ok(()),
        [one] if groups.len() == 1 => Err(CliError::Failed(format!(
            "group {one} does not exist; `turgo group list` shows what does"
        ))),
        several => {
            for name in several {
                eprintln!("turgo: group {name} does not exist");
            }
            Err(CliError::Partly {
                failed: several.len(),
                total: groups.len(),
            })
        }
    }
}

/// The partitions that `topics` names; all partitions of a topic where it names none.
fn chosen(client: &mut Client, topics: &[TopicPartitions]) -> Result<Vec<(String, i32)>, CliError> {
    let names: Vec<String> = topics.iter().map(|topic| topic.topic.clone()).collect();
    let known = client.topics(&names, false)?;
    let mut keys = BTreeSet::new();
    for wanted in topics {
        let topic = known.iter().find(|topic| topic.name == wanted.topic);
        let all: Vec<i32> = topic
            .map(|topic| topic.partitions.iter().map(|p| p.index).collect())
            .unwrap_or_default();
        if let Some(missing) = wanted.partitions.iter().find(|index| !all.contains(index)) {
            return Err(CliError::Usage(format!(
                "{} has no partition {missing}",
                wanted.topic
            )));
        }
        let indexes = if wanted.partitions.is_empty() {
            all
        } else {
            wanted.partitions.clone()
        };
        keys.extend(indexes.into_iter().map(|index| (wanted.topic.clone(), index)));
    }
    Ok(keys.into_iter().collect())
}

fn seek(
    client: &mut Client,
    name: &str,
    topics: &[TopicPartitions],
    to: Shift,
    dry_run: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    if let Some(found) = described(client, name)?
        && !found.members.is_empty()
    {
        return Err(CliError::Failed(format!(
            "group {name} has {} members, which would overwrite the new offsets; stop them first",
            found.members.len()
        )));
    }
    let old = group::stored(client, name, None)?;
    let keys = if topics.is_empty() {
        old.keys().cloned().collect()
    } else {
        chosen(client, topics)?
    };
    if keys.is_empty() {
        return Err(CliError::Failed(format!(
            "group {name} has no stored offsets; name the topics: --topic TOPIC"
        )));
    }
    let starts = client.all_offsets(&keys, Spot::Earliest, false)?;
    let ends = client.all_offsets(&keys, Spot::Latest, false)?;
    let times = match to {
        Shift::To(Position::Timestamp(ms)) => client.all_offsets(&keys, Spot::Time(ms), false)?,
        _ => BTreeMap::new(),
    };
    let mut new = Stored::new();
    for key in &keys {
        let (start, end) = (starts[key], ends[key]);
        let wanted = match to {
            Shift::To(Position::Beginning) => start,
            Shift::To(Position::Offset(offset)) => offset,
            Shift::To(Position::Timestamp(_)) => {
                Some(times[key]).filter(|offset| *offset >= 0).unwrap_or(end)
            }
            Shift::To(Position::End | Position::Stored | Position::FromEnd(_)) => end,
            Shift::By(by) => match old.get(key) {
                Some(offset) => offset.saturating_add(by),
                None => {
                    return Err(CliError::Failed(format!(
                        "group {name} has no stored offset of {}/{}",
                        key.0, key.1
                    )));
                }
            },
        };
        new.insert(key.clone(), wanted.clamp(start, end));
    }
    let codes = if dry_run {
        BTreeMap::new()
    } else {
        group::store(client, name, &new)?
    };
    let mut table = Table::new(&["TOPIC", "PARTITION", "OLD", "NEW", "END"]);
    let mut documents = Vec::new();
    let mut failed = 0;
    for (key, offset) in &new {
        let failure = codes
            .get(key)
            .filter(|code| **code != 0)
            .map(|code| refusal(*code, None));
        if let Some(why) = &failure {
            failed += 1;
            eprintln!("turgo: {}/{}: {why}", key.0, key.1);
        }
        let before = old.get(key).copied();
        table.row([
            key.0.clone(),
            key.1.to_string(),
            or_dash(before),
            offset.to_string(),
            ends[key].to_string(),
        ]);
        documents.push(json!({
            "topic": key.0,
            "partition": key.1,
            "old_offset": before,
            "new_offset": offset,
            "end_offset": ends[key],
            "dry_run": dry_run,
            "error": failure,
        }));
    }
    if out.is_json() {
        out.json(&json!(documents))?
    } else {
        out.table(&table)?
    }
    if failed > 0 {
        Err(CliError::Partly {
            failed,
            total: new.len(),
        })
    } else {
        Ok(())
    }
}

fn delete(client: &mut Client, groups: &[String], out: &mut Out<'_>) -> Result<(), CliError> {
    let mut documents = Vec::new();
    let mut failed = 0;
    for name in groups {
        let mut backoff = Backoff::new(client.deadline());
        let code = loop {
            let coordinator = client.coordinator(name)?;
            let deadline = client.deadline();
            let reply = client.call::<api::DeleteGroups>(coordinator, deadline, |_| DeleteGroupsRequest {
                groups_names: vec![name.as_str().into()],
            })?;
            let code = reply
                .body()?
                .results
                .first()
                .map_or(0, |result| result.error_code);
            if !group::waits_for_coordinator(code) || !backoff.wait() {
                break code;
            }
        };
        let failure = match ErrorCode(code) {
            ErrorCode::NONE => None,
            ErrorCode::NON_EMPTY_GROUP => Some("it has members; stop them first".to_string()),
            ErrorCode::GROUP_ID_NOT_FOUND => Some("it does not exist".to_string()),
            _ => Some(refusal(code, None)),
        };
        match &failure {
            None if !out.is_json() => out.line(format!("deleted {name}"))?,
            None => {}
            Some(why) => {
                failed += 1;
                eprintln!("turgo: group {name}: {why}");
            }
        }
        documents.push(json!({ "group": name, "deleted": failure.is_none(), "error": failure }));
    }
    if out.is_json() {
        out.json(&json!(documents))?;
    }
    if failed > 0 {
        Err(CliError::Partly {
            failed,
            total: groups.len(),
        })
    } else {
        Ok(())
    }
}

fn delete_offsets(
    client: &mut Client,
    name: &str,
    topics: &[TopicPartitions],
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    // Topics may be gone; then the stored offsets say which partitions there were.
    let stored = group::stored(client, name, None)?;
    let mut wanted = Partitions::new();
    for topic in topics {
        let known = stored.keys().filter(|key| key.0 == topic.topic).map(|key| key.1);
        let indexes: Vec<i32> = if topic.partitions.is_empty() {
            known.collect()
        } else {
            topic.partitions.clone()
        };
        if indexes.is_empty() {
            return Err(CliError::Failed(format!(
                "group {name} has no stored offsets of {}",
                topic.topic
            )));
        }
        wanted.entry(topic.topic.clone()).or_default().extend(indexes);
    }
    let coordinator = client.coordinator(name)?;
    let deadline = client.deadline();
    let reply = client.call::<api::OffsetDelete>(coordinator, deadline, |_| OffsetDeleteRequest {
        group_id: name.into(),
        topics: wanted
            .iter()
            .map(|(topic, partitions)| OffsetDeleteRequestTopic {
                name: topic.as_str().into(),
                partitions: partitions
                    .iter()
                    .map(|index| OffsetDeleteRequestPartition {
                        partition_index: *index,
                    })
                    .collect(),
            })
            .collect(),
    })?;
    let answer = reply.body()?;
    if answer.error_code != 0 {
        return Err(CliError::Failed(format!(
            "group {name}: {}",
            refusal(answer.error_code, None)
        )));
    }
    let mut documents = Vec::new();
    let mut failed = 0;
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let place = format!("{}/{}", topic.name, partition.partition_index);
            let failure = match ErrorCode(partition.error_code) {
                ErrorCode::NONE => None,
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => Some("the group still reads this topic".to_string()),
                code => Some(refusal(code.0, None)),
            };
            match &failure {
                None if !out.is_json() => out.line(format!("{name}: forgot the offset of {place}"))?,
                None => {}
                Some(why) => {
                    failed += 1;
                    eprintln!("turgo: {place}: {why}");
                }
            }
            documents.push(json!({
                "group": name,
                "topic": topic.name,
                "partition": partition.partition_index,
                "deleted": failure.is_none(),
                "error": failure,
            }));
        }
    }
    if out.is_json() {
        out.json(&json!(documents))?;
    }
    if failed > 0 {
        Err(CliError::Partly {
            failed,
            total: documents.len(),
        })
    } else {
        Ok(())
    }
}
