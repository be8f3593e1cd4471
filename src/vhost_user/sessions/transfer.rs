//! The device's state on its way through a pipe ("SET_DEVICE_STATE_FD").
//!
//! A front end passes one end of a pipe and asks for the state to be written to it, or read from
//! it; CHECK_DEVICE_STATE then asks whether that worked. A state is small, so saving writes it at
//! once; loading reads it when it is asked for the outcome, since the front end writes after our
//! reply and has closed its end by then.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::server::{ClaimError, Shared};
use crate::device::{MOST_STATE_BYTES, StateError};
use crate::vhost_user::patience;

/// A transfer, from SET_DEVICE_STATE_FD to CHECK_DEVICE_STATE.
#[derive(Debug, Default)]
pub(super) enum Transfer {
    #[default]
    None,
    Saved(Result<(), TransferError>),
    Loading(File),
}

/// Why a state was not moved.
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
    /// Save the state of the disk into `pipe`, which is closed afterwards: that is its end. Only
    /// few states are kept, so nobody may save while the disk is another's.
    pub(super) fn save(server: &Arc<Shared>, pipe: File) -> Self {
        let save = || {
            let keeper = server.device.state().ok_or(TransferError::Stateless)?;
            let _claim = server.claim()?;
            let state = keeper.save()?;
            Ok(write_all(&pipe, &state)?)
        };
        Self::Saved(save())
    }

    /// Load what is to be loaded; what came of the transfer.
    pub(super) fn finish(self, server: &Arc<Shared>) -> Result<(), TransferError> {
        match self {
            Self::None => Err(TransferError::NotBegun),
            Self::Saved(outcome) => outcome,
            Self::Loading(pipe) => {
                let state = read_all(&pipe)?;
                if server.is_shared() {
                    return Err(TransferError::SharedDisk);
                }
                let keeper = server.device.state().ok_or(TransferError::Stateless)?;
                let _claim = server.claim()?;
                Ok(keeper.load(&state)?)
            }
        }
    }
}

/// Wait until a descriptor is ready for `flags`; [`io::ErrorKind::TimedOut`] if it isn't in time.
pub(super) fn wait(fd: impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&fd, flags)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn write_all(pipe: &File, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + patience();
    while !bytes.is_empty() {
        // A pipe that is ready takes a page at once, and a state is no longer.
        wait(pipe, PollFlags::OUT, deadline)?;
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
        wait(pipe, PollFlags::IN, deadline)?;
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
