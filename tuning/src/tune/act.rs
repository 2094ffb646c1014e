//! Carries changes out and takes them back, through [`Files`].
//!
//! `turgo tune apply` and `undo` call these. The order makes a crash harmless: directories and the ledger first, durably,
//! then the changes, each read back, then the ledger again without what failed. An `undo` after a crash anywhere finds in
//! the ledger every change that may have happened.

use std::io;

use serde::Serialize;

use super::ledger::{Ledger, PATH, Undo};
use super::{Change, Form};
use crate::files::{Files, Reading, reading};

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, and read back.
    Applied,
    /// Not done, as only a look was asked for.
    WouldApply,
    /// The old value stands there again.
    Restored,
    /// It would be restored.
    WouldRestore,
    /// There was nothing to restore any more.
    Forgotten,
    /// Somebody else's value; left alone.
    Conflict,
    /// This user may not.
    Denied,
    /// The kernel keeps it to itself.
    KernelManaged,
    /// Something went wrong; the note says what.
    Failed,
}

impl Outcome {
    /// Whether the operator must look.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Conflict | Outcome::Denied | Outcome::Failed)
    }
}

/// One line of what was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Tuner.
    pub tuner: String,
    /// File.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What stood there; absent: no file.
    pub before: Option<String>,
    /// What stands there now, or would; absent: no file.
    pub after: Option<String>,
    /// What to know.
    pub note: Option<String>,
}

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The ledger cannot be read: without it, undoing would be lost.
    #[error("{PATH} cannot be used: {0}; move it away to start anew, or use the program that wrote it")]
    Ledger(String),
    /// This user may not read the ledger.
    #[error("{PATH} may not be read: run as root")]
    Denied,
    /// The ledger cannot be written, so nothing was changed.
    #[error("the old values cannot be saved in {PATH}: {0}; nothing was changed. Run as root")]
    Save(io::Error),
}

/// Changes with the tuner that wants each, in order.
pub type Changes = Vec<(String, Change)>;

/// Reads the ledger; empty if there is none.
pub fn ledger(files: &dyn Files) -> Result<Ledger, ActError> {
    match reading(files, PATH) {
        Reading::Missing => Ok(Ledger::default()),
        Reading::Is(text) => Ledger::parse(&text).map_err(ActError::Ledger),
        Reading::Denied => Err(ActError::Denied),
        Reading::Failed(why) => Err(ActError::Ledger(why)),
    }
}

/// Content of an ordinary file, to the last byte; `None`: not there.
fn content(files: &dyn Files, path: &str) -> io::Result<Option<String>> {
    match files.read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| io::Error::other("not text")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What stands at the place of `change`.
fn standing(files: &dyn Files, path: &str, form: Option<Form>) -> io::Result<Option<String>> {
    let text = content(files, path)?;
    Ok(match form {
        Some(_) => text.map(|text| text.trim_end_matches('\n').to_string()),
        None => text,
    })
}

fn form(change: &Change) -> Option<Form> {
    match change {
        Change::Set { form, .. } => Some(*form),
        Change::File { .. } => None,
    }
}

/// What `apply` would do, without doing it.
pub fn preview(files: &dyn Files, changes: &Changes) -> Vec<Done> {
    changes
        .iter()
        .filter_map(|(tuner, change)| {
            let before = standing(files, change.path(), form(change)).ok().flatten();
            let after = match change {
                Change::Set { value, .. } => value.clone(),
                Change::File { content, .. } => content.clone(),
            };
            let same = match form(change) {
                Some(form) => {
                    before.as_deref().map(|text| form.canonical(text)) == Some(form.canonical(&after))
                }
                None => before.as_deref() == Some(after.as_str()),
            };
            (!same).then(|| Done {
                tuner: tuner.clone(),
                path: change.path().to_string(),
                outcome: Outcome::WouldApply,
                before: before.map(|text| form(change).map_or(text.clone(), |form| form.canonical(&text))),
                after: Some(after),
                note: None,
            })
        })
        .collect()
}

/// Makes `changes`. `time` is now, in seconds since 1970. The answer has a line for each change that was needed.
pub fn apply(files: &dyn Files, changes: &Changes, time: u64, boot_id: &str) -> Result<Vec<Done>, ActError> {
    let needed = preview(files, changes);
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let mut ledger = ledger(files)?;
    let before = ledger.clone();
    let mut wanted = Vec::new();
    for line in needed {
        let Some((_, change)) = changes
            .iter()
            .find(|(tuner, change)| change.path() == line.path && *tuner == line.tuner)
        else {
            continue;
        };
        match standing(files, change.path(), form(change)) {
            Ok(now) => {
                ledger.note(&line.tuner, change, now.as_deref(), time, boot_id);
                if let Change::File { path, .. } = change {
                    note_directories(files, path, &mut ledger.directories);
                }
                wanted.push((line, Some(change)));
            }
            Err(error) => wanted.push((failed(line, &error), None)),
        }
    }
    note_directories(files, PATH, &mut ledger.directories);
    save(files, &ledger)?;
    let mut done = Vec::new();
    for (line, change) in wanted {
        let line = match change {
            Some(change) => carry_out(files, line, change),
            None => line,
        };
        if line.outcome != Outcome::Applied {
            // It stands as before, so there is nothing to take back, but what an earlier run did there may be.
            ledger.entries.retain(|entry| entry.path != line.path);
            ledger.entries.extend(
                before
                    .entries
                    .iter()
                    .filter(|entry| entry.path == line.path)
                    .cloned(),
            );
        }
        done.push(line);
    }
    settle(files, ledger)?;
    Ok(done)
}

fn carry_out(files: &dyn Files, mut line: Done, change: &Change) -> Done {
    let old = standing(files, change.path(), form(change)).ok().flatten();
    let result = match change {
        Change::Set { path, value, .. } => files.set(path, value),
        Change::File { path, content } => files.put(path, content.as_bytes()),
    };
    if let Err(error) = result {
        line.after = line.before.clone();
        return failed(line, &error);
    }
    // The kernel may take a value and make another of it.
    match standing(files, change.path(), form(change)) {
        Ok(Some(now)) => {
            let wanted = line.after.clone().unwrap_or_default();
            let holds = match form(change) {
                Some(form) => form.canonical(&now) == form.canonical(&wanted),
                None => now == wanted,
            };
            line.outcome = if holds { Outcome::Applied } else { Outcome::Failed };
            if !holds {
                line.note = Some(format!("written, but it reads {}", now.trim()));
                line.after = Some(now);
                // What stands there is neither the old value nor ours: put the old one back, as far as that goes.
                if let (Change::Set { path, form, .. }, Some(old)) = (change, old) {
                    let old = if *form == Form::Choice {
                        form.canonical(&old)
                    } else {
                        old
                    };
                    let _ = files.set(path, &old);
                }
            }
        }
        Ok(None) => {
            line.outcome = Outcome::Failed;
            line.note = Some("written, but it is gone".into());
        }
        Err(error) => return failed(line, &error),
    }
    line
}

fn failed(mut line: Done, error: &io::Error) -> Done {
    (line.outcome, line.note) = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => (
            Outcome::Denied,
            Some(format!("{}: run as root on the host", plain(error))),
        ),
        // What the kernel answers for an interrupt it manages.
        Some(libc::EIO) if line.path.starts_with("/proc/irq/") => (
            Outcome::KernelManaged,
            Some("the kernel places this interrupt itself and refuses others, by design".into()),
        ),
        _ => (Outcome::Failed, Some(plain(error))),
    };
    line
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}

/// Directories above `path` that must be made, outermost first, added to those known.
fn note_directories(files: &dyn Files, path: &str, known: &mut Vec<String>) {
    let mut missing = Vec::new();
    let mut at = path;
    while let Some(slash) = at.rfind('/').filter(|slash| *slash > 0) {
        at = &at[..slash];
        if files.resolve(at).is_ok() {
            break;
        }
        missing.push(at.to_string());
    }
    missing.reverse();
    for directory in missing {
        if !known.contains(&directory) {
            known.push(directory);
        }
    }
}

/// Makes the ledger's directories and writes it.
fn save(files: &dyn Files, ledger: &Ledger) -> Result<(), ActError> {
    // The ledger's own directory first: it must be there to say which others we made.
    let own = |directory: &&String| is_own(directory);
    for directory in ledger.directories.iter().filter(own) {
        make(files, directory).map_err(ActError::Save)?;
    }
    files
        .put(PATH, ledger.text().as_bytes())
        .map_err(ActError::Save)?;
    for directory in &ledger.directories {
        make(files, directory).map_err(ActError::Save)?;
    }
    Ok(())
}

/// Whether the ledger is below `directory`.
fn is_own(directory: &str) -> bool {
    PATH.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Takes away what a crash in the middle of writing `path` may have left.
fn sweep(files: &dyn Files, path: &str) {
    let aside = format!("{path}.new");
    if files.resolve(&aside).is_ok() {
        let _ = files.remove(&aside);
    }
}

fn make(files: &dyn Files, directory: &str) -> io::Result<()> {
    match files.make_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Writes the ledger, or takes it away with our directories when nothing is left to undo.
fn settle(files: &dyn Files, mut ledger: Ledger) -> Result<(), ActError> {
    if !ledger.entries.is_empty() {
        return save(files, &ledger);
    }
    // Directories of boot files first; a directory that somebody else uses stays.
    let (own, others): (Vec<String>, Vec<String>) = ledger
        .directories
        .drain(..)
        .partition(|directory| is_own(directory));
    for directory in others.iter().rev() {
        let _ = files.remove_dir(directory);
    }
    match files.remove(PATH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ActError::Save(error)),
        _ => {}
    }
    for directory in own.iter().rev() {
        let _ = files.remove_dir(directory);
    }
    Ok(())
}

/// How `undo` goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct UndoHow {
    /// Restore also what somebody else has changed since.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Takes back what the tuners `meant` did, latest first.
pub fn undo(
    files: &dyn Files,
    meant: &dyn Fn(&str) -> bool,
    boot_id: &str,
    how: UndoHow,
) -> Result<Vec<Done>, ActError> {
    let mut ledger = ledger(files)?;
    if !how.dry_run {
        sweep(files, PATH);
        if ledger.entries.is_empty() {
            // A crash before the first change leaves no more than this.
            settle(files, ledger)?;
            if let Some(slash) = PATH.rfind('/') {
                let _ = files.remove_dir(&PATH[..slash]);
            }
            return Ok(Vec::new());
        }
    }
    let mut done = Vec::new();
    let mut kept = Vec::new();
    let entries = std::mem::take(&mut ledger.entries);
    for entry in entries.into_iter().rev() {
        if !meant(&entry.tuner) {
            kept.push(entry);
            continue;
        }
        let mut line = Done {
            tuner: entry.tuner.clone(),
            path: entry.path.clone(),
            outcome: Outcome::Failed,
            before: None,
            after: None,
            note: None,
        };
        if entry.form.is_none() && !how.dry_run {
            sweep(files, &entry.path);
        }
        let now = match standing(files, &entry.path, entry.form) {
            Ok(now) => now,
            Err(error) => {
                done.push(failed(line, &error));
                kept.push(entry);
                continue;
            }
        };
        let show = |text: Option<&String>| {
            text.map(|text| {
                entry
                    .form
                    .map_or_else(|| text.clone(), |form| form.canonical(text))
            })
        };
        line.before = show(now.as_ref());
        line.after = show(entry.before.as_ref());
        let step = entry.undo(now.as_deref(), boot_id);
        match step {
            Undo::Forget(why) => {
                (line.outcome, line.note) = (Outcome::Forgotten, Some(why.into()));
                line.after = line.before.clone();
                if how.dry_run {
                    kept.push(entry);
                }
            }
            Undo::Conflict(why) if !how.force => {
                line.outcome = Outcome::Conflict;
                line.after = line.before.clone();
                line.note = Some(format!(
                    "{why}; left alone. With --force it becomes {}",
                    show(entry.before.as_ref()).map_or("absent".to_string(), |text| format!("{text:?}"))
                ));
                kept.push(entry);
            }
            _ if how.dry_run => {
                line.outcome = Outcome::WouldRestore;
                kept.push(entry);
            }
            _ => {
                let result = match (entry.form, entry.restoring()) {
                    (Some(_), Some(value)) => files.set(&entry.path, &value),
                    (None, Some(content)) => files.put(&entry.path, content.as_bytes()),
                    (_, None) => files.remove(&entry.path),
                };
                match result {
                    Ok(()) => line.outcome = Outcome::Restored,
                    Err(error) => {
                        line.after = line.before.clone();
                        line = failed(line, &error);
                        kept.push(entry);
                    }
                }
            }
        }
        done.push(line);
    }
    kept.reverse();
    ledger.entries = kept;
    if !how.dry_run && !done.is_empty() {
        settle(files, ledger)?;
    }
    Ok(done)
}

/// Everything that following `report` takes; with `persist` also the files that repeat it after a start.
pub fn changes(report: &super::Report, persist: bool) -> Changes {
    let mut changes: Changes = report
        .changes()
        .map(|(tuner, _, change)| (tuner.to_string(), change.clone()))
        .collect();
    if persist {
        changes.extend(super::boot::files(report));
    }
    changes
}
