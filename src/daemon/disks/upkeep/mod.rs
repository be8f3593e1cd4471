//! What happens to disks by itself, and what a start finds.
//!
//! | file | what it holds |
//! |---|---|
//! | `adopt` | what a process before this one left in the store |
//! | `monitor` | who notices that memory gets short, and sees off destroyed disks |
//! | `unclaimed` | disks whose first content nobody brings |

pub(crate) mod adopt;
pub(crate) mod monitor;
pub(crate) mod unclaimed;
