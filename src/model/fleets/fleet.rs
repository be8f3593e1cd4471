//! Many disks at once: forks in numbers, and snapshots and resets of one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::present::{named, set};
use crate::model::{
    Disk, DiskSettings, LifePatch, LimitsPatch, OnFull, Sanitize, Share, StateChoice, WriteCache,
};

/// What disks are forked from, and their names. Exactly one of `disk` and `image` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForkSource {
    /// A disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub disk: Option<String>,
    /// A snapshot of that disk, or a point of its history as in `flush:1432`; by default the disk's
    /// present content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    pub snapshot: Option<String>,
    /// A saved state of that disk, by its number or as `last`. The forks are clones: a front end
    /// can load just this state into each. Without `snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(last|[0-9]{1,19})$")]
    pub state: Option<StateChoice>,
    /// The name or digest of a golden image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]
    pub image: Option<String>,
    /// Names of the new disks, each once.
    pub names: Vec<String>,
}

/// Settings of new forks. Absent ones are those of the forked disk, or defaults if that is an
/// image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForkSettings {
    /// Size in bytes, at least that of what is forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 512, maximum = 70368744177664_u64, multiple_of = 512)]
    pub size_bytes: Option<u64>,
    /// Logical block size in bytes: 512 or 4096. Without a size, what is forked is rounded up to
    /// whole blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 4096)]
    pub block_size: Option<u64>,
    /// The serial that guests see, in which `{name}` stands for the disk's name; by default the
    /// name. It is not inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub serial: Option<String>,
    /// Request queues that a front end may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: Option<u16>,
    /// Whether guests can only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// How many front ends may use it at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Whether requests complete in the order in which they were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_order: Option<bool>,
    /// Whether zeros that a guest writes take no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<bool>,
    /// What happens to a write that finds no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
    /// What the disk does about requests that a correct guest wouldn't make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<Sanitize>,
    /// When writes are stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<WriteCache>,
    /// The most memory for the log of volatile writes, in bytes; `null` for the default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    pub log_limit_bytes: Option<Option<u64>>,
    /// The most memory that each disk may be charged for, in bytes; `null` for no bound.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
    /// Limits on requests and bytes per second, over those that are inherited.
    #[serde(skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
    /// The group whose limits the disks share; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub group: Option<Option<String>>,
    /// How their life ends. It is not inherited.
    #[serde(skip_serializing_if = "LifePatch::is_empty")]
    pub life: LifePatch,
    /// Whether they can't be destroyed until that is changed. It is not inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// The user and the group that own each disk's socket: `USER`, `USER:GROUP` or `:GROUP`, in
    /// which `{name}` stands for the disk's name; by default the daemon's own. It is not inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 129)]
    pub socket_owner: Option<String>,
    /// Labels. They are not inherited.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Faults on command. They are not inherited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub faults: Vec<String>,
}

/// Disks that are forked from one moment of several disks, or of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForksRequest {
    /// What is forked.
    pub sources: Vec<ForkSource>,
    /// Settings of all of the new disks.
    pub settings: ForkSettings,
    /// Leave disks alone that exist, whatever they were made from.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub if_not_exists: bool,
}

/// The disks of a request for forks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forked {
    /// How many of them were created now. The others existed, as requested.
    pub created: usize,
    /// All of them, in the order of the request.
    pub disks: Vec<Disk>,
}

/// Disks of which snapshots are taken at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotsRequest {
    /// The disks, each once.
    #[schema(min_items = 1)]
    pub disks: Vec<String>,
    /// The name of each disk's snapshot.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
}

/// Disks that are reset at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetsRequest {
    /// The disks, each once.
    #[schema(min_items = 1)]
    pub disks: Vec<String>,
    /// A snapshot that each of them has, or a point as in `flush:1432`; by default the content from
    /// which each was forked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    pub to: Option<String>,
    /// Allow it while front ends are connected; their guests see the content change at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// What stands for a disk's name in the serial of a fork, and in the owner of its socket.
const NAME: &str = "{name}";

impl ForkSettings {
    /// The settings of a disk called `name` that had `settings`, and has these from then on. Those
    /// that are absent stay.
    pub fn over(&self, name: &str, mut settings: DiskSettings) -> DiskSettings {
        set(&mut settings.size_bytes, &self.size_bytes);
        set(&mut settings.block_size, &self.block_size);
        set(&mut settings.queues, &self.queues);
        set(&mut settings.read_only, &self.read_only);
        set(&mut settings.share, &self.share);
        set(&mut settings.in_order, &self.in_order);
        set(&mut settings.detect_zeroes, &self.detect_zeroes);
        set(&mut settings.on_full, &self.on_full);
        set(&mut settings.sanitize, &self.sanitize);
        set(&mut settings.write_cache, &self.write_cache);
        set(&mut settings.log_limit_bytes, &self.log_limit_bytes);
        set(&mut settings.quota_bytes, &self.quota_bytes);
        set(&mut settings.group, &self.group);
        set(&mut settings.protected, &self.protected);
        settings.life = self.life.over(settings.life);
        if let Some(serial) = &self.serial {
            settings.serial = Some(serial.replace(NAME, name));
        }
        if let Some(owner) = &self.socket_owner {
            settings.socket_owner = Some(owner.replace(NAME, name));
        }
        if !self.faults.is_empty() {
            settings.faults.clone_from(&self.faults);
        }
        settings.limits = self.limits.over(settings.limits);
        settings.labels.extend(self.labels.clone());
        settings
    }

    /// The settings of a fork called `name` of something that has `settings`.
    pub fn of_fork(&self, name: &str, settings: DiskSettings) -> DiskSettings {
        let mut fork = self.over(name, settings.inherited());
        if let (Some(block_size), None) = (self.block_size, self.size_bytes) {
            let whole = fork.size_bytes.checked_next_multiple_of(block_size);
            // An impossible block size is refused as such.
            fork.size_bytes = whole.unwrap_or(fork.size_bytes);
        }
        fork
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_inherits_what_describes_the_disk_and_not_what_identifies_it() {
        let mut golden = DiskSettings::new(1 << 20);
        golden.quota_bytes = Some(1 << 16);
        golden.serial = Some("golden".into());
        golden.socket_owner = Some("vm0".into());
        golden.labels.insert("role".into(), "golden".into());
        golden.faults = vec!["error".into()];
        let plain = ForkSettings::default().of_fork("a", golden.clone());
        assert_eq!(plain.quota_bytes, Some(1 << 16));
        assert_eq!(
            (plain.serial, plain.labels.len(), plain.faults.len()),
            (None, 0, 0)
        );
        assert_eq!(plain.socket_owner, None);
        let said = ForkSettings {
            serial: Some("ci-{name}".into()),
            socket_owner: Some("jail-{name}:kvm".into()),
            quota_bytes: Some(None),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            ..ForkSettings::default()
        };
        let fork = said.of_fork("vm-1", golden.clone());
        assert_eq!(fork.serial.as_deref(), Some("ci-vm-1"));
        assert_eq!(fork.socket_owner.as_deref(), Some("jail-vm-1:kvm"));
        assert_eq!((fork.quota_bytes, fork.labels.len()), (None, 1));
        // What a fork has already stays, if nothing else is said.
        let again = said.over("vm-1", fork.clone());
        assert_eq!(again, fork);
        assert_eq!(ForkSettings::default().over("x", golden.clone()), golden);
    }
}
