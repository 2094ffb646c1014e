//! Records of the internal offsets topic, byte for byte as Apache Kafka writes them.
//!
//! [`super::Coordinator`] encodes what it decides and decodes what recovery reads back. A record nobody understands
//! is an error value here and a counted, skipped record there; no input panics or allocates beyond its own size.
//!
//! All integers are big-endian. `string` is an `i16` length and UTF-8 bytes (-1: null), `bytes` an `i32` length.
//! A compact string or byte run has an unsigned varint of length + 1 (0: null). Key and value each start with an
//! `i16`: the key's names the record type, the value's its layout.
//!
//! | record | key | value |
//! |-|-|-|
//! | offset commit | 1 (or 0), group string, topic string, partition i32 | see [`OffsetValue`] |
//! | group metadata | 2, group string | see [`GroupValue`] |
//!
//! A null value is a tombstone.

use bytes::Bytes;

/// Layout written for an offset that carries its own expiry time (requests of version 2 to 4).
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
/// Layout written for every other offset: the flexible one, which carries the topic id.
const OFFSET_VALUE: i16 = 4;
/// Layout written for group metadata.
const GROUP_VALUE: i16 = 3;
/// Largest length an `i16` string can have.
pub const MAX_STRING: usize = i16::MAX as usize;

/// One record to append to the internal topic. `value` of `None` is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Encoded key; compaction keeps the newest record of each key.
    pub key: Vec<u8>,
    /// Encoded value, or a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Why a record cannot be read. The reader skips the record and counts it: an operator should look at the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes end before the field does, or a length points past the end.
    Truncated,
    /// A string is not UTF-8.
    NotUtf8,
    /// A field that may not be null is null, or a length is negative.
    BadLength,
    /// The value's layout is newer than the ones known here.
    UnknownVersion(i16),
}

/// What a record's key says the record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    /// A committed offset of one partition.
    Offset {
        /// Group id.
        group: &'a str,
        /// Topic name.
        topic: &'a str,
        /// Partition index.
        partition: i32,
    },
    /// The metadata of a classic group.
    Group {
        /// Group id.
        group: &'a str,
    },
    /// A record type that belongs to another coordinator (consumer, share and streams groups).
    Other(i16),
}

/// Value of an offset commit record.
///
/// | field | type | layouts |
/// |-|-|-|
/// | offset | i64 | 0+ |
/// | leader epoch | i32, -1: unknown | 3+ |
/// | metadata | string; compact from 4 | 0+ |
/// | commit timestamp | i64, ms | 0+ |
/// | expire timestamp | i64, ms, -1: none | 1 only |
/// | tagged fields: 0 = topic id, 16 bytes | | 4+ |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetValue {
    /// The next offset the group will read.
    pub offset: i64,
    /// Leader epoch of the last record consumed, -1 when unknown.
    pub leader_epoch: i32,
    /// Free text of the client.
    pub metadata: Box<str>,
    /// When the commit was received, ms since the epoch.
    pub commit_timestamp_ms: i64,
    /// When the offset expires, ms since the epoch; `None` leaves it to the broker's retention.
    pub expire_timestamp_ms: Option<i64>,
    /// Topic id, all zero when unknown.
    pub topic_id: [u8; 16],
}

/// Value of a group metadata record.
///
/// | field | type | layouts |
/// |-|-|-|
/// | protocol type | string | 0+ |
/// | generation | i32 | 0+ |
/// | protocol, leader | nullable string each | 0+ |
/// | state timestamp | i64, ms, -1: unknown | 2+ |
/// | members | i32 count, then [`MemberValue`] each | 0+ |
///
/// Layout 4 has compact lengths and tagged fields and no other difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupValue {
    /// Protocol type, empty for a group without one.
    pub protocol_type: String,
    /// Generation the record stores.
    pub generation: i32,
    /// Chosen protocol; `None` when the group is empty.
    pub protocol: Option<String>,
    /// Member id of the leader; `None` when the group is empty.
    pub leader: Option<String>,
    /// When the group last changed state, ms since the epoch; `None` in old records.
    pub state_timestamp_ms: Option<i64>,
    /// Members of the generation, in join order.
    pub members: Vec<MemberValue>,
}

/// One member inside a [`GroupValue`].
///
/// | field | type | layouts |
/// |-|-|-|
/// | member id | string | 0+ |
/// | group instance id | nullable string | 3+ |
/// | client id, client host | string each | 0+ |
/// | rebalance timeout | i32, ms | 1+ |
/// | session timeout | i32, ms | 0+ |
/// | subscription, assignment | bytes each | 0+ |
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberValue {
    /// Member id.
    pub member_id: String,
    /// Instance id of a static member.
    pub group_instance_id: Option<String>,
    /// Client id of the request that joined.
    pub client_id: String,
    /// Address of the client.
    pub client_host: String,
    /// Time the member gets to rejoin, ms; the session timeout in records that lack it.
    pub rebalance_timeout_ms: i32,
    /// Time without a heartbeat after which the member is gone, ms.
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader assigned to the member.
    pub assignment: Bytes,
}

impl Record {
    /// An offset commit. `group` and `topic` are at most [`MAX_STRING`] bytes; so is the metadata.
    pub fn offset(group: &str, topic: &str, partition: i32, value: &OffsetValue) -> Record {
        let version = if value.expire_timestamp_ms.is_some() {
            OFFSET_VALUE_WITH_EXPIRY
        } else {
            OFFSET_VALUE
        };
        let mut out = Vec::with_capacity(48 + value.metadata.len());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&value.offset.to_be_bytes());
        if version >= 3 {
            out.extend_from_slice(&value.leader_epoch.to_be_bytes());
            put_varint(&mut out, value.metadata.len() as u32 + 1);
            out.extend_from_slice(value.metadata.as_bytes());
        } else {
            put_string(&mut out, &value.metadata);
        }
        out.extend_from_slice(&value.commit_timestamp_ms.to_be_bytes());
        if let Some(expire) = value.expire_timestamp_ms {
            out.extend_from_slice(&expire.to_be_bytes());
        }
        if version >= 4 {
            if value.topic_id == [0; 16] {
                put_varint(&mut out, 0);
            } else {
                put_varint(&mut out, 1);
                put_varint(&mut out, 0);
                put_varint(&mut out, 16);
                out.extend_from_slice(&value.topic_id);
            }
        }
        Record {
            key: offset_key(group, topic, partition),
            value: Some(out),
        }
    }

    /// Forgets the committed offset of one partition.
    pub fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Record {
        Record {
            key: offset_key(group, topic, partition),
            value: None,
        }
    }

    /// The metadata of a group. All strings are at most [`MAX_STRING`] bytes.
    pub fn group(group: &str, value: &GroupValue) -> Record {
        let mut out = Vec::with_capacity(64 + value.members.len() * 256);
        out.extend_from_slice(&GROUP_VALUE.to_be_bytes());
        put_string(&mut out, &value.protocol_type);
        out.extend_from_slice(&value.generation.to_be_bytes());
        put_nullable(&mut out, value.protocol.as_deref());
        put_nullable(&mut out, value.leader.as_deref());
        out.extend_from_slice(&value.state_timestamp_ms.unwrap_or(-1).to_be_bytes());
        out.extend_from_slice(&(value.members.len() as i32).to_be_bytes());
        for member in &value.members {
            put_string(&mut out, &member.member_id);
            put_nullable(&mut out, member.group_instance_id.as_deref());
            put_string(&mut out, &member.client_id);
            put_string(&mut out, &member.client_host);
            out.extend_from_slice(&member.rebalance_timeout_ms.to_be_bytes());
            out.extend_from_slice(&member.session_timeout_ms.to_be_bytes());
            put_bytes(&mut out, &member.subscription);
            put_bytes(&mut out, &member.assignment);
        }
        Record {
            key: group_key(group),
            value: Some(out),
        }
    }

    /// Forgets a group.
    pub fn group_tombstone(group: &str) -> Record {
        Record {
            key: group_key(group),
            value: None,
        }
    }
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(10 + group.len() + topic.len());
    key.extend_from_slice(&1i16.to_be_bytes());
    put_string(&mut key, group);
    put_string(&mut key, topic);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn group_key(group: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + group.len());
    key.extend_from_slice(&2i16.to_be_bytes());
    put_string(&mut key, group);
    key
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    assert!(
        text.len() <= MAX_STRING,
        "a string of {} bytes in an internal record",
        text.len()
    );
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(
        bytes.len() <= i32::MAX as usize,
        "a byte run of {} bytes in an internal record",
        bytes.len()
    );
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what a record is from its key.
pub fn decode_key(key: &[u8]) -> Result<Key<'_>, RecordError> {
    let mut cursor = Cursor { rest: key };
    match cursor.i16()? {
        0 | 1 => {
            let group = cursor.string()?;
            let topic = cursor.string()?;
            Ok(Key::Offset {
                group,
                topic,
                partition: cursor.i32()?,
            })
        }
        2 => Ok(Key::Group {
            group: cursor.string()?,
        }),
        other => Ok(Key::Other(other)),
    }
}

/// Reads the value of an offset commit, layouts 0 to 4.
pub fn decode_offset(value: &[u8]) -> Result<OffsetValue, RecordError> {
    let mut cursor = Cursor { rest: value };
    let version = cursor.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion(version));
    }
    let flexible = version >= 4;
    let offset = cursor.i64()?;
    let leader_epoch = if version >= 3 { cursor.i32()? } else { -1 };
    let metadata = cursor.text(flexible)?.ok_or(RecordError::BadLength)?.into();
    let commit_timestamp_ms = cursor.i64()?;
    let expire = if version == 1 { cursor.i64()? } else { -1 };
    let mut topic_id = [0; 16];
    if flexible {
        cursor.tagged(|tag, bytes| {
            if tag == 0 {
                topic_id = bytes.try_into().map_err(|_| RecordError::BadLength)?;
            }
            Ok(())
        })?;
    }
    Ok(OffsetValue {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp_ms,
        expire_timestamp_ms: (expire != -1).then_some(expire),
        topic_id,
    })
}

/// Reads the value of a group metadata record, layouts 0 to 4.
pub fn decode_group(value: &[u8]) -> Result<GroupValue, RecordError> {
    let mut cursor = Cursor { rest: value };
    let version = cursor.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion(version));
    }
    let flexible = version >= 4;
    let protocol_type = cursor.text(flexible)?.ok_or(RecordError::BadLength)?.to_owned();
    let generation = cursor.i32()?;
    let protocol = cursor.text(flexible)?.map(str::to_owned);
    let leader = cursor.text(flexible)?.map(str::to_owned);
    let since = if version >= 2 { cursor.i64()? } else { -1 };
    let count = cursor.count(flexible)?;
    let mut members = Vec::new();
    for _ in 0..count {
        let member_id = cursor.text(flexible)?.ok_or(RecordError::BadLength)?.to_owned();
        let group_instance_id = if version >= 3 {
            cursor.text(flexible)?.map(str::to_owned)
        } else {
            None
        };
        let client_id = cursor.text(flexible)?.ok_or(RecordError::BadLength)?.to_owned();
        let client_host = cursor.text(flexible)?.ok_or(RecordError::BadLength)?.to_owned();
        let rebalance = if version >= 1 { cursor.i32()? } else { -1 };
        let session_timeout_ms = cursor.i32()?;
        let subscription = Bytes::copy_from_slice(cursor.run(flexible)?);
        let assignment = Bytes::copy_from_slice(cursor.run(flexible)?);
        if flexible {
            cursor.tagged(|_, _| Ok(()))?;
        }
        members.push(MemberValue {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: if rebalance == -1 {
                session_timeout_ms
            } else {
                rebalance
            },
            session_timeout_ms,
            subscription,
            assignment,
        });
    }
    if flexible {
        cursor.tagged(|_, _| Ok(()))?;
    }
    Ok(GroupValue {
        protocol_type,
        generation,
        protocol,
        leader,
        state_timestamp_ms: (since != -1).then_some(since),
        members,
    })
}

/// The topics named by a member's metadata of protocol type "consumer".
///
/// Every version of that layout starts alike: version i16, then an i32 count of topic strings; the rest is not read.
pub fn subscribed_topics(subscription: &[u8]) -> Result<Vec<&str>, RecordError> {
    let mut cursor = Cursor { rest: subscription };
    cursor.i16()?;
    let count = cursor.count(false)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(cursor.string()?);
    }
    Ok(topics)
}

/// Reads fields in order; every length is checked against what is left.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            if shift == 28 && byte > 0x0f {
                return Err(RecordError::BadLength);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::BadLength)
    }

    /// An array's count; each element takes at least two bytes, so a count beyond that is refused at once.
    fn count(&mut self, flexible: bool) -> Result<usize, RecordError> {
        let count = if flexible {
            i64::from(self.varint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        let count = usize::try_from(count).map_err(|_| RecordError::BadLength)?;
        if count > self.rest.len() {
            return Err(RecordError::Truncated);
        }
        Ok(count)
    }

    fn text(&mut self, flexible: bool) -> Result<Option<&'a str>, RecordError> {
        let len = if flexible {
            i64::from(self.varint()?) - 1
        } else {
            i64::from(self.i16()?)
        };
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| RecordError::BadLength)?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| RecordError::NotUtf8)
    }

    fn string(&mut self) -> Result<&'a str, RecordError> {
        self.text(false)?.ok_or(RecordError::BadLength)
    }

    fn run(&mut self, flexible: bool) -> Result<&'a [u8], RecordError> {
        let len = if flexible {
            i64::from(self.varint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        self.take(usize::try_from(len).map_err(|_| RecordError::BadLength)?)
    }

    fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let len = self.varint()? as usize;
            field(tag, self.take(len)?)?;
        }
        Ok(())
    }
}
