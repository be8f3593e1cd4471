//! Makes served disks, and sends the events of their front ends and sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Age, ServedDisk};
use super::power;
use super::socket::{NewSocket, Socket, SocketChange};
use crate::daemon::disks::actors;
use crate::daemon::disks::events::Events;
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::{ValidDisk, check_socket_path};
use crate::daemon::error::Error;
use crate::daemon::host::inherit::Inherited;
use crate::daemon::host::owner::Giver;
use crate::daemon::host::removal::Removals;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::{paths, state_dir};
use crate::device::Cache;
use crate::device::faults::Report;
use crate::model::{Actor, ActorKind, Detail, DiskSettings, EventKind, FindingKind, Problem};
use crate::store::{self, Disk, Store};
use crate::vhost_user::{Departure, Hub, Peer, ServerEvent};

/// Files of ramblk's own in the directory that holds the disks' directories.
pub(crate) const OWN_FILES: [&str; 3] =
    [paths::API_SOCKET, paths::READERS_SOCKET, state_dir::ARENA];

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
    pub(crate) hub: Arc<Hub>,
    pub(crate) events: Arc<Events>,
    run_dir: PathBuf,
    access: SocketAccess,
    giver: Giver,
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
            giver: Giver::of_process(),
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
        match path.is_absolute() {
            true => path,
            false => std::path::absolute(&path).unwrap_or(path),
        }
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
        Ok(self.prepared(served, cache))
    }

    /// Prepare to serve a disk that was renamed, in place of `old`. What is volatile stays so.
    pub(crate) fn prepare_renamed(
        &self,
        disk: Disk,
        valid: &ValidDisk,
        old: &ServedDisk,
    ) -> Result<ServedDisk, Error> {
        let served = ServedDisk::new(&self.store, &self.hub, disk, valid, Age::Old)?;
        let cache = old.server.device().volume().cache();
        if let Some(cache) = &cache {
            cache.renamed(&served.name);
        }
        served.power.set_off(old.power.is_off());
        Ok(self.prepared(served, cache))
    }

    fn prepared(&self, served: ServedDisk, cache: Option<Arc<Cache>>) -> ServedDisk {
        served.server.device().volume().set_cache(cache);
        self.tell_of_front_ends(&served);
        self.tell_of_faults(&served);
        self.tell_of_findings(&served);
        served
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

    /// Who may connect to the socket of a disk with this owner.
    fn access(&self, owner: Option<&str>) -> Result<SocketAccess, Error> {
        match owner {
            Some(owner) => self.giver.access(self.access, owner),
            None => Ok(self.access),
        }
    }

    /// Check that the socket of a disk can be given to its owner, unless that is who it had.
    ///
    /// # Errors
    /// `invalid` if there is no such user or group, or the daemon may not give it to them.
    pub(crate) fn check_owner(
        &self,
        had: Option<&DiskSettings>,
        wanted: &DiskSettings,
    ) -> Result<(), Problem> {
        if had.is_some_and(|had| had.socket_owner == wanted.socket_owner) {
            return Ok(());
        }
        let access = self.access(wanted.socket_owner.as_deref());
        let refused = |error: Error| invalid("socket_owner", error.to_string());
        access.map(|_| ()).map_err(refused)
    }

    /// Give the socket of a disk to another owner, or take it back. Returns who could connect
    /// before, if the disk has a socket.
    ///
    /// # Errors
    /// `invalid`, as [`Self::check_owner`]; `internal` if the system refuses it. Nothing changes.
    pub(crate) fn give(
        &self,
        served: &ServedDisk,
        owner: Option<&str>,
    ) -> Result<Option<SocketAccess>, Problem> {
        let refused = |error: Error| invalid("socket_owner", error.to_string());
        let access = self.access(owner).map_err(refused)?;
        Ok(served.give_socket(access)?)
    }

    /// Create the socket of the disk `name`. Front ends that connect wait until it is served. If
    /// its owner can't get it, the daemon keeps it, and an event says so: the disk must be served.
    pub(crate) fn make_socket(&self, name: &str, owner: Option<&str>) -> Result<NewSocket, Error> {
        let Some(owner) = owner else {
            return self.make_socket_for(name, self.access);
        };
        let made = self.access(Some(owner));
        let made = made.and_then(|access| self.make_socket_for(name, access));
        made.or_else(|error| {
            let mut made = self.make_socket_for(name, self.access)?;
            let reason = error.to_string();
            tracing::warn!(
                disk = name,
                owner,
                reason,
                "the daemon keeps a disk's socket"
            );
            let details = [("socket_owner", owner), ("reason", &reason)];
            let details = details.map(|(key, value)| (key.to_owned(), value.into()));
            let events = &self.events;
            events.tell(EventKind::SocketNotGiven, Some(name), details.into());
            made.socket.note_not_given(reason);
            Ok(made)
        })
    }

    fn make_socket_for(&self, name: &str, access: SocketAccess) -> Result<NewSocket, Error> {
        // The run directory may have been removed since the daemon started.
        paths::make_directory(&self.run_dir)?;
        self.removals.watch_run_dir(&self.run_dir);
        Socket::make_in_own_directory(&self.own_socket_path(name), access)
    }

    /// Serve front ends that connect to `socket`.
    pub(crate) fn serve_at(&self, served: &ServedDisk, socket: NewSocket) -> Result<(), Error> {
        served.listen(socket)?;
        if let Some(path) = served.socket_path() {
            self.removals.watch(&path, Some(&served.name));
        }
        Ok(())
    }

    /// Let front ends connect to the socket in the disk's own directory.
    pub(crate) fn listen(&self, served: &ServedDisk) -> Result<(), Error> {
        let owner = owner_of(served);
        self.serve_at(served, self.make_socket(&served.name, owner.as_deref())?)
    }

    /// The same for a new disk, which isn't made if its owner can't get the socket.
    pub(crate) fn listen_first(&self, served: &ServedDisk) -> Result<(), Error> {
        let access = self.access(owner_of(served).as_deref())?;
        self.serve_at(served, self.make_socket_for(&served.name, access)?)
    }

    /// Let front ends come from elsewhere.
    pub(crate) fn listen_at(&self, served: &ServedDisk, at: ServeAt) -> Result<(), Error> {
        match at {
            ServeAt::Path(path) => {
                let access = self.access(owner_of(served).as_deref())?;
                self.serve_at(served, Socket::make(&path, access)?)
            }
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
                self.removals.watch(path, disk);
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

    fn tell_of_findings(&self, served: &ServedDisk) {
        let (events, name) = (Arc::clone(&self.events), served.name.clone());
        let volume = served.server.device().volume();
        volume.on_finding(move |report| {
            let kind = FindingKind::from(report.kind).word();
            let details = [
                ("kind", Detail::from(kind)),
                ("times", report.times.into()),
                ("start_bytes", report.start_bytes.into()),
                ("length_bytes", report.length_bytes.into()),
            ];
            let details = details.map(|(key, value)| (key.to_owned(), value));
            events.tell(EventKind::Finding, Some(&name), details.into());
        });
    }

    fn tell_of_front_ends(&self, served: &ServedDisk) {
        let (events, name) = (Arc::clone(&self.events), served.name.clone());
        let metadata = Arc::clone(&served.metadata);
        let attendance = Arc::clone(&served.attendance);
        let store = Arc::clone(&self.store);
        served.server.on_event(Box::new(move |event| {
            let (ServerEvent::Attached { session, peer }
            | ServerEvent::Detached { session, peer, .. }) = event;
            let actor = front_end(session, peer);
            let tell = |kind, reason: Option<String>| {
                let mut details = session_details(session);
                details.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
                events.tell_by(actor.clone(), kind, Some(&name), details);
            };
            match event {
                ServerEvent::Attached { .. } => {
                    attendance.attached();
                    if !metadata.lock().life.on_detach.is_keep() {
                        // The monitor stores that it was used.
                        store.pressure().raise();
                    }
                    // The first event of this kind was sent before there could be listeners.
                    let failure = metadata.lock().failure.clone();
                    if failure.is_some() {
                        tell(EventKind::Fault, failure.clone());
                    }
                    tell(EventKind::Attached, failure);
                }
                ServerEvent::Detached { reason, .. } => {
                    attendance.detached();
                    // The monitor drops a detached disk when its last front end has disconnected.
                    store.pressure().raise();
                    let reason = match reason {
                        Departure::Left => None,
                        Departure::Closed => Some("closed".to_owned()),
                        Departure::Failed(text) => {
                            tell(EventKind::Fault, Some(text.clone()));
                            Some(text)
                        }
                    };
                    tell(EventKind::Detached, reason);
                }
            }
        }));
    }
}

/// The owner of a disk's socket, if that isn't the daemon.
fn owner_of(served: &ServedDisk) -> Option<String> {
    served.metadata.lock().socket_owner.clone()
}

/// A front end as the actor of an event.
fn front_end(session: u64, peer: Option<Peer>) -> Actor {
    let (uid, pid) = (peer.map(|peer| peer.uid), peer.and_then(|peer| peer.pid));
    Actor {
        session: Some(session),
        ..actors::process(ActorKind::FrontEnd, uid, pid)
    }
}

fn session_details(session: u64) -> BTreeMap<String, Detail> {
    BTreeMap::from([("session".to_owned(), session.into())])
}
