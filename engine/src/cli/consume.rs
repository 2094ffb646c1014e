//! `turgo consume`: fetches, prints, and stores offsets when it is a member of a group.
//!
//! One thread. Each round asks every leader at once, prints what came, beats and commits when due. Offsets
//! are stored only after the records before them have left for standard output.

mod fetch;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use turgo_net::records::Record;

use super::args::{ConsumeArgs, Position};
use super::client::group::{self, Membership, Partitions, Standing, Stored};
use super::client::{Client, Spot};
use super::exit::CliError;
use super::output::Out;
use super::sys;
use super::text::{Template, record_json};
use fetch::{Cursor, Fetcher};

/// Offsets are stored at least this often.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait of a broker for new records.
const WAIT: Duration = Duration::from_millis(500);
/// The same when the end of the partitions is the goal.
const WAIT_FOR_END: Duration = Duration::from_millis(20);

/// Runs `turgo consume`.
pub fn run(client: &mut Client, args: &ConsumeArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let template = args.template.as_deref().map(Template::parse).transpose();
    let template = template.map_err(|why| CliError::Usage(format!("-f: {why}")))?;
    if args.count == Some(0) {
        return Ok(());
    }
    sys::catch_interrupt();
    let mut reader = Reader {
        args,
        printer: Printer {
            args,
            template,
            line: Vec::new(),
            printed: 0,
            json: out.is_json(),
        },
        fetcher: Fetcher::new(args),
        progress: ProgressBar::hidden(),
    };
    let result = match &args.group {
        None => reader.alone(client, out),
        Some(name) => {
            let mut place = Membership::new(
                name,
                args.instance_id.as_deref(),
                &args.topics,
                args.session_timeout,
            );
            let result = reader.member(client, &mut place, out);
            // Whatever happened, the others should not wait for this member; a second signal ends it at once.
            sys::clear_interrupt();
            place.leave(client);
            result
        }
    };
    reader.progress.finish_and_clear();
    let flushed = out.writer.flush().map_err(CliError::from);
    result.and(flushed)
}

struct Printer<'a> {
    args: &'a ConsumeArgs,
    template: Option<Template>,
    line: Vec<u8>,
    printed: u64,
    json: bool,
}

impl Printer<'_> {
    /// Prints a record; `false` when it was the last one wanted.
    fn print(
        &mut self,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
        out: &mut Out<'_>,
    ) -> Result<bool, CliError> {
        self.line.clear();
        if let Some(template) = &self.template {
            template.write(&mut self.line, topic, partition, record);
        } else if self.json {
            self.line
                .extend_from_slice(record_json(topic, partition, record).to_string().as_bytes());
            self.line.push(b'\n');
        } else {
            if let Some(delimiter) = &self.args.key_delimiter {
                self.line.extend_from_slice(record.key.unwrap_or_default());
                self.line.extend_from_slice(&delimiter.0);
            }
            self.line.extend_from_slice(record.value.unwrap_or_default());
            self.line.extend_from_slice(&self.args.delimiter.0);
        }
        out.writer.write_all(&self.line)?;
        if self.args.unbuffered {
            out.writer.flush()?;
        }
        self.printed += 1;
        Ok(self.args.count.is_none_or(|count| self.printed < count))
    }
}

struct Reader<'a> {
    args: &'a ConsumeArgs,
    printer: Printer<'a>,
    fetcher: Fetcher,
    progress: ProgressBar,
}

/// What a round amounted to.
#[derive(PartialEq, Eq)]
enum Round {
    Go,
    Done,
}

impl Reader<'_> {
    fn say(&self, text: impl FnOnce() -> String) {
        if !self.args.quiet && std::io::stderr().is_terminal() {
            self.progress.suspend(|| eprintln!("turgo: {}", text()));
        }
    }

    /// Reads without a group, until told to stop.
    fn alone(&mut self, client: &mut Client, out: &mut Out<'_>) -> Result<(), CliError> {
        let topics = client.topics(&self.args.topics, false)?;
        let mut wanted = Vec::new();
        for topic in &topics {
            for index in &self.args.partitions {
                if !topic.partitions.iter().any(|partition| partition.index == *index) {
                    return Err(CliError::Usage(format!(
                        "{} has no partition {index}",
                        topic.name
                    )));
                }
            }
            let chosen = topic
                .partitions
                .iter()
                .filter(|p| self.args.partitions.is_empty() || self.args.partitions.contains(&p.index));
            wanted.extend(chosen.map(|partition| (topic.name.clone(), partition.index)));
        }
        let from = self.args.offset.unwrap_or(Position::End);
        if from == Position::Stored {
            return Err(CliError::Usage("-o stored needs a group: -g GROUP".into()));
        }
        let starts = starts(client, &wanted, from, self.args.read_committed)?;
        self.show_progress(client, &starts)?;
        self.fetcher.assign(starts);
        loop {
            if self.round(client, WAIT, out)? == Round::Done {
                return Ok(());
            }
        }
    }

    /// Reads as a member of a group, until told to stop.
    fn member(
        &mut self,
        client: &mut Client,
        place: &mut Membership,
        out: &mut Out<'_>,
    ) -> Result<(), CliError> {
        // The topics must exist; the group would quietly wait for them.
        client.topics(&self.args.topics, false)?;
        loop {
            let assigned = place.join(client)?;
            self.say(|| {
                let shown: Vec<String> = assigned
                    .iter()
                    .map(|(topic, indexes)| format!("{topic} {}", super::output::list(indexes)))
                    .collect();
                let shown = if shown.is_empty() {
                    "nothing".to_string()
                } else {
                    shown.join("; ")
                };
                format!("generation {}, assigned {shown}", place.generation())
            });
            let starts = self.resume(client, place, &assigned)?;
            self.fetcher.assign(starts);
            let mut stored = self.fetcher.positions();
            let mut committed_at = sys::now();
            loop {
                let round = self.round(client, WAIT.min(place.beat_interval()), out);
                let over = !matches!(round, Ok(Round::Go));
                let standing = if over {
                    Standing::Member
                } else {
                    place.beat(client)?
                };
                if over || standing == Standing::Rejoin || committed_at.elapsed() >= COMMIT_INTERVAL {
                    // An interrupt must not keep what was printed from being stored.
                    if matches!(round, Err(CliError::Interrupted)) {
                        sys::clear_interrupt();
                    }
                    if matches!(round, Err(CliError::BrokenPipe)) {
                        return round.map(|_| ());
                    }
                    out.writer.flush()?;
                    let standing = self.commit(client, place, &mut stored)?;
                    committed_at = sys::now();
                    if standing == Standing::Rejoin && !over {
                        break;
                    }
                }
                if over {
                    return round.map(|_| ());
                }
                if standing == Standing::Rejoin {
                    self.say(|| "the group is being divided anew".into());
                    break;
                }
            }
        }
    }

    /// Where each assigned partition goes on: at the stored offset, else where -o says.
    fn resume(
        &self,
        client: &mut Client,
        place: &Membership,
        assigned: &Partitions,
    ) -> Result<BTreeMap<(String, i32), i64>, CliError> {
        if assigned.is_empty() {
            return Ok(BTreeMap::new());
        }
        let name = self.args.group.as_deref().unwrap_or_default();
        let mut starts: BTreeMap<(String, i32), i64> = group::stored(client, name, Some(assigned))?;
        let keys = assigned
            .iter()
            .flat_map(|(topic, indexes)| indexes.iter().map(|index| (topic.clone(), *index)));
        let missing: Vec<(String, i32)> = keys.filter(|key| !starts.contains_key(key)).collect();
        if !missing.is_empty() {
            let from = match self.args.offset {
                None | Some(Position::Stored) => Position::End,
                Some(from) => from,
            };
            starts.extend(self::starts(client, &missing, from, self.args.read_committed)?);
        }
        debug_assert!(place.generation() >= 0);
        Ok(starts)
    }

    fn commit(
        &self,
        client: &mut Client,
        place: &mut Membership,
        stored: &mut Stored,
    ) -> Result<Standing, CliError> {
        if self.args.no_commit {
            return Ok(Standing::Member);
        }
        let now = self.fetcher.positions();
        let changed: Stored = now
            .iter()
            .filter(|(key, offset)| stored.get(*key) != Some(offset))
            .map(|(k, o)| (k.clone(), *o))
            .collect();
        let standing = place.commit(client, &changed)?;
        *stored = now;
        Ok(standing)
    }

    /// Fetches once and prints what came.
    fn round(&mut self, client: &mut Client, wait: Duration, out: &mut Out<'_>) -> Result<Round, CliError> {
        if sys::interrupted() {
            return Err(CliError::Interrupted);
        }
        let wait = if self.args.exit { WAIT_FOR_END } else { wait };
        let before = self.printer.printed;
        let printer = &mut self.printer;
        let go_on = self
            .fetcher
            .round(client, wait, &mut |topic, partition, record| {
                printer.print(topic, partition, record, out)
            })?;
        self.progress.set_position(self.printer.printed);
        if self.printer.printed > before {
            out.writer.flush()?;
        }
        for note in self.fetcher.notes() {
            self.say(|| note);
        }
        if !go_on || self.args.exit && self.fetcher.all_ended() {
            return Ok(Round::Done);
        }
        Ok(Round::Go)
    }

    /// Progress on stderr when the end is known and the records go elsewhere.
    fn show_progress(
        &mut self,
        client: &mut Client,
        starts: &BTreeMap<(String, i32), i64>,
    ) -> Result<(), CliError> {
        if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() || self.args.quiet {
            return Ok(());
        }
        let total = match (self.args.count, self.args.exit) {
            (Some(count), _) => Some(count),
            (None, true) => {
                let keys: Vec<(String, i32)> = starts.keys().cloned().collect();
                let ends = client.all_offsets(&keys, Spot::Latest, self.args.read_committed)?;
                Some(
                    starts
                        .iter()
                        .map(|(key, start)| (ends[key] - start).max(0) as u64)
                        .sum(),
                )
            }
            (None, false) => None,
        };
        let (bar, style) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:40} {pos}/{len} records ({per_sec}, {eta} left)",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {pos} records ({per_sec})"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        self.progress = bar;
        Ok(())
    }
}

/// The offsets that `from` means in each of `wanted`.
fn starts(
    client: &mut Client,
    wanted: &[(String, i32)],
    from: Position,
    read_committed: bool,
) -> Result<BTreeMap<(String, i32), i64>, CliError> {
    Ok(match from {
        Position::Offset(offset) => wanted.iter().map(|key| (key.clone(), offset)).collect(),
        Position::Beginning => client.all_offsets(wanted, Spot::Earliest, read_committed)?,
        Position::End | Position::Stored => client.all_offsets(wanted, Spot::Latest, read_committed)?,
        Position::FromEnd(back) => {
            let earliest = client.all_offsets(wanted, Spot::Earliest, read_committed)?;
            let mut starts = client.all_offsets(wanted, Spot::Latest, read_committed)?;
            for (key, offset) in &mut starts {
                *offset = (*offset - back).max(earliest[key]);
            }
            starts
        }
        Position::Timestamp(ms) => {
            let latest = client.all_offsets(wanted, Spot::Latest, read_committed)?;
            let mut starts = client.all_offsets(wanted, Spot::Time(ms), read_committed)?;
            for (key, offset) in &mut starts {
                // Nothing is that new: wait for what comes.
                if *offset < 0 {
                    *offset = latest[key];
                }
            }
            starts
        }
    })
}

/// Where reading of a partition stands, for tests and messages.
pub(super) type Cursors = BTreeMap<(String, i32), Cursor>;
