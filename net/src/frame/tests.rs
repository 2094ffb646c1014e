use super::*;

fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as i32).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

fn body(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

#[test]
fn frames_come_out_whole_however_the_stream_is_cut() {
    let bodies: Vec<Vec<u8>> = [0, 1, 3, 4, 5, 4000, 0, 16 * 1024, 70_000, 600_000, 9]
        .iter()
        .zip(0..)
        .map(|(&l, s)| body(l, s))
        .collect();
    let stream: Vec<u8> = bodies.iter().flat_map(|b| frame(b)).collect();
    for cut in [1, 2, 3, 5, 7, 1000, 4096, 65_537, stream.len()] {
        if cut < 5 && stream.len() > 100_000 && cfg!(miri) {
            continue;
        }
        let mut reader = FrameReader::default();
        let mut got = Vec::new();
        for piece in stream.chunks(cut) {
            reader.feed(piece);
            while let Some(frame) = reader.next_frame().unwrap() {
                got.push(frame.to_vec());
            }
        }
        assert_eq!(got, bodies, "cut into {cut}");
        assert_eq!(reader.buffered(), 0);
    }
}

#[test]
fn reading_into_the_offered_space_yields_the_same_frames() {
    let bodies = [body(10, 1), body(300_000, 2), body(2, 3)];
    let stream: Vec<u8> = bodies.iter().flat_map(|b| frame(b)).collect();
    let mut reader = FrameReader::default();
    let (mut rest, mut got) = (&stream[..], Vec::new());
    while !rest.is_empty() {
        let space = reader.space();
        assert!(!space.is_empty());
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        reader.filled(n);
        rest = &rest[n..];
        while let Some(frame) = reader.next_frame().unwrap() {
            got.push(frame.to_vec());
        }
    }
    assert_eq!(got, bodies);
}

#[test]
fn a_negative_or_oversized_claim_is_refused_before_its_bytes() {
    let mut reader = FrameReader::new(1000);
    reader.feed(&[0xff, 0xff, 0xff, 0xff]);
    assert_eq!(reader.next_frame(), Err(FrameError::Negative(-1)));
    assert_eq!(
        reader.next_frame(),
        Err(FrameError::Negative(-1)),
        "and stays refused"
    );
    let mut reader = FrameReader::new(1000);
    reader.feed(&1001i32.to_be_bytes());
    assert_eq!(
        reader.next_frame(),
        Err(FrameError::TooLarge {
            size: 1001,
            max: 1000
        })
    );
    let mut reader = FrameReader::new(1000);
    reader.feed(&frame(&body(1000, 1)));
    assert_eq!(reader.next_frame().unwrap().unwrap().len(), 1000);
}

#[test]
fn memory_follows_what_was_received_and_not_what_was_claimed() {
    let mut reader = FrameReader::default();
    reader.feed(&(DEFAULT_MAX_FRAME_BYTES as i32).to_be_bytes());
    assert_eq!(reader.next_frame(), Ok(None));
    let mut received = SIZE_BYTES;
    for _ in 0..600 {
        let room = reader.space().len();
        assert!(room > 0);
        assert!(
            received + room <= EAGER_BYTES.max(received * GROWTH),
            "{room} bytes of room after {received}"
        );
        let n = room.min(1500);
        reader.filled(n);
        received += n;
    }
    assert_eq!(
        reader.missing(),
        Some(DEFAULT_MAX_FRAME_BYTES + SIZE_BYTES - received)
    );
}

#[test]
fn small_frames_share_a_block_and_an_idle_reader_holds_one() {
    let mut reader = FrameReader::default();
    let two: Vec<u8> = [frame(b"one"), frame(b"two")].concat();
    reader.feed(&two);
    let one = reader.next_frame().unwrap().unwrap();
    let next = reader.next_frame().unwrap().unwrap();
    assert_eq!(
        one.as_ptr() as usize + one.len() + SIZE_BYTES,
        next.as_ptr() as usize
    );
    assert_eq!(reader.missing(), None);
    assert!(reader.space().len() <= READ_BLOCK_BYTES);
}
