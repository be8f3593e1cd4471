//! One disk that is served: its bytes, its device, its socket.
//!
//! | file | what it holds |
//! |---|---|
//! | `health` | what the monitor knows of a disk, and how near a charge is to its bound |
//! | `attendance` | which front ends a disk has had, and when its life ends |
//! | `stats` | a disk's limits for its device, and the device's counters for the API |
//! | `power` | the volatile write cache of a disk, and whether its power is on |
//! | `cut` | a power cut of several disks as one record |
//! | `sanitizer` | what a disk's sanitizer has found, for the API |
//! | `states` | the state of a disk in a VM's snapshot |
//! | `filling` | filling a hidden disk with content |
//! | `uploads` | the upload of a disk, and its progress |
//! | `views` | what NBD clients see of a disk, and their connections |
//! | `socket` | a disk's socket, which is created again if it is removed |
//! | `recording` | the recording of a disk |
//! | `disk` | the served disk |
//! | `factory` | makes served disks |
//! | `keeper` | the thread that keeps histories |
//! | `group` | a group of disks, whose limits they share |
//! | `golden` | golden images, and those on their way |

pub(crate) mod attendance;
pub(crate) mod cut;
pub(crate) mod disk;
pub(crate) mod factory;
pub(crate) mod filling;
pub(crate) mod golden;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod keeper;
pub(crate) mod power;
pub(crate) mod recording;
pub(crate) mod sanitizer;
pub(crate) mod socket;
pub(crate) mod states;
pub(crate) mod stats;
pub(crate) mod uploads;
pub(crate) mod views;
