//! Disks and groups as declared, and what a declaration changes.
//!
//! A declaration is a merge patch (RFC 7396) of what exists: it sets the fields that it names,
//! `null` removes one, and absent fields stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::present::{named, set};
use crate::model::{
    DiskSettings, HistorySettings, LifePatch, Limits, OnFull, Rate, Sanitize, Share, WriteCache,
};

/// A declared rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RatePatch {
    /// Requests per second; `null` removes the limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub iops: Option<Option<u64>>,
    /// Requests that may come at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub iops_burst: Option<Option<u64>>,
    /// Bytes per second; `null` removes the limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub bytes_per_second: Option<Option<u64>>,
    /// Bytes that may be moved at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub bytes_burst: Option<Option<u64>>,
}

/// Declared limits: they set the fields that they name, and the others stay. A burst is removed
/// with its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsPatch {
    /// Reads and writes together.
    #[serde(skip_serializing_if = "RatePatch::is_empty")]
    pub total: RatePatch,
    /// Reads.
    #[serde(skip_serializing_if = "RatePatch::is_empty")]
    pub read: RatePatch,
    /// Writes.
    #[serde(skip_serializing_if = "RatePatch::is_empty")]
    pub write: RatePatch,
}

/// A declared disk. A new one needs a size; its other settings have defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredDisk {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// Size in bytes: a multiple of the block size, and never less than the disk's present size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 512, maximum = 70368744177664_u64, multiple_of = 512)]
    pub size_bytes: Option<u64>,
    /// Logical block size in bytes: 512 or 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,
    /// Request queues that a front end may use, 1 to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: Option<u16>,
    /// Whether guests can only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// The serial that guests see, 1 to 20 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[ -~]{1,20}$")]
    pub serial: Option<String>,
    /// How many front ends may use it at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Whether requests complete in the order in which they were made (VIRTIO_F_IN_ORDER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_order: Option<bool>,
    /// Whether zeros that a guest writes take no memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<bool>,
    /// What happens to a write that finds no memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
    /// What the disk does about requests that a correct guest wouldn't make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<Sanitize>,
    /// The disk's history; `null` ends it and drops its points.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named"
    )]
    #[schema(value_type = Option<HistorySettings>)]
    pub history: Option<Option<HistorySettings>>,
    /// When writes are stable. It can be changed only while no front end is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<WriteCache>,
    /// The most memory for the log of volatile writes, in bytes; `null` for the default.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named"
    )]
    #[schema(value_type = Option<u64>)]
    pub log_limit_bytes: Option<Option<u64>>,
    /// The most memory that the disk may take, in bytes; `null` removes the bound.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named"
    )]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
    /// Limits on requests and bytes per second.
    #[serde(default, skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
    /// The group whose limits the disk shares; `null` leaves it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named"
    )]
    #[schema(value_type = Option<String>)]
    pub group: Option<Option<String>>,
    /// Labels to set; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Changes of how its life ends. A `ttl_ms` begins when it is set or changed.
    #[serde(default, skip_serializing_if = "LifePatch::is_empty")]
    pub life: LifePatch,
    /// Whether it can't be destroyed until that is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// The user and the group that own its socket: `USER`, `USER:GROUP` or `:GROUP`, by names or
    /// numbers; `null` lets the daemon own it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named"
    )]
    #[schema(value_type = Option<String>)]
    pub socket_owner: Option<Option<String>>,
    /// Faults on command, replacing all that the disk has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32)]
    pub faults: Option<Vec<String>>,
}

/// A declared group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredGroup {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// Limits that its disks share.
    #[serde(default, skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
}

/// Disks and groups that should exist. Others that exist stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Declaration {
    /// Groups.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DeclaredGroup>,
    /// Disks.
    #[serde(rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DeclaredDisk>,
}

/// What a declaration does to a disk or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is created.
    Create,
    /// It is changed.
    Change,
    /// It is destroyed, with its content.
    Destroy,
}

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Its name, with dots between levels, as in `limits.read.iops`.
    pub field: String,
    /// Its old value; `null` if it had none.
    pub old: Value,
    /// Its new value; `null` if it is removed.
    pub new: Value,
}

/// A disk or a group that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// `disk` or `group`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is done to it.
    pub action: Action,
    /// Its fields that change.
    pub fields: Vec<FieldChange>,
}

/// What a declaration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Disks that were created.
    pub created: Vec<String>,
    /// Disks that were changed.
    pub changed: Vec<String>,
    /// Disks that were already as declared.
    pub unchanged: Vec<String>,
    /// Disks that were destroyed because the declaration does not name them (`prune`).
    pub destroyed: Vec<String>,
    /// Groups that were created, changed or destroyed.
    pub groups: Vec<String>,
    /// All changes, field by field, in the order in which they are made.
    pub changes: Vec<Changed>,
}

impl RatePatch {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn over(&self, had: Rate) -> Rate {
        let with = |rate: Option<Option<u64>>,
                    burst: Option<Option<u64>>,
                    had_rate: Option<u64>,
                    had_burst: Option<u64>| {
            let rate = rate.unwrap_or(had_rate);
            // A burst that is not named is removed with its rate.
            let burst = burst.unwrap_or(had_burst.filter(|_| rate.is_some()));
            (rate, burst)
        };
        let (iops, iops_burst) = with(self.iops, self.iops_burst, had.iops, had.iops_burst);
        let (bytes_per_second, bytes_burst) = with(
            self.bytes_per_second,
            self.bytes_burst,
            had.bytes_per_second,
            had.bytes_burst,
        );
        Rate {
            iops,
            iops_burst,
            bytes_per_second,
            bytes_burst,
        }
    }
}

impl LimitsPatch {
    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, changed as declared.
    pub fn over(&self, had: Limits) -> Limits {
        Limits {
            total: self.total.over(had.total),
            read: self.read.over(had.read),
            write: self.write.over(had.write),
        }
    }
}

impl DeclaredDisk {
    /// These settings, changed as declared.
    pub fn over(&self, mut settings: DiskSettings) -> DiskSettings {
        set(&mut settings.size_bytes, &self.size_bytes);
        set(&mut settings.block_size, &self.block_size);
        set(&mut settings.queues, &self.queues);
        set(&mut settings.read_only, &self.read_only);
        set(&mut settings.share, &self.share);
        set(&mut settings.in_order, &self.in_order);
        set(&mut settings.detect_zeroes, &self.detect_zeroes);
        set(&mut settings.on_full, &self.on_full);
        set(&mut settings.sanitize, &self.sanitize);
        set(&mut settings.history, &self.history);
        set(&mut settings.write_cache, &self.write_cache);
        set(&mut settings.log_limit_bytes, &self.log_limit_bytes);
        set(&mut settings.quota_bytes, &self.quota_bytes);
        set(&mut settings.group, &self.group);
        set(&mut settings.faults, &self.faults);
        set(&mut settings.protected, &self.protected);
        set(&mut settings.socket_owner, &self.socket_owner);
        settings.life = self.life.over(settings.life);
        if self.serial.is_some() {
            settings.serial.clone_from(&self.serial);
        }
        settings.limits = self.limits.over(settings.limits);
        for (key, value) in &self.labels {
            match value {
                Some(value) => settings.labels.insert(key.clone(), value.clone()),
                None => settings.labels.remove(key),
            };
        }
        settings
    }
}

/// The fields that differ between an old and a new value, as JSON.
pub fn field_changes(old: &impl Serialize, new: &impl Serialize) -> Vec<FieldChange> {
    let flat = |it: Result<Value, serde_json::Error>| {
        let mut fields = BTreeMap::new();
        flatten(String::new(), it.unwrap_or_default(), &mut fields);
        fields
    };
    let (mut old, mut new) = (
        flat(serde_json::to_value(old)),
        flat(serde_json::to_value(new)),
    );
    let fields: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    let changes = fields.into_iter().map(|field| FieldChange {
        old: old.remove(&field).unwrap_or_default(),
        new: new.remove(&field).unwrap_or_default(),
        field,
    });
    changes.filter(|change| change.old != change.new).collect()
}

fn flatten(at: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = match at.is_empty() {
                    true => key,
                    false => format!("{at}.{key}"),
                };
                flatten(at, value, into);
            }
        }
        plain => {
            into.insert(at, plain);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn disk(text: &str) -> DeclaredDisk {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_named_stays_and_null_takes_away() {
        let mut had = DiskSettings::new(1 << 20);
        had.quota_bytes = Some(7);
        had.on_full = OnFull::Stall;
        had.group = Some("g".into());
        had.labels.insert("a".into(), "1".into());
        had.limits.read.iops = Some(5);
        had.limits.read.iops_burst = Some(6);
        had.limits.write.bytes_per_second = Some(9);
        assert_eq!(disk(r#"{"name": "x"}"#).over(had.clone()), had);
        let said = disk(
            r#"{"name": "x", "quota_bytes": null, "labels": {"a": null, "b": "2"},
                "limits": {"read": {"iops": null}}}"#,
        );
        let now = said.over(had.clone());
        assert_eq!((now.quota_bytes, now.on_full), (None, OnFull::Stall));
        assert_eq!(now.labels, BTreeMap::from([("b".into(), "2".into())]));
        assert_eq!(now.limits.read, Rate::default(), "the burst goes with it");
        assert_eq!(now.limits.write.bytes_per_second, Some(9));
        let fields: Vec<_> = field_changes(&had, &now)
            .into_iter()
            .map(|change| (change.field, change.old, change.new))
            .collect();
        let wanted = [
            ("labels.a", json!("1"), Value::Null),
            ("labels.b", Value::Null, json!("2")),
            ("limits.read.iops", json!(5), Value::Null),
            ("limits.read.iops_burst", json!(6), Value::Null),
            ("quota_bytes", json!(7), Value::Null),
        ];
        let wanted = wanted.map(|(field, old, new)| (field.to_owned(), old, new));
        assert_eq!(fields, wanted);
    }
}
