//! Disks with the content that a crash may have left of a recorded disk.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::branch::snapshots::check_exists;
use super::content::Reader;
use super::describe::describe;
use super::destroy::{self, DestroyOptions};
use super::{create, groups, record};
use crate::crash::Contents;
use crate::crash::explore::{StateName, Walk};
use crate::crash::log::{Log, OWN_SECTOR_BYTES, ReadAt};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::recording::BASE;
use crate::daemon::disks::settings::names::{IMPORT_PREFIX, check_name, snapshot_key};
use crate::daemon::disks::settings::problems::{conflict, internal, invalid, not_found};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::model::{Disk as Described, EventKind, Life, Missing, Problem, StateRequest};
use crate::store::Error;

/// The log of a recording.
struct Recorded {
    reader: Reader,
    length_bytes: u64,
    log: Log,
}

impl ReadAt for Recorded {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut whole = vec![0; into.len().next_multiple_of(512)];
        let read = self.reader.read_bytes(at, &mut whole);
        read.map_err(io::Error::other)?;
        into.copy_from_slice(&whole[..into.len()]);
        Ok(())
    }
}

impl Contents<Error> for Recorded {
    fn bytes(&self, number: u64, part: Range<u64>) -> Result<Cow<'_, [u8]>, Error> {
        let request = usize::try_from(number).ok();
        let request = request.and_then(|number| self.log.requests.get(number));
        let data_at = request.map_or(OWN_SECTOR_BYTES, |request| request.data_at);
        let mut bytes = vec![0; usize::try_from(part.end - part.start).unwrap_or(0)];
        self.reader.read_bytes(data_at + part.start, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }
}

/// Create a disk with a state that a crash may have left. It appears as a whole.
///
/// # Errors
/// `not-found` if the disk has no recording; `invalid` if its log has no such state; `conflict` if
/// the new name is taken; `over-budget`.
pub fn make(disks: &Disks, name: &str, request: &StateRequest) -> Result<Described, Problem> {
    let new = create(disks, name, request, false)?;
    describe(disks, &new)
}

/// The same as [`make`], of a disk that is destroyed when the result is dropped, or by the next
/// daemon if this one is killed before.
///
/// # Errors
/// The same as [`make`].
pub fn hold(disks: &Arc<Disks>, name: &str, request: &StateRequest) -> Result<Held, Problem> {
    let new = create(disks, name, request, true)?;
    Ok(Held {
        disks: Arc::clone(disks),
        name: new.name.clone(),
        id: new.id,
    })
}

/// A disk that lives as long as this.
#[derive(Debug)]
pub struct Held {
    disks: Arc<Disks>,
    name: String,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let control = self.disks.control();
        let served = self.disks.find(&self.name);
        // Its name may be another disk's by now.
        let Ok(served) = served.and_then(|served| match served.id == self.id {
            true => Ok(served),
            false => Err(not_found(Missing::Disk, &self.name)),
        }) else {
            return;
        };
        let ended = destroy::end_locked(&self.disks, &served, DestroyOptions::of_held());
        drop(control);
        if let Err(problem) = ended {
            tracing::warn!(disk = self.name, %problem, "a crash state stays as a disk");
        }
    }
}

fn create(
    disks: &Disks,
    name: &str,
    request: &StateRequest,
    is_held: bool,
) -> Result<Arc<ServedDisk>, Problem> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    check_name(&request.name)?;
    let state: Result<StateName, _> = request.state.parse();
    let state = state.map_err(|error| invalid("state", error.to_string()))?;
    let served = disks.find(name)?;
    check_exists(&served, BASE)?;
    let base_key = snapshot_key(name, BASE)?;
    let base = disks.store().open(&base_key)?;
    let recorded = recorded(disks, name, base.capacity().bytes())?;
    let mut walk = Walk::new(&recorded.log)?;
    let (settled, window) = walk.go_to(state.moment)?;
    let choice = state.choice(&window);
    let choice = choice.map_err(|error| invalid("state", error.to_string()))?;

    let mut settings = served.settings()?;
    settings.size_bytes = base.capacity().bytes();
    settings.life = Life::default();
    settings.protected = false;
    settings.serial = None;
    settings.read_only = false;
    settings.faults = Vec::new();
    settings.labels.clone_from(&request.labels);
    let valid = ValidDisk::new(&request.name, settings, disks.store().limit_bytes())?;
    let valid = if is_held { valid.held()? } else { valid };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let key = format!("{IMPORT_PREFIX}{}.s{number}", served.id);
    let store = disks.store();
    let disk = store.fork_as(&base_key, &key, &valid.spec, &valid.blob)?;
    let made = || {
        let disk = disk.into_owner().into_never_waiting();
        for write in &settled {
            write.apply(write.range, &recorded, &mut &disk)?;
        }
        choice.apply(&window, &recorded, &mut &disk)?;
        let _control = disks.control();
        if disks.find(&request.name).is_ok() {
            return Err(conflict(format!(
                "disk {:?} exists already; choose another name or destroy it first",
                request.name
            )));
        }
        let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
        create::check_room(disks)?;
        disks.factory.check(&request.name)?;
        store.rename(&key, &request.name)?;
        let disk = store.open(&request.name)?;
        create::serve_new(disks, &request.name, disk, &valid, limiter)
    };
    let made = made();
    if made.is_err() {
        // It has another name already if it was nearly there, and was destroyed with that.
        drop(store.destroy(&key));
    }
    let made = made?;
    disks
        .events()
        .tell_with(EventKind::Forked, &request.name, "from", base_key);
    Ok(made)
}

fn recorded(disks: &Disks, name: &str, disk_bytes: u64) -> Result<Recorded, Problem> {
    let (reader, length_bytes) = record::log(disks, name)?;
    let mut recorded = Recorded {
        reader,
        length_bytes,
        log: Log::default(),
    };
    recorded.log = Log::read(&recorded, disk_bytes).map_err(internal)?;
    Ok(recorded)
}
