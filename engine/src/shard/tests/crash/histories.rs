//! What clients do before the power goes: scripts, and walks by seed.

use std::pin::Pin;

use turgo_net::ErrorCode;
use turgo_storage::sim::rng::Rng;

use super::clients::{Producer, TIMEOUT_MS, World};
use super::facts::Fact;
use crate::txn::messages::{Level, TV0, TV2};

/// What happens in a life of the broker.
pub(super) type History = fn(World, Rng) -> Pin<Box<dyn Future<Output = ()>>>;

/// Longer than a transaction may be open, ms.
const TOO_LONG_MS: u64 = TIMEOUT_MS as u64 + 60;

fn fenced(error: ErrorCode) {
    let codes = [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED];
    assert!(codes.contains(&error), "{error}");
}

/// Transactions one after the other: committed, aborted, with offsets, over every partition.
async fn in_turn(world: World, level: Level) {
    let mut producer = Producer::ready(&world, "a", level, 0).await;
    producer.transact(&[0, 1, 2], true, true).await;
    world.look(&["a"]).await;
    producer.transact(&[2, 1, 1], true, false).await;
    producer.transact(&[0, 1], false, true).await;
    producer.transact(&[0], true, true).await;
    world.look(&["a"]).await;
}

pub(super) fn in_turn_now(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(in_turn(world, TV2))
}

pub(super) fn in_turn_of_old(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(in_turn(world, TV0))
}

/// A producer is never heard of again, in the middle of a transaction, while another goes on in the same partitions; its
/// last batch comes when all is over.
async fn left_open(world: World, level: Level) {
    let mut lost = Producer::ready(&world, "lost", level, 1).await;
    let mut busy = Producer::ready(&world, "busy", TV2, 0).await;
    lost.begin(&[0, 1]).await;
    assert!(lost.send(0).await.is_none() && lost.send(1).await.is_none());
    assert!(lost.commit_offset().await.is_none());
    busy.transact(&[0, 1], true, true).await;
    // The open transaction holds the last stable offset back.
    assert_eq!(world.broker.committed(0).await, []);
    world.broker.sleep_ms(TOO_LONG_MS).await;
    world.look(&["lost", "busy"]).await;
    // KIP-890: what comes after the coordinator's abort must not open a transaction that nobody ends.
    fenced(lost.send(0).await);
    // The end of level 2 is taken for one that came before, and that was no commit.
    let ended = lost.end(true).await;
    if ended != ErrorCode::INVALID_TXN_STATE {
        fenced(ended);
    }
    busy.transact(&[0], false, true).await;
}

pub(super) fn left_open_now(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(left_open(world, TV2))
}

pub(super) fn left_open_of_old(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(left_open(world, TV0))
}

/// A new instance takes over in the middle of a transaction; the old one goes on sending.
async fn taken_over(world: World, level: Level) {
    let mut old = Producer::ready(&world, "a", level, 0).await;
    old.transact(&[0], true, true).await;
    old.begin(&[1, 2]).await;
    assert!(old.send(1).await.is_none());
    let late = (old.produce_request(2), old.end_request(true));
    let mut new = Producer::ready(&world, "a", level, 1).await;
    fenced(old.send(2).await);
    fenced(old.end(true).await);
    new.begin(&[2]).await;
    assert!(new.send(2).await.is_none());
    old.repeat(late.0, 0);
    old.repeat(late.1, 1);
    world.broker.sleep_ms(10).await;
    assert!(new.end(true).await.is_none());
    world.look(&["a"]).await;
}

pub(super) fn taken_over_now(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(taken_over(world, TV2))
}

pub(super) fn taken_over_of_old(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(taken_over(world, TV0))
}

/// KIP-890's known failures: copies of EndTxn, of Produce and of markers come in the middle of the next transaction.
pub(super) fn late_copies(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut producer = Producer::ready(&world, "a", TV2, 0).await;
        for commit in [true, false, true] {
            producer.begin(&[]).await;
            let first = producer.produce_request(0);
            assert!(producer.send(0).await.is_none());
            let end = producer.end_request(commit);
            // One copy right away, one in the next transaction.
            producer.repeat(end.clone(), 0);
            assert!(producer.end(commit).await.is_none());
            producer.begin(&[]).await;
            assert!(producer.send(1).await.is_none());
            producer.repeat(end, 0);
            assert!(producer.send(0).await.is_none());
            producer.repeat(producer.marker_request(0, false), 0);
            producer.repeat(producer.marker_request(1, true), 1);
            producer.repeat(first.clone(), 0);
            producer.repeat(first, 8);
            world.broker.sleep_ms(5).await;
            assert!(producer.send(0).await.is_none(), "the copies ended nothing");
            assert!(producer.end(true).await.is_none());
        }
        world.look(&["a"]).await;
    })
}

/// Leaves a producer whose epochs are nearly used up.
pub(super) fn long_ago(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let identity = (7_000_000, i16::MAX - 3);
        world.broker.plant("a", identity).await;
        let id = "a".to_owned();
        world.note(Fact::Told { id, identity });
    })
}

/// Transactions until the epochs are used up, and beyond: a new producer id comes with the end of one.
pub(super) fn used_up(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut producer = Producer::ready(&world, "a", TV2, 0).await;
        let before = producer.identity.0;
        for commit in [true, false, true, true] {
            producer.transact(&[0, 1], commit, commit).await;
        }
        assert!(producer.identity.0 != before && producer.identity.1 < 4);
        world.look(&["a"]).await;
    })
}

/// A producer is fenced, and one forgotten, with the last epoch there is.
pub(super) fn fenced_at_the_end(world: World, _: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut old = Producer::ready(&world, "a", TV2, 0).await;
        old.transact(&[0], false, true).await;
        old.begin(&[]).await;
        assert!(old.send(1).await.is_none() && old.commit_offset().await.is_none());
        let mut new = Producer::ready(&world, "a", TV2, 1).await;
        fenced(old.send(1).await);
        new.transact(&[1, 2], true, true).await;
        new.begin(&[]).await;
        assert!(new.send(2).await.is_none());
        world.broker.sleep_ms(TOO_LONG_MS).await;
        world.look(&["a"]).await;
    })
}

/// Several clients by seed, two of them with one transactional id, and a reader.
pub(super) fn walk(world: World, rng: Rng) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        const IDS: [&str; 3] = ["a", "b", "c"];
        let mut left = Vec::new();
        for n in 0..4 {
            let (world, rng) = (world.clone(), rng.fork(&format!("client {n}")));
            let (fill, done) = crate::sync::oneshot();
            left.push(done);
            let level = if n % 2 == 0 { TV2 } else { TV0 };
            world.broker.clone().spawn(async move {
                wander(world, IDS[n % IDS.len()], level, n, rng).await;
                fill.fill(());
            });
        }
        for _ in 0..4 {
            world.broker.sleep_ms(8).await;
            // A group's stable offset may have to wait for a transaction that takes too long: not asked for here.
            world.look(&[]).await;
        }
        for done in left {
            done.await.expect("a client comes to its end");
        }
        world.look(&IDS).await;
    })
}

async fn wander(world: World, id: &str, level: Level, core: usize, mut rng: Rng) {
    let mut producer = Producer::new(&world, id, level, core);
    let mut is_ready = false;
    for _ in 0..4 {
        if !is_ready {
            is_ready = producer.init().await.is_none();
            continue;
        }
        let partitions: Vec<i32> = (0..rng.range(1, 3)).map(|_| rng.below(3) as i32).collect();
        let mut error = producer.begin(&partitions).await;
        for partition in partitions {
            if !error.is_none() {
                break;
            }
            let copy = rng.chance(1, 5).then(|| producer.produce_request(partition));
            // The protocol before KIP-890 cannot tell a copy of a batch that was refused from a new one.
            if level >= TV2
                && let Some(copy) = copy.clone()
            {
                producer.repeat(copy, rng.range(0, 30));
            }
            error = producer.send(partition).await;
            if level < TV2
                && error.is_none()
                && let Some(copy) = copy
            {
                producer.repeat(copy, rng.range(0, 30));
            }
        }
        if error.is_none() && rng.chance(1, 3) {
            error = producer.commit_offset().await;
        }
        match rng.below(12) {
            // The client dies, and another comes in its place, sooner or later.
            0 => is_ready = false,
            1 => {
                world.broker.sleep_ms(TOO_LONG_MS).await;
                is_ready = false;
            }
            _ if error.is_none() => {
                let commit = rng.chance(2, 3);
                if level >= TV2 && rng.chance(1, 3) {
                    producer.repeat(producer.end_request(commit), rng.range(0, 30));
                }
                is_ready = producer.end(commit).await.is_none();
            }
            _ => is_ready = producer.end(false).await.is_none(),
        }
    }
}
