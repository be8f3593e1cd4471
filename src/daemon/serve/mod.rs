//! The life of a daemon: it serves any number of disks and its API, until a signal ends it.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | the options, checked as a whole |
//! | `manager` | what the service manager is told |
//! | `reload` | applying the configuration file again |
//! | `scrapes` | the socket for scrapes of metrics |
//! | `sockets` | the sockets of the API |
//! | `mod` | the daemon's life |

pub(crate) mod config;
mod manager;
pub(crate) mod reload;
mod scrapes;
mod sockets;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::CapabilitySet;
use sd_notify::NotifyState;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use crate::daemon::api;
use crate::daemon::disks::upkeep::adopt::forget_readers;
use crate::daemon::disks::upkeep::sockets as files;
use crate::daemon::disks::{self, ApplyOptions, Disks, DisksOptions, apply, describe};
use crate::daemon::error::Error;
use crate::daemon::host::removal::Round;
use crate::daemon::host::sandbox::places::Places;
use crate::daemon::host::sandbox::refusal::Refusal;
use crate::daemon::host::sandbox::{Needs, Sandbox};
use crate::daemon::host::socket::Identity;
use crate::daemon::host::state_dir::{self, Location};
use crate::daemon::host::{arenas, broker, descriptors, paths, signals};
use crate::model::EventKind;
use crate::store::{MOST_DISKS, OwnerWords, Store, StoreOptions};
use crate::vhost_user::{Hub, crash};
use config::ServeConfig;
use manager::tell_manager;
use reload::{Reload, Reread};
use scrapes::Scrapes;
use sockets::{ApiSockets, Inherited};

/// Run a daemon until a signal ends it. With `reread`, SIGHUP applies the configuration again;
/// without, it ends the daemon too.
///
/// # Errors
/// It can't start. Then nothing is left behind.
pub fn serve(config: ServeConfig, reread: Option<Reread>) -> Result<(), Error> {
    arenas::share_one();
    // First of all, before a descriptor of our own can get the number of an inherited one.
    let listed: Vec<_> =
        sd_notify::listen_fds_with_names().map_or_else(|_| Vec::new(), Iterator::collect);
    let inherited = Inherited::take(&listed)?;
    let stored = state_dir::stored(&listed)?;
    let signals = Signals::new(signals::ending());
    let mut signals = signals.map_err(Error::system("watch for signals"))?;
    let descriptors = descriptors::raise_limit();
    paths::make_directory(&config.run_dir)?;
    sockets::check_free(&config, &inherited)?;
    // Made now, in the network that the process leaves; the address is taken later.
    let scrapes = config.metrics_listen.map(Scrapes::new).transpose()?;
    let sandbox = Sandbox::begin(config.sandbox, &needs(&config))?;
    sandbox.confine_process();
    let mut options = StoreOptions::new(config.limit.bytes);
    options.huge_pages = config.huge_pages;
    options.lock_memory = config.lock_memory;
    let (store, found) = config.location.open(&options, stored)?;
    check_charge(&store, &config)?;
    let store = Arc::new(store);
    crash::watch(OwnerWords::new(&store));
    let refused = Sandbox::keep_refusals_in(OwnerWords::new(&store));
    let hub = Hub::new(&config.workers)?;
    let options = registry_options(&config, descriptors);
    let most_disks = options.most_disks;
    // The API's socket comes first: a second daemon fails here, before it replaces any other
    // socket.
    let (api_sockets, listener, readers) = ApiSockets::listen(&config, inherited)?;
    // Before disks listen, so that nothing was touched if the address is taken.
    let scrapes = scrapes.map(Scrapes::listen).transpose()?;
    let disks = disks::open(store, hub, options)?;
    disks.show_labels(config.metrics_labels.clone());
    if let Some(refused) = refused {
        tell_of_refusal(&disks, refused);
    }
    let starting = ApplyOptions {
        starting: true,
        ..ApplyOptions::default()
    };
    let applied = apply::apply(&disks, &config.declaration, starting);
    applied.map_err(|problem| Error::Config(Box::new(problem)))?;
    disks.declare(&config.declaration);
    let bounds = api::Options::default();
    let listeners = api::Listeners {
        api: listener,
        readers,
        scrapes,
    };
    let api = api::Server::start_with(listeners, Arc::clone(&disks), bounds)?;
    api_sockets.look_after(&disks, &api);
    look_after_state(&disks, &config.location);
    sandbox.confine_main(false);
    let served = describe::pool(&disks).disks;
    say_what(&config, &sandbox, most_disks, found, served);
    let reload = reread.map(|reread| Reload::new(reread, config.asked.clone()));
    wait_for_end(&mut signals, &disks, reload.as_ref());
    tell_manager(&[NotifyState::Stopping]);
    api.stop();
    disks.close();
    api_sockets.remove();
    crash::ends_well();
    drop(disks);
    broker::stop();
    Ok(())
}

/// Wait for a signal that ends the daemon. SIGHUP doesn't, if there is something to read again.
fn wait_for_end(signals: &mut Signals, disks: &Arc<Disks>, reload: Option<&Reload>) {
    for signal in signals.forever() {
        match reload {
            Some(reload) if signal == SIGHUP => reload.apply(disks),
            _ => {
                let name = signal_hook::low_level::signal_name(signal);
                tracing::info!(signal = name.unwrap_or("none"), "ending");
                return;
            }
        }
    }
}

/// The options of the registry, for a limit on descriptors.
fn registry_options(config: &ServeConfig, descriptors: u64) -> DisksOptions {
    DisksOptions {
        run_dir: config.run_dir.clone(),
        access: config.access,
        most_disks: most_disks(descriptors),
        workers: config.workers.count,
        limit_from: config.limit.from.clone(),
        import_timeout: config.import_timeout,
    }
}

/// What the daemon needs once it has started.
fn needs(config: &ServeConfig) -> Needs {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let mut sockets = vec![config.run_dir.clone()];
    sockets.extend(parent(&config.api_socket));
    sockets.extend(
        config
            .readers
            .as_ref()
            .and_then(|readers| parent(&readers.path)),
    );
    let files = match &config.location {
        Location::Directory(directory) => vec![directory.clone()],
        Location::Manager | Location::Process(_) => Vec::new(),
    };
    let named = config.config_file.as_deref();
    // A link to a file elsewhere.
    let meant = named.and_then(|path| path.canonicalize().ok());
    let manager = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let mut needs = Needs {
        places: Places {
            sockets,
            files,
            readable: named
                .into_iter()
                .chain(meant.as_deref())
                .filter_map(parent)
                .collect(),
            tcp_port: config.metrics_listen.map(|address| address.port()),
            needs_abstract: manager.as_encoded_bytes().starts_with(b"@"),
            ..Places::default()
        },
        // For owners of disks' sockets, which any client may set at any time.
        capabilities: CapabilitySet::CHOWN,
    };
    needs.keep_capabilities(config.access, config.lock_memory, false);
    needs
}

/// Say why the daemon before this one ended: it was refused a system call.
fn tell_of_refusal(disks: &Disks, refused: Refusal) {
    let reason = format!(
        "the sandbox ended the daemon before this one: a thread of the kind {:?} made the system \
         call {} ({}), which it must not; if that was no attack, report it, and start with \
         --sandbox log until it is mended",
        refused.thread(),
        refused.call(),
        refused.number()
    );
    tracing::error!("{reason}");
    let details = [
        ("reason".to_owned(), reason.into()),
        ("call".to_owned(), refused.call().into()),
        ("thread".to_owned(), refused.thread().into()),
    ];
    disks
        .events()
        .tell(EventKind::SandboxEnded, None, details.into());
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
    files::watch_path(disks, &arena);
    let (told, disks_again) = (AtomicBool::new(false), Arc::downgrade(disks));
    let look = Box::new(move |_: &Round| {
        let is_there = Identity::at(&arena).is_ok_and(|found| found == identity);
        if !is_there
            && let Some(disks) = disks_again.upgrade()
            && !told.swap(true, Ordering::Relaxed)
        {
            files::tell_of_lost_state(&disks, &arena);
        }
        false
    });
    files::look_also(disks, look);
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

/// Log that the daemon serves, and what the operator should know.
fn say_what(config: &ServeConfig, sandbox: &Sandbox, most_disks: usize, found: bool, disks: usize) {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    tracing::info!(
        api_socket = %whole(&config.api_socket).display(),
        run_dir = %whole(&config.run_dir).display(),
        memory_limit_bytes = config.limit.bytes,
        memory_limit_from = config.limit.from,
        workers = config.workers.count,
        most_disks,
        disks,
        sandbox = sandbox.word(),
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
                "a restart loses all disks; give --state-dir a directory on a tmpfs to keep them"
            );
        }
    }
    let status = format!("serving {disks} disks");
    tell_manager(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Descriptors that are reserved for everything but disks.
const OWN_DESCRIPTORS: u64 = 512;

/// The most disks for a limit on descriptors. Each disk has a listening socket, and each queue of
/// each front end three descriptors, for which a quarter of the limit is reserved.
pub(crate) fn most_disks(descriptors: u64) -> usize {
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
