//! Finding the request on which the process crashed.
//!
//! The next process would execute that request again, and crash too. So a process after a crash is
//! *careful*: it serves the requests that it finds in a ring one by one, and records which one it
//! is serving. If that thread crashes, the signal handler notes the request in the store, and the
//! next process marks its disk as failed.
//!
//! A request is noted only if the thread that serves it crashes by itself (a fault or an abort). If
//! the process is killed from outside, no request is blamed for being in flight, however often that
//! happens.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::OwnerWords;

/// Indexes of the owner words. The daemon's sandbox has the one after these.
mod at {
    /// Not 0 from a crash until a process ends as it should.
    pub(super) const CRASHED: usize = 0;
    pub(super) const DISK: usize = 1;
    /// [`super::NAMED`], queue and head.
    pub(super) const PLACE: usize = 2;
}

const NAMED: u64 = 1 << 63;
/// The signals of a crash.
const SIGNALS: [libc::c_int; 5] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
];

static WORDS: OnceLock<OwnerWords> = OnceLock::new();
static IS_CAREFUL: AtomicBool = AtomicBool::new(false);
/// The previous actions of these signals.
static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

thread_local! {
    /// Disk and place of the one request that this thread serves. It is a constant without a
    /// destructor, so that a signal handler can read it.
    static ALONE: [AtomicU64; 2] = const { [AtomicU64::new(0), AtomicU64::new(0)] };
}

/// The request on which a process crashed, if its thread served nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The store's number of its disk.
    pub disk_id: u64,
    /// The number of its queue.
    pub queue: u16,
    /// Its first descriptor.
    pub head: u16,
}

/// If this process crashes, note the request in `words`. If the process before this one crashed,
/// rings start carefully from now on. Only the first call has an effect.
pub fn watch(words: OwnerWords) {
    IS_CAREFUL.store(words.get(at::CRASHED) != 0, Ordering::Relaxed);
    if WORDS.set(words).is_ok() {
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            install(signal, previous);
        }
    }
}

/// Clear the culprit, after its disk was marked as failed.
pub fn forget_culprit(words: &OwnerWords) {
    words.set(at::PLACE, 0);
}

/// The process ends as it should, so the next one needn't be careful.
pub fn ends_well() {
    if let Some(words) = WORDS.get() {
        words.set(at::CRASHED, 0);
    }
}

/// The request on which the process before this one crashed, if known.
pub fn culprit(words: &OwnerWords) -> Option<Culprit> {
    let place = words.get(at::PLACE);
    let part = |shift: u32| u16::try_from(place >> shift & 0xffff).unwrap_or(u16::MAX);
    (place & NAMED != 0).then(|| Culprit {
        disk_id: words.get(at::DISK),
        queue: part(16),
        head: part(0),
    })
}

/// Whether a process before this one crashed.
pub(crate) fn is_careful() -> bool {
    IS_CAREFUL.load(Ordering::Relaxed)
}

/// While this exists, its thread serves only the request that it was made for.
#[derive(Debug)]
pub(super) struct Alone(());

/// Record that this thread serves only this request.
pub(super) fn alone(disk_id: u64, queue: u16, head: u16) -> Alone {
    ALONE.with(|[disk, place]| {
        disk.store(disk_id, Ordering::Release);
        let named = NAMED | u64::from(queue) << 16 | u64::from(head);
        place.store(named, Ordering::Release);
    });
    Alone(())
}

impl Drop for Alone {
    fn drop(&mut self) {
        ALONE.with(|[_, place]| place.store(0, Ordering::Release));
    }
}

fn install(signal: libc::c_int, previous: &OnceLock<libc::sigaction>) {
    // SAFETY: all zeros is a valid `sigaction`: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_crash as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the handler calls only what is async-signal-safe. A signal before `previous` is set
    // gets the default action.
    let result = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    if result == 0 {
        let _ = previous.set(before);
    } else {
        let error = std::io::Error::last_os_error();
        tracing::warn!(signal, %error, "can't watch for this signal: a crash by it goes unnoticed");
    }
}

/// The handler: atomics, `sigaction`, `raise`, all of which are safe to use here.
extern "C" fn on_crash(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    if let Some(words) = WORDS.get() {
        words.set(at::CRASHED, 1);
        if is_own(info) {
            take_down(words);
        }
    }
    // SAFETY: all zeros is a valid `sigaction`, and means the default.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let at = SIGNALS.iter().position(|&known| known == signal);
    let previous = at.and_then(|at| PREVIOUS[at].get()).unwrap_or(&default);
    // SAFETY: a valid action, no old one asked for.
    unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
    // Returning to a faulting instruction raises its signal again. One that was sent must be sent
    // again.
    if info.si_code <= 0 {
        // SAFETY: no memory is involved. The signal arrives when this handler has returned.
        unsafe { libc::raise(signal) };
    }
}

/// Whether this thread caused the signal: by a fault, or by `abort`.
fn is_own(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent by a thread names its process.
    let sender = || unsafe { info.si_pid() };
    // SAFETY: no memory is involved.
    let own = || unsafe { libc::getpid() };
    info.si_code > 0 || info.si_code == libc::SI_TKILL && sender() == own()
}

/// Note the request of this thread, unless another thread has noted its own.
fn take_down(words: &OwnerWords) {
    if words.get(at::PLACE) != 0 {
        return;
    }
    let _ = ALONE.try_with(|[disk, place]| {
        let place = place.load(Ordering::Acquire);
        if place != 0 {
            words.set(at::DISK, disk.load(Ordering::Acquire));
            words.set(at::PLACE, place);
        }
    });
}
