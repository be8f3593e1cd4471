//! The threads of the process. Every thread starts here, with a role.
//!
//! A role has a name, which `ps -L` and `/proc/PID/task` show, a stack size and a niceness, and
//! says whether it is *vital*. If a vital thread ends by itself, the process ends. A daemon without
//! a thread that serves rings or accepts connections would answer some clients and leave others
//! waiting for ever. A crash is better: a supervisor starts the daemon again, the disks still
//! exist, and front ends reconnect and go on.
//!
//! This file is below every room. It knows only what their threads are for.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves rings: the worker with this number.
    Worker(usize),
    /// Accepts the connections of all listening sockets.
    Acceptor,
    /// Interrupts workers whose write to a front end's descriptor hangs.
    Watchdog,
    /// Handles the messages of the front end in this session.
    Session(u64),
    /// Returns memory of the store to the system.
    Reclaimer,
    /// The event loop of the API.
    Api,
    /// Does the work of API requests; the event loop starts these threads.
    ApiWork,
    /// Answers the NBD client on this connection.
    Nbd(u64),
    /// Passes bytes of an NBD client on, in one direction.
    NbdRelay,
    /// Accepts the clients of `ramblk nbd`.
    NbdAccept,
    /// Detects sockets that were removed.
    Removal,
    /// Reports which disks and quotas are full.
    Monitor,
    /// Drops the oldest points of histories.
    Keeper,
    /// Receives signals.
    Signals,
    /// Waits for the end of an inherited connection.
    LastSession,
    /// Logs system calls that the sandbox would refuse.
    Refusals,
    /// Reads parts of an image, or decompresses them.
    Image,
    /// The event loop of requests to other hosts.
    Remote,
    /// Makes crash states, and runs checks on them: the job with this number.
    Explore(usize),
    /// Drives this queue of `ramblk bench`.
    LoadQueue(u16),
    /// Limits how long `ramblk bench` waits for an answer.
    LoadWatch,
    /// Asks a daemon for names, while a person waits for completions.
    Names,
    /// Asks a daemon for the figures of `ramblk top`.
    Figures,
}

/// The API's threads have a lower priority than those that serve queues. So have those that they
/// start: for the API's work, and for NBD.
const API_NICE: i32 = 10;
/// The stack of threads with shallow calls. Handling a front end's message needs far less than
/// this.
const SMALL_STACK_BYTES: usize = 256 << 10;

impl Role {
    /// The thread's name; the kernel shows the first 15 bytes.
    pub(crate) fn name(self) -> Cow<'static, str> {
        let fixed = match self {
            Self::Worker(number) => return format!("ramblk-work-{number}").into(),
            Self::Session(number) => return format!("ramblk-sess-{number}").into(),
            Self::Nbd(number) => return format!("ramblk-nbd-{number}").into(),
            Self::Explore(number) => return format!("explore-{number}").into(),
            Self::LoadQueue(number) => return format!("queue-{number}").into(),
            Self::Acceptor => "ramblk-accept",
            Self::Watchdog => "ramblk-watch",
            Self::Reclaimer => "ramblk-reclaim",
            Self::Api => "ramblk-api",
            Self::ApiWork => "ramblk-api-work",
            Self::NbdRelay => "nbd-relay",
            Self::NbdAccept => "nbd-accept",
            Self::Removal => "ramblk-removal",
            Self::Monitor => "ramblk-monitor",
            Self::Keeper => "ramblk-keeper",
            Self::Signals => "ramblk-signals",
            Self::LastSession => "ramblk-last",
            Self::Refusals => "ramblk-refused",
            Self::Image => "ramblk-image",
            Self::Remote => "ramblk-remote",
            Self::LoadWatch => "watch",
            Self::Names => "names",
            Self::Figures => "figures",
        };
        fixed.into()
    }

    /// Whether the process ends if the thread ends without being told to.
    fn is_vital(self) -> bool {
        matches!(self, Self::Worker(_) | Self::Acceptor | Self::Watchdog)
    }

    /// The size of its stack; `None` for the default.
    fn stack_bytes(self) -> Option<usize> {
        let is_shallow = matches!(
            self,
            Self::Session(_) | Self::Removal | Self::Nbd(_) | Self::NbdRelay
        );
        is_shallow.then_some(SMALL_STACK_BYTES)
    }

    /// What to add to the niceness of the thread that starts it. The kernel has a niceness per
    /// thread, which the threads that it starts inherit.
    fn nice(self) -> Option<i32> {
        // The relays of `ramblk nbd` are started by its acceptor.
        matches!(self, Self::Api | Self::NbdAccept).then_some(API_NICE)
    }

    fn builder(self) -> Builder {
        let builder = Builder::new().name(self.name().into_owned());
        match self.stack_bytes() {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        }
    }

    /// What the new thread does.
    fn play<T>(self, act: impl FnOnce() -> T) -> T {
        if let Some(nice) = self.nice()
            && let Err(error) = rustix::process::nice(nice)
        {
            tracing::warn!(thread = %self.name(), %error, "the thread keeps the default priority");
        }
        enter(self);
        let guard = self.is_vital().then(|| Guard(self));
        let done = act();
        std::mem::forget(guard);
        done
    }
}

/// What each thread does first.
static AT_START: OnceLock<fn(Role)> = OnceLock::new();

/// From now on each thread calls this before it does anything else, to confine itself. Only the
/// first call has an effect.
pub(crate) fn at_start(enter: fn(Role)) {
    let _ = AT_START.set(enter);
}

/// The calling thread has this role. Only threads that a library starts need this; the others that
/// start here do it by themselves.
pub(crate) fn enter(role: Role) {
    if let Some(enter) = AT_START.get() {
        enter(role);
    }
}

/// Start a thread.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn spawn<T: Send + 'static>(
    role: Role,
    act: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    role.builder().spawn(move || role.play(act))
}

/// Start a vital thread. It returns `Ok` if it was told to end. If it returns an error or panics,
/// the process ends.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn spawn_vital(
    role: Role,
    act: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    debug_assert!(role.is_vital(), "{role:?} may end");
    spawn(role, move || {
        if let Err(error) = act() {
            abort(role, &error);
        }
    })
}

/// Start a thread that ends before `scope` does.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    role: Role,
    act: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    role.builder().spawn_scoped(scope, move || role.play(act))
}

/// Ends the process when it is dropped, which happens when the thread unwinds.
struct Guard(Role);

impl Drop for Guard {
    fn drop(&mut self) {
        abort(self.0, &"bug: it panicked");
    }
}

/// Abort, so that the end of the process counts as a crash and not as a kill.
fn abort(role: Role, why: &dyn Display) -> ! {
    tracing::error!(
        thread = %role.name(),
        "a vital thread has ended, and the process ends with it, to be started again: {why}"
    );
    std::process::abort();
}
