//! The schema notation: what it accepts, what it refuses and where it points.

#![allow(dead_code)]

#[path = "../codegen/mod.rs"]
mod codegen;

use codegen::resolve::{Module, resolve};
use codegen::schema::{Default, Kind, Type, Versions, parse};

const SAMPLE: &str = "
request PingRequest 7 versions 1-4 flexible 3+ listeners broker,controller   # a comment
  Name    string     1+ null 2+ default null
  Targets []Target   1+
    Id    int32   1+ default -1
    Inner []Shared 3+ tag 0
  Extra   Shared     2-3 ignorable
  struct Shared
    Flags  []int8 1+
    Data   bytes  4+

response PingResponse 7 versions 1-4 flexible 3+
  Ok bool 1+ default true
";

fn module(text: &str) -> Module {
    resolve("ping", parse(text).expect("parses")).expect("resolves")
}

fn refusal(text: &str) -> (usize, String) {
    let error = match parse(text) {
        Err(error) => error,
        Ok(file) => resolve("bad", file).expect_err("refused"),
    };
    (error.line, error.what)
}

#[test]
fn the_notation_reads_as_written() {
    let module = module(SAMPLE);
    assert_eq!(module.messages.len(), 2);
    let request = &module.messages[0];
    assert_eq!(
        (request.kind, request.key, request.listeners.len()),
        (Kind::Request, Some(7), 2)
    );
    let names: Vec<&str> = module.structs.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["PingRequest", "Target", "Shared", "PingResponse"]);
    let name = &module.get("PingRequest").fields[0];
    assert_eq!(
        (name.ty.clone(), name.null, name.default.clone()),
        (Type::String, Versions::parse("2+"), Default::Null)
    );
    let inner = &module.get("Target").fields[1];
    assert_eq!((inner.tag, inner.array, inner.line), (Some(0), true, 6));
    assert!(module.get("Target").borrows, "through Shared");
    assert!(!module.get("PingResponse").borrows && !module.get("PingResponse").derives_default);
}

#[test]
fn ranges_follow_from_where_a_structure_is_used() {
    let module = module(SAMPLE);
    assert_eq!(module.get("Shared").range, Versions { min: 2, max: 4 });
    let target = module.get("PingRequest");
    assert_eq!(
        module.min_wire(target, &target.fields[1]),
        4,
        "v1: an int32; v3 adds the tag section"
    );
    let holder = module.get("Target");
    assert_eq!(
        module.min_wire(holder, &holder.fields[1]),
        2,
        "v3: one byte of count and one of tags"
    );
}

#[test]
fn version_ranges_parse_in_their_three_forms() {
    assert_eq!(Versions::parse("3-13"), Some(Versions { min: 3, max: 13 }));
    assert_eq!(Versions::parse("4"), Some(Versions { min: 4, max: 4 }));
    assert_eq!(
        Versions::parse("9+"),
        Some(Versions {
            min: 9,
            max: i16::MAX
        })
    );
    for bad in ["", "-1", "5-3", "a", "1-", "99999", "+"] {
        assert_eq!(Versions::parse(bad), None, "{bad}");
    }
}

#[test]
fn conditions_mention_only_what_the_range_leaves_open() {
    use codegen::emit::condition;
    let within = Versions { min: 2, max: 9 };
    let cases = [
        ("0+", "true"),
        ("4+", "v >= 4"),
        ("0-5", "v <= 5"),
        ("3-4", "(3..=4).contains(&v)"),
        ("12+", "false"),
    ];
    for (versions, want) in cases {
        assert_eq!(condition(Versions::parse(versions), within), want);
    }
}

#[test]
fn names_become_snake_case() {
    let cases = [
        ("PartitionData", "partition_data"),
        ("KRaftVersionFeature", "kraft_version_feature"),
        ("Type", "type_"),
        ("Enable2Pc", "enable2_pc"),
        ("ISR", "isr"),
        ("ISRNodes", "isr_nodes"),
    ];
    for (name, want) in cases {
        assert_eq!(codegen::snake(name), want);
    }
}

#[test]
fn mistakes_are_refused_with_their_line() {
    let head = "request PingRequest 7 versions 0-3 flexible 2+\n";
    let with = |fields: &str| format!("{head}{fields}");
    let cases = [
        ("ask PingRequest 7 versions 0", 1, "no kind of message"),
        ("request PingRequest x versions 0", 1, "no number"),
        ("request PingRequest 7", 1, "versions is missing"),
        ("request PingRequest 7 versions 0+", 1, "last version"),
        (
            "request PingRequest 7 versions 0 soon",
            1,
            "means nothing for a message",
        ),
        ("  Name string 0+", 1, "outside any message"),
        (&with("  Name text 0+"), 2, "no type"),
        (&with("  Name string"), 2, "versions is missing"),
        (&with("  Name string 3-1"), 2, "no range"),
        (&with("  Name string 0+ maybe"), 2, "means nothing for a field"),
        (&with("  Name string 0+ default null"), 2, "no version has null"),
        (&with("  Id int8 0+ default 200"), 2, "does not fit"),
        (&with("  Id int8 0+ null 0+"), 2, "cannot be null"),
        (&with("  Ok []bool 0+"), 2, "arrays of bool"),
        (&with("  A int8 0+\n  A int8 0+"), 3, "appears twice"),
        (&with("  A int8 0+\n   B int8 0+"), 3, "siblings"),
        (&with("\tA int8 0+"), 2, "tabs"),
        (&with("  A int8 2+ tag 0\n  B int8 2+ tag 0"), 3, "is taken"),
        (&with("  A int8 1+ tag 0"), 2, "not flexible"),
        (&with("  A Lost 0+"), 0, "defined nowhere"),
        (
            &with("  A int8 0+\n  struct Idle\n    B int8 0+"),
            0,
            "used by no field",
        ),
        (&with("  A Loop 0+\n    B Loop 0+"), 0, "contains itself"),
        (
            &with("  A One 0+\n    B int8 0+\n  C One 0+\n    D int8 0+"),
            4,
            "defined twice",
        ),
        (&format!("{head}  E []None 0-1\n    F int8 2+"), 2, "no bound"),
    ];
    for (text, line, what) in cases {
        let (at, said) = refusal(text);
        assert!(
            at == line && said.contains(what),
            "{text:?}\n  gave line {at}: {said}"
        );
    }
}

#[test]
fn keys_must_be_unique_and_pairs_complete() {
    let mut out = String::new();
    let twice = [module(SAMPLE), module(SAMPLE)];
    assert!(codegen::table::table(&mut out, &twice).is_err_and(|e| e.what.contains("same key")));
    let alone = "request PingRequest 7 versions 0\n  A int8 0+\n";
    let error = codegen::table::table(&mut out, &[module(alone)]);
    assert!(error.is_err_and(|e| e.what.contains("no response")));
}
