//! The simulator checks itself: a toy write-ahead log whose ordering can be broken on purpose.

use super::disk::Disk;
use super::enumerate::{Plan, Recording, enumerate};
use super::env::SimEnv;
use crate::env::{Env, File, IoBuf, OpenMode};
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq)]
enum Break {
    Nothing,
    AckBeforeSync,
    NoDirSync,
    NoChecksum,
}

/// Appends ten numbered records to `wal/log`, acknowledging each; returns the acks with their log positions.
async fn toy(env: SimEnv, broken: Break, acks: Rc<RefCell<Vec<(usize, u8)>>>) {
    env.create_dir_all("wal").await.unwrap();
    env.sync_dir("").await.unwrap();
    let file = env.open("wal/log", OpenMode::Write).await.unwrap();
    if broken != Break::NoDirSync {
        env.sync_dir("wal").await.unwrap();
    }
    for n in 1..=10u8 {
        let mut buf = env.buffer(8192);
        buf.bytes_mut()[4..].fill(n);
        let crc = crc32c::crc32c(&buf.bytes()[4..]);
        buf.bytes_mut()[..4].copy_from_slice(&crc.to_le_bytes());
        let (written, _) = file.write_at(u64::from(n - 1) * 8192, buf).await;
        assert_eq!(written.unwrap(), 8192);
        if broken == Break::AckBeforeSync {
            acks.borrow_mut().push((env.log_len(), n));
        }
        file.sync().await.unwrap();
        if broken != Break::AckBeforeSync {
            acks.borrow_mut().push((env.log_len(), n));
        }
    }
}

/// Highest record that recovery accepts; an error when one that it accepts is not what was written.
async fn recover(env: SimEnv, broken: Break) -> Result<u8, String> {
    let Ok(file) = env.open("wal/log", OpenMode::Read).await else {
        return Ok(0);
    };
    for n in 1..=10u8 {
        let buf = file.read_at(u64::from(n - 1) * 8192, 8192).await.unwrap();
        let bytes = buf.bytes();
        if bytes.len() < 8192 || bytes[8191] != n {
            return Ok(n - 1);
        }
        if broken != Break::NoChecksum && bytes[..4] != crc32c::crc32c(&bytes[4..]).to_le_bytes() {
            return Ok(n - 1);
        }
        if bytes[4..].iter().any(|b| *b != n) {
            return Err(format!("record {n} is torn and was accepted"));
        }
    }
    Ok(10)
}

fn first_failure(broken: Break, seed: u64) -> (usize, Option<String>) {
    let start = Disk::new(1 << 20, 512);
    let env = SimEnv::start(start.clone(), seed, 0);
    let acks = Rc::new(RefCell::new(Vec::new()));
    env.run(toy(env.clone(), broken, acks.clone())).expect_done("toy");
    let recording = Recording {
        start,
        log: env.end().1,
    };
    let plan = Plan {
        seed,
        exhaustive: 64,
        samples: 16,
        prefix_permille: 1000,
    };
    let mut failure = None;
    let visited = enumerate(&recording, &plan, |point| {
        let acked = acks
            .borrow()
            .iter()
            .filter(|(at, _)| *at <= point.prefix)
            .map(|(_, n)| *n)
            .max()
            .unwrap_or(0);
        let life = SimEnv::start(point.disk, 1, 0);
        let found = life.run(recover(life.clone(), broken)).expect_done("recovery");
        life.end();
        failure = match found {
            Err(why) => Some(why),
            Ok(n) if n < acked => Some(format!(
                "prefix {}: {acked} acknowledged, {n} found",
                point.prefix
            )),
            Ok(_) => None,
        };
        failure.is_none()
    });
    (visited, failure)
}

#[test]
fn a_correct_log_survives_every_crash() {
    let (visited, failure) = first_failure(Break::Nothing, 1);
    assert_eq!(failure, None);
    assert!(visited > 100, "{visited} images");
}

#[test]
fn each_broken_rule_is_found() {
    for broken in [Break::AckBeforeSync, Break::NoDirSync, Break::NoChecksum] {
        let (_, failure) = first_failure(broken, 1);
        assert!(failure.is_some(), "rule {} was not missed", broken as u8);
    }
}

#[test]
fn a_seed_fixes_the_whole_run() {
    let run = |seed| {
        let env = SimEnv::start(Disk::new(1 << 20, 512), seed, 0);
        env.run(toy(env.clone(), Break::Nothing, Rc::default()))
            .expect_done("toy");
        env.trace_hash()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
