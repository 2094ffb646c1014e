//! Shell scripts that apply and undo, for those who run only what they have read.

use std::fmt::Write as _;

use super::act::Done;

/// A word of the shell, quoted.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn write(out: &mut String, path: &str, value: Option<&str>) {
    let _ = match value {
        Some(value) if value.contains('\n') => {
            let directory = path.rfind('/').map_or("/", |slash| &path[..slash]);
            writeln!(
                out,
                "mkdir -p {} && cat > {} <<'END-OF-FILE'\n{value}END-OF-FILE",
                quote(directory),
                quote(path)
            )
        }
        Some(value) => writeln!(out, "set_to {} {}", quote(value), quote(path)),
        None => writeln!(out, "rm -f {}", quote(path)),
    };
}

/// A script that makes `changes` (as [`preview`](super::act::preview) tells them), or with `undo` takes them back to
/// what stands there now.
pub fn script(changes: &[Done], reasons: &dyn Fn(&str) -> Option<&'static str>, undo: bool) -> String {
    let mut out = String::from(
        "#!/bin/sh\n# Made by `turgo tune script`. Read it, then run it as root. It goes on after a failure and says so in the end.\n\
         set -u\nfailed=0\n\
         set_to() { # VALUE FILE\n  if printf '%s' \"$1\" > \"$2\"; then echo \"$2: $1\"; else echo \"$2: refused $1\" >&2; failed=1; fi\n}\n",
    );
    let mut tuner = "";
    let ordered: Vec<&Done> = if undo {
        changes.iter().rev().collect()
    } else {
        changes.iter().collect()
    };
    for change in ordered {
        if change.tuner != tuner {
            tuner = &change.tuner;
            let _ = writeln!(out, "\n# {tuner}: {}", reasons(tuner).unwrap_or(""));
        }
        let (from, to) = if undo {
            (&change.after, &change.before)
        } else {
            (&change.before, &change.after)
        };
        match (from, to) {
            (Some(from), _) if !from.contains('\n') => {
                let _ = writeln!(out, "# from {from}");
            }
            _ => {}
        }
        write(&mut out, &change.path, to.as_deref());
    }
    out.push_str("\nexit $failed\n");
    out
}
