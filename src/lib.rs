//! RAM disks for virtual machines: a vhost-user-blk back end with sparse, resizable, in-memory
//! disks.
//!
//! The programs `ramblk` and `vhost-user-ramblk` are thin; this library is what they are made of.
//! Three ways lead into it:
//!
//! 1. [`store`]: disks as a data structure, without any virtual machine.
//! 2. [`daemon::disks`]: disks by name, each served at a socket, from within your program.
//! 3. [`client`] with [`model`]: a program of its own that talks to a daemon.
//!
//! # A store
//!
//! A store has a memory limit and any number of disks. A disk takes memory for what is written, and
//! a fork shares it until one of both is written:
//!
//! ```
//! use ramblk::store::{DiskSpec, SectorSize, Store};
//!
//! # fn main() -> Result<(), ramblk::store::Error> {
//! let store = Store::new(64 << 20)?;
//! let disk = store.create("golden", &DiskSpec::new(SectorSize::S512, 1 << 30))?;
//! disk.write(0, &[&[0xab; 4096]])?;
//!
//! let fork = store.fork("golden", "fork")?;
//! fork.write(8, &[&[0xcd; 512]])?;
//! let mut sector = [0; 512];
//! fork.read(0, &mut [&mut sector])?;
//! assert_eq!(sector, [0xab; 512]);
//! disk.read(8, &mut [&mut sector])?;
//! assert_eq!(sector, [0; 512], "the first disk has nothing of what the fork wrote");
//! # Ok(())
//! # }
//! ```
//!
//! # A served disk
//!
//! A [`Hub`](vhost_user::Hub) has the threads that serve the queues of all disks. The registry
//! lets each disk listen at a socket, to which a VMM connects; here [`load`] does, which is a front
//! end and a driver in one:
//!
#![cfg_attr(
    all(feature = "daemon", feature = "load"),
    doc = r#"
```
use std::{sync::Arc, time::Duration};

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{self, DisksOptions, create};
use ramblk::load::{self, Op};
use ramblk::model::DiskSettings;
use ramblk::store::Store;
use ramblk::vhost_user::{Hub, WorkerOptions};

# fn main() -> Result<(), Box<dyn std::error::Error>> {
# let folder = tempfile::tempdir()?;
# let run_dir = folder.path().to_owned();
let workers = WorkerOptions { count: 1, poll: Duration::ZERO, cpus: Vec::new() };
let options = DisksOptions {
    run_dir,
    access: SocketAccess::default(),
    most_disks: 100,
    workers: workers.count,
    limit_from: "this program".into(),
    import_timeout: Duration::from_secs(60),
};
let store = Arc::new(Store::new(256 << 20)?);
let disks = disks::open(store, Hub::new(&workers)?, options)?;

let (disk, _) = create::put(&disks, "scratch", DiskSettings::new(64 << 20))?;
let report = load::run(&load::Options {
    requests: Some(1000),
    verify: true,
    ..load::Options::new(&disk.socket, Op::Mixed)
})?;
assert_eq!(report.requests, 1000);
# Ok(())
# }
```

# A fleet

Disks are forked by pattern or one by one, at one instant and without copying:

```
# use std::{sync::Arc, time::Duration};
# use ramblk::daemon::SocketAccess;
# use ramblk::daemon::disks::{self, DisksOptions};
# use ramblk::store::Store;
# use ramblk::vhost_user::{Hub, WorkerOptions};
use ramblk::daemon::disks::{create, fork};
use ramblk::model::{DiskSettings, ForkSettings, ForkSource, ForksRequest};

# fn main() -> Result<(), Box<dyn std::error::Error>> {
# let folder = tempfile::tempdir()?;
# let workers = WorkerOptions { count: 1, poll: Duration::ZERO, cpus: Vec::new() };
# let options = DisksOptions {
#     run_dir: folder.path().to_owned(),
#     access: SocketAccess::default(),
#     most_disks: 100,
#     workers: 1,
#     limit_from: "this program".into(),
#     import_timeout: Duration::from_secs(60),
# };
# let disks = disks::open(Arc::new(Store::new(64 << 20)?), Hub::new(&workers)?, options)?;
create::put(&disks, "golden", DiskSettings::new(1 << 30))?;
let source = ForkSource {
    disk: Some("golden".into()),
    names: (1..=10).map(|number| format!("vm-{number:02}")).collect(),
    ..ForkSource::default()
};
let request = ForksRequest {
    sources: vec![source],
    settings: ForkSettings { quota_bytes: Some(Some(16 << 20)), ..ForkSettings::default() },
    if_not_exists: false,
};
let (forked, _) = fork::fork_all(&disks, &request)?;
assert_eq!(forked.created, 10);
# Ok(())
# }
```
"#
)]
//!
//! # The rooms
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
//! Without the feature `cli` a program gets the rooms that it names: `store`, `device`, `crash`,
//! `image`, `vhost_user` and `nbd` are always there. `docs/internals/architecture.md` describes the
//! whole.
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
#[cfg_attr(
    not(feature = "model"),
    allow(unreachable_pub, reason = "the rooms that publish it are left out")
)]
mod digest;
pub mod image;
#[cfg(any(feature = "cli", all(feature = "daemon", ramblk_kept_document)))]
mod kept;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "model")]
pub mod model;
pub mod nbd;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod static_names;
pub mod store;
mod threads;
pub mod vhost_user;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("ramblk is for 64-bit little-endian Linux: guest memory is read as it lies");
