//! Block operations on a disk, without the words of any protocol.
//!
//! A front door makes what its client asks for into an [`Operation`] and hands it to
//! [`Volume::execute`]; small reads and writes may go together through [`Volume::batch`]. Either
//! way the operation passes the volume's admission first, and an operation that must wait comes
//! back as [`Refusal::Wait`]: the volume keeps none and no call here blocks. The front door counts
//! what it answers with [`QueueCounters`], since it alone knows when its client saw the answer.
//!
//! | file | what it holds |
//! |---|---|
//! | `volume` | a disk with its admission and statistics: what front doors share |
//! | `operation` | what a front door asks for, and what can come of it |
//! | `steps` | an operation carried out, a long one in steps |
//! | `batch` | small reads and writes, several at a time |
//! | `admission` | whether an operation may go now: one decision behind one load |
//! | `wait` | what an operation waits for, and when to try it again |
//! | `limits` | how many requests and bytes a second there may be |
//! | `counters` | counting what one queue does |
//! | `stats` | what was done, queue by queue |
//! | `serial` | the identifier of a disk |
//! | `as_nbd` | the operations called as an NBD server would (a test) |

mod admission;
#[cfg(test)]
mod as_nbd;
mod batch;
mod counters;
mod limits;
mod operation;
mod serial;
mod stats;
mod steps;
mod volume;
mod wait;

pub use batch::Batch;
pub use counters::{Count, QueueCounters};
pub use limits::{Class, Limit, Limiter, Limits};
pub use operation::{Asked, Operation, OperationKind, Pace, Progress, Refusal, Rest, Segment};
pub use serial::{SERIAL_BYTES, Serial, SerialError};
pub use stats::{
    LATENCY_BOUNDS_NS, LATENCY_CLASSES, LatencyHistogram, OperationStats, QueueStats, Stats,
};
pub use volume::Volume;
pub use wait::{Attempt, Lane, WaitReason};
