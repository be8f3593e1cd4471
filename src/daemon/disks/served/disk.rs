//! One disk of a daemon: its bytes and its device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::socket::Socket;
use super::states::StateKeeper;
use crate::daemon::disks::actions::upload::Uploads;
use crate::daemon::disks::events::Events;
use crate::daemon::disks::settings::metadata::Kept;
use crate::daemon::disks::settings::valid::{Checked, check_socket_path, invalid};
use crate::daemon::host::removal::Removals;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::{paths, state_dir};
use crate::device::BlockDevice;
use crate::model::{self, Detail, DiskSettings, DiskState, EventKind, Problem, Share};
use crate::store::{Change, Disk, DiskInfo, Leftover, Shrink, Store};
use crate::vhost_user::{self, Departure, Hub, Server, ServerEvent, ServerOptions};

/// What entries are made with.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) store: Arc<Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) events: Arc<Events>,
    pub(crate) run_dir: PathBuf,
    pub(crate) access: SocketAccess,
    pub(crate) removals: Arc<Removals>,
}

/// What else may lie where the directories of disks are.
const OWN_FILES: [&str; 2] = [paths::API_SOCKET, state_dir::ARENA];

/// A disk that is served. Dropping it ends its sessions; its bytes stay in the store.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The store's number of it.
    pub(crate) id: u64,
    /// The store's number of what it was forked from.
    pub(crate) parent_id: Option<u64>,
    /// The owner's connection to it: no guest's.
    pub(crate) disk: Disk,
    pub(crate) server: Server,
    keeper: Arc<StateKeeper>,
    /// What the store keeps beside its record, as of now.
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) snapshots: Mutex<BTreeSet<String>>,
    /// How it was doing when we looked last, by the number of requests that found no memory.
    pub(crate) health: Mutex<Health>,
    /// New content that is on its way.
    pub(crate) import: Uploads,
    pub(crate) socket: Mutex<Option<Socket>>,
    socket_path: String,
}

/// What the monitor knows of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    pub(crate) state: DiskState,
    /// Requests that had found no memory.
    pub(crate) full_events: u64,
    /// How near its quota it was.
    pub(crate) level: usize,
}

impl Workshop {
    /// The path of the socket of a disk.
    pub(crate) fn socket_path(&self, name: &str) -> PathBuf {
        self.run_dir.join(name).join("vhost.sock")
    }

    /// Whether a disk can have a socket.
    pub(crate) fn check(&self, name: &str) -> Result<(), Problem> {
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
    pub(crate) fn prepare(
        &self,
        disk: Disk,
        checked: &Checked,
        kept: Kept,
        new: bool,
    ) -> Result<Entry, Problem> {
        let disk = disk.into_owner();
        let info = disk.get_info()?;
        let name = info.key;
        let guests = self.store.open(&name)?;
        let state = match kept.import.is_importing() {
            true => DiskState::Importing,
            false => DiskState::Ok,
        };
        let kept = Arc::new(Mutex::new(kept));
        let keeper = Arc::new(if new {
            StateKeeper::of_new(&self.store, &name, &kept)?
        } else {
            StateKeeper::new(&self.store, &name, &kept)?
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
        self.tell_of_front_ends(&name, &server, &kept);
        Ok(Entry {
            id: info.id,
            parent_id: info.parent_id,
            disk,
            server,
            keeper,
            kept,
            snapshots: Mutex::default(),
            health: Mutex::new(Health {
                state,
                ..Health::default()
            }),
            import: Uploads::default(),
            socket: Mutex::new(None),
            socket_path: whole(self.socket_path(&name)),
            name,
        })
    }

    fn tell_of_front_ends(&self, name: &str, server: &Server, kept: &Arc<Mutex<Kept>>) {
        let (events, name) = (Arc::clone(&self.events), name.to_owned());
        let kept = Arc::clone(kept);
        let store = Arc::clone(&self.store);
        server.on_event(Box::new(move |event| {
            let (kind, session, reason) = match event {
                ServerEvent::Attached { session } => {
                    // Nobody could listen yet when that was told first.
                    let failure = kept.lock().failure.clone();
                    if let Some(reason) = &failure {
                        let mut details = session_details(session);
                        details.insert("reason".into(), reason.clone().into());
                        events.tell(EventKind::Fault, Some(&name), details);
                    }
                    (EventKind::Attached, session, failure)
                }
                ServerEvent::Detached { session, reason } => {
                    // Who waits for the last front end of a disk that is gone looks then.
                    store.pressure().raise();
                    match reason {
                        Departure::Left => (EventKind::Detached, session, None),
                        Departure::Closed => {
                            (EventKind::Detached, session, Some("closed".to_owned()))
                        }
                        Departure::Failed(text) => {
                            let mut details = session_details(session);
                            details.insert("reason".into(), text.clone().into());
                            events.tell(EventKind::Fault, Some(&name), details);
                            (EventKind::Detached, session, Some(text))
                        }
                    }
                }
            };
            let mut details = session_details(session);
            if let Some(reason) = reason {
                details.insert("reason".into(), reason.into());
            }
            events.tell(kind, Some(&name), details);
        }));
    }
}

fn session_details(session: u64) -> BTreeMap<String, Detail> {
    BTreeMap::from([("session".to_owned(), session.into())])
}

/// A path for others, who may be in another directory.
fn whole(path: PathBuf) -> String {
    let whole = std::path::absolute(&path).unwrap_or(path);
    whole.display().to_string()
}

impl Entry {
    /// Whether a front end is connected.
    pub(crate) fn is_attached(&self) -> bool {
        self.server.sessions() > 0
    }

    /// What the store says of it, and what is kept beside that, of the same moment.
    pub(crate) fn look(&self) -> Result<(DiskInfo, Kept), Problem> {
        let kept = self.kept.lock();
        Ok((self.disk.get_info()?, kept.clone()))
    }

    /// What it is to be, as of now.
    pub(crate) fn settings(&self) -> Result<DiskSettings, Problem> {
        let (info, kept) = self.look()?;
        Ok(kept.settings(&info.spec))
    }

    /// Change what is kept beside its record, and of the record what `change` says, and the size:
    /// all of it at one instant, or nothing. Guests are not told.
    pub(crate) fn change(
        &self,
        keep: impl FnOnce(&mut Kept),
        change: &Change<'_>,
        size: Option<(u64, Shrink)>,
    ) -> Result<Leftover, Problem> {
        let mut kept = self.kept.lock();
        let mut new = kept.clone();
        keep(&mut new);
        let blob = new.to_blob()?;
        let change = Change {
            settings: Some(&blob),
            ..*change
        };
        let left = self.disk.change(&change, size)?;
        *kept = new;
        Ok(left)
    }

    /// The disk as it is, with what only it holds if `walk` says so. `name_of` knows names of disks
    /// and snapshots by the store's number.
    pub(crate) fn describe(
        &self,
        walk: bool,
        name_of: impl FnOnce(u64) -> Option<String>,
    ) -> Result<model::Disk, Problem> {
        let (info, kept) = self.look()?;
        let settings = kept.settings(&info.spec);
        let unreachable = self.unreachable();
        let front_ends: Vec<_> = self
            .server
            .front_ends()
            .iter()
            .map(|front_end| model::FrontEnd {
                session: front_end.session,
                pid: front_end.peer.and_then(|peer| peer.pid),
                live: front_end.live,
                notifiable: front_end.notifiable,
                polled_queues: front_end.polled_queues,
                untracked_queues: front_end.untracked_queues,
            })
            .collect();
        Ok(model::Disk {
            name: self.name.clone(),
            size_bytes: settings.size_bytes,
            block_size: settings.block_size,
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
            quota_bytes: settings.quota_bytes,
            limits: settings.limits,
            group: settings.group,
            labels: settings.labels,
            parent: info.parent_id.and_then(name_of),
            snapshots: self.snapshots.lock().iter().cloned().collect(),
            children: None,
            state: match self.health.lock().state {
                DiskState::Ok if unreachable.is_some() => DiskState::Unreachable,
                state => state,
            },
            unreachable,
            failure: kept.failure,
            import: self.import.progress(kept.import.importing_image()),
            image: kept.import.image().cloned(),
        })
    }

    /// The disk is gone from the store, and what was saved of it goes too.
    pub(crate) fn forget_states(&self) -> Vec<Leftover> {
        self.keeper.forget()
    }
}
