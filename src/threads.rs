//! The threads of the process: every one starts here and says its role.
//!
//! A role has a name, which `ps -L` and `/proc/PID/task` show, a stack size, a niceness, and an
//! answer to what happens when its thread ends. If a *vital* thread ends by itself, the process
//! does. A daemon that lived on without a thread that serves rings or takes connections would
//! answer some clients and leave others waiting for ever. A crash is what everybody is prepared
//! for: a supervisor starts the daemon again, disks are where they were, front ends connect again
//! and go on.
//!
//! This file is below every room and knows none of them but for what their threads do.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves rings: the worker with this number.
    Worker(usize),
    /// Takes the connections of all listening sockets.
    Acceptor,
    /// Frees workers that hang in a front end's descriptor.
    Watchdog,
    /// Handles the messages of the front end in this session.
    Session(u64),
    /// Returns memory of the store to the system.
    Reclaimer,
    /// The event loop of the API.
    Api,
    /// Does what the API is asked for; the event loop starts these.
    ApiWork,
    /// Notices sockets that were removed.
    Removal,
    /// Tells which disks and quotas are full.
    Monitor,
    /// Receives signals.
    Signals,
    /// Waits for the end of an inherited connection.
    LastSession,
    /// Drives this queue of `ramblk bench`.
    LoadQueue(u16),
    /// Limits how long `ramblk bench` waits for an answer.
    LoadWatch,
}

/// The API's threads come after those of the queues.
const API_NICE: i32 = 10;
/// For threads that call little. What a front end's message needs is far below this.
const SMALL_STACK_BYTES: usize = 256 << 10;

impl Role {
    /// The thread's name; the kernel shows the first 15 bytes.
    pub(crate) fn name(self) -> Cow<'static, str> {
        let fixed = match self {
            Self::Worker(number) => return format!("ramblk-work-{number}").into(),
            Self::Session(number) => return format!("ramblk-sess-{number}").into(),
            Self::LoadQueue(number) => return format!("queue-{number}").into(),
            Self::Acceptor => "ramblk-accept",
            Self::Watchdog => "ramblk-watch",
            Self::Reclaimer => "ramblk-reclaim",
            Self::Api => "ramblk-api",
            Self::ApiWork => "ramblk-api-work",
            Self::Removal => "ramblk-removal",
            Self::Monitor => "ramblk-monitor",
            Self::Signals => "ramblk-signals",
            Self::LastSession => "ramblk-last",
            Self::LoadWatch => "watch",
        };
        fixed.into()
    }

    /// Whether the process ends if the thread does, unless it was asked to.
    fn is_vital(self) -> bool {
        matches!(self, Self::Worker(_) | Self::Acceptor | Self::Watchdog)
    }

    /// `None`: the usual stack.
    fn stack_bytes(self) -> Option<usize> {
        matches!(self, Self::Session(_) | Self::Removal).then_some(SMALL_STACK_BYTES)
    }

    /// What is added to the niceness of the thread that starts it. The kernel takes it per thread,
    /// and threads that this one starts inherit it.
    fn nice(self) -> Option<i32> {
        (self == Self::Api).then_some(API_NICE)
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
            tracing::warn!(thread = %self.name(), %error, "the thread keeps the usual priority");
        }
        let guard = self.is_vital().then(|| Guard(self));
        let done = act();
        std::mem::forget(guard);
        done
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

/// Start a thread that may return `Ok` only, which means that it was asked to end. With an error,
/// or by a panic, it takes the process down.
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

/// Ends the process when it is dropped: the thread unwinds.
struct Guard(Role);

impl Drop for Guard {
    fn drop(&mut self) {
        abort(self.0, &"bug: it panicked");
    }
}

/// Raise a signal of the process's own, so that its end counts as a crash and not as a kill.
fn abort(role: Role, why: &dyn Display) -> ! {
    tracing::error!(
        thread = %role.name(),
        "a vital thread has ended, and the process ends with it, to be started again: {why}"
    );
    std::process::abort();
}
