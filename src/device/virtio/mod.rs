//! A virtio-blk device: what its driver sees of a disk (virtio 1.3 §5.2).
//!
//! A request comes as the pieces of memory that a ring found. [`BlockDevice::serve`] parses it into
//! an operation, has the volume carry it out, and finishes it: the status byte and the length for
//! the used ring. [`BlockDevice::serve_plain`] does so for several small reads and writes at once.
//! Whatever a guest sends, these calls return, and the status byte is all that the guest learns.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | feature bits, the configuration space |
//! | `request` | one request of any shape: served, and finished |
//! | `parse` | guest bytes to an operation: every mistake of a guest is caught there |
//! | `plain` | plain reads and writes, several at a time |
//! | `state` | what a VM's snapshot holds of the disk |

mod config;
mod parse;
mod plain;
mod request;
mod state;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use super::block::SERIAL_BYTES;
pub use config::{CONFIG_BYTES, ConfigError, MAX_DISCARD_SECTORS, MAX_SEGMENTS, SEG_MAX};
pub use parse::HEADER_BYTES;
pub use plain::{Outcomes, PlainRequest};
pub use request::{Answer, Begun, Buffers, Outcome};
pub use state::{MOST_STATE_BYTES, SavedState, StateError};

use super::block::{Serial, Volume};
use crate::store::Disk;

/// A virtio-blk device over one disk, shared by all queues of all its front ends.
#[derive(Debug)]
pub struct BlockDevice {
    volume: Arc<Volume>,
    queues: NonZeroU16,
    state: Option<Box<dyn SavedState>>,
    /// `writeback` of the configuration space: what the driver chose. A write to memory is as
    /// stable when it completes as after a flush, so both modes are kept alike.
    writeback: AtomicBool,
}

impl BlockDevice {
    /// A device with `queues` request queues. It is read-only if the connection to the disk is.
    pub fn new(disk: Disk, serial: Serial, queues: NonZeroU16) -> Self {
        Self {
            volume: Arc::new(Volume::new(disk, serial)),
            queues,
            state: None,
            writeback: AtomicBool::new(true),
        }
    }

    /// With what saves and loads the state of its disk.
    #[must_use]
    pub fn with_state(self, state: Box<dyn SavedState>) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// What saves and loads the state of its disk, if there is such a thing.
    pub fn state(&self) -> Option<&dyn SavedState> {
        self.state.as_deref()
    }

    /// How many request queues it has.
    pub fn queues(&self) -> NonZeroU16 {
        self.queues
    }

    /// The disk that it serves, with its limits and statistics.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }
}
