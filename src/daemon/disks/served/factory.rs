//! Makes served disks, and sends the events of their front ends and sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Age, ServedDisk};
use super::power;
use super::socket::{NewSocket, Socket, SocketChange};
use crate::daemon::disks::events::Events;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::{ValidDisk, check_socket_path};
use crate::daemon::error::Error;
use crate::daemon::host::inherit::Inherited;
use crate::daemon::host::removal::Removals;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::{paths, state_dir};
use crate::device::Cache;
use crate::device::faults::Report;
use crate::model::{Detail, DiskSettings, EventKind, Problem};
use crate::store::{self, Disk, Store};
use crate::vhost_user::{Departure, Hub, Server, ServerEvent};

/// Files of ramblk's own in the directory that holds the disks' directories.
const OWN_FILES: [&str; 2] = [paths::API_SOCKET, state_dir::ARENA];

/// How front ends connect to a disk that has no socket in its own directory.
#[derive(Debug)]
pub(crate) enum ServeAt {
    /// They connect to this path.
    Path(PathBuf),
    /// They connect through an inherited descriptor.
    Inherited(Inherited),
}

/// Makes served disks, each with a socket in its own directory unless the caller names another one.
#[derive(Debug)]
pub(crate) struct DiskFactory {
    pub(crate) store: Arc<Store>,
    hub: Arc<Hub>,
    pub(crate) events: Arc<Events>,
    run_dir: PathBuf,
    access: SocketAccess,
    pub(crate) removals: Arc<Removals>,
}

impl DiskFactory {
    /// A factory for disks of `store`, which the threads of `hub` serve.
    ///
    /// # Errors
    /// [`Error::System`] if there is no descriptor left.
    pub(crate) fn new(
        store: Arc<Store>,
        hub: Arc<Hub>,
        run_dir: PathBuf,
        access: SocketAccess,
    ) -> Result<Self, Error> {
        Ok(Self {
            store,
            hub,
            events: Arc::default(),
            run_dir,
            access,
            removals: Removals::new()?,
        })
    }

    /// The path of the socket that a disk has in its own directory.
    fn own_socket_path(&self, name: &str) -> PathBuf {
        self.run_dir.join(name).join("vhost.sock")
    }

    /// The path of the socket of a disk, or where it will be, as a process in another directory
    /// needs it.
    pub(crate) fn absolute_socket_path(&self, served: &ServedDisk) -> PathBuf {
        let path = served.socket_path();
        let path = path.unwrap_or_else(|| self.own_socket_path(&served.name));
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Check that a disk of this name can have a socket.
    pub(crate) fn check(&self, name: &str) -> Result<(), Problem> {
        if OWN_FILES.contains(&name) {
            return Err(invalid(
                "name",
                format!("{name:?} is the name of a file of ramblk: choose another"),
            ));
        }
        check_socket_path(&self.own_socket_path(name))
    }

    /// Prepare to serve a disk, with events for its front ends.
    pub(crate) fn prepare(
        &self,
        disk: Disk,
        valid: &ValidDisk,
        age: Age,
    ) -> Result<ServedDisk, Error> {
        let served = ServedDisk::new(&self.store, &self.hub, disk, valid, age)?;
        let cache = self.cache(&served, &valid.settings)?;
        served.server.device().volume().set_cache(cache);
        self.tell_of_front_ends(&served.name, &served.server, &served.metadata);
        self.tell_of_faults(&served);
        Ok(served)
    }

    /// A volatile write cache for a disk, if these settings say so.
    pub(crate) fn cache(
        &self,
        served: &ServedDisk,
        settings: &DiskSettings,
    ) -> Result<Option<Arc<Cache>>, store::Error> {
        let disk = (served.name.as_str(), served.id);
        power::cache(&self.store, &self.events, disk, settings)
    }

    /// Create the socket of a disk. Front ends that connect wait until it is served.
    pub(crate) fn make_socket(&self, served: &ServedDisk) -> Result<NewSocket, Error> {
        // The run directory may have been removed since the daemon started.
        paths::make_directory(&self.run_dir)?;
        Socket::make_in_own_directory(&self.own_socket_path(&served.name), self.access)
    }

    /// Serve front ends that connect to `socket`.
    pub(crate) fn serve_at(&self, served: &ServedDisk, socket: NewSocket) -> Result<(), Error> {
        served.listen(socket)?;
        if let Some(path) = served.socket_path() {
            self.removals.watch(&path);
        }
        Ok(())
    }

    /// Let front ends connect to the socket in the disk's own directory.
    pub(crate) fn listen(&self, served: &ServedDisk) -> Result<(), Error> {
        self.serve_at(served, self.make_socket(served)?)
    }

    /// Let front ends come from elsewhere.
    pub(crate) fn listen_at(&self, served: &ServedDisk, at: ServeAt) -> Result<(), Error> {
        match at {
            ServeAt::Path(path) => self.serve_at(served, Socket::make(&path, self.access)?),
            ServeAt::Inherited(Inherited::Listening(listener)) => {
                Ok(served.server.listen(listener)?)
            }
            ServeAt::Inherited(Inherited::Connected(stream)) => {
                Ok(served.server.connect(stream)?)
            }
        }
    }

    /// Create the socket of a disk again if it was removed. Returns whether it is still missing.
    pub(crate) fn mend_socket(&self, served: &ServedDisk) -> bool {
        let disk = Some(served.name.as_str());
        served.mend_socket(|path, change| match change {
            SocketChange::Removed(reason) => self.tell_of_socket(disk, path, Some(reason)),
            SocketChange::Restored => {
                self.removals.watch(path);
                self.tell_of_socket(disk, path, None);
            }
            SocketChange::Missing(reason) => {
                tracing::warn!(disk, reason, "front ends can't connect");
            }
        })
    }

    /// Send the event that a socket was removed, or, without a reason, that it exists again.
    /// Without a disk it is the API's socket.
    pub(crate) fn tell_of_socket(&self, disk: Option<&str>, socket: &Path, removed: Option<&str>) {
        let (kind, what) = match removed {
            Some(_) => (EventKind::Unreachable, "was removed"),
            None => (EventKind::Reachable, "exists again"),
        };
        tracing::warn!(disk, ?socket, "a socket {what}");
        let mut details =
            BTreeMap::from([("socket".to_owned(), socket.display().to_string().into())]);
        details.extend(removed.map(|reason| ("reason".to_owned(), reason.into())));
        self.events.tell(kind, disk, details);
    }

    fn tell_of_faults(&self, served: &ServedDisk) {
        let (events, name) = (Arc::clone(&self.events), served.name.clone());
        let faults = served.server.device().volume().faults();
        faults.on_report(move |report| {
            let (kind, details) = match report {
                Report::Fired { rule, kind, times } => {
                    let details = [
                        ("id", Detail::from(&**rule)),
                        ("kind", kind.as_str().into()),
                        ("times", (*times).into()),
                    ];
                    (EventKind::FaultFired, details.to_vec())
                }
                Report::Crowded { rule } => {
                    (EventKind::FaultCrowded, vec![("id", Detail::from(&**rule))])
                }
            };
            let details = details.into_iter();
            let details = details.map(|(key, value)| (key.to_owned(), value));
            events.tell(kind, Some(&name), details.collect());
        });
    }

    fn tell_of_front_ends(&self, name: &str, server: &Server, metadata: &Arc<Mutex<Metadata>>) {
        let (events, name) = (Arc::clone(&self.events), name.to_owned());
        let metadata = Arc::clone(metadata);
        let store = Arc::clone(&self.store);
        server.on_event(Box::new(move |event| {
            let fault = |session, reason: &str| {
                let mut details = session_details(session);
                details.insert("reason".into(), reason.into());
                events.tell(EventKind::Fault, Some(&name), details);
            };
            let (kind, session, reason) = match event {
                ServerEvent::Attached { session } => {
                    // The first event of this kind was sent before there could be listeners.
                    let failure = metadata.lock().failure.clone();
                    if let Some(reason) = &failure {
                        fault(session, reason);
                    }
                    (EventKind::Attached, session, failure)
                }
                ServerEvent::Detached { session, reason } => {
                    // The monitor drops a detached disk when its last front end has disconnected.
                    store.pressure().raise();
                    let reason = match reason {
                        Departure::Left => None,
                        Departure::Closed => Some("closed".to_owned()),
                        Departure::Failed(text) => {
                            fault(session, &text);
                            Some(text)
                        }
                    };
                    (EventKind::Detached, session, reason)
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
