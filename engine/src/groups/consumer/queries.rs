//! ConsumerGroupDescribe, and who may commit, fetch and delete the offsets of a consumer group.

use super::TopicId;
use super::assignor::Assignor;
use super::cluster::Cluster;
use super::group::{ConsumerGroup, Held, Member};
use super::messages::{DescribedConsumerGroup, DescribedConsumerMember, DescribedPartitions};
use crate::groups::codes;
use crate::groups::coordinator::{Groups, Turn};
use crate::groups::group::Ticket;
use crate::groups::messages::{CommitTopic, Response};
use crate::groups::planted::{Bug, planted};
use std::collections::BTreeMap;

/// OffsetCommit from this version knows member epochs.
const MEMBER_EPOCH_SINCE: i16 = 9;

/// Who commits offsets of a consumer group.
#[derive(Debug, Clone, Copy)]
pub(in crate::groups) struct Committer<'a> {
    pub member_id: &'a str,
    pub instance: Option<&'a str>,
    /// Member epoch, or generation of a classic member; -1: none.
    pub epoch: i32,
    pub transactional: bool,
    pub api_version: i16,
}

impl ConsumerGroup {
    /// The code for a member whose epoch is not the one it should be.
    fn stale(&self, member: &Member, transactional: bool) -> i16 {
        if transactional || member.classic().is_some() {
            codes::ILLEGAL_GENERATION
        } else {
            codes::STALE_MEMBER_EPOCH
        }
    }

    /// Whether the group takes these offsets from this committer: the code if not. An epoch from before is good for a
    /// partition the member has held since then (KIP-1251): nobody else can have committed for it.
    pub fn may_commit(&self, by: &Committer<'_>, topics: &[CommitTopic]) -> Result<(), i16> {
        if by.epoch < 0 && self.members.is_empty() {
            // An operator, or a client without group management.
            return Ok(());
        }
        if by.transactional && by.epoch == -1 && by.member_id.is_empty() && by.instance.is_none() {
            return Ok(());
        }
        let member = self.members.get(by.member_id).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        if !by.transactional && member.classic().is_none() && by.api_version < MEMBER_EPOCH_SINCE {
            return Err(codes::UNSUPPORTED_VERSION);
        }
        let current = member.current();
        if by.epoch == current.epoch || planted(Bug::StaleCommit) {
            return Ok(());
        }
        let stale = Err(self.stale(member, by.transactional));
        if by.epoch > current.epoch {
            return stale;
        }
        for topic in topics {
            for partition in &topic.partitions {
                let since = current.epoch_of(&topic.topic_id, partition.partition);
                if since.is_none_or(|since| by.epoch < since) {
                    return stale;
                }
            }
        }
        Ok(())
    }

    /// Whether a member of this epoch may read the group's offsets: the code if not. Without a member: always.
    pub fn may_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), i16> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self
            .members
            .get(member_id.unwrap_or_default())
            .ok_or(codes::UNKNOWN_MEMBER_ID)?;
        if member.current().epoch != epoch {
            return Err(self.stale(member, false));
        }
        Ok(())
    }

    /// The group as operators see it.
    pub fn describe(&self, default: Assignor, cluster: &dyn Cluster) -> DescribedConsumerGroup {
        let member = |(id, member): (&std::rc::Rc<str>, &Member)| {
            let (meta, current) = (member.meta(), member.current());
            let target = self.target(id).into_iter().flat_map(|target| target.iter());
            DescribedConsumerMember {
                member_id: id.to_string(),
                instance_id: meta.instance.as_deref().map(str::to_owned),
                rack_id: meta.rack.clone(),
                member_epoch: current.epoch,
                client_id: meta.client_id.clone(),
                client_host: meta.client_host.clone(),
                subscribed_topic_names: meta.topics.iter().map(|topic| topic.to_string()).collect(),
                subscribed_topic_regex: meta.regex.to_string(),
                assignment: held_by_name(&current.assigned, &current.revoking, cluster),
                target_assignment: target
                    .filter_map(|(topic, partitions)| {
                        named(topic, partitions.iter().copied().collect(), cluster)
                    })
                    .collect(),
                is_classic: meta.classic.is_some(),
            }
        };
        DescribedConsumerGroup {
            error_code: codes::NONE,
            error_message: None,
            group_id: self.id.to_string(),
            group_state: self.phase().name(),
            group_epoch: self.epoch(),
            assignment_epoch: self.target_epoch(),
            assignor_name: self.wanted_assignor().unwrap_or(default).name().to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }
}

fn named(topic: &TopicId, partitions: Vec<i32>, cluster: &dyn Cluster) -> Option<DescribedPartitions> {
    Some(DescribedPartitions {
        topic_id: *topic,
        topic_name: cluster.name(topic)?,
        partitions,
    })
}

fn held_by_name(assigned: &Held, revoking: &Held, cluster: &dyn Cluster) -> Vec<DescribedPartitions> {
    let mut all: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partitions) in assigned.iter().chain(revoking) {
        all.entry(*topic).or_default().extend(partitions.keys());
    }
    all.into_iter()
        .filter_map(|(topic, partitions)| named(&topic, partitions, cluster))
        .collect()
}

impl Turn<'_> {
    /// ConsumerGroupDescribe.
    pub fn describe_consumers(&mut self, groups: &Groups, ticket: Ticket, ids: Vec<String>) {
        let default = self
            .config
            .consumer
            .assignors
            .first()
            .copied()
            .unwrap_or(Assignor::Uniform);
        let described = ids.into_iter().map(|id| {
            let refuse = |error_message: String| DescribedConsumerGroup {
                error_code: codes::GROUP_ID_NOT_FOUND,
                error_message: Some(error_message),
                group_id: id.clone(),
                ..DescribedConsumerGroup::default()
            };
            if id.is_empty() {
                return DescribedConsumerGroup {
                    error_code: codes::INVALID_GROUP_ID,
                    ..DescribedConsumerGroup::default()
                };
            }
            match self
                .consumers
                .groups
                .get(id.as_str())
                .filter(|group| group.visible)
            {
                Some(group) => group.describe(default, self.cluster),
                None if groups.get(id.as_str()).is_some_and(|group| group.visible) => {
                    refuse(format!("Group {id} is not a consumer group."))
                }
                None => refuse(format!("Group {id} not found.")),
            }
        });
        let described = described.collect();
        self.reply(ticket, Response::ConsumerDescribe(described));
    }
}
