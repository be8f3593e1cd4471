//! The API's vocabulary as plain data, for the server, its clients and the configuration file.
//! Sizes are in bytes and times in seconds or nanoseconds, with the unit in the name; unknown
//! fields are refused.
//!
//! | file | what it holds |
//! |---|---|
//! | `disk` | a disk: wanted settings, present state, and changes |
//! | `branch` | snapshots of a disk, forks and resets |
//! | `life` | lives that end |
//! | `image` | the image that a disk's content comes from |
//! | `content_id` | identifiers of content |
//! | `digest` | the digest of an image |
//! | `golden` | golden images: read-only copies that disks are forked from |
//! | `fault` | faults on command |
//! | `fleet` | many disks at once: forks in numbers, snapshots and resets of one moment |
//! | `saved_state` | saved states of VMs |
//! | `target` | the name of a disk or of a snapshot |
//! | `limits` | rates and bursts |
//! | `record` | recordings of what changes a disk |
//! | `reply` | other answers: maps, statistics, the pool, events |
//! | `actor` | who caused an event, and which event it was |
//! | `config` | all disks and groups at once, as the configuration file has them |
//! | `declared` | disks and groups as declared, and what a declaration changes |
//! | `history` | the history of a disk: points to which one can go back |
//! | `present` | fields of which it matters whether they are present |
//! | `power` | volatile write caches, and power cuts |
//! | `sanitize` | the sanitizer of a disk: what it does, and what it has found |
//! | `usage` | what disks take and do, by label or group |
//! | `wait` | what one can wait for of a disk |
//! | `frames` | a disk's content as a stream |
//! | `problem` | why a request was refused (RFC 9457) |

mod actor;
mod branch;
mod config;
mod content_id;
mod declared;
mod digest;
mod disk;
mod fault;
mod fleet;
pub mod frames;
mod golden;
mod history;
mod image;
mod life;
mod limits;
mod power;
mod present;
mod problem;
mod record;
mod reply;
mod sanitize;
mod saved_state;
mod target;
mod usage;
mod wait;

pub use actor::{Actor, ActorKind, EventId};
pub use branch::{
    ForkRequest, RenameRequest, ResetRequest, Snapshot, SnapshotPatch, SnapshotRenameRequest,
};
pub use config::{Config, ConfigDisk, ConfigGroup};
pub use content_id::ContentId;
pub use declared::{
    Action, Applied, Changed, Declaration, DeclaredDisk, DeclaredGroup, FieldChange, LimitsPatch,
    RatePatch, field_changes,
};
pub use digest::{Digest, NoDigest};
pub use disk::{
    Disk, DiskPatch, DiskSettings, DiskState, FrontEnd, OnFull, Patched, Protocol, Resized, Share,
    USUAL_QUEUES,
};
pub use fault::{Fault, FaultFiring, FaultLog, FaultRequest, RottenBits};
pub use fleet::{ForkSettings, ForkSource, Forked, ForksRequest, ResetsRequest, SnapshotsRequest};
pub use golden::{GoldenImage, GoldenOffer, GoldenPatch, GoldenRequest, GoldenState};
pub use history::{History, HistoryAmount, HistoryPoint, HistorySettings, USUAL_POINTS};
pub use image::{Image, Import};
pub use life::{Ending, EndsBy, Life, LifePatch, OnDetach, USUAL_GRACE_MS};
pub use limits::{Group, Limits, Rate};
pub use power::{
    Because, DiskCut, Keep, KeptPart, LostFate, LostWrite, PowerCut, PowerCutRequest,
    PowerOnRequest, StableBy, Volatile, WriteCache,
};
pub use problem::{Missing, Problem, ProblemKind};
pub use record::{MarkRequest, RecordRequest, Recording, RecordingState, StateRequest};
pub use reply::{
    Compared, ComparisonLine, ContentDigest, Detail, Difference, DifferenceKind, Event, EventKind,
    HistogramBucket, Map, MapExtent, OperationStats, Pool, RENAMED_FROM, Stats, Version,
};
pub use sanitize::{Finding, FindingKind, Findings, Sanitize, SanitizerCounts};
pub use saved_state::{ClonedState, StateChoice};
pub use target::Target;
pub use usage::{By, Usage};
pub use wait::{Condition, Figure, Waited};
