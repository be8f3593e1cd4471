//! One disk of a daemon: its bytes, its device, its socket.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::events::Events;
use super::super::model::{
    self, DiskSettings, DiskState, EventKind, Problem, ProblemKind, Resized, Share,
};
use super::super::socket::{SocketAccess, SocketPath};
use super::super::state::StateKeeper;
use super::super::{paths, state_dir};
use super::check::{Checked, check_socket_path, invalid};
use crate::device::BlockDevice;
use crate::store::{self, Disk, DiskInfo, Shrink, Store};
use crate::vhost_user::{self, Departure, Hub, Server, ServerEvent, ServerOptions};

/// What entries are made with.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) store: Arc<Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) events: Arc<Events>,
    pub(super) run_dir: PathBuf,
    pub(super) access: SocketAccess,
}

/// What else may lie where the directories of disks are.
const OWN_FILES: [&str; 2] = [paths::API_SOCKET, state_dir::ARENA];

/// A disk that is served. Dropping it ends its sessions; its bytes stay in the store.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The store's number of it.
    pub(super) id: u64,
    /// The owner's connection to it: no guest's.
    pub(super) disk: Disk,
    pub(super) server: Server,
    keeper: Arc<StateKeeper>,
    /// What it is to be, as of now.
    pub(super) settings: Mutex<DiskSettings>,
    pub(super) snapshots: Mutex<BTreeSet<String>>,
    /// How it was doing when we looked last, by the number of requests that found no memory.
    pub(super) health: Mutex<Health>,
    /// Why it has failed, if it has.
    pub(super) failure: Arc<Mutex<Option<String>>>,
    socket: Mutex<Option<Socket>>,
    socket_path: String,
}

/// What the monitor knows of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    pub(super) state: DiskState,
    /// Requests that had found no memory.
    pub(super) full_events: u64,
    /// How near its quota it was.
    pub(super) level: usize,
}

/// A socket in a directory of its own, which goes with it.
#[derive(Debug)]
struct Socket {
    path: Option<SocketPath>,
    directory: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        drop(self.path.take());
        // Where somebody put something else into it, it stays.
        let _ = fs::remove_dir(&self.directory);
    }
}

impl Workshop {
    /// The path of the socket of a disk.
    fn socket_path(&self, name: &str) -> PathBuf {
        self.run_dir.join(name).join("vhost.sock")
    }

    /// Whether a disk can have a socket.
    pub(super) fn check(&self, name: &str) -> Result<(), Problem> {
        if OWN_FILES.contains(&name) {
            return Err(invalid(
                "name",
                format!("{name:?} is the name of a file of ramblk's own: choose another"),
            ));
        }
        check_socket_path(&self.socket_path(name))
    }

    /// Get ready to serve a disk of the store, which is `new` or was there before us. Nobody can
    /// connect yet.
    pub(super) fn prepare(
        &self,
        disk: Disk,
        checked: &Checked,
        new: bool,
    ) -> Result<Entry, Problem> {
        let info = disk.get_info()?;
        let name = info.key;
        let guests = self.store.open(&name)?;
        let guests = if checked.read_only {
            guests.into_read_only()
        } else {
            guests
        };
        let keeper = Arc::new(if new {
            StateKeeper::of_new(&self.store, &name)?
        } else {
            StateKeeper::new(&self.store, &name)?
        });
        let device = BlockDevice::new(guests, checked.serial.clone(), checked.queues)
            .with_state(Box::new(Arc::clone(&keeper)));
        let options = ServerOptions {
            share: match checked.settings.share {
                Share::None => vhost_user::Share::None,
                Share::Ro | Share::Rw => vhost_user::Share::Any,
            },
            in_order: checked.settings.in_order,
        };
        let server = Server::new(device, &options, &self.hub);
        let failure = Arc::default();
        self.tell_of_front_ends(&name, &server, &failure);
        Ok(Entry {
            id: info.id,
            disk,
            server,
            keeper,
            settings: Mutex::new(checked.settings.clone()),
            snapshots: Mutex::default(),
            health: Mutex::default(),
            failure,
            socket: Mutex::new(None),
            socket_path: self.socket_path(&name).display().to_string(),
            name,
        })
    }

    /// Let front ends come.
    pub(super) fn listen(&self, entry: &Entry) -> Result<(), Problem> {
        let directory = self.run_dir.join(&entry.name);
        make_directory(&directory)?;
        let mut socket = Socket {
            path: None,
            directory,
        };
        let path = self.socket_path(&entry.name);
        let (made, listener) = SocketPath::listen(&path, self.access)?;
        socket.path = Some(made);
        entry.server.listen(listener)?;
        *entry.socket.lock() = Some(socket);
        Ok(())
    }

    fn tell_of_front_ends(
        &self,
        name: &str,
        server: &Server,
        failure: &Arc<Mutex<Option<String>>>,
    ) {
        let (events, name) = (Arc::clone(&self.events), name.to_owned());
        let failure = Arc::clone(failure);
        let store = Arc::clone(&self.store);
        server.on_event(Box::new(move |event| {
            let (kind, session, reason) = match event {
                ServerEvent::Attached { session } => {
                    // Nobody could listen yet when that was told first.
                    let failure = failure.lock().clone();
                    if let Some(reason) = &failure {
                        let mut details = session_details(session);
                        details.insert("reason".into(), reason.clone());
                        events.tell(EventKind::Fault, Some(&name), details);
                    }
                    (EventKind::Attached, session, failure)
                }
                ServerEvent::Detached { session, reason } => {
                    // Who waits for the last front end of a disk that is gone looks then.
                    store.alarm().ring();
                    match reason {
                        Departure::Left => (EventKind::Detached, session, None),
                        Departure::Closed => {
                            (EventKind::Detached, session, Some("closed".to_owned()))
                        }
                        Departure::Failed(text) => {
                            let mut details = session_details(session);
                            details.insert("reason".into(), text.clone());
                            events.tell(EventKind::Fault, Some(&name), details);
                            (EventKind::Detached, session, Some(text))
                        }
                    }
                }
            };
            let mut details = session_details(session);
            if let Some(reason) = reason {
                details.insert("reason".into(), reason);
            }
            events.tell(kind, Some(&name), details);
        }));
    }
}

fn session_details(session: u64) -> BTreeMap<String, String> {
    BTreeMap::from([("session".to_owned(), session.to_string())])
}

/// A directory for one socket: others may look into it, and only we put something there.
fn make_directory(path: &Path) -> Result<(), Problem> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Problem::new(
            ProblemKind::Internal,
            format!("can't make directory {path:?} for the socket: {error}"),
        )),
    }
}

impl Entry {
    /// Whether a front end is connected.
    pub(super) fn is_attached(&self) -> bool {
        self.server.sessions() > 0
    }

    /// The disk as it is, as the store has it in `info`, with what only it holds if `walk` says so.
    pub(super) fn describe(
        &self,
        info: DiskInfo,
        walk: bool,
        parent: Option<String>,
    ) -> Result<model::Disk, Problem> {
        let settings = self.settings.lock().clone();
        let front_ends: Vec<_> = self
            .server
            .front_ends()
            .iter()
            .map(|front_end| model::FrontEnd {
                session: front_end.session,
                pid: front_end.peer.and_then(|peer| peer.pid),
                live: front_end.live,
                notifiable: front_end.notifiable,
            })
            .collect();
        Ok(model::Disk {
            name: self.name.clone(),
            size_bytes: info.size_bytes,
            block_size: info.sector_bytes,
            socket: self.socket_path.clone(),
            attached: !front_ends.is_empty(),
            front_ends,
            read_only: settings.read_only,
            serial: self.server.device().serial().text().to_owned(),
            queues: settings.queues,
            share: settings.share,
            in_order: settings.in_order,
            detect_zeroes: settings.detect_zeroes,
            on_full: settings.on_full,
            mapped_bytes: info.mapped_bytes,
            charged_bytes: info.charged_bytes,
            unique_bytes: walk.then(|| self.disk.unique_bytes()).transpose()?,
            quota_bytes: info.quota_bytes,
            limits: settings.limits,
            group: settings.group,
            labels: settings.labels,
            parent,
            snapshots: self.snapshots.lock().iter().cloned().collect(),
            state: self.health.lock().state,
            failure: self.failure(),
        })
    }

    /// Change the size, and tell guests.
    pub(super) fn resize(&self, to_bytes: u64, shrink: bool) -> Result<Resized, Problem> {
        let from_bytes = self.disk.capacity().bytes();
        let lost_bytes = mapped_from(&self.disk, to_bytes)?;
        let shrink = if shrink {
            Shrink::Allow
        } else {
            Shrink::Refuse
        };
        match self.disk.resize_bytes(to_bytes, shrink) {
            Ok(()) => {}
            Err(error @ store::Error::WouldShrink { .. }) => {
                return Err(Problem {
                    lost_bytes: Some(lost_bytes),
                    field: Some("size_bytes".into()),
                    ..Problem::new(
                        ProblemKind::WouldLoseData,
                        format!("{error}; {lost_bytes} mapped bytes would go"),
                    )
                });
            }
            Err(error) => return Err(error.into()),
        }
        let notified = self.server.config_changed();
        let live = self.server.front_ends();
        let live = live.iter().filter(|front_end| front_end.live).count();
        let not_notified = live.saturating_sub(notified);
        Ok(Resized {
            from_bytes,
            to_bytes,
            lost_bytes: if to_bytes < from_bytes { lost_bytes } else { 0 },
            notified,
            not_notified,
            hint: (not_notified > 0).then(|| RESIZE_HINT.to_owned()),
        })
    }

    /// The socket goes: nobody new connects, and those who are there stay.
    pub(super) fn stop_listening(&self) {
        self.server.stop_listening();
        self.socket.lock().take();
    }

    /// The disk is gone from the store, and what was saved of it goes too.
    pub(super) fn forget_states(&self) {
        self.keeper.forget();
    }
}

/// Firecracker has no channel for this message.
const RESIZE_HINT: &str = "the guest's monitor can't be told: have it read the configuration again \
    (Firecracker: PATCH /drives/ID with the same drive_id), or restart the guest";

/// Mapped bytes from `from_bytes` to the end.
fn mapped_from(disk: &Disk, from_bytes: u64) -> Result<u64, Problem> {
    let capacity = disk.capacity();
    let sector_bytes = capacity.sector_size().bytes();
    let end = capacity.sectors();
    let mut at = from_bytes / sector_bytes;
    let mut mapped_sectors = 0;
    while at < end {
        let start = disk.seek_mapped(at)?;
        if start >= end {
            break;
        }
        let stop = disk.seek_unmapped(start)?.min(end);
        mapped_sectors += stop - start;
        at = stop;
    }
    Ok(mapped_sectors * sector_bytes)
}
