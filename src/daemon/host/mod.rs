//! What a process has of its machine, and what this one leaves on it: limits, signals, descriptors,
//! sockets, and the place where disks lie.
//!
//! | file | what it holds |
//! |---|---|
//! | `paths` | where things are if nobody says |
//! | `cgroup` | limits on memory that control groups set |
//! | `limit` | how much memory disks may take if nobody says |
//! | `descriptors` | how many descriptors this process may have open |
//! | `workers` | threads that serve queues, as they were asked for |
//! | `inherit` | a socket that was passed by number |
//! | `signals` | what the process makes of signals that end others |
//! | `unfinished` | files that are not whole when a signal ends the process |
//! | `socket` | a listening socket that removes its own path, and nobody else's |
//! | `removal` | notices that a socket of ours was removed |
//! | `state_dir` | where disks lie, so that they outlive the process |

pub(crate) mod cgroup;
pub(crate) mod descriptors;
pub(crate) mod inherit;
pub(crate) mod limit;
pub(crate) mod paths;
pub(crate) mod removal;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod state_dir;
pub(crate) mod unfinished;
pub(crate) mod workers;
