//! This core's cleaner: which settings a pass of log compaction runs under, and when the next one begins.
//!
//! The shell runs [`Shard::clean`] for as long as the node serves. Passes themselves are the store's
//! ([`turgo_storage::compact`]); this side knows the settings and the codecs. One pass runs at a time on a core, so
//! `log.cleaner.threads` has no meaning of its own; memory and rate are shared out between the cores.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use turgo_net::records::{Compression, Compressor, Decompressor};
use turgo_storage::env::Env;
use turgo_storage::{Codec, CodecError, CompactionLimits, SharedCodec};

use crate::configs::NodeSettings;
use crate::shard::Shard;

/// Pauses are looked at again this often, so that a changed setting and a stop take effect.
const SLICE: Duration = Duration::from_millis(500);

/// The codecs of record batches, as the store asks for them.
#[derive(Default)]
pub struct BatchCodec {
    decompressor: Decompressor,
    compressor: Compressor,
}

impl Codec for BatchCodec {
    fn decompress(
        &mut self,
        codec: u8,
        payload: &[u8],
        ceiling: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let codec = Compression::from_id(codec).ok_or(CodecError)?;
        let plain = self
            .decompressor
            .decompress(codec, payload, ceiling)
            .map_err(|_| CodecError)?;
        out.extend_from_slice(plain);
        Ok(())
    }

    fn compress(&mut self, codec: u8, records: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let codec = Compression::from_id(codec).ok_or(CodecError)?;
        self.compressor
            .compress(codec, None, records, out)
            .map_err(|_| CodecError)
    }
}

/// One core's share of the node's limits.
pub fn limits(settings: &NodeSettings, cores: usize) -> CompactionLimits {
    let cores = cores.max(1);
    let rate = settings.cleaner_bytes_per_second.0 / cores as f64;
    CompactionLimits {
        dedupe_bytes: usize::try_from(settings.cleaner_dedupe_bytes).unwrap_or(usize::MAX) / cores,
        load_permille: (settings.cleaner_load_factor.0 * 1000.0).clamp(1.0, 990.0) as u32,
        bytes_per_second: if rate >= u64::MAX as f64 {
            u64::MAX
        } else {
            (rate as u64).max(1)
        },
        // Half for reading, half for writing; beyond this, a chunk would hold up the journal's writes.
        io_bytes: (settings.cleaner_io_bytes as usize / 2).clamp(16 << 10, 1 << 20),
    }
}

impl<E: Env> Shard<E> {
    /// Compacts one log after the other, as long as one is due, then waits. Ends when the node stops.
    pub async fn clean(&self) {
        let codec: SharedCodec = Rc::new(RefCell::new(BatchCodec::default()));
        while !self.stopping.get() {
            let settings = self.node_settings();
            let mut worked = false;
            if settings.cleaner_enable {
                let pass = self
                    .store
                    .compact(&codec, limits(&settings, self.cores), self.env.wall_ms());
                worked = matches!(pass.await, Some(Ok(_)));
            }
            if worked {
                continue;
            }
            let began = self.now_ms();
            while !self.stopping.get() {
                let pause = self.node_settings().cleaner_backoff_ms;
                let left = began.saturating_add(pause).saturating_sub(self.now_ms());
                if left == 0 {
                    break;
                }
                self.env.sleep(Duration::from_millis(left).min(SLICE)).await;
            }
            // With no pause at all, other tasks still get their turn.
            self.env.sleep(Duration::from_millis(1)).await;
        }
    }

    fn node_settings(&self) -> NodeSettings {
        let metadata = self.metadata();
        NodeSettings::resolve(&metadata.layers(self.node.id, &self.node.static_configs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shared_between_the_cores() {
        let mut settings = NodeSettings::default();
        let one = limits(&settings, 1);
        assert_eq!((one.dedupe_bytes, one.bytes_per_second), (128 << 20, u64::MAX));
        assert_eq!((one.load_permille, one.io_bytes), (900, 256 << 10));
        settings.cleaner_bytes_per_second.0 = 4_000_000.0;
        let four = limits(&settings, 4);
        assert_eq!((four.dedupe_bytes, four.bytes_per_second), (32 << 20, 1_000_000));
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let mut codec = BatchCodec::default();
        let records = b"records, records, records and records".repeat(100);
        for id in 1..=4 {
            let (mut packed, mut plain) = (Vec::new(), Vec::new());
            codec.compress(id, &records, &mut packed).expect("compresses");
            codec
                .decompress(id, &packed, 1 << 20, &mut plain)
                .expect("decompresses");
            assert_eq!(plain, records);
            assert!(packed.len() < records.len());
            plain.clear();
            assert!(
                codec.decompress(id, &packed, 100, &mut plain).is_err(),
                "beyond the ceiling"
            );
        }
        assert!(codec.compress(7, &records, &mut Vec::new()).is_err());
    }
}
