//! A few messages, byte by byte, worked out by hand from the protocol's rules.

use std::borrow::Cow;

use bytes::Bytes;
use turgo_net::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use turgo_net::messages::consumer_protocol::ConsumerProtocolSubscription;
use turgo_net::messages::fetch::{FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData};
use turgo_net::messages::group_metadata_record::GroupMetadataKey;
use turgo_net::messages::join_group::JoinGroupResponse;
use turgo_net::messages::metadata::MetadataRequest;
use turgo_net::messages::offset_commit_record::{OffsetCommitKey, OffsetCommitValue};
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::messages::{decode_versioned, encode_record_key, encode_versioned};
use turgo_net::wire::{Encode, REFERENCE_THRESHOLD};
use turgo_net::{
    ApiKey, EncodeError, Reader, Records, RequestHeader, Writer, encode_request, encode_response,
};

fn at<M: Encode>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Writer::new();
    message.encode(&mut w, version).expect("encodes");
    w.to_vec()
}

#[test]
fn api_versions_response_has_no_tags_in_its_header_at_any_version() {
    let body = ApiVersionsResponse {
        api_keys: vec![ApiVersion {
            api_key: 18,
            min_version: 0,
            max_version: 4,
        }],
        ..Default::default()
    };
    let v0 = [0, 0, 0, 16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
    assert_eq!(
        encode_response(ApiKey::ApiVersions, 0, 7, &body)
            .unwrap()
            .to_vec(),
        v0
    );
    let v3 = [
        0, 0, 0, 19, 0, 0, 0, 7, 0, 0, 2, 0, 18, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(
        encode_response(ApiKey::ApiVersions, 3, 7, &body)
            .unwrap()
            .to_vec(),
        v3
    );
}

#[test]
fn api_versions_request_has_a_flexible_header_with_a_classic_client_id() {
    let body = ApiVersionsRequest {
        client_software_name: Cow::Borrowed("t"),
        client_software_version: Cow::Borrowed("1"),
    };
    let frame = encode_request(ApiKey::ApiVersions, 3, 1, Some("me"), &body)
        .unwrap()
        .to_vec();
    let want = [
        0, 0, 0, 18, // size
        0, 18, 0, 3, 0, 0, 0, 1, 0, 2, b'm', b'e', 0, // header v2: int16 length, then tags
        2, b't', 2, b'1', 0, // compact strings, then tags
    ];
    assert_eq!(frame, want);
    let mut r = Reader::new(&frame[4..]);
    assert_eq!(
        RequestHeader::decode(&mut r).unwrap().client_id.as_deref(),
        Some("me")
    );
    assert_eq!(ApiVersionsRequest::decode(&mut r, 3), Ok(body));
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn produce_lends_out_the_record_bytes_of_the_frame() {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![TopicProduceData {
            name: Cow::Borrowed("a"),
            partition_data: vec![PartitionProduceData {
                index: 3,
                records: Records::Slice(b"xyz"),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let classic = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 5, 0xdc, // no transactional id, acks, timeout
        0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3, b'x', b'y', b'z',
    ];
    assert_eq!(at(&request, 8), classic);
    let compact = [
        0, 0xff, 0xff, 0, 0, 5, 0xdc, // no transactional id, acks, timeout
        2, 2, b'a', 2, 0, 0, 0, 3, 4, b'x', b'y', b'z', 0, 0, 0,
    ];
    assert_eq!(at(&request, 9), compact);
    let back = ProduceRequest::decode(&mut Reader::new(&compact), 9).unwrap();
    assert_eq!(back, request);
    let Records::Slice(records) = back.topic_data[0].partition_data[0].records else {
        panic!("borrowed")
    };
    assert_eq!(records.as_ptr(), compact[16..].as_ptr());
}

#[test]
fn fetch_response_references_records_and_tags_the_current_leader() {
    let chunk = Bytes::from(vec![0x5a; REFERENCE_THRESHOLD]);
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Cow::Borrowed("t"),
            partitions: vec![PartitionData {
                partition_index: 1,
                high_watermark: 9,
                current_leader: LeaderIdAndEpoch {
                    leader_id: 2,
                    leader_epoch: 5,
                },
                aborted_transactions: None,
                records: Records::Chunks(vec![chunk.clone()]),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let writer = encode_response(ApiKey::Fetch, 12, 77, &response).unwrap();
    let len = writer.len();
    let parts = writer.into_parts();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1].as_ptr(), chunk.as_ptr());
    let frame = parts.concat();
    assert_eq!(frame.len(), len);
    assert_eq!(frame[..4], ((len - 4) as i32).to_be_bytes());
    let head = [
        0, 0, 0, 77, 0, // header v1
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // throttle, error, session
        2, 2, b't', 2, 0, 0, 0, 1, 0, 0, // one topic, one partition, no error
        0, 0, 0, 0, 0, 0, 0, 9, // high watermark
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // last stable offset
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // log start offset
        0, 0xff, 0xff, 0xff, 0xff, // no aborted transactions, no preferred replica
        0x81, 0x08, // 1024 bytes of records
    ];
    assert_eq!(parts[0][4..], head);
    // One tagged field, number 1, 9 bytes: leader, epoch, no tags. Then no tags for topic and response.
    assert_eq!(parts[2][..], [1, 1, 9, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0]);
}

#[test]
fn fields_that_a_version_lacks_are_dropped_only_when_ignorable_or_default() {
    let mut response = FetchResponse {
        throttle_time_ms: 5,
        error_code: 3,
        ..Default::default()
    };
    assert_eq!(
        at(&response, 4),
        [0, 0, 0, 5, 0, 0, 0, 0],
        "the error code is ignorable before version 7"
    );
    response.session_id = 1;
    let error = response.encode(&mut Writer::new(), 6);
    assert_eq!(
        error,
        Err(EncodeError::Absent {
            field: "SessionId",
            version: 6
        })
    );
    assert_eq!(response.encode(&mut Writer::new(), 7), Ok(()));
}

#[test]
fn null_is_an_error_where_the_version_has_none_except_for_the_blank_protocol_name() {
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        all.encode(&mut Writer::new(), 0),
        Err(EncodeError::Null { field: "Topics" })
    );
    assert_eq!(at(&all, 1), [0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        MetadataRequest::decode(&mut Reader::new(&[0, 0, 0, 0]), 1)
            .unwrap()
            .topics,
        Some(vec![])
    );

    let join = JoinGroupResponse {
        protocol_name: None,
        ..Default::default()
    };
    let blank = [0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(at(&join, 0), blank, "below version 7 an empty name, not null");
    assert_eq!(
        at(&join, 7)[10..13],
        [0, 0, 1],
        "from 7 on protocol type and name are null, the leader is empty"
    );
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let bytes = [2, b't', 2, b'1', 2, 9, 3, 1, 2, 3, 0x80, 0x01, 0];
    let mut r = Reader::new(&bytes);
    let request = ApiVersionsRequest::decode(&mut r, 4).unwrap();
    assert_eq!((request.client_software_name.as_ref(), r.remaining()), ("t", 0));
}

#[test]
fn internal_records_carry_their_type_and_version_in_front() {
    let key = OffsetCommitKey {
        group: "g".into(),
        topic: "t".into(),
        partition: 1,
    };
    assert_eq!(
        encode_record_key(&key).unwrap(),
        [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 1]
    );
    assert_eq!(
        encode_record_key(&GroupMetadataKey { group: "g".into() }).unwrap(),
        [0, 2, 0, 1, b'g']
    );
    let value = OffsetCommitValue {
        offset: 7,
        commit_timestamp: 9,
        ..Default::default()
    };
    let bytes = encode_versioned(&value, 3).unwrap();
    let want = [
        0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    ];
    assert_eq!(bytes, want);
    assert_eq!(decode_versioned::<OffsetCommitValue<'_>>(&bytes), Ok(value));
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        ..Default::default()
    };
    let bytes = encode_versioned(&subscription, 1).unwrap();
    assert_eq!(
        bytes,
        [0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]
    );
}
