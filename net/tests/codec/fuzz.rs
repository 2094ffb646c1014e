//! No input makes decoding panic or allocate beyond its budget, and what decodes also encodes.
//!
//! Runs for two seconds; `FUZZ_SECONDS` makes it longer, `FUZZ_SEED` replays. A failure names message, version and
//! bytes.

use std::time::{Duration, Instant};

use turgo_net::header::{RequestHeader, ResponseHeader};
use turgo_net::wire::budget_for;
use turgo_net::{ApiKey, FrameReader, Reader};

use crate::support::{CASES, Case, Gen, hex};
use crate::sys::peak_of;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Decodes hostile or valid bytes within the budget; what decodes must encode, and decode to the same again.
fn check(case: &Case, version: i16, bytes: &[u8]) -> bool {
    let (decoded, peak) = peak_of(|| (case.decode)(bytes, version));
    let budget = budget_for(bytes.len());
    assert!(
        peak <= budget,
        "{} v{version} took {peak} of {budget} bytes for {}",
        case.name,
        hex(bytes)
    );
    if decoded.is_ok() {
        let (first, _) = (case.recode)(bytes, version).expect("it decoded before");
        let second = (case.recode)(&first, version);
        assert_eq!(
            second.as_ref(),
            Ok(&(first, 0)),
            "{} v{version} from {}",
            case.name,
            hex(bytes)
        );
    }
    decoded.is_ok()
}

/// Numbers that counts, lengths and tags are attacked with, in both layouts.
const HOSTILE: [&[u8]; 12] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0x00, 0xff, 0xff, 0xff],
    &[0xff, 0xfe],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0x03],
    &[0x80, 0x80, 0x80, 0x80, 0x80],
    &[0x00],
];

/// Changes valid bytes a little: flips, cuts, insertions, hostile numbers, repetition.
fn mutate(g: &mut Gen, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=g.below(3) {
        let at = g.below(bytes.len() + 1);
        match g.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << g.below(8),
            1 if at < bytes.len() => bytes[at] = g.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let n = g.below(HOSTILE.len());
                bytes.splice(at..at, HOSTILE[n].iter().copied());
            }
            4 | 5 => {
                let number = HOSTILE[g.below(HOSTILE.len())];
                let end = (at + number.len()).min(bytes.len());
                bytes.splice(at..end, number.iter().copied());
            }
            _ => {
                let end = at + g.below(bytes.len() - at + 1);
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

#[test]
fn no_input_panics_or_exceeds_its_budget() {
    let seconds = from_env("FUZZ_SECONDS").unwrap_or(2);
    let start_seed = from_env("FUZZ_SEED").unwrap_or(1);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut inputs, mut decoded) = (0u64, 0u64);
    // Every message and version at least once, however short the time.
    for round in 0.. {
        for case in CASES {
            for version in case.versions() {
                let mut g =
                    Gen::new((start_seed + round) ^ (case.name.len() as u64) << 40 ^ (version as u64) << 32);
                let valid = (case.random)(&mut g, version);
                let noise: Vec<u8> = (0..g.below(200)).map(|_| g.next() as u8).collect();
                decoded += u64::from(check(case, version, &noise));
                for _ in 0..4 {
                    let bad = mutate(&mut g, valid.clone());
                    decoded += u64::from(check(case, version, &bad));
                }
                inputs += 5;
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    println!("{inputs} inputs, {decoded} of them decodable");
    assert!(
        decoded > inputs / 50,
        "mutations should leave some messages valid"
    );
}

#[test]
fn a_hostile_number_anywhere_stays_within_the_budget() {
    for case in CASES {
        for version in [case.min, case.max] {
            let mut g = Gen::new(version as u64 + 7);
            let valid = (case.random)(&mut g, version);
            for at in 0..valid.len().min(200) {
                for number in HOSTILE {
                    let mut bytes = valid.clone();
                    let end = (at + number.len()).min(bytes.len());
                    bytes.splice(at..end, number.iter().copied());
                    let (_, peak) = peak_of(|| (case.decode)(&bytes, version));
                    assert!(
                        peak <= budget_for(bytes.len()),
                        "{} v{version}: {}",
                        case.name,
                        hex(&bytes)
                    );
                }
            }
        }
    }
}

/// Long inputs in which everything is a plausible count: the budget and not the count decides.
#[test]
fn long_runs_of_small_elements_stay_within_the_budget() {
    for fill in [0u8, 1, 2, 3, 0x7f] {
        let mut bytes = vec![fill; 4 << 20];
        for claim in [&[0x00, 0x3f, 0x00, 0x00][..], &[0x80, 0x80, 0xf0, 0x01]] {
            for at in [0, 4, 8, 12] {
                bytes[at..at + 4].copy_from_slice(claim);
                for case in CASES {
                    for version in [case.min, case.max] {
                        let (_, peak) = peak_of(|| (case.decode)(&bytes, version));
                        assert!(
                            peak <= budget_for(bytes.len()),
                            "{} v{version} fill {fill} at {at}",
                            case.name
                        );
                    }
                }
                bytes[at..at + 4].fill(fill);
            }
        }
    }
}

#[test]
fn headers_and_frames_accept_any_bytes_without_panic() {
    let mut g = Gen::new(from_env("FUZZ_SEED").unwrap_or(3));
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..g.below(60)).map(|_| g.next() as u8).collect();
        if bytes.len() > 4 && g.coin() {
            bytes[0] = 0; // a plausible key, a plausible size
            bytes[2] = 0;
        }
        let (_, peak) = peak_of(|| RequestHeader::decode(&mut Reader::new(&bytes)).is_ok());
        assert_eq!(peak, 0, "headers borrow");
        let _ = ResponseHeader::decode(&mut Reader::new(&bytes), ApiKey::Fetch, 12);
        let mut frames = FrameReader::new(1 << 20);
        frames.feed(&bytes);
        while let Ok(Some(frame)) = frames.next_frame() {
            assert!(frame.len() < bytes.len());
        }
    }
}
