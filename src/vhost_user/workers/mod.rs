//! The threads that serve rings.
//!
//! Files import from those above them in this table only.
//!
//! | file | what it holds |
//! |---|---|
//! | `slice` | how long the scheduler lets a worker run |
//! | `timer` | wakes a worker at a moment |
//! | `crowd` | whether others want a worker's processor |
//! | `polled` | how long a worker polled in vain |
//! | `polling` | how long a ring that has run dry is polled |
//! | `wake` | what it costs to wake a thread |
//! | `mail` | what workers are told, and how it finds a ring that moves |
//! | `slot` | one ring as a worker serves it, hot or cold |
//! | `order` | what sessions tell workers to do with a ring |
//! | `slots` | the rings of a worker: which are hot, wait or leave |
//! | `worker` | a thread that serves rings, and when it sleeps |
//! | `pool` | all workers, and which of them serves a new ring |

mod crowd;
#[cfg(not(ramblk_schedules))]
mod mail;
#[cfg(ramblk_schedules)]
pub mod mail;
pub(super) mod order;
mod polled;
mod polling;
pub(super) mod pool;
mod slice;
mod slot;
mod slots;
mod timer;
mod wake;
mod worker;
