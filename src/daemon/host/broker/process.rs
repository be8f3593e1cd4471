//! The broker: it answers one process until that is gone.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::acts;
use super::message::{MOST_BYTES, Request};
use crate::vhost_user::maps_privately;

/// Answer the process at the other end of stdin, until it is gone.
///
/// # Errors
/// Stdin is no such connection.
pub fn serve_as_broker() -> io::Result<()> {
    // A service manager's signal to all processes of a service: the one that is served may need
    // this one until it has ended.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let _ = rustix::thread::set_name(c"ramblk-broker");
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let mut broker = Broker::default();
    let mut bytes = [0; MOST_BYTES];
    loop {
        let (_, count) = retry_on_intr(|| recv(socket, &mut bytes[..], RecvFlags::empty()))?;
        if count == 0 {
            return Ok(());
        }
        let done = match bytes.get(..count).and_then(Request::from_bytes) {
            Some(Request::Allow(directory)) => {
                broker.allow(directory);
                continue;
            }
            Some(Request::Seal) => {
                broker.is_sealed = true;
                continue;
            }
            Some(request) => broker.act(request),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        match done {
            Ok((number, descriptor)) => answer(socket, number, descriptor)?,
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EINVAL);
                answer(socket, -number, None)?;
            }
        }
    }
}

fn answer(socket: BorrowedFd<'_>, number: i32, descriptor: Option<OwnedFd>) -> io::Result<()> {
    let bytes = number.to_ne_bytes();
    let Some(descriptor) = descriptor else {
        retry_on_intr(|| send(socket, &bytes, SendFlags::NOSIGNAL))?;
        return Ok(());
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let parts = [io::IoSlice::new(&bytes)];
    retry_on_intr(|| sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// What it may touch.
#[derive(Debug, Default)]
struct Broker {
    directories: Vec<PathBuf>,
    is_sealed: bool,
}

impl Broker {
    fn allow(&mut self, directory: PathBuf) {
        if !self.is_sealed {
            self.directories.push(directory);
        }
    }

    fn act(&self, request: Request) -> io::Result<(i32, Option<OwnedFd>)> {
        match request {
            Request::Allow(_) | Request::Seal | Request::Ready => {}
            Request::MakeDirectories(path) => acts::make_directories(self.inside(&path)?)?,
            Request::MakeDirectory(path) => acts::make_directory(self.inside(&path)?)?,
            Request::Listen { access, path } => {
                let listener = acts::listen(self.inside(&path)?, access)?;
                return Ok((0, Some(listener.into())));
            }
            Request::RemoveSocket(path) => {
                let path = self.inside(&path)?;
                if !fs::symlink_metadata(path)?.file_type().is_socket() {
                    return Err(rustix::io::Errno::PERM.into());
                }
                acts::remove_socket(path)?;
            }
            Request::RemoveDirectory(path) => acts::remove_directory(self.inside(&path)?)?,
            Request::MapsPrivately { pid, user, inode } => {
                return Ok((maps_privately(pid, user, inode).into(), None));
            }
        }
        Ok((0, None))
    }

    /// The path, if it is one of the directories or below one.
    fn inside<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        let is_below = |directory: &PathBuf| {
            let below = path.strip_prefix(directory);
            below.is_ok_and(|rest| {
                let mut parts = rest.components();
                parts.all(|part| matches!(part, Component::Normal(_)))
            })
        };
        match self.directories.iter().any(is_below) {
            true => Ok(path),
            false => Err(rustix::io::Errno::PERM.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_broker_touches_nothing_but_sockets_and_directories_of_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("run");
        let mut broker = Broker::default();
        let access = acts::Access {
            mode: 0o600,
            group: None,
            user: None,
        };
        let make = |path: &Path| Request::MakeDirectories(path.into());
        assert!(broker.act(make(&own)).is_err());
        broker.allow(own.clone());
        broker.is_sealed = true;
        broker.allow(folder.path().into());
        for path in [
            folder.path().to_owned(),
            folder.path().join("runs"),
            own.join("../other"),
            own.join("vm/../../other"),
        ] {
            assert!(broker.act(make(&path)).is_err(), "{path:?}");
            let listen = Request::Listen { access, path };
            assert!(broker.act(listen).is_err());
        }
        assert!(!folder.path().join("other").exists());
        broker.act(make(&own)).unwrap();
        broker.act(Request::MakeDirectory(own.join("vm"))).unwrap();
        let path = own.join("vm/s");
        let (_, listener) = broker
            .act(Request::Listen {
                access,
                path: path.clone(),
            })
            .unwrap();
        let listener = UnixListener::from(listener.unwrap());
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        let file = own.join("vm/file");
        fs::write(&file, b"x").unwrap();
        assert!(broker.act(Request::RemoveSocket(file.clone())).is_err());
        fs::remove_file(file).unwrap();
        broker.act(Request::RemoveSocket(path)).unwrap();
        for path in [own.join("vm"), own.clone()] {
            broker.act(Request::RemoveDirectory(path)).unwrap();
        }
        assert!(!own.exists());
    }
}
