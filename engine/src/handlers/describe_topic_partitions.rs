//! DescribeTopicPartitions (key 75, version 0; KIP-966): topics in name order, a page at a time.
//!
//! A page holds at most the requested number of partitions, and at most `max.request.partition.size.limit`. The cursor
//! names the topic and partition that the next page begins with.

use std::borrow::Cow;
use std::collections::BTreeSet;

use turgo_net::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use turgo_net::{ErrorCode, Uuid};

use super::{ALL_TOPIC_OPERATIONS, missing_topic_error, partition_error};
use crate::configs::NodeSettings;
use crate::metadata::{Planner, Topic, is_internal};

/// The answer from the applied state.
pub fn respond<'a>(
    request: &'a DescribeTopicPartitionsRequest<'a>,
    planner: &Planner<'a>,
) -> DescribeTopicPartitionsResponse<'a> {
    let (cursor_topic, cursor_partition) = match &request.cursor {
        Some(cursor) => (
            cursor.topic_name.as_ref(),
            usize::try_from(cursor.partition_index).ok(),
        ),
        None => ("", Some(0)),
    };
    let named: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_ref()).collect();
    // A page must go on where the last one ended: at a topic of the list, with a partition that can be.
    let stray = request.cursor.is_some() && !named.is_empty() && !named.contains(cursor_topic);
    let (Some(cursor_partition), false) = (cursor_partition, stray) else {
        return refusal(request);
    };

    let ceiling = NodeSettings::resolve(&planner.layers())
        .max_request_partition_size_limit
        .max(1) as usize;
    let mut page = Page {
        response: DescribeTopicPartitionsResponse::default(),
        left: usize::try_from(request.response_partition_limit)
            .unwrap_or(0)
            .clamp(1, ceiling),
    };
    let first = |name: &str| {
        if request.cursor.is_some() && name == cursor_topic {
            cursor_partition
        } else {
            0
        }
    };
    if named.is_empty() {
        for topic in planner.state.topics_from(cursor_topic) {
            if !page.add(topic, first(&topic.name)) {
                break;
            }
        }
    } else {
        for name in named.range(cursor_topic..) {
            let more = match planner.state.topic(name) {
                Some(topic) => page.add(topic, first(name)),
                None => page.add_missing(name),
            };
            if !more {
                break;
            }
        }
    }
    page.response
}

struct Page<'a> {
    response: DescribeTopicPartitionsResponse<'a>,
    left: usize,
}

impl<'a> Page<'a> {
    /// False when the page is full and ends before this topic.
    fn begin(&mut self, name: &'a str) -> bool {
        if self.left == 0 && self.response.next_cursor.is_none() {
            self.end_before(name, 0);
        }
        self.response.next_cursor.is_none()
    }

    fn end_before(&mut self, name: &'a str, partition: usize) {
        self.response.next_cursor = Some(ResponseCursor {
            topic_name: Cow::Borrowed(name),
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        });
    }

    /// Adds partitions from number `first` on, as many as fit; false when the page is full.
    fn add(&mut self, topic: &'a Topic, first: usize) -> bool {
        if !self.begin(&topic.name) {
            return false;
        }
        let end = first.saturating_add(self.left).min(topic.partitions.len());
        let first = first.min(end);
        let partitions = topic.partitions[first..end].iter().zip(first..);
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(Cow::Borrowed(&topic.name)),
            topic_id: Uuid(topic.id),
            is_internal: topic.internal,
            partitions: partitions
                .map(|(partition, index)| DescribeTopicPartitionsResponsePartition {
                    error_code: partition_error(partition).0,
                    partition_index: i32::try_from(index).unwrap_or(i32::MAX),
                    leader_id: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    replica_nodes: partition.replicas.clone(),
                    isr_nodes: partition.isr.clone(),
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..Default::default()
                })
                .collect(),
            topic_authorized_operations: ALL_TOPIC_OPERATIONS,
            ..Default::default()
        });
        self.left -= end - first;
        if end < topic.partitions.len() {
            self.end_before(&topic.name, end);
        }
        self.response.next_cursor.is_none()
    }

    fn add_missing(&mut self, name: &'a str) -> bool {
        if !self.begin(name) {
            return false;
        }
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: missing_topic_error(name).0,
            name: Some(Cow::Borrowed(name)),
            is_internal: is_internal(name),
            topic_authorized_operations: ALL_TOPIC_OPERATIONS,
            ..Default::default()
        });
        true
    }
}

fn refusal<'a>(request: &'a DescribeTopicPartitionsRequest<'a>) -> DescribeTopicPartitionsResponse<'a> {
    DescribeTopicPartitionsResponse {
        topics: request
            .topics
            .iter()
            .map(|topic| DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::INVALID_REQUEST.0,
                name: Some(topic.name.clone()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}
