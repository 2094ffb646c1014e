//! Logs: one line per event to stderr, as logfmt. Few events, none per request.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines per second that one kind of event may write; more are counted and reported with the next line.
const PER_SECOND: u32 = 20;

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

/// Writes an event with its fields.
pub fn event(event: &'static str, fields: &[(&str, &dyn Display)]) {
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
    let mut line = form(&ts, event, &fields);
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn logfmt(ts: &str, event: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut line = format!("ts={ts} event={event}");
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

fn json(ts: &str, event: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut object = serde_json::Map::new();
    object.insert("ts".into(), ts.into());
    object.insert("event".into(), event.into());
    for (key, value) in fields {
        object.insert((*key).into(), value.to_string().into());
    }
    serde_json::Value::Object(object).to_string()
}
