//! Records as text: base64 for what is no text in JSON, templates, the JSON form of a record.
//!
//! `turgo consume --format json` writes what `turgo produce --input json` reads.

use serde_json::{Map, Value, json};
use turgo_net::records::Record;

use super::parse::unescape;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            if at <= chunk.len() {
                out.push(ALPHABET[(word >> (18 - 6 * at)) as usize & 63] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Reads standard base64, with or without padding; `None` when it is not.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut word = 0u32;
        for digit in chunk {
            word = word << 6 | ALPHABET.iter().position(|letter| letter == digit)? as u32;
        }
        word <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

/// A key, value or header value under `name`, or under `name_base64` when it is not UTF-8.
fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.into(), Value::Null),
        Some(Ok(text)) => object.insert(name.into(), json!(text)),
        Some(Err(_)) => object.insert(
            format!("{name}_base64"),
            json!(to_base64(bytes.unwrap_or_default())),
        ),
    };
}

/// A record as one JSON object.
pub fn record_json(topic: &str, partition: i32, record: &Record<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), json!(topic));
    object.insert("partition".into(), json!(partition));
    object.insert("offset".into(), json!(record.offset));
    object.insert("timestamp".into(), json!(record.timestamp));
    put(&mut object, "key", record.key);
    put(&mut object, "value", record.value);
    if !record.headers.is_empty() {
        let headers = record.headers.iter().map(|header| {
            let mut object = Map::new();
            object.insert("name".into(), json!(String::from_utf8_lossy(header.key)));
            put(&mut object, "value", header.value);
            Value::Object(object)
        });
        object.insert("headers".into(), headers.collect());
    }
    Value::Object(object)
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// Key, or none.
    pub key: Option<Vec<u8>>,
    /// Value; none deletes the key in a compacted topic.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Partition, if the input names one.
    pub partition: Option<i32>,
    /// Creation time, milliseconds since 1970, if the input names one.
    pub timestamp: Option<i64>,
}

impl Item {
    /// Bytes of key, value and headers, for batch sizes.
    pub fn bytes(&self) -> usize {
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + len(value) + 2)
            .sum();
        // Lengths, deltas and attributes of a record take up to about 20 bytes.
        len(&self.key) + len(&self.value) + headers + 20
    }
}

/// Reads a record from one JSON object. Other members, such as `offset`, are ignored, so that what was
/// consumed can be produced again.
pub fn item_from_json(text: &str) -> Result<Item, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let object = value.as_object().ok_or("not a JSON object")?;
    let mut item = Item {
        key: take(object, "key")?,
        value: take(object, "value")?,
        ..Item::default()
    };
    item.partition = match object.get("partition") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let index = value
                .as_i64()
                .and_then(|index| i32::try_from(index).ok())
                .filter(|index| *index >= 0);
            Some(index.ok_or("`partition` is not a partition's number")?)
        }
    };
    item.timestamp = match object.get("timestamp") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_i64()
                .ok_or("`timestamp` is not a number of milliseconds")?,
        ),
    };
    match object.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(headers)) => {
            for name in headers.keys() {
                item.headers
                    .push((name.clone().into_bytes(), take(headers, name)?));
            }
        }
        Some(Value::Array(headers)) => {
            for header in headers {
                let header = header
                    .as_object()
                    .ok_or("`headers` holds something that is not an object")?;
                let name = header
                    .get("name")
                    .and_then(Value::as_str)
                    .ok_or("a header has no `name`")?;
                item.headers
                    .push((name.as_bytes().to_vec(), take(header, "value")?));
            }
        }
        Some(_) => return Err("`headers` is neither a list nor an object".into()),
    }
    Ok(item)
}

fn take(object: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match object.get(name) {
        Some(Value::String(text)) => return Ok(Some(text.clone().into_bytes())),
        Some(Value::Null) | None => {}
        // A value that is JSON itself is written as it stands.
        Some(other) => return Ok(Some(other.to_string().into_bytes())),
    }
    match object.get(&format!("{name}_base64")) {
        Some(Value::String(text)) => from_base64(text)
            .map(Some)
            .ok_or_else(|| format!("`{name}_base64` is not base64")),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(format!("`{name}_base64` is not text")),
    }
}

/// A format string of `turgo consume -f`, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(u8),
}

impl Template {
    /// Reads `text`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, after) = rest.split_at(at);
            if !before.is_empty() {
                pieces.push(Piece::Text(unescape(before)?));
            }
            let Some(letter) = after[1..].chars().next() else {
                return Err("ends with a lone %; write %% for a percent sign".into());
            };
            match letter {
                '%' => pieces.push(Piece::Text(b"%".to_vec())),
                's' | 'v' | 'k' | 'h' | 't' | 'p' | 'o' | 'T' | 'S' | 'K' => {
                    pieces.push(Piece::Field(letter as u8))
                }
                other => {
                    return Err(format!(
                        "%{other} means nothing; there are %s %v %k %h %t %p %o %T %S %K %%"
                    ));
                }
            }
            rest = &after[1 + letter.len_utf8()..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(unescape(rest)?));
        }
        Ok(Template(pieces))
    }

    /// Appends a record.
    pub fn write(&self, out: &mut Vec<u8>, topic: &str, partition: i32, record: &Record<'_>) {
        use std::io::Write;
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        for piece in &self.0 {
            // Writing to memory does not fail.
            let _ = match piece {
                Piece::Text(text) => out.write_all(text),
                Piece::Field(b's' | b'v') => out.write_all(record.value.unwrap_or_default()),
                Piece::Field(b'k') => out.write_all(record.key.unwrap_or_default()),
                Piece::Field(b't') => out.write_all(topic.as_bytes()),
                Piece::Field(b'p') => write!(out, "{partition}"),
                Piece::Field(b'o') => write!(out, "{}", record.offset),
                Piece::Field(b'T') => write!(out, "{}", record.timestamp),
                Piece::Field(b'S') => write!(out, "{}", length(record.value)),
                Piece::Field(b'K') => write!(out, "{}", length(record.key)),
                Piece::Field(_) => {
                    for (at, header) in record.headers.iter().enumerate() {
                        if at > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(header.key);
                        if let Some(value) = header.value {
                            out.push(b'=');
                            out.extend_from_slice(value);
                        }
                    }
                    Ok(())
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turgo_net::records::{BatchBuilder, Decompressor, Header, batches};

    #[test]
    fn base64_agrees_with_known_values_and_refuses_the_rest() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&to_base64(&all)), Some(all));
        assert_eq!(from_base64("Zg"), Some(b"f".to_vec()));
        for bad in ["Z", "Zg===", "Z!==", "Zm9vY"] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }

    fn with_record<T>(check: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut batch = BatchBuilder::new().base_offset(7);
        let headers = [
            Header {
                key: b"h",
                value: Some(b"1"),
            },
            Header {
                key: b"n",
                value: None,
            },
        ];
        batch.push(1234, Some(b"key"), Some(b"v\xff"), &headers).unwrap();
        let bytes = batch.build_uncompressed();
        let view = batches(&bytes).next().unwrap().unwrap();
        let mut decompressor = Decompressor::new();
        let record = view
            .records(&mut decompressor, 1 << 20)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        check(&record)
    }

    #[test]
    fn templates_print_every_field() {
        let template = Template::parse("%t/%p@%o %T %k(%K) %S [%h] 100%%\\n").unwrap();
        let mut out = Vec::new();
        with_record(|record| template.write(&mut out, "topic", 3, record));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "topic/3@7 1234 key(3) 2 [h=1,n] 100%\n"
        );
        assert!(
            Template::parse("50%").is_err()
                && Template::parse("%x").is_err()
                && Template::parse("\\q").is_err()
        );
    }

    #[test]
    fn a_record_survives_the_way_through_json() {
        let text = with_record(|record| record_json("t", 2, record).to_string());
        let item = item_from_json(&text).unwrap();
        let headers = vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"n".to_vec(), None)];
        let expected = Item {
            key: Some(b"key".to_vec()),
            value: Some(b"v\xff".to_vec()),
            headers,
            partition: Some(2),
            timestamp: Some(1234),
        };
        assert_eq!(item, expected);
    }

    #[test]
    fn json_input_takes_what_people_write() {
        let item = item_from_json(r#"{"value": {"a": 1}, "headers": {"x": "y"}}"#).unwrap();
        assert_eq!(item.value.as_deref(), Some(&br#"{"a":1}"#[..]));
        assert_eq!(item.headers, [(b"x".to_vec(), Some(b"y".to_vec()))]);
        assert_eq!(item_from_json(r#"{"key":"k","value":null}"#).unwrap().value, None);
        for bad in [
            "",
            "[]",
            r#"{"partition":-1}"#,
            r#"{"timestamp":"x"}"#,
            r#"{"value_base64":"!"}"#,
            r#"{"headers":3}"#,
        ] {
            assert!(item_from_json(bad).is_err(), "{bad}");
        }
    }
}
