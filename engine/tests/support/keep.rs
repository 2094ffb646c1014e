//! Parts of documents that are made from the code.

use std::path::Path;

/// Replaces or checks the text between two marks of a file. `UPDATE_DOCS=1` replaces.
pub fn keep(file: &str, mark: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&path).expect("the document exists");
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->\n"));
    let from = text
        .find(&begin)
        .unwrap_or_else(|| panic!("{file} lacks {begin}"))
        + begin.len();
    let to = from
        + text[from..]
            .find(&end)
            .unwrap_or_else(|| panic!("{file} lacks {end}"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{wanted}{}", &text[..from], &text[to..])).expect("writable");
        return;
    }
    assert!(
        text[from..to] == *wanted,
        "{file} is out of date: UPDATE_DOCS=1 cargo test -p turgo-engine --test docs --test fields"
    );
}
