//! What there is: counts for metrics, invariants for tests.

#[cfg(test)]
use super::consumer::Consumers;
#[cfg(test)]
use super::coordinator::Groups;
use super::coordinator::{Coordinator, Op, Pending, Stats};
use super::group::GroupState;
use std::collections::BTreeMap;
use std::rc::Rc;

impl Coordinator {
    /// Counts, as of now.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.groups = self.groups.len();
        stats.offsets = self.offsets.len();
        for group in self.groups.values() {
            stats.members += group.members.len() + group.pending_joins.len();
            stats.groups_by_state[group.state as usize] += 1;
        }
        stats.consumer_groups = self.consumers.groups.len();
        stats.consumer_members = self
            .consumers
            .groups
            .values()
            .map(|group| group.members.len())
            .sum();
        stats.groups += stats.consumer_groups;
        stats.members += stats.consumer_members;
        stats
    }

    /// Panics if an invariant is broken. Costs as much as there is state; for tests.
    pub fn check(&self) {
        assert_eq!(
            self.names.len(),
            self.groups.len(),
            "group numbers and groups differ"
        );
        let mut in_flight: BTreeMap<u64, u32> = BTreeMap::new();
        for (token, pending) in &self.appends.pending {
            assert!(
                *token > self.appends.last_committed,
                "append {token} was overtaken"
            );
            if let Some((_, uid)) = &pending.group {
                *in_flight.entry(*uid).or_default() += 1;
            }
        }
        for (id, group) in &self.groups {
            assert_eq!(*id, group.id, "group under a foreign id");
            assert_eq!(
                self.names.get(&group.uid),
                Some(id),
                "group {id} is not known by its number"
            );
            assert_eq!(
                in_flight.get(&group.uid).copied().unwrap_or(0),
                group.in_flight,
                "group {id}: appends under way"
            );
            assert!(
                group.visible
                    || group.in_flight > 0
                    || group.state != GroupState::Empty
                    || !group.pending_joins.is_empty(),
                "group {id} was forgotten unborn"
            );
            group.check();
        }
        self.check_consumers();
        self.offsets
            .check(|token| self.appends.pending.contains_key(&token));
    }

    fn check_consumers(&self) {
        let consumers = &self.consumers;
        assert_eq!(
            consumers.names.len(),
            consumers.groups.len(),
            "numbers of consumer groups"
        );
        for (id, group) in &consumers.groups {
            assert_eq!(
                consumers.names.get(&group.uid),
                Some(id),
                "number of consumer group {id}"
            );
            assert!(!self.groups.contains_key(id), "group {id} is of both protocols");
            assert!(
                group.visible || consumers.gates.contains_key(id),
                "consumer group {id} was forgotten unborn"
            );
            group.check();
        }
        let under_way = |id: &Rc<str>| {
            let of_it = |p: &&Pending| matches!(&p.op, Op::Consumer { id: other, .. } if other == id);
            self.appends.pending.values().filter(of_it).count()
        };
        for id in consumers.gates.keys() {
            assert_eq!(under_way(id), 1, "batches of group {id} under way");
        }
    }

    /// The committed offset of a partition, for tests and tools.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.offsets
            .committed(group, topic, partition)
            .map(|value| value.offset)
    }

    #[cfg(test)]
    pub(super) fn deadlines(&self) -> usize {
        self.timers.len()
    }

    #[cfg(test)]
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Lets tokens of appends begin above `last`.
    #[cfg(test)]
    pub(super) fn skip_tokens(&mut self, last: u64) {
        self.appends.last_token = last;
    }

    #[cfg(test)]
    pub(super) fn consumers(&self) -> &Consumers {
        &self.consumers
    }
}
