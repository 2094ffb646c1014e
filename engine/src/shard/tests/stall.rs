//! A device that stands still: producers are answered in time, memory stays bounded, nothing acknowledged is lost.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use turgo_net::ErrorCode;
use turgo_storage::Pressure;
use turgo_storage::env::{Class, Env};
use turgo_storage::sim::env::{Fault, OpKind};

use super::{SimShard, create_topic, partition, produce_frame, send, simulate};

const STALL: Duration = Duration::from_secs(20);

/// From now on every write takes [`STALL`] longer.
fn stall(shard: &SimShard) {
    shard.env.set_faults(|op| match op.kind {
        OpKind::Write => Fault::Stall(STALL),
        _ => Fault::None,
    });
}

#[test]
fn an_append_that_takes_too_long_is_answered_in_time_and_may_still_become_durable() {
    simulate(1, 64 << 20, |env, shard| async move {
        create_topic(&shard, "t", 2).await;
        assert_eq!(
            send(&shard, produce_frame("t", -1, 1000, 0, 100)).await,
            (ErrorCode::NONE, 0)
        );
        stall(&shard);
        for (acks, timeout_ms, least, most) in
            [(-1, 700, 700, 710), (1, 1500, 1500, 1510), (-1, -5, 100, 110)]
        {
            let began = shard.now_ms();
            let answer = send(&shard, produce_frame("t", acks, timeout_ms, 0, 100)).await;
            let took = shard.now_ms() - began;
            assert_eq!(answer, (ErrorCode::REQUEST_TIMED_OUT, -1));
            assert!((least..=most).contains(&took), "{timeout_ms} ms took {took} ms");
        }
        let served = shard.partition(&partition(0)).expect("it lives here");
        assert_eq!((served.high_watermark(), served.log.end_offset()), (1, 4));
        env.clear_faults();
        // The last of them is in a group after the stalled one.
        assert_eq!(
            send(&shard, produce_frame("t", -1, 60_000, 0, 100)).await,
            (ErrorCode::NONE, 4)
        );
        assert_eq!(served.high_watermark(), 5);
        assert_eq!(shard.stats.produce_timeouts.get(), 3);
        served.check();
    });
}

#[test]
fn what_waits_for_room_too_long_is_dropped_and_never_appended() {
    simulate(2, 8 << 20, |env, shard| async move {
        create_topic(&shard, "t", 1).await;
        stall(&shard);
        let answers = Rc::new(RefCell::new(Vec::new()));
        let mut sent = 0;
        while shard.store.pressure() != Pressure::HardDirty {
            sent += 1;
            begin(&shard, &answers, 100_000);
            env.sleep(Duration::ZERO).await;
            assert!(sent < 1000, "memory is not bounded");
        }
        for _ in 0..50 {
            sent += 1;
            begin(&shard, &answers, 100_000);
        }
        env.sleep(Duration::from_millis(500)).await;
        assert!(answers.borrow().is_empty(), "nothing is due yet");
        assert!(shard.produce_backlog.len() >= 50);
        env.sleep(Duration::from_millis(600)).await;
        assert_eq!(*answers.borrow(), vec![(ErrorCode::REQUEST_TIMED_OUT, -1); sent]);
        assert_eq!(shard.produce_backlog.len(), 0, "nobody waits for these");
        let served = shard.partition(&partition(0)).expect("it lives here");
        let appended = served.log.end_offset();
        assert!((appended as usize) <= sent - 50);
        env.clear_faults();
        env.sleep(3 * STALL).await;
        // All that was appended became durable, and nothing else was appended.
        assert_eq!(
            (served.high_watermark(), served.log.end_offset()),
            (appended, appended)
        );
        assert_eq!(
            send(&shard, produce_frame("t", -1, 1000, 0, 10)).await,
            (ErrorCode::NONE, appended)
        );
        served.check();
    });
}

fn begin(shard: &SimShard, answers: &Rc<RefCell<Vec<(ErrorCode, i64)>>>, bytes: usize) {
    let (shard, answers) = (shard.clone(), answers.clone());
    shard.clone().env.spawn(Class::Journal, async move {
        let answer = send(&shard, produce_frame("t", -1, 1000, 0, bytes)).await;
        answers.borrow_mut().push(answer);
    });
}
