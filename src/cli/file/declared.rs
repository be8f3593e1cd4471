//! Disks and groups in the configuration file, declared and exported.
//!
//! `none` removes a value, as on the command line. `false` removes a label, whose value may be any
//! text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::history::FileHistory;
use super::values::{Size, Time};
use crate::cli::values::size::{exact, parse_size};
use crate::model::{
    Config, ConfigDisk, ConfigGroup, DeclaredDisk, DeclaredGroup, DiskSettings, LifePatch, Limits,
    LimitsPatch, OnDetach, OnFull, Rate, RatePatch, Sanitize, Share, WriteCache,
};

/// The exported disks and groups.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Exported {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    group: Vec<FileGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disk: Vec<FileDisk>,
}

/// A group.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct FileGroup {
    name: String,
    #[serde(default, skip_serializing_if = "FileLimits::is_empty")]
    limits: FileLimits,
}

/// A disk, as [`DeclaredDisk`] but with sizes as people write them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct FileDisk {
    name: String,
    #[serde(alias = "size_bytes", skip_serializing_if = "Option::is_none")]
    size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_order: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detect_zeroes: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_full: Option<OnFull>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sanitize: Option<Sanitize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<FileHistory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_cache: Option<WriteCache>,
    #[serde(alias = "log_limit_bytes", skip_serializing_if = "Option::is_none")]
    log_limit: Option<Bytes>,
    #[serde(alias = "quota_bytes", skip_serializing_if = "Option::is_none")]
    quota: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_detach: Option<OnDetach>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_owner: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Label>,
    #[serde(default, skip_serializing_if = "FileLimits::is_empty")]
    limits: FileLimits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    #[serde(skip_serializing_if = "FileRate::is_empty")]
    total: FileRate,
    #[serde(skip_serializing_if = "FileRate::is_empty")]
    read: FileRate,
    #[serde(skip_serializing_if = "FileRate::is_empty")]
    write: FileRate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileRate {
    #[serde(skip_serializing_if = "Option::is_none")]
    iops: Option<Count>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iops_burst: Option<Count>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_burst: Option<Bytes>,
}

/// A number of bytes, a string such as `"10G"`, or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(Option<u64>);

/// A number, or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count(Option<u64>);

/// A label's value, or `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Label(Option<String>);

/// Removes a value.
const NONE: &str = "none";

/// Reads a number, or a string with `text`.
struct Words {
    expected: &'static str,
    text: fn(&str) -> Result<u64, String>,
}

impl Visitor<'_> for Words {
    type Value = Option<u64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u64>, E> {
        Ok(Some(number))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<u64>, E> {
        let number = u64::try_from(number);
        number
            .map(Some)
            .map_err(|_| E::custom(format!("this can't be negative: give {}", self.expected)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u64>, E> {
        match text {
            NONE => Ok(None),
            _ => (self.text)(text).map(Some).map_err(E::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = Words {
            expected: "a number of bytes, a size as in \"10G\", or \"none\"",
            text: |text| parse_size(text).map_err(|error| format!("{error}, or none")),
        };
        from.deserialize_any(words).map(Self)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = Words {
            expected: "a whole number, or \"none\"",
            text: |text| Err(format!("{text:?} is neither a whole number nor \"none\"")),
        };
        from.deserialize_any(words).map(Self)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Value;
        impl Visitor<'_> for Value {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or false to remove the label")
            }
            fn visit_bool<E: de::Error>(self, stays: bool) -> Result<Label, E> {
                match stays {
                    false => Ok(Label(None)),
                    true => Err(E::custom("a label is a string, or false to remove it")),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                Ok(Label(Some(text.to_owned())))
            }
        }
        from.deserialize_any(Value)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(bytes) => into.serialize_str(&exact(bytes)),
            None => into.serialize_str(NONE),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(count) => into.serialize_u64(count),
            None => into.serialize_str(NONE),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => into.serialize_str(value),
            None => into.serialize_bool(false),
        }
    }
}

impl FileRate {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FileLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<FileRate> for RatePatch {
    fn from(rate: FileRate) -> Self {
        Self {
            iops: rate.iops.map(|Count(count)| count),
            iops_burst: rate.iops_burst.map(|Count(count)| count),
            bytes_per_second: rate.bytes_per_second.map(|Bytes(bytes)| bytes),
            bytes_burst: rate.bytes_burst.map(|Bytes(bytes)| bytes),
        }
    }
}

impl From<Rate> for FileRate {
    fn from(rate: Rate) -> Self {
        let count = |count: Option<u64>| count.map(|count| Count(Some(count)));
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| Bytes(Some(bytes)));
        Self {
            iops: count(rate.iops),
            iops_burst: count(rate.iops_burst),
            bytes_per_second: bytes(rate.bytes_per_second),
            bytes_burst: bytes(rate.bytes_burst),
        }
    }
}

impl From<FileLimits> for LimitsPatch {
    fn from(limits: FileLimits) -> Self {
        Self {
            total: limits.total.into(),
            read: limits.read.into(),
            write: limits.write.into(),
        }
    }
}

impl From<Limits> for FileLimits {
    fn from(limits: Limits) -> Self {
        Self {
            total: limits.total.into(),
            read: limits.read.into(),
            write: limits.write.into(),
        }
    }
}

impl From<FileGroup> for DeclaredGroup {
    fn from(group: FileGroup) -> Self {
        Self {
            name: group.name,
            limits: group.limits.into(),
        }
    }
}

impl From<FileDisk> for DeclaredDisk {
    fn from(disk: FileDisk) -> Self {
        let labels = disk.labels.into_iter();
        Self {
            name: disk.name,
            size_bytes: disk.size.map(|Size(bytes)| bytes),
            block_size: disk.block_size.map(|Size(bytes)| bytes),
            queues: disk.queues,
            read_only: disk.read_only,
            serial: disk.serial,
            share: disk.share,
            in_order: disk.in_order,
            detect_zeroes: disk.detect_zeroes,
            on_full: disk.on_full,
            sanitize: disk.sanitize,
            history: disk.history.map(|FileHistory(history)| history),
            write_cache: disk.write_cache,
            log_limit_bytes: disk.log_limit.map(|Bytes(bytes)| bytes),
            quota_bytes: disk.quota.map(|Bytes(bytes)| bytes),
            limits: disk.limits.into(),
            group: disk.group.map(other_than_none),
            labels: labels.map(|(key, Label(value))| (key, value)).collect(),
            life: LifePatch {
                ttl_ms: disk.ttl.map(|Time(ms)| ms),
                on_detach: disk.on_detach,
                grace_ms: disk.grace.map(|Time(ms)| ms),
            },
            protected: disk.protected,
            socket_owner: disk.socket_owner.map(other_than_none),
            faults: disk.faults,
        }
    }
}

/// The word, unless it is `none`.
fn other_than_none(word: String) -> Option<String> {
    Some(word).filter(|word| word != NONE)
}

impl From<Config> for Exported {
    fn from(config: Config) -> Self {
        Self {
            group: config.groups.into_iter().map(Into::into).collect(),
            disk: config.disks.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ConfigGroup> for FileGroup {
    fn from(group: ConfigGroup) -> Self {
        Self {
            name: group.name,
            limits: group.limits.into(),
        }
    }
}

/// A disk's settings that differ from the defaults.
impl From<ConfigDisk> for FileDisk {
    fn from(ConfigDisk { name, settings }: ConfigDisk) -> Self {
        fn other<T: PartialEq>(value: T, usual: &T) -> Option<T> {
            Some(value).filter(|value| value != usual)
        }
        let usual = DiskSettings::new(settings.size_bytes);
        let labels = settings.labels.into_iter();
        Self {
            name,
            size: Some(Size(settings.size_bytes)),
            block_size: other(settings.block_size, &usual.block_size).map(Size),
            queues: other(settings.queues, &usual.queues),
            read_only: other(settings.read_only, &usual.read_only),
            serial: settings.serial,
            share: other(settings.share, &usual.share),
            in_order: other(settings.in_order, &usual.in_order),
            detect_zeroes: other(settings.detect_zeroes, &usual.detect_zeroes),
            on_full: other(settings.on_full, &usual.on_full),
            sanitize: other(settings.sanitize, &usual.sanitize),
            history: settings.history.map(|history| FileHistory(Some(history))),
            write_cache: other(settings.write_cache, &usual.write_cache),
            log_limit: settings.log_limit_bytes.map(|bytes| Bytes(Some(bytes))),
            quota: settings.quota_bytes.map(|bytes| Bytes(Some(bytes))),
            group: settings.group,
            labels: labels
                .map(|(key, value)| (key, Label(Some(value))))
                .collect(),
            ttl: settings.life.ttl_ms.map(|ms| Time(Some(ms))),
            on_detach: other(settings.life.on_detach, &usual.life.on_detach),
            grace: settings.life.grace_ms.map(|ms| Time(Some(ms))),
            protected: other(settings.protected, &usual.protected),
            socket_owner: settings.socket_owner,
            faults: other(settings.faults, &usual.faults),
            limits: settings.limits.into(),
        }
    }
}
