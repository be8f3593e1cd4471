//! Inherited descriptors: a socket that the parent process passes by number (QEMU's back-end
//! conventions, `--fd`), and the limit on descriptors, for the command.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::daemon::Error;

/// The kind of an inherited socket. The conventions say only "a socket", and programs differ.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// Front ends connect to it.
    Listening(UnixListener),
    /// It is the connection to the one front end.
    Connected(UnixStream),
}

/// Take the socket with number `fd`, as a duplicate. Children inherit neither.
pub(crate) fn take(fd: RawFd) -> Result<Inherited, Error> {
    let refused = |reason: &str| refused(fd, reason);
    let owned = take_any(fd)?;
    let unix = sockopt::socket_domain(&owned).is_ok_and(|domain| domain == AddressFamily::UNIX);
    let stream = sockopt::socket_type(&owned).is_ok_and(|kind| kind == SocketType::STREAM);
    if !unix || !stream {
        return Err(refused(
            "pass a listening or a connected AF_UNIX SOCK_STREAM socket",
        ));
    }
    match sockopt::socket_acceptconn(&owned) {
        Ok(true) => Ok(Inherited::Listening(UnixListener::from(owned))),
        Ok(false) => Ok(Inherited::Connected(UnixStream::from(owned))),
        Err(errno) => Err(refused(&std::io::Error::from(errno).to_string())),
    }
}

/// Keep a descriptor that was inherited from the processes that are started before it is taken.
///
/// # Errors
/// There is none with this number.
pub fn keep_from_children(fd: RawFd) -> Result<(), Error> {
    take_any(fd).map(drop)
}

fn refused(fd: RawFd, reason: &str) -> Error {
    Error::Descriptor {
        fd,
        reason: reason.to_owned(),
    }
}

/// Take the descriptor with number `fd`, of any kind, in the same way.
pub(crate) fn take_any(fd: RawFd) -> Result<OwnedFd, Error> {
    let refused = |reason: &str| refused(fd, reason);
    if fd < 0 {
        return Err(refused("a descriptor is not negative"));
    }
    // SAFETY: the number is only passed to the kernel, in two calls that check it. The descriptor
    // stays open meanwhile, since this process has no other thread yet.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let owned: OwnedFd = rustix::io::fcntl_dupfd_cloexec(borrowed, 3)
        .map_err(|errno| refused(&std::io::Error::from(errno).to_string()))?;
    // The original must not be inherited by the command, which would not serve it.
    let _ = rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC);
    Ok(owned)
}

/// Start `program` with these limits on descriptors, whatever this process has by then.
pub(crate) fn pass_on(program: &mut Command, soft: u64, hard: u64) {
    let set = move || setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(Into::into);
    // SAFETY: between fork and exec the closure makes one system call: it neither allocates nor
    // takes a lock, which another thread might have held.
    unsafe { program.pre_exec(set) };
}
