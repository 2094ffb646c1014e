//! The admin address: `/livez`, `/readyz`, `/health`, `/metrics` over HTTP/1.1, on a thread of its own.
//!
//! The thread reads copies that the cores publish once a second, so a scrape costs them nothing. Requests are
//! served one after another, each with a deadline and a size limit; connections are not kept.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::{Report, Shared};
use crate::metrics;

/// A core whose heartbeat is older than this does not live.
const DEAD_AFTER_MS: u64 = 1_000;
/// A request must arrive, and its answer be taken, within this.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest request head.
const MAX_HEAD: usize = 8 << 10;

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming().flatten() {
        // One slow or hostile client costs at most its deadline.
        let _ = answer(stream, shared);
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    let (method, path) = loop {
        let n = stream.read(&mut chunk)?;
        head.extend_from_slice(&chunk[..n]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                break (
                    request.method.unwrap_or_default().to_owned(),
                    request.path.unwrap_or_default().to_owned(),
                );
            }
            Ok(httparse::Status::Partial) if n > 0 && head.len() < MAX_HEAD => {}
            _ => return respond(&mut stream, 400, "text/plain", "not an HTTP request\n", true),
        }
    };
    let body = match method.as_str() {
        "GET" => true,
        "HEAD" => false,
        _ => {
            return respond(
                &mut stream,
                405,
                "text/plain",
                "only GET and HEAD are served\n",
                true,
            );
        }
    };
    let (status, kind, text) = page(path.split('?').next().unwrap_or_default(), shared);
    respond(&mut stream, status, kind, &text, body)
}

fn page(path: &str, shared: &Shared) -> (u16, &'static str, String) {
    let stalled = stalled(shared);
    let live = stalled.is_empty();
    let ready = shared.ready.load(Ordering::Acquire);
    match path {
        "/livez" if live => (200, "text/plain", "live\n".into()),
        "/livez" => (
            503,
            "text/plain",
            format!("cores without a heartbeat for {DEAD_AFTER_MS} ms: {stalled:?}\n"),
        ),
        "/readyz" if ready && live => (200, "text/plain", "ready\n".into()),
        "/readyz" if shared.stop.is_raised() => (503, "text/plain", "stopping\n".into()),
        "/readyz" if !ready => (
            503,
            "text/plain",
            "recovering: journals are being replayed\n".into(),
        ),
        "/readyz" => (
            503,
            "text/plain",
            format!("cores without a heartbeat: {stalled:?}\n"),
        ),
        "/health" => {
            let mut reasons = Vec::new();
            if !ready {
                reasons.push(serde_json::json!({
                    "code": "not_ready", "text": "journals are being replayed; wait for /readyz"
                }));
            }
            if !live {
                reasons.push(serde_json::json!({
                    "code": "core_stalled", "text": format!("cores {stalled:?} do not run; restart the broker")
                }));
            }
            if let Some(text) = metrics::space_warning(&reports(shared)) {
                reasons.push(serde_json::json!({ "code": "low_space", "text": text }));
            }
            let state = if reasons.is_empty() { "ok" } else { "impaired" };
            let body = serde_json::json!({ "state": state, "reasons": reasons });
            (200, "application/json", format!("{body:#}\n"))
        }
        "/metrics" => {
            let mut text = metrics::render(&reports(shared), shared.started.elapsed());
            let _ = writeln!(text, "# TYPE turgo_ready gauge\nturgo_ready {}", u8::from(ready));
            (200, "text/plain; version=0.0.4", text)
        }
        _ => (
            404,
            "text/plain",
            "served here: /livez /readyz /health /metrics\n".into(),
        ),
    }
}

fn stalled(shared: &Shared) -> Vec<usize> {
    let now = shared.started.elapsed().as_millis() as u64;
    let late = |beat: u64| now.saturating_sub(beat) > DEAD_AFTER_MS;
    (0..shared.cores)
        .filter(|i| late(shared.beats[*i].load(Ordering::Relaxed)))
        .collect()
}

fn reports(shared: &Shared) -> Vec<Report> {
    shared
        .reports
        .iter()
        .filter_map(|r| r.lock().ok().and_then(|r| r.clone()))
        .collect()
}

fn respond(stream: &mut TcpStream, status: u16, kind: &str, text: &str, body: bool) -> std::io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes())?;
    if body {
        stream.write_all(text.as_bytes())?;
    }
    stream.flush()
}
