//! Giving a disk another name, or a snapshot of it.
//!
//! The store renames the disk, its snapshots and the points of its history at one instant. What
//! else it has there is kept by its number, and so is what was forked from what. This process then
//! serves it as if the daemon had been started again; only what is volatile stays as it is.

use std::sync::Arc;

use super::branch::snapshots::{self, check_exists};
use super::change::check_tag;
use super::describe::describe;
use super::{groups, history};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::recording::{BASE, Recording, log_key};
use crate::daemon::disks::served::socket::NewSocket;
use crate::daemon::disks::settings::names::{IMPORT_PREFIX, check_name, snapshot_key};
use crate::daemon::disks::settings::problems::{conflict, internal};
use crate::daemon::disks::settings::valid::{ValidDisk, check_history};
use crate::device::Serial;
use crate::device::history::Point;
use crate::model::{Disk, EventKind, Problem, ProblemKind, RENAMED_FROM, RenameRequest, Snapshot};
use crate::store::{Step, Store, points};

/// A key of the store, and the one that it becomes.
type Keys = (String, String);

/// Give a disk another name. It keeps its id, its content, its settings and its serial; its socket
/// moves. Front ends, NBD clients and what changes its content have to be gone before.
///
/// # Errors
/// `not-found`; `invalid`; `attached`; `conflict` if there is a disk of that name, or something
/// needs the old one.
pub fn rename(disks: &Disks, name: &str, request: &RenameRequest) -> Result<Disk, Problem> {
    rename_if(disks, name, request, None)
}

/// The same as [`rename`], if the disk has one of the entity tags `any_of`.
///
/// # Errors
/// As [`rename`]; `changed` if it has another tag.
pub fn rename_if(
    disks: &Disks,
    name: &str,
    request: &RenameRequest,
    any_of: Option<&[String]>,
) -> Result<Disk, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    if let Some(any_of) = any_of {
        check_tag(disks, &served, any_of)?;
    }
    let new = request.name.as_str();
    check_name(new)?;
    if new == name {
        return describe(disks, &served);
    }
    check_unused(disks, &served)?;
    check_free(disks, new)?;
    if disks.is_declared(name) && !request.force {
        return Err(conflict(format!(
            "disk {name:?} is declared in the daemon's configuration file, so the next start would \
             create an empty disk of that name: call it {new:?} there first, and then rename it \
             with force"
        )));
    }
    let renaming = Renaming::new(disks, &served, new)?;
    let renamed = renaming.carry_out()?;
    let events = disks.events();
    events.tell_with(EventKind::Renamed, new, RENAMED_FROM, name);
    describe(disks, &renamed)
}

/// Give a snapshot another name. Its content, and what was forked from it, stay.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if the disk has a snapshot of that name, or its recording
/// begins with this one.
pub fn rename_snapshot(
    disks: &Disks,
    name: &str,
    snapshot: &str,
    new: &str,
) -> Result<Snapshot, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    check_name(snapshot)?;
    check_name(new)?;
    check_exists(&served, snapshot)?;
    if new == snapshot {
        return snapshots::get(disks, name, new);
    }
    let (key, new_key) = (snapshot_key(name, snapshot)?, snapshot_key(name, new)?);
    if served.snapshots.lock().contains(new) {
        return Err(conflict(format!(
            "snapshot {new_key:?} exists already; choose another name or destroy it first"
        )));
    }
    if snapshot == BASE && served.recording.lock().is_some() {
        return Err(conflict(format!(
            "the recording of disk {name:?} begins with {key:?}: export and remove the recording \
             first, or fork the snapshot"
        )));
    }
    let id = disks.store().open(&key)?.get_info()?.id;
    disks.store().rename(&key, &new_key)?;
    disks.rename_snapshot(&served, (snapshot, new), &new_key, id);
    let details = [("snapshot", new.to_owned()), (RENAMED_FROM, key)];
    let details = details.map(|(key, value)| (key.to_owned(), value.into()));
    let events = disks.events();
    events.tell(EventKind::Renamed, Some(name), details.into());
    snapshots::get(disks, name, new)
}

fn check_free(disks: &Disks, new: &str) -> Result<(), Problem> {
    if disks.find(new).is_ok() {
        return Err(conflict(format!(
            "disk {new:?} exists already; choose another name or destroy it first"
        )));
    }
    disks.factory.check(new)
}

/// Check that nothing uses a disk that would have to follow it.
fn check_unused(disks: &Disks, served: &ServedDisk) -> Result<(), Problem> {
    let name = &served.name;
    served.check_whole("rename it")?;
    if served.is_attached() {
        return Err(in_use(name));
    }
    if served.views.are_used() {
        return Err(conflict(format!(
            "an NBD client reads disk {name:?}: end it first ('ramblk nbd' or 'ramblk mount')"
        )));
    }
    if served
        .recording
        .lock()
        .as_ref()
        .is_some_and(|it| it.is_on())
    {
        return Err(conflict(format!(
            "disk {name:?} is being recorded: stop its recording first, which keeps what it has"
        )));
    }
    if served.metadata.lock().held {
        return Err(conflict(format!(
            "disk {name:?} is a crash state that a client holds: fork it instead"
        )));
    }
    if is_written(disks.store(), served.id) {
        return Err(conflict(format!(
            "content is being written to disk {name:?}: rename it when that has ended"
        )));
    }
    Ok(())
}

fn in_use(name: &str) -> Problem {
    let detail = format!(
        "a front end is connected to disk {name:?}: detach it first, since the disk's socket moves"
    );
    Problem::new(ProblemKind::Attached, detail)
}

/// Whether content for a disk is under way, which will become the disk's.
fn is_written(store: &Store, id: u64) -> bool {
    let prefix = format!("{IMPORT_PREFIX}{id}.");
    let keys = store.keys();
    // The volatile write cache has these two for as long as it exists.
    let mut others = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
    others.any(|rest| !matches!(rest, "base" | "log"))
}

/// A rename that was checked.
struct Renaming<'d> {
    disks: &'d Disks,
    old: &'d Arc<ServedDisk>,
    new: &'d str,
    valid: ValidDisk,
    snapshots: Vec<Keys>,
    /// The number of each snapshot, and its new key.
    ids: Vec<(u64, String)>,
    /// The new socket, unless the power is off.
    socket: Option<NewSocket>,
}

impl<'d> Renaming<'d> {
    fn new(disks: &'d Disks, old: &'d Arc<ServedDisk>, new: &'d str) -> Result<Self, Problem> {
        let (info, mut metadata) = old.look()?;
        if let Some(history) = &metadata.history {
            check_history(new, history)?;
        }
        // A guest may know the disk by its serial.
        let serial = old.server.device().volume().serial().text().to_owned();
        let usual = Serial::for_name(new).map(|it| it.text().to_owned());
        metadata.serial = Some(serial).filter(|serial| usual.as_ref().ok() != Some(serial));
        metadata.lived.used |= old.attendance.is_used();
        metadata.identity = metadata.identity.changed();
        let owner = metadata.socket_owner.clone();
        let snapshots = old.snapshots.lock().clone();
        let keys = snapshots.iter().map(|snapshot| {
            Ok((
                snapshot_key(&old.name, snapshot)?,
                snapshot_key(new, snapshot)?,
            ))
        });
        let snapshots = keys.collect::<Result<Vec<Keys>, Problem>>()?;
        // A snapshot keeps its number. Later, an error could only be passed over.
        let ids = snapshots.iter().map(|(key, new)| {
            let id = disks.store().open(key)?.get_info()?.id;
            Ok((id, new.clone()))
        });
        Ok(Self {
            disks,
            old,
            new,
            ids: ids.collect::<Result<_, Problem>>()?,
            valid: ValidDisk::found(new, &metadata, &info.spec)?,
            snapshots,
            socket: match old.power.is_off() {
                true => None,
                false => Some(disks.factory.make_socket(new, owner.as_deref())?),
            },
        })
    }

    /// Carry it out: all of it, or nothing.
    fn carry_out(mut self) -> Result<Arc<ServedDisk>, Problem> {
        let (disks, old) = (self.disks, self.old);
        old.stop_listening();
        let Some(pause) = old.server.pause(false) else {
            self.listen_again();
            return Err(in_use(&old.name));
        };
        let past = old.server.device().volume().history();
        let points = past.map(|history| history.leave()).unwrap_or_default();
        let done = self.in_store(&points, true).and_then(|()| {
            self.serve(&points).inspect_err(|problem| {
                tracing::error!(disk = old.name, %problem, "a renamed disk can't be served");
                if let Err(problem) = self.in_store(&points, false) {
                    tracing::error!(disk = old.name, %problem, "it keeps its new name");
                }
            })
        });
        let new = match done {
            Ok(new) => new,
            Err(problem) => {
                drop(pause);
                self.stay(points);
                return Err(problem);
            }
        };
        new.snapshots.lock().clone_from(&old.snapshots.lock());
        let new = disks.replace(old, new, self.ids);
        drop(pause);
        old.hang_up();
        Ok(new)
    }

    /// Let the store have the new names, or the old ones again.
    fn in_store(&self, points: &[Point], forth: bool) -> Result<(), Problem> {
        let points = points.iter().map(|point| {
            let point = point.name.to_string();
            Ok((
                snapshot_key(&self.old.name, &point)?,
                snapshot_key(self.new, &point)?,
            ))
        });
        let mut keys: Vec<Keys> = points.collect::<Result<_, Problem>>()?;
        keys.extend(self.snapshots.iter().cloned());
        let before = self.old.metadata.lock().encode()?;
        let disk = (self.old.name.clone(), self.new.to_owned());
        let blob = if forth { &self.valid.blob } else { &before };
        let settings = [Some(blob.as_slice())].into_iter();
        let settings = settings.chain(std::iter::repeat(None));
        let steps = std::iter::once(&disk).chain(&keys).zip(settings);
        let steps: Vec<Step<'_>> = steps
            .map(|((old, new), settings)| {
                let (key, new) = if forth { (old, new) } else { (new, old) };
                Step::Rename { key, new, settings }
            })
            .collect();
        self.disks.store().transact(&steps)?;
        Ok(())
    }

    /// Serve the disk under its new name, which the store has.
    fn serve(&mut self, points: &[Point]) -> Result<ServedDisk, Problem> {
        let (disks, old) = (self.disks, self.old);
        let disk = disks.store().open(self.new)?;
        let served = disks.factory.prepare_renamed(disk, &self.valid, old)?;
        let settings = &self.valid.settings;
        let limiter = groups::limiter(disks, settings.group.as_deref())?;
        served.limit(&settings.limits, limiter);
        if let Some(wanted) = &settings.history {
            history::start(disks, &served, wanted, points.to_vec())?;
        }
        if old.recording.lock().is_some() {
            let log = disks.store().open(&log_key(old.id))?;
            let recording = Recording::found(self.new, disks.events(), log)?;
            *served.recording.lock() = Some(Arc::new(recording));
        }
        if let Some(socket) = self.socket.take() {
            disks.factory.serve_at(&served, socket)?;
        }
        points::may_fail("rename-served").map_err(internal)?;
        Ok(served)
    }

    /// The disk keeps its old name, and is served as before.
    fn stay(&self, points: Vec<Point>) {
        let (disks, old) = (self.disks, self.old);
        if let Some(cache) = old.server.device().volume().cache() {
            cache.renamed(&old.name);
        }
        let wanted = old.metadata.lock().history;
        let again = wanted.map_or(Ok(()), |wanted| history::start(disks, old, &wanted, points));
        if let Err(problem) = again {
            tracing::error!(disk = old.name, %problem, "its history ends");
        }
        self.listen_again();
    }

    fn listen_again(&self) {
        if self.old.power.is_off() {
            return;
        }
        if let Err(error) = self.disks.factory.listen(self.old) {
            tracing::error!(disk = self.old.name, %error, "front ends can't connect");
        }
    }
}
