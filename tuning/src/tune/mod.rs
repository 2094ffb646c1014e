//! Tuners: settings of the machine that cost a broker latency when they are wrong.
//!
//! A [`Tuner`] looks at a [`Host`] and says for each setting ([`Item`]) what it is, what it should be and why; [`check`]
//! asks all of them and changes nothing. [`ledger`] plans changes and keeps the values they replace, [`act`] carries them
//! out, [`script`] prints them as shell commands, [`boot`] writes the files that repeat them after a start of the
//! machine. `turgo tune` and `turgo-tune.service` call these.
//!
//! Always holds: a setting is changed only where a tuner proposes a [`Change`], and only after the value it replaces is on
//! stable media. Parameters of the boot loader are never edited, and nothing changes what a flush means.

pub mod act;
pub mod boot;
pub mod catalog;
mod cpu;
mod disk;
mod kernel;
pub mod ledger;
mod memory;
mod network;
pub mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::files::Reading;
use crate::host::cpus::Cpus;
use crate::host::{Host, Seen};
pub use catalog::TUNERS;

/// Version of the JSON that `turgo tune` prints. A field may be added; one that goes or changes its meaning raises it.
pub const SCHEMA: u32 = 1;

/// What a tuner is about; also a word of selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Processors: clock, frequency, sleep, who may use which.
    Cpu,
    /// Memory and swapping.
    Memory,
    /// Devices and filesystem under the data.
    Disk,
    /// Interfaces and sockets.
    Network,
    /// Limits and restrictions.
    Kernel,
}

impl Category {
    /// All, in the order of listings.
    pub const ALL: [Category; 5] = [
        Category::Cpu,
        Category::Memory,
        Category::Disk,
        Category::Network,
        Category::Kernel,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Category::Cpu => "cpu",
            Category::Memory => "memory",
            Category::Disk => "disk",
            Category::Network => "network",
            Category::Kernel => "kernel",
        }
    }
}

/// Where a setting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The machine has no such setting, or it does not matter here.
    NotApplicable,
    /// The kernel keeps it to itself, by design; nothing to do.
    KernelManaged,
    /// As it should be, or better.
    Ok,
    /// Might be better; never changed unasked, as there is a price or a doubt.
    Advice,
    /// It could not be looked at.
    Unknown,
    /// It costs. `apply` changes it if there is a [`Change`], else the operator must.
    Differs,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            State::NotApplicable => "not-applicable",
            State::KernelManaged => "kernel-managed",
            State::Ok => "ok",
            State::Advice => "advice",
            State::Unknown => "unknown",
            State::Differs => "differs",
        }
    }
}

/// How values of a setting are compared: the kernel does not show what was written letter by letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Words between gaps.
    Words,
    /// The one in brackets, or the only one.
    Choice,
    /// A mask of CPUs.
    Mask,
}

impl Form {
    /// `text` in a form in which equal settings are equal texts; also what is written to bring it back.
    pub fn canonical(self, text: &str) -> String {
        let words = || text.split_whitespace().collect::<Vec<_>>().join(" ");
        match self {
            Form::Words => words(),
            Form::Choice => {
                let chosen = text
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
                chosen.map_or_else(words, str::to_string)
            }
            Form::Mask => Cpus::from_mask(text).map_or_else(words, |cpus| cpus.mask()),
        }
    }
}

/// What `apply` would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives a setting of the running kernel a value; it lasts until the machine stops.
    Set {
        /// File of the setting.
        path: String,
        /// Its form.
        form: Form,
        /// Value to write.
        value: String,
    },
    /// Puts an ordinary file there.
    File {
        /// Its path.
        path: String,
        /// Its content.
        content: String,
    },
}

impl Change {
    /// Path of the file it changes.
    pub fn path(&self) -> &str {
        match self {
            Change::Set { path, .. } | Change::File { path, .. } => path,
        }
    }
}

/// One setting as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Path of the setting, or its name where it has none.
    pub knob: String,
    /// Where it stands.
    pub state: State,
    /// Value now.
    pub current: Option<String>,
    /// Value it should have.
    pub wanted: Option<String>,
    /// What to know or to do.
    pub note: Option<String>,
    /// Whether `apply` can bring it about.
    #[serde(rename = "can_apply", serialize_with = "is_some")]
    pub change: Option<Change>,
    /// What boot files set; present also where the running kernel already has it.
    #[serde(skip)]
    pub keep: Option<Change>,
}

fn is_some<S: serde::Serializer>(change: &Option<Change>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bool(change.is_some())
}

impl Item {
    /// A setting without a value to compare.
    fn new(knob: impl Into<String>, state: State) -> Self {
        Item {
            knob: knob.into(),
            state,
            current: None,
            wanted: None,
            note: None,
            change: None,
            keep: None,
        }
    }

    fn current(mut self, value: impl Into<String>) -> Self {
        self.current = Some(value.into());
        self
    }

    fn wanted(mut self, value: impl Into<String>) -> Self {
        self.wanted = Some(value.into());
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same finding, but never changed unasked.
    fn into_advice(mut self) -> Self {
        if self.state == State::Differs {
            self.state = State::Advice;
        }
        self.change = None;
        self.keep = None;
        self
    }
}

/// What a reading that has no value means; `Ok` is its text.
fn readable(host: &Host, path: &str) -> Result<String, Box<Item>> {
    let (state, note) = match host.reading(path) {
        Reading::Is(text) => return Ok(text),
        Reading::Missing => (
            State::NotApplicable,
            "not there: this kernel or device has no such setting".to_string(),
        ),
        Reading::Denied => (State::Unknown, "permission denied; run as root".into()),
        Reading::Failed(why) => (State::Unknown, why),
    };
    Err(Box::new(Item::new(path, state).note(note)))
}

/// A setting that should have `value`, unless `fine` says that the present one does as well.
fn setting(host: &Host, path: &str, form: Form, value: &str, fine: impl Fn(&str) -> bool) -> Item {
    let text = match readable(host, path) {
        Ok(text) => text,
        Err(item) => return *item,
    };
    let (current, value) = (form.canonical(&text), form.canonical(value));
    let set = Change::Set {
        path: path.to_string(),
        form,
        value: value.clone(),
    };
    let item = Item::new(path, State::Ok)
        .current(current.as_str())
        .wanted(value.as_str());
    if current == value {
        Item {
            keep: Some(set),
            ..item
        }
    } else if fine(&current) {
        item
    } else {
        Item {
            state: State::Differs,
            keep: Some(set.clone()),
            change: Some(set),
            ..item
        }
    }
}

/// A setting that should have exactly `value`.
fn exact(host: &Host, path: &str, value: &str) -> Item {
    setting(host, path, Form::Words, value, |_| false)
}

/// A number that should be `least` or more.
fn at_least(host: &Host, path: &str, least: u64) -> Item {
    let enough = |text: &str| text.parse::<u64>().is_ok_and(|value| value >= least);
    setting(host, path, Form::Words, &least.to_string(), enough)
}

/// A mask of CPUs.
fn mask(host: &Host, path: &str, cpus: &Cpus) -> Item {
    setting(host, path, Form::Mask, &cpus.mask(), |_| false)
}

/// A choice that should be the first of `preferred` that is offered; `fine` ones are left as they are.
fn choice(host: &Host, path: &str, preferred: &[&str], fine: &[&str]) -> Item {
    let text = match readable(host, path) {
        Ok(text) => text,
        Err(item) => return *item,
    };
    let offers: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']']))
        .collect();
    match preferred.iter().find(|word| offers.contains(word)) {
        Some(word) => setting(host, path, Form::Choice, word, |current| fine.contains(&current)),
        None => Item::new(path, State::NotApplicable)
            .current(Form::Choice.canonical(&text))
            .note(format!("offers none of {}", preferred.join(", "))),
    }
}

/// A tuner: texts for people, and the judgement.
pub struct Tuner {
    /// Name, for selection.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// What it sets, in a few words.
    pub title: &'static str,
    /// Why it matters to a broker that flushes.
    pub why: &'static str,
    /// What it was measured or published to do.
    pub effect: &'static str,
    /// Where that, and the meaning of the setting, is written.
    pub source: &'static str,
    /// What may be lost by following it.
    pub risk: &'static str,
    /// How to do and undo it by hand.
    pub by_hand: &'static str,
    /// The judgement.
    pub look: fn(&Host) -> Vec<Item>,
}

/// A tuner's finding.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Name of the tuner.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// What it sets.
    pub title: &'static str,
    /// The gravest state of its settings.
    pub state: State,
    /// Why it matters.
    pub why: &'static str,
    /// What it was measured or published to do.
    pub effect: &'static str,
    /// Where that is written.
    pub source: &'static str,
    /// Each setting.
    pub items: Vec<Item>,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The machine.
    pub host: Seen,
    /// Findings, in the order of the catalogue.
    pub tuners: Vec<Found>,
    /// How many tuners are in each state.
    pub summary: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Exit code of `check`: 1 if something differs, else 2 if something could not be looked at, else 0.
    pub fn exit_code(&self) -> u8 {
        let any = |state| self.tuners.iter().any(|found| found.state == state);
        if any(State::Differs) {
            1
        } else if any(State::Unknown) {
            2
        } else {
            0
        }
    }

    /// Changes that `apply` would make, with the tuner that wants each.
    pub fn changes(&self) -> impl Iterator<Item = (&'static str, &Item, &Change)> {
        self.tuners.iter().flat_map(|found| {
            let items = found.items.iter();
            items.filter_map(|item| Some((found.name, item, item.change.as_ref()?)))
        })
    }
}

/// Which tuners are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Names; none means all.
    pub names: Vec<String>,
    /// Words of categories; none means all.
    pub categories: Vec<String>,
}

impl Selection {
    /// The tuners meant, in the order of the catalogue, or what is wrong with the words.
    pub fn tuners(&self) -> Result<Vec<&'static Tuner>, String> {
        for name in &self.names {
            if !TUNERS.iter().any(|tuner| tuner.name == name) {
                let nearest = TUNERS
                    .iter()
                    .map(|tuner| tuner.name)
                    .min_by_key(|known| distance(known, name))
                    .unwrap_or_default();
                return Err(format!(
                    "there is no tuner {name:?}; did you mean {nearest:?}? `turgo tune list` shows all"
                ));
            }
        }
        for word in &self.categories {
            if !Category::ALL.iter().any(|category| category.name() == word) {
                let known: Vec<&str> = Category::ALL.iter().map(|category| category.name()).collect();
                return Err(format!(
                    "there is no category {word:?}; there are {}",
                    known.join(", ")
                ));
            }
        }
        let meant = |tuner: &&Tuner| {
            (self.names.is_empty() || self.names.iter().any(|name| name == tuner.name))
                && (self.categories.is_empty()
                    || self.categories.iter().any(|word| word == tuner.category.name()))
        };
        Ok(TUNERS.iter().filter(meant).collect())
    }
}

/// Changes of single letters between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = cost.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Asks `tuners`; reads only.
pub fn check(host: &Host, tuners: &[&'static Tuner]) -> Report {
    let tuners: Vec<Found> = tuners
        .iter()
        .map(|tuner| {
            let items = (tuner.look)(host);
            Found {
                name: tuner.name,
                category: tuner.category,
                title: tuner.title,
                state: items
                    .iter()
                    .map(|item| item.state)
                    .max()
                    .unwrap_or(State::NotApplicable),
                why: tuner.why,
                effect: tuner.effect,
                source: tuner.source,
                items,
            }
        })
        .collect();
    let mut summary = BTreeMap::new();
    for found in &tuners {
        *summary.entry(found.state.name()).or_default() += 1;
    }
    Report {
        schema: SCHEMA,
        host: host.seen(),
        tuners,
        summary,
    }
}
