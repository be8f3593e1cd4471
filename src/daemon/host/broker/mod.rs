//! What a process that has confined itself can't do by itself, and may: the *broker* does it, a
//! process of its own, which was started before and serves no other one.
//!
//! A rule for files goes with a directory, not with its name. So a confined process can't make its
//! directory of sockets again once it was removed, nor use a new one. And it can't see
//! which memory of a VMM is private. The broker can, and does these few things and no others, in
//! the directories that it was told of before the process confined itself.
//!
//! It is also the first to confine itself. Where that ends a process, as under a service manager's
//! filter without these calls, it ends the broker and not the process that serves.
//!
//! Each function here first tries for itself, and asks the broker only if that is not permitted.
//!
//! | file | what it holds |
//! |---|---|
//! | `message` | what the process asks, and what the broker answers, as bytes |
//! | `acts` | making and removing sockets and directories |
//! | `process` | the broker |
//! | `mod` | doing it, or asking the broker |

mod acts;
mod message;
pub(crate) mod process;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};

pub(crate) use acts::{Access, Opened};
use message::{REPLY_BYTES, Request};

/// Longer than anything that it does takes. A broker that is stopped must not stop the process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The words that start a broker, the program first.
static WORDS: OnceLock<&'static [&'static str]> = OnceLock::new();
/// The broker, if one was started.
static BROKER: Mutex<Option<Broker>> = Mutex::new(None);

/// The broker, as the process knows it.
#[derive(Debug)]
struct Broker {
    /// The connection; `None` since it didn't answer.
    socket: Option<OwnedFd>,
    process: Child,
}

/// Start brokers by these words, the program first. Without, a confined process does without one.
pub fn broker_is(words: &'static [&'static str]) {
    let _ = WORDS.set(words);
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBroker {
    /// It was ended because it confined itself, as this process would be.
    #[error(
        "a filter of the service manager or the container ends processes that confine themselves: \
         let it allow seccomp, landlock_create_ruleset, landlock_add_rule and \
         landlock_restrict_self (systemd: SystemCallFilter=)"
    )]
    Forbidden,
    /// The system lacks processes or descriptors, or doesn't let this program run itself.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The signal that ends a process which makes a call that a filter refuses.
const SIGSYS: i32 = rustix::process::Signal::SYS.as_raw();

/// Start the broker, for things in these directories, and wait until it has confined itself.
///
/// # Errors
/// There is none then.
pub(crate) fn start(directories: &[PathBuf]) -> Result<(), NoBroker> {
    let Some((program, words)) = WORDS.get().and_then(|words| words.split_first()) else {
        return Ok(());
    };
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(io::Error::from)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        sockopt::set_socket_timeout(&ours, direction, Some(PATIENCE)).map_err(io::Error::from)?;
    }
    // It outlives this process by a moment, and must not keep the other ends of its pipes open; nor
    // does a terminal's signal to all that run there concern it.
    let mut process = Command::new(program)
        .arg0("ramblk")
        .args(words)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Err(error) = exchange(&ours, &Request::Ready.to_bytes()) {
        let _ = process.kill();
        return Err(match process.wait()?.signal() {
            Some(SIGSYS) => NoBroker::Forbidden,
            _ => error.into(),
        });
    }
    *BROKER.lock() = Some(Broker {
        socket: Some(ours),
        process,
    });
    directories.iter().for_each(|directory| allow(directory));
    Ok(())
}

/// The longest time that the end of the broker may hold up the end of the process.
const FAREWELL: Duration = Duration::from_millis(200);

/// End the broker, and wait until it is gone: where the first process of a container reaps no
/// others, it would stay in the list of processes.
pub(crate) fn stop() {
    let Some(mut broker) = BROKER.lock().take() else {
        return;
    };
    drop(broker.socket.take());
    let deadline = Instant::now() + FAREWELL;
    while matches!(broker.process.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Let the broker make and remove things in one more directory.
pub(crate) fn allow(directory: &Path) {
    tell(&Request::Allow(directory.into()));
}

/// From now on the broker takes no more directories.
pub(crate) fn seal() {
    tell(&Request::Seal);
}

/// Tell the broker what it answers nothing to, so that no thread waits for it.
fn tell(request: &Request) {
    if let Some(socket) = BROKER.lock().as_ref().and_then(|it| it.socket.as_ref()) {
        let bytes = request.to_bytes();
        let _ = retry_on_intr(|| rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL));
    }
}

/// Create a directory, and those above it.
///
/// # Errors
/// The system's.
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    or_ask(acts::make_directories, Request::MakeDirectories, path)
}

/// Create a directory.
///
/// # Errors
/// The system's, also if it is there already.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    or_ask(acts::make_directory, Request::MakeDirectory, path)
}

/// Create a socket for these users, and listen.
///
/// # Errors
/// The system's. Then there is no socket.
pub(crate) fn listen(path: &Path, access: Access) -> io::Result<UnixListener> {
    let here = acts::listen(path, access);
    if !is_refused(&here) {
        return here;
    }
    let path = path.into();
    let Some(asked) = ask(&Request::Listen { access, path }) else {
        return here;
    };
    let listener = asked?.1.ok_or(io::ErrorKind::PermissionDenied)?;
    Ok(UnixListener::from(listener))
}

/// Remove a socket.
///
/// # Errors
/// The system's.
pub(crate) fn remove_socket(path: &Path) -> io::Result<()> {
    or_ask(acts::remove_socket, Request::RemoveSocket, path)
}

/// Remove an empty directory.
///
/// # Errors
/// The system's.
pub(crate) fn remove_directory(path: &Path) -> io::Result<()> {
    or_ask(acts::remove_directory, Request::RemoveDirectory, path)
}

/// Whether process `pid` has mapped the file `inode` privately at its address `user`. `None` if
/// there is no broker to look.
pub(crate) fn maps_privately(pid: u32, user: u64, inode: u64) -> Option<bool> {
    let asked = ask(&Request::MapsPrivately { pid, user, inode })?;
    asked.ok().map(|(found, _)| found != 0)
}

fn is_refused<T>(done: &io::Result<T>) -> bool {
    let error = done.as_ref().err().map(io::Error::kind);
    error == Some(io::ErrorKind::PermissionDenied)
}

/// Do it to this path, or have the broker do it.
fn or_ask(
    act: fn(&Path) -> io::Result<()>,
    request: fn(PathBuf) -> Request,
    path: &Path,
) -> io::Result<()> {
    let done = act(path);
    if is_refused(&done)
        && let Some(asked) = ask(&request(path.into()))
    {
        return asked.map(|_| ());
    }
    done
}

/// A number that is not negative, and perhaps a descriptor.
type Answer = io::Result<(i32, Option<OwnedFd>)>;

/// Ask the broker, if one was started. One that doesn't answer isn't asked again.
fn ask(request: &Request) -> Option<Answer> {
    let mut broker = BROKER.lock();
    let broker = broker.as_mut()?;
    let gone = || {
        let why = "the sandbox permits it to the broker only, which is gone: restart this process";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    };
    let Some(socket) = &broker.socket else {
        return Some(gone());
    };
    Some(match exchange(socket, &request.to_bytes()) {
        Ok((answer, _)) if answer < 0 => Err(io::Error::from_raw_os_error(-answer)),
        Ok(found) => Ok(found),
        Err(error) => {
            tracing::warn!(
                %error,
                "the broker of the sandbox is gone: a directory of sockets that is removed can't \
                 be made again until this process was restarted"
            );
            broker.socket = None;
            gone()
        }
    })
}

fn exchange(socket: &OwnedFd, request: &[u8]) -> Answer {
    retry_on_intr(|| rustix::net::send(socket, request, SendFlags::NOSIGNAL))?;
    let mut reply = [0; REPLY_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [io::IoSliceMut::new(&mut reply)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes != REPLY_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok((i32::from_ne_bytes(reply), descriptors.flatten().next()))
}
