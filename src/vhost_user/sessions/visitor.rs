//! Users of a disk that come through another front door than vhost-user.

use std::sync::Arc;

use super::backend::Backend;
use super::claims::{Claim, ClaimError};
use crate::device::{User, Volume};

/// Why a visitor can't use the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitError {
    /// A front end is connected, and the disk isn't shared.
    #[error("a front end is connected, and the disk isn't shared")]
    Attached,
    /// There are too many front ends.
    #[error("too many front ends are connected")]
    TooMany,
    /// The server was closed.
    #[error("the disk is no longer served")]
    Closed,
}

impl From<ClaimError> for VisitError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Taken => Self::Attached,
            ClaimError::Closed => Self::Closed,
        }
    }
}

/// Forgets the visitor.
pub(super) type Leave = Box<dyn FnOnce() + Send + Sync>;

/// A user of the disk beside its front ends. It counts as one of them: under the same rule for
/// sharing, and wherever they are counted or listed. Drop it to release the disk.
pub struct Visitor {
    backend: Arc<Backend>,
    claim: Option<Claim>,
    leave: Option<Leave>,
}

impl Visitor {
    pub(super) fn new(backend: &Arc<Backend>, leave: Leave) -> Result<Self, VisitError> {
        // Made first, so that it is forgotten even if it gets no claim.
        let mut visitor = Self {
            backend: Arc::clone(backend),
            claim: None,
            leave: Some(leave),
        };
        visitor.claim = Some(backend.claim()?);
        Ok(visitor)
    }

    /// The disk.
    pub fn volume(&self) -> &Volume {
        self.backend.device.volume()
    }

    /// Who the visitor is to the disk.
    pub fn user(&self) -> User {
        self.claim.as_ref().map_or(User::UNKNOWN, Claim::user)
    }
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor").finish_non_exhaustive()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.claim.take());
        if let Some(leave) = self.leave.take() {
            leave();
        }
    }
}
