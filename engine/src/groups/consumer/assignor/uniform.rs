//! The `uniform` assignor: as even as subscriptions allow, and sticky.
//!
//! Members that all read the same get quotas that differ by at most one; the larger ones go to those who hold most
//! already, so the fewest partitions move. Members of unlike subscriptions are filled and then balanced topic by topic
//! until no partition would lie better with another reader of its topic.

use super::{MemberSpec, Partitions, TopicSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// No member.
const NOBODY: u32 = u32::MAX;
/// Rounds of balancing; each goes over all topics. Far more than groups need; a bound on time, not on quality.
const ROUNDS: usize = 16;

/// Owners of all partitions, by topic and partition, and how many each member has.
struct Plan<'a, 's> {
    topics: &'a [TopicSpec],
    members: &'a [MemberSpec<'s>],
    owners: Vec<Vec<u32>>,
    loads: Vec<usize>,
}

pub(super) fn assign(topics: &[TopicSpec], members: &[MemberSpec<'_>]) -> Vec<Partitions> {
    let mut plan = Plan {
        topics,
        members,
        owners: topics
            .iter()
            .map(|topic| vec![NOBODY; topic.partitions.max(0) as usize])
            .collect(),
        loads: vec![0; members.len()],
    };
    plan.keep();
    let alike = members
        .iter()
        .all(|member| Rc::ptr_eq(&member.topics, &members[0].topics) || member.topics == members[0].topics);
    if alike {
        plan.fill_alike();
    } else {
        plan.fill_unlike();
        plan.balance();
    }
    plan.into_targets()
}

impl Plan<'_, '_> {
    /// Everyone keeps what it has and still reads; of two that claim a partition, the first keeps it.
    fn keep(&mut self) {
        let index: BTreeMap<_, usize> = self.topics.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
        for (number, member) in self.members.iter().enumerate() {
            for (id, partitions) in member.last {
                let Some(topic) = index.get(id) else { continue };
                if member.topics.binary_search(topic).is_err() {
                    continue;
                }
                for partition in partitions {
                    let owner = usize::try_from(*partition)
                        .ok()
                        .and_then(|partition| self.owners[*topic].get_mut(partition));
                    if let Some(owner) = owner.filter(|owner| **owner == NOBODY) {
                        *owner = number as u32;
                        self.loads[number] += 1;
                    }
                }
            }
        }
    }

    fn is_near(&self, topic: usize, partition: usize, member: usize) -> bool {
        let racks = self.topics[topic].racks.get(partition);
        match (racks, self.members[member].rack) {
            (Some(racks), Some(rack)) => racks.iter().any(|known| known == rack),
            _ => false,
        }
    }

    fn give(&mut self, topic: usize, partition: usize, member: usize) {
        let owner = &mut self.owners[topic][partition];
        if *owner != NOBODY {
            self.loads[*owner as usize] -= 1;
        }
        *owner = member as u32;
        self.loads[member] += 1;
    }

    fn fill_alike(&mut self) {
        let read = self.members[0].topics.clone();
        let total: usize = read.iter().map(|topic| self.owners[*topic].len()).sum();
        let (each, extra) = (total / self.members.len(), total % self.members.len());
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|member| std::cmp::Reverse(self.loads[*member]));
        let mut quota = vec![each; self.members.len()];
        order[..extra].iter().for_each(|member| quota[*member] += 1);
        // Who has too much gives up, first what lies in another rack.
        for far_only in [true, false] {
            for topic in read.iter() {
                for partition in (0..self.owners[*topic].len()).rev() {
                    let owner = self.owners[*topic][partition];
                    if owner == NOBODY || self.loads[owner as usize] <= quota[owner as usize] {
                        continue;
                    }
                    if !far_only || !self.is_near(*topic, partition, owner as usize) {
                        self.owners[*topic][partition] = NOBODY;
                        self.loads[owner as usize] -= 1;
                    }
                }
            }
        }
        self.fill_near(&read, &quota);
        let mut member = 0;
        for topic in read.iter() {
            for partition in 0..self.owners[*topic].len() {
                if self.owners[*topic][partition] != NOBODY {
                    continue;
                }
                // Quotas add up to the partitions there are.
                while self.loads[member] >= quota[member] {
                    member += 1;
                }
                self.give(*topic, partition, member);
            }
        }
    }

    /// Gives free partitions to members in one of their racks, as far as quotas go.
    fn fill_near(&mut self, read: &[usize], quota: &[usize]) {
        let mut by_rack: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, member) in self.members.iter().enumerate() {
            if let Some(rack) = member.rack.filter(|_| self.loads[number] < quota[number]) {
                by_rack.entry(rack.to_owned()).or_default().push(number);
            }
        }
        if by_rack.is_empty() {
            return;
        }
        let topics = self.topics;
        for topic in read {
            for (partition, racks) in topics[*topic].racks.iter().enumerate() {
                if self.owners[*topic].get(partition) != Some(&NOBODY) {
                    continue;
                }
                let near = racks.iter().find_map(|rack| {
                    let open = by_rack.get_mut(rack)?;
                    while open
                        .last()
                        .is_some_and(|member| self.loads[*member] >= quota[*member])
                    {
                        open.pop();
                    }
                    open.last().copied()
                });
                if let Some(member) = near {
                    self.give(*topic, partition, member);
                }
            }
        }
    }

    fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.topics.len()];
        for (number, member) in self.members.iter().enumerate() {
            member
                .topics
                .iter()
                .for_each(|topic| readers[*topic].push(number));
        }
        readers
    }

    /// Gives each free partition to the reader with the least, a near one among equals; the topics with the fewest
    /// readers first, because they have the least choice.
    fn fill_unlike(&mut self) {
        let readers = self.readers();
        let mut order: Vec<usize> = (0..self.topics.len())
            .filter(|t| !readers[*t].is_empty())
            .collect();
        order.sort_by_key(|topic| readers[*topic].len());
        for topic in order {
            let mut by_load: BTreeSet<(usize, usize)> = readers[topic]
                .iter()
                .map(|member| (self.loads[*member], *member))
                .collect();
            for partition in 0..self.owners[topic].len() {
                if self.owners[topic][partition] != NOBODY {
                    continue;
                }
                let least = by_load.first().expect("a topic with readers").0;
                let (load, member) = by_load
                    .range((least, 0)..=(least, usize::MAX))
                    .find(|(_, member)| self.is_near(topic, partition, *member))
                    .or(by_load.first())
                    .copied()
                    .expect("a topic with readers");
                by_load.remove(&(load, member));
                self.give(topic, partition, member);
                by_load.insert((load + 1, member));
            }
        }
    }

    /// Moves partitions from the fullest to the emptiest reader of their topic while that evens them out.
    fn balance(&mut self) {
        let readers = self.readers();
        for _ in 0..ROUNDS {
            let mut moved = false;
            for (topic, readers) in readers.iter().enumerate() {
                moved |= !readers.is_empty() && self.balance_topic(topic, readers);
            }
            if !moved {
                return;
            }
        }
    }

    fn balance_topic(&mut self, topic: usize, readers: &[usize]) -> bool {
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.owners[topic].iter().enumerate() {
            if *owner != NOBODY {
                owned.entry(*owner as usize).or_default().push(partition);
            }
        }
        let mut all: BTreeSet<(usize, usize)> = readers.iter().map(|m| (self.loads[*m], *m)).collect();
        let mut givers: BTreeSet<(usize, usize)> = owned.keys().map(|m| (self.loads[*m], *m)).collect();
        let mut moved = false;
        while let (Some((least, taker)), Some((most, giver))) = (all.first().copied(), givers.last().copied())
        {
            if most <= least + 1 {
                break;
            }
            let partitions = owned.get_mut(&giver).expect("givers own something");
            let partition = partitions.pop().expect("givers own something");
            all.remove(&(most, giver));
            givers.remove(&(most, giver));
            all.remove(&(least, taker));
            givers.remove(&(least, taker));
            self.give(topic, partition, taker);
            all.insert((most - 1, giver));
            all.insert((least + 1, taker));
            if !owned[&giver].is_empty() {
                givers.insert((most - 1, giver));
            }
            owned.entry(taker).or_default().push(partition);
            givers.insert((least + 1, taker));
            moved = true;
        }
        moved
    }

    fn into_targets(self) -> Vec<Partitions> {
        let mut targets = vec![Partitions::new(); self.members.len()];
        for (topic, owners) in self.topics.iter().zip(&self.owners) {
            for (partition, owner) in owners.iter().enumerate() {
                if *owner != NOBODY {
                    targets[*owner as usize]
                        .entry(topic.id)
                        .or_default()
                        .insert(partition as i32);
                }
            }
        }
        targets
    }
}
