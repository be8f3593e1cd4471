//! RAM disks for virtual machines: a vhost-user-blk back end with sparse, resizable, in-memory
//! disks.
//!
//! The crate has twelve rooms, and imports go one way:
//!
//! ```text
//! cli ──► daemon ──► vhost_user ──► device ──► store ◄── image
//!  │        ├──► image
//!  │        ├──► nbd
//!  │        └──► model
//!  ├────► client ──► model
//!  ├────► model, image
//!  ├────► remote ──► image
//!  └────► load
//! ```
//!
//! - [`store`]: sparse disks in memory, exact to the sector.
//! - [`image`]: images in and out: their formats, and where their bytes are.
//! - [`remote`]: images on other hosts.
//! - [`crash`]: what a power cut may leave of a disk, as a model.
//! - [`device`]: the meaning of virtio-blk requests.
//! - [`vhost_user`]: sessions, guest memory, rings, worker threads.
//! - [`nbd`]: the server's side of NBD.
//! - [`daemon`]: the process: sockets, signals, exports.
//! - [`model`]: the API's requests and answers, as plain data.
//! - [`client`]: a client of the API; with [`model`], all that a program needs to use a daemon.
//! - [`load`]: load for any vhost-user-blk back end, and its results; imports no other room.
//! - [`cli`]: the command line.
//!
//! In a library, [`store`] is useful by itself, and [`daemon::disks`] serves disks from within
//! another program. `docs/architecture.md` describes the whole.
#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        reason = "without the upper rooms some of what is below has no user"
    )
)]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod crash;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod device;
pub mod image;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "model")]
pub mod model;
pub mod nbd;
#[cfg(feature = "remote")]
pub mod remote;
pub mod store;
mod threads;
pub mod vhost_user;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("ramblk is for 64-bit little-endian Linux: guest memory is read as it lies");
