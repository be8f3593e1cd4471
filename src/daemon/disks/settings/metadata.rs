//! The metadata of a disk: the settings that the store's record has no fields for, in the record's
//! blob.
//!
//! Each setting has one place. Size, block size, quota, `on_full`, read-only and detect-zeroes are
//! fields of the record; the rest is here. A disk's settings ([`DiskSettings`]) combine both.
//!
//! 0.1.0 (layout 1) kept all settings in the blob, and some of them in the record too. The first
//! start of a later version converts such a blob; until then it can be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::identity::Identity;
use super::life::Lived;
use super::lineage::Lineage;
use super::origin::Origin;
use super::problems::{internal, invalid};
use super::state::Birth;
use crate::model::{
    DiskSettings, HistorySettings, Life, Limits, OnFull, Problem, Sanitize, Share, WriteCache,
};
use crate::store::{self, Change, Disk, DiskSpec};

/// The metadata of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Request queues that a front end may use.
    pub(crate) queues: u16,
    /// The serial, if it doesn't derive from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// How many front ends may use it at the same time.
    #[serde(default)]
    pub(crate) share: Share,
    /// Whether guests may rely on requests being completed in order.
    #[serde(default)]
    pub(crate) in_order: bool,
    /// What its sanitizer does.
    #[serde(default, skip_serializing_if = "Sanitize::is_off")]
    pub(crate) sanitize: Sanitize,
    /// Its history, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<HistorySettings>,
    /// When its writes are stable.
    #[serde(default, skip_serializing_if = "WriteCache::is_stable")]
    pub(crate) write_cache: WriteCache,
    /// The most memory for the log of volatile writes, if it isn't the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log_limit_bytes: Option<u64>,
    /// The disk's own limits.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub(crate) limits: Limits,
    /// The group whose limits the disk shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// How its life ends.
    #[serde(default, skip_serializing_if = "Life::is_open")]
    pub(crate) life: Life,
    /// What is kept of its life beside that.
    #[serde(default, skip_serializing_if = "Lived::is_nothing")]
    pub(crate) lived: Lived,
    /// Whether it can't be destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
    /// Who owns its socket, if that isn't the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket_owner: Option<String>,
    /// Faults on command, as texts in their normal form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<String>,
    /// Why it has failed, if it has. This isn't a setting, and no configuration can set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Which image its content was made from, and whether it is complete.
    #[serde(rename = "import", default, skip_serializing_if = "Origin::is_nothing")]
    pub(crate) origin: Origin,
    /// It goes when a connection of the API ends, which no later process has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) held: bool,
    /// Which content it was made from; for a snapshot, the content that it has.
    #[serde(rename = "content", default, skip_serializing_if = "Option::is_none")]
    pub(crate) lineage: Option<Lineage>,
    /// The saved state that the disk was forked from, if it was from one.
    #[serde(rename = "state", default, skip_serializing_if = "Option::is_none")]
    pub(crate) birth: Option<Birth>,
    /// Which disk it is, and how often it was changed.
    #[serde(default, skip_serializing_if = "Identity::is_nothing")]
    pub(crate) identity: Identity,
}

/// Settings that layout 1 has in the blob and later layouts in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    on_full: OnFull,
    read_only: bool,
}

/// A decoded blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) metadata: Metadata,
    /// The moved settings of a blob that 0.1.0 wrote. That version served them after a restart,
    /// whatever the record said.
    pub(crate) moved: Option<Moved>,
}

impl Metadata {
    /// The metadata of these settings.
    pub(crate) fn of(settings: &DiskSettings) -> Self {
        Self {
            queues: settings.queues,
            serial: settings.serial.clone(),
            share: settings.share,
            in_order: settings.in_order,
            sanitize: settings.sanitize,
            history: settings.history,
            write_cache: settings.write_cache,
            log_limit_bytes: settings.log_limit_bytes,
            limits: settings.limits,
            group: settings.group.clone(),
            labels: settings.labels.clone(),
            life: settings.life,
            lived: Lived::begin(&settings.life),
            protected: settings.protected,
            socket_owner: settings.socket_owner.clone(),
            faults: settings.faults.clone(),
            failure: None,
            origin: Origin::default(),
            held: false,
            lineage: None,
            birth: None,
            identity: Identity::default(),
        }
    }

    /// The settings of a disk with this metadata and a record with `spec`.
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
            sanitize: self.sanitize,
            history: self.history,
            write_cache: self.write_cache,
            log_limit_bytes: self.log_limit_bytes,
            quota_bytes: spec.quota_bytes,
            limits: self.limits,
            group: self.group.clone(),
            labels: self.labels.clone(),
            life: self.life,
            protected: self.protected,
            socket_owner: self.socket_owner.clone(),
            faults: self.faults.clone(),
        }
    }

    /// The metadata after the settings were changed. What isn't a setting stays.
    pub(crate) fn with(&self, settings: &DiskSettings) -> Self {
        Self {
            lived: match settings.life.ttl_ms == self.life.ttl_ms {
                true => self.lived,
                false => self.lived.with_ttl(&settings.life),
            },
            failure: self.failure.clone(),
            origin: self.origin.clone(),
            held: self.held,
            lineage: self.lineage,
            birth: self.birth,
            identity: self.identity,
            ..Self::of(settings)
        }
    }

    /// The content of a snapshot, if it has an identifier.
    ///
    /// # Errors
    /// The snapshot is gone.
    pub(crate) fn lineage_of(snapshot: &Disk) -> Result<Option<Lineage>, store::Error> {
        let metadata = Decoded::new(&snapshot.settings()?).map(|decoded| decoded.metadata);
        let lineage = metadata.ok().and_then(|metadata| metadata.lineage);
        lineage.map(|had| Lineage::of(had.id, snapshot)).transpose()
    }

    /// The blob of a snapshot, without the labels if there is no room for them: only the origin and
    /// the lineage are ever read.
    ///
    /// # Errors
    /// None is expected.
    pub(crate) fn for_snapshot(&self, lineage: Option<Lineage>) -> Result<Vec<u8>, Problem> {
        // The life of a snapshot is its own, and has no end.
        let whole = Self {
            lineage,
            life: Life::default(),
            lived: Lived::default(),
            protected: false,
            socket_owner: None,
            birth: None,
            ..self.clone()
        };
        let without = || Self {
            labels: BTreeMap::new(),
            faults: Vec::new(),
            ..whole.clone()
        };
        whole.encode().or_else(|_| without().encode())
    }

    /// The blob for the store.
    ///
    /// # Errors
    /// `invalid` if it is too long.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Problem> {
        let blob = serde_json::to_vec(self).map_err(internal)?;
        if blob.len() > store::MAX_SETTINGS_BYTES {
            return Err(invalid(
                "labels",
                format!(
                    "the settings take {} bytes, and can take {}: give shorter labels, or fewer \
                     faults",
                    blob.len(),
                    store::MAX_SETTINGS_BYTES
                ),
            ));
        }
        Ok(blob)
    }
}

impl Origin {
    /// The origin of a snapshot's content, from the snapshot's blob.
    pub(crate) fn of_snapshot(settings: &[u8]) -> Self {
        Decoded::new(settings).map_or_else(|_| Self::default(), |decoded| decoded.metadata.origin)
    }
}

impl Decoded {
    /// Decode a blob. An empty one has the defaults.
    ///
    /// # Errors
    /// It isn't a blob of this or an earlier version.
    pub(crate) fn new(blob: &[u8]) -> serde_json::Result<Self> {
        if blob.is_empty() {
            let metadata = Metadata::of(&DiskSettings::new(0));
            return Ok(Self {
                metadata,
                moved: None,
            });
        }
        let fields: Map<String, Value> = serde_json::from_slice(blob)?;
        // A blob of 0.1.0 has all settings, including a size.
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
    /// `spec` with these settings.
    pub(crate) fn spec(self, spec: DiskSpec) -> DiskSpec {
        DiskSpec {
            on_full: self.on_full.into(),
            read_only: self.read_only,
            ..spec
        }
    }

    /// The change that moves them into the record, with `settings` as the new blob.
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
        metadata.identity = Identity::new();
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
