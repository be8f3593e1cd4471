//! The states that crashes may leave of a recorded disk.
//!
//! A [`Walk`] goes through a log from one moment to a later one, and says which writes have become
//! stable and what is volatile then. [`states()`] lists the states of such a window: all of them
//! where there are few, and else those that find most, with random ones of a seed. Each has a
//! [`StateName`], from which the same bytes come on any machine.
//!
//! | file | what it holds |
//! |---|---|
//! | `points` | the moments at which a crash is looked at |
//! | `walk` | what is stable and what is volatile at a moment of a log |
//! | `name` | names of states |
//! | `states` | the states of a window |
//! | `tests` | the walk beside a ledger, and the states of windows |
//! | `minimise` | the smallest part of a set that still fails |

mod minimise;
mod name;
mod points;
mod states;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod walk;

pub use minimise::minimise;
pub use name::{NameError, Shape, StateName};
pub use points::{At, AtError, Point, points};
pub use states::{Plan, states};
pub use walk::Walk;

pub use crate::store::{ByteRange, Error as WalkError};
