//! The process and its host: limits, signals, descriptors, sockets, and the place of the disks.
//!
//! | file | what it holds |
//! |---|---|
//! | `broker` | does for a confined process what that can't do by itself |
//! | `paths` | default paths |
//! | `accounts` | names of groups and users, without the C library's name services |
//! | `owner` | who owns a disk's socket |
//! | `arenas` | the arenas of the C library's allocator |
//! | `cgroup` | memory limits of control groups |
//! | `limit` | the default memory limit |
//! | `descriptors` | the limit on open descriptors |
//! | `workers` | the options for threads that serve queues |
//! | `inherit` | a socket that was passed by number |
//! | `signals` | signals that would end the process |
//! | `unfinished` | removes an incomplete file when a signal ends the process |
//! | `socket` | a listening socket that removes only its own path |
//! | `removal` | detects that a socket or the arena was removed |
//! | `state_dir` | where disks are kept across restarts |
//! | `sandbox` | what the process can still do once it has started |

pub(crate) mod accounts;
pub(crate) mod arenas;
pub(crate) mod broker;
pub(crate) mod cgroup;
pub(crate) mod descriptors;
pub(crate) mod inherit;
pub(crate) mod limit;
pub(crate) mod owner;
pub(crate) mod paths;
pub(crate) mod removal;
pub(crate) mod sandbox;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod state_dir;
pub(crate) mod unfinished;
pub(crate) mod workers;
