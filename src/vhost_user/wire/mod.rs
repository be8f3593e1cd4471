//! What comes over a front end's socket: messages and descriptors.
//!
//! | file | what it holds |
//! |---|---|
//! | `peek` | reading the next message in advance of the `vhost` crate, and its sender |
//! | `unserved` | how messages that are not supported are answered |
//! | `ready` | waiting with a deadline |
//! | `channel` | the back-end request channel, which carries CONFIG_CHANGE |
//! | `descriptor` | which kinds of descriptors are accepted in each message |
//! | `notifier` | signalling a front end's eventfd |
//! | `watchdog` | interrupts a worker whose write to a front end's descriptor hangs |

pub(super) mod channel;
pub(super) mod descriptor;
pub(super) mod notifier;
pub(super) mod peek;
pub(super) mod ready;
pub(super) mod unserved;
pub(super) mod watchdog;
