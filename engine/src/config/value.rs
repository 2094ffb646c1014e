//! Kinds of setting values and their parsers: sizes, times, shares, addresses.
//!
//! Every layer hands in text, so a value means the same in a file, in the environment and on the
//! command line. A refusal is the rest of a sentence that starts with the value, such as
//! `is not a size; write a number and a unit, like "64 MiB"`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// What a setting accepts, with its range. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number without a unit.
    Count {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// Like `Count`, or `auto`: derived from the machine at start.
    CountOrAuto {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// Bytes. A unit is required: `512 KiB`, `1 GiB`, `100 MB`.
    Size {
        /// Smallest value, bytes.
        min: u64,
        /// Largest value, bytes.
        max: u64,
    },
    /// Like `Size`, or `auto`.
    SizeOrAuto {
        /// Smallest value, bytes.
        min: u64,
        /// Largest value, bytes.
        max: u64,
    },
    /// A span of time, kept in milliseconds. A unit is required: `250 ms`, `10 min`, `7 days`.
    Time {
        /// Smallest value, milliseconds.
        min_ms: u64,
        /// Largest value, milliseconds.
        max_ms: u64,
    },
    /// A share of a whole: `5 %`.
    Percent {
        /// Smallest value, percent.
        min: f64,
        /// Largest value, percent.
        max: f64,
    },
    /// `true` or `false`.
    Bool,
    /// Free text of at most `max` bytes; empty means not set.
    Text {
        /// Longest value, bytes.
        max: usize,
    },
    /// A path; relative ones start at the working directory.
    Path,
    /// `HOST:PORT` or `[IPV6]:PORT`.
    Address,
    /// Like `Address`; empty means not set.
    AddressOrEmpty,
    /// Like `Address`, or `off`.
    AddressOrOff,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count, bytes or milliseconds; `None` is `auto`.
    Number(Option<u64>),
    /// Percent.
    Percent(f64),
    /// A switch.
    Bool(bool),
    /// Text, a choice or a path.
    Text(String),
    /// An address; `None` is empty or `off`.
    Address(Option<HostPort>),
}

/// Where to listen or what to advertise: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// TCP port; 0 lets the kernel choose when listening.
    pub port: u16,
}

impl HostPort {
    /// The addresses behind the name, in the resolver's order.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Whether this names every interface (`0.0.0.0` or `[::]`) and so nothing a client could dial.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("is not an address: {why}; write HOST:PORT, like \"127.0.0.1:9092\"");
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| bad("`]` is missing"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad("no IPv6 address in the brackets"));
            }
            (
                host,
                rest.strip_prefix(':').ok_or_else(|| bad("the port is missing"))?,
            )
        } else {
            let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
            if host.contains(':') {
                return Err(bad("an IPv6 address needs brackets"));
            }
            (host, port)
        };
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        if host.chars().any(|c| c.is_whitespace() || c == '/') || host.len() > 255 {
            return Err(bad("the host has characters no name has"));
        }
        let port = port
            .parse::<u16>()
            .map_err(|_| bad("the port is not between 0 and 65535"))?;
        Ok(HostPort {
            host: host.to_string(),
            port,
        })
    }
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("sec", 1_000),
    ("second", 1_000),
    ("seconds", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("h", 3_600_000),
    ("hour", 3_600_000),
    ("hours", 3_600_000),
    ("d", 86_400_000),
    ("day", 86_400_000),
    ("days", 86_400_000),
];

/// A decimal number and a unit, exact; `None` when it is not one or does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))?;
    let (number, unit) = text.split_at(split);
    let number = number.replace('_', "");
    let unit = unit.trim().to_ascii_lowercase();
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some((whole, part)) => {
            if whole.is_empty() || part.is_empty() || part.len() > 6 {
                return None;
            }
            let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
            let scale = 10u64.pow(part.len() as u32);
            let part = u128::from(part.parse::<u64>().ok()?) * u128::from(factor);
            // Half a byte or half a millisecond is a slip, not a wish.
            if part % u128::from(scale) != 0 {
                return None;
            }
            whole.checked_add((part / u128::from(scale)) as u64)
        }
    }
}

/// Bytes from `"64 MiB"`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    if text.trim().parse::<u64>() == Ok(0) {
        return Ok(0);
    }
    scaled(text, SIZE_UNITS)
        .ok_or_else(|| "is not a size; write a number and a unit, like \"64 MiB\"".to_string())
}

/// Milliseconds from `"10 min"`.
pub fn parse_time(text: &str) -> Result<u64, String> {
    if text.trim().parse::<u64>() == Ok(0) {
        return Ok(0);
    }
    scaled(text, TIME_UNITS)
        .ok_or_else(|| "is not a time; write a number and a unit, like \"250 ms\" or \"7 days\"".to_string())
}

/// Bytes as people write them, exact: `64 MiB`, `1000 B`.
pub fn show_size(bytes: u64) -> String {
    let units: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (factor, unit) in units {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    format!("{bytes} B")
}

/// Milliseconds as people write them, exact: `10 min`, `1500 ms`.
pub fn show_time(ms: u64) -> String {
    let units: [(u64, &str); 4] = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    for (factor, unit) in units {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{} {unit}", ms / factor);
        }
    }
    format!("{ms} ms")
}

impl Kind {
    /// Parses `text`; the error completes a sentence that starts with the value.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match *self {
            Kind::CountOrAuto { .. } | Kind::SizeOrAuto { .. } if text == "auto" => Ok(Value::Number(None)),
            Kind::Count { min, max } | Kind::CountOrAuto { min, max } => {
                let number: u64 = text.replace('_', "").parse().map_err(|_| {
                    let auto = if matches!(self, Kind::CountOrAuto { .. }) {
                        ", or `auto`"
                    } else {
                        ""
                    };
                    format!("is not a whole number; write one from {min} to {max}{auto}")
                })?;
                in_range(number, min, max, |n| n.to_string())?;
                Ok(Value::Number(Some(number)))
            }
            Kind::Size { min, max } | Kind::SizeOrAuto { min, max } => {
                let bytes = parse_size(text)?;
                in_range(bytes, min, max, show_size)?;
                Ok(Value::Number(Some(bytes)))
            }
            Kind::Time { min_ms, max_ms } => {
                let ms = parse_time(text)?;
                in_range(ms, min_ms, max_ms, show_time)?;
                Ok(Value::Number(Some(ms)))
            }
            Kind::Percent { min, max } => {
                let share = text
                    .strip_suffix('%')
                    .and_then(|number| number.trim().parse::<f64>().ok())
                    .filter(|share| share.is_finite() && share.fract() == 0.0)
                    .ok_or_else(|| {
                        "is not a share; write a whole number and a percent sign, like \"5 %\"".to_string()
                    })?;
                if share < min || share > max {
                    return Err(format!("is out of range; {min} % to {max} % is allowed"));
                }
                Ok(Value::Percent(share))
            }
            Kind::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("is not a switch; write true or false".to_string()),
            },
            Kind::Text { max } => {
                if text.len() > max {
                    return Err(format!("is too long; {max} bytes are allowed"));
                }
                if text.chars().any(char::is_control) {
                    return Err("has control characters; remove them".to_string());
                }
                Ok(Value::Text(text.to_string()))
            }
            Kind::Path => {
                if text.is_empty() {
                    return Err("is not a path; write a directory".to_string());
                }
                Ok(Value::Text(text.to_string()))
            }
            Kind::AddressOrEmpty if text.is_empty() => Ok(Value::Address(None)),
            Kind::AddressOrOff if text == "off" => Ok(Value::Address(None)),
            Kind::Address | Kind::AddressOrEmpty | Kind::AddressOrOff => {
                let address = text.parse::<HostPort>().map_err(|why| {
                    let off = if matches!(self, Kind::AddressOrOff) {
                        ", or \"off\""
                    } else {
                        ""
                    };
                    format!("{why}{off}")
                })?;
                Ok(Value::Address(Some(address)))
            }
            Kind::Choice(words) => {
                if words.contains(&text) {
                    return Ok(Value::Text(text.to_string()));
                }
                let hint = super::suggest::nearest(text, words.iter().copied())
                    .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
                Err(format!("is not one of {}{hint}", words.join(", ")))
            }
        }
    }

    /// The unit, for help and listings; empty when there is none.
    pub fn unit(&self) -> &'static str {
        match self {
            Kind::Size { .. } | Kind::SizeOrAuto { .. } => "size",
            Kind::Time { .. } => "time",
            Kind::Percent { .. } => "percent",
            Kind::Count { .. } | Kind::CountOrAuto { .. } => "count",
            Kind::Bool => "true or false",
            Kind::Text { .. } => "text",
            Kind::Path => "path",
            Kind::Address | Kind::AddressOrEmpty | Kind::AddressOrOff => "address",
            Kind::Choice(_) => "choice",
        }
    }

    /// The range in words, for help and listings; empty when anything goes.
    pub fn range(&self) -> String {
        match *self {
            Kind::Count { min, max } => format!("{min} to {max}"),
            Kind::CountOrAuto { min, max } => format!("auto, or {min} to {max}"),
            Kind::Size { min, max } => format!("{} to {}", show_size(min), show_size(max)),
            Kind::SizeOrAuto { min, max } => format!("auto, or {} to {}", show_size(min), show_size(max)),
            Kind::Time { min_ms, max_ms } => format!("{} to {}", show_time(min_ms), show_time(max_ms)),
            Kind::Percent { min, max } => format!("{min} % to {max} %"),
            Kind::Choice(words) => words.join(", "),
            Kind::AddressOrOff => "HOST:PORT, or off".to_string(),
            Kind::AddressOrEmpty => "HOST:PORT, or empty".to_string(),
            Kind::Address => "HOST:PORT".to_string(),
            Kind::Text { max } => format!("at most {max} bytes"),
            Kind::Bool | Kind::Path => String::new(),
        }
    }

    /// Whether TOML writes this kind without quotes.
    pub fn is_bare(&self) -> bool {
        matches!(self, Kind::Count { .. } | Kind::Bool)
    }
}

fn in_range(value: u64, min: u64, max: u64, show: impl Fn(u64) -> String) -> Result<(), String> {
    if value < min || value > max {
        return Err(format!(
            "is out of range; {} to {} is allowed",
            show(min),
            show(max)
        ));
    }
    Ok(())
}

impl Value {
    /// The value as the file would have it, without quotes.
    pub fn show(&self, kind: &Kind) -> String {
        match self {
            Value::Number(None) => "auto".to_string(),
            Value::Number(Some(n)) => match kind {
                Kind::Size { .. } | Kind::SizeOrAuto { .. } => show_size(*n),
                Kind::Time { .. } => show_time(*n),
                _ => n.to_string(),
            },
            Value::Percent(share) => format!("{share} %"),
            Value::Bool(on) => on.to_string(),
            Value::Text(text) => text.clone(),
            Value::Address(Some(address)) => address.to_string(),
            Value::Address(None) => {
                if matches!(kind, Kind::AddressOrOff) {
                    "off".to_string()
                } else {
                    String::new()
                }
            }
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Value::Number(n) => *n,
            other => unreachable!("a number was declared, not {other:?}"),
        }
    }

    pub(super) fn percent(&self) -> f64 {
        match self {
            Value::Percent(share) => *share,
            other => unreachable!("a share was declared, not {other:?}"),
        }
    }

    pub(super) fn bool(&self) -> bool {
        match self {
            Value::Bool(on) => *on,
            other => unreachable!("a switch was declared, not {other:?}"),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            other => unreachable!("text was declared, not {other:?}"),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(self.text())
    }

    pub(super) fn address(&self) -> Option<HostPort> {
        match self {
            Value::Address(address) => address.clone(),
            other => unreachable!("an address was declared, not {other:?}"),
        }
    }
}
