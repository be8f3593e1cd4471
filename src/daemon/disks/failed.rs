//! A disk of which ramblk died, kept from being served until somebody says that it may.
//!
//! What is the matter with it lies beside its settings in the store (`blob`): it is no setting, and
//! no configuration can name it.

use super::Disks;
use super::check::invalid;
use super::entry::Entry;
use crate::model::{DiskPatch, DiskState, Problem};
use crate::vhost_user::crash::Culprit;

/// Why a disk has failed of which ramblk died.
pub(super) fn reason(culprit: &Culprit) -> String {
    format!(
        "ramblk crashed twice while it served a request of this disk (queue {}, descriptor {}); \
         every request fails until it is repaired",
        culprit.queue, culprit.head
    )
}

impl Entry {
    /// Why it has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.kept.lock().failure.clone()
    }

    /// Serve it as one that has failed, or as one that has not.
    pub(super) fn follow_failure(&self) {
        let has_failed = self.failure().is_some();
        self.server.device().set_failed(has_failed);
        self.health.lock().state = if has_failed {
            DiskState::Failed
        } else if self.is_importing() {
            DiskState::Importing
        } else {
            DiskState::Ok
        };
    }
}

impl Disks {
    /// A disk can be repaired; nobody can make one fail.
    pub(super) fn check_repair(&self, patch: &DiskPatch) -> Result<(), Problem> {
        if patch.failed == Some(true) {
            return Err(invalid(
                "failed",
                "failed can only become false, which has a failed disk served again".into(),
            ));
        }
        Ok(())
    }
}
