//! Which kinds of descriptors a front end may pass, so that it can't make a thread wait that serves
//! other front ends.
//!
//! | message | kinds | because |
//! |---|---|---|
//! | SET_VRING_KICK, _CALL, _ERR | an eventfd or a pipe | workers wait for it and write to it |
//! | SET_MEM_TABLE, ADD_MEM_REG, SET_INFLIGHT_FD | no file of [`FILE_SYSTEMS`] | workers touch it |
//! | SET_BACKEND_REQ_FD | a Unix stream socket | the thread that resizes the disk writes to it |
//! | SET_DEVICE_STATE_FD | anything but such a file | only the session's thread uses it |
//! | any other | – | it is closed without being used |
//!
//! Even closing a file or asking for its type may take as long as the server of its file system
//! likes. The session's own thread does that, so no other front end waits.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

/// File systems that are served by another process or machine, which may never deliver a page.
/// Numbers are those of `statfs(2)`.
const FILE_SYSTEMS: [(u64, &str); 14] = [
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x786f_4256, "vboxsf"),
];
/// `ANON_INODE_FS_MAGIC`: the file system of eventfds and the like.
const ANONYMOUS: u64 = 0x0904_1934;

/// Why a descriptor is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescriptorError {
    #[error("its {purpose} descriptor is {kind}, in which a thread might hang: pass an eventfd")]
    Signal { purpose: &'static str, kind: String },
    #[error("the back-end channel is {kind}: pass a connected Unix stream socket")]
    Channel { kind: String },
    #[error(
        "the file is on {file_system}, where the wait for a page may never end: have the front end \
         take memory from a memfd, a tmpfs (as /dev/shm is) or hugetlbfs"
    )]
    FileSystem { file_system: &'static str },
    #[error("can't tell what file system the file is on: {0}")]
    System(#[from] std::io::Error),
}

/// Check that `file` is an eventfd or a pipe, so that workers can wait for it and write to it.
/// `purpose` is for the message.
pub(crate) fn check_signal(file: &File, purpose: &'static str) -> Result<(), DescriptorError> {
    let link = link(file);
    let is_eventfd = match link.as_deref() {
        // A file with a path begins with a slash. A front end can't choose a name without one.
        Some(link) => link == "anon_inode:[eventfd]",
        None => is_eventfd(file),
    };
    if is_eventfd || file_type(file) == FileType::Fifo {
        return Ok(());
    }
    let kind = kind(file, link);
    Err(DescriptorError::Signal { purpose, kind })
}

/// Check that `file` may be mapped into memory that workers touch.
pub(crate) fn check_mapping(file: &File) -> Result<(), DescriptorError> {
    let number = rustix::fs::fstatfs(file).map_err(std::io::Error::from)?;
    // The number has 32 bits, and is signed on some systems.
    let number = u64::try_from(number.f_type & 0xffff_ffff).unwrap_or(0);
    let found = FILE_SYSTEMS.iter().find(|(known, _)| *known == number);
    found.map_or(Ok(()), |&(_, file_system)| {
        Err(DescriptorError::FileSystem { file_system })
    })
}

/// Check that `socket` is a Unix stream socket, as the back-end request channel must be. Sending to
/// another kind of socket may block, whatever its flags are.
pub(crate) fn check_channel(socket: impl AsFd) -> Result<(), DescriptorError> {
    let is_unix = sockopt::socket_domain(&socket).is_ok_and(|it| it == AddressFamily::UNIX);
    let is_stream = sockopt::socket_type(&socket).is_ok_and(|it| it == SocketType::STREAM);
    if is_unix && is_stream {
        return Ok(());
    }
    let link = link(&socket);
    let kind = kind(&socket, link);
    Err(DescriptorError::Channel { kind })
}

/// The kernel's name for the file, if there is a `/proc`. This doesn't ask the file system.
fn link(file: impl AsFd) -> Option<String> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let link = std::fs::read_link(path).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The file's type, if the kernel knows it without asking the server of the file system.
fn file_type(file: impl AsFd) -> FileType {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let about = rustix::fs::statx(file, c"", flags, StatxFlags::TYPE);
    about.map_or(FileType::Unknown, |about| {
        FileType::from_raw_mode(about.stx_mode.into())
    })
}

/// Whether it is an eventfd, without `/proc`: an anonymous file that accepts the number 0. Writing
/// it changes nothing and never blocks, and every other kind of anonymous file refuses it.
fn is_eventfd(file: &File) -> bool {
    let is_anonymous = || {
        let about = rustix::fs::fstatfs(file);
        about.is_ok_and(|about| u64::try_from(about.f_type).is_ok_and(|it| it == ANONYMOUS))
    };
    // Every file of a file system has a type.
    file_type(file) == FileType::Unknown
        && is_anonymous()
        && rustix::io::write(file, &0u64.to_ne_bytes()) == Ok(8)
        && rustix::io::write(file, &[0; 4]) == Err(Errno::INVAL)
}

/// The file's kind, for a message.
fn kind(file: impl AsFd, link: Option<String>) -> String {
    let kind = match file_type(file) {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a pipe",
        _ => "something else",
    };
    match link {
        Some(link) => format!("{kind} ({link:?})"),
        None => kind.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fs::{MemfdFlags, inotify, memfd_create};
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

    use super::*;

    #[test]
    fn an_eventfd_is_told_from_its_like_without_proc() {
        let event = File::from(eventfd(0, EventfdFlags::empty()).unwrap());
        assert!(is_eventfd(&event));
        let full = File::from(eventfd(0, EventfdFlags::SEMAPHORE).unwrap());
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert!(is_eventfd(&full), "and a full one is not waited for");
        let clock = TimerfdClockId::Monotonic;
        for other in [
            epoll::create(epoll::CreateFlags::empty()).unwrap(),
            inotify::init(inotify::CreateFlags::empty()).unwrap(),
            timerfd_create(clock, TimerfdFlags::empty()).unwrap(),
            memfd_create("memory", MemfdFlags::empty()).unwrap(),
            std::io::pipe().unwrap().1.into(),
        ] {
            let other = File::from(other);
            assert!(!is_eventfd(&other), "{:?}", link(&other));
        }
    }

    #[test]
    fn a_file_that_is_called_as_an_eventfd_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("anon_inode:[eventfd]")).unwrap();
        let error = check_signal(&file, "kick").unwrap_err().to_string();
        assert!(
            error.contains("kick descriptor is a regular file"),
            "{error}"
        );
        check_mapping(&file).unwrap();
    }
}
