//! Kafka's error codes: the numbers clients decide by.

use std::fmt;

/// One error code of the protocol. Unknown numbers are legal values, since a peer may be newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i16);

struct Facts {
    code: i16,
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

macro_rules! errors {
    ($($code:literal $name:ident $retry:ident $message:literal)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ": ", $message, ".")]
                pub const $name: ErrorCode = ErrorCode($code);
            )*

            /// All codes of Kafka 4.3, ascending.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode($code)),*];
        }

        const FACTS: &[Facts] = &[$(Facts {
            code: $code,
            name: stringify!($name),
            retriable: errors!(@ $retry),
            message: $message,
        }),*];
    };
    (@ retry) => { true };
    (@ final) => { false };
}

errors! {
    -1 UNKNOWN_SERVER_ERROR final "the broker failed in a way that has no code of its own"
    0 NONE final "no error"
    1 OFFSET_OUT_OF_RANGE final "the offset lies outside what the partition holds"
    2 CORRUPT_MESSAGE retry "a record batch fails its checksum, its size limit or its structure"
    3 UNKNOWN_TOPIC_OR_PARTITION retry "this broker has no such topic or partition"
    4 INVALID_FETCH_SIZE final "the fetch size makes no sense"
    5 LEADER_NOT_AVAILABLE retry "the partition has no leader at the moment"
    6 NOT_LEADER_OR_FOLLOWER retry "this broker neither leads nor follows the partition"
    7 REQUEST_TIMED_OUT retry "the request did not complete within its timeout"
    8 BROKER_NOT_AVAILABLE final "the broker cannot be reached"
    9 REPLICA_NOT_AVAILABLE retry "the replica is not available for the partition"
    10 MESSAGE_TOO_LARGE final "a record batch exceeds the topic's largest size"
    11 STALE_CONTROLLER_EPOCH final "the controller has a newer epoch"
    12 OFFSET_METADATA_TOO_LARGE final "the metadata stored with an offset is too long"
    13 NETWORK_EXCEPTION retry "the connection ended before the response"
    14 COORDINATOR_LOAD_IN_PROGRESS retry "the coordinator is still loading its state"
    15 COORDINATOR_NOT_AVAILABLE retry "no coordinator is available yet"
    16 NOT_COORDINATOR retry "another broker coordinates this group or transactional id"
    17 INVALID_TOPIC_EXCEPTION final "the topic's name is not allowed"
    18 RECORD_LIST_TOO_LARGE final "the batches together exceed the segment size"
    19 NOT_ENOUGH_REPLICAS retry "fewer replicas are in sync than the topic demands"
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retry "appended, but to fewer replicas than the topic demands"
    21 INVALID_REQUIRED_ACKS final "acks must be -1, 0 or 1"
    22 ILLEGAL_GENERATION final "the group has moved to another generation"
    23 INCONSISTENT_GROUP_PROTOCOL final "the member shares no protocol with its group"
    24 INVALID_GROUP_ID final "the group id is not allowed"
    25 UNKNOWN_MEMBER_ID final "the group has no such member"
    26 INVALID_SESSION_TIMEOUT final "the session timeout lies outside the broker's bounds"
    27 REBALANCE_IN_PROGRESS final "the group is rebalancing; join again"
    28 INVALID_COMMIT_OFFSET_SIZE final "the offset commit is too large to store"
    29 TOPIC_AUTHORIZATION_FAILED final "not authorized for this topic"
    30 GROUP_AUTHORIZATION_FAILED final "not authorized for this group"
    31 CLUSTER_AUTHORIZATION_FAILED final "not authorized for this cluster"
    32 INVALID_TIMESTAMP final "a record's timestamp lies too far from the broker's clock"
    33 UNSUPPORTED_SASL_MECHANISM final "this SASL mechanism is not enabled"
    34 ILLEGAL_SASL_STATE final "the request does not fit the state of authentication"
    35 UNSUPPORTED_VERSION final "this version of the request is not served"
    36 TOPIC_ALREADY_EXISTS final "a topic of this name exists"
    37 INVALID_PARTITIONS final "the number of partitions is not allowed"
    38 INVALID_REPLICATION_FACTOR final "the replication factor is not positive or exceeds the brokers"
    39 INVALID_REPLICA_ASSIGNMENT final "the replica assignment is not allowed"
    40 INVALID_CONFIG final "a setting or its value is not allowed"
    41 NOT_CONTROLLER retry "this broker is not the controller"
    42 INVALID_REQUEST final "the request contradicts itself or the protocol"
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT final "the stored message format lacks this ability"
    44 POLICY_VIOLATION final "the broker's policy refuses these parameters"
    45 OUT_OF_ORDER_SEQUENCE_NUMBER final "a batch's sequence number does not follow its producer's last"
    46 DUPLICATE_SEQUENCE_NUMBER final "a batch's sequence number was seen before"
    47 INVALID_PRODUCER_EPOCH final "the producer's epoch is out of date"
    48 INVALID_TXN_STATE final "the transaction is in no state for this request"
    49 INVALID_PRODUCER_ID_MAPPING final "the producer id does not belong to the transactional id"
    50 INVALID_TRANSACTION_TIMEOUT final "the transaction timeout exceeds the broker's bound"
    51 CONCURRENT_TRANSACTIONS retry "an earlier operation on the transaction is still completing"
    52 TRANSACTION_COORDINATOR_FENCED final "the coordinator that sent this has been replaced"
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED final "not authorized for this transactional id"
    54 SECURITY_DISABLED final "security features are off"
    55 OPERATION_NOT_ATTEMPTED final "not attempted, because another part of the request failed"
    56 KAFKA_STORAGE_ERROR retry "the broker's storage failed"
    57 LOG_DIR_NOT_FOUND final "the broker has no such log directory"
    58 SASL_AUTHENTICATION_FAILED final "authentication failed"
    59 UNKNOWN_PRODUCER_ID final "the partition knows nothing of this producer id"
    60 REASSIGNMENT_IN_PROGRESS final "the partition is being reassigned"
    61 DELEGATION_TOKEN_AUTH_DISABLED final "delegation tokens are off"
    62 DELEGATION_TOKEN_NOT_FOUND final "no such delegation token"
    63 DELEGATION_TOKEN_OWNER_MISMATCH final "neither owner nor renewer of the delegation token"
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED final "delegation tokens cannot be managed over this connection"
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED final "not authorized for this delegation token"
    66 DELEGATION_TOKEN_EXPIRED final "the delegation token has expired"
    67 INVALID_PRINCIPAL_TYPE final "the principal's type is not supported"
    68 NON_EMPTY_GROUP final "the group has members"
    69 GROUP_ID_NOT_FOUND final "no such group"
    70 FETCH_SESSION_ID_NOT_FOUND retry "no such fetch session"
    71 INVALID_FETCH_SESSION_EPOCH retry "the fetch session expects another epoch"
    72 LISTENER_NOT_FOUND retry "the leader has no listener of this name"
    73 TOPIC_DELETION_DISABLED final "deleting topics is turned off"
    74 FENCED_LEADER_EPOCH retry "the leader epoch in the request is older than the broker's"
    75 UNKNOWN_LEADER_EPOCH retry "the leader epoch in the request is newer than the broker's"
    76 UNSUPPORTED_COMPRESSION_TYPE final "this version of the request cannot carry the compression type"
    77 STALE_BROKER_EPOCH final "the broker's epoch has changed"
    78 OFFSET_NOT_AVAILABLE retry "the new leader's high watermark has not caught up yet"
    79 MEMBER_ID_REQUIRED final "join again with the member id given"
    80 PREFERRED_LEADER_NOT_AVAILABLE retry "the preferred leader cannot lead"
    81 GROUP_MAX_SIZE_REACHED final "the group is full"
    82 FENCED_INSTANCE_ID final "another member took over this static instance id"
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retry "no replica may become leader"
    84 ELECTION_NOT_NEEDED retry "the partition already has the right leader"
    85 NO_REASSIGNMENT_IN_PROGRESS final "the partition is not being reassigned"
    86 GROUP_SUBSCRIBED_TO_TOPIC final "the group still consumes this topic"
    87 INVALID_RECORD final "a record breaks a rule of its topic"
    88 UNSTABLE_OFFSET_COMMIT retry "a transaction may still change these offsets"
    89 THROTTLING_QUOTA_EXCEEDED retry "the quota is used up for now"
    90 PRODUCER_FENCED final "a newer producer uses this transactional id"
    91 RESOURCE_NOT_FOUND final "no such resource"
    92 DUPLICATE_RESOURCE final "the resource appears twice or exists already"
    93 UNACCEPTABLE_CREDENTIAL final "the credential does not meet the requirements"
    94 INCONSISTENT_VOTER_SET final "sender or receiver is not among the voters"
    95 INVALID_UPDATE_VERSION final "the update is older than the current state"
    96 FEATURE_UPDATE_FAILED final "the features could not be changed"
    97 PRINCIPAL_DESERIALIZATION_FAILURE final "the forwarded principal cannot be read"
    98 SNAPSHOT_NOT_FOUND final "no such snapshot"
    99 POSITION_OUT_OF_RANGE final "the position lies outside the snapshot"
    100 UNKNOWN_TOPIC_ID retry "this broker knows no topic with this id"
    101 DUPLICATE_BROKER_REGISTRATION final "the broker id is in use"
    102 BROKER_ID_NOT_REGISTERED final "no such broker is registered"
    103 INCONSISTENT_TOPIC_ID retry "the log belongs to another topic id"
    104 INCONSISTENT_CLUSTER_ID final "the request is meant for another cluster"
    105 TRANSACTIONAL_ID_NOT_FOUND final "no such transactional id"
    106 FETCH_SESSION_TOPIC_ID_ERROR retry "the fetch session mixes names and topic ids"
    107 INELIGIBLE_REPLICA final "the replica may not join those in sync"
    108 NEW_LEADER_ELECTED final "the change made another replica the leader"
    109 OFFSET_MOVED_TO_TIERED_STORAGE final "the offset is in remote storage"
    110 FENCED_MEMBER_EPOCH final "the member's epoch is not the coordinator's; give up partitions and rejoin"
    111 UNRELEASED_INSTANCE_ID final "a live member holds this static instance id"
    112 UNSUPPORTED_ASSIGNOR final "the group cannot use this assignor"
    113 STALE_MEMBER_EPOCH final "the member's epoch is out of date; retry after the next heartbeat"
    114 MISMATCHED_ENDPOINT_TYPE final "the request was sent to the wrong kind of endpoint"
    115 UNSUPPORTED_ENDPOINT_TYPE final "this kind of endpoint is unknown"
    116 UNKNOWN_CONTROLLER_ID final "no such controller"
    117 UNKNOWN_SUBSCRIPTION_ID final "the telemetry subscription is out of date"
    118 TELEMETRY_TOO_LARGE final "the telemetry exceeds the broker's limit"
    119 INVALID_REGISTRATION final "the controller refuses the registration"
    120 TRANSACTION_ABORTABLE final "the transaction failed; abort it and go on"
    121 INVALID_RECORD_STATE final "the record is in no state for this acknowledgement"
    122 SHARE_SESSION_NOT_FOUND retry "no such share session"
    123 INVALID_SHARE_SESSION_EPOCH retry "the share session expects another epoch"
    124 FENCED_STATE_EPOCH final "the share coordinator has a newer state epoch"
    125 INVALID_VOTER_KEY final "the voter key is not the receiver's"
    126 DUPLICATE_VOTER final "the voter is in the set already"
    127 VOTER_NOT_FOUND final "the voter is not in the set"
    128 INVALID_REGULAR_EXPRESSION final "the regular expression cannot be parsed"
    129 REBOOTSTRAP_REQUIRED final "the client must start over from its bootstrap servers"
    130 STREAMS_INVALID_TOPOLOGY final "the streams topology is not allowed"
    131 STREAMS_INVALID_TOPOLOGY_EPOCH final "the streams topology epoch is not allowed"
    132 STREAMS_TOPOLOGY_FENCED final "the streams topology epoch is out of date"
    133 SHARE_SESSION_LIMIT_REACHED retry "no further share session can be opened now"
}

impl ErrorCode {
    fn facts(self) -> Option<&'static Facts> {
        // Codes have no gaps, so the position follows from the number.
        let index = usize::try_from(i32::from(self.0) - i32::from(FACTS[0].code)).ok()?;
        FACTS.get(index)
    }

    /// The name in the protocol, e.g. `NOT_COORDINATOR`; `UNKNOWN` for a number without one.
    pub fn name(self) -> &'static str {
        self.facts().map_or("UNKNOWN", |f| f.name)
    }

    /// Whether a client may send the same request again and expect better.
    pub fn retriable(self) -> bool {
        self.facts().is_some_and(|f| f.retriable)
    }

    /// A short explanation, for error messages in responses and logs.
    pub fn message(self) -> &'static str {
        self.facts()
            .map_or("a code this version does not know", |f| f.message)
    }

    /// Whether this is [`ErrorCode::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.0
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        ErrorCode(code)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_no_gaps_and_names_match_numbers() {
        for (i, facts) in FACTS.iter().enumerate() {
            assert_eq!(
                usize::try_from(i32::from(facts.code) + 1),
                Ok(i),
                "{}",
                facts.name
            );
            assert_eq!(ErrorCode(facts.code).name(), facts.name);
        }
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::SHARE_SESSION_LIMIT_REACHED.0, 133);
    }

    #[test]
    fn unknown_codes_have_no_name_and_no_panic() {
        for code in [i16::MIN, -2, 134, i16::MAX] {
            assert_eq!(ErrorCode(code).name(), "UNKNOWN");
            assert!(!ErrorCode(code).retriable());
        }
        assert_eq!(format!("{:?}", ErrorCode::NOT_COORDINATOR), "NOT_COORDINATOR(16)");
        assert_eq!(ErrorCode::default(), ErrorCode::NONE);
    }
}
