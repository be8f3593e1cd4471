//! The transfer of the device's state through a pipe (SET_DEVICE_STATE_FD).
//!
//! A front end passes one end of a pipe and asks the back end to write the state to it or to read
//! the state from it. CHECK_DEVICE_STATE then asks whether that worked. A state is small, so saving
//! writes it at once. Loading reads it at CHECK_DEVICE_STATE: the front end writes after our reply,
//! and has closed its end of the pipe by then.

use std::fs::File;
use std::io;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::backend::Backend;
use super::claims::ClaimError;
use crate::device::{MOST_STATE_BYTES, StateError};
use crate::vhost_user::error::patience;
use crate::vhost_user::wire::ready::wait_ready;

/// A transfer, from SET_DEVICE_STATE_FD to CHECK_DEVICE_STATE.
#[derive(Debug, Default)]
pub(super) enum Transfer {
    #[default]
    None,
    Saved(Result<(), TransferError>),
    Loading(File),
}

/// Why a state was not transferred.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error("no transfer of a state was begun")]
    NotBegun,
    #[error("this device keeps no state")]
    Stateless,
    #[error("the disk is shared, so one front end can't bring it back to a state for all")]
    SharedDisk,
    #[error("the state's pipe: {0}")]
    Pipe(#[from] io::Error),
    #[error("more than {MOST_STATE_BYTES} bytes of state")]
    TooLong,
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Transfer {
    /// Save the state of the disk into `pipe`, which is closed afterwards: that ends the state.
    /// The number of saved states is limited, so a front end can't save while another one has the
    /// disk.
    pub(super) fn save(backend: &Backend, pipe: File) -> Self {
        let save = || {
            let disk_state = backend.device.state().ok_or(TransferError::Stateless)?;
            let _claim = backend.claim()?;
            let state = disk_state.save()?;
            Ok(write_all(&pipe, &state)?)
        };
        Self::Saved(save())
    }

    /// Finish the transfer: if it is a load, load the state. Returns its outcome.
    pub(super) fn finish(self, backend: &Backend) -> Result<(), TransferError> {
        match self {
            Self::None => Err(TransferError::NotBegun),
            Self::Saved(outcome) => outcome,
            Self::Loading(pipe) => {
                let state = read_all(&pipe)?;
                if backend.claims.are_shared() {
                    return Err(TransferError::SharedDisk);
                }
                let disk_state = backend.device.state().ok_or(TransferError::Stateless)?;
                let _claim = backend.claim()?;
                disk_state.load(&state)?;
                backend.device.volume().stabilise();
                Ok(())
            }
        }
    }
}

fn write_all(pipe: &File, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + patience();
    while !bytes.is_empty() {
        // A pipe that is ready takes a page at once, and a state is no longer.
        wait_ready(pipe, PollFlags::OUT, deadline)?;
        match rustix::io::write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn read_all(pipe: &File) -> Result<Vec<u8>, TransferError> {
    let deadline = Instant::now() + patience();
    let mut bytes = vec![0; MOST_STATE_BYTES + 1];
    let mut done = 0;
    while done <= MOST_STATE_BYTES {
        wait_ready(pipe, PollFlags::IN, deadline)?;
        match rustix::io::read(pipe, &mut bytes[done..]) {
            Ok(0) => {
                bytes.truncate(done);
                return Ok(bytes);
            }
            Ok(count) => done += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    Err(TransferError::TooLong)
}
