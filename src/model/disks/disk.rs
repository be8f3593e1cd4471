//! A disk: wanted settings, present state, and changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::present::named;
use crate::model::{
    ClonedState, ContentId, Ending, HistoryAmount, HistorySettings, Image, Import, Life, LifePatch,
    Limits, Sanitize, Volatile, WriteCache,
};

/// The default number of queues of a disk: QEMU asks for as many as its guest has processors. An
/// unused one costs nothing.
pub const USUAL_QUEUES: u16 = 128;

/// What happens to a write that finds no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The guest gets an I/O error.
    #[default]
    Error,
    /// The write waits until there is memory.
    Stall,
}

/// How many front ends may use a disk at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// One.
    #[default]
    None,
    /// Any number, all of them read-only.
    Ro,
    /// Any number, all of them writing: for guests that coordinate their writes, as a cluster file
    /// system does.
    Rw,
}

/// Settings of a disk. Only the size is required.
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
    /// Request queues that a front end may use, 1 to 256; 128 by default.
    #[serde(default = "default_queues")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: u16,
    /// Whether guests can only read.
    #[serde(default)]
    pub read_only: bool,
    /// The serial that guests see, 1 to 20 printable ASCII characters. By default it is the name,
    /// or is derived from a longer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[ -~]{1,20}$")]
    pub serial: Option<String>,
    /// How many front ends may use it at the same time.
    #[serde(default)]
    pub share: Share,
    /// Whether requests complete in the order in which they were made (VIRTIO_F_IN_ORDER).
    #[serde(default)]
    pub in_order: bool,
    /// Whether zeros that a guest writes take no memory.
    #[serde(default)]
    pub detect_zeroes: bool,
    /// What happens to a write that finds no memory.
    #[serde(default)]
    pub on_full: OnFull,
    /// What the disk does about requests that a correct guest wouldn't make.
    #[serde(default, skip_serializing_if = "Sanitize::is_off")]
    pub sanitize: Sanitize,
    /// The disk's history: points to which it can go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistorySettings>,
    /// When writes are stable: as soon as they complete, or when a flush covers them.
    #[serde(default, skip_serializing_if = "WriteCache::is_stable")]
    pub write_cache: WriteCache,
    /// With a volatile write cache, the most memory for the log of volatile writes, in bytes; by
    /// default a quarter of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1048576)]
    pub log_limit_bytes: Option<u64>,
    /// The most memory that the disk may take, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Limits on requests and bytes per second.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The group whose limits the disk shares. It must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub group: Option<String>,
    /// Labels of your own: at most 32, with keys of 1 to 63 characters of `A-Za-z0-9._/-` and
    /// values of at most 255 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How its life ends.
    #[serde(default, skip_serializing_if = "Life::is_open")]
    pub life: Life,
    /// Whether it can't be destroyed, by whatever end of its life either, until that is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The user and the group that own its socket: `USER`, `USER:GROUP` or `:GROUP`, each a name of
    /// the daemon's `/etc/passwd` and `/etc/group`, or a number. By default the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9_.$:-]{1,129}$", example = "vm1:kvm")]
    pub socket_owner: Option<String>,
    /// Faults on command: at most 32 rules as text, `KIND,field=value,…`. They are asked in this
    /// order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32, example = json!(["error,op=write,range=1M+4K"]))]
    pub faults: Vec<String>,
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
            sanitize: Sanitize::Off,
            history: None,
            write_cache: WriteCache::Stable,
            log_limit_bytes: None,
            quota_bytes: None,
            limits: Limits::default(),
            group: None,
            labels: BTreeMap::new(),
            life: Life::default(),
            protected: false,
            socket_owner: None,
            faults: Vec::new(),
        }
    }
}

impl DiskSettings {
    /// What a fork has of these: what describes the disk, and not what identifies it.
    pub fn inherited(self) -> Self {
        Self {
            serial: None,
            // A history belongs to the disk whose past it is.
            history: None,
            labels: BTreeMap::new(),
            life: Life::default(),
            protected: false,
            // The user of one VMM has no right to another one's disk.
            socket_owner: None,
            faults: Vec::new(),
            ..self
        }
    }
}

/// The state of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// It works.
    #[default]
    Ok,
    /// A write found no memory, and there has been none since.
    Full,
    /// Writes wait for memory.
    Stalled,
    /// Every request fails, because ramblk crashed twice on one of them.
    Failed,
    /// Its socket was removed: no front end can connect. Those that are connected go on.
    Unreachable,
    /// A power cut left its power off: no front end can connect until that is turned on again.
    PoweredOff,
    /// Its first content is incomplete: it can't be attached, forked or read yet.
    Importing,
}

/// The protocol of a front end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A VMM, over vhost-user.
    #[default]
    VhostUser,
    /// A client that may write, over NBD.
    Nbd,
}

/// A connected front end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrontEnd {
    /// The number of its session.
    pub session: u64,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The process that connected, if the system knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether a driver has started its queues.
    pub live: bool,
    /// Whether it can be told that the size changed.
    pub notifiable: bool,
    /// Queues that are polled because the front end passed no kick descriptor for them.
    #[serde(default)]
    pub polled_queues: u16,
    /// Queues whose requests in flight are not recorded, because the front end's in-flight region
    /// has no room for them.
    #[serde(default)]
    pub untracked_queues: u16,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Its id, which no other disk ever has (a UUID).
    #[serde(default)]
    pub id: String,
    /// When it was created, in nanoseconds since 1970; for a disk of an earlier version, when this
    /// one first served it.
    #[serde(default)]
    pub created_ns: u64,
    /// How often its settings were changed, or its content as a whole, since it was created; 1 for
    /// a new disk. `"ID-GENERATION"` is its entity tag.
    #[serde(default)]
    pub generation: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical block size in bytes.
    pub block_size: u64,
    /// The path of the socket for front ends; it refuses connections while the state is
    /// `importing`.
    pub socket: String,
    /// Whether a front end is connected.
    pub attached: bool,
    /// The connected front ends.
    pub front_ends: Vec<FrontEnd>,
    /// Whether guests can only read.
    pub read_only: bool,
    /// The serial that guests see.
    pub serial: String,
    /// Request queues that a front end may use.
    pub queues: u16,
    /// How many front ends may use it at the same time.
    pub share: Share,
    /// Whether requests complete in the order in which they were made.
    pub in_order: bool,
    /// Whether zeros that a guest writes take no memory.
    pub detect_zeroes: bool,
    /// What happens to a write that finds no memory.
    pub on_full: OnFull,
    /// What it does about requests that a correct guest wouldn't make.
    #[serde(default, skip_serializing_if = "Sanitize::is_off")]
    pub sanitize: Sanitize,
    /// When points of its history are taken, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistorySettings>,
    /// How much there is of its history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_amount: Option<HistoryAmount>,
    /// When its writes are stable.
    #[serde(default, skip_serializing_if = "WriteCache::is_stable")]
    pub write_cache: WriteCache,
    /// What a power cut could lose now, if it has a volatile write cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volatile: Option<Volatile>,
    /// Bytes of all mapped sectors, including those shared with other disks.
    pub mapped_bytes: u64,
    /// Bytes of memory that are charged to it: those that its own writes have taken.
    pub charged_bytes: u64,
    /// Bytes of memory that destroying it would free. Lists leave it out, because it takes time to
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_bytes: Option<u64>,
    /// The most bytes of memory that it may be charged for.
    pub quota_bytes: Option<u64>,
    /// Limits on requests and bytes per second.
    pub limits: Limits,
    /// The group whose limits the disk shares.
    pub group: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How its life ends.
    #[serde(default, skip_serializing_if = "Life::is_open")]
    pub life: Life,
    /// Its next end, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Whether it can't be destroyed until that is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The user and the group that own its socket; by default the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_owner: Option<String>,
    /// Why the daemon still owns the socket, though `socket_owner` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_not_given: Option<String>,
    /// Faults on command, as rules in their normal form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The parameters of the personality among its faults, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<String>,
    /// The disk or snapshot from which it was forked, as long as that exists.
    pub parent: Option<String>,
    /// Names of its snapshots, sorted.
    pub snapshots: Vec<String>,
    /// Disks that were forked from it or from one of its snapshots, sorted. Lists leave it out,
    /// because it takes time to find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<String>>,
    /// Numbers of the states that VMMs have saved of it, the oldest first. Lists leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saved_states: Vec<u64>,
    /// The saved state that it was forked from, if it was from one. A front end can load that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_of: Option<ClonedState>,
    /// Its state.
    pub state: DiskState,
    /// The image that its content came from, if the upload named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The identifier of its present content, as long as that is known to be what came to it as a
    /// whole, or what its last snapshot has: until something is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<ContentId>,
    /// The identifier of the content that it was made from: by a fork of a snapshot, by a reset, or
    /// by an import that named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<ContentId>,
    /// Progress of new content: the first content of a disk that is `importing`, or a replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
    /// Why the state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Why no front end can connect, if its socket was removed: the reason of `unreachable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

impl Disk {
    /// Its entity tag (RFC 9110, 8.8.3), for `If-Match`.
    pub fn entity_tag(&self) -> String {
        format!("\"{}-{}\"", self.id, self.generation)
    }
}

/// Changes of a disk (a merge patch, RFC 7396: absent fields stay, `null` removes).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskPatch {
    /// A new size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Allow a smaller size, which loses the data beyond it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shrink: bool,
    /// Allow a quota that is less than the disk takes already: its guest can then write nothing
    /// new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// A new quota in bytes; `null` removes it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
    /// What happens to a write that finds no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
    /// What the disk does about requests that a correct guest wouldn't make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<Sanitize>,
    /// A history from now on, or another plan for it; `null` ends it and drops its points.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<HistorySettings>)]
    pub history: Option<Option<HistorySettings>>,
    /// When writes are stable. No front end may be connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<WriteCache>,
    /// The most memory for the log of volatile writes, in bytes; `null` for the default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    pub log_limit_bytes: Option<Option<u64>>,
    /// New limits, replacing all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Another group; `null` leaves the group.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub group: Option<Option<String>>,
    /// Labels to set; `null` removes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Changes of how its life ends. A `ttl_ms` begins now, even if it is the same as before.
    #[serde(skip_serializing_if = "LifePatch::is_empty")]
    pub life: LifePatch,
    /// Whether it can't be destroyed until that is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Another owner of its socket, at once, and also while a front end is connected; `null` lets
    /// the daemon own it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub socket_owner: Option<Option<String>>,
    /// New faults, replacing all of them. Those that stay the same go on with what they have
    /// counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32)]
    pub faults: Option<Vec<String>>,
    /// `false` serves a failed disk again; no other value is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
}

/// The result of a resize.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resized {
    /// The size before, in bytes.
    pub from_bytes: u64,
    /// The size now, in bytes.
    pub to_bytes: u64,
    /// Mapped bytes that were lost.
    pub lost_bytes: u64,
    /// Front ends that were notified.
    pub notified: usize,
    /// Front ends with a running driver that can't be notified.
    pub not_notified: usize,
    /// How to make those guests see the new size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A disk after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Patched {
    /// The disk as it is now.
    pub disk: Disk,
    /// The result of the resize, if the size changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized: Option<Resized>,
}
