//! The right to use a disk: for one front end at a time, or for any number.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::device::{Presence, User};
use crate::vhost_user::error::patience;

/// How many front ends may use a disk at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One. Another one may connect, and takes over when the first has stopped.
    None,
    /// Any number. For a device that is read-only, or guests that coordinate their writes.
    Any,
}

/// The claims on one disk.
#[derive(Debug)]
pub(crate) struct Claims {
    share: Share,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// Front ends no longer wait for each other: the server is closing.
    is_closed: bool,
}

/// A front end's right to use the disk. Drop it to release the disk.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    presence: Presence,
}

/// Why a front end can't use the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("another front end uses this disk; stop it first, or share the disk read-only")]
    Taken,
    #[error("the back end is shutting down")]
    Closed,
}

impl Claims {
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether any number of front ends may use the disk.
    pub(super) fn are_shared(&self) -> bool {
        self.share == Share::Any
    }

    /// Whether only one front end may use the disk, and one other than the caller does. `own` says
    /// whether the caller itself holds a claim.
    pub(super) fn are_anothers(&self, own: bool) -> bool {
        self.share == Share::None && self.held() > usize::from(own)
    }

    /// Claim the disk. Waits up to [`patience`] for another front end to release it: one that was
    /// restarted often connects before its predecessor is gone. It is there for the disk then: with
    /// what `arrive` returns.
    pub(super) fn claim(
        self: &Arc<Self>,
        arrive: impl FnOnce() -> Presence,
    ) -> Result<Claim, ClaimError> {
        let deadline = Instant::now() + patience();
        let mut state = self.state.lock();
        while self.share == Share::None && state.held > 0 {
            if state.is_closed {
                return Err(ClaimError::Closed);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(ClaimError::Taken);
            }
        }
        state.held += 1;
        drop(state);
        Ok(Claim {
            claims: Arc::clone(self),
            presence: arrive(),
        })
    }

    /// Refuse front ends that wait for another one, now and later.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// How many front ends use the disk.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held
    }
}

impl Claim {
    /// The user that holds it.
    pub(super) fn user(&self) -> User {
        self.presence.user()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.state.lock();
        debug_assert!(state.held > 0, "a claim is released that was not held");
        state.held -= 1;
        drop(state);
        self.claims.changed.notify_all();
    }
}
