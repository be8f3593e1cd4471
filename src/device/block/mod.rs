//! Block operations on a disk, independent of any protocol.
//!
//! A front door (the server side of a protocol) turns each request into an [`Operation`] and passes
//! it to [`Volume::execute`]. Small reads and writes can go together through [`Volume::batch`].
//! Either way the operation first passes the volume's admission. If it must wait, it is refused
//! with [`Refusal::Wait`]: the volume keeps no operation, and no call here blocks. The front door
//! counts its answers with [`QueueCounters`], since only it knows when its client saw them.
//!
//! | file | what it holds |
//! |---|---|
//! | `volume` | a disk with its admission and statistics: what front doors share |
//! | `operation` | operations, and their results |
//! | `steps` | executing an operation, a long one in steps |
//! | `batch` | small reads and writes, several at a time |
//! | `admission` | whether an operation runs now, waits or fails: one decision behind one load |
//! | `faulty` | operations about which faults decide |
//! | `cache` | a volatile write cache |
//! | `wait` | what an operation waits for, and when to try it again |
//! | `limits` | how many requests and bytes a second there may be |
//! | `tap` | what sees each change of a disk |
//! | `turn` | when requests of a queue were submitted, and when they complete |
//! | `users` | who uses a disk, in the order in which they came |
//! | `watched` | executing operations whose changes a tap or a cache sees |
//! | `clock` | the clock of the statistics |
//! | `counters` | counting the operations of one queue |
//! | `stats` | statistics of all queues |
//! | `serial` | the identifier of a disk |
//! | `history` | the content of a disk at chosen moments |
//! | `sanitize` | requests that a correct guest wouldn't make |

mod admission;
mod batch;
mod cache;
mod clock;
mod counters;
mod faulty;
pub mod history;
mod limits;
mod operation;
mod sanitize;
mod serial;
mod stats;
mod steps;
mod tap;
mod turn;
mod users;
mod volume;
mod wait;
mod watched;

pub use batch::Batch;
pub use cache::{Cache, CacheFigures, CacheOptions, Folded, Frozen, Remains, Rule};
pub use counters::{Count, QueueCounters};
pub use limits::{Class, Limit, Limiter, Limits};
pub use operation::{
    Asked, Operation, OperationKind, Pace, Progress, Refusal, Rest, Segment, Submission,
};
pub use sanitize::{
    Finding, FindingKind, FindingReport, Sanitize, SanitizerCounts, UNFLUSHED_BYTES,
};
pub use serial::{SERIAL_BYTES, Serial, SerialError};
pub use stats::{
    LATENCY_BOUNDS_NS, LATENCY_CLASSES, LatencyHistogram, OperationStats, QueueStats, Stats,
};
pub use tap::{Change, Tap};
pub use turn::{Found, Sightings, Turn};
pub use users::{Presence, User};
pub use volume::Volume;
pub use wait::{Attempt, Decided, Lane, WaitReason};
