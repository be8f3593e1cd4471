//! RAM disks for virtual machines: a vhost-user-blk back end with sparse, resizable, in-memory
//! disks.
//!
//! The house has nine rooms, and imports go one way only:
//!
//! ```text
//! cli ──► daemon ──► vhost_user ──► device ──► store ◄── image
//!  │        └──► model
//!  ├────► client ──► model
//!  └────► load
//! ```
//!
//! - [`store`]: bytes. Sparse disks that know exactly which of their sectors are mapped.
//! - [`image`]: files that disks begin with.
//! - [`device`]: what a virtio-blk request means.
//! - [`vhost_user`]: the wire: sessions, guest memory, rings, worker threads.
//! - [`daemon`]: the process: sockets, signals, exports.
//! - [`model`]: the API's vocabulary, as plain data.
//! - [`client`]: the API, from the other side; with [`model`], all that a program needs to ask a
//!   daemon.
//! - [`load`]: load for any back end of this kind, and what came of it; knows no other room.
//! - [`cli`]: words and exit codes.
//!
//! As a library, [`store`] is of use by itself, and [`daemon::Export`] serves a disk from within
//! another program. `docs/architecture.md` tells the whole story.

pub mod cli;
pub mod client;
pub mod daemon;
pub mod device;
pub mod image;
pub mod load;
pub mod model;
pub mod store;
pub mod vhost_user;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("ramblk is for 64-bit little-endian Linux: guest memory is read as it lies");
