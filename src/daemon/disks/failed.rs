//! A disk of which ramblk died, kept from being served until somebody says that it may.
//!
//! What is the matter with it lies beside its settings in the store: it is no setting, and no
//! configuration can name it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::model::{DiskPatch, DiskSettings, DiskState, EventKind, Problem, ProblemKind};
use super::Disks;
use super::check::invalid;
use super::entry::Entry;
use crate::store;
use crate::vhost_user::crash::Culprit;

/// The key beside those of the settings.
const FAILURE: &str = "failure";

/// What the store keeps of a disk.
///
/// # Errors
/// `invalid` if that is too much.
pub(super) fn blob(settings: &DiskSettings, failure: Option<&str>) -> Result<Vec<u8>, Problem> {
    let internal =
        |error: serde_json::Error| Problem::new(ProblemKind::Internal, error.to_string());
    let mut value = serde_json::to_value(settings).map_err(internal)?;
    if let (Some(failure), Value::Object(fields)) = (failure, &mut value) {
        fields.insert(FAILURE.into(), failure.into());
    }
    let blob = serde_json::to_vec(&value).map_err(internal)?;
    if blob.len() > store::MAX_SETTINGS_BYTES {
        return Err(invalid(
            "labels",
            format!(
                "the settings take {} bytes and may take {}: give shorter labels",
                blob.len(),
                store::MAX_SETTINGS_BYTES
            ),
        ));
    }
    Ok(blob)
}

/// The settings of a disk, and why it has failed, if it has.
pub(super) fn read_blob(blob: &[u8]) -> serde_json::Result<(DiskSettings, Option<String>)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(blob)?;
    let failure = match fields.remove(FAILURE) {
        Some(Value::String(failure)) => Some(failure),
        _ => None,
    };
    Ok((serde_json::from_value(Value::Object(fields))?, failure))
}

/// Why a disk has failed of which ramblk died.
pub(super) fn reason(culprit: &Culprit) -> String {
    format!(
        "ramblk crashed twice while it served a request of this disk (queue {}, descriptor {}); \
         every request fails until it is repaired",
        culprit.queue, culprit.head
    )
}

impl Entry {
    /// Have the store keep these settings, with what is the matter.
    pub(super) fn keep(&self, settings: &DiskSettings) -> Result<(), Problem> {
        let failure = self.failure();
        self.disk
            .set_settings(&blob(settings, failure.as_deref())?)?;
        Ok(())
    }

    /// Why it has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// It has failed, or is served again.
    pub(super) fn set_failure(&self, failure: Option<String>) {
        self.server.device().set_failed(failure.is_some());
        self.health.lock().state = match failure {
            Some(_) => DiskState::Failed,
            None => DiskState::Ok,
        };
        *self.failure.lock() = failure;
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

    /// Serve a disk that has failed again.
    pub(super) fn repair(&self, entry: &Entry) -> Result<(), Problem> {
        if entry.failure().is_none() {
            return Ok(());
        }
        let settings = entry.settings.lock().clone();
        entry.disk.set_settings(&blob(&settings, None)?)?;
        entry.set_failure(None);
        let details = BTreeMap::from([("settings".to_owned(), "failed".to_owned())]);
        let events = &self.workshop.events;
        events.tell(EventKind::Changed, Some(&entry.name), details);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_matter_is_kept_beside_the_settings_and_is_none_of_them() {
        let settings = DiskSettings::new(1 << 20);
        let kept = blob(&settings, Some("twice")).unwrap();
        assert!(serde_json::from_slice::<DiskSettings>(&kept).is_err());
        let read = read_blob(&kept).unwrap();
        assert_eq!(read, (settings.clone(), Some("twice".to_owned())));
        let plain = serde_json::to_vec(&settings).unwrap();
        assert_eq!(read_blob(&plain).unwrap(), (settings, None));
    }
}
