//! Other processes, as `/proc` shows them: which daemon listens at a socket, which one has locked a
//! file, and the memory files that it has.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of a daemon's process.
const NAME: &str = "ramblk";
/// The flag SO_ACCEPTCON, in the kernel's list of sockets.
const LISTENS: &str = "00010000";
/// The target of a link to the file that the store's memory lies in, if that has no path.
const MEMORY_FILE: &str = "/memfd:ramblk";

/// The daemons that listen at a path.
#[derive(Debug, Default)]
pub(super) struct Daemons {
    /// Their process ids.
    pub(super) pids: Vec<u32>,
    /// Whether there are others that this process may not look into.
    pub(super) hidden: bool,
    /// Whether any process listens there, a daemon or not.
    pub(super) listens: bool,
}

impl Daemons {
    /// Those that listen at `path`, which is absolute. Each is looked at in its own namespace of
    /// networks, which the kernel lists sockets by.
    pub(super) fn at(path: &Path) -> Self {
        let mut found = Self::default();
        let root = Path::new("/");
        let own = listening(Path::new("/proc/net/unix"), path, root);
        found.listens = !own.is_empty();
        for pid in pids().filter(|pid| is_daemon(*pid)) {
            let list = PathBuf::from(format!("/proc/{pid}/net/unix"));
            let mut inodes = listening(&list, path, root);
            found.listens |= !inodes.is_empty();
            inodes.extend(&own);
            match links(pid) {
                Ok(links) => {
                    // One in a deep directory has a relative path, as older versions have.
                    let directory = fs::read_link(format!("/proc/{pid}/cwd"));
                    let directory = directory.iter();
                    inodes.extend(directory.flat_map(|it| listening(&list, path, it)));
                    let is_one = |inode: &u64| links.contains(&format!("socket:[{inode}]"));
                    if inodes.iter().any(is_one) {
                        found.listens = true;
                        found.pids.push(pid);
                    }
                }
                Err(_) => found.hidden = true,
            }
        }
        found
    }
}

/// The paths of the memory files of a process that arenas lie in.
pub(super) fn memory_files(pid: u32) -> Vec<PathBuf> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let target = fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().starts_with(MEMORY_FILE)
    };
    entries.map(|entry| entry.path()).filter(is_one).collect()
}

/// The process that has locked a file, if the kernel tells.
pub(super) fn locker(file: &fs::Metadata) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let device = file.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    locker_in(&locks, (major, minor), file.ino())
}

/// A line: `1: FLOCK  ADVISORY  WRITE 1234 00:1b:77 0 EOF`, with the device in hexadecimal digits.
/// Those with `->` wait.
fn locker_in(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", device.0, device.1);
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, pid, at, ..] if at == place => pid.parse().ok(),
            _ => None,
        }
    })
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_daemon(pid: u32) -> bool {
    pid != std::process::id()
        && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == NAME)
}

/// The targets of a process's descriptors.
fn links(pid: u32) -> std::io::Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    if let Err(error) = &entries
        && error.kind() == ErrorKind::NotFound
    {
        // It has ended.
        return Ok(Vec::new());
    }
    let links = entries?.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(target.to_string_lossy().into_owned())
    });
    Ok(links.collect())
}

/// The inodes of the sockets that listen at `path`, by the kernel's list:
/// `Num RefCount Protocol Flags Type St Inode Path`. Relative paths are taken as from `directory`.
fn listening(list: &Path, path: &Path, directory: &Path) -> Vec<u64> {
    // Names of abstract sockets are any bytes, and any user's.
    let list = fs::read(list).unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    let inodes = list.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let flags = words.nth(3)?;
        let inode = words.nth(2)?.parse().ok()?;
        let is_it = flags == LISTENS && is_same(&directory.join(words.next()?), path);
        is_it.then_some(inode)
    });
    inodes.collect()
}

/// Whether both are the same file, which a link or `..` gives more than one path.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    one == other
        || (one.file_name() == other.file_name()
            && place(one).is_some_and(|it| Some(it) == place(other)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_device_and_inode_and_waiters_are_not() {
        let locks = "1: POSIX  ADVISORY  WRITE 5 00:1b:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 6 00:1b:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 7 00:1b:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 8 fd:01:77 0 EOF\n";
        assert_eq!(locker_in(locks, (0, 0x1b), 77), Some(7));
        assert_eq!(locker_in(locks, (0xfd, 1), 77), Some(8));
        assert_eq!(locker_in(locks, (0, 0x1b), 78), None);
    }

    #[test]
    fn the_locker_of_a_real_file_is_this_process() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(locker(&file.metadata().unwrap()), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let found = locker(&file.metadata().unwrap());
        // Some sandboxes show no locks at all.
        assert!(found.is_none_or(|pid| pid == std::process::id()));
    }

    #[test]
    fn a_listening_socket_is_found_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let list = Path::new("/proc/net/unix");
        let inodes = listening(list, &path, Path::new("/"));
        assert_eq!(inodes.len(), 1);
        let links = links(std::process::id()).unwrap();
        assert!(links.contains(&format!("socket:[{}]", inodes[0])));
        drop(listener);
        assert!(listening(list, &path, Path::new("/")).is_empty());
        // Any user may give a socket a name that is no text.
        let odd = folder.path().join("list");
        let mut lines = b"0: 2 0 00010000 0001 01 7 @\xff\n".to_vec();
        lines.extend(format!("0: 2 0 00010000 0001 01 8 {}\n", path.display()).bytes());
        fs::write(&odd, lines).unwrap();
        assert_eq!(listening(&odd, &path, Path::new("/")), [8]);
    }
}
