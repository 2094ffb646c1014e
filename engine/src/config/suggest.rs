//! The nearest known word to a mistyped one.

/// The candidate nearest to `word`, if it is near enough to be what was meant: at most a third of the
/// letters differ, and two candidates as near as each other are still answered by the first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(&fold(word), &fold(candidate));
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Upper and lower case, `-`, `_` and `.` are the same slip.
fn fold(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| match c {
            '-' | '.' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Edits to get from `a` to `b`: insert, delete, replace, swap neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; width];
        for j in 1..width {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[width - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_a_slip_or_another_separator_is_near_and_a_different_word_is_not() {
        let words = ["listen", "advertised", "max_frame_bytes"];
        assert_eq!(nearest("lisetn", words), Some("listen"));
        assert_eq!(nearest("advertized", words), Some("advertised"));
        assert_eq!(nearest("max-frame-byte", words), Some("max_frame_bytes"));
        assert_eq!(nearest("MAX.FRAME.BYTES", words), Some("max_frame_bytes"));
        assert_eq!(nearest("retention", words), None);
        assert_eq!(nearest("", words), None);
    }
}
