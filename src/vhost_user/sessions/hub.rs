//! What all disks of a process share: the threads that serve rings, and one thread that accepts the
//! connections of all listening sockets.
//!
//! So an unused disk costs a descriptor and no thread. Each connected front end has a thread, which
//! handles its messages and sleeps otherwise.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use crate::store::points;
use crate::threads::{self, Role};
use crate::vhost_user::error::Error;
use crate::vhost_user::log_limit::LogLimit;
use crate::vhost_user::workers::pool::{WorkerOptions, Workers};

/// The epoll key of the descriptor that ends the acceptor. Keys of listeners count from 0.
const WAKER: u64 = u64::MAX;
/// The most connections to accept between two calls of epoll.
const MOST_EVENTS: usize = 64;
/// How long not to watch a listener after it failed, most likely because no descriptor is left.
/// Connections wait in its queue meanwhile.
const REST: Duration = Duration::from_millis(100);

/// The threads that any number of [`Server`](crate::vhost_user::Server)s share. They end when the
/// last server has ended and you have dropped the hub.
#[derive(Debug)]
pub struct Hub {
    acceptor: Acceptor,
    workers: Workers,
}

impl Hub {
    /// Start the threads: the workers that `options` specifies, the acceptor and the watchdog.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system has no thread or descriptor left, or no such processor.
    pub fn new(options: &WorkerOptions) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            workers: Workers::start(options).map_err(Error::Thread)?,
            acceptor: Acceptor::start().map_err(Error::Thread)?,
        }))
    }

    /// How long each worker has looked for requests and found none, in nanoseconds, by its number.
    pub fn polled_ns(&self) -> Vec<u64> {
        self.workers.polled_ns()
    }

    pub(super) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Pass every connection to `listener` to `host`, until the returned value is dropped.
    pub(super) fn listen(
        &self,
        listener: UnixListener,
        host: Arc<dyn Host>,
    ) -> io::Result<Listening> {
        listener.set_nonblocking(true)?;
        let mut listeners = self.acceptor.common.listeners.lock();
        let key = listeners.added;
        self.acceptor.common.watch(key, &listener)?;
        listeners.added += 1;
        listeners.by_key.insert(key, Listener { listener, host });
        Ok(Listening {
            key,
            common: Arc::clone(&self.acceptor.common),
        })
    }
}

/// The owner of a listening socket. The acceptor calls it while it holds the lock on all listeners,
/// so it must neither wait nor listen.
pub(super) trait Host: Debug + Send + Sync {
    /// Begin a session with a front end that has connected.
    fn connect(self: Arc<Self>, stream: UnixStream) -> Result<(), Error>;

    /// Bounds log lines about connections that could not be accepted.
    fn log_limit(&self) -> &LogLimit;
}

/// A socket whose connections are accepted. Dropping this closes the socket; then no connection is
/// accepted any more.
#[derive(Debug)]
pub(super) struct Listening {
    key: u64,
    common: Arc<Common>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The acceptor holds the lock until a connection's session has begun or was refused.
        let mut listeners = self.common.listeners.lock();
        let gone = listeners.by_key.remove(&self.key);
        if let Some(gone) = &gone {
            self.common.unwatch(&gone.listener);
        }
        drop(listeners);
    }
}

/// The thread that accepts connections. Drop this to end it.
#[derive(Debug)]
struct Acceptor {
    common: Arc<Common>,
    thread: Option<JoinHandle<()>>,
}

/// What that thread shares with threads that add and remove listeners.
#[derive(Debug)]
struct Common {
    epoll: Epoll,
    waker: EventFd,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    by_key: HashMap<u64, Listener>,
    /// The key of the next listener. No key is used twice, so a late event finds no listener.
    added: u64,
}

#[derive(Debug)]
struct Listener {
    listener: UnixListener,
    host: Arc<dyn Host>,
}

/// A failure to log, and how many lines were withheld before it.
type Failure = Option<(Error, u64)>;

impl Acceptor {
    fn start() -> io::Result<Self> {
        let common = Arc::new(Common {
            epoll: Epoll::new()?,
            waker: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            listeners: Mutex::default(),
        });
        let event = EpollEvent::new(EventSet::IN, WAKER);
        let waker = common.waker.as_raw_fd();
        common.epoll.ctl(ControlOperation::Add, waker, event)?;
        let own = Arc::clone(&common);
        let thread = threads::spawn_vital(Role::Acceptor, move || own.run())?;
        Ok(Self {
            common,
            thread: Some(thread),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // The thread itself never runs this: it holds a server only while that is in the list, so
        // another thread holds the server too, and with it the hub.
        let _ = self.common.waker.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Common {
    fn watch(&self, key: u64, listener: &UnixListener) -> io::Result<()> {
        let event = EpollEvent::new(EventSet::IN, key);
        self.epoll
            .ctl(ControlOperation::Add, listener.as_raw_fd(), event)
    }

    fn unwatch(&self, listener: &UnixListener) {
        let none = EpollEvent::default();
        // A listener that rests isn't watched, so this may fail.
        let _ = self
            .epoll
            .ctl(ControlOperation::Delete, listener.as_raw_fd(), none);
    }

    fn run(&self) -> io::Result<()> {
        let mut events = vec![EpollEvent::default(); MOST_EVENTS];
        // Listeners that failed, and when each is watched again; in order, as all rest as long.
        let mut resting: VecDeque<(Instant, u64)> = VecDeque::new();
        loop {
            let timeout_ms = resting.front().map_or(-1, |(until, _)| {
                let left = until.saturating_duration_since(Instant::now());
                i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX)
            });
            points::may_fail("acceptor-waits")?;
            let count = match self.epoll.wait(timeout_ms, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            for event in &events[..count] {
                let key = event.data();
                if key == WAKER {
                    return Ok(());
                }
                if self.accept(key) {
                    resting.push_back((Instant::now() + REST, key));
                }
            }
            while let Some((until, key)) = resting.front().copied()
                && until <= Instant::now()
            {
                resting.pop_front();
                if !self.watch_again(key) {
                    resting.push_back((Instant::now() + REST, key));
                }
            }
        }
    }

    /// Accept one connection, and let other listeners have their turn. Returns `true` if the
    /// listener failed and must rest.
    fn accept(&self, key: u64) -> bool {
        let (rests, failure) = self.accept_locked(key);
        // Not under the lock, since writing to the log may take long.
        if let Some((error, withheld)) = failure {
            tracing::warn!(%error, withheld, "connection not accepted");
        }
        rests
    }

    fn accept_locked(&self, key: u64) -> (bool, Failure) {
        let listeners = self.listeners.lock();
        let Some(Listener { listener, host }) = listeners.by_key.get(&key) else {
            return (false, None);
        };
        let say = |error| host.log_limit().may_log().map(|withheld| (error, withheld));
        match listener.accept() {
            Ok((stream, _)) => {
                let refused = Arc::clone(host).connect(stream).err();
                (false, refused.and_then(say))
            }
            Err(error) if is_passing(error.kind()) => (false, None),
            Err(error) => {
                self.unwatch(listener);
                (true, say(Error::Accept(error)))
            }
        }
    }

    /// Watch a listener again. Returns `false` if that isn't possible yet.
    fn watch_again(&self, key: u64) -> bool {
        let listeners = self.listeners.lock();
        let listener = listeners.by_key.get(&key);
        listener.is_none_or(|known| self.watch(key, &known.listener).is_ok())
    }
}

/// Whether a failure to accept needs no action: the connection was closed again, or was accepted.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}
