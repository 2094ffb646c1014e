//! Generates the protocol's messages from the schemas in `schemas/`.
//!
//! Run by `build.rs`; its own tests are in `tests/codegen.rs`. [`schema`] reads the notation, [`resolve`] settles what
//! each structure needs to know about the versions it is used at, [`emit`] writes the types and their codec, [`table`]
//! the list of APIs, and [`arbitrary`] the random values and dispatch tables that the tests work with. `docs/codec.md`
//! describes the notation.

pub mod arbitrary;
pub mod emit;
pub mod resolve;
pub mod schema;
pub mod table;

/// `PartitionData` as `partition_data`. A run of capitals is one word.
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.replace("KRaft", "Kraft").chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            let after_lower = !chars[i - 1].is_ascii_uppercase();
            let before_lower = chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
            if after_lower || before_lower {
                out.push('_');
            }
        }
        out.push(c.to_ascii_lowercase());
    }
    if matches!(out.as_str(), "type" | "match" | "ref" | "move" | "use") {
        out.push('_');
    }
    out
}
