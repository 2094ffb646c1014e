//! What members do: of their own accord, and when they are answered.

use super::*;

impl Sim {
    pub(super) fn send(&mut self, index: usize, request: Request) {
        let copies = if !self.calm && self.chance(4) { 2 } else { 1 };
        for copy in 0..copies {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            if copy == 0 {
                self.clients[index].asked = Some((ticket, self.now_ms));
            }
            let latency = self.latency();
            let client = &mut self.clients[index];
            let at = (self.now_ms + latency).max(client.channel_ms + 1);
            client.channel_ms = at;
            self.schedule(
                at - self.now_ms,
                Event::Deliver(index, ticket, Box::new(request.clone())),
            );
        }
    }

    pub(super) fn act(&mut self, index: usize) {
        let interval = if self.calm {
            500
        } else {
            200 + self.random.below(1_800) as i64
        };
        let now_ms = self.now_ms;
        let roll = if self.calm { 100 } else { self.random.below(200) };
        let hangs = roll == 3 && self.clients[index].step != Step::Out;
        // A member that hangs goes on holding what it holds.
        self.schedule(
            interval + if hangs { 2 * SESSION_MS } else { 0 },
            Event::Act(index),
        );
        if hangs {
            return;
        }
        let client = &mut self.clients[index];
        if client.step != Step::Out && !client.believes(now_ms) && !client.held.is_empty() {
            // Too long without an answer, or too slow to give up: it knows that it is out.
            client.drop_all();
            client.full = true;
            client.epoch = 0;
            client.asked = None;
        }
        if let Some((_, sent_ms)) = client.asked {
            // In a classic group an answer may take as long as the others need to rejoin.
            let patience_ms = if client.classic {
                4 * PATIENCE_MS
            } else {
                PATIENCE_MS
            };
            if now_ms - sent_ms < patience_ms {
                return;
            }
            client.asked = None;
            client.full = true;
        }
        match roll {
            0..=2 => {
                // It crashes; static members come back under their name.
                client.drop_all();
                client.step = Step::Out;
                client.member_id = String::new();
                client.full = true;
                if client.instance.is_none() && roll == 0 {
                    client.classic = !client.classic && index % 2 == 0;
                }
                return;
            }
            4..=6 if client.step == Step::In => return self.leave(index),
            7..=11 if client.step == Step::In => {
                let count = 1 + self.random.below(3) as usize;
                let first = self.random.below(2) as usize;
                let pattern = self.chance(25);
                let client = &mut self.clients[index];
                client.topics = TOPICS[first..(first + count).min(TOPICS.len())].to_vec();
                client.regex = (pattern && !client.classic).then_some(["a.*", "b.", "[ab]1"][count - 1]);
                client.full = true;
                if client.classic {
                    client.drop_all();
                    client.step = Step::Out;
                }
            }
            _ => {}
        }
        if self.clients[index].classic {
            self.act_classic(index);
        } else {
            self.beat(index);
        }
    }

    pub(super) fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.drop_all();
        client.step = Step::Out;
        client.full = true;
        let client = client.clone();
        let request = if client.classic {
            Request::Leave(LeaveRequest {
                group_id: client.group.into(),
                members: vec![LeavingMember {
                    member_id: client.member_id,
                    group_instance_id: client.instance,
                    reason: None,
                }],
            })
        } else {
            let for_a_while = client.instance.is_some() && self.chance(60);
            Request::ConsumerHeartbeat(ConsumerHeartbeatRequest {
                group_id: client.group.into(),
                member_id: client.member_id,
                member_epoch: if for_a_while { -2 } else { -1 },
                instance_id: client.instance,
                ..ConsumerHeartbeatRequest::default()
            })
        };
        self.send(index, request);
        // It does not wait for the answer.
        self.clients[index].asked = None;
        self.clients[index].member_id = String::new();
    }

    pub(super) fn beat(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let id = format!("m{index}-{}", self.next_ticket);
        let terse = self.chance(50);
        let client = &mut self.clients[index];
        if client.step == Step::Out || client.epoch == 0 {
            client.step = Step::In;
            client.epoch = 0;
            client.full = true;
            client.drop_all();
            if client.member_id.is_empty() {
                client.member_id = id;
            }
        }
        let gives_up = client.gives_up();
        if gives_up && now_ms >= client.revoked_ms {
            let wanted = client.wanted.clone();
            client.held.retain(|partition| wanted.contains(partition));
            client.full = true;
        }
        let full = client.full || !terse;
        client.full = false;
        let client = client.clone();
        let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &client.held {
            owned.entry(*topic).or_default().push(*partition);
        }
        let request = ConsumerHeartbeatRequest {
            group_id: client.group.into(),
            member_id: client.member_id,
            member_epoch: client.epoch,
            instance_id: client.instance.filter(|_| full),
            rebalance_timeout_ms: if full { REBALANCE_MS as i32 } else { -1 },
            subscribed_topic_names: full.then(|| match client.regex {
                Some(_) => Vec::new(),
                None => client.topics.iter().map(|t| (*t).to_owned()).collect(),
            }),
            subscribed_topic_regex: full.then(|| client.regex.unwrap_or("").to_owned()),
            topic_partitions: full.then(|| owned.into_iter().collect()),
            ..ConsumerHeartbeatRequest::default()
        };
        self.send(index, Request::ConsumerHeartbeat(request));
    }

    pub(super) fn act_classic(&mut self, index: usize) {
        let client = self.clients[index].clone();
        match client.step {
            // The answer to its SyncGroup is lost, too.
            Step::Out | Step::Joined => self.join_classic(index),
            Step::In => self.send(
                index,
                Request::Heartbeat(HeartbeatRequest {
                    group_id: client.group.into(),
                    generation_id: client.epoch,
                    member_id: client.member_id,
                    group_instance_id: client.instance,
                }),
            ),
        }
    }

    /// Eager: it holds nothing while it rejoins.
    pub(super) fn join_classic(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.drop_all();
        client.step = Step::Out;
        let subscription = ConsumerProtocolSubscription {
            topics: client.topics.iter().map(|t| (*t).into()).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        let metadata: Bytes = encode_versioned(&subscription, 1).expect("short").into();
        let mut request = join(client.group, &client.member_id);
        request.group_instance_id = client.instance.clone();
        request.protocols[0].metadata = metadata;
        request.session_timeout_ms = SESSION_MS as i32;
        request.rebalance_timeout_ms = REBALANCE_MS as i32;
        self.send(index, Request::Join(request));
    }

    pub(super) fn receive(&mut self, index: usize, ticket: Ticket, response: Response) {
        let now_ms = self.now_ms;
        let client = &mut self.clients[index];
        let Some((_, sent_ms)) = client.asked.filter(|(asked, _)| *asked == ticket) else {
            return;
        };
        client.asked = None;
        if client.step == Step::Out && !client.classic {
            return;
        }
        match response {
            Response::ConsumerHeartbeat(answer) => match answer.error_code {
                codes::NONE if answer.member_epoch > 0 => {
                    assert!(
                        client.epoch <= answer.member_epoch,
                        "a member's epoch went back from {} to {}",
                        client.epoch,
                        answer.member_epoch
                    );
                    let told_by_ms = client.lease_ms.max(sent_ms - SESSION_MS);
                    client.epoch = answer.member_epoch;
                    client.lease_ms = sent_ms;
                    if let Some(assignment) = answer.assignment {
                        let gave_up = client.gives_up();
                        client.wanted = flat(&assignment);
                        if client.gives_up() {
                            if !gave_up {
                                client.revoked_ms = now_ms + self.random.below(9_000) as i64;
                                client.revoke_by_ms = told_by_ms + REBALANCE_MS;
                            }
                            client.full = client.revoked_ms <= now_ms;
                        }
                        self.take(index);
                    }
                }
                codes::FENCED_MEMBER_EPOCH | codes::UNKNOWN_MEMBER_ID => {
                    client.drop_all();
                    client.epoch = 0;
                }
                codes::FENCED_INSTANCE_ID | codes::UNRELEASED_INSTANCE_ID => {
                    client.drop_all();
                    client.epoch = 0;
                    client.step = Step::Out;
                    client.member_id = String::new();
                }
                // The coordinator is away for a moment.
                _ => client.full = true,
            },
            Response::Join(answer) => match answer.error_code {
                codes::NONE => {
                    client.member_id = answer.member_id.clone();
                    client.epoch = answer.generation_id;
                    client.step = Step::Joined;
                    let leads = answer.leader == answer.member_id && !answer.skip_assignment;
                    self.sync_classic(index, answer, leads);
                }
                codes::MEMBER_ID_REQUIRED => {
                    client.member_id = answer.member_id;
                    self.join_classic(index);
                }
                codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID => {
                    client.member_id = String::new();
                    client.step = Step::Out;
                }
                _ => client.step = Step::Out,
            },
            Response::Sync(answer) => {
                client.step = Step::Out;
                if answer.error_code == codes::NONE {
                    client.step = Step::In;
                    client.lease_ms = sent_ms;
                    client.revoke_by_ms = i64::MAX;
                    let wanted = self.table_partitions(&answer.assignment);
                    self.clients[index].wanted = wanted;
                    self.take(index);
                } else if matches!(
                    answer.error_code,
                    codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID
                ) {
                    client.member_id = String::new();
                }
            }
            Response::Heartbeat(code) => match code {
                codes::NONE => client.lease_ms = sent_ms,
                codes::NOT_COORDINATOR | codes::COORDINATOR_NOT_AVAILABLE => {}
                codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID => {
                    client.drop_all();
                    client.member_id = String::new();
                    client.step = Step::Out;
                }
                _ => self.join_classic(index),
            },
            _ => {}
        }
    }

    pub(super) fn sync_classic(&mut self, index: usize, answer: JoinResponse, leads: bool) {
        let client = self.clients[index].clone();
        let mut assignments: BTreeMap<String, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
        for topic in TOPICS.iter().filter(|_| leads) {
            let readers: Vec<&JoinedMember> = answer
                .members
                .iter()
                .filter(|m| {
                    crate::groups::records::subscribed_topics(&m.metadata).is_ok_and(|t| t.contains(topic))
                })
                .collect();
            let Some(found) = self.table.topic(topic).filter(|_| !readers.is_empty()) else {
                continue;
            };
            for partition in 0..found.partitions {
                let reader = readers[partition as usize % readers.len()];
                let of_member = assignments.entry(reader.member_id.clone()).or_default();
                of_member.entry((*topic).to_owned()).or_default().push(partition);
            }
        }
        let encoded = |topics: BTreeMap<String, Vec<i32>>| -> Bytes {
            let value = ConsumerProtocolAssignment {
                assigned_partitions: topics
                    .into_iter()
                    .map(|(topic, partitions)| AssignmentTopicPartition {
                        topic: topic.into(),
                        partitions,
                    })
                    .collect(),
                user_data: None,
            };
            encode_versioned(&value, 1).expect("short").into()
        };
        let request = SyncRequest {
            group_id: client.group.into(),
            generation_id: client.epoch,
            member_id: client.member_id,
            group_instance_id: client.instance,
            protocol_type: Some("consumer".into()),
            protocol_name: answer.protocol_name,
            assignments: assignments
                .into_iter()
                .map(|(id, topics)| (id, encoded(topics)))
                .collect(),
        };
        self.send(index, Request::Sync(request));
    }

    pub(super) fn table_partitions(&self, assignment: &Bytes) -> BTreeSet<Partition> {
        if assignment.is_empty() {
            return BTreeSet::new();
        }
        let told: ConsumerProtocolAssignment<'_> =
            decode_versioned(assignment).expect("a readable assignment");
        let mut all = BTreeSet::new();
        for topic in told.assigned_partitions {
            if let Some(found) = self.table.topic(&topic.topic) {
                all.extend(topic.partitions.into_iter().map(|p| (found.id, p)));
            }
        }
        all
    }

    /// A client begins to read what it was told to and does not read yet: nobody else may.
    pub(super) fn take(&mut self, index: usize) {
        let group = self.clients[index].group;
        let gained: Vec<Partition> = self.clients[index]
            .wanted
            .difference(&self.clients[index].held)
            .copied()
            .collect();
        for partition in gained {
            for (other, client) in self.clients.iter().enumerate() {
                assert!(
                    other == index
                        || client.group != group
                        || !client.held.contains(&partition)
                        || !client.believes(self.now_ms),
                    "{partition:?} is taken by {:?} while {client:?} holds it, at {}",
                    self.clients[index],
                    self.now_ms
                );
            }
            self.taken += 1;
            self.clients[index].held.insert(partition);
        }
    }
}
