//! What was changed and what stood there before, so that `undo` restores it exactly.
//!
//! [`Ledger`] is the content of [`PATH`]: one entry for each file changed, in the order of the changes. It is written
//! before the first change and after the last. Pure: [`act`](super::act) reads and writes.
//!
//! Always holds: an entry's `before` is what stood there when nobody of us had changed it yet; `written` are the values
//! that are ours. A value that is neither was set by somebody else.

use serde::{Deserialize, Serialize};

use super::{Change, Form};

/// Where the ledger is, below the root.
pub const PATH: &str = "/var/lib/turgo-tune/state.json";
/// Version of the file.
pub const VERSION: u32 = 1;

/// Everything that can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// [`VERSION`].
    pub version: u32,
    /// Changes, oldest first.
    pub entries: Vec<Entry>,
    /// Directories made for ordinary files, in the order made.
    #[serde(default)]
    pub directories: Vec<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            version: VERSION,
            entries: Vec::new(),
            directories: Vec::new(),
        }
    }
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Tuner that wanted it.
    pub tuner: String,
    /// The file.
    pub path: String,
    /// How its values are compared; absent for ordinary files, which are compared byte by byte.
    pub form: Option<Form>,
    /// What stood there before us; absent: there was no file.
    pub before: Option<String>,
    /// What we wrote, the latest last.
    pub written: Vec<String>,
    /// When, seconds since 1970.
    pub time: u64,
    /// Boot during which it was written: a setting of the kernel is gone with it.
    pub boot_id: String,
}

impl Entry {
    /// Whether a restart of the machine has undone it.
    pub fn is_volatile(&self) -> bool {
        self.form.is_some()
    }

    fn same(&self, a: &str, b: &str) -> bool {
        match self.form {
            Some(form) => form.canonical(a) == form.canonical(b),
            None => a == b,
        }
    }

    /// What undoing means, with `now` standing there (`None`: no file).
    pub fn undo(&self, now: Option<&str>, boot_id: &str) -> Undo {
        if self.is_volatile() && self.boot_id != boot_id {
            return Undo::Forget("the machine was started again since");
        }
        match (now, self.before.as_deref()) {
            (None, _) if self.is_volatile() => Undo::Forget("it is not there any more"),
            (None, None) => Undo::Forget("it is gone already"),
            (None, Some(_)) => Undo::Conflict("somebody removed it".into()),
            (Some(now), Some(before)) if self.same(now, before) => Undo::Forget("it is back already"),
            (Some(now), _) if self.written.iter().any(|ours| self.same(now, ours)) => Undo::Restore,
            (Some(now), _) => {
                let shown = match self.form {
                    Some(form) => format!("somebody set it to {}", form.canonical(now)),
                    None => "somebody changed its content".to_string(),
                };
                Undo::Conflict(shown)
            }
        }
    }

    /// The text to write so that `before` stands there again.
    pub fn restoring(&self) -> Option<String> {
        let before = self.before.as_deref()?;
        Some(match self.form {
            // A list of choices cannot be written back, its chosen word can. All else goes back letter by letter.
            Some(Form::Choice) => Form::Choice.canonical(before),
            _ => before.to_string(),
        })
    }
}

/// What undoing an entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// The value is ours: put back what was there.
    Restore,
    /// Nothing to do, for this reason.
    Forget(&'static str),
    /// The value is somebody else's; it is left alone unless forced.
    Conflict(String),
}

impl Ledger {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if head.version != VERSION {
            return Err(format!(
                "its version is {}, and this program knows {VERSION}",
                head.version
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain values");
        text.push('\n');
        text
    }

    /// Notes that `tuner` is about to make `change`, where `now` stands. An earlier entry for the same file keeps what
    /// stood there before us, unless somebody else has set it since or it died with an earlier boot.
    pub fn note(&mut self, tuner: &str, change: &Change, now: Option<&str>, time: u64, boot_id: &str) {
        let (form, value) = match change {
            Change::Set { form, value, .. } => (Some(*form), value),
            Change::File { content, .. } => (None, content),
        };
        let mut entry = Entry {
            tuner: tuner.to_string(),
            path: change.path().to_string(),
            form,
            before: now.map(str::to_string),
            written: vec![value.clone()],
            time,
            boot_id: boot_id.to_string(),
        };
        if let Some(at) = self.entries.iter().position(|known| known.path == entry.path) {
            let known = self.entries.remove(at);
            let is_ours = known.undo(now, boot_id) == Undo::Restore;
            let is_back =
                known.before.as_deref() == now && !(known.is_volatile() && known.boot_id != boot_id);
            if is_ours || is_back {
                entry.before = known.before;
                let mut written = known.written;
                written.retain(|ours| ours != value);
                written.append(&mut entry.written);
                entry.written = written;
            }
        }
        self.entries.push(entry);
    }
}
