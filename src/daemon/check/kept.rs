//! The disks that an earlier daemon has left, or that one has now: whether this version can take
//! them up.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, FlockOperation};

use super::diagnosis::Diagnosis;
use super::places::{Places, may};
use super::process;
use crate::daemon::disks::settings::golden::GoldenRecord;
use crate::daemon::disks::settings::metadata::Decoded;
use crate::daemon::disks::settings::names::{GROUP_PREFIX, IMAGE_PREFIX, Target};
use crate::daemon::host::state_dir::{self, Location, StateOption};
use crate::daemon::salvage::fault_of;
use crate::model::DiskSettings;
use crate::store::{self, Bytes, FoundDisk, Inventory};

const STATE: &str = "state";

/// How often to read records that a daemon may be replacing, and the pause before the next time.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The most findings of one kind that are told.
const MOST_TOLD: usize = 100;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The disks whose settings can be read.
    pub(super) disks: BTreeMap<String, DiskSettings>,
    /// Groups.
    pub(super) groups: BTreeSet<String>,
    /// Bytes of the host's memory.
    pub(super) memory_bytes: u64,
    /// The length of the file that they lie in.
    pub(super) size_bytes: u64,
}

impl Kept {
    /// Look at what is kept in these places, and say what was found.
    pub(super) fn look(option: &StateOption, places: &Places, told: &mut Vec<Diagnosis>) -> Self {
        let mut found = Self::default();
        for (path, has_daemon) in files(option, places, told) {
            found.add(&path, has_daemon, told);
        }
        found
    }

    /// Add the disks of one arena.
    fn add(&mut self, path: &Path, has_daemon: bool, told: &mut Vec<Diagnosis>) {
        let inventory = match read(path, has_daemon) {
            Ok(inventory) => inventory,
            Err(error @ store::Error::OtherLayout { .. }) => {
                let what = format!("{path:?}: {error}");
                let remedy = "install a version that reads it, and leave the daemon that has it \
                              running until then";
                told.push(Diagnosis::problem(STATE, what, remedy));
                return;
            }
            Err(error) => {
                told.push(Diagnosis::refused(STATE, &format!("{path:?}: {error}")));
                return;
            }
        };
        let before = told.len();
        for fault in inventory.faults.iter().take(MOST_TOLD) {
            let what = format!("{path:?} is damaged: {fault}");
            let remedy = "'ramblk fsck' shows what can be saved, once no daemon uses it";
            told.push(Diagnosis::problem(STATE, what, remedy));
        }
        self.add_disks(&inventory.disks, told);
        self.memory_bytes += inventory.memory_bytes;
        self.size_bytes = self.size_bytes.max(inventory.size_bytes);
        if told.len() == before {
            let (disks, layout) = (self.disks.len(), inventory.layout);
            let memory = Bytes(inventory.memory_bytes);
            let what =
                format!("{path:?} has layout {layout}; disks: {disks}, with {memory} of memory");
            told.push(Diagnosis::ok(STATE, what));
        }
    }

    fn add_disks(&mut self, disks: &[FoundDisk], told: &mut Vec<Diagnosis>) {
        let keys: HashSet<&str> = disks.iter().map(|disk| disk.key.as_str()).collect();
        let mut faults = 0;
        for disk in disks {
            if let Some(name) = disk.key.strip_prefix(GROUP_PREFIX) {
                self.groups.insert(name.to_owned());
            }
            if let Some(why) = fault_of(disk, |key| keys.contains(key)) {
                faults += 1;
                if faults <= MOST_TOLD {
                    let what = format!("the settings of {:?} can't be read: {why}", disk.key);
                    let remedy = "use the version that wrote them, or a newer one";
                    told.push(Diagnosis::problem(STATE, what, remedy));
                }
                continue;
            }
            let is_disk = Target::parse(&disk.key).is_ok_and(|it| it.snapshot.is_none());
            if let Ok(decoded) = Decoded::new(&disk.settings)
                && is_disk
            {
                let spec = decoded
                    .moved
                    .map_or(disk.spec, |moved| moved.spec(disk.spec));
                let settings = decoded.metadata.settings(&spec);
                self.disks.insert(disk.key.clone(), settings);
            }
            if disk.key.starts_with(IMAGE_PREFIX)
                && let Err(error) = GoldenRecord::decode(&disk.settings)
            {
                let what = format!("the settings of an image can't be read: {error}");
                let remedy = "its forks work; use the version that wrote it to get it back";
                told.push(Diagnosis::warning(STATE, what, remedy));
            }
        }
        if faults > MOST_TOLD {
            let what = format!("{} more disks are like these", faults - MOST_TOLD);
            told.push(Diagnosis::problem(STATE, what, ""));
        }
    }
}

/// The files that disks lie in, and whether a daemon has each now.
fn files(option: &StateOption, places: &Places, told: &mut Vec<Diagnosis>) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    if let Some(Location::Directory(folder)) = &places.location {
        let path = folder.join(state_dir::ARENA);
        if path.exists() {
            let (has_daemon, holder) = holder(&path, places);
            told.extend(holder);
            files.push((path, has_daemon));
        }
    }
    // With the service manager there is no file but the daemon's own. This process isn't started by
    // the manager, so it can't know that one offers this.
    let by_manager = matches!(option, StateOption::Default | StateOption::Manager);
    if files.is_empty() && by_manager {
        let pids = places.daemons.pids.iter();
        let memory = pids.flat_map(|pid| process::memory_files(*pid));
        files.extend(memory.map(|path| (path, true)));
        if files.is_empty() && places.daemons.hidden && places.is_served {
            let what = "this user can't look at the disks of the daemon that runs";
            told.push(Diagnosis::note(
                STATE,
                what,
                "run the check as root or as its user",
            ));
        }
    }
    files
}

/// Whether a process has the arena, and what is wrong with that.
fn holder(path: &Path, places: &Places) -> (bool, Option<Diagnosis>) {
    if !may(path, Access::READ_OK | Access::WRITE_OK) {
        let user = rustix::process::geteuid().as_raw();
        let what = format!("user {user} can't read and write {path:?}");
        let remedy = "run as the user that it belongs to, or choose another --state-dir";
        return (false, Some(Diagnosis::problem(STATE, what, remedy)));
    }
    let (Ok(file), Ok(about)) = (File::open(path), fs::metadata(path)) else {
        return (false, None);
    };
    let pid = process::locker(&about);
    // Whether it is locked at all: the kernel hides processes of other containers. This lock ends
    // with the call, and a daemon that starts meanwhile tries again.
    let is_free = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
    if pid.is_none() && is_free() {
        return (false, None);
    }
    let is_ours = match pid {
        Some(pid) if !places.daemons.hidden => places.daemons.pids.contains(&pid),
        _ => places.is_served,
    };
    if is_ours {
        return (true, None);
    }
    let who = pid.map_or("a process".to_owned(), |pid| format!("process {pid}"));
    let what = format!("{who} uses {path:?}, and does not serve at this API's socket");
    let remedy = "stop it, or choose another --state-dir";
    (true, Some(Diagnosis::problem(STATE, what, remedy)))
}

/// Read an arena. Of one that a daemon has, only those faults count that are found every time.
fn read(path: &Path, has_daemon: bool) -> Result<Inventory, store::Error> {
    let look = || {
        let file = File::open(path).map_err(|source| store::Error::Arena {
            doing: "open",
            source,
        });
        Inventory::read(file?)
    };
    let mut found = look()?;
    for _ in 1..LOOKS {
        if found.faults.is_empty() || !has_daemon {
            break;
        }
        thread::sleep(PAUSE);
        let again = look()?;
        let faults = found.faults;
        found = again;
        found.faults.retain(|fault| faults.contains(fault));
    }
    Ok(found)
}
