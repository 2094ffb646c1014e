//! Values of flags as people write them: pairs, times, sizes, positions, text with escapes.

use super::args::{Delimiter, Position, Shift, TopicPartitions};

/// `NAME=VALUE`; the value may hold further equals signs and may be empty.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), value.to_string())),
        _ => Err("write NAME=VALUE".to_string()),
    }
}

pub(super) fn time(text: &str) -> Result<std::time::Duration, String> {
    crate::config::value::parse_time(text).map(std::time::Duration::from_millis)
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    crate::config::value::parse_size(text)
}

pub(super) fn position(text: &str) -> Result<Position, String> {
    let bad = || "write beginning, end, stored, an offset, -N (before the end) or @MILLISECONDS".to_string();
    Ok(match text {
        "beginning" | "start" | "earliest" => Position::Beginning,
        "end" | "latest" => Position::End,
        "stored" => Position::Stored,
        _ => {
            if let Some(ms) = text.strip_prefix('@') {
                Position::Timestamp(ms.parse().ok().filter(|ms| *ms >= 0).ok_or_else(bad)?)
            } else if let Some(back) = text.strip_prefix('-') {
                Position::FromEnd(back.parse().ok().filter(|n| *n >= 0).ok_or_else(bad)?)
            } else {
                Position::Offset(text.parse().ok().filter(|n| *n >= 0).ok_or_else(bad)?)
            }
        }
    })
}

pub(super) fn shift(text: &str) -> Result<Shift, String> {
    let bad = || "write beginning, end, an offset, +N or -N, or @MILLISECONDS".to_string();
    if let Some(on) = text.strip_prefix('+') {
        return on.parse().ok().filter(|n| *n >= 0).map(Shift::By).ok_or_else(bad);
    }
    match position(text).map_err(|_| bad())? {
        Position::FromEnd(back) => Ok(Shift::By(-back)),
        Position::Stored => Err(bad()),
        place => Ok(Shift::To(place)),
    }
}

pub(super) fn topic_partitions(text: &str) -> Result<TopicPartitions, String> {
    let bad = || "write TOPIC or TOPIC:0,1".to_string();
    let (topic, list) = text
        .split_once(':')
        .map_or((text, None), |(topic, list)| (topic, Some(list)));
    if topic.is_empty() {
        return Err(bad());
    }
    let partitions = match list {
        None => Vec::new(),
        Some(list) => list
            .split(',')
            .map(|n| n.parse::<i32>().ok().filter(|n| *n >= 0).ok_or_else(bad))
            .collect::<Result<_, _>>()?,
    };
    Ok(TopicPartitions {
        topic: topic.to_string(),
        partitions,
    })
}

/// Understands `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let (byte, used) = match bytes.get(at + 1) {
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'0') => (0, 2),
            Some(b'\\') => (b'\\', 2),
            Some(b'x') => {
                let hex = text
                    .get(at + 2..at + 4)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                (hex.ok_or("\\x needs two hexadecimal digits")?, 4)
            }
            _ => return Err("a backslash stands before n, r, t, 0, xHH or another backslash".to_string()),
        };
        out.push(byte);
        at += used;
    }
    Ok(out)
}

pub(super) fn escaped(text: &str) -> Result<Delimiter, String> {
    let bytes = unescape(text)?;
    if bytes.is_empty() {
        Err("must not be empty".to_string())
    } else {
        Ok(Delimiter(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        assert_eq!(position("beginning"), Ok(Position::Beginning));
        assert_eq!(position("-10"), Ok(Position::FromEnd(10)));
        assert_eq!(position("@5"), Ok(Position::Timestamp(5)));
        assert_eq!(position("7"), Ok(Position::Offset(7)));
        assert!(position("soon").is_err() && position("@-1").is_err() && position("--1").is_err());
        assert_eq!(shift("-10"), Ok(Shift::By(-10)));
        assert_eq!(shift("+3"), Ok(Shift::By(3)));
        assert_eq!(shift("end"), Ok(Shift::To(Position::End)));
        assert!(shift("stored").is_err());
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a\\n\\t\\x00\\\\ö").unwrap(), "a\n\t\0\\ö".as_bytes());
        assert!(unescape("\\q").is_err() && unescape("\\x0").is_err() && unescape("\\").is_err());
        assert!(unescape("\\xö").is_err());
        assert_eq!(
            topic_partitions("t:0,2"),
            Ok(TopicPartitions {
                topic: "t".into(),
                partitions: vec![0, 2]
            })
        );
        assert!(topic_partitions("t:").is_err() && topic_partitions(":1").is_err());
    }
}
