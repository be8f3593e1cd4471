//! A disk of which ramblk died, kept from being served until somebody says that it may.
//!
//! What is the matter with it lies beside its settings in the store (`blob`): it is no setting, and
//! no configuration can name it.

use super::disk::Entry;
use crate::daemon::disks::Disks;
use crate::daemon::disks::settings::valid::invalid;
use crate::model::{DiskPatch, DiskState, Problem};
use crate::vhost_user::crash::Culprit;

/// Why a disk has failed of which ramblk died.
pub(crate) fn reason(culprit: &Culprit) -> String {
    format!(
        "ramblk crashed twice while it served a request of this disk (queue {}, descriptor {}); \
         every request fails until it is repaired",
        culprit.queue, culprit.head
    )
}

impl Entry {
    /// Why it has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.kept.lock().failure.clone()
    }

    /// Serve it as one that has failed, or as one that has not.
    pub(crate) fn follow_failure(&self) {
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
    pub(crate) fn check_repair(&self, patch: &DiskPatch) -> Result<(), Problem> {
        if patch.failed == Some(true) {
            return Err(invalid(
                "failed",
                "failed can only become false, which has a failed disk served again".into(),
            ));
        }
        Ok(())
    }
}
