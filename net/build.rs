//! Turns `schemas/` into Rust: `messages.rs` and `api.rs` for the crate, `arbitrary.rs` for its tests.

#[path = "codegen/mod.rs"]
mod codegen;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    for watched in ["build.rs", "codegen", "schemas"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let mut modules = Vec::new();
    for path in schema_files(Path::new("schemas")) {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let parsed = codegen::schema::parse(&text).and_then(|file| codegen::resolve::resolve(name, file));
        modules.push(parsed.unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
    let mut messages = String::new();
    for module in &modules {
        codegen::emit::module(&mut messages, module);
    }
    let mut api = String::new();
    codegen::table::table(&mut api, &modules).unwrap_or_else(|e| panic!("schemas: {e}"));
    let mut arbitrary = String::new();
    codegen::arbitrary::arbitrary(&mut arbitrary, &modules);

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, text) in [
        ("messages.rs", messages),
        ("api.rs", api),
        ("arbitrary.rs", arbitrary),
    ] {
        fs::write(out.join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// All `.msg` files below `dir`, in a stable order.
fn schema_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", dir.display())).path();
        if path.is_dir() {
            found.extend(schema_files(&path));
        } else if path.extension().is_some_and(|e| e == "msg") {
            found.push(path);
        }
    }
    found.sort_by_key(|path| path.file_name().map(|n| n.to_owned()));
    found
}
