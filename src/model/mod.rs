//! The API's vocabulary as plain data, for the server, its clients and the configuration file.
//! Sizes are in bytes and times in seconds or nanoseconds, with the unit in the name; unknown
//! fields are refused.
//!
//! | folder | what it holds |
//! |---|---|
//! | `disks` | disks: settings, present state, what is asked of one, and what is kept of it |
//! | `content` | content: where it comes from, how it is told apart, and how it is sent |
//! | `fleets` | many disks at once, in one request or one declaration |
//!
//! | file | what it holds |
//! |---|---|
//! | `reply` | other answers: maps, statistics, the pool, events |
//! | `actor` | who caused an event, and which event it was |
//! | `present` | fields of which it matters whether they are present |
//! | `usage` | what disks take and do, by label or group |
//! | `wait` | what one can wait for of a disk |
//! | `problem` | why a request was refused (RFC 9457) |

mod actor;
mod content;
mod disks;
mod fleets;
mod present;
mod problem;
mod reply;
mod usage;
mod wait;

pub use content::*;
pub use disks::*;
pub use fleets::*;

pub use actor::{Actor, ActorKind, EventId};
pub use problem::{Missing, Problem, ProblemKind};
pub use reply::{
    Compared, ComparisonLine, ContentDigest, Detail, Difference, DifferenceKind, Event, EventKind,
    HistogramBucket, Map, MapExtent, OperationStats, Pool, RENAMED_FROM, Stats, Version,
};
pub use usage::{By, Usage};
pub use wait::{Condition, Figure, Waited};
