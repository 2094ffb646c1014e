//! The real dataset: 336,776 flights, keyed by carrier, and what a faithful reader must find.
//!
//! All records of one carrier lie in one partition, so their order is fixed. A reader therefore answers per carrier
//! with a count, a SHA-256 over (length, value) of the values in the order read, and the sum of the timestamps in
//! seconds: equal answers mean equal bytes, in order, each once, with the right keys and times.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::programs::Output;
use super::tools::{self, hex};

pub const COUNT: usize = 336_776;
pub const PARTITIONS: i32 = 6;

/// Of the whole file as `flights.py` writes it: the pin that the package's data is what it was.
const FILE_SHA256: &str = "9a633c3c4c3d7a803fa14bf7553faedd9c44bdb2ec56852db5f406484d52d4ce";

pub struct Flights {
    pub path: PathBuf,
    text: String,
    /// The lines "digest CARRIER COUNT SHA256 SECONDS" that every faithful reader prints.
    pub digests: String,
}

pub struct Flight<'a> {
    pub carrier: &'a str,
    pub timestamp: i64,
    pub line: &'a str,
}

/// The flights, fetched once; `Err` names what the machine lacks.
pub fn get() -> Result<&'static Flights, String> {
    static FLIGHTS: OnceLock<Result<Flights, String>> = OnceLock::new();
    FLIGHTS.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn load() -> Result<Flights, String> {
    let path = tools::flights_file()?;
    let text = fs::read_to_string(&path).expect("the flights");
    assert_eq!(
        hex(&Sha256::digest(text.as_bytes())),
        FILE_SHA256,
        "{} is not the known dataset",
        path.display()
    );
    let mut flights = Flights {
        path,
        text,
        digests: String::new(),
    };
    let mut digests = Digests::default();
    for flight in flights.iter() {
        digests.add(
            flight.carrier.as_bytes(),
            flight.line.as_bytes(),
            flight.timestamp,
        );
    }
    assert_eq!(digests.count(), COUNT);
    flights.digests = digests.lines();
    Ok(flights)
}

impl Flights {
    pub fn iter(&self) -> impl Iterator<Item = Flight<'_>> {
        self.text.lines().map(|line| {
            let mut part = line.splitn(3, '\t');
            let mut next = || part.next().expect("three fields");
            let (carrier, timestamp, line) = (next(), next(), next());
            Flight {
                carrier,
                timestamp: timestamp.parse().expect("milliseconds"),
                line,
            }
        })
    }

    /// What a client program printed must be the digests of the flights, all of them and nothing else.
    pub fn check(&self, output: &Output, timestamps: bool) {
        let found: String = output
            .stdout
            .lines()
            .filter(|line| line.starts_with("digest "))
            .map(|line| format!("{line}\n"))
            .collect();
        self.check_lines(&found, timestamps, &output.everything());
    }

    /// `timestamps` is off for topics whose writer could not set them.
    pub fn check_lines(&self, found: &str, timestamps: bool, context: &str) {
        let cut = |lines: &str| -> Vec<String> {
            let fields = if timestamps { 5 } else { 4 };
            lines
                .lines()
                .map(|line| line.split(' ').take(fields).collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(
            cut(found),
            cut(&self.digests),
            "the flights read differ from the flights written\n{context}"
        );
    }
}

/// The same sums for readers that run inside the test.
#[derive(Default)]
pub struct Digests(BTreeMap<Vec<u8>, (usize, Sha256, i64)>);

impl Digests {
    pub fn add(&mut self, key: &[u8], value: &[u8], timestamp: i64) {
        if !self.0.contains_key(key) {
            self.0.insert(key.to_vec(), Default::default());
        }
        let (count, sha, seconds) = self.0.get_mut(key).expect("just inserted");
        *count += 1;
        sha.update((value.len() as u32).to_be_bytes());
        sha.update(value);
        *seconds += timestamp / 1000;
    }

    pub fn count(&self) -> usize {
        self.0.values().map(|(count, ..)| count).sum()
    }

    pub fn lines(&self) -> String {
        self.0
            .iter()
            .map(|(key, (count, sha, seconds))| {
                let sha = hex(&sha.clone().finalize());
                format!(
                    "digest {} {count} {sha} {seconds}\n",
                    String::from_utf8_lossy(key)
                )
            })
            .collect()
    }
}
