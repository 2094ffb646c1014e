//! Logs: one line per event to stderr, as logfmt. Few events, none per request.
//!
//! Each event has a [`Level`]; what is less important than the process's level ([`set_level`]) is not written. The
//! level comes from `log.level` and can be changed while the process runs through the logger `root` (KIP-412).

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines per second that one kind of event may write; more are counted and reported with the next line.
const PER_SECOND: u32 = 20;

/// How important an event is, most important first. The names are those of Kafka's loggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const ALL: [Level; 6] = [
        Level::Fatal,
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// As DescribeConfigs shows it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }

    /// The level of this name, in any case.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

impl From<crate::config::LogLevel> for Level {
    fn from(level: crate::config::LogLevel) -> Level {
        use crate::config::LogLevel;
        match level {
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Events below `level` are not written from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// The level in force.
pub fn level() -> Level {
    Level::ALL[usize::from(LEVEL.load(Ordering::Relaxed))]
}

fn is_written(event: Level) -> bool {
    event <= level()
}

struct Limit {
    since: Instant,
    event: &'static str,
    lines: u32,
    dropped: u64,
}

static JSON: AtomicBool = AtomicBool::new(false);

/// Lines are JSON objects from now on, or logfmt.
pub fn set_form(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

static LIMITS: Mutex<Vec<Limit>> = Mutex::new(Vec::new());

/// Writes an ordinary event with its fields.
pub fn event(event: &'static str, fields: &[(&str, &dyn Display)]) {
    write(Level::Info, event, fields);
}

/// Writes an event that an operator should look at.
pub fn warn(event: &'static str, fields: &[(&str, &dyn Display)]) {
    write(Level::Warn, event, fields);
}

/// Writes an event that costs service or data.
pub fn error(event: &'static str, fields: &[(&str, &dyn Display)]) {
    write(Level::Error, event, fields);
}

/// Writes an event of interest to who looks for a cause.
pub fn debug(event: &'static str, fields: &[(&str, &dyn Display)]) {
    write(Level::Debug, event, fields);
}

fn write(level: Level, event: &'static str, fields: &[(&str, &dyn Display)]) {
    if !is_written(level) {
        return;
    }
    let dropped = {
        let Ok(mut limits) = LIMITS.lock() else { return };
        let at = limits.iter().position(|l| l.event == event).unwrap_or_else(|| {
            limits.push(Limit {
                since: Instant::now(),
                event,
                lines: 0,
                dropped: 0,
            });
            limits.len() - 1
        });
        let limit = &mut limits[at];
        if limit.since.elapsed() >= Duration::from_secs(1) {
            (limit.since, limit.lines) = (Instant::now(), 0);
        }
        if limit.lines >= PER_SECOND {
            limit.dropped += 1;
            return;
        }
        limit.lines += 1;
        std::mem::take(&mut limit.dropped)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ts = format!("{}.{:03}", now.as_secs(), now.subsec_millis());
    let mut fields = fields.to_vec();
    if dropped > 0 {
        fields.push(("not_logged", &dropped));
    }
    let form = if JSON.load(Ordering::Relaxed) {
        json
    } else {
        logfmt
    };
    let mut line = form(&ts, level, event, &fields);
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn logfmt(ts: &str, level: Level, event: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut line = format!("ts={ts} level={} event={event}", level.name().to_lowercase());
    for (key, value) in fields {
        let text = value.to_string();
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
            let _ = write!(line, " {key}={text:?}");
        } else {
            let _ = write!(line, " {key}={text}");
        }
    }
    line
}

fn json(ts: &str, level: Level, event: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut object = serde_json::Map::new();
    object.insert("ts".into(), ts.into());
    object.insert("level".into(), level.name().to_lowercase().into());
    object.insert("event".into(), event.into());
    for (key, value) in fields {
        object.insert((*key).into(), value.to_string().into());
    }
    serde_json::Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_important_enough_is_written() {
        assert_eq!(level(), Level::Info);
        assert!(is_written(Level::Warn) && is_written(Level::Info) && !is_written(Level::Debug));
        set_level(Level::Error);
        assert!(is_written(Level::Fatal) && is_written(Level::Error) && !is_written(Level::Warn));
        set_level(Level::Trace);
        assert!(is_written(Level::Debug));
        set_level(Level::Info);
    }

    #[test]
    fn every_level_has_a_name_of_its_own() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
            assert_eq!(Level::ALL[level as usize], level);
        }
        assert_eq!(Level::from_name("verbose"), None);
    }

    #[test]
    fn lines_carry_level_and_fields() {
        let fields: [(&str, &dyn Display); 2] = [("a", &1), ("b", &"two words")];
        assert_eq!(
            logfmt("1.000", Level::Warn, "thing", &fields),
            "ts=1.000 level=warn event=thing a=1 b=\"two words\""
        );
        assert_eq!(
            json("1.000", Level::Warn, "thing", &fields),
            r#"{"a":"1","b":"two words","event":"thing","level":"warn","ts":"1.000"}"#
        );
    }
}
