//! Where disks are kept across restarts: in a file in a directory on a tmpfs, in a memory file that
//! the service manager keeps, or nowhere.
//!
//! Never on a storage device: every write of a guest would become a write to it, and if it is full
//! the process is killed by SIGBUS instead of getting an error. And never in `/dev/shm` by default,
//! since a user's login manager empties that.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::StatVfs;
use sd_notify::NotifyState;

use super::{inherit, paths};
use crate::daemon::Error;
use crate::store::{self, Bytes, Store, StoreOptions};

/// The file in the directory.
pub(crate) const ARENA: &str = "arena";
/// The name under which the service manager keeps the memory file.
const STORED_NAME: &str = "ramblk-arena";
/// File systems in memory, by the number that statfs returns.
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
/// A default state directory must have room for this many bytes, or it is skipped.
const LEAST_ROOM_BYTES: u64 = 64 << 20;

/// What to do instead of keeping disks on a real one.
const OR_NONE: &str = "; give a directory on a tmpfs (findmnt -t tmpfs lists them), or --state-dir \
                       none";

/// How long a starting daemon waits for its predecessor. A killed process keeps its file until its
/// memory is unmapped, which takes a tenth of a second for a few GiB.
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where to keep disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateOption {
    /// In the best place that is available.
    #[default]
    Default,
    /// In this directory.
    Directory(PathBuf),
    /// With the service manager (systemd's file descriptor store).
    Manager,
    /// Only in the process.
    None,
}

impl StateOption {
    /// Parse the value of `--state-dir`: a path, `systemd`, or `none`.
    pub fn parse(text: &str) -> Self {
        match text {
            "none" => Self::None,
            "systemd" => Self::Manager,
            path => Self::Directory(path.into()),
        }
    }
}

/// Where disks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Directory(PathBuf),
    Manager,
    /// Only in the process, for this reason.
    Process(String),
}

/// What the default depends on.
#[derive(Clone, Debug, Default)]
struct Surroundings {
    /// Whether the service manager says that it keeps descriptors.
    keeps_descriptors: bool,
    /// Directories that are ours by convention, in order of preference.
    conventional: Vec<PathBuf>,
}

impl Surroundings {
    fn look(run_dir: &Path) -> Self {
        let number = std::env::var("FDSTORE").unwrap_or_default();
        Self {
            keeps_descriptors: number.parse::<u32>().is_ok_and(|number| number > 0),
            conventional: vec![run_dir.to_owned()],
        }
    }
}

/// Choose where to keep disks. This creates the directory.
pub(crate) fn choose(option: &StateOption, run_dir: Option<&Path>) -> Result<Location, Error> {
    choose_in(option, &surroundings(run_dir), &|path| {
        paths::make_directory(path)?;
        check(path)
    })
}

/// What [`choose`] would choose, with nothing created.
pub(crate) fn foresee(option: &StateOption, run_dir: Option<&Path>) -> Result<Location, Error> {
    choose_in(option, &surroundings(run_dir), &|path| {
        check(&paths::nearest(path))
    })
}

fn surroundings(run_dir: Option<&Path>) -> Surroundings {
    let conventional = paths::default_run_dir();
    match (run_dir, &conventional) {
        // If the user chose a directory for sockets, disks go there too if possible.
        (Some(run_dir), _) => Surroundings::look(run_dir),
        (None, Ok(run_dir)) => Surroundings::look(run_dir),
        (None, Err(_)) => Surroundings::default(),
    }
}

/// `ready` makes a directory ready, and returns its free bytes.
fn choose_in(
    option: &StateOption,
    around: &Surroundings,
    ready: &dyn Fn(&Path) -> Result<u64, Error>,
) -> Result<Location, Error> {
    match option {
        StateOption::None => Ok(Location::Process("--state-dir none was given".into())),
        StateOption::Manager => Ok(Location::Manager),
        StateOption::Directory(path) => {
            ready(path)?;
            Ok(Location::Directory(path.clone()))
        }
        StateOption::Default if around.keeps_descriptors => Ok(Location::Manager),
        StateOption::Default => {
            let mut reason = "there is no runtime directory".to_owned();
            for path in &around.conventional {
                match ready(path) {
                    // A directory that has disks is used, however full it is.
                    Ok(room) if room >= LEAST_ROOM_BYTES || path.join(ARENA).exists() => {
                        return Ok(Location::Directory(path.clone()));
                    }
                    Ok(room) => reason = format!("{path:?} has room for {} only", Bytes(room)),
                    // No option names that place, and the caller says what to do.
                    Err(error) => reason = error.to_string().replace(OR_NONE, ""),
                }
            }
            Ok(Location::Process(reason))
        }
    }
}

/// Check that disks can be kept in a directory. Returns its free bytes.
fn check(path: &Path) -> Result<u64, Error> {
    let refused = |errno: rustix::io::Errno| Error::StateDirectory {
        path: path.to_owned(),
        reason: format!("can't be used: {}", std::io::Error::from(errno)),
    };
    let kind = rustix::fs::statfs(path).map_err(refused)?.f_type;
    if kind != TMPFS && kind != RAMFS {
        let kind = kind_name(kind);
        return Err(Error::StateDirectory {
            path: path.to_owned(),
            reason: format!(
                "is on a file system of type {kind}, on which every write of a guest would go to a \
                 real disk{OR_NONE}"
            ),
        });
    }
    if kind == RAMFS {
        // It has no bound, and reports 0.
        return Ok(u64::MAX);
    }
    Ok(room(&rustix::fs::statvfs(path).map_err(refused)?))
}

/// How people call a type of file systems, or else its number (`statfs(2)`).
fn kind_name(kind: i64) -> String {
    let name = match kind {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x6969 => "nfs",
        _ => return format!("{kind:#x}"),
    };
    name.to_owned()
}

fn room(about: &StatVfs) -> u64 {
    // A tmpfs without a bound has no blocks at all.
    match about.f_blocks {
        0 => u64::MAX,
        _ => about.f_bavail.saturating_mul(about.f_frsize),
    }
}

impl Location {
    /// Bytes that disks may take there, including those that they already take.
    pub(crate) fn room_bytes(&self) -> Result<u64, Error> {
        match self {
            Self::Directory(path) => {
                let had = fs::metadata(path.join(ARENA));
                let had = had.map_or(0, |had| std::os::unix::fs::MetadataExt::blocks(&had) * 512);
                Ok(check(&paths::nearest(path))?.saturating_add(had))
            }
            Self::Manager | Self::Process(_) => Ok(u64::MAX),
        }
    }

    /// Open the store there, or create one. Returns whether it existed.
    pub(crate) fn open(
        &self,
        options: &StoreOptions,
        stored: Option<OwnedFd>,
    ) -> Result<(Store, bool), Error> {
        match self {
            Self::Directory(path) => open_at(path, options),
            Self::Manager => {
                if let Some(stored) = stored {
                    return Ok((Store::open_in(File::from(stored), options)?, true));
                }
                let file = store::memory_file().map_err(Error::system("make a memory file"))?;
                let kept = file
                    .try_clone()
                    .map_err(Error::system("keep a memory file"))?;
                let store = Store::create_in(file, options)?;
                // Pass it on only when it is complete.
                let states = [NotifyState::FdStore, NotifyState::FdName(STORED_NAME)];
                sd_notify::notify_with_fds(&states, &[kept.as_fd()])
                    .map_err(Error::system("pass the disks to the service manager"))?;
                Ok((store, false))
            }
            Self::Process(_) => Ok((Store::with_options(options)?, false)),
        }
    }
}

fn open_at(directory: &Path, options: &StoreOptions) -> Result<(Store, bool), Error> {
    let path = directory.join(ARENA);
    let named = |source: store::Error| match source {
        store::Error::Damaged { .. } => Error::StateDamaged {
            path: path.clone(),
            directory: directory.to_owned(),
            source,
        },
        source => Error::State {
            path: path.clone(),
            source,
        },
    };
    if path.exists() {
        let deadline = Instant::now() + PREDECESSOR_ENDS_WITHIN;
        loop {
            match Store::open_at(&path, options) {
                Err(store::Error::Busy) if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
                opened => return Ok((opened.map_err(named)?, true)),
            }
        }
    }
    Ok((Store::create_at(&path, options).map_err(named)?, false))
}

/// The memory file that the service manager has kept, if it has one.
pub(crate) fn stored(listed: &[(i32, String)]) -> Result<Option<OwnedFd>, Error> {
    let found = listed.iter().find(|(_, name)| name == STORED_NAME);
    found.map(|(fd, _)| inherit::take_any(*fd)).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_apart() {
        assert_eq!(StateOption::parse("none"), StateOption::None);
        assert_eq!(StateOption::parse("systemd"), StateOption::Manager);
        assert_eq!(
            StateOption::parse("./none"),
            StateOption::Directory("./none".into())
        );
    }

    #[test]
    fn a_manager_that_keeps_descriptors_comes_before_directories() {
        let around = Surroundings {
            keeps_descriptors: true,
            conventional: vec!["/nowhere/at/all".into()],
        };
        assert_eq!(
            choose_in(&StateOption::Default, &around, &check).unwrap(),
            Location::Manager
        );
    }

    #[test]
    fn a_real_file_system_is_refused_where_it_was_chosen_and_passed_over_where_not() {
        // The build directory is on one, wherever this is built; and if not, there is one less.
        let real = Path::new(env!("CARGO_MANIFEST_DIR"));
        if check(real).is_ok() {
            return;
        }
        let chosen = StateOption::Directory(real.to_owned());
        let error = choose_in(&chosen, &Surroundings::default(), &check).unwrap_err();
        assert!(error.to_string().contains("tmpfs"), "{error}");
        let around = Surroundings {
            keeps_descriptors: false,
            conventional: vec![real.to_owned()],
        };
        let place = choose_in(&StateOption::Default, &around, &check).unwrap();
        assert!(matches!(place, Location::Process(reason) if reason.ends_with("a real disk")));
    }
}
