//! The life of a daemon: it serves any number of disks and its API, until a signal ends it.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | the options, checked as a whole |
//! | `mod` | the daemon's life |

pub(crate) mod config;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sd_notify::NotifyState;
use signal_hook::iterator::Signals;

use crate::daemon::api;
use crate::daemon::disks::upkeep::adopt::forget_readers;
use crate::daemon::disks::upkeep::sockets;
use crate::daemon::disks::{self, ApplyOptions, Disks, DisksOptions, apply, describe};
use crate::daemon::error::Error;
use crate::daemon::host::socket::{Identity, SocketAccess, SocketPath};
use crate::daemon::host::state_dir::{self, Location};
use crate::daemon::host::{descriptors, inherit, paths, signals};
use crate::store::{MOST_DISKS, OwnerWords, Store, StoreOptions};
use crate::vhost_user::{Hub, crash};
use config::ServeConfig;

/// Run a daemon until a signal ends it.
///
/// # Errors
/// It can't start. Then nothing is left behind.
pub fn serve(config: ServeConfig) -> Result<(), Error> {
    // First of all, before a descriptor of our own can get the number of an inherited one.
    let listed: Vec<_> =
        sd_notify::listen_fds_with_names().map_or_else(|_| Vec::new(), Iterator::collect);
    let inherited = inherited_listener(&listed)?;
    let stored = state_dir::stored(&listed)?;
    let signals = Signals::new(signals::ending());
    let mut signals = signals.map_err(Error::system("watch for signals"))?;
    let descriptors = descriptors::raise_limit();
    paths::make_directory(&config.run_dir)?;
    if inherited.is_none() && UnixStream::connect(&config.api_socket).is_ok() {
        let path = config.api_socket;
        return Err(Error::AlreadyServing { path });
    }
    let mut options = StoreOptions::new(config.limit.bytes);
    options.huge_pages = config.huge_pages;
    options.lock_memory = config.lock_memory;
    let (store, found) = config.location.open(&options, stored)?;
    check_charge(&store, &config)?;
    let store = Arc::new(store);
    crash::watch(OwnerWords::new(&store));
    let hub = Hub::new(&config.workers)?;
    let options = DisksOptions {
        run_dir: config.run_dir.clone(),
        access: config.access,
        most_disks: most_disks(descriptors),
        workers: config.workers.count,
        limit_from: config.limit.from.clone(),
        import_timeout: config.import_timeout,
    };
    let most_disks = options.most_disks;
    // The API's socket comes first: a second daemon fails here, before it replaces any other
    // socket. Requests are not answered yet.
    let (api_path, listener) = match inherited {
        Some(listener) => (None, listener),
        None => {
            let (path, listener) = listen(&config.api_socket, config.access)?;
            (Some(path), listener)
        }
    };
    let disks = disks::open(store, hub, options)?;
    let starting = ApplyOptions {
        starting: true,
        ..ApplyOptions::default()
    };
    let applied = apply::apply(&disks, &config.declaration, starting);
    applied.map_err(|problem| Error::Config(Box::new(problem)))?;
    let api = api::Server::start(listener, Arc::clone(&disks), api::Options::default())?;
    let api_path = Arc::new(Mutex::new(api_path));
    look_after_api(&disks, &api_path, api.fresh_listeners());
    look_after_state(&disks, &config.location);
    say_what(&config, most_disks, found, describe::pool(&disks).disks);
    let signal = signals.forever().next();
    let signal = signal.and_then(signal_hook::low_level::signal_name);
    tracing::info!(signal = signal.unwrap_or("none"), "ending");
    tell_manager(&[NotifyState::Stopping]);
    api.stop();
    disks.close();
    // Explicitly, since other threads may keep references to the disks for a while.
    drop(api_path.lock().take());
    crash::ends_well();
    Ok(())
}

/// Create the API's socket again whenever it is removed. An inherited one belongs to the process
/// that created it.
fn look_after_api(
    disks: &Arc<Disks>,
    api_path: &Arc<Mutex<Option<SocketPath>>>,
    listeners: api::FreshListeners,
) {
    if let Some(path) = api_path.lock().as_ref() {
        sockets::watch_path(disks, path.path());
    }
    let (api_path, told) = (Arc::clone(api_path), AtomicBool::new(false));
    let disks_again = Arc::downgrade(disks);
    let look = Box::new(move || {
        let mut path = api_path.lock();
        let Some(path) = path.as_mut().filter(|path| !path.is_there()) else {
            return false;
        };
        let Some(disks) = disks_again.upgrade() else {
            return false;
        };
        if !told.swap(true, Ordering::Relaxed) {
            sockets::tell_of_api(&disks, path.path(), false);
        }
        let made = path.make_again().and_then(|listener| {
            // Remove one that is not served, so that no client connects to it.
            listeners.replace(listener).inspect_err(|_| path.remove())
        });
        if let Err(error) = made {
            tracing::debug!(%error, "the API's socket is still missing");
            return true;
        }
        told.store(false, Ordering::Relaxed);
        sockets::watch_path(&disks, path.path());
        sockets::tell_of_api(&disks, path.path(), true);
        false
    });
    sockets::look_also(disks, look);
}

/// Warn when the file with the disks is removed: it can't be created again.
fn look_after_state(disks: &Arc<Disks>, location: &Location) {
    let Location::Directory(directory) = location else {
        return;
    };
    let arena = directory.join(state_dir::ARENA);
    let Ok(identity) = Identity::at(&arena) else {
        return;
    };
    sockets::watch_path(disks, &arena);
    let (told, disks_again) = (AtomicBool::new(false), Arc::downgrade(disks));
    let look = Box::new(move || {
        let is_there = Identity::at(&arena).is_ok_and(|found| found == identity);
        if !is_there
            && let Some(disks) = disks_again.upgrade()
            && !told.swap(true, Ordering::Relaxed)
        {
            sockets::tell_of_lost_state(&disks, &arena);
        }
        false
    });
    sockets::look_also(disks, look);
}

/// The memory of a disk's record and settings.
const RECORD_BYTES: u64 = 8 << 10;

/// Check that the existing disks fit into the memory limit. If the limit is a default, only warn.
fn check_charge(store: &Store, config: &ServeConfig) -> Result<(), Error> {
    forget_readers(store)?;
    let (limit_bytes, charged_bytes) = (store.limit_bytes(), store.charged_bytes());
    // A record may be replaced by a larger one even if there is no room.
    let beyond_bytes = store.keys().len() as u64 * RECORD_BYTES;
    if charged_bytes <= limit_bytes.saturating_add(beyond_bytes) {
        return Ok(());
    }
    let error = Error::LimitBelowCharge {
        limit_bytes,
        charged_bytes,
    };
    if config.limit_is_asked {
        return Err(error);
    }
    tracing::warn!("{error}");
    Ok(())
}

/// Listen at the API's socket, where another daemon may listen already.
fn listen(path: &Path, access: SocketAccess) -> Result<(SocketPath, UnixListener), Error> {
    SocketPath::listen(path, access).map_err(|error| match error {
        Error::PathInUse { path } => Error::AlreadyServing { path },
        other => other,
    })
}

/// The API's socket, if the parent process passed it (systemd's socket activation).
fn inherited_listener(listed: &[(i32, String)]) -> Result<Option<UnixListener>, Error> {
    let named = listed.iter().find(|(_, name)| name == "api");
    // A single descriptor without a name is the API's socket.
    let alone = listed
        .first()
        .filter(|(_, name)| listed.len() == 1 && name == "unknown");
    let Some((fd, _)) = named.or(alone) else {
        return Ok(None);
    };
    match inherit::take(*fd)? {
        inherit::Inherited::Listening(listener) => Ok(Some(listener)),
        inherit::Inherited::Connected(_) => Err(Error::Descriptor {
            fd: *fd,
            reason: "pass a listening socket for the API".into(),
        }),
    }
}

/// Log that the daemon serves, and what the operator should know.
fn say_what(config: &ServeConfig, most_disks: usize, found: bool, disks: usize) {
    tracing::info!(
        api_socket = %config.api_socket.display(),
        run_dir = %config.run_dir.display(),
        memory_limit_bytes = config.limit.bytes,
        memory_limit_from = config.limit.from,
        workers = config.workers.count,
        most_disks,
        disks,
        "serving"
    );
    match &config.location {
        Location::Directory(path) => {
            tracing::info!(state_dir = %path.display(), found, "disks outlive this process")
        }
        Location::Manager => {
            tracing::info!(found, "the service manager keeps disks over a restart")
        }
        Location::Process(reason) => {
            tracing::warn!(
                reason,
                "a restart loses all disks; give --state-dir to keep them"
            );
        }
    }
    let status = format!("serving {disks} disks");
    tell_manager(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Notify the service manager, if there is one.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "can't notify the service manager");
    }
}

/// Descriptors that are reserved for everything but disks.
const OWN_DESCRIPTORS: u64 = 512;

/// The most disks for a limit on descriptors. Each disk has a listening socket, and each queue of
/// each front end three descriptors, for which a quarter of the limit is reserved.
fn most_disks(descriptors: u64) -> usize {
    let disks = descriptors.saturating_sub(OWN_DESCRIPTORS) / 4 * 3;
    usize::try_from(disks).map_or(MOST_DISKS, |disks| disks.min(MOST_DISKS))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_leaves_descriptors_for_front_ends() {
        assert_eq!(most_disks(20_000), 14_616);
        assert_eq!(most_disks(1024), 384);
        assert_eq!(most_disks(100), 0);
        assert_eq!(most_disks(u64::MAX), 60_000);
    }
}
