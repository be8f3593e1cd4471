//! A volatile write cache, as a disk with power has one: a write may be lost until a flush.
//!
//! The disk itself holds what a read sees, as always. Beside it are two hidden disks: the *base*,
//! with the stable content, and the *log*, with the bytes of the writes that aren't in the base. A
//! [`Ledger`](crate::crash::Ledger) knows what is volatile. When a flush has completed, the writes
//! that it covers are folded into the base: applied to it in order, or, if nothing else is left,
//! the base becomes a fork of the disk again.
//!
//! The base is never behind what is stable. If there is no memory to fold, or none for the log, the
//! base becomes a fork of the disk, so that all is stable, and the owner is told.
//!
//! A write completes when its ring publishes it, not when it is done: a flush in the same batch
//! doesn't cover it. So the threads that serve rings do it in turns ([`super::turn`]).
//!
//! | file | what it holds |
//! |---|---|
//! | `log` | the bytes of logged writes, on a hidden disk |
//! | `state` | ledger, base and log, and folding |
//! | `live` | the cache: writes, flushes, and holding them up |
//! | `slot` | the place of a disk's cache, which most disks don't have |
//! | `remains` | what is there at one instant, for states that a power cut may leave |

mod live;
mod log;
mod remains;
mod slot;
mod state;

pub(super) use live::Entered;
pub use live::{Cache, CacheFigures, CacheOptions, Frozen};
pub use remains::Remains;
pub(super) use slot::Cached;
pub use state::{Folded, Rule};
