//! The life of one disk: the daemon's registry with one disk and no API, until a signal, the
//! command, or the front end of an inherited connection ends it.
//!
//! It starts nothing that only many disks need: there is no monitor, and a thread watches for
//! removals only if there is a socket to watch.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | the options, checked as a whole before anything happens |
//! | `command` | the command that ramblk runs beside the disk |
//! | `life` | what the run waits for: a signal, the command, or another end |
//! | `mod` | the disk's life |

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod life;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use tempfile::TempDir;

use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::factory::ServeAt;
use crate::daemon::disks::upkeep::sockets;
use crate::daemon::disks::{Disks, DisksOptions, create};
use crate::daemon::error::Error;
use crate::daemon::host::broker;
use crate::daemon::host::descriptors;
use crate::daemon::host::inherit::{self, Inherited};
use crate::daemon::host::sandbox::places::Places;
use crate::daemon::host::sandbox::{Needs, Sandbox};
use crate::daemon::host::socket::let_search;
use command::Command;
use config::{Endpoint, RunConfig};
use life::{Ender, Life};

pub use life::Ending;

use crate::image;
use crate::store::{Disk, Store, StoreOptions};
use crate::threads::{self, Role};
use crate::vhost_user::Hub;

/// Serve the disk of `config` until it ends.
///
/// # Errors
/// It can't be served. Then nothing is left behind.
pub fn run(mut config: RunConfig) -> Result<Ending, Error> {
    // First of all, before a descriptor of our own can get the number of the inherited one.
    let inherited = match config.endpoint {
        Endpoint::Fd(fd) => Some(inherit::take(fd)?),
        Endpoint::Path(_) | Endpoint::Private => None,
    };
    // Each queue of each front end has three descriptors, and the usual soft limit is 1024.
    let inherited_limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    descriptors::raise_limit();
    let sandbox = Sandbox::begin(config.sandbox, &needs(&config))?;
    let (store, disk) = make(&mut config)?;
    // Not earlier: while an image loads there is nothing to clean up, so a signal may end the
    // process.
    let life = Life::begin()?;
    let is_connected = matches!(inherited, Some(Inherited::Connected(_)));
    let (private, at) = place(&config.endpoint, inherited)?;
    sandbox.allow_last(private.as_ref().map(TempDir::path));
    if let Some(private) = &private
        && config.disk.settings.socket_owner.is_some()
    {
        let_search(private.path());
    }
    let disks = Disks::new(store, Hub::new(&config.workers)?, only_disk(&config))?;
    let disks = Arc::new(disks);
    let served = create::serve_new_at(&disks, &config.name, disk, &config.disk, at)?;
    let socket = served.socket_path();
    if is_connected {
        watch_front_end(served, life.ender())?;
    } else {
        // The registry has the disk, and ends it.
        drop(served);
    }
    say_what(&config, &sandbox, socket.as_deref());
    let path = socket.as_ref().map(|path| path.display().to_string());
    let values = [("{socket}", path.as_deref().unwrap_or_default())];
    let command = Command::start(&config.command, &values, None, inherited_limit)?;
    if socket.is_some() {
        sockets::watch(&disks)?;
    }
    // Not earlier: the command would inherit it.
    sandbox.confine_main(command.is_some());
    let ending = life.wait(command);
    disks.close();
    drop(disks);
    if let Some(private) = private {
        let directory = private.path().to_owned();
        drop(private);
        // That may leave the directory itself, which lies in one that isn't this process's.
        let _ = broker::remove_directory(&directory);
    }
    broker::stop();
    Ok(ending)
}

/// The disk of `config` with its image loaded, in its own store.
fn make(config: &mut RunConfig) -> Result<(Arc<Store>, Disk), Error> {
    let mut options = StoreOptions::new(config.limit.bytes);
    options.huge_pages = config.huge_pages;
    let store = Arc::new(Store::with_options(&options)?);
    let valid = &config.disk;
    let disk = store.create_with(&config.name, &valid.spec, &valid.blob)?;
    // The owner may write to a read-only disk.
    let disk = disk.into_owner();
    if let Some(mut image) = config.image.take() {
        image::load(&mut *image, &disk)?;
    }
    Ok((store, disk))
}

/// How front ends connect, and the directory that was created for a socket, if any.
fn place(
    endpoint: &Endpoint,
    inherited: Option<Inherited>,
) -> Result<(Option<TempDir>, ServeAt), Error> {
    if let Some(inherited) = inherited {
        return Ok((None, ServeAt::Inherited(inherited)));
    }
    if let Endpoint::Path(path) = endpoint {
        return Ok((None, ServeAt::Path(path.clone())));
    }
    let directory = tempfile::Builder::new()
        .prefix("ramblk-")
        .tempdir()
        .map_err(Error::system("make a directory"))?;
    let path = directory.path().join("vhost.sock");
    Ok((Some(directory), ServeAt::Path(path)))
}

/// What the process needs beside its disk, its threads and its command: the socket's directory.
fn needs(config: &RunConfig) -> Needs {
    let directory = match &config.endpoint {
        Endpoint::Path(path) => path.parent().map(Path::to_owned),
        Endpoint::Private | Endpoint::Fd(_) => None,
    };
    let has_command = !config.command.is_empty();
    let mut needs = Needs {
        places: Places {
            sockets: directory.into_iter().collect(),
            ends_a_command: has_command,
            ..Places::default()
        },
        capabilities: match config.disk.settings.socket_owner {
            Some(_) => CapabilitySet::CHOWN,
            None => CapabilitySet::empty(),
        },
    };
    needs.keep_capabilities(config.access, false, has_command);
    needs
}

/// A registry with room for this one disk.
fn only_disk(config: &RunConfig) -> DisksOptions {
    DisksOptions {
        // No disk has its own directory in it.
        run_dir: PathBuf::new(),
        access: config.access,
        most_disks: 1,
        workers: config.workers.count,
        limit_from: config.limit.from.clone(),
        import_timeout: Duration::MAX,
    }
}

/// Log that the disk is served, and where.
fn say_what(config: &RunConfig, sandbox: &Sandbox, socket: Option<&Path>) {
    let place = socket.map_or_else(|| "inherited".into(), |path| path.display().to_string());
    tracing::info!(
        disk = config.name,
        size_bytes = config.disk.spec.size_bytes,
        block_bytes = config.disk.spec.sector_size.bytes(),
        queues = config.disk.queues.get(),
        read_only = config.disk.spec.read_only,
        serial = config.disk.serial.text(),
        socket = %place,
        memory_limit_bytes = config.limit.bytes,
        memory_limit_from = config.limit.from,
        sandbox = sandbox.word(),
        "serving"
    );
}

/// End the run when an inherited connection ends, since it can't be made again.
fn watch_front_end(served: Arc<ServedDisk>, ender: Ender) -> Result<(), Error> {
    threads::spawn(Role::LastSession, move || {
        served.server.wait_until_idle();
        drop(served);
        ender.end();
    })
    .map(|_| ())
    .map_err(Error::system("start a thread"))
}
