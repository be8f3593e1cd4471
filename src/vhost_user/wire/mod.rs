//! What comes over a front end's socket: messages and descriptors.
//!
//! | file | what it holds |
//! |---|---|
//! | `peek` | a look at the next message before the `vhost` crate reads it, and at its sender |
//! | `unserved` | messages that are not served, and what becomes of them |
//! | `ready` | waits with a deadline |
//! | `channel` | the back-end request channel: telling a front end that the configuration changed |
//! | `descriptor` | which kinds of descriptors are taken for what |
//! | `notifier` | a front end's eventfd that we signal |
//! | `watchdog` | frees a worker that hangs in a front end's descriptor |

pub(super) mod channel;
pub(super) mod descriptor;
pub(super) mod notifier;
pub(super) mod peek;
pub(super) mod ready;
pub(super) mod unserved;
pub(super) mod watchdog;
