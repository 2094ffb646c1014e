//! Tables in the documentation that state what the code does are made from the code. `UPDATE_DOCS=1 cargo test -p
//! turgo-engine --test docs` rewrites them.

use std::fmt::Write as _;

#[path = "support/keep.rs"]
mod keep;

use keep::keep;
use turgo_engine::apis;
use turgo_net::api::ApiKey;

#[test]
fn served_versions_are_as_documented() {
    let mut table = String::from("| key | API | offered | served |\n|-|-|-|-|\n");
    let mut keys: Vec<ApiKey> = apis::SERVED.to_vec();
    keys.sort_by_key(|key| *key as i16);
    for key in keys {
        let (min, max) = apis::offered(key).expect("listed");
        let (from, to) = apis::served(key).expect("listed");
        let _ = writeln!(
            table,
            "| {} | {} | {min}-{max} | {from}-{to} |",
            key as i16,
            key.name()
        );
    }
    keep("docs/protocol.md", "served versions", &table);
    keep("README.md", "served versions", &table);
}

#[test]
fn tuners_are_as_documented() {
    let mut table =
        String::from("| tuner | about | sets | why | effect | risk | source |\n|-|-|-|-|-|-|-|\n");
    for tuner in turgo_tuning::tune::TUNERS {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            tuner.name,
            tuner.category.name(),
            tuner.title,
            tuner.why,
            tuner.effect,
            tuner.risk,
            tuner.source
        );
    }
    keep("docs/tuning.md", "tuners", &table);
}
