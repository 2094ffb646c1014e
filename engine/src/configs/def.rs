//! What the declaration of a setting consists of.
//!
//! The numeric ids are those of DescribeConfigs (KIP-133, KIP-226, KIP-569).

/// Type of a value, with the id DescribeConfigs v3+ sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl ConfigType {
    /// Id on the wire.
    pub fn id(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the type, as error messages and documentation print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// Where a value came from, with the id DescribeConfigs v1+ sends. A lower id wins over a higher one up to `Default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum ConfigSource {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl ConfigSource {
    /// Id on the wire.
    pub fn id(self) -> i8 {
        self as i8
    }
}

/// What a set of configs belongs to, with the id the config requests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    /// The type with this id; `None` for an id that Kafka does not assign.
    pub fn from_id(id: i8) -> Option<Self> {
        Some(match id {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            _ => return None,
        })
    }

    /// Id on the wire and in the metadata log.
    pub fn id(self) -> i8 {
        self as i8
    }
}

/// Which table a declaration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    Topic,
    Broker,
    Group,
}

/// Rule beyond the type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// Whatever the type admits.
    Any,
    /// Whole number, at least this.
    Min(i64),
    /// Whole number, both ends included.
    Range(i64, i64),
    /// Whole number in the range, or the single other value.
    RangeOr(i64, i64, i64),
    /// Number with a fraction, both ends included.
    Fraction(f64, f64),
    /// One of these words, exactly.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfNoCase(&'static [&'static str]),
    /// List of these words; an empty list is allowed, an empty word is not.
    ListOf(&'static [&'static str]),
    /// List without empty words; `true`: at least one word.
    Words(bool),
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// String of at least one character.
    NonEmpty,
}

/// What a number counts; printed in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unit {
    None,
    Bytes,
    BytesPerSecond,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Count,
    Ratio,
}

impl Unit {
    /// Short form; empty for `None`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Minutes => "min",
            Self::Hours => "h",
            Self::Count => "count",
            Self::Ratio => "ratio",
        }
    }
}

/// When a broker setting may change. Topic and group settings are always live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    /// Only in the node file, at start.
    ReadOnly,
    /// Live, for one broker at a time.
    PerBroker,
    /// Live, for one broker or for all of them.
    ClusterWide,
}

/// What the broker does with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The value steers the broker.
    Applied,
    /// Accepted, checked, stored and described, so that tools and scripts work; nothing here depends on it.
    Accepted,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct ConfigDef {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of the value.
    pub kind: ConfigType,
    /// Default in the notation of a value; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Rule beyond the type.
    pub check: Check,
    /// What a number counts.
    pub unit: Unit,
    /// When it may change.
    pub dynamic: Dynamic,
    /// What it does here.
    pub effect: Effect,
    /// Broker settings that give a topic or group setting its default, or alternatives of a broker setting, strongest
    /// first; the factor converts a value of that setting into the unit of this one.
    pub synonyms: &'static [(&'static str, i64)],
    /// One sentence.
    pub doc: &'static str,
}

impl ConfigDef {
    /// Whether the value is never shown.
    pub fn sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// Whether a client may not change it.
    pub fn read_only(&self) -> bool {
        self.dynamic == Dynamic::ReadOnly
    }
}

/// A topic setting; live by nature.
// One argument for each column of the table.
#[allow(clippy::too_many_arguments)]
pub(super) const fn topic(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    check: Check,
    unit: Unit,
    effect: Effect,
    synonyms: &'static [(&'static str, i64)],
    doc: &'static str,
) -> ConfigDef {
    ConfigDef {
        name,
        kind,
        default: Some(default),
        check,
        unit,
        dynamic: Dynamic::ClusterWide,
        effect,
        synonyms,
        doc,
    }
}

/// A broker setting without synonyms.
#[allow(clippy::too_many_arguments)]
pub(super) const fn broker(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    check: Check,
    unit: Unit,
    dynamic: Dynamic,
    effect: Effect,
    doc: &'static str,
) -> ConfigDef {
    ConfigDef {
        name,
        kind,
        default,
        check,
        unit,
        dynamic,
        effect,
        synonyms: &[],
        doc,
    }
}

/// `def` with the given chain of alternatives.
pub(super) const fn chained(mut def: ConfigDef, synonyms: &'static [(&'static str, i64)]) -> ConfigDef {
    def.synonyms = synonyms;
    def
}
