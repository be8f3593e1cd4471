//! What happens to disks by itself, and what a start finds.
//!
//! | file | what it holds |
//! |---|---|
//! | `unclaimed` | disks whose first content nobody brings |
//! | `monitor` | the thread that notices want of memory, and lets go of destroyed disks |
//! | `sockets` | sockets that are removed, and made again |
//! | `adopt` | what a process before this one left in the store |

pub(crate) mod adopt;
pub(crate) mod monitor;
pub(crate) mod sockets;
pub(crate) mod unclaimed;
