//! A served disk: its bytes in the store, its device, its server and its socket.
//!
//! Every disk of the store is served to front ends in this way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::attendance::Attendance;
use super::health::{Health, marks};
use super::power::Power;
use super::recording::Recording;
use super::sanitizer;
use super::socket::{NewSocket, Socket, SocketChange};
use super::states::SavedStates;
use super::stats;
use super::uploads::Uploads;
use super::views::Views;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::problems::conflict;
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::daemon::error::Error;
use crate::daemon::host::socket::SocketAccess;
use crate::device::faults::Rule;
use crate::device::{BlockDevice, Limiter};
use crate::model::{
    DiskSettings, DiskState, Ending, EndsBy, Findings, Image, Limits, Problem, Sanitize, Share,
    Stats,
};
use crate::store::{Change, Disk, DiskInfo, Leftover, Shrink, Store};
use crate::vhost_user::{self, Hub, Server, ServerOptions};

/// Whether a disk was just made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// It was, so it has no saved states.
    New,
    /// An earlier process made it.
    Old,
}

/// A disk that is served. Dropping it ends its sessions; its bytes stay in the store.
#[derive(Debug)]
pub(crate) struct ServedDisk {
    pub(crate) name: String,
    /// The store's number of the disk.
    pub(crate) id: u64,
    /// The store's number of the disk or snapshot that it was forked from.
    pub(crate) parent_id: Option<u64>,
    /// The owner's connection to the disk; guests use another one.
    pub(crate) disk: Disk,
    pub(crate) server: Server,
    pub(crate) states: Arc<SavedStates>,
    /// The present metadata, which the store keeps beside its record.
    pub(crate) metadata: Arc<Mutex<Metadata>>,
    pub(crate) snapshots: Mutex<BTreeSet<String>>,
    /// What the monitor found at its last check.
    pub(crate) health: Mutex<Health>,
    pub(crate) uploads: Uploads,
    pub(crate) views: Arc<Views>,
    /// What records its changes, or has recorded them.
    pub(crate) recording: Mutex<Option<Arc<Recording>>>,
    socket: Mutex<Option<Socket>>,
    pub(crate) power: Power,
    pub(crate) attendance: Arc<Attendance>,
}

impl ServedDisk {
    /// Prepare to serve `disk`, which has the settings `valid`. No front end can connect yet.
    ///
    /// # Errors
    /// [`Error::Store`] if the disk is gone.
    pub(crate) fn new(
        store: &Arc<Store>,
        hub: &Arc<Hub>,
        disk: Disk,
        valid: &ValidDisk,
        age: Age,
    ) -> Result<Self, Error> {
        let disk = disk.into_owner();
        let info = disk.get_info()?;
        debug_assert!(
            age == Age::Old || valid.metadata.settings(&info.spec) == valid.settings,
            "record and metadata together are the requested settings"
        );
        let guests = store.open(&info.key)?;
        let metadata = Arc::new(Mutex::new(valid.metadata.clone()));
        let states = SavedStates::new(store, &info.key, info.id, &metadata, age == Age::New);
        let states = Arc::new(states);
        let device = BlockDevice::new(guests, valid.serial.clone(), valid.queues)
            .with_state(Box::new(Arc::clone(&states)));
        let options = ServerOptions {
            share: match valid.settings.share {
                Share::None => vhost_user::Share::None,
                Share::Ro | Share::Rw => vhost_user::Share::Any,
            },
            in_order: valid.settings.in_order,
        };
        let served = Self {
            id: info.id,
            parent_id: info.parent_id,
            disk,
            server: Server::new(device, &options, hub),
            states,
            metadata,
            snapshots: Mutex::default(),
            health: Mutex::default(),
            uploads: Uploads::default(),
            views: Arc::default(),
            recording: Mutex::default(),
            socket: Mutex::new(None),
            power: Power::default(),
            attendance: Arc::default(),
            name: info.key,
        };
        served.server.set_name(&served.name);
        if age == Age::Old {
            served.attendance.taken_up(valid.metadata.lived.used);
        }
        served.set_faults(valid.rules.clone());
        served.follow_state();
        served.sanitize(valid.settings.sanitize);
        served.set_marks(info.spec.quota_bytes);
        Ok(served)
    }

    /// Begin to end all its sessions and views, without waiting.
    pub(crate) fn hang_up(&self) {
        self.views.close();
        self.server.hang_up();
    }

    /// Whether a front end is connected.
    pub(crate) fn is_attached(&self) -> bool {
        self.server.sessions() > 0
    }

    /// The store's record and the metadata, of the same moment.
    pub(crate) fn look(&self) -> Result<(DiskInfo, Metadata), Problem> {
        let metadata = self.metadata.lock();
        Ok((self.disk.get_info()?, metadata.clone()))
    }

    /// Its settings, from the store's record and the metadata.
    pub(crate) fn settings(&self) -> Result<DiskSettings, Problem> {
        let (info, metadata) = self.look()?;
        Ok(metadata.settings(&info.spec))
    }

    /// Change the metadata, the record by `change`, and the size, all of it at one instant or
    /// nothing. Front ends are not notified.
    pub(crate) fn change(
        &self,
        edit: impl FnOnce(&mut Metadata),
        change: &Change<'_>,
        size: Option<(u64, Shrink)>,
    ) -> Result<Leftover, Problem> {
        self.replace_metadata(edit, |blob| {
            let change = Change {
                settings: Some(blob),
                ..*change
            };
            Ok(self.disk.change(&change, size)?)
        })
    }

    /// Change the metadata. `store` passes the encoded form to the store. If that fails, nothing
    /// changes.
    pub(crate) fn replace_metadata<T>(
        &self,
        edit: impl FnOnce(&mut Metadata),
        store: impl FnOnce(&[u8]) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut metadata = self.metadata.lock();
        let mut new = metadata.clone();
        edit(&mut new);
        new.identity = metadata.identity.changed();
        let blob = new.encode()?;
        let stored = store(&blob)?;
        debug_assert!(
            self.disk.settings().is_ok_and(|kept| kept == blob),
            "the store keeps something else of {:?}",
            self.name
        );
        *metadata = new;
        Ok(stored)
    }

    /// Whether its device does what its settings say: for assertions, while nothing changes them.
    pub(crate) fn is_in_force(&self) -> bool {
        let (metadata, volume) = (self.metadata.lock(), self.server.device().volume());
        volume.limits() == (&metadata.limits).into()
            && volume.sanitize() == metadata.sanitize.into()
            && volume.cache().is_none() == metadata.write_cache.is_stable()
            && volume.group().is_some() == metadata.group.is_some()
            && volume.has_failed() == metadata.failure.is_some()
            && volume.faults().list().len() == metadata.faults.len()
    }

    /// Destroy its saved states, after the disk was destroyed in the store.
    pub(crate) fn forget_states(&self) -> Vec<Leftover> {
        self.states.forget()
    }

    // Limits, memory and health

    /// Set its limits, and those of its group.
    pub(crate) fn limit(&self, limits: &Limits, group: Option<Arc<Limiter>>) {
        let volume = self.server.device().volume();
        volume.set_limits(&limits.into());
        volume.set_group(group);
    }

    /// Set what its sanitizer does.
    pub(crate) fn sanitize(&self, sanitize: Sanitize) {
        let volume = self.server.device().volume();
        volume.set_sanitize(sanitize.into());
    }

    /// What its sanitizer has found.
    pub(crate) fn findings(&self) -> Findings {
        let sanitize = self.metadata.lock().sanitize;
        sanitizer::findings(&self.name, sanitize, self.server.device().volume())
    }

    /// Have these faults, all of which have ids.
    pub(crate) fn set_faults(&self, rules: Vec<Rule>) {
        self.server.device().volume().set_faults(rules);
    }

    /// All that a read sees is stable now: its content or size was changed from outside.
    pub(crate) fn stabilise(&self) {
        self.server.device().volume().stabilise();
    }

    /// The store's key of what is stable, while its write cache is volatile. It has the disk's
    /// content after [`ServedDisk::stabilise`].
    pub(crate) fn stable_key(&self) -> Option<String> {
        self.server.device().volume().stable_key()
    }

    /// Bytes of all mapped sectors; 0 once the disk is gone.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.mapped_bytes)
    }

    /// The counters of its requests.
    pub(crate) fn stats(&self) -> Stats {
        stats::of(&self.name, self.server.device().volume())
    }

    /// Set the charges at which the store raises its pressure signal, by the quota.
    pub(crate) fn set_marks(&self, quota_bytes: Option<u64>) {
        let (above, below) = match quota_bytes {
            Some(quota_bytes) => marks(quota_bytes, self.health.lock().level),
            None => (u64::MAX, 0),
        };
        self.disk.set_marks(above, below);
    }

    /// Why it has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.metadata.lock().failure.clone()
    }

    /// Serve it according to its state: failed, importing, or neither.
    pub(crate) fn follow_state(&self) {
        let has_failed = self.failure().is_some();
        self.server.device().volume().set_failed(has_failed);
        self.health.lock().state = if has_failed {
            DiskState::Failed
        } else if self.is_importing() {
            DiskState::Importing
        } else {
            DiskState::Ok
        };
    }

    /// End its recording, if there is one: its content changes in another way than by requests.
    pub(crate) fn end_recording(&self, reason: &str) {
        let recording = self.recording.lock().clone();
        if let Some(recording) = recording {
            recording.end(reason);
        }
    }

    // Its life

    /// Its next end, if there is one.
    pub(crate) fn ending(&self) -> Option<Ending> {
        let (life, ends_at_ms) = {
            let metadata = self.metadata.lock();
            (metadata.life, metadata.lived.ends_at_ms())
        };
        self.attendance.ending(&life, ends_at_ms)
    }

    /// It stays, though its life is over. Returns whether an event should say so.
    pub(crate) fn spared(&self, ending: &Ending) -> bool {
        match ending.by {
            EndsBy::Ttl => self.attendance.tell(true),
            EndsBy::Detach => {
                self.attendance.spared();
                true
            }
        }
    }

    // Its first content

    /// Whether its first content is incomplete.
    pub(crate) fn is_importing(&self) -> bool {
        self.metadata.lock().origin.is_importing()
    }

    /// Check that its first content is complete, which `what` needs.
    pub(crate) fn check_whole(&self, what: &str) -> Result<(), Problem> {
        let origin = self.metadata.lock().origin.clone();
        if !origin.is_importing() {
            return Ok(());
        }
        let progress = self.uploads.progress(origin.image()).unwrap_or_default();
        Err(origin.incomplete(&self.name, &progress, what))
    }

    /// Check that it was made, or is being made, from `image`.
    pub(crate) fn check_made_from(&self, image: &Image) -> Result<(), Problem> {
        let origin = self.metadata.lock().origin.clone();
        origin.check_made_from(&self.name, image)
    }

    /// Check that its first content is incomplete.
    pub(crate) fn check_importing(&self) -> Result<(), Problem> {
        if self.is_importing() {
            return Ok(());
        }
        Err(conflict(format!(
            "disk {:?} is not importing: its content is complete",
            self.name
        )))
    }

    // Its socket

    /// Serve front ends that connect to `new`.
    pub(crate) fn listen(&self, new: NewSocket) -> Result<(), Error> {
        self.server.listen(new.listener)?;
        *self.socket.lock() = Some(new.socket);
        Ok(())
    }

    /// The path of its socket, if it has one.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        let socket = self.socket.lock();
        socket.as_ref()?.path().map(Path::to_owned)
    }

    /// Why front ends can't connect, if something is wrong with its socket.
    pub(crate) fn unreachable(&self) -> Option<String> {
        self.socket.lock().as_ref().and_then(Socket::trouble)
    }

    /// The same, as of the last look at the socket.
    pub(crate) fn noted_unreachable(&self) -> Option<String> {
        self.socket
            .lock()
            .as_ref()?
            .noted_trouble()
            .map(str::to_owned)
    }

    /// Let these users connect to its socket from now on. Returns who could before, if it has one.
    /// Sessions go on.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(crate) fn give_socket(&self, access: SocketAccess) -> Result<Option<SocketAccess>, Error> {
        let mut socket = self.socket.lock();
        let given = socket.as_mut().map(|socket| socket.give(access));
        Ok(given.transpose()?.flatten())
    }

    /// Why the owner of its socket couldn't get it, if that is so.
    pub(crate) fn socket_not_given(&self) -> Option<String> {
        self.socket.lock().as_ref()?.not_given().map(str::to_owned)
    }

    /// Create its socket again if it was removed. Returns whether it is still missing. Connected
    /// front ends notice nothing.
    pub(crate) fn mend_socket(&self, tell: impl Fn(&Path, SocketChange<'_>)) -> bool {
        let mut socket = self.socket.lock();
        let Some(socket) = socket.as_mut() else {
            return false;
        };
        let listen = |listener| Ok(self.server.listen_instead(listener)?);
        socket.mend(listen, tell)
    }

    /// Remove its socket, so that no front end can connect any more. Sessions go on.
    pub(crate) fn stop_listening(&self) {
        // Held for both steps, so that no thread creates the socket again in between.
        let mut socket = self.socket.lock();
        self.server.stop_listening();
        socket.take();
    }
}

impl Drop for ServedDisk {
    fn drop(&mut self) {
        // Before the server is dropped, which waits for those that write.
        self.views.close();
    }
}
