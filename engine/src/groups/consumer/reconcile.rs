//! From what a member holds towards what it is to hold, one step.
//!
//! A member first gives up what its target does not have. Until it says that it has, it stays in its epoch and is told
//! to hold the rest. Then it enters the target's epoch and gets what nobody else holds; what others have yet to give up
//! it gets with a later heartbeat.

use super::TopicId;
use super::assignor::Partitions;
use super::group::{Current, Held, MemberState};
use super::messages::TopicPartitions;
use crate::groups::planted::{Bug, planted};

/// What a step is decided by.
pub(super) struct Step<'a> {
    /// What the member holds, as last stored.
    pub current: &'a Current,
    /// Epoch of the target.
    pub target_epoch: i32,
    /// The member's part of the target.
    pub target: &'a Partitions,
    /// Partitions the member says it holds; `None`: as before.
    pub owned: Option<&'a TopicPartitions>,
    /// Its subscription has just changed.
    pub resubscribed: bool,
}

/// The member has to give everything up and join anew.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MustRejoin;

/// The member's next current assignment; `None` if it stays as it is. `reads` tells whether the member reads a topic,
/// `is_free` whether no other member holds a partition.
pub(super) fn next(
    step: &Step<'_>,
    reads: impl Fn(&TopicId) -> bool,
    is_free: impl Fn(&TopicId, i32) -> bool,
) -> Result<Option<Current>, MustRejoin> {
    let current = step.current;
    let next = match current.state {
        MemberState::Stable if current.epoch != step.target_epoch => {
            advance(step, current.epoch, reads, is_free)
        }
        MemberState::Unrevoked if !holds_any(step.owned, &current.revoking) => {
            advance(step, current.epoch, reads, is_free)
        }
        MemberState::Stable | MemberState::Unrevoked => {
            if !step.resubscribed {
                return Ok(None);
            }
            withdraw(step, reads)
        }
        MemberState::Unreleased => advance(step, current.epoch, reads, is_free),
        MemberState::Unknown => {
            if step.owned.is_none_or(|owned| !owned.is_empty()) {
                return Err(MustRejoin);
            }
            advance(step, step.target_epoch, reads, is_free)
        }
    };
    Ok(Some(next).filter(|next| next != current))
}

/// Whether a member that says it holds `owned` may still hold one of these.
fn holds_any(owned: Option<&TopicPartitions>, held: &Held) -> bool {
    match owned {
        // Nothing new: it still holds what it held.
        None => true,
        Some(owned) => owned.iter().any(|(topic, partitions)| {
            held.get(topic)
                .is_some_and(|held| partitions.iter().any(|partition| held.contains_key(partition)))
        }),
    }
}

/// An epoch change also moves the epoch before; a step within the epoch does not.
fn at_epoch(current: &Current, epoch: i32, state: MemberState, assigned: Held, revoking: Held) -> Current {
    Current {
        epoch,
        previous_epoch: if epoch == current.epoch {
            current.previous_epoch
        } else {
            current.epoch
        },
        state,
        assigned,
        revoking,
    }
}

/// As far towards the target as is possible now. `epoch` is where a member that has to give up stays.
fn advance(
    step: &Step<'_>,
    epoch: i32,
    reads: impl Fn(&TopicId) -> bool,
    is_free: impl Fn(&TopicId, i32) -> bool,
) -> Current {
    let current = step.current;
    let (mut kept, mut revoking, mut gained) = (Held::new(), Held::new(), Held::new());
    for (topic, held) in &current.assigned {
        let target = step.target.get(topic).filter(|_| reads(topic));
        for (partition, since) in held {
            let to = match target {
                Some(target) if target.contains(partition) => &mut kept,
                _ => &mut revoking,
            };
            to.entry(*topic).or_default().insert(*partition, *since);
        }
    }
    let mut waits = false;
    for (topic, target) in step.target.iter().filter(|(topic, _)| reads(topic)) {
        let held = current.assigned.get(topic);
        for partition in target {
            if held.is_some_and(|held| held.contains_key(partition)) {
                continue;
            }
            if is_free(topic, *partition) || planted(Bug::GiveTwice) {
                gained
                    .entry(*topic)
                    .or_default()
                    .insert(*partition, step.target_epoch);
            } else {
                waits = true;
            }
        }
    }
    if !revoking.is_empty() && holds_any(step.owned, &revoking) {
        return at_epoch(current, epoch, MemberState::Unrevoked, kept, revoking);
    }
    for (topic, partitions) in gained {
        kept.entry(topic).or_default().extend(partitions);
    }
    let state = if waits {
        MemberState::Unreleased
    } else {
        MemberState::Stable
    };
    let reached = if planted(Bug::StuckEpoch) {
        current.epoch.max(1)
    } else {
        step.target_epoch
    };
    at_epoch(current, reached, state, kept, Held::new())
}

/// The target is as before, but the member does not read some of what it holds any more: that goes at once.
fn withdraw(step: &Step<'_>, reads: impl Fn(&TopicId) -> bool) -> Current {
    let current = step.current;
    let (kept, unread): (Held, Held) = current
        .assigned
        .iter()
        .map(|(topic, held)| (*topic, held.clone()))
        .partition(|(topic, _)| reads(topic));
    if unread.is_empty() {
        return current.clone();
    }
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in unread {
        revoking.entry(topic).or_default().extend(partitions);
    }
    if holds_any(step.owned, &revoking) {
        at_epoch(current, current.epoch, MemberState::Unrevoked, kept, revoking)
    } else {
        at_epoch(current, current.epoch, current.state, kept, Held::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const T: TopicId = [1; 16];
    const U: TopicId = [2; 16];

    fn held(partitions: &[(i32, i32)]) -> Held {
        if partitions.is_empty() {
            return Held::new();
        }
        Held::from([(T, partitions.iter().copied().collect())])
    }

    fn target(partitions: &[i32]) -> Partitions {
        if partitions.is_empty() {
            return Partitions::new();
        }
        BTreeMap::from([(T, partitions.iter().copied().collect::<BTreeSet<_>>())])
    }

    fn step<'a>(
        current: &'a Current,
        target_epoch: i32,
        target: &'a Partitions,
        owned: Option<&'a TopicPartitions>,
    ) -> Step<'a> {
        Step {
            current,
            target_epoch,
            target,
            owned,
            resubscribed: false,
        }
    }

    fn stable(epoch: i32, partitions: &[(i32, i32)]) -> Current {
        Current {
            epoch,
            previous_epoch: epoch - 1,
            assigned: held(partitions),
            ..Current::default()
        }
    }

    #[test]
    fn a_member_gives_up_first_and_gets_then() {
        let before = stable(4, &[(0, 3), (1, 4)]);
        let wanted = target(&[1, 2]);
        let told = next(&step(&before, 5, &wanted, None), |_| true, |_, _| true)
            .unwrap()
            .unwrap();
        assert_eq!((told.epoch, told.state), (4, MemberState::Unrevoked));
        assert_eq!(
            (&told.assigned, &told.revoking),
            (&held(&[(1, 4)]), &held(&[(0, 3)]))
        );
        assert_eq!(told.previous_epoch, 3, "no new epoch");

        let still = vec![(T, vec![0, 1])];
        for owned in [None, Some(&still)] {
            let same = next(&step(&told, 5, &wanted, owned), |_| true, |_, _| true).unwrap();
            assert_eq!(same, None, "nothing given up yet: {owned:?}");
        }

        let given_up = vec![(T, vec![1])];
        let done = next(&step(&told, 5, &wanted, Some(&given_up)), |_| true, |_, _| true)
            .unwrap()
            .unwrap();
        assert_eq!(
            (done.epoch, done.previous_epoch, done.state),
            (5, 4, MemberState::Stable)
        );
        assert_eq!(
            done.assigned,
            held(&[(1, 4), (2, 5)]),
            "each with the epoch in which it came"
        );
        assert!(done.revoking.is_empty());
    }

    #[test]
    fn a_member_waits_for_what_others_hold() {
        let before = stable(4, &[(0, 3)]);
        let wanted = target(&[0, 1, 2]);
        let told = next(&step(&before, 5, &wanted, None), |_| true, |_, p| p != 2)
            .unwrap()
            .unwrap();
        assert_eq!((told.epoch, told.state), (5, MemberState::Unreleased));
        assert_eq!(told.assigned, held(&[(0, 3), (1, 5)]));
        let same = next(&step(&told, 5, &wanted, None), |_| true, |_, p| p != 2).unwrap();
        assert_eq!(same, None);
        let done = next(&step(&told, 5, &wanted, None), |_| true, |_, _| true)
            .unwrap()
            .unwrap();
        assert_eq!(
            (done.epoch, done.previous_epoch, done.state),
            (5, 4, MemberState::Stable)
        );
        assert_eq!(done.assigned, held(&[(0, 3), (1, 5), (2, 5)]));
    }

    #[test]
    fn a_member_that_no_longer_reads_a_topic_gives_it_up_at_once() {
        let mut before = stable(5, &[(0, 5)]);
        before.assigned.insert(U, BTreeMap::from([(0, 5)]));
        let wanted = target(&[0]);
        let mut now = step(&before, 5, &wanted, None);
        now.resubscribed = true;
        let told = next(&now, |topic| *topic == T, |_, _| true).unwrap().unwrap();
        assert_eq!((told.epoch, told.state), (5, MemberState::Unrevoked));
        assert!(told.revoking.contains_key(&U));
        // A target that is not made anew yet does not bring it back.
        let both: Partitions = BTreeMap::from([(T, BTreeSet::from([0])), (U, BTreeSet::from([0]))]);
        let owned = vec![(T, vec![0])];
        let done = next(
            &step(&told, 6, &both, Some(&owned)),
            |topic| *topic == T,
            |_, _| true,
        )
        .unwrap()
        .unwrap();
        assert_eq!(done.assigned, held(&[(0, 5)]));
    }

    #[test]
    fn a_member_of_unknown_state_starts_over_with_nothing() {
        let before = Current {
            state: MemberState::Unknown,
            ..stable(4, &[(0, 3)])
        };
        let wanted = target(&[0]);
        let some = vec![(T, vec![0])];
        for owned in [None, Some(&some)] {
            assert_eq!(
                next(&step(&before, 5, &wanted, owned), |_| true, |_, _| true),
                Err(MustRejoin)
            );
        }
        let none = Vec::new();
        let done = next(&step(&before, 5, &wanted, Some(&none)), |_| true, |_, _| true)
            .unwrap()
            .unwrap();
        assert_eq!((done.epoch, done.state), (5, MemberState::Stable));
    }
}
