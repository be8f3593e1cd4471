//! Changes that a disk's owner can make to its record.

use crate::store::base::error::Error;

use crate::store::layout::record::{Record, check_settings};
use crate::store::layout::spec::OnFull;

/// A change of a disk's record. `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// The owner's settings, which the store doesn't interpret: at most
    /// [`MAX_SETTINGS_BYTES`](crate::store::MAX_SETTINGS_BYTES).
    pub settings: Option<&'a [u8]>,
    /// The most bytes of memory that may be charged to it from now on; `Some(None)` for no bound
    /// but the store's.
    pub quota_bytes: Option<Option<u64>>,
    /// Whether a lower quota may be below the disk's charge. The disk then keeps its memory.
    pub even_below_charge: bool,
    /// What a write does from now on when there is no memory left for it.
    pub on_full: Option<OnFull>,
    /// Whether only its owner may write to it. Open connections are not affected.
    pub read_only: Option<bool>,
}

impl Change<'_> {
    /// Check that the settings are not too long.
    ///
    /// # Errors
    /// [`Error::SettingsTooLong`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_settings(self.settings.unwrap_or_default())
    }

    /// Apply it to a record. The caller has checked the quota.
    pub(crate) fn apply(&self, record: &mut Record) {
        let spec = &mut record.spec;
        if let Some(settings) = self.settings {
            settings.clone_into(&mut record.settings);
        }
        spec.quota_bytes = self.quota_bytes.unwrap_or(spec.quota_bytes);
        spec.on_full = self.on_full.unwrap_or(spec.on_full);
        spec.read_only = self.read_only.unwrap_or(spec.read_only);
    }
}
