//! The device's feature bits, limits and configuration space.

use std::sync::atomic::Ordering;

use virtio_bindings::{virtio_blk as blk, virtio_config};

use super::BlockDevice;
use crate::device::block::Rule;
use crate::store::{PAGE_BYTES, SECTOR_BYTES};

/// Bytes of the configuration space's fields (virtio 1.3 §5.2.4, up to and including `unused1`).
/// Reads beyond them return zeros.
pub const CONFIG_BYTES: usize = 60;

/// The most data segments of one request (`seg_max`): the 128 entries of the smallest ring that
/// drivers use, less header and status, in case INDIRECT_DESC is not negotiated.
pub const SEG_MAX: u32 = 126;

/// The most ranges of one DISCARD or WRITE_ZEROES.
pub const MAX_SEGMENTS: usize = 256;

/// The most sectors of 512 bytes in each of these ranges: 4 GiB less 4 KiB.
pub const MAX_DISCARD_SECTORS: u32 = 8_388_600;

/// The offset of `writeback` in the configuration space.
const WRITEBACK_AT: usize = 32;

/// Why a write to the configuration space is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Only the cache mode can be written, and only if CONFIG_WCE was negotiated.
    #[error("the {len_bytes} configuration bytes at {offset} are read-only")]
    ReadOnly {
        /// Where.
        offset: usize,
        /// How many.
        len_bytes: usize,
    },
    /// Neither write-through nor write-back.
    #[error("cache mode {mode} is neither 0 (write-through) nor 1 (write-back)")]
    CacheMode {
        /// The value.
        mode: u8,
    },
}

impl BlockDevice {
    /// The device's own feature bits (virtio 1.3 §5.2.3) and VERSION_1. Those of rings and
    /// transport belong to the transport.
    pub fn features(&self) -> u64 {
        let mut bits = vec![
            virtio_config::VIRTIO_F_VERSION_1,
            blk::VIRTIO_BLK_F_SEG_MAX,
            blk::VIRTIO_BLK_F_BLK_SIZE,
            blk::VIRTIO_BLK_F_TOPOLOGY,
            blk::VIRTIO_BLK_F_FLUSH,
            blk::VIRTIO_BLK_F_CONFIG_WCE,
            blk::VIRTIO_BLK_F_MQ,
            blk::VIRTIO_BLK_F_DISCARD,
            blk::VIRTIO_BLK_F_WRITE_ZEROES,
        ];
        if self.volume.is_read_only() {
            bits.push(blk::VIRTIO_BLK_F_RO);
        }
        bits.into_iter()
            .fold(0, |features, bit| features | 1 << bit)
    }

    /// Read the configuration space at any offset, with any length. Bytes beyond the fields are
    /// zero.
    pub fn read_config(&self, offset: usize, out: &mut [u8]) {
        let config = self.config();
        let from = config.get(offset..).unwrap_or_default();
        let n = from.len().min(out.len());
        out[..n].copy_from_slice(&from[..n]);
        out[n..].fill(0);
    }

    /// Write to the configuration space. Its one writable byte is `writeback`, if the driver
    /// accepted CONFIG_WCE (virtio 1.3 §5.2.4).
    ///
    /// # Errors
    /// [`ConfigError`]; then nothing changes.
    pub fn write_config(&self, acked: u64, offset: usize, bytes: &[u8]) -> Result<(), ConfigError> {
        let negotiated = acked & 1 << blk::VIRTIO_BLK_F_CONFIG_WCE != 0;
        if offset != WRITEBACK_AT || bytes.len() != 1 || !negotiated {
            return Err(ConfigError::ReadOnly {
                offset,
                len_bytes: bytes.len(),
            });
        }
        match bytes {
            [mode @ (0 | 1)] => {
                self.writeback.store(*mode == 1, Ordering::Relaxed);
                self.follow_rule(acked);
                Ok(())
            }
            _ => Err(ConfigError::CacheMode { mode: bytes[0] }),
        }
    }

    /// Note that the driver accepted these features. Without FLUSH, a device whose cache mode can
    /// be set MUST begin with write-through (§5.2.5).
    pub fn accept(&self, acked: u64) {
        let has = |bit: u32| acked & 1 << bit != 0;
        if has(blk::VIRTIO_BLK_F_CONFIG_WCE) && !has(blk::VIRTIO_BLK_F_FLUSH) {
            self.writeback.store(false, Ordering::Relaxed);
        }
        self.follow_rule(acked);
    }

    /// Let the volume know when writes are stable (§5.2.6.2).
    fn follow_rule(&self, acked: u64) {
        let bits = 1 << blk::VIRTIO_BLK_F_FLUSH | 1 << blk::VIRTIO_BLK_F_CONFIG_WCE;
        let rule = match self.writeback.load(Ordering::Relaxed) {
            _ if acked & bits == 0 => Rule::NoFlush,
            true => Rule::Flush,
            false => Rule::WriteThrough,
        };
        self.volume.set_rule(rule);
    }

    /// Back to the initial state (§2.4): the cache mode is write-back again.
    pub fn reset(&self) {
        self.writeback.store(true, Ordering::Relaxed);
        self.volume.set_rule(Rule::default());
    }

    /// The configuration space as it is now, little-endian (virtio 1.3 §5.2.4).
    fn config(&self) -> [u8; CONFIG_BYTES] {
        let capacity = self.volume.capacity();
        let block_bytes = capacity.sector_size().bytes();
        let blocks_per_page = PAGE_BYTES / block_bytes;
        let discard_alignment = u32::try_from(PAGE_BYTES / SECTOR_BYTES).unwrap_or(1);
        let mut config = [0; CONFIG_BYTES];
        let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &capacity.sectors_512().to_le_bytes());
        put(12, &SEG_MAX.to_le_bytes());
        put(20, &u32::try_from(block_bytes).unwrap_or(512).to_le_bytes());
        // Topology, in logical blocks: whole pages are cheap to write and to discard.
        put(
            24,
            &[
                u8::try_from(blocks_per_page.trailing_zeros()).unwrap_or(0),
                0,
            ],
        );
        put(
            26,
            &u16::try_from(blocks_per_page).unwrap_or(1).to_le_bytes(),
        );
        put(
            WRITEBACK_AT,
            &[u8::from(self.writeback.load(Ordering::Relaxed))],
        );
        put(34, &self.queues().get().to_le_bytes());
        put(36, &MAX_DISCARD_SECTORS.to_le_bytes());
        put(40, &u32::try_from(MAX_SEGMENTS).unwrap_or(1).to_le_bytes());
        put(44, &discard_alignment.to_le_bytes());
        put(48, &MAX_DISCARD_SECTORS.to_le_bytes());
        put(52, &u32::try_from(MAX_SEGMENTS).unwrap_or(1).to_le_bytes());
        // write_zeroes_may_unmap: UNMAP really frees memory.
        put(56, &[1]);
        config
    }
}
