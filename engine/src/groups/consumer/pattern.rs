//! Patterns of topic names: regular expressions in the syntax of RE2, matched against whole names.
//!
//! Both engines, RE2 and ours, run in time linear in the name and have no back references. `\Q...\E`, which only RE2
//! knows, is translated. A compiled pattern is bounded in size, so no client can make matching expensive.

use regex::{Regex, RegexBuilder};

/// Bytes a compiled pattern may take.
const COMPILED_BYTES: usize = 1 << 20;

/// Times that a part may be repeated by a count, in RE2 as here.
const REPEATS: u32 = 1_000;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles; the error says what is wrong, in one line.
    pub fn compile(text: &str) -> Result<Pattern, String> {
        let text = unquote(text);
        if repeats(&text) {
            return Err(format!("invalid repeat count: more than {REPEATS}"));
        }
        // On its own first: a parenthesis too many must not close ours.
        build(&text)?;
        build(&format!(r"\A(?:{text})\z")).map(Pattern)
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

fn build(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "expression is too large".to_owned(),
            error => {
                // The last line of the parser's report says what is wrong; the lines above it show where.
                let report = error.to_string();
                let last = report.lines().last().unwrap_or_default();
                last.trim_start_matches("error:").trim().to_owned()
            }
        })
}

/// Whether a part is repeated more than [`REPEATS`] times by a count.
fn repeats(text: &str) -> bool {
    let mut rest = text;
    let (mut class, mut escaped) = (0, false);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let name = rest.chars().next();
                rest = &rest[name.map_or(0, char::len_utf8)..];
                // What stands in braces behind these names a character or a class.
                escaped = matches!(name, Some('x' | 'p' | 'P' | 'u' | 'U'));
                continue;
            }
            '[' => class += 1,
            ']' if class > 0 => class -= 1,
            '{' if class == 0 && !escaped => {
                let counts = rest.split('}').next().unwrap_or_default();
                let above = |count: &str| {
                    let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
                    digits && count.parse::<u32>().map_or(true, |count| count > REPEATS)
                };
                if counts.split(',').any(above) {
                    return true;
                }
            }
            _ => {}
        }
        escaped = false;
    }
    false
}

/// `\Q` to `\E` (or the end) taken literally.
fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Q') => {
                let rest = chars.as_str();
                let (quoted, after) = rest.split_once(r"\E").unwrap_or((rest, ""));
                out.push_str(&regex::escape(quoted));
                chars = after.chars();
            }
            Some(next) => {
                out.push('\\');
                out.push(next);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::compile(pattern).expect("a good pattern").matches(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert!(matches("foo.*", "foobar"));
        assert!(!matches("foo", "foobar"));
        assert!(!matches("bar", "foobar"));
        assert!(matches("a|ab", "ab"), "not the first alternative but any");
        assert!(matches("^orders-[0-9]+$", "orders-17"));
        assert!(!matches("^orders-[0-9]+$", "orders-x"));
        assert!(matches("", ""));
        assert!(!matches("", "x"));
    }

    #[test]
    fn quoted_text_is_literal() {
        assert!(matches(r"\Qa.b\E.*", "a.bcd"));
        assert!(!matches(r"\Qa.b\E.*", "axbcd"));
        assert!(matches(r"x\Q[", "x["));
        assert!(matches(r"\\Q", r"\Q"), "an escaped backslash begins no quotation");
    }

    #[test]
    fn only_counts_of_repeats_are_bounded() {
        assert!(matches(r"\x{10000}a{2}", "\u{10000}aa"));
        assert!(matches("[{1001}]+", "{1001}"));
        assert!(matches(r"a\{1001\}", "a{1001}"));
        assert!(matches(r"\pL{2}", "ab"));
        assert!(matches("a{1000}", &"a".repeat(1_000)));
    }

    #[test]
    fn bad_patterns_are_refused_in_one_line() {
        for bad in [
            "[",
            "a)(b",
            "(",
            "*",
            "a{2",
            r"\",
            "(?<n",
            r"(a)\1",
            "(?=a)",
            "a{1000}{1000}",
            "a{1001}",
            "a{0,1001}",
            "a{99999999999}",
        ] {
            let error = Pattern::compile(bad).expect_err(bad);
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error:?}");
        }
    }
}
