//! Many disks: forks, snapshots, lives, and who may have how much.

mod config;
mod fork;
mod limits;
mod lives;
mod owners;
mod rename;
mod selector;
mod snapshots;
