//! The input of `turgo produce`: a thread cuts bytes into records and hands them over through a bounded
//! channel, a few at a time, as soon as they are there: what is typed is sent at once, files fill batches.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::cli::args::{Input, ProduceArgs};
use crate::cli::exit::CliError;
use crate::cli::text::{Item, item_from_json};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Groups of records that may wait.
const QUEUE: usize = 4;
/// Largest record of a delimited input; a missing delimiter must not fill memory.
const RECORD_BYTES: usize = 1 << 30;

type Items = Result<Vec<Item>, CliError>;

/// How bytes become records.
#[derive(Debug, Clone)]
struct Cutter {
    delimiter: Vec<u8>,
    key_delimiter: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    null: bool,
    json: bool,
}

impl Cutter {
    fn new(args: &ProduceArgs) -> Self {
        Cutter {
            delimiter: args.delimiter.0.clone(),
            key_delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
            key: args.key.as_ref().map(|key| key.clone().into_bytes()),
            headers: args
                .headers
                .iter()
                .map(|(name, value)| (name.clone().into_bytes(), Some(value.clone().into_bytes())))
                .collect(),
            null: args.null,
            json: args.input == Input::Json,
        }
    }

    /// One record from the bytes between two delimiters; `None`: an empty line of JSON input.
    fn item(&self, bytes: &[u8]) -> Result<Option<Item>, String> {
        if self.json {
            let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
            if text.trim().is_empty() {
                return Ok(None);
            }
            let mut item = item_from_json(text)?;
            item.headers.extend(self.headers.iter().cloned());
            if item.key.is_none() {
                item.key = self.key.clone();
            }
            return Ok(Some(item));
        }
        let cut = self
            .key_delimiter
            .as_ref()
            .and_then(|delimiter| Some((find(bytes, delimiter)?, delimiter.len())));
        let (key, value) = match cut {
            Some((at, width)) => (Some(bytes[..at].to_vec()), &bytes[at + width..]),
            None => (self.key.clone(), bytes),
        };
        let value = if self.null && value.is_empty() {
            None
        } else {
            Some(value.to_vec())
        };
        Ok(Some(Item {
            key,
            value,
            headers: self.headers.clone(),
            partition: None,
            timestamp: None,
        }))
    }

    /// Cuts whole records off `buffer` and leaves what is unfinished. `scanned` is how far no delimiter starts.
    fn cut(&self, buffer: &mut Vec<u8>, scanned: &mut usize, at: &mut Place) -> Items {
        let mut items = Vec::new();
        let mut start = 0;
        let mut from = *scanned;
        while let Some(found) = find(&buffer[from..], &self.delimiter) {
            let end = from + found;
            at.record += 1;
            if let Some(item) = self.item(&buffer[start..end]).map_err(|why| at.error(&why))? {
                items.push(item);
            }
            start = end + self.delimiter.len();
            from = start;
        }
        buffer.drain(..start);
        *scanned = buffer.len().saturating_sub(self.delimiter.len() - 1);
        Ok(items)
    }
}

/// Where a bad record stands.
struct Place {
    source: String,
    record: u64,
}

impl Place {
    fn error(&self, why: &str) -> CliError {
        CliError::Failed(format!("{}: record {}: {why}", self.source, self.record))
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    match pattern {
        [one] => bytes.iter().position(|byte| byte == one),
        _ => bytes.windows(pattern.len()).position(|window| window == pattern),
    }
}

/// Opens the sources and starts reading. Returns the bytes there are, where that is known, and the records;
/// the channel closes at the end of the input, and an error is the last thing in it.
pub fn start(args: &ProduceArgs) -> Result<(Option<u64>, Receiver<Items>), CliError> {
    let mut sources: Vec<(String, Box<dyn Read + Send>)> = Vec::new();
    let mut total = None;
    if args.files.is_empty() {
        sources.push(("standard input".into(), Box::new(io::stdin())));
    }
    for path in &args.files {
        let file = open(path)?;
        let bytes = file
            .metadata()
            .ok()
            .filter(|data| data.is_file())
            .map(|data| data.len());
        total = if sources.is_empty() {
            bytes
        } else {
            total.zip(bytes).map(|(total, bytes)| total + bytes)
        };
        sources.push((path.display().to_string(), Box::new(file)));
    }
    let cutter = Cutter::new(args);
    let whole = args.whole;
    let (sender, receiver) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name("input".into())
        .spawn(move || {
            for (name, mut source) in sources {
                let result = if whole {
                    read_whole(&cutter, name, &mut source, &sender)
                } else {
                    read_records(&cutter, name, &mut source, &sender)
                };
                match result {
                    Ok(true) => {}
                    // Nobody listens any more.
                    Ok(false) => return,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                }
            }
        })
        .map_err(|error| CliError::Failed(format!("no thread for reading: {error}")))?;
    Ok((total, receiver))
}

fn open(path: &PathBuf) -> Result<File, CliError> {
    File::open(path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

fn read_whole(
    cutter: &Cutter,
    name: String,
    source: &mut dyn Read,
    sender: &SyncSender<Items>,
) -> Result<bool, CliError> {
    let mut bytes = Vec::new();
    source
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::Failed(format!("{name}: {error}")))?;
    let value = if cutter.null && bytes.is_empty() {
        None
    } else {
        Some(bytes)
    };
    let item = Item {
        key: cutter.key.clone(),
        value,
        headers: cutter.headers.clone(),
        partition: None,
        timestamp: None,
    };
    Ok(sender.send(Ok(vec![item])).is_ok())
}

/// `Ok(false)`: nobody listens any more.
fn read_records(
    cutter: &Cutter,
    name: String,
    source: &mut dyn Read,
    sender: &SyncSender<Items>,
) -> Result<bool, CliError> {
    let mut place = Place {
        source: name,
        record: 0,
    };
    let mut buffer = Vec::new();
    let mut scanned = 0;
    let mut chunk = vec![0u8; READ_BYTES];
    loop {
        let read = match source.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CliError::Failed(format!("{}: {error}", place.source))),
        };
        if read == 0 {
            break;
        }
        buffer.extend_from_slice(&chunk[..read]);
        let items = cutter.cut(&mut buffer, &mut scanned, &mut place)?;
        if !items.is_empty() && sender.send(Ok(items)).is_err() {
            return Ok(false);
        }
        if buffer.len() > RECORD_BYTES {
            return Err(place.error("no delimiter within 1 GiB; is -D right?"));
        }
    }
    // A last record without delimiter counts.
    if !buffer.is_empty() {
        place.record += 1;
        if let Some(item) = cutter.item(&buffer).map_err(|why| place.error(&why))? {
            return Ok(sender.send(Ok(vec![item])).is_ok());
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter(delimiter: &str, key: Option<&str>) -> Cutter {
        Cutter {
            delimiter: delimiter.as_bytes().to_vec(),
            key_delimiter: key.map(|key| key.as_bytes().to_vec()),
            key: None,
            headers: vec![],
            null: true,
            json: false,
        }
    }

    /// Hands out its bytes a few at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(room.len());
            room[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn records(cutter: &Cutter, bytes: &[u8], step: usize) -> Result<Vec<Item>, String> {
        let (sender, receiver) = sync_channel(10_000);
        let result = read_records(cutter, "x".into(), &mut Drip(bytes, step), &sender);
        drop(sender);
        let items = receiver.into_iter().flat_map(|items| items.unwrap()).collect();
        result.map(|_| items).map_err(|error| error.to_string())
    }

    type Pairs<'a> = Vec<(Option<&'a [u8]>, Option<&'a [u8]>)>;

    #[test]
    fn records_do_not_depend_on_how_the_bytes_arrive() {
        let cutter = cutter("ab", Some(":"));
        for step in 1..20 {
            let items = records(&cutter, b"k:vaabnokeyababk2:abk3:x:ylast", step).unwrap();
            let shown: Pairs<'_> = items
                .iter()
                .map(|item| (item.key.as_deref(), item.value.as_deref()))
                .collect();
            let expected: Pairs<'_> = vec![
                (Some(b"k"), Some(b"va")),
                (None, Some(b"nokey")),
                (None, None),
                (Some(b"k2"), None),
                (Some(b"k3"), Some(b"x:ylast")),
            ];
            assert_eq!(shown, expected, "step {step}");
        }
    }

    #[test]
    fn a_bad_json_record_is_named_by_its_number_and_empty_lines_are_skipped() {
        let cutter = Cutter {
            json: true,
            ..cutter("\n", None)
        };
        assert_eq!(
            records(
                &cutter,
                b"{\"value\":\"a\"}\n\n{\"key\":\"k\",\"value\":\"b\"}",
                7
            )
            .unwrap()
            .len(),
            2
        );
        let error = records(&cutter, b"{}\n\nnonsense\n", 100).unwrap_err();
        assert!(error.starts_with("x: record 3: not JSON"), "{error}");
    }
}
