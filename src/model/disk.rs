//! A disk as it is to be, as it is, and as it is to change.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Image, Import, Limits};

/// Queues of a disk where nothing else is said: QEMU asks for as many as its guest has processors.
/// One that nobody uses costs nothing.
pub const USUAL_QUEUES: u16 = 128;

/// What a write does when no memory is left for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The guest gets an I/O error.
    #[default]
    Error,
    /// The guest waits until there is memory again.
    Stall,
}

/// How many front ends may use a disk at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// One.
    #[default]
    None,
    /// Any number, and none may write.
    Ro,
    /// Any number, and all may write: only for guests that coordinate, as a cluster file system
    /// does.
    Rw,
}

/// What a disk is to be. Only the size has no default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSettings {
    /// Size in bytes: a multiple of the block size.
    #[schema(
        minimum = 512,
        maximum = 70368744177664_u64,
        multiple_of = 512,
        example = 1073741824
    )]
    pub size_bytes: u64,
    /// Logical block size in bytes: 512 or 4096.
    #[serde(default = "default_block_size")]
    #[schema(example = 512)]
    pub block_size: u64,
    /// Request queues that a front end may use, 1 to 256; 128 if nothing is said.
    #[serde(default = "default_queues")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: u16,
    /// Whether guests may not write.
    #[serde(default)]
    pub read_only: bool,
    /// What guests see as the serial, 1 to 20 printable ASCII characters. By default the name, or
    /// what is made of a longer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[ -~]{1,20}$")]
    pub serial: Option<String>,
    /// How many front ends may use it at the same time.
    #[serde(default)]
    pub share: Share,
    /// Whether guests may rely on requests being completed in order (VIRTIO_F_IN_ORDER).
    #[serde(default)]
    pub in_order: bool,
    /// Whether zeros that are written take no memory.
    #[serde(default)]
    pub detect_zeroes: bool,
    /// What a write does when no memory is left for it.
    #[serde(default)]
    pub on_full: OnFull,
    /// Most bytes of memory that the disk may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// What guests may do per second.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// A group whose limits hold for its disks together. It must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub group: Option<String>,
    /// The owner's own words about it: at most 32, keys of 1 to 63 of `A-Za-z0-9._/-`, values of at
    /// most 255 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn default_block_size() -> u64 {
    512
}

fn default_queues() -> u16 {
    USUAL_QUEUES
}

impl DiskSettings {
    /// A disk of this size, with every default.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            block_size: default_block_size(),
            queues: default_queues(),
            read_only: false,
            serial: None,
            share: Share::None,
            in_order: false,
            detect_zeroes: false,
            on_full: OnFull::Error,
            quota_bytes: None,
            limits: Limits::default(),
            group: None,
            labels: BTreeMap::new(),
        }
    }
}

/// How a disk is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Well.
    #[default]
    Ok,
    /// A write failed for want of memory since there was room last.
    Full,
    /// Writes wait for memory.
    Stalled,
    /// Every request fails: ramblk died of one of them, twice.
    Failed,
    /// Its socket was removed: nobody can connect, and who is connected goes on.
    Unreachable,
    /// Its first content is not whole yet: nobody can attach to it, fork it or read it.
    Importing,
}

/// A front end that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrontEnd {
    /// The number of its session.
    pub session: u64,
    /// The process that connected, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether a driver uses its queues.
    pub live: bool,
    /// Whether it can be told that the size changed.
    pub notifiable: bool,
    /// Queues that are looked at time and again, since it gave no descriptor for their kicks.
    #[serde(default)]
    pub polled_queues: u16,
    /// Queues whose requests in flight are not written down, since the region that it brought has
    /// no room for them.
    #[serde(default)]
    pub untracked_queues: u16,
}

/// A disk as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical block size in bytes.
    pub block_size: u64,
    /// The path that front ends connect to; nobody listens there while the state is `importing`.
    pub socket: String,
    /// Whether a front end is connected.
    pub attached: bool,
    /// Those that are.
    pub front_ends: Vec<FrontEnd>,
    /// Whether guests may not write.
    pub read_only: bool,
    /// What guests see as the serial.
    pub serial: String,
    /// Request queues that a front end may use.
    pub queues: u16,
    /// How many front ends may use it at the same time.
    pub share: Share,
    /// Whether guests may rely on requests being completed in order.
    pub in_order: bool,
    /// Whether zeros that are written take no memory.
    pub detect_zeroes: bool,
    /// What a write does when no memory is left for it.
    pub on_full: OnFull,
    /// Bytes of all mapped sectors, shared ones too.
    pub mapped_bytes: u64,
    /// Bytes of memory that it was charged for: what it took itself.
    pub charged_bytes: u64,
    /// Bytes of memory that would be free if it were gone. Costs a walk, so lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_bytes: Option<u64>,
    /// Most bytes that it may be charged for.
    pub quota_bytes: Option<u64>,
    /// What guests may do per second.
    pub limits: Limits,
    /// The group whose limits hold too.
    pub group: Option<String>,
    /// The owner's own words about it.
    pub labels: BTreeMap<String, String>,
    /// The disk or snapshot that it was forked from, while that exists.
    pub parent: Option<String>,
    /// Names of its snapshots, sorted.
    pub snapshots: Vec<String>,
    /// Disks that were forked from it or from a snapshot of it, sorted. Costs a look at all disks,
    /// so lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<String>>,
    /// How it is doing.
    pub state: DiskState,
    /// The image that its content was made from, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// How far new content has come: the first one of a disk that is `importing`, or one that is to
    /// replace what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
    /// Why it has failed; empty if it hasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Why nobody can connect, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

/// What is to change of a disk (RFC 7396: what isn't named stays, `null` takes away).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskPatch {
    /// A new size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Whether a smaller size is meant, which loses what lies beyond it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shrink: bool,
    /// Whether a quota that is less than what the disk takes already is meant: its guest can write
    /// nothing new then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// A new quota in bytes, or none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
    /// What a write does when no memory is left for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
    /// All limits anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Another group, or none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub group: Option<Option<String>>,
    /// Labels to set, or to take away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// `false` has a disk that has failed served again; nothing else can be said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
}

/// A field that is there, be it `null`.
pub(super) fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// What came of a new size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resized {
    /// The size before, in bytes.
    pub from_bytes: u64,
    /// The size now, in bytes.
    pub to_bytes: u64,
    /// Mapped bytes that were lost.
    pub lost_bytes: u64,
    /// Front ends that were told.
    pub notified: usize,
    /// Front ends with a live driver that can't be told.
    pub not_notified: usize,
    /// What to do so that those guests see the new size; empty if there is nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A disk after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Patched {
    /// The disk as it is now.
    pub disk: Disk,
    /// What came of a new size, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized: Option<Resized>,
}

/// A snapshot of a disk: its content at one moment, which nobody can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The disk.
    pub disk: String,
    /// The snapshot's own name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes of all mapped sectors.
    pub mapped_bytes: u64,
    /// Bytes of memory that it was charged for.
    pub charged_bytes: u64,
}

/// A new disk that begins with the content of another one, or of a snapshot. What isn't given is
/// as with that disk; serial and labels begin anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// The new disk's name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// The snapshot to begin with; by default the disk as it is at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub snapshot: Option<String>,
    /// What guests see as the serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[ -~]{1,20}$")]
    pub serial: Option<String>,
    /// Whether guests may not write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Request queues that a front end may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: Option<u16>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ForkRequest {
    /// A fork that is called `name`, of the disk as it is.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            snapshot: None,
            serial: None,
            read_only: None,
            queues: None,
            labels: BTreeMap::new(),
        }
    }
}

/// What a disk is to be brought back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResetRequest {
    /// One of its own snapshots; by default what it was forked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub to: Option<String>,
    /// Do it though a front end is connected, whose guest sees other bytes from then on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}
