//! What the daemon does with disks by itself.
//!
//! | file | what it holds |
//! |---|---|
//! | `unclaimed` | destroys disks whose first content no client sends |
//! | `lives` | ends the lives of disks |
//! | `monitor` | the thread that reports lack of memory, and drops detached disks |
//! | `sockets` | creates sockets again that were removed |
//! | `adopt` | adopts what an earlier process left in the store |

pub(crate) mod adopt;
mod lives;
pub(crate) mod monitor;
pub(crate) mod sockets;
pub(crate) mod unclaimed;
