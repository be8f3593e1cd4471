//! One disk that is served: its bytes, its device, its socket.
//!
//! | file | what it holds |
//! |---|---|
//! | `health` | how a disk is doing, and how near a charge is to its bound |
//! | `stats` | what a disk's device is told, and asked |
//! | `states` | what a VM's snapshot holds of its disk |
//! | `uploads` | new content that is on its way |
//! | `socket` | a disk's socket, also when somebody removes it |
//! | `disk` | the served disk |
//! | `factory` | what a daemon makes served disks with |
//! | `group` | a group of disks, whose limits they share |

pub(crate) mod disk;
pub(crate) mod factory;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod socket;
pub(crate) mod states;
pub(crate) mod stats;
pub(crate) mod uploads;
