//! Records of the internal topic: the bytes Apache Kafka 4.3.1 wrote, and what is done with bytes nobody wrote.

use super::*;
use crate::groups::records::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Read from `__consumer_offsets` of Apache Kafka 4.3.1: an offset commit.
const OFFSET_KEY: &str = "00010002673100017400000000";
const OFFSET: &str = "00040000000000000005ffffffff01000001a1fd87b70901001081349b74478645c7a2749da938d8ce89";
/// The record a new group starts with.
const NEW_GROUP: &str = "0003000000000000ffffffff000001a1fd87b44e00000000";
/// A generation of one static member.
const GROUP_KEY: &str = "000200027331";
const GROUP: &str = "00030008636f6e73756d657200000001000572616e6765002769312d32623664303032372d376361622d346332302d\
623731372d363933623638613233313635000001a1fd88553400000001002769312d32623664303032372d376361622d346332302d623731\
372d363933623638613233313635000269310003617070000a2f3132372e302e302e3100004e20000027100000000d0001000000010001\
74ffffffff000000024141";
/// The record of a group whose last member left.
const EMPTY: &str = "00030008636f6e73756d657200000003ffffffff000001a1fd87c22300000000";

#[test]
fn offset_commit_is_byte_for_byte_as_kafka_writes_it() {
    let value = OffsetValue {
        offset: 5,
        leader_epoch: -1,
        metadata: "".into(),
        commit_timestamp_ms: 0x1a1fd87b709,
        expire_timestamp_ms: None,
        topic_id: hex("81349b74478645c7a2749da938d8ce89")
            .try_into()
            .expect("16 bytes"),
    };
    let record = Record::offset("g1", "t", 0, &value);
    assert_eq!(record.key, hex(OFFSET_KEY));
    assert_eq!(record.value.as_deref(), Some(&hex(OFFSET)[..]));
    assert_eq!(decode_offset(&hex(OFFSET)), Ok(value));
    let key = Key::Offset {
        group: "g1",
        topic: "t",
        partition: 0,
    };
    assert_eq!(decode_key(&hex(OFFSET_KEY)), Ok(key));
}

#[test]
fn group_metadata_is_byte_for_byte_as_kafka_writes_it() {
    let member_id = "i1-2b6d0027-7cab-4c20-b717-693b68a23165";
    let value = GroupValue {
        protocol_type: "consumer".into(),
        generation: 1,
        protocol: Some("range".into()),
        leader: Some(member_id.into()),
        state_timestamp_ms: Some(0x1a1fd885534),
        members: vec![MemberValue {
            member_id: member_id.into(),
            group_instance_id: Some("i1".into()),
            client_id: "app".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 20_000,
            session_timeout_ms: 10_000,
            subscription: hex("0001000000010001 74ffffffff".replace(' ', "").as_str()).into(),
            assignment: Bytes::from_static(b"AA"),
        }],
    };
    let record = Record::group("s1", &value);
    assert_eq!(record.key, hex(GROUP_KEY));
    assert_eq!(record.value.as_deref(), Some(&hex(GROUP)[..]));
    assert_eq!(decode_group(&hex(GROUP)), Ok(value));
}

#[test]
fn new_and_emptied_groups_are_as_kafka_writes_them() {
    for (text, protocol_type, generation) in [(NEW_GROUP, "", 0), (EMPTY, "consumer", 3)] {
        let value = decode_group(&hex(text)).expect("as Kafka wrote it");
        assert_eq!(
            (value.protocol_type.as_str(), value.generation),
            (protocol_type, generation)
        );
        assert_eq!(
            (
                value.protocol.as_deref(),
                value.leader.as_deref(),
                value.members.len()
            ),
            (None, None, 0)
        );
        assert_eq!(Record::group("g", &value).value, Some(hex(text)));
    }
}

#[test]
fn a_group_made_and_emptied_here_leaves_the_same_records_but_for_times() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable_group("g", 1);
    bench.leave("g", &ids[0]);
    assert_eq!(bench.log.len(), 3);
    let values: Vec<GroupValue> = bench
        .log
        .iter()
        .map(|record| decode_group(record.value.as_deref().expect("not a tombstone")).expect("readable"))
        .collect();
    let shape = |value: &GroupValue| {
        (
            value.protocol_type.clone(),
            value.generation,
            value.protocol.clone(),
            value.members.len(),
        )
    };
    assert_eq!(shape(&values[0]), (String::new(), 0, None, 0));
    assert_eq!(shape(&values[1]), ("consumer".into(), 1, Some("range".into()), 1));
    assert_eq!(shape(&values[2]), ("consumer".into(), 2, None, 0));
}

#[test]
fn offset_with_its_own_expiry_uses_the_layout_that_can_hold_it() {
    let value = OffsetValue {
        offset: 7,
        leader_epoch: -1,
        metadata: "m".into(),
        commit_timestamp_ms: 1,
        expire_timestamp_ms: Some(2),
        topic_id: [0; 16],
    };
    let record = Record::offset("g", "t", 0, &value);
    let expected = "0001 0000000000000007 00016d 0000000000000001 0000000000000002".replace(' ', "");
    assert_eq!(record.value, Some(hex(&expected)));
    assert_eq!(decode_offset(&hex(&expected)), Ok(value));
}

#[test]
fn older_and_newer_layouts_of_both_values_are_read() {
    let offset = |text: &str| decode_offset(&hex(&text.replace(' ', ""))).expect("readable");
    let v0 = offset("0000 0000000000000007 00016d 0000000000000001");
    assert_eq!(
        (v0.offset, v0.leader_epoch, &*v0.metadata, v0.commit_timestamp_ms),
        (7, -1, "m", 1)
    );
    assert_eq!(offset("0002 0000000000000007 00016d 0000000000000001"), v0);
    assert_eq!(
        offset("0003 0000000000000007 00000009 00016d 0000000000000001").leader_epoch,
        9
    );
    // Unknown tagged fields are skipped.
    assert_eq!(
        offset("0004 0000000000000007 ffffffff 026d 0000000000000001 01 05 02 abcd"),
        v0
    );
    let group = |text: &str| decode_group(&hex(&text.replace(' ', ""))).expect("readable");
    let v0 = group(
        "0000 000163 00000001 000172 00016d 00000001 00016d 000163 000168 00002710 00000001aa 00000001bb",
    );
    assert_eq!(
        v0.members[0].rebalance_timeout_ms, 10_000,
        "the session timeout where there is no other"
    );
    assert_eq!(
        (v0.state_timestamp_ms, v0.members[0].group_instance_id.as_deref()),
        (None, None)
    );
    let v4 = "0004 0263 00000001 0272 026d ffffffffffffffff 02 026d 00 0263 0268 00002710 00002710 02aa 02bb 00 00";
    assert_eq!(group(v4), v0);
}

#[test]
fn unreadable_records_are_skipped_and_counted() {
    let mut coordinator = Coordinator::new(Config::default());
    let mut replay = |key: Option<&str>, value: Option<&str>| {
        let key = key.map(|text| hex(&text.replace(' ', "")));
        let value = value.map(|text| hex(&text.replace(' ', "")));
        coordinator.replay(ReplayRecord {
            offset: 0,
            producer_id: None,
            key: key.as_deref(),
            value: value.as_deref(),
        });
        (
            coordinator.stats().bad_records,
            coordinator.stats().foreign_records,
        )
    };
    assert_eq!(replay(None, None), (1, 0));
    assert_eq!(replay(Some("00"), None), (2, 0));
    assert_eq!(replay(Some("0002 0005 67"), None), (3, 0));
    assert_eq!(replay(Some("000a 000167"), Some("00")), (3, 1));
    assert_eq!(replay(Some("0002 000167"), Some("0009")), (4, 1));
    assert_eq!(replay(Some("0002 0001ff"), None), (5, 1));
    // Two members of one name.
    let member = "00016d ffff 000163 000168 00002710 00002710 00000000 00000000";
    let twice = format!("0003 000163 00000001 000172 00016d ffffffffffffffff 00000002 {member} {member}");
    assert_eq!(replay(Some("0002 000167"), Some(&twice)), (6, 1));
    // Members without a protocol.
    let bare = format!("0003 000163 00000001 ffff 00016d ffffffffffffffff 00000001 {member}");
    assert_eq!(replay(Some("0002 000167"), Some(&bare)), (7, 1));
    coordinator.loaded(0, &mut Vec::new());
    coordinator.check();
    assert_eq!(coordinator.stats().groups, 0);
}
