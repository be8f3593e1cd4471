//! Making and removing sockets and directories, in whichever process does it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Which users may connect to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Permission bits.
    pub(crate) mode: u32,
    /// The group that owns it; by default the process's.
    pub(crate) group: Option<u32>,
    /// The user who owns it; by default the process's.
    pub(crate) user: Option<u32>,
}

pub(super) fn make_directories(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

pub(super) fn remove_socket(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)
}

/// Create a socket at a path that doesn't exist, and listen.
pub(super) fn listen(path: &Path, access: Access) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    let listen = || {
        // A socket accepts no connection before it listens, so the mode applies to all of them.
        let opened = Opened::at(path)?;
        opened.set_mode(path, access.mode)?;
        if access.group.is_some() || access.user.is_some() {
            opened.chown(access.user, access.group)?;
        }
        Ok(rustix::net::listen(&socket, BACKLOG)?)
    };
    if let Err(error) = listen() {
        // This process has only just created it.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(socket))
}

/// A socket's file, whatever its path leads to later.
pub(crate) struct Opened(File);

impl Opened {
    /// Open what is at `path`, without using it.
    ///
    /// # Errors
    /// The system's, or it is no socket.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        match opened.metadata()?.file_type().is_socket() {
            true => Ok(Self(opened)),
            false => Err(io::Error::other("another file has taken its place")),
        }
    }

    /// What the system knows of it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn about(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = fs::Permissions::from_mode(mode);
        let number = self.0.as_raw_fd();
        match fs::set_permissions(format!("/proc/self/fd/{number}"), mode.clone()) {
            // There may be no /proc.
            Err(error) if error.kind() == ErrorKind::NotFound => fs::set_permissions(path, mode),
            set => set,
        }
    }

    /// Change its user and group, as far as there are any.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn chown(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(rustix::fs::chownat(
            &self.0,
            "",
            user,
            group,
            AtFlags::EMPTY_PATH,
        )?)
    }
}
