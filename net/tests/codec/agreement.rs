//! Every message at every version: values survive the wire, and the crate kafka-protocol agrees byte for byte.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use turgo_net::messages::Kind;

use crate::support::{CASES, Case, Gen, ROUNDS, hex, seed};

#[test]
fn values_survive_the_wire_at_every_version() {
    for case in CASES {
        for version in case.versions() {
            for n in 0..4 * ROUNDS {
                (case.round_trip)(&mut Gen::new(seed(case, version, n)), version);
            }
        }
    }
}

#[test]
fn defaults_can_be_written_at_every_version_but_where_null_is_due() {
    for case in CASES {
        for version in case.versions() {
            if let Ok(bytes) = (case.default)(version) {
                assert_eq!(
                    (case.recode)(&bytes, version),
                    Ok((bytes, 0)),
                    "{} v{version}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn versions_outside_the_schema_are_refused() {
    use turgo_net::{DecodeError, EncodeError};
    for case in CASES {
        for version in [-1, case.min - 1, case.max + 1, i16::MAX, i16::MIN] {
            assert_eq!(
                (case.decode)(&[0; 64], version),
                Err(DecodeError::Version(version)),
                "{}",
                case.name
            );
            assert_eq!(
                (case.default)(version),
                Err(EncodeError::Version(version)),
                "{}",
                case.name
            );
        }
    }
}

/// Their decoding and encoding of our bytes; `None` where that crate has no such message or version.
fn through_kafka_protocol(case: &Case, version: i16, bytes: &[u8]) -> Option<Vec<u8>> {
    if !matches!(case.kind, Kind::Request | Kind::Response) {
        return None;
    }
    let key = TheirKey::try_from(case.key).ok()?;
    let range = key.valid_versions();
    if version < range.min || version > range.max {
        return None;
    }
    let mut input = Bytes::copy_from_slice(bytes);
    let mut out = BytesMut::new();
    let result = if case.kind == Kind::Request {
        RequestKind::decode(key, &mut input, version).and_then(|value| value.encode(&mut out, version))
    } else {
        ResponseKind::decode(key, &mut input, version).and_then(|value| value.encode(&mut out, version))
    };
    if let Err(error) = result {
        // The crate lists a few last versions (OffsetCommit 10, InitProducerId 6) that its messages do not know.
        let text = format!("{error:#}");
        assert!(
            text.contains("version not supported"),
            "{} v{version}: kafka-protocol refuses: {text}",
            case.name
        );
        return None;
    }
    assert!(
        input.is_empty(),
        "{} v{version}: kafka-protocol leaves bytes",
        case.name
    );
    Some(out.to_vec())
}

#[test]
fn kafka_protocol_reads_and_writes_the_same_bytes() {
    let (mut compared, mut versions) = (0, 0);
    for case in CASES {
        for version in case.versions() {
            for n in 0..ROUNDS {
                let bytes = (case.random)(&mut Gen::new(seed(case, version, n)), version);
                let Some(theirs) = through_kafka_protocol(case, version, &bytes) else {
                    break;
                };
                assert_eq!(hex(&theirs), hex(&bytes), "{} v{version} seed {n}", case.name);
                compared += 1;
                versions += u64::from(n == 0);
            }
        }
    }
    println!("{compared} messages, {versions} pairs of message and version");
    assert!(
        versions > 400,
        "only {versions} pairs of message and version compared"
    );
}
