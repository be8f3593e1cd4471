//! Disks: settings, present state, what is asked of one, and what is kept of it.
//!
//! | file | what it holds |
//! |---|---|
//! | `disk` | a disk: wanted settings, present state, and changes |
//! | `branch` | snapshots of a disk, forks and resets |
//! | `life` | lives that end |
//! | `limits` | rates and bursts |
//! | `record` | recordings of what changes a disk |
//! | `fault` | faults on command |
//! | `history` | the history of a disk: points to which one can go back |
//! | `power` | volatile write caches, and power cuts |
//! | `sanitize` | the sanitizer of a disk: what it does, and what it has found |
//! | `target` | the name of a disk or of a snapshot |

mod branch;
mod disk;
mod fault;
mod history;
mod life;
mod limits;
mod power;
mod record;
mod sanitize;
mod target;

pub use branch::{
    ForkRequest, RenameRequest, ResetRequest, Snapshot, SnapshotPatch, SnapshotRenameRequest,
};
pub use disk::{
    Disk, DiskPatch, DiskSettings, DiskState, FrontEnd, OnFull, Patched, Protocol, Resized, Share,
    USUAL_QUEUES,
};
pub use fault::{Fault, FaultFiring, FaultLog, FaultRequest, RottenBits};
pub use history::{History, HistoryAmount, HistoryPoint, HistorySettings, USUAL_POINTS};
pub use life::{Ending, EndsBy, Life, LifePatch, OnDetach, USUAL_GRACE_MS};
pub use limits::{Group, Limits, Rate};
pub use power::{
    Because, DiskCut, Keep, KeptPart, LostFate, LostWrite, PowerCut, PowerCutRequest,
    PowerOnRequest, StableBy, Volatile, WriteCache,
};
pub use record::{MarkRequest, RecordRequest, Recording, RecordingState, StateRequest};
pub use sanitize::{Finding, FindingKind, Findings, Sanitize, SanitizerCounts};
pub use target::Target;
