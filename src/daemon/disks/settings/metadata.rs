//! What is kept of a disk beside what the store's own record says, in the record's settings.
//!
//! Each thing has one place. Size, block size, quota, what to do without memory, whether guests may
//! write and whether zeros take memory are the record's; the rest is here. A disk's settings
//! ([`DiskSettings`]) are put together from both.
//!
//! 0.1.0 (layout 1) kept all settings here, some of them in the record too. Such a blob is read as
//! long as it is there, and the first start of a later version replaces it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::origin::Origin;
use super::problems::{internal, invalid};
use crate::model::{DiskSettings, Limits, OnFull, Problem, Share};
use crate::store::{self, Change, DiskSpec};

/// What is kept beside the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Request queues that a front end may use.
    pub(crate) queues: u16,
    /// What guests see as the serial, if it doesn't follow from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// How many front ends may use it at the same time.
    #[serde(default)]
    pub(crate) share: Share,
    /// Whether guests may rely on requests being completed in order.
    #[serde(default)]
    pub(crate) in_order: bool,
    /// What guests may do per second.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub(crate) limits: Limits,
    /// The group whose limits hold too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// The owner's own words about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Why it has failed, if it has: no setting, and no configuration can name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Where its content comes from, and whether that is whole.
    #[serde(rename = "import", default, skip_serializing_if = "Origin::is_nothing")]
    pub(crate) origin: Origin,
}

/// What layout 1 said here and later ones say in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    on_full: OnFull,
    read_only: bool,
}

/// A blob that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) metadata: Metadata,
    /// Of a blob that 0.1.0 wrote. It is what that version served after a restart, whatever the
    /// record said.
    pub(crate) moved: Option<Moved>,
}

impl Metadata {
    /// What is kept of these settings beside the record.
    pub(crate) fn of(settings: &DiskSettings) -> Self {
        Self {
            queues: settings.queues,
            serial: settings.serial.clone(),
            share: settings.share,
            in_order: settings.in_order,
            limits: settings.limits,
            group: settings.group.clone(),
            labels: settings.labels.clone(),
            failure: None,
            origin: Origin::default(),
        }
    }

    /// The settings of a disk that has this beside its record.
    pub(crate) fn settings(&self, spec: &DiskSpec) -> DiskSettings {
        DiskSettings {
            size_bytes: spec.size_bytes,
            block_size: spec.sector_size.bytes(),
            queues: self.queues,
            read_only: spec.read_only,
            serial: self.serial.clone(),
            share: self.share,
            in_order: self.in_order,
            detect_zeroes: spec.detect_zeroes,
            on_full: spec.on_full.into(),
            quota_bytes: spec.quota_bytes,
            limits: self.limits,
            group: self.group.clone(),
            labels: self.labels.clone(),
        }
    }

    /// The same as settings are changed; what is no setting stays.
    pub(crate) fn with(&self, settings: &DiskSettings) -> Self {
        Self {
            failure: self.failure.clone(),
            origin: self.origin.clone(),
            ..Self::of(settings)
        }
    }

    /// What the store keeps.
    ///
    /// # Errors
    /// `invalid` if that is too much.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Problem> {
        let blob = serde_json::to_vec(self).map_err(internal)?;
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
}

impl Origin {
    /// Of the content of a snapshot with these settings beside its record.
    pub(crate) fn of_snapshot(settings: &[u8]) -> Self {
        Decoded::new(settings).map_or_else(|_| Self::default(), |decoded| decoded.metadata.origin)
    }
}

impl Decoded {
    /// Understand a blob. A disk that was made without one has what is usual.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn new(blob: &[u8]) -> serde_json::Result<Self> {
        if blob.is_empty() {
            let metadata = Metadata::of(&DiskSettings::new(0));
            return Ok(Self {
                metadata,
                moved: None,
            });
        }
        let fields: Map<String, Value> = serde_json::from_slice(blob)?;
        // All settings, as 0.1.0 had them here, have a size among them.
        if fields.contains_key("size_bytes") {
            return Self::of_layout_1(fields);
        }
        let metadata = serde_json::from_value(Value::Object(fields))?;
        Ok(Self {
            metadata,
            moved: None,
        })
    }

    fn of_layout_1(mut fields: Map<String, Value>) -> serde_json::Result<Self> {
        let failure = match fields.remove("failure") {
            Some(Value::String(failure)) => Some(failure),
            _ => None,
        };
        let settings: DiskSettings = serde_json::from_value(Value::Object(fields))?;
        Ok(Self {
            moved: Some(Moved {
                on_full: settings.on_full,
                read_only: settings.read_only,
            }),
            metadata: Metadata {
                failure,
                ..Metadata::of(&settings)
            },
        })
    }
}

impl Moved {
    /// The record as this has it.
    pub(crate) fn spec(self, spec: DiskSpec) -> DiskSpec {
        DiskSpec {
            on_full: self.on_full.into(),
            read_only: self.read_only,
            ..spec
        }
    }

    /// What makes it so, with `settings` beside it.
    pub(crate) fn change(self, settings: &[u8]) -> Change<'_> {
        Change {
            settings: Some(settings),
            on_full: Some(self.on_full.into()),
            read_only: Some(self.read_only),
            ..Change::default()
        }
    }
}

impl From<OnFull> for store::OnFull {
    fn from(on_full: OnFull) -> Self {
        match on_full {
            OnFull::Error => Self::Error,
            OnFull::Stall => Self::Stall,
        }
    }
}

impl From<store::OnFull> for OnFull {
    fn from(on_full: store::OnFull) -> Self {
        match on_full {
            store::OnFull::Error => Self::Error,
            store::OnFull::Stall => Self::Stall,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::Image;
    use crate::store::SectorSize;

    #[test]
    fn nothing_that_the_record_says_is_kept_beside_it() {
        let metadata = Metadata::of(&DiskSettings::new(1 << 20));
        let blob: Map<String, Value> = serde_json::from_slice(&metadata.encode().unwrap()).unwrap();
        for field in [
            "size_bytes",
            "block_size",
            "quota_bytes",
            "on_full",
            "read_only",
            "detect_zeroes",
        ] {
            assert!(!blob.contains_key(field), "{field}: {blob:?}");
        }
    }

    #[test]
    fn what_is_the_matter_is_kept_beside_the_settings_and_is_none_of_them() {
        let mut metadata = Metadata::of(&DiskSettings::new(1 << 20));
        metadata.failure = Some("twice".into());
        metadata.origin = Origin::to_come(Image {
            name: "a".into(),
            id: None,
            size_bytes: Some(7),
        });
        let decoded = Decoded::new(&metadata.encode().unwrap()).unwrap();
        assert_eq!((&decoded.metadata, decoded.moved), (&metadata, None));
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        let settings = metadata.settings(&spec);
        assert_eq!(settings, DiskSettings::new(1 << 20));
        assert_eq!(metadata.with(&settings), metadata);
    }

    #[test]
    fn settings_of_0_1_0_are_read_with_what_was_the_matter() {
        let mut settings = DiskSettings::new(1 << 20);
        settings.on_full = OnFull::Stall;
        settings.read_only = true;
        settings.labels.insert("a".into(), "b".into());
        let mut fields = serde_json::to_value(&settings).unwrap();
        fields["failure"] = "twice".into();
        let decoded = Decoded::new(&serde_json::to_vec(&fields).unwrap()).unwrap();
        assert_eq!(decoded.metadata.failure.as_deref(), Some("twice"));
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        let spec = decoded.moved.unwrap().spec(spec);
        assert_eq!(decoded.metadata.settings(&spec), settings);
    }

    #[test]
    fn a_blob_that_says_more_than_is_known_is_refused() {
        for blob in ["{\"queues\":1,\"colour\":2}", "{}", "[]", "x"] {
            assert!(Decoded::new(blob.as_bytes()).is_err(), "{blob}");
        }
    }
}
