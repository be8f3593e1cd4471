//! A disk offered on sockets, and the front ends that are connected to it.

use std::collections::HashMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::backend::Backend;
use super::claims::Share;
use super::connection::{Connection, FrontEnd};
use super::conversation::converse;
use super::events::{Departure, Hook, ServerEvent};
use super::hub::{Host, Hub, Listening};
use super::session::Session;
use super::visitor::{VisitError, Visitor};
use crate::device::BlockDevice;
use crate::threads::{self, Role};
use crate::vhost_user::error::Error;
use crate::vhost_user::log_limit::{LastFailure, LogLimit};
use crate::vhost_user::queue::inflight::Inflight;
use crate::vhost_user::wire::peek::Peer;

/// The most connections at a time. More are closed at once.
const MOST_SESSIONS: usize = 1024;
/// How long a closing server waits for its sessions to end.
const END_WITHIN: Duration = Duration::from_millis(500);

/// How a device is served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How many front ends may use the disk at the same time.
    pub share: Share,
    /// Whether IN_ORDER is offered (virtio 1.3 §2.7.9).
    pub in_order: bool,
}

/// A device that is being served. Dropping it [closes](Server::close) it. It has one thread for
/// each connected front end, and none otherwise.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What the server shares with its sessions' threads and with the hub.
#[derive(Debug)]
struct Shared {
    backend: Arc<Backend>,
    hook: Hook,
    last_failure: LastFailure,
    /// How the log names the disk, if not by its serial.
    name: OnceLock<String>,
    state: Mutex<State>,
    /// Signalled when a session has ended.
    changed: Condvar,
}

/// Who uses the disk in one session.
#[derive(Debug)]
enum User {
    FrontEnd(Arc<Connection>),
    Visitor(Option<Peer>),
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<u64, User>,
    listening: Vec<Listening>,
    /// The number of the next session.
    started: u64,
    /// When a closing server stops waiting for its sessions to end; `None` if it isn't closing.
    ends_by: Option<Instant>,
}

/// No session of a server begins or ends while this is held.
#[derive(Debug)]
pub struct Pause<'s> {
    _state: MutexGuard<'s, State>,
}

/// What front ends had in flight whose connections were ended.
#[derive(Debug)]
#[must_use = "they may come back for it"]
pub struct Owed {
    backend: Arc<Backend>,
    mapped: Vec<Arc<Inflight>>,
}

impl Owed {
    /// It is owed to no one from now on: their in-flight regions are refused, also by another
    /// process that they reconnect to.
    pub fn disown(self) {
        self.mapped.iter().for_each(Inflight::disown);
        self.backend.regions.disown();
    }
}

impl Server {
    /// Prepare to serve `device` with the threads of `hub`.
    pub fn new(device: BlockDevice, options: &ServerOptions, hub: &Arc<Hub>) -> Self {
        let backend = Backend::new(device, options.share, options.in_order, hub);
        Self {
            shared: Arc::new(Shared {
                backend: Arc::new(backend),
                hook: Hook::default(),
                last_failure: LastFailure::default(),
                name: OnceLock::new(),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Call the disk by this name in the log, and not by its serial. Only the first call of this
    /// function has an effect.
    pub fn set_name(&self, name: &str) {
        let _ = self.shared.name.set(name.to_owned());
    }

    /// Call `tell` whenever a front end connects or disconnects. It is called on a session's
    /// thread, with the events of that session in order, and must not wait for this server to do
    /// something. Only the first call of this function has an effect; any other returns `false`.
    pub fn on_event(&self, tell: Box<dyn Fn(ServerEvent) + Send + Sync>) -> bool {
        self.shared.hook.set(tell)
    }

    /// Serve every front end that connects to `listener`.
    ///
    /// # Errors
    /// [`Error::Socket`] if the system refuses; [`Error::Closed`] if the server was closed.
    pub fn listen(&self, listener: UnixListener) -> Result<(), Error> {
        let host: Arc<dyn Host> = Arc::<Shared>::clone(&self.shared);
        let listening = self.shared.backend.hub().listen(listener, host);
        let listening = listening.map_err(Error::Socket)?;
        let mut state = self.shared.state.lock();
        if state.ends_by.is_some() {
            // The acceptor takes this lock while it holds the lock on all listeners. Dropping a
            // `Listening` takes the latter, so it must not happen under this lock.
            drop(state);
            return Err(Error::Closed);
        }
        state.listening.push(listening);
        Ok(())
    }

    /// Serve every front end that connects to `listener`, and stop listening on all other sockets.
    /// Connected front ends stay.
    ///
    /// # Errors
    /// The same as [`Self::listen`].
    pub fn listen_instead(&self, listener: UnixListener) -> Result<(), Error> {
        let others = std::mem::take(&mut self.shared.state.lock().listening);
        // As in `listen`.
        let listened = self.listen(listener);
        drop(others);
        listened
    }

    /// Serve a front end that is connected already.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::Socket`], [`Error::TooManySessions`], [`Error::Closed`].
    pub fn connect(&self, stream: UnixStream) -> Result<(), Error> {
        self.shared.begin(stream)
    }

    /// Let another user in, which came through another front door. It counts as a front end. The
    /// caller drops it before it [closes](Self::close) the server, which otherwise waits for it.
    ///
    /// # Errors
    /// [`VisitError`].
    pub fn visit(&self, peer: Option<Peer>) -> Result<Visitor, VisitError> {
        self.shared.visit(peer)
    }

    /// Stop listening on all sockets. Connected front ends stay.
    pub fn stop_listening(&self) {
        let listening = std::mem::take(&mut self.shared.state.lock().listening);
        // As in `listen`.
        drop(listening);
    }

    /// Stop serving: close sockets, end connections and stop their rings. Requests that have begun
    /// are completed; the others stay in the rings. Waits up to half a second for sessions to end.
    /// When this returns, no connection is accepted, and no ring is served but those of sessions
    /// that did not end in time.
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

    /// Begin to [close](Self::close) without waiting. To close several servers at the same time,
    /// call this for each of them first. Returns when `close` will stop waiting.
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
        for user in state.sessions.values() {
            // A visitor is ended by the one that let it in.
            if let User::FrontEnd(connection) = user {
                connection.hang_up();
            }
        }
        drop(state);
        self.shared.backend.claims.close();
        ends_by
    }

    /// End the connections of all front ends, without waiting. The server goes on. Returns what
    /// they have in flight, which they may come back for.
    pub fn disconnect(&self) -> Owed {
        let backend = Arc::clone(&self.shared.backend);
        let mapped = backend.regions.mapped();
        for connection in self.shared.connections() {
            connection.hang_up();
        }
        Owed { backend, mapped }
    }

    /// Wait until no front end is connected. Returns whether that was before `until`.
    pub fn is_idle_by(&self, until: Instant) -> bool {
        let mut state = self.shared.state.lock();
        while !state.sessions.is_empty() {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                return state.sessions.is_empty();
            }
        }
        true
    }

    /// Wait until no front end is connected.
    pub fn wait_until_idle(&self) {
        let mut state = self.shared.state.lock();
        while !state.sessions.is_empty() {
            self.shared.changed.wait(&mut state);
        }
    }

    /// The device that is served.
    pub fn device(&self) -> &BlockDevice {
        &self.shared.backend.device
    }

    /// Call `act`, unless a front end is connected and `force` is false. No session can begin while
    /// it runs, so it must be quick. Returns `None` if it was not called.
    pub fn unless_attached<T>(&self, force: bool, act: impl FnOnce() -> T) -> Option<T> {
        let _pause = self.pause(force)?;
        Some(act())
    }

    /// Let no session begin until the result is dropped, which must be soon. Returns `None` if a
    /// front end is connected and `force` is false.
    pub fn pause(&self, force: bool) -> Option<Pause<'_>> {
        let state = self.shared.state.lock();
        (force || state.sessions.is_empty()).then_some(Pause { _state: state })
    }

    /// How many front ends are connected.
    pub fn sessions(&self) -> usize {
        self.shared.state.lock().sessions.len()
    }

    /// The front ends that are connected, by session number.
    pub fn front_ends(&self) -> Vec<FrontEnd> {
        let state = self.shared.state.lock();
        let look = |(&session, user): (&u64, &User)| match user {
            User::FrontEnd(connection) => connection.front_end(session),
            User::Visitor(peer) => FrontEnd::visitor(session, *peer),
        };
        let mut found: Vec<FrontEnd> = state.sessions.iter().map(look).collect();
        drop(state);
        found.sort_unstable_by_key(|front_end| front_end.session);
        found
    }

    /// Send CONFIG_CHANGE to every front end that has a channel for it. Returns how many were
    /// notified.
    pub fn config_changed(&self) -> usize {
        let connections = self.shared.connections();
        let told = |connection: &&Arc<Connection>| connection.channel.config_changed();
        connections.iter().filter(told).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl Host for Shared {
    fn connect(self: Arc<Self>, stream: UnixStream) -> Result<(), Error> {
        self.begin(stream)
    }

    fn log_limit(&self) -> &LogLimit {
        &self.backend.log_limit
    }
}

impl Shared {
    /// The connections of all front ends, for use without the lock on the list.
    fn connections(&self) -> Vec<Arc<Connection>> {
        let state = self.state.lock();
        let sessions = state.sessions.iter();
        sessions
            .filter_map(|(_, user)| match user {
                User::FrontEnd(connection) => Some(Arc::clone(connection)),
                User::Visitor(_) => None,
            })
            .collect()
    }

    /// Begin a session.
    fn begin(self: &Arc<Self>, stream: UnixStream) -> Result<(), Error> {
        stream.set_nonblocking(false).map_err(Error::Socket)?;
        let connection = Arc::new(Connection::new(&stream).map_err(Error::Socket)?);
        let number = self.enrol(User::FrontEnd(Arc::clone(&connection)))?;
        let server = Arc::clone(self);
        let thread = threads::spawn(Role::Session(number), move || {
            let session = Session::new(Arc::clone(&server.backend), connection);
            server.serve(number, stream, session);
            server.forget(number);
        });
        thread.map(|_| ()).map_err(|error| {
            self.forget(number);
            Error::Thread(error)
        })
    }

    fn enrol(&self, user: User) -> Result<u64, Error> {
        self.enrol_locked(&mut self.state.lock(), user)
    }

    fn enrol_locked(&self, state: &mut State, user: User) -> Result<u64, Error> {
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
        let earlier = state.sessions.insert(number, user);
        debug_assert!(earlier.is_none(), "two sessions have number {number}");
        Ok(number)
    }

    /// Let a visitor in, unless the disk isn't shared and another one uses it.
    fn visit(self: &Arc<Self>, peer: Option<Peer>) -> Result<Visitor, VisitError> {
        let mut state = self.state.lock();
        if !self.backend.claims.are_shared() && !state.sessions.is_empty() {
            return Err(VisitError::Attached);
        }
        let number = self.enrol_locked(&mut state, User::Visitor(peer));
        drop(state);
        let session = number.map_err(|error| match error {
            Error::TooManySessions { .. } => VisitError::TooMany,
            _ => VisitError::Closed,
        })?;
        self.hook.tell(ServerEvent::Attached { session, peer });
        let server = Arc::clone(self);
        let leave = Box::new(move || {
            let reason = match server.state.lock().ends_by {
                Some(_) => Departure::Closed,
                None => Departure::Left,
            };
            server.hook.tell(ServerEvent::Detached {
                session,
                peer,
                reason,
            });
            server.forget(session);
        });
        Visitor::new(&self.backend, leave)
    }

    /// What each line of the log about a session has. At the highest level, so that it is there
    /// whatever is logged.
    fn span(&self, session: u64, peer: Option<Peer>) -> tracing::Span {
        let serial = || self.backend.device.volume().serial().text();
        let disk = self.name.get().map_or_else(serial, String::as_str);
        let pid = peer.and_then(|peer| peer.pid);
        tracing::error_span!("front_end", disk, session, pid)
    }

    /// Handle a front end's messages until it disconnects.
    fn serve(&self, number: u64, stream: UnixStream, session: Session) {
        let peer = session.peer();
        let _inside = self.span(number, peer).entered();
        // A front end that connects soon after a failed one will probably fail in the same way.
        if !self.last_failure.is_recent()
            && let Some(withheld) = self.log_limit().may_log()
        {
            tracing::info!(withheld, "front end connected");
        }
        self.hook.tell(ServerEvent::Attached {
            session: number,
            peer,
        });
        // A panic is a bug of ours. It must end only this front end's connection.
        let ended = catch_unwind(AssertUnwindSafe(|| converse(stream, session)));
        let reason = match ended {
            Ok(Ok(())) if self.state.lock().ends_by.is_some() => Departure::Closed,
            Ok(Ok(())) => Departure::Left,
            Ok(Err(error)) => Departure::Failed(error.to_string()),
            Err(_) => {
                tracing::error!("bug: handling a message panicked");
                Departure::Failed("a bug in handling a message".into())
            }
        };
        self.log_departure(&reason);
        self.hook.tell(ServerEvent::Detached {
            session: number,
            peer,
            reason,
        });
    }

    fn log_departure(&self, reason: &Departure) {
        match reason {
            Departure::Failed(error) => {
                if !self.last_failure.is_repeated(error)
                    && let Some(withheld) = self.log_limit().may_log()
                {
                    tracing::warn!(withheld, %error, "session ended");
                }
            }
            Departure::Left | Departure::Closed => {
                if let Some(withheld) = self.log_limit().may_log() {
                    tracing::info!(withheld, "front end disconnected");
                }
            }
        }
    }

    fn forget(&self, number: u64) {
        let user = self.state.lock().sessions.remove(&number);
        debug_assert!(user.is_some(), "session {number} ends twice");
        drop(user);
        self.changed.notify_all();
    }
}

#[cfg(ramblk_rings)]
impl Server {
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.shared.backend
    }
}
