//! The bytes on disk, pinned: images made by hand from the documented tables, with an independent CRC-32C. A change that
//! moves a field, a magic or a checksum fails here and needs a new format version.

use turgo_storage::format::archive::{
    AbortedRecord, Checkpoint, ChunkRecord, CompletedRecord, EpochRecord, Footer, PartitionRecord,
    SegmentRecord,
};
use turgo_storage::format::archive_v1::{CheckpointV1, FooterV1, PartitionRecordV1, SegmentRecordV1};
use turgo_storage::format::chunk::{
    ChunkHeader, ChunkHeaderRaw, ChunkSpec, DirEntry, chunk_len, write_chunk,
};
use turgo_storage::format::crc;
use turgo_storage::format::envelope::{Envelope, EnvelopeRaw};
use turgo_storage::format::fixed::checked_access;
use turgo_storage::format::frame::{FrameHeader, FrameHeaderRaw, SegCreate};
use turgo_storage::format::group::{GroupHeader, GroupHeaderRaw};
use turgo_storage::format::kafka::KafkaBatchHeader;
use turgo_storage::format::manifest::{Manifest, ManifestRaw};
use turgo_storage::format::segment::{SegmentHeader, SegmentHeaderRaw, parse_segment_name, segment_path};
use turgo_storage::format::superblock::{Superblock, SuperblockRaw};
use turgo_storage::format::swap::SegSwap;
use turgo_storage::testing::{batch, producer_batch};
use turgo_storage::{BatchHeader, PartitionId};

// Hexadecimal, without the zeros at the end.
const SUPERBLOCK: &str = "\
    54675342378e394f010000010200000007000000000000004433221103000000ddccbbaa000000000900000000000000\
    01000000020000004d0000000000000088776655000000000500000000000000d2040000000000009900000001000000\
    58020000000000000800000000000000002000001000000004000000000000005902";
const GROUP: &str = "\
    54674752201598980100800001000000070000000000000003000000000000000a000000000000006400000000000000\
    6300000000000000010000000200000000100000c000000001000000040302010d0c0b0a02000000404b4c";
const FRAME: &str = "\
    5467465267716f2201000100400000002a000000000000000300000001000000e8030000000000000900000005000000\
    3d000000bebafeca0068e5cf8b01";
const SEGMENT: &str = "\
    546753475c934e5801008000000000000b00000000000000000102030405060708090a0b0c0d0e0f0400000002000000\
    88130000000000000068e5cf8b01";
const CHUNK: &str = "\
    54674348116a87af01008000000000000b00000000000000002000000000000003000000efbeadde0010000001000000\
    9000000064000000881300000000000091130000000000000168e5cf8b01000002000000060000001111111122222222\
    2b";
const ENVELOPE: &str = "\
    5467454e7851995801004000020000000b000000000000000030000000000000410100000000000033333333";
const SEG_SWAP: &str = "\
    0100000002000000010000000200000011000000000000000020000000000000001000000100000044444444000000000700000000000000\
    0800000000000000701700000000000064000000000000000300000000000000090000000000000070170000000000002100000000000000\
    22000000000000008d13";
const MANIFEST: &str = "\
    5467464d7663857801000001010000000400000000000000010101010101010101010101010101010202020202020202\
    0202020202020202050000000600000008";

fn hex(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    bytes[..end].iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn superblock_image() {
    let superblock = Superblock {
        copy: 0,
        sequence: 7,
        parent_crc: 0x1122_3344,
        shard: 3,
        journal_id: 0xAABB_CCDD,
        epoch: 9,
        tail_file: 1,
        tail_page: 2,
        tail_group_seq: 77,
        tail_prev_crc: 0x5566_7788,
        ckpt_id: 5,
        ckpt_len: 1234,
        ckpt_crc: 0x99,
        clean_shutdown: 1,
        acked_lsn: 600,
        tail_epoch: 8,
        group_max: 8192,
        file_pages: 16,
        file_count: 4,
        written_files: 0,
        tail_first_lsn: 601,
    };
    let page = superblock.page(2);
    assert_eq!((page.len(), hex(&page).as_str()), (4096, SUPERBLOCK));
    assert_eq!(Superblock::read_copy(&page, 2), Ok(superblock));
    assert!(Superblock::read_copy(&page, 1).is_err(), "a copy out of place");
    // The count of written files came later, in bytes that were zero.
    let counted = Superblock {
        written_files: 3,
        ..superblock
    };
    assert_eq!(counted.page(2)[124..128], [3, 0, 0, 0]);
    assert_eq!(Superblock::read_copy(&counted.page(2), 2), Ok(counted));
    assert!(checked_access::<SuperblockRaw>(&page[..256]));
    let other = Superblock {
        sequence: 8,
        ..superblock
    };
    let pages: Vec<Vec<u8>> = [&other, &superblock, &superblock, &superblock]
        .iter()
        .zip(0..)
        .map(|(s, i)| s.page(i))
        .collect();
    let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
    assert_eq!(
        Superblock::choose(&pages),
        Some(superblock),
        "one new copy is not enough"
    );
    let pages: Vec<Vec<u8>> = [&other, &other, &superblock, &superblock]
        .iter()
        .zip(0..)
        .map(|(s, i)| s.page(i))
        .collect();
    let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
    assert_eq!(Superblock::choose(&pages), Some(other), "two new copies are");
}

#[test]
fn group_image() {
    let group = GroupHeader {
        flags: 1,
        journal_id: 7,
        epoch: 3,
        group_seq: 10,
        first_lsn: 100,
        acked_lsn: 99,
        file_no: 1,
        file_page: 2,
        total_len: 4096,
        used_len: 192,
        frame_count: 1,
        prev_group_crc: 0x0102_0304,
        body_crc: 0x0A0B_0C0D,
        window: 2,
        wall_ns: 5_000_000,
    };
    let (image, header_crc) = group.encode();
    assert_eq!(hex(&image), GROUP);
    assert_eq!(GroupHeader::read(&image), Ok((group, header_crc)));
    assert!(checked_access::<GroupHeaderRaw>(&image));
}

#[test]
fn frame_image() {
    let frame = FrameHeader {
        kind: 1,
        flags: 0,
        lsn: 42,
        topic: 3,
        partition: 1,
        base_offset: 1000,
        last_offset_delta: 9,
        leader_epoch: 5,
        payload_len: 61,
        payload_crc: 0xCAFE_BABE,
        max_timestamp: 1_700_000_000_000,
    };
    let (image, header_crc) = frame.encode();
    assert_eq!(hex(&image), FRAME);
    assert_eq!(FrameHeader::decode(&image), Ok((frame, header_crc)));
    assert!(checked_access::<FrameHeaderRaw>(&image));
    let create = SegCreate {
        topic: [9; 16],
        segment_id: 0x0807_0605_0403_0201,
        generation: 2,
        creates_log: true,
    };
    assert_eq!(
        hex(&create.encode()),
        format!("{}01020304050607080200000001", "09".repeat(16))
    );
    assert_eq!(SegCreate::decode(&create.encode()), Ok(create));
}

#[test]
fn segment_image_and_name() {
    let segment = SegmentHeader {
        flags: 0,
        segment_id: 11,
        topic_uuid: std::array::from_fn(|i| i as u8),
        partition: 4,
        generation: 2,
        base_offset: 5000,
        created_ms: 1_700_000_000_000,
        feature_bits: 0,
    };
    let (image, _) = segment.encode();
    assert_eq!(hex(&image), SEGMENT);
    assert!(checked_access::<SegmentHeaderRaw>(&image));
    let id = PartitionId {
        topic: segment.topic_uuid,
        partition: 4,
    };
    let path = segment_path(&id, 5000, 2);
    assert_eq!(
        path,
        "topics/000102030405060708090a0b0c0d0e0f/4/00000000000000005000.2.seg"
    );
    assert_eq!(parse_segment_name("00000000000000005000.2.seg"), Some((5000, 2)));
    assert_eq!(parse_segment_name("x.2.seg"), None);
}

#[test]
fn chunk_image() {
    let chunk = ChunkHeader {
        flags: 0,
        segment_id: 11,
        file_pos: 8192,
        chunk_seq: 3,
        prev_chunk_crc: 0xDEAD_BEEF,
        total_len: 4096,
        dir_count: 1,
        data_off: 144,
        data_len: 100,
        base_offset: 5000,
        last_offset: 5009,
        max_timestamp: 1_700_000_000_001,
        batch_count: 2,
        leader_epoch: 6,
        dir_crc: 0x1111_1111,
        data_crc: 0x2222_2222,
        lsn_hi: 43,
    };
    let (image, header_crc) = chunk.encode();
    assert_eq!(hex(&image), CHUNK);
    assert_eq!(ChunkHeader::read(&image, 11, 8192), Ok((chunk, header_crc)));
    assert!(
        ChunkHeader::read(&image, 11, 4096).is_err(),
        "a chunk of another place"
    );
    assert!(checked_access::<ChunkHeaderRaw>(&image));
}

#[test]
fn a_written_chunk_reads_back_and_any_flipped_bit_shows() {
    let parts = [batch(3, 500, 10), batch(2, 5000, 11)];
    let dir = [
        DirEntry {
            rel_offset: 0,
            pos: 0,
            max_timestamp: 10,
        },
        DirEntry {
            rel_offset: 3,
            pos: 500,
            max_timestamp: 11,
        },
    ];
    let spec = ChunkSpec {
        segment_id: 1,
        file_pos: 4096,
        chunk_seq: 0,
        prev_chunk_crc: 0,
        base_offset: 0,
        last_offset: 4,
        max_timestamp: 11,
        batch_count: 2,
        leader_epoch: 0,
        lsn_hi: 2,
    };
    let data: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let mut bytes = vec![0; chunk_len(2, 5500)];
    write_chunk(&mut bytes, &spec, &dir, &data);
    let check = |bytes: &[u8]| {
        let (header, _) = ChunkHeader::read(bytes, 1, 4096)?;
        header.check_body(bytes)?;
        assert_eq!(header.dir(bytes).collect::<Vec<_>>(), dir);
        Ok::<(), turgo_storage::format::Invalid>(())
    };
    check(&bytes).expect("as written");
    for bit in (0..bytes.len() * 8).step_by(7) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&bytes).is_err(), "bit {bit} went unnoticed");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn envelope_image() {
    let envelope = Envelope {
        kind: 2,
        owner_id: 11,
        archive_pos: 12288,
        archive_len: 321,
        archive_crc: 0x3333_3333,
    };
    let (image, _) = envelope.encode();
    assert_eq!(hex(&image), ENVELOPE);
    assert!(checked_access::<EnvelopeRaw>(&image));
}

#[test]
fn manifest_image() {
    let manifest = Manifest {
        copy: 0,
        sequence: 4,
        cluster_id: [1; 16],
        directory_id: [2; 16],
        broker_id: 5,
        generation: 6,
        shards: 8,
        feature_bits: 0,
    };
    let page = manifest.page(1);
    assert_eq!((page.len(), hex(&page).as_str()), (4096, MANIFEST));
    assert!(checked_access::<ManifestRaw>(&page[..256]));
    let newer = Manifest {
        sequence: 5,
        generation: 7,
        ..manifest
    };
    assert_eq!(Manifest::choose(&[&newer.page(0), &page]), Ok(newer));
    assert_eq!(
        Manifest::choose(&[&[0; 4096], &page]),
        Ok(manifest),
        "one copy is enough"
    );
    assert!(Manifest::choose(&[&[0; 4096], &[0; 4096]]).is_err());
}

#[test]
fn kafka_header_is_read_at_any_address() {
    let raw = producer_batch(5, 200, 77, 9, 3, 40);
    let mut shifted = vec![0; 3];
    shifted.extend_from_slice(&raw);
    let header = BatchHeader::parse(&shifted[3..]).expect("whole");
    assert_eq!(
        (header.bytes, header.record_count, header.last_offset_delta),
        (200, 5, 4)
    );
    assert_eq!(
        (header.producer_id, header.producer_epoch, header.base_sequence),
        (9, 3, 40)
    );
    assert!(header.crc_matches(&raw));
    assert!(KafkaBatchHeader::view(&raw[..60]).is_none());
    assert!(BatchHeader::parse(&raw[..199]).is_err());
}

fn aborted() -> AbortedRecord {
    AbortedRecord {
        producer_id: 77,
        first_offset: 4,
        last_offset: 9,
        last_stable_offset: 10,
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        ckpt_id: 3,
        shard: 1,
        journal_id: 7,
        epoch: 2,
        next_topic: 5,
        next_segment: 6,
        partitions: vec![PartitionRecord {
            topic: [1; 16],
            topic_no: 4,
            partition: 2,
            drained_lsn: 10,
            drained_offset: 20,
            log_start: 3,
            epochs: vec![EpochRecord {
                epoch: 1,
                start_offset: 0,
            }],
            term: -1,
            vote: -1,
            suspect: false,
            producers_lsn: 11,
            producers: Vec::new(),
            aborted: vec![aborted()],
            completed: vec![CompletedRecord {
                producer_id: 77,
                producer_epoch: 3,
                first_offset: 4,
                last_offset: 9,
                aborted: true,
            }],
            clean_offset: 6,
            segments: vec![SegmentRecord {
                segment_id: 5,
                base_offset: 0,
                generation: 0,
                end_position: 8192,
                footer_len: 0,
                cut: i64::MAX,
                next_chunk_seq: 1,
                last_chunk_crc: 9,
                created_ms: 1,
                first_timestamp: 2,
                footer_aborted: 0,
                end_offset: 20,
                data_bytes: 100,
                batches: 2,
                max_timestamp: 8,
            }],
        }],
        removals: Vec::new(),
    }
}

fn footer() -> Footer {
    let chunk = |n: i64| ChunkRecord {
        position: 4096 * (n as u64 + 1),
        len: 4096,
        leader_epoch: 0,
        base_offset: n * 10,
        last_offset: n * 10 + 9,
        max_timestamp: n,
    };
    Footer {
        segment_id: 5,
        base_offset: 0,
        end_offset: 30,
        data_bytes: 9000,
        batches: 30,
        max_timestamp: 2,
        chunks: (0..3).map(chunk).collect(),
        aborted: vec![aborted()],
        epochs: vec![EpochRecord {
            epoch: 0,
            start_offset: 0,
        }],
        producers: Vec::new(),
    }
}

/// The sample checkpoint as version 1 wrote it, and as it is read now.
fn checkpoint_v1() -> (Vec<u8>, Checkpoint) {
    let mut now = checkpoint();
    let p = &mut now.partitions[0];
    (p.aborted, p.completed, p.clean_offset) = (Vec::new(), Vec::new(), 0);
    let segment = &mut p.segments[0];
    segment.first_timestamp = segment.created_ms;
    let s = segment.clone();
    let old = CheckpointV1 {
        ckpt_id: now.ckpt_id,
        shard: now.shard,
        journal_id: now.journal_id,
        epoch: now.epoch,
        next_topic: now.next_topic,
        next_segment: now.next_segment,
        partitions: vec![PartitionRecordV1 {
            topic: p.topic,
            topic_no: p.topic_no,
            partition: p.partition,
            drained_lsn: p.drained_lsn,
            drained_offset: p.drained_offset,
            log_start: p.log_start,
            epochs: p.epochs.clone(),
            term: p.term,
            vote: p.vote,
            suspect: p.suspect,
            producers_lsn: p.producers_lsn,
            producers: Vec::new(),
            segments: vec![SegmentRecordV1 {
                segment_id: s.segment_id,
                base_offset: s.base_offset,
                generation: s.generation,
                end_position: s.end_position,
                footer_len: s.footer_len,
                cut: s.cut,
                next_chunk_seq: s.next_chunk_seq,
                last_chunk_crc: s.last_chunk_crc,
                created_ms: s.created_ms,
                end_offset: s.end_offset,
                data_bytes: s.data_bytes,
                batches: s.batches,
                max_timestamp: s.max_timestamp,
            }],
        }],
        removals: Vec::new(),
    };
    let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&old).expect("in memory");
    let envelope = Envelope {
        kind: 1,
        owner_id: 3,
        archive_pos: 64,
        archive_len: archive.len() as u64,
        archive_crc: crc(&archive),
    };
    let mut file = envelope.encode().0.to_vec();
    file.extend_from_slice(&archive);
    (file, now)
}

/// The sample footer as version 1 wrote it at 16384, and as it is read now.
fn footer_v1() -> (Vec<u8>, Footer) {
    let now = Footer {
        aborted: Vec::new(),
        ..footer()
    };
    let old = FooterV1 {
        segment_id: now.segment_id,
        base_offset: now.base_offset,
        end_offset: now.end_offset,
        data_bytes: now.data_bytes,
        batches: now.batches,
        max_timestamp: now.max_timestamp,
        chunks: now.chunks.clone(),
        aborted: Vec::new(),
        epochs: now.epochs.clone(),
        producers: Vec::new(),
    };
    let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&old).expect("in memory");
    let envelope = Envelope {
        kind: 2,
        owner_id: 5,
        archive_pos: 16384,
        archive_len: archive.len() as u64,
        archive_crc: crc(&archive),
    };
    let mut bytes = archive.to_vec();
    bytes.resize(4096 - 64, 0);
    bytes.extend_from_slice(&envelope.encode().0);
    (bytes, now)
}

#[test]
fn archives_of_version_1_are_still_read() {
    let (file, wanted) = checkpoint_v1();
    assert_eq!((file.len(), crc(&file)), CHECKPOINT_V1_IMAGE);
    assert_eq!(Checkpoint::decode(&file, 3), Ok(wanted));
    let (bytes, wanted) = footer_v1();
    assert_eq!((bytes.len(), crc(&bytes)), FOOTER_V1_IMAGE);
    assert_eq!(Footer::decode(&bytes, 5, 16384), Ok(wanted));
}

/// What the store wrote before it knew transactions.
const CHECKPOINT_V1_IMAGE: (usize, u32) = (336, 2_514_697_763);
/// What the store wrote before it knew transactions.
const FOOTER_V1_IMAGE: (usize, u32) = (4096, 752_435_555);

#[test]
fn seg_swap_image() {
    let swap = SegSwap {
        output: SegmentRecord {
            segment_id: 0x11,
            base_offset: 5000,
            generation: 2,
            end_position: 8192,
            footer_len: 4096,
            cut: i64::MAX,
            next_chunk_seq: 1,
            last_chunk_crc: 0x4444_4444,
            created_ms: 7,
            first_timestamp: 8,
            footer_aborted: 0,
            end_offset: 6000,
            data_bytes: 100,
            batches: 3,
            max_timestamp: 9,
        },
        clean_offset: 6000,
        old: vec![0x21, 0x22],
        markers: vec![5005],
    };
    let payload = swap.encode();
    assert_eq!(payload.len(), swap.bytes());
    assert_eq!(hex(&payload), SEG_SWAP);
    assert_eq!(SegSwap::decode(&payload, 5000), Ok(swap.clone()));
    assert!(
        SegSwap::decode(&payload, 6001).is_err(),
        "it would end before it begins"
    );
    assert!(SegSwap::decode(&payload[..payload.len() - 8], 5000).is_err());
    let backwards = SegSwap {
        markers: vec![5005, 5005],
        ..swap
    };
    assert!(SegSwap::decode(&backwards.encode(), 5000).is_err());
}

#[test]
fn archives_keep_their_bytes() {
    let file = checkpoint().encode();
    assert_eq!(Checkpoint::decode(&file, 3), Ok(checkpoint()));
    assert!(
        Checkpoint::decode(&file, 4).is_err(),
        "a checkpoint of another id"
    );
    assert_eq!((file.len(), crc(&file)), CHECKPOINT_IMAGE);
    let tail = footer().encode(16384);
    assert_eq!(tail.len() % 4096, 0);
    assert_eq!(Footer::decode(&tail, 5, 16384), Ok(footer()));
    assert!(
        Footer::decode(&tail, 5, 20480).is_err(),
        "a footer of another place"
    );
    assert_eq!((tail.len(), crc(&tail)), FOOTER_IMAGE);
}

/// Length and CRC-32C of the sample checkpoint: rkyv's layout under the pinned features.
const CHECKPOINT_IMAGE: (usize, u32) = (448, 2_345_856_315);
/// Length and CRC-32C of the sample footer.
const FOOTER_IMAGE: (usize, u32) = (4096, 3_421_786_398);
