//! The threads that serve rings.
//!
//! | file | what it holds |
//! |---|---|
//! | `worker` | a thread that serves rings: which are hot, and when it sleeps |
//! | `pool` | all of them, and where a new ring goes |
//! | `slot` | one ring of a worker, hot or cold |
//! | `mail` | what workers are told, and how it finds a ring that moves |
//! | `polling` | how long a ring that has run dry is looked at |
//! | `slice` | how long the scheduler lets a worker run |
//! | `alarm` | wakes a worker at a moment |

mod alarm;
#[cfg(not(ramblk_schedules))]
mod mail;
#[cfg(ramblk_schedules)]
pub mod mail;
mod polling;
pub(super) mod pool;
mod slice;
mod slot;
mod worker;
