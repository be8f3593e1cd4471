//! One disk that is served: its bytes, its device, its socket.
//!
//! | file | what it holds |
//! |---|---|
//! | `disk` | the disk, and what makes it |
//! | `socket` | its socket, also when somebody removes it |
//! | `states` | what a VM's snapshot holds of its disk |
//! | `stats` | what a disk's device is told, and asked |
//! | `failed` | a disk of which ramblk died, until somebody says that it may be served again |

pub(crate) mod disk;
pub(crate) mod failed;
pub(crate) mod socket;
pub(crate) mod states;
pub(crate) mod stats;
