//! A device offered on a socket: the sessions it has, and which of them may use the disk.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::conversation::converse;
use super::events::{Departure, Hook, ServerEvent};
use super::hub::{Hub, Listening};
use super::manner::Manner;
use super::session::Session;
use crate::device::BlockDevice;
use crate::threads::{self, Role};
use crate::vhost_user::hush::Hush;
use crate::vhost_user::wire::channel::Channel;
use crate::vhost_user::wire::peek::{self, Peer};
use crate::vhost_user::workers::pool::Workers;
use crate::vhost_user::{Error, patience};

/// Connections at a time; more are closed as they come.
const MOST_SESSIONS: usize = 1024;
/// How long a server that ends waits for its sessions.
const END_WITHIN: Duration = Duration::from_millis(500);
/// How long the same failure of another session is not said again.
const SAID_FOR: Duration = Duration::from_secs(60);

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
    /// Whether IN_ORDER is offered (virtio 1.3 §2.7.9).
    pub in_order: bool,
}

/// What the sessions of a server have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) device: Arc<BlockDevice>,
    hub: Arc<Hub>,
    options: ServerOptions,
    hush: Hush,
    hook: Hook,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<u64, Connection>,
    listening: Vec<Listening>,
    /// Started so far: the number of the next one.
    started: u64,
    /// Claims on the disk that sessions hold.
    claims: usize,
    /// By when its sessions are to have ended, once they are to.
    ends_by: Option<Instant>,
    /// What the last session failed of that was said, and when.
    said: Option<(String, Instant)>,
}

/// Another end of a session's strings.
#[derive(Debug)]
struct Connection {
    stream: Arc<UnixStream>,
    channel: Arc<Channel>,
    manner: Arc<Manner>,
    peer: Option<Peer>,
}

/// A front end that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontEnd {
    /// The number of its session, which no other one of the same server has.
    pub session: u64,
    /// Whether a ring of it is served.
    pub live: bool,
    /// Whether it gave us a channel to tell it on that the configuration changed.
    pub notifiable: bool,
    /// Rings that are polled, since it gave no descriptor for their kicks.
    pub polled_queues: u16,
    /// Rings that its in-flight region has no room for.
    pub untracked_queues: u16,
    /// The process that connected, if the system tells.
    pub peer: Option<Peer>,
}

/// What is asked of a session without the lock on all of them.
type Look = (u64, Arc<Channel>, Arc<Manner>, Option<Peer>);

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
    /// The threads that serve rings.
    pub(super) fn workers(&self) -> &Workers {
        self.hub.workers()
    }

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
        let deadline = Instant::now() + patience();
        let mut state = self.state.lock();
        while self.options.share == Share::None && state.claims > 0 {
            if state.ends_by.is_some() {
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

/// A device that is being served. Dropping it is [closing](Server::close) it. It has no thread of
/// its own, but one for each front end that is connected.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Get ready to serve `device` with the threads of `hub`.
    pub fn new(device: BlockDevice, options: &ServerOptions, hub: &Arc<Hub>) -> Self {
        Self {
            shared: Arc::new(Shared {
                device: Arc::new(device),
                hub: Arc::clone(hub),
                options: options.clone(),
                hush: Hush::default(),
                hook: Hook::default(),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Have `tell` hear of every front end that comes and goes. It is called by threads that serve
    /// no requests, one event of a session after the other, and must not wait for this server to
    /// do something. Only the first one that is given is used; `false` for any other.
    pub fn on_event(&self, tell: Box<dyn Fn(ServerEvent) + Send + Sync>) -> bool {
        self.shared.hook.set(tell)
    }

    /// Serve everybody who connects to `listener`.
    ///
    /// # Errors
    /// [`Error::Socket`]; [`Error::Closed`].
    pub fn listen(&self, listener: UnixListener) -> Result<(), Error> {
        let listening = self.shared.hub.listen(listener, &self.shared);
        let listening = listening.map_err(Error::Socket)?;
        let mut state = self.shared.state.lock();
        if state.ends_by.is_some() {
            // The acceptor asks for the state while it has the listeners, so never the reverse.
            drop(state);
            return Err(Error::Closed);
        }
        state.listening.push(listening);
        Ok(())
    }

    /// Serve everybody who connects to `listener`, and nobody any more at any other one. Whoever is
    /// connected stays.
    ///
    /// # Errors
    /// [`Error::Socket`]; [`Error::Closed`].
    pub fn listen_instead(&self, listener: UnixListener) -> Result<(), Error> {
        let others = std::mem::take(&mut self.shared.state.lock().listening);
        // As in `listen`.
        let listened = self.listen(listener);
        drop(others);
        listened
    }

    /// Serve one connection that exists already.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::Socket`], [`Error::TooManySessions`], [`Error::Closed`].
    pub fn connect(&self, stream: UnixStream) -> Result<(), Error> {
        self.shared.connect(stream)
    }

    /// Accept nobody any more. Whoever is connected stays.
    pub fn stop_listening(&self) {
        let listening = std::mem::take(&mut self.shared.state.lock().listening);
        // As in `listen`.
        drop(listening);
    }

    /// Serve nobody any more: sockets are closed, connections are ended and their rings stopped,
    /// with what was begun done and what was not left in them. When this returns, none is accepted
    /// and, unless it took half a second, no ring is served; whoever took longer ends by itself.
    pub fn close(&self) {
        let deadline = self.hang_up();
        let mut state = self.shared.state.lock();
        while !state.sessions.is_empty() {
            let waited = self.shared.changed.wait_until(&mut state, deadline);
            if waited.timed_out() {
                let sessions = state.sessions.len();
                drop(state);
                tracing::warn!(sessions, "sessions did not end in time");
                break;
            }
        }
    }

    /// Begin to [close](Self::close) without waiting: who closes several begins with all of them,
    /// and waits for the slowest instead of one after the other. Returns when waiting is over.
    pub fn hang_up(&self) -> Instant {
        let mut state = self.shared.state.lock();
        let first = state.ends_by.is_none();
        let ends_by = *state
            .ends_by
            .get_or_insert_with(|| Instant::now() + END_WITHIN);
        if !first {
            return ends_by;
        }
        let listening = std::mem::take(&mut state.listening);
        // As in `listen`.
        drop(state);
        drop(listening);
        let state = self.shared.state.lock();
        for connection in state.sessions.values() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
        ends_by
    }

    /// Wait until no session is left.
    pub fn wait_until_idle(&self) {
        let mut state = self.shared.state.lock();
        while !state.sessions.is_empty() {
            self.shared.changed.wait(&mut state);
        }
    }

    /// The device that is served.
    pub fn device(&self) -> &BlockDevice {
        &self.shared.device
    }

    /// Do something that must not happen to a front end, unless one is connected, or in any case
    /// with `force`: no session begins meanwhile, so it must not take long. `None`: not done.
    pub fn unless_attached<T>(&self, force: bool, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.shared.state.lock();
        (force || state.sessions.is_empty()).then(act)
    }

    /// How many front ends are connected.
    pub fn sessions(&self) -> usize {
        self.shared.state.lock().sessions.len()
    }

    /// The front ends that are connected, by session number.
    pub fn front_ends(&self) -> Vec<FrontEnd> {
        let connections: Vec<_> = {
            let state = self.shared.state.lock();
            let sessions = state.sessions.iter();
            sessions
                .map(|(&session, it)| {
                    let (channel, manner) = (Arc::clone(&it.channel), Arc::clone(&it.manner));
                    (session, channel, manner, it.peer)
                })
                .collect()
        };
        let look = |(session, channel, manner, peer): Look| FrontEnd {
            session,
            live: channel.is_live(),
            notifiable: channel.is_there(),
            polled_queues: manner.polled(),
            untracked_queues: manner.untracked(),
            peer,
        };
        let mut found: Vec<_> = connections.into_iter().map(look).collect();
        found.sort_unstable_by_key(|front_end| front_end.session);
        found
    }

    /// Tell every front end that has a channel for it that the configuration space changed. Gives
    /// how many were told.
    pub fn config_changed(&self) -> usize {
        let state = self.shared.state.lock();
        let channels: Vec<_> = state
            .sessions
            .values()
            .map(|connection| Arc::clone(&connection.channel))
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
        self.close();
    }
}

impl Shared {
    /// Begin a session.
    pub(super) fn connect(self: &Arc<Self>, stream: UnixStream) -> Result<(), Error> {
        stream.set_nonblocking(false).map_err(Error::Socket)?;
        peek::prepare(&stream).map_err(Error::Socket)?;
        let channel = Arc::new(Channel::default());
        let hangup = Arc::new(stream.try_clone().map_err(Error::Socket)?);
        let manner = Arc::new(Manner::default());
        let connection = Connection {
            stream: Arc::clone(&hangup),
            channel: Arc::clone(&channel),
            manner: Arc::clone(&manner),
            peer: peek::peer(&stream),
        };
        let number = self.enrol(connection)?;
        let server = Arc::clone(self);
        let thread = threads::spawn(Role::Session(number), move || {
            let session = Session::new(Arc::clone(&server), channel, manner, hangup);
            server.serve(number, stream, session);
            server.forget(number);
        });
        thread.map(|_| ()).map_err(|error| {
            self.forget(number);
            Error::Thread(error)
        })
    }

    fn enrol(&self, connection: Connection) -> Result<u64, Error> {
        let mut state = self.state.lock();
        if state.ends_by.is_some() {
            return Err(Error::Closed);
        }
        if state.sessions.len() >= MOST_SESSIONS {
            return Err(Error::TooManySessions {
                limit: MOST_SESSIONS,
            });
        }
        let number = state.started;
        state.started += 1;
        state.sessions.insert(number, connection);
        Ok(number)
    }

    /// Handle a front end's messages until it is gone.
    fn serve(&self, number: u64, stream: UnixStream, session: Session) {
        let serial = self.device.serial().text();
        if !self.has_failed_lately()
            && let Some(withheld) = self.may_say()
        {
            tracing::info!(serial, session = number, withheld, "front end connected");
        }
        self.hook.tell(ServerEvent::Attached { session: number });
        // A panic is a bug of ours; it must cost this front end its connection and no other.
        let ended = catch_unwind(AssertUnwindSafe(|| converse(stream, session)));
        let reason = match ended {
            Ok(Ok(())) if self.state.lock().ends_by.is_some() => Departure::Closed,
            Ok(Ok(())) => Departure::Left,
            Ok(Err(error)) => Departure::Failed(error.to_string()),
            Err(_) => {
                tracing::error!(serial, session = number, "bug: handling a message panicked");
                Departure::Failed("a bug in handling a message".into())
            }
        };
        if !self.is_said_again(&reason)
            && let Some(withheld) = self.may_say()
        {
            match &reason {
                Departure::Failed(error) => {
                    tracing::warn!(serial, session = number, withheld, %error, "session ended");
                }
                Departure::Left | Departure::Closed => {
                    tracing::info!(serial, session = number, withheld, "front end disconnected");
                }
            }
        }
        self.hook.tell(ServerEvent::Detached {
            session: number,
            reason,
        });
    }

    /// Whether a front end that comes now may well be one that fails time and again.
    fn has_failed_lately(&self) -> bool {
        let state = self.state.lock();
        let said = state.said.as_ref();
        said.is_some_and(|(_, at)| at.elapsed() < SAID_FOR)
    }

    /// Whether the same was said of another session not long ago: a front end that connects again
    /// every second, and always fails alike, fills no log.
    fn is_said_again(&self, reason: &Departure) -> bool {
        let Departure::Failed(error) = reason else {
            return false;
        };
        let mut state = self.state.lock();
        let said = state.said.as_ref();
        let again = said.is_some_and(|(text, at)| text == error && at.elapsed() < SAID_FOR);
        if !again {
            state.said = Some((error.clone(), Instant::now()));
        }
        again
    }

    fn forget(&self, number: u64) {
        let connection = self.state.lock().sessions.remove(&number);
        drop(connection);
        self.changed.notify_all();
    }
}

#[cfg(ramblk_hooks)]
impl Server {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[cfg(ramblk_hooks)]
impl Shared {
    /// How many sessions use the disk.
    pub(crate) fn claims(&self) -> usize {
        self.state.lock().claims
    }
}
