//! A dialogue with a broker, answer by answer, compared with what Apache Kafka answered to the same bytes.
//!
//! A test asks by [`ask`](crate::support::dialogue::ask), then [`Dialogue::judge`] compares with the recorded answers
//! in `tests/vectors`. With `UPDATE_VECTORS=1` and `TURGO_TEST_ENDPOINT` at a fresh Apache Kafka with `node.id=1` the
//! answers are recorded anew. What differs from node to node is masked ([`MASKED`]), as are the words of error
//! messages; a test's list of deviations says where we differ on purpose, and each of them has to differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use turgo_net::Reader;
use turgo_net::api::ApiKey;
use turgo_net::wire::Encode;

use super::Broker;
use super::wire::Client;

/// Fields that differ from node to node.
pub const MASKED: &[&str] = &[
    "topic_id",
    "log_dir",
    "total_bytes",
    "usable_bytes",
    "replica_directory_id",
    "log_end_offset",
    "last_fetch_timestamp",
    "last_caught_up_timestamp",
    "high_watermark",
    "leader_epoch",
    "host",
    "port",
    "documentation",
    "error_message",
];

/// A dialogue with a broker, answer by answer.
pub struct Dialogue {
    /// For what is asked without being compared.
    pub client: Client,
    answers: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Dialogue {
    pub fn begin(broker: &Broker) -> Dialogue {
        Dialogue {
            client: Client::connect(broker),
            answers: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// Asks in each of `versions` that can carry the request, and notes what `decode` makes of the answer.
    pub fn ask<M: Encode>(
        &mut self,
        name: &str,
        key: ApiKey,
        versions: std::ops::RangeInclusive<i16>,
        request: &M,
        decode: impl Fn(&mut Reader<'_>, i16) -> String,
    ) {
        for version in versions {
            if turgo_net::encode_request(key, version, 7, Some("conformance"), request).is_err() {
                continue;
            }
            let answer = self.client.ask(key, version, request);
            let text = masked(decode(&mut Reader::new(&answer), version));
            let name = format!("{} v{version} {name}", key.name());
            assert!(
                self.answers.insert(name.clone(), text).is_none(),
                "{name} is asked twice"
            );
            self.order.push(name);
        }
    }

    /// Compares all answers with those recorded in `tests/vectors/<file>`, or records them. `deviations`: cases in
    /// which we differ, and why; `*` at the end for any case that begins so.
    pub fn judge(&self, file: &str, deviations: &[(&str, &str)]) {
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            assert!(
                std::env::var_os("TURGO_TEST_ENDPOINT").is_some(),
                "only Apache Kafka's answers are recorded"
            );
            let mut text = String::new();
            for name in &self.order {
                let _ = writeln!(text, "{name}\n    {}", self.answers[name]);
            }
            std::fs::write(expectations(file), text).expect("writable");
            return;
        }
        let recorded = std::fs::read_to_string(expectations(file)).expect("recorded answers");
        let mut lines = recorded.lines();
        let mut wrong = String::new();
        let mut used = vec![false; deviations.len()];
        let mut count = 0;
        while let (Some(name), Some(kafka)) = (lines.next(), lines.next()) {
            count += 1;
            let ours = self.answers.get(name).map_or("not asked", String::as_str);
            if ours == kafka.trim_start() {
                continue;
            }
            let known = deviations
                .iter()
                .position(|(case, _)| match case.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => name == *case,
                });
            match known {
                Some(at) => used[at] = true,
                None => {
                    let _ = writeln!(wrong, "{name}\n  Kafka: {}\n  ours:  {ours}", kafka.trim_start());
                }
            }
        }
        assert_eq!(count, self.order.len(), "recorded answers of another dialogue");
        assert!(wrong.is_empty(), "answers that differ:\n{wrong}");
        for ((case, _), used) in deviations.iter().zip(used) {
            assert!(used, "{case} does not differ any more");
        }
    }
}

/// Asks in each of the versions and notes the decoded answer, which must have no bytes behind it.
macro_rules! ask {
    ($dialogue:expr, $name:expr, $key:ident, $versions:expr, $module:ident :: $response:ident, $request:expr) => {
        $dialogue.ask($name, ApiKey::$key, $versions, &$request, |reader, version| {
            let body = $module::$response::decode(reader, version).expect("a body");
            assert_eq!(reader.remaining(), 0, "bytes behind the body");
            format!("{body:?}")
        })
    };
}
pub(crate) use ask;

/// Replaces the values of [`MASKED`] fields by `_`; whether there is one stays visible.
fn masked(mut text: String) -> String {
    for field in MASKED {
        let key = format!("{field}: ");
        let mut from = 0;
        while let Some(at) = text[from..].find(&key) {
            let start = from + at + key.len();
            let end = start + value_length(&text[start..]);
            let value = &text[start..end];
            let mask = match value {
                "None" => "None",
                value if value.starts_with("Some(") => "Some(_)",
                _ => "_",
            };
            text.replace_range(start..end, mask);
            from = start;
        }
    }
    text
}

/// Length of the value at the start of a `Debug` text.
fn value_length(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ',' | ' ' | ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn expectations(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(file)
}
