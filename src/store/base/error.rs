//! The errors of the store.

use super::bytes::Bytes;
use super::limits::{LAYOUT, MAX_CAPACITY_BYTES, MAX_KEY_BYTES, MAX_SETTINGS_BYTES, OLDEST_LAYOUT};

/// An error of the store. Its message names only the values at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No disk has this key.
    #[error("no disk named {key:?}")]
    Unknown {
        /// The key that was asked for.
        key: String,
    },
    /// A disk with this key exists. It is never replaced silently.
    #[error("a disk named {key:?} exists already; destroy it first or choose another name")]
    Exists {
        /// The key that was asked for.
        key: String,
    },
    /// The handle was disconnected, or its disk was destroyed.
    #[error("disk {key:?} is disconnected: this handle was closed or the disk destroyed")]
    Disconnected {
        /// The key of the disk that the handle belonged to.
        key: String,
    },
    /// The disk, or this connection to it, can't be changed.
    #[error("disk {key:?} is read-only")]
    IsReadOnly {
        /// The key of the disk.
        key: String,
    },
    /// The store does not support this.
    #[error("not implemented: {what}")]
    Unimplemented {
        /// What was requested, and what to use instead.
        what: String,
    },
    /// A key that is empty or too long.
    #[error("a disk's name has 1 to {MAX_KEY_BYTES} bytes, this one has {len_bytes}")]
    InvalidKey {
        /// The length of the key at fault.
        len_bytes: usize,
    },
    /// A size that no disk can have.
    #[error(
        "{} is not a size for a disk with sectors of {sector_bytes} bytes: give a multiple of \
         {sector_bytes} between {sector_bytes} and {}",
        Bytes(*size_bytes), Bytes(MAX_CAPACITY_BYTES)
    )]
    InvalidSize {
        /// The size that was asked for.
        size_bytes: u64,
        /// The sector size of the disk.
        sector_bytes: u64,
    },
    /// The request does not lie inside the disk.
    #[error("{len_bytes} bytes at byte {start_bytes} do not lie inside a disk of {size_bytes}")]
    OutOfRange {
        /// First byte that was asked for (`u64::MAX` where the start itself overflows).
        start_bytes: u64,
        /// How many bytes were asked for.
        len_bytes: u64,
        /// The disk's size at that moment.
        size_bytes: u64,
    },
    /// A buffer whose length is not a whole number of sectors.
    #[error("a buffer of {len_bytes} bytes is not a multiple of the sector size, {sector_bytes}")]
    Misaligned {
        /// The buffer's length.
        len_bytes: u64,
        /// The sector size of the disk.
        sector_bytes: u64,
    },
    /// A smaller size would lose data, and was not requested with
    /// [`Shrink::Allow`](crate::store::Shrink::Allow).
    #[error(
        "{} is less than the disk's {}: what lies beyond would be lost; ask for the shrink \
         explicitly",
        Bytes(*to_bytes), Bytes(*from_bytes)
    )]
    WouldShrink {
        /// The size now.
        from_bytes: u64,
        /// The size that was asked for.
        to_bytes: u64,
    },
    /// The memory limit is reached.
    #[error(
        "the memory limit of {} is reached; discard data or raise the limit", Bytes(*limit_bytes)
    )]
    Full {
        /// The limit of the store.
        limit_bytes: u64,
    },
    /// The disk's own quota is reached.
    #[error(
        "the disk's quota of {} is reached; discard data or raise the quota", Bytes(*quota_bytes)
    )]
    OverQuota {
        /// The quota of the disk.
        quota_bytes: u64,
    },
    /// A quota that the disk exceeds already.
    #[error(
        "a quota of {quota_bytes} bytes is less than the {charged_bytes} bytes that the disk takes \
         already: its guest could write nothing new"
    )]
    QuotaBelowCharge {
        /// The quota that was asked for.
        quota_bytes: u64,
        /// What the disk takes.
        charged_bytes: u64,
    },
    /// The host has no memory left for the store, though its limit isn't reached.
    #[error("the host has no memory left ({source}); free some, or lower the memory limit")]
    HostFull {
        /// The system's reason.
        source: std::io::Error,
    },
    /// More disks and snapshots than an arena can hold.
    #[error("there are too many disks and snapshots; destroy some")]
    TooManyDisks,
    /// More settings than a disk carries.
    #[error("settings have at most {MAX_SETTINGS_BYTES} bytes, these have {len_bytes}")]
    SettingsTooLong {
        /// The length of the settings at fault.
        len_bytes: usize,
    },
    /// A memory limit that no arena can have.
    #[error("a memory limit of {} is more than an arena can have; lower it", Bytes(*limit_bytes))]
    LimitTooLarge {
        /// The limit that was asked for.
        limit_bytes: u64,
    },
    /// The system has no address space left for the store.
    #[error(
        "can't reserve {} of address space: {source}; lower the memory limit", Bytes(*bytes)
    )]
    Reserve {
        /// How much was to be reserved.
        bytes: u64,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system refused something about the arena.
    #[error("can't {doing} the arena: {source}{}", advice(doing, source))]
    Arena {
        /// What was to be done.
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has the arena open.
    #[error("the arena is in use by another process; stop that one first")]
    Busy,
    /// The file is not an arena.
    #[error("the file is not a ramblk arena; it is left as it is")]
    Foreign,
    /// The arena was written by another version.
    #[error(
        "the arena has layout {found}, this version reads layouts {} to {}; it is left as it is: \
         use the version that wrote it, or a newer one",
        OLDEST_LAYOUT,
        LAYOUT
    )]
    OtherLayout {
        /// The layout that was found.
        found: u64,
    },
    /// The arena contradicts itself.
    #[error("the arena is damaged: {what}; it is left as it is")]
    Damaged {
        /// What was found.
        what: String,
    },
}

/// What to do about a refusal, if that isn't obvious.
fn advice(doing: &str, source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{FileTooLarge, OutOfMemory, PermissionDenied, Unsupported};
    match source.kind() {
        FileTooLarge => {
            "; raise the limit on the size of files (ulimit -f), or lower the memory limit"
        }
        OutOfMemory | PermissionDenied if doing == LOCKING => {
            "; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=), or don't lock it"
        }
        Unsupported => {
            "; the kernel has no such call for this process: see what its sandbox (seccomp) keeps \
             from it"
        }
        _ => "",
    }
}

/// What is done to the arena where its memory may not be swapped out.
pub(crate) const LOCKING: &str = "lock the memory of";

impl Error {
    /// What the system refused while `doing` something to the arena.
    pub(crate) fn arena(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Arena { doing, source }
    }

    pub(crate) fn damaged(what: &str) -> Self {
        Self::Damaged {
            what: what.to_owned(),
        }
    }

    /// Whether the operation would have succeeded with more memory.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::OverQuota { .. } | Self::HostFull { .. }
        )
    }
}
