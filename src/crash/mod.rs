//! What a power cut may leave of a disk: a model, without I/O and without threads.
//!
//! A write is *volatile* from its submission until it is *stable* (virtio 1.3 §5.2.6.2): it has
//! completed, and either it went through (flush was never negotiated, or writeback was off for the
//! whole of it), or a flush that was submitted after its completion has completed. A flush doesn't
//! cover a write that completes while the flush is in flight. Discards and write-zeroes are writes.
//!
//! A crash leaves all that is stable. Each volatile write is kept, lost, torn or garbage, and of
//! overlapping volatile writes any may be the last.
//!
//! 1. A [`Ledger`] is told of each submission and completion. It says what is stable, and which
//!    stable writes can be folded into a base that holds the stable content.
//! 2. [`Ledger::window`] is what isn't folded: the volatile writes, and the few stable ones whose
//!    place among them matters.
//! 3. A [`Policy`] and a seed make a [`Choice`] of a window: the fate of each write, and an order.
//!    The same window, policy and seed make the same choice on any machine.
//! 4. [`Choice::apply`] makes the state: it applies the window to a [`Medium`] with the base's
//!    content. The bytes of writes come from [`Contents`].
//!
//! | file | what it holds |
//! |---|---|
//! | `write` | moments, and what is known of a write |
//! | `ledger` | the rule: which writes are stable, and which can be folded |
//! | `window` | the writes that a crash decides about, in order |
//! | `tear` | the unit in which writes are torn |
//! | `random` | random numbers that are the same everywhere |
//! | `policy` | which writes a power cut keeps |
//! | `choice` | the fate of each write of a window |
//! | `apply` | from a choice to content |
//! | `log` | the log of what changed a disk, as a file |
//! | `explore` | the states that crashes may leave of a recorded disk |
//! | `tests` | the rule and the policies against a plain model |
//!
//! Each imports only from those above it.

mod apply;
mod choice;
pub mod explore;
mod ledger;
pub mod log;
mod policy;
mod random;
mod tear;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use apply::{Contents, Medium};
pub use choice::{Choice, Fate, Loss};
pub use ledger::Ledger;
pub use policy::{Keep, Policy, PolicyError};
pub use random::Draws;
pub use tear::{TearUnit, TearUnitError};
pub use window::{Window, Windowed};
pub use write::{Logged, Moment, WriteKind};
