//! Target assignments: who is to read what.
//!
//! An assignor is a function of topics, members and the last target: no state, no chance. Whatever it is given, each
//! partition of a topic with subscribers goes to exactly one of them, and nobody gets a partition of a topic that it
//! does not read.
//!
//! - `uniform` spreads partitions evenly and otherwise leaves them where they were.
//! - `range` gives member k of a topic's subscribers the k-th run of its partitions, so that topics of equal partition
//!   counts are joined without moving data; nothing of the last target is looked at.

mod uniform;

use super::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Partitions by topic; no topic without partitions.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// An assignor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Even and sticky.
    Uniform,
    /// Runs of partitions, alike for all topics.
    Range,
}

impl Assignor {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name. `group.consumer.assignors` may also name Kafka's classes.
    pub fn from_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" | "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => {
                Some(Assignor::Uniform)
            }
            "range" | "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// The target of each member, in the members' order.
    pub fn assign(self, topics: &[TopicSpec], members: &[MemberSpec<'_>]) -> Vec<Partitions> {
        if members.is_empty() {
            return Vec::new();
        }
        match self {
            Assignor::Uniform => uniform::assign(topics, members),
            Assignor::Range => range(topics, members),
        }
    }
}

/// A topic that members read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// Racks with a replica of each partition; empty when not known.
    pub racks: Vec<Vec<String>>,
}

/// A member to be assigned to. Members come sorted by id.
#[derive(Debug, Clone)]
pub struct MemberSpec<'a> {
    /// Member id.
    pub id: &'a str,
    /// Instance id of a static member.
    pub instance: Option<&'a str>,
    /// Rack, if the member told it.
    pub rack: Option<&'a str>,
    /// Topics it reads, as ascending indexes into the topics; members with equal subscriptions share one list.
    pub topics: Rc<Vec<usize>>,
    /// Its part of the last target.
    pub last: &'a Partitions,
}

fn range(topics: &[TopicSpec], members: &[MemberSpec<'_>]) -> Vec<Partitions> {
    // Static members first: they keep their place, and with it their partitions, over restarts.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| {
        let member = &members[*index];
        match member.instance {
            Some(instance) => (0, instance),
            None => (1, member.id),
        }
    });
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); topics.len()];
    for index in order {
        for topic in members[index].topics.iter() {
            readers[*topic].push(index);
        }
    }
    let mut targets = vec![Partitions::new(); members.len()];
    for (topic, readers) in topics.iter().zip(&readers) {
        let count = readers.len() as i32;
        if count == 0 {
            continue;
        }
        let (each, extra) = (topic.partitions / count, topic.partitions % count);
        let mut next = 0;
        for (place, reader) in readers.iter().enumerate() {
            let end = next + each + i32::from((place as i32) < extra);
            if end > next {
                targets[*reader].insert(topic.id, (next..end).collect());
            }
            next = end;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::tests::sim::Random;

    pub(super) fn id(number: u8) -> TopicId {
        [number; 16]
    }

    fn topic(number: u8, partitions: i32) -> TopicSpec {
        TopicSpec {
            id: id(number),
            partitions,
            racks: Vec::new(),
        }
    }

    /// Members named m0, m1, ... that read the given topics, holding `last`.
    fn assign(
        assignor: Assignor,
        topics: &[TopicSpec],
        reads: &[&[usize]],
        last: &[Partitions],
    ) -> Vec<Partitions> {
        let names: Vec<String> = (0..reads.len()).map(|i| format!("m{i:04}")).collect();
        let none = Partitions::new();
        let members: Vec<MemberSpec<'_>> = reads
            .iter()
            .enumerate()
            .map(|(i, topics)| MemberSpec {
                id: &names[i],
                instance: None,
                rack: None,
                topics: Rc::new(topics.to_vec()),
                last: last.get(i).unwrap_or(&none),
            })
            .collect();
        let targets = assignor.assign(topics, &members);
        check(topics, reads, &targets);
        targets
    }

    /// Every partition with readers once, nobody beyond its subscription.
    fn check(topics: &[TopicSpec], reads: &[&[usize]], targets: &[Partitions]) {
        assert_eq!(targets.len(), reads.len());
        let mut given: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for (member, target) in targets.iter().enumerate() {
            for (topic, partitions) in target {
                assert!(!partitions.is_empty(), "a topic without partitions");
                let index = topics.iter().position(|t| t.id == *topic).expect("a known topic");
                assert!(
                    reads[member].contains(&index),
                    "member {member} does not read topic {index}"
                );
                for partition in partitions {
                    assert!((0..topics[index].partitions).contains(partition));
                    let before = given.insert((*topic, *partition), member);
                    assert_eq!(before, None, "partition {partition} given twice");
                }
            }
        }
        for (index, topic) in topics.iter().enumerate() {
            let read = reads.iter().any(|reads| reads.contains(&index));
            let count = (0..topic.partitions)
                .filter(|p| given.contains_key(&(topic.id, *p)))
                .count();
            assert_eq!(
                count,
                if read { topic.partitions as usize } else { 0 },
                "topic {index}"
            );
        }
    }

    fn sizes(targets: &[Partitions]) -> Vec<usize> {
        targets
            .iter()
            .map(|t| t.values().map(BTreeSet::len).sum())
            .collect()
    }

    fn moved(before: &[Partitions], after: &[Partitions]) -> usize {
        let has = |targets: &[Partitions], member: usize, topic: &TopicId, partition: i32| {
            targets
                .get(member)
                .and_then(|t| t.get(topic))
                .is_some_and(|p| p.contains(&partition))
        };
        let mut moved = 0;
        for (member, target) in after.iter().enumerate() {
            for (topic, partitions) in target {
                moved += partitions
                    .iter()
                    .filter(|p| !has(before, member, topic, **p))
                    .count();
            }
        }
        moved
    }

    #[test]
    fn range_gives_runs_alike_for_all_topics() {
        let topics = [topic(1, 7), topic(2, 7)];
        let targets = assign(Assignor::Range, &topics, &[&[0, 1], &[0, 1], &[0, 1]], &[]);
        assert_eq!(targets[0][&id(1)], (0..3).collect());
        assert_eq!(targets[1][&id(1)], (3..5).collect());
        assert_eq!(targets[2][&id(2)], (5..7).collect());
        let more_members = assign(Assignor::Range, &[topic(1, 2)], &[&[0], &[0], &[0]], &[]);
        assert_eq!(sizes(&more_members), [1, 1, 0]);
        let mixed = assign(Assignor::Range, &topics, &[&[0], &[0, 1], &[1]], &[]);
        assert_eq!(mixed[0][&id(1)], (0..4).collect());
        assert_eq!(mixed[1][&id(2)], (0..4).collect());
    }

    #[test]
    fn range_keeps_the_place_of_static_members() {
        let topics = [topic(1, 4)];
        let none = Partitions::new();
        let member = |id, instance| MemberSpec {
            id,
            instance,
            rack: None,
            topics: Rc::new(vec![0]),
            last: &none,
        };
        let first = Assignor::Range.assign(&topics, &[member("a", None), member("z", Some("s"))]);
        let again = Assignor::Range.assign(&topics, &[member("a", None), member("b", Some("s"))]);
        assert_eq!(first, again, "under another member id, the same partitions");
        assert_eq!(first[1][&id(1)], (0..2).collect(), "static members come first");
    }

    #[test]
    fn uniform_is_even_and_moves_no_more_than_it_must() {
        let topics = [topic(1, 10), topic(2, 3)];
        let all: &[usize] = &[0, 1];
        let three = assign(Assignor::Uniform, &topics, &[all, all, all], &[]);
        let mut counts = sizes(&three);
        counts.sort_unstable();
        assert_eq!(counts, [4, 4, 5]);
        let four = assign(Assignor::Uniform, &topics, &[all, all, all, all], &three);
        assert_eq!(moved(&three, &four), 3, "the new member's share and nothing else");
        let two = assign(Assignor::Uniform, &topics, &[all, all], &four);
        let freed: usize = sizes(&four)[2..].iter().sum();
        assert_eq!(moved(&four[..2], &two), freed);
        let same = assign(Assignor::Uniform, &topics, &[all, all], &two);
        assert_eq!(moved(&two, &same), 0);
    }

    #[test]
    fn uniform_follows_racks_where_balance_allows() {
        let racks = |partition: i32| vec![format!("r{}", partition % 2)];
        let topics = [TopicSpec {
            racks: (0..8).map(racks).collect(),
            ..topic(1, 8)
        }];
        let none = Partitions::new();
        let names = ["a", "b", "c", "d"];
        let members: Vec<MemberSpec<'_>> = names
            .iter()
            .enumerate()
            .map(|(i, id)| MemberSpec {
                id,
                instance: None,
                rack: Some(if i % 2 == 0 { "r0" } else { "r1" }),
                topics: Rc::new(vec![0]),
                last: &none,
            })
            .collect();
        for (i, target) in Assignor::Uniform.assign(&topics, &members).iter().enumerate() {
            let partitions = &target[&id(1)];
            assert_eq!(partitions.len(), 2);
            assert!(partitions.iter().all(|p| p % 2 == i as i32 % 2), "{partitions:?}");
        }
        // A rack of its own does not let a member starve or feast.
        let crowd: Vec<MemberSpec<'_>> = members
            .iter()
            .map(|m| MemberSpec {
                rack: Some("r0"),
                ..m.clone()
            })
            .collect();
        assert_eq!(sizes(&Assignor::Uniform.assign(&topics, &crowd)), [2, 2, 2, 2]);
    }

    #[test]
    fn uniform_balances_unlike_subscriptions() {
        let topics = [topic(1, 6), topic(2, 6), topic(3, 1)];
        let targets = assign(Assignor::Uniform, &topics, &[&[0], &[0, 1], &[1, 2], &[2]], &[]);
        let counts = sizes(&targets);
        assert!(counts[..3].iter().all(|c| *c == 4), "{counts:?}");
        assert_eq!(counts[3], 1, "the only one who reads nothing else");
    }

    #[test]
    fn random_groups_are_covered_even_and_sticky() {
        for seed in 0..400 {
            let mut random = Random::new(seed);
            let topics: Vec<TopicSpec> = (0..1 + random.below(4))
                .map(|i| topic(i as u8 + 1, 1 + random.below(9) as i32))
                .collect();
            let mut last: Vec<Partitions> = Vec::new();
            let alike = seed % 2 == 0;
            let all: Vec<usize> = (0..topics.len()).collect();
            let mut reads: Vec<Vec<usize>> = Vec::new();
            for round in 0..6 {
                let members = 1 + random.below(7) as usize;
                reads.truncate(members);
                last.truncate(members);
                while reads.len() < members {
                    reads.push(if alike {
                        all.clone()
                    } else {
                        all.iter().copied().filter(|_| random.below(2) == 0).collect()
                    });
                }
                let views: Vec<&[usize]> = reads.iter().map(Vec::as_slice).collect();
                let assignor = if round == 5 {
                    Assignor::Range
                } else {
                    Assignor::Uniform
                };
                let targets = assign(assignor, &topics, &views, &last);
                let counts = sizes(&targets);
                if assignor == Assignor::Uniform && alike {
                    let (min, max) = (counts.iter().min(), counts.iter().max());
                    assert!(max.unwrap() - min.unwrap() <= 1, "seed {seed}: {counts:?}");
                }
                if assignor == Assignor::Uniform {
                    // No partition would lie better with another of its readers.
                    for (owner, target) in targets.iter().enumerate() {
                        for topic in target.keys() {
                            let index = topics.iter().position(|t| t.id == *topic).unwrap();
                            for (other, reads) in reads.iter().enumerate() {
                                assert!(
                                    !reads.contains(&index) || counts[owner] <= counts[other] + 1,
                                    "seed {seed}: {owner} has {} of topic {index}, {other} has {}",
                                    counts[owner],
                                    counts[other]
                                );
                            }
                        }
                    }
                    let again = assign(Assignor::Uniform, &topics, &views, &targets);
                    assert_eq!(
                        moved(&targets, &again),
                        0,
                        "seed {seed}: nothing changed, yet partitions move"
                    );
                }
                last = targets;
            }
        }
    }

    #[test]
    fn a_last_target_that_contradicts_itself_is_mended() {
        let topics = [topic(1, 4)];
        let all: Partitions = BTreeMap::from([(id(1), (0..9).collect()), (id(7), (0..3).collect())]);
        let targets = assign(Assignor::Uniform, &topics, &[&[0], &[0]], &[all.clone(), all]);
        assert_eq!(sizes(&targets), [2, 2]);
    }
}
