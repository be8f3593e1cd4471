//! The life of one disk: make it, serve it, and end when a signal, the command, or the one front
//! end says so.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | what the user asked for, checked as a whole before anything is touched |
//! | `export` | a disk on a socket |
//! | `command` | the command that ramblk runs beside the disk |
//! | `mod` | the disk's life |

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod export;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::resource::{Resource, getrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::disks::served::socket::SocketChange;
use crate::daemon::error::Error;
use crate::daemon::host::descriptors;
use crate::daemon::host::inherit::{self, Inherited};
use crate::daemon::host::removal::Removals;
use crate::daemon::host::signals;
use command::Command;
use config::{Endpoint, RunConfig};
use export::Export;

use crate::store::{Store, StoreOptions};
use crate::threads::{self, Role};
use crate::vhost_user::Hub;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody asked for it, or the one connection was closed.
    Asked,
    /// The command ended with this exit code; 128 and the signal's number if a signal ended it.
    Command(u8),
}

#[derive(Debug)]
enum Event {
    Signal(i32),
    FrontEndGone,
}

/// Serve the disk of `config` until the end of it.
///
/// # Errors
/// What stands in the way of serving it; nothing is left behind.
pub fn run(config: &RunConfig) -> Result<Ending, Error> {
    let system = |what| move |source| Error::System { what, source };
    // First of all, before a descriptor of our own can have the number that was meant.
    let inherited = match config.endpoint {
        Endpoint::Fd(fd) => Some(inherit::take(fd)?),
        Endpoint::Path(_) | Endpoint::Private => None,
    };
    let (events, incoming) = channel();
    // Each queue of each front end brings three, and the usual soft limit is 1024.
    let inherited_limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    descriptors::raise_limit();
    let mut options = StoreOptions::new(config.limit.bytes);
    options.huge_pages = config.huge_pages;
    let store = Arc::new(Store::with_options(&options)?);
    let mut export = Export::create(&store, config, &Hub::new(&config.workers)?)?;
    // Only now: while an image loads there is nothing to clean up, and a signal ends us at once.
    let mut heard = signals::not_ignored(&[SIGINT, SIGHUP]);
    heard.extend([SIGTERM, SIGCHLD]);
    let mut signals = Signals::new(heard).map_err(system("watch for signals"))?;
    let private = listen(&mut export, &config.endpoint)?;
    let mut connected = None;
    match inherited {
        Some(Inherited::Listening(listener)) => export.listen(listener)?,
        Some(Inherited::Connected(stream)) => connected = Some(stream),
        None => {}
    }
    let export = Arc::new(export);
    if let Some(stream) = connected {
        export.connect(stream)?;
        watch_front_end(Arc::clone(&export), events.clone())?;
    }
    let forward = events;
    threads::spawn(Role::Signals, move || {
        for signal in signals.forever() {
            if forward.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
    .map_err(system("start a thread"))?;
    tracing::info!(
        disk = config.name,
        size_bytes = config.disk.spec.size_bytes,
        block_bytes = config.disk.spec.sector_size.bytes(),
        queues = config.disk.queues.get(),
        read_only = config.disk.spec.read_only,
        serial = config.disk.serial.text(),
        socket = %place(export.socket_path().as_deref()),
        memory_limit_bytes = config.limit.bytes,
        memory_limit_from = config.limit.from,
        "serving"
    );
    let socket = export.socket_path();
    let command = Command::start(&config.command, socket.as_deref(), inherited_limit)?;
    let removals = watch_socket(&export)?;
    let ending = wait(&incoming, command);
    removals.stop();
    drop(export);
    drop(private);
    Ok(ending)
}

/// Where front ends connect, in a word.
fn place(socket: Option<&Path>) -> String {
    socket.map_or_else(|| "inherited".into(), |path| path.display().to_string())
}

/// Make the socket, if it has a path. Returns the directory that was made for it, if one was.
fn listen(export: &mut Export, endpoint: &Endpoint) -> Result<Option<tempfile::TempDir>, Error> {
    match endpoint {
        Endpoint::Path(path) => export.listen_at(path).map(|()| None),
        Endpoint::Private => {
            let directory = tempfile::Builder::new()
                .prefix("ramblk-")
                .tempdir()
                .map_err(|source| Error::System {
                    what: "make a directory",
                    source,
                })?;
            export.listen_at(&directory.path().join("vhost.sock"))?;
            Ok(Some(directory))
        }
        Endpoint::Fd(_) => Ok(None),
    }
}

/// Make the socket again whenever somebody removes it.
fn watch_socket(export: &Arc<Export>) -> Result<Arc<Removals>, Error> {
    let removals = Removals::new()?;
    let Some(path) = export.socket_path() else {
        return Ok(removals);
    };
    removals.watch(&path);
    let (watched, watcher) = (Arc::downgrade(export), Arc::downgrade(&removals));
    removals.look_also(Box::new(move || {
        let Some(export) = watched.upgrade() else {
            return false;
        };
        export.mend_socket(|socket, change| match change {
            SocketChange::Removed(_) => {}
            SocketChange::Restored => {
                tracing::warn!(?socket, "the socket was removed, and is there again");
                if let Some(watcher) = watcher.upgrade() {
                    watcher.watch(socket);
                }
            }
            SocketChange::Missing(error) => {
                tracing::warn!(%error, "the socket was removed, and nobody can connect");
            }
        })
    }));
    removals.start()?;
    Ok(removals)
}

/// A connection that was inherited can't be made again: its end is ours.
fn watch_front_end(export: Arc<Export>, events: Sender<Event>) -> Result<(), Error> {
    threads::spawn(Role::LastSession, move || {
        export.wait_until_idle();
        drop(export);
        let _ = events.send(Event::FrontEndGone);
    })
    .map(|_| ())
    .map_err(Error::system("start a thread"))
}

fn wait(incoming: &Receiver<Event>, mut command: Option<Command>) -> Ending {
    loop {
        // The signal thread lives as long as the process, so there is always a sender.
        let event = incoming.recv().unwrap_or(Event::Signal(SIGTERM));
        if let Some(status) = command.as_mut().and_then(Command::status) {
            return Ending::Command(exit_code(status));
        }
        if let Event::Signal(SIGCHLD) = event {
            continue;
        }
        // The command goes first: it may still have something to write.
        if let Some(command) = command {
            command.end();
        }
        return Ending::Asked;
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
