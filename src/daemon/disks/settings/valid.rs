//! Checking settings: after that they are a type that can't be wrong.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::Path;

use super::faults;
use super::identity::Identity;
use super::life::check_life;
use super::lineage::Lineage;
use super::metadata::Metadata;
use super::names::check_name;
use super::origin::Origin;
use super::problems::invalid;
use super::state::Birth;
use crate::daemon::error::MAX_SOCKET_PATH_BYTES;
use crate::daemon::host::owner::SocketOwner;
use crate::device::Serial;
use crate::device::faults::Rule;
use crate::model::{DiskSettings, HistorySettings, Limits, Problem, ProblemKind, Rate, Share};
use crate::store::{self, Bytes, Capacity, DiskSpec, SectorSize};

/// The most queues of a disk, which guests and front ends are known to handle.
const MOST_QUEUES: u16 = 256;

/// The most labels of a disk.
const MOST_LABELS: usize = 32;
const MAX_LABEL_KEY_BYTES: usize = 63;
const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Enough for a page, the nodes that lead to it, and the disk's record.
const LEAST_QUOTA_BYTES: u64 = 64 << 10;

/// The longest name of a disk with a history: the store's keys of its points begin with it.
const MAX_NAME_WITH_HISTORY_BYTES: usize = 43;
/// Intervals between points.
const INTERVALS_MS: RangeInclusive<u64> = 10..=86_400_000;
/// The least bytes between points.
const LEAST_WRITTEN_BYTES: u64 = 64 << 10;
/// The most points of a disk. The store can have some 60000 disks, snapshots and points.
const MOST_POINTS: u64 = 10_000;
/// The least bound on the log of volatile writes.
const LEAST_LOG_BYTES: u64 = 1 << 20;

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    if labels.len() > MOST_LABELS {
        return Err(invalid(
            "labels",
            format!(
                "{} labels are too many: give at most {MOST_LABELS}",
                labels.len()
            ),
        ));
    }
    for (key, value) in labels {
        let fits = !key.is_empty()
            && key.len() <= MAX_LABEL_KEY_BYTES
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'));
        if !fits {
            return Err(invalid(
                "labels",
                format!(
                    "{key:?} is not a label's key: use 1 to {MAX_LABEL_KEY_BYTES} of \
                     A-Z a-z 0-9 . _ - /"
                ),
            ));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return Err(invalid(
                "labels",
                format!(
                    "the value of label {key:?} has {} bytes: give at most {MAX_LABEL_VALUE_BYTES}",
                    value.len()
                ),
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_limits(limits: &Limits) -> Result<(), Problem> {
    for (field, rate) in [
        ("limits.total", &limits.total),
        ("limits.read", &limits.read),
        ("limits.write", &limits.write),
    ] {
        check_rate(field, rate)?;
    }
    Ok(())
}

/// Check the bound on the log of volatile writes.
pub(crate) fn check_log_limit(settings: &DiskSettings) -> Result<(), Problem> {
    let Some(limit_bytes) = settings.log_limit_bytes else {
        return Ok(());
    };
    if settings.write_cache.is_stable() {
        let detail = "a limit for the log of volatile writes needs write_cache volatile";
        return Err(invalid("log_limit_bytes", detail.into()));
    }
    if limit_bytes < LEAST_LOG_BYTES {
        return Err(invalid(
            "log_limit_bytes",
            format!(
                "a log of {} is too small: give at least {}",
                Bytes(limit_bytes),
                Bytes(LEAST_LOG_BYTES)
            ),
        ));
    }
    Ok(())
}

fn check_rate(field: &str, rate: &Rate) -> Result<(), Problem> {
    let pairs = [
        ("iops", rate.iops, rate.iops_burst),
        ("bytes", rate.bytes_per_second, rate.bytes_burst),
    ];
    for (what, per_second, burst) in pairs {
        if per_second == Some(0) || burst == Some(0) {
            return Err(invalid(
                field,
                format!("a limit of 0 {what} admits no request: leave it out for no limit"),
            ));
        }
        if per_second.is_none() && burst.is_some() {
            return Err(invalid(
                field,
                format!("a burst of {what} needs a limit of {what} per second with it"),
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_quota(quota_bytes: Option<u64>, pool_bytes: u64) -> Result<(), Problem> {
    let Some(quota_bytes) = quota_bytes else {
        return Ok(());
    };
    if quota_bytes < LEAST_QUOTA_BYTES {
        return Err(invalid(
            "quota_bytes",
            format!(
                "a quota of {} holds no data: give at least {}",
                Bytes(quota_bytes),
                Bytes(LEAST_QUOTA_BYTES)
            ),
        ));
    }
    if quota_bytes > pool_bytes {
        return Err(Problem {
            field: Some("quota_bytes".into()),
            ..Problem::new(
                ProblemKind::OverBudget,
                format!(
                    "a quota of {} is more than all disks together may take, {}: give less, or \
                     start the daemon with a larger memory limit",
                    Bytes(quota_bytes),
                    Bytes(pool_bytes)
                ),
            )
        });
    }
    Ok(())
}

/// Check the history of a disk called `name`.
pub(crate) fn check_history(name: &str, history: &HistorySettings) -> Result<(), Problem> {
    let refused = |detail: String| Err(invalid("history", detail));
    if name.len() > MAX_NAME_WITH_HISTORY_BYTES {
        return refused(format!(
            "disk {name:?} has a name of {} bytes, and with a history it can have \
             {MAX_NAME_WITH_HISTORY_BYTES}: fork it under a shorter name",
            name.len()
        ));
    }
    if history.interval_ms.is_some() && history.written_bytes.is_some() {
        return refused("points are taken by time or by bytes written: give one of them".into());
    }
    if let Some(ms) = history.interval_ms.filter(|ms| !INTERVALS_MS.contains(ms)) {
        let (least, most) = (INTERVALS_MS.start(), INTERVALS_MS.end());
        return refused(format!(
            "an interval of {ms} ms: give {least} ms to {most} ms"
        ));
    }
    if let Some(bytes) = history.written_bytes.filter(|&it| it < LEAST_WRITTEN_BYTES) {
        return refused(format!(
            "a point each {}: give at least {}",
            Bytes(bytes),
            Bytes(LEAST_WRITTEN_BYTES)
        ));
    }
    if history.keep == 0 || history.keep > MOST_POINTS {
        return refused(format!(
            "{} points to keep: give 1 to {MOST_POINTS}",
            history.keep
        ));
    }
    match history.limit_bytes {
        Some(bytes) if bytes < LEAST_QUOTA_BYTES => refused(format!(
            "a limit of {} holds no point: give at least {}",
            Bytes(bytes),
            Bytes(LEAST_QUOTA_BYTES)
        )),
        _ => Ok(()),
    }
}

/// Settings that were checked together, and what they are stored as.
#[derive(Debug)]
pub(crate) struct ValidDisk {
    /// The settings, without those that derive from the name or from other settings.
    pub(crate) settings: DiskSettings,
    /// The settings that are fields of the store's record.
    pub(crate) spec: DiskSpec,
    pub(crate) serial: Serial,
    pub(crate) queues: NonZeroU16,
    /// The faults, all of which have ids.
    pub(crate) rules: Vec<Rule>,
    /// The settings that are not.
    pub(crate) metadata: Metadata,
    /// The same, as the blob for the store.
    pub(crate) blob: Vec<u8>,
}

impl ValidDisk {
    /// The same disk, which goes when a connection of the API ends.
    ///
    /// # Errors
    /// `invalid` if its labels are too long for that.
    pub(crate) fn held(self) -> Result<Self, Problem> {
        let metadata = Metadata {
            held: true,
            ..self.metadata.clone()
        };
        self.with_metadata(metadata)
    }

    /// The same disk, made from this content.
    ///
    /// # Errors
    /// `invalid` if there is no room for that beside the labels.
    pub(crate) fn made_from(self, lineage: Option<Lineage>) -> Result<Self, Problem> {
        let metadata = Metadata {
            lineage,
            ..self.metadata.clone()
        };
        self.with_metadata(metadata)
    }

    /// The same for a clone, which was forked from a saved state.
    ///
    /// # Errors
    /// `invalid` if there is no room for that beside the labels.
    pub(crate) fn born_of(self, birth: Option<Birth>) -> Result<Self, Problem> {
        let metadata = Metadata {
            birth,
            ..self.metadata.clone()
        };
        self.with_metadata(metadata)
    }

    /// Check the settings of a disk called `name`, in a pool of `pool_bytes`.
    ///
    /// # Errors
    /// `invalid`, with the field; `over-budget` for a quota that is larger than the pool.
    pub(crate) fn new(
        name: &str,
        settings: DiskSettings,
        pool_bytes: u64,
    ) -> Result<Self, Problem> {
        let valid = Self::possible(name, settings, pool_bytes)?;
        faults::check_size(&valid.rules, valid.settings.size_bytes)?;
        Ok(valid)
    }

    /// The same, but faults may be about what lies beyond the disk's end.
    fn possible(name: &str, mut settings: DiskSettings, pool_bytes: u64) -> Result<Self, Problem> {
        check_name(name)?;
        let sector_size = SectorSize::from_bytes(settings.block_size)
            .map_err(|error| invalid("block_size", error.to_string()))?;
        Capacity::new(settings.size_bytes, sector_size)
            .map_err(|error| invalid("size_bytes", size_advice(&error, &settings)))?;
        let queues = NonZeroU16::new(settings.queues)
            .filter(|queues| queues.get() <= MOST_QUEUES)
            .ok_or_else(|| {
                let queues = settings.queues;
                let detail = format!("{queues} queues: give 1 to {MOST_QUEUES}");
                invalid("queues", detail)
            })?;
        let serial = match &settings.serial {
            Some(serial) => Serial::new(serial),
            None => Serial::for_name(name),
        };
        let serial = serial.map_err(|error| invalid("serial", error.to_string()))?;
        check_labels(&settings.labels)?;
        check_limits(&settings.limits)?;
        check_quota(settings.quota_bytes, pool_bytes)?;
        check_log_limit(&settings)?;
        check_life(&settings.life)?;
        settings.group.as_deref().map(check_name).transpose()?;
        let owner = settings.socket_owner.as_deref();
        let owner = owner.map(SocketOwner::parse).transpose();
        owner.map_err(|error| invalid("socket_owner", error.to_string()))?;
        let rules = faults::named(&settings.faults)?;
        if let Some(history) = &settings.history {
            check_history(name, history)?;
        }
        // A normal form, so that equal settings compare as equal.
        settings.read_only |= settings.share == Share::Ro;
        settings.serial = settings.serial.filter(|own| {
            Serial::for_name(name).map_or(true, |default| default.text() != own.as_str())
        });
        settings.faults = faults::texts(&rules);
        let mut spec = DiskSpec::new(sector_size, settings.size_bytes);
        spec.detect_zeroes = settings.detect_zeroes;
        spec.quota_bytes = settings.quota_bytes;
        spec.on_full = settings.on_full.into();
        spec.read_only = settings.read_only;
        let metadata = Metadata {
            identity: Identity::new(),
            ..Metadata::of(&settings)
        };
        let blob = metadata.encode()?;
        debug_assert_eq!(
            metadata.settings(&spec),
            settings,
            "each setting has a place"
        );
        Ok(Self {
            settings,
            spec,
            serial,
            queues,
            rules,
            metadata,
            blob,
        })
    }

    /// The settings of an existing disk. Its quota may exceed the pool, if that has become smaller,
    /// and its faults may be about what a reset has taken away.
    ///
    /// # Errors
    /// `invalid`, with the field.
    pub(crate) fn found(name: &str, metadata: &Metadata, spec: &DiskSpec) -> Result<Self, Problem> {
        let valid = Self::possible(name, metadata.settings(spec), u64::MAX)?;
        let mut metadata = metadata.with(&valid.settings);
        metadata.lived = metadata.lived.taken_up(&metadata.life);
        if metadata.identity.is_nothing() {
            metadata.identity = valid.metadata.identity;
        }
        valid.with_metadata(metadata)
    }

    /// The same settings with another origin.
    ///
    /// # Errors
    /// `invalid` if the origin and the labels together are too long.
    pub(crate) fn with_origin(self, origin: Origin) -> Result<Self, Problem> {
        let metadata = Metadata {
            origin,
            ..self.metadata.clone()
        };
        self.with_metadata(metadata)
    }

    fn with_metadata(self, metadata: Metadata) -> Result<Self, Problem> {
        let blob = metadata.encode()?;
        Ok(Self {
            metadata,
            blob,
            ..self
        })
    }
}

/// The error for a size that isn't a multiple of the block size, with the nearest ones that are.
fn size_advice(error: &store::Error, settings: &DiskSettings) -> String {
    let (size, block) = (settings.size_bytes, settings.block_size);
    let below = size / block * block;
    match size.checked_next_multiple_of(block) {
        Some(above) if below != above && below > 0 => {
            format!("{error}; the nearest are {below} and {above}")
        }
        _ => error.to_string(),
    }
}

/// Check that a path can be that of a socket.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), Problem> {
    let len = path.as_os_str().len();
    if len <= MAX_SOCKET_PATH_BYTES {
        return Ok(());
    }
    Err(invalid(
        "name",
        format!(
            "socket path {path:?} has {len} bytes, and a Unix socket can have \
             {MAX_SOCKET_PATH_BYTES}: use a shorter name, or start the daemon with a shorter \
             run directory"
        ),
    ))
}
