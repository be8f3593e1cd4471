//! A virtio-blk device on a disk (virtio 1.3 §5.2).
//!
//! A request arrives as the pieces of memory that a ring found. [`BlockDevice::serve`] parses it
//! into an operation, lets the volume execute that, and finishes the request with the status byte
//! and the length for the used ring. [`BlockDevice::serve_plain`] does the same for several small
//! reads and writes at once. These calls return whatever a guest sends, and the guest learns only
//! the status byte.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | feature bits, the configuration space |
//! | `request` | serving and finishing one request of any shape |
//! | `parse` | from a guest's bytes to an operation; catches every mistake of a guest |
//! | `plain` | plain reads and writes, several at a time |
//! | `state` | the device's state, for a snapshot of its VM |

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
pub use request::{Answer, Begun, Buffers, Driver, Outcome};
pub use state::{MOST_STATE_BYTES, SavedState, StateError};

use super::block::{Serial, Volume};
use crate::store::Disk;

/// A virtio-blk device over one disk, shared by all queues of all its front ends.
#[derive(Debug)]
pub struct BlockDevice {
    volume: Arc<Volume>,
    queues: NonZeroU16,
    state: Option<Box<dyn SavedState>>,
    /// `writeback` of the configuration space, as the driver chose it. Without a volatile write
    /// cache both modes are served in the same way: a write to memory is as stable when it
    /// completes as after a flush.
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

    /// Set what saves and loads the state of its disk.
    #[must_use]
    pub fn with_state(self, state: Box<dyn SavedState>) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// What saves and loads the state of its disk, if that was set.
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
