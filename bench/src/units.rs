//! Times and sizes as people write them on a command line.

use crate::slo::duration;

/// Seconds: a number, or one with a unit such as `500ms` or `2m`.
///
/// # Errors
/// What cannot be read, and what to write instead.
pub fn seconds(text: &str) -> Result<f64, String> {
    let plain = text.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0);
    plain
        .or_else(|| duration(text).map(|time| time.as_secs_f64()))
        .ok_or_else(|| "give seconds, or a time such as 500ms or 2m".into())
}

/// Bytes: a number, or one with a unit such as `64KiB` or `1GB`.
///
/// # Errors
/// What cannot be read or does not fit, and what to write instead.
pub fn bytes<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let unit = match text[at..].trim() {
        "" | "B" => 1,
        "kB" | "KB" | "k" => 1000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "KiB" | "K" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let wrong = || "give bytes, or a size such as 64KiB, 1MB or 2GiB".to_owned();
    let number: f64 = text[..at].parse().map_err(|_| wrong())?;
    let bytes = number * unit as f64;
    if unit == 0 || bytes.fract() != 0.0 || bytes >= u64::MAX as f64 {
        return Err(wrong());
    }
    T::try_from(bytes as u64).map_err(|_| format!("{text} is more than this takes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_unit() {
        assert_eq!(seconds("8"), Ok(8.0));
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert_eq!(seconds("8s"), Ok(8.0));
        assert_eq!(seconds("250ms"), Ok(0.25));
        assert_eq!(seconds("2m"), Ok(120.0));
        for wrong in ["", "-1", "s", "8 parsecs", "inf", "NaN"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_may_have_a_unit() {
        assert_eq!(bytes::<u64>("1024"), Ok(1024));
        assert_eq!(bytes::<u64>("600MiB"), Ok(600 << 20));
        assert_eq!(bytes::<u64>("1.5 KiB"), Ok(1536));
        assert_eq!(bytes::<usize>("1GB"), Ok(1_000_000_000));
        assert!(bytes::<i32>("4GiB").expect_err("too large").contains("more than"));
        for wrong in ["", "-1", "MiB", "1.5", "1 meg", "1e99GB"] {
            assert!(bytes::<u64>(wrong).is_err(), "{wrong:?}");
        }
    }
}
