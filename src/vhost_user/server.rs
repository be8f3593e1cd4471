//! A device offered on a socket: the sessions it has, and which of them may use the disk.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags};
use vhost::vhost_user::message::FrontendReq;
use vhost::vhost_user::{BackendReqHandler, Error as WireError};

use super::channel::Channel;
use super::hush::Hush;
use super::session::Session;
use super::transfer::wait;
use super::workers::{WorkerOptions, Workers};
use super::{Error, PATIENCE, peek};
use crate::device::BlockDevice;

/// How long a front end waits for another one to let go of the disk.
const HAND_OVER_WITHIN: Duration = PATIENCE;
/// How long a front end may take to make room for a reply.
const REPLY_WITHIN: Duration = PATIENCE;
/// Connections at a time; more are closed as they come.
const MOST_SESSIONS: usize = 1024;
/// How long a server that ends waits for its sessions.
const END_WITHIN: Duration = Duration::from_millis(500);

/// How many front ends may use a disk at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One. Another may connect, and takes over when the first has stopped.
    None,
    /// Any number. For a device that is read-only, or guests that coordinate their writes.
    Any,
}

/// How a device is to be served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How many front ends may use the disk at the same time.
    pub share: Share,
    /// The threads that serve queues.
    pub workers: WorkerOptions,
    /// Whether IN_ORDER is offered (virtio 1.3 §2.7.9).
    pub in_order: bool,
}

/// What the sessions of a server have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) device: Arc<BlockDevice>,
    pub(super) workers: Workers,
    options: ServerOptions,
    hush: Hush,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<u64, Peer>,
    /// Started so far: the number of the next one.
    started: u64,
    /// Claims on the disk that sessions hold.
    claims: usize,
    ending: bool,
}

/// Another end of a session's strings.
#[derive(Debug)]
struct Peer {
    stream: Arc<UnixStream>,
    channel: Arc<Channel>,
}

/// The right to use the disk; dropped to give it back.
#[derive(Debug)]
pub(super) struct Claim {
    server: Arc<Shared>,
}

/// Why the disk can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("another front end uses this disk; stop it first, or share the disk read-only")]
    Taken,
    #[error("the back end is shutting down")]
    Ending,
}

impl Shared {
    /// Whether IN_ORDER is offered.
    pub(super) fn in_order(&self) -> bool {
        self.options.in_order
    }

    /// Whether a line about a front end may be logged now, and how many were withheld.
    pub(super) fn may_say(&self) -> Option<u64> {
        self.hush.may_say()
    }

    /// Whether another front end uses a disk that only one may use; `own` says whether the one who
    /// asks has the right to.
    pub(super) fn is_anothers(&self, own: bool) -> bool {
        self.options.share == Share::None && self.state.lock().claims > usize::from(own)
    }

    /// Whether any number of front ends may use the disk.
    pub(super) fn is_shared(&self) -> bool {
        self.options.share == Share::Any
    }

    /// Get the right to use the disk, waiting a little for another front end that is on its way
    /// out: a restarted one is often faster than the end of its predecessor.
    pub(super) fn claim(self: &Arc<Self>) -> Result<Claim, ClaimError> {
        let deadline = Instant::now() + HAND_OVER_WITHIN;
        let mut state = self.state.lock();
        while self.options.share == Share::None && state.claims > 0 {
            if state.ending {
                return Err(ClaimError::Ending);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(ClaimError::Taken);
            }
        }
        state.claims += 1;
        Ok(Claim {
            server: Arc::clone(self),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.server.state.lock().claims -= 1;
        self.server.changed.notify_all();
    }
}

/// A device that is being served. Dropping it ends all sessions.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// Closing this end tells the acceptors to stop.
    stop: UnixStream,
    stopped: UnixStream,
    acceptors: Vec<JoinHandle<()>>,
}

impl Server {
    /// Get ready to serve `device`.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn new(device: BlockDevice, options: &ServerOptions) -> Result<Self, Error> {
        let shared = Shared {
            device: Arc::new(device),
            workers: Workers::start(&options.workers).map_err(Error::Thread)?,
            options: options.clone(),
            hush: Hush::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let (stop, stopped) = UnixStream::pair().map_err(Error::Thread)?;
        Ok(Self {
            shared: Arc::new(shared),
            stop,
            stopped,
            acceptors: Vec::new(),
        })
    }

    /// The device that is served.
    pub fn device(&self) -> &BlockDevice {
        &self.shared.device
    }

    /// Serve everybody who connects to `listener`.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::Socket`].
    pub fn listen(&mut self, listener: UnixListener) -> Result<(), Error> {
        listener.set_nonblocking(true).map_err(Error::Socket)?;
        let shared = Arc::clone(&self.shared);
        let stopped = self.stopped.try_clone().map_err(Error::Thread)?;
        let acceptor = std::thread::Builder::new()
            .name("ramblk-accept".into())
            .spawn(move || accept_all(&shared, &listener, &stopped))
            .map_err(Error::Thread)?;
        self.acceptors.push(acceptor);
        Ok(())
    }

    /// Serve one connection that exists already.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::Socket`].
    pub fn connect(&self, stream: UnixStream) -> Result<(), Error> {
        stream.set_nonblocking(false).map_err(Error::Socket)?;
        start_session(&self.shared, stream)
    }

    /// Wait until no session is left.
    pub fn wait_until_idle(&self) {
        let mut state = self.shared.state.lock();
        while !state.sessions.is_empty() {
            self.shared.changed.wait(&mut state);
        }
    }

    /// How many front ends are connected.
    pub fn sessions(&self) -> usize {
        self.shared.state.lock().sessions.len()
    }

    /// Tell every front end that has a channel for it that the configuration space changed. Gives
    /// how many were told.
    pub fn config_changed(&self) -> usize {
        let state = self.shared.state.lock();
        let channels: Vec<_> = state
            .sessions
            .values()
            .map(|peer| Arc::clone(&peer.channel))
            .collect();
        drop(state);
        channels
            .iter()
            .filter(|channel| channel.config_changed())
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        let deadline = Instant::now() + END_WITHIN;
        let mut state = self.shared.state.lock();
        state.ending = true;
        for peer in state.sessions.values() {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
        while !state.sessions.is_empty() {
            if self
                .shared
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                tracing::warn!(
                    sessions = state.sessions.len(),
                    "sessions did not end in time"
                );
                break;
            }
        }
        drop(state);
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &UnixListener, stopped: &UnixStream) {
    loop {
        let mut poll = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        let _ = rustix::event::poll(&mut poll, None);
        if !poll[1].revents().is_empty() {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = stream
                    .set_nonblocking(false)
                    .map_err(Error::Socket)
                    .and_then(|()| start_session(shared, stream))
                    && let Some(withheld) = shared.hush.may_say()
                {
                    tracing::warn!(%error, withheld, "connection refused");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Most likely no descriptor is left; the connection stays in the queue meanwhile.
                if let Some(withheld) = shared.hush.may_say() {
                    tracing::warn!(%error, withheld, "can't accept a connection; trying again");
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn start_session(shared: &Arc<Shared>, stream: UnixStream) -> Result<(), Error> {
    peek::prepare(&stream).map_err(Error::Socket)?;
    let channel = Arc::new(Channel::default());
    let hangup = Arc::new(stream.try_clone().map_err(Error::Socket)?);
    let peer = Peer {
        stream: Arc::clone(&hangup),
        channel: Arc::clone(&channel),
    };
    let number = {
        let mut state = shared.state.lock();
        if state.ending || state.sessions.len() >= MOST_SESSIONS {
            return Err(Error::TooManySessions {
                limit: MOST_SESSIONS,
            });
        }
        let number = state.started;
        state.started += 1;
        state.sessions.insert(number, peer);
        number
    };
    let server = Arc::clone(shared);
    let thread = std::thread::Builder::new()
        .name(format!("ramblk-sess-{number}"))
        .spawn(move || {
            if let Some(withheld) = server.hush.may_say() {
                tracing::info!(session = number, withheld, "front end connected");
            }
            let session = Session::new(Arc::clone(&server), channel, hangup);
            // A panic is a bug of ours; it must cost this front end its connection and no other.
            match catch_unwind(AssertUnwindSafe(|| run_session(stream, session))) {
                Ok(result) => log_end(&server.hush, number, result),
                Err(_) => tracing::error!(session = number, "bug: handling a message panicked"),
            }
            forget_session(&server, number);
        });
    if let Err(error) = thread {
        forget_session(shared, number);
        return Err(Error::Thread(error));
    }
    Ok(())
}

fn log_end(hush: &Hush, number: u64, result: Result<(), Error>) {
    let Some(withheld) = hush.may_say() else {
        return;
    };
    match result {
        Ok(()) => tracing::info!(session = number, withheld, "front end disconnected"),
        Err(error) => tracing::warn!(session = number, withheld, %error, "session ended"),
    }
}

fn forget_session(shared: &Shared, number: u64) {
    let peer = shared.state.lock().sessions.remove(&number);
    drop(peer);
    shared.changed.notify_all();
}

/// Handle messages until the connection ends. When this returns, no ring of the session is served.
fn run_session(stream: UnixStream, session: Session) -> Result<(), Error> {
    let mut conversation = Conversation::new(stream, session)?;
    while conversation.step()? {}
    Ok(())
}

/// A connection, message by message. When it is dropped, no ring of its session is served.
pub(super) struct Conversation {
    peeker: UnixStream,
    /// The crate wants its handler behind a lock; nobody else ever takes it.
    session: Arc<std::sync::Mutex<Session>>,
    handler: BackendReqHandler<std::sync::Mutex<Session>>,
}

impl Conversation {
    pub(super) fn new(stream: UnixStream, session: Session) -> Result<Self, Error> {
        let peeker = stream.try_clone().map_err(Error::Socket)?;
        let session = Arc::new(std::sync::Mutex::new(session));
        let handler = BackendReqHandler::from_stream(stream, Arc::clone(&session));
        Ok(Self {
            peeker,
            session,
            handler,
        })
    }

    /// Wait for the next message and handle it. `false`: the other side has closed the connection.
    pub(super) fn step(&mut self) -> Result<bool, Error> {
        let Some(message) = peek::next(&self.peeker)? else {
            self.look_for_losses()?;
            return Ok(false);
        };
        self.await_room()?;
        let request = message.request;
        if request == FrontendReq::SET_BACKEND_REQ_FD as u32
            && let Ok([socket]) = <[OwnedFd; 1]>::try_from(message.fds)
            && let Ok(mut session) = self.session.lock()
        {
            session.channel_arrives(socket);
        }
        let handled = self.handler.handle_request();
        self.look_for_losses()?;
        match handled {
            Ok(()) => Ok(true),
            Err(WireError::Disconnected) => Ok(false),
            Err(WireError::ReqHandlerError(error))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                tracing::debug!(request, %error, "message refused");
                Ok(true)
            }
            Err(error) => Err(Error::Protocol {
                request,
                reason: error.to_string(),
            }),
        }
    }

    /// Wait until a reply can be sent: the crate would try for ever. A socket that can be written
    /// to has room for more than the longest one.
    fn await_room(&self) -> Result<(), Error> {
        let deadline = Instant::now() + REPLY_WITHIN;
        wait(&self.peeker, PollFlags::OUT, deadline).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Error::Deaf,
            _ => Error::Socket(error),
        })
    }

    fn look_for_losses(&self) -> Result<(), Error> {
        if self.session.lock().is_ok_and(|session| session.is_lost()) {
            return Err(Error::MemoryLost);
        }
        Ok(())
    }
}

#[cfg(feature = "test-fuzz")]
impl Server {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[cfg(feature = "test-fuzz")]
impl Shared {
    /// How many sessions use the disk.
    pub(super) fn claims(&self) -> usize {
        self.state.lock().claims
    }
}

#[cfg(feature = "test-fuzz")]
impl Conversation {
    /// Look at the session between two messages.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Session) -> T) -> Option<T> {
        self.session.lock().ok().map(|session| look(&session))
    }
}
