//! The casts between fixed structs and their bytes.
#![allow(unsafe_code)]

use rkyv::Portable;

/// A struct that is its own disk image: `repr(C)`, no padding, every bit pattern valid.
///
/// # Safety
///
/// Implementors have no padding bytes and accept every bit pattern.
pub unsafe trait Plain: Portable + Copy {}

/// The bytes of a fixed struct.
pub fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` types have no padding, so all `size_of::<T>()` bytes are initialised; the borrow keeps them.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A copy of the fixed struct at the start of `bytes`, at any alignment; none if there are too few bytes.
pub fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice holds `size_of::<T>()` bytes, `Plain` accepts every bit pattern, and the read is unaligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The Kafka batch header at the start of `bytes`, viewed in place.
pub fn view_kafka(bytes: &[u8]) -> Option<&super::kafka::KafkaBatchHeader> {
    const { assert!(align_of::<super::kafka::KafkaBatchHeader>() == 1) };
    let bytes = bytes.get(..size_of::<super::kafka::KafkaBatchHeader>())?;
    // SAFETY: the slice holds the struct's 61 bytes, its alignment is 1, and it accepts every bit pattern.
    Some(unsafe { &*bytes.as_ptr().cast() })
}

macro_rules! plain {
    ($($t:ty),*) => {$(
        // SAFETY: `repr(C)` of integers without padding; the layout assertions beside the type pin it.
        unsafe impl Plain for $t {}
    )*};
}
plain!(
    super::kafka::KafkaBatchHeader,
    super::superblock::SuperblockRaw,
    super::group::GroupHeaderRaw,
    super::frame::FrameHeaderRaw,
    super::segment::SegmentHeaderRaw,
    super::chunk::ChunkHeaderRaw,
    super::chunk::DirEntryRaw,
    super::envelope::EnvelopeRaw,
    super::manifest::ManifestRaw
);
