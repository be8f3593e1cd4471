//! Which request the process died of.
//!
//! A request that the process dies of would be executed again by the next one, and so on. So a
//! process that comes after a crash is *careful*: what it finds in a ring it serves one by one, and
//! records which one that is. If that thread dies again, the handler of the signal notes it
//! in the store, and the next process knows whose disk to leave alone.
//!
//! Only a request whose own thread dies by itself (a fault, an abort) is noted, never one of a
//! process that is killed from outside: so none is blamed for having been in flight when that
//! happened, however often.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::OwnerWords;

/// Which of the words is which.
mod at {
    /// Not 0 from a crash on until a process ends well.
    pub(super) const CRASHED: usize = 0;
    pub(super) const DISK: usize = 1;
    /// [`super::NAMED`], queue and head.
    pub(super) const PLACE: usize = 2;
}

const NAMED: u64 = 1 << 63;
/// Signals by which a process that makes a mistake dies.
const SIGNALS: [libc::c_int; 5] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
];

static WORDS: OnceLock<OwnerWords> = OnceLock::new();
static IS_CAREFUL: AtomicBool = AtomicBool::new(false);
/// What the signals did before.
static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

thread_local! {
    /// Disk and place of the request that this thread serves alone. Without a destructor and made
    /// by the compiler, so that a signal handler may look.
    static ALONE: [AtomicU64; 2] = const { [AtomicU64::new(0), AtomicU64::new(0)] };
}

/// A request that a process died of while it served nothing else in that thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The store's number of its disk.
    pub disk_id: u64,
    /// The number of its queue.
    pub queue: u16,
    /// Its first descriptor.
    pub head: u16,
}

/// Note in `words` what this process dies of, if it does. If one before it crashed, rings are begun
/// with care from now on. Only the first call counts: there is one process to die.
pub fn watch(words: OwnerWords) {
    IS_CAREFUL.store(words.get(at::CRASHED) != 0, Ordering::Relaxed);
    if WORDS.set(words).is_ok() {
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            install(signal, previous);
        }
    }
}

/// The culprit has had its consequences.
pub fn forget_culprit(words: &OwnerWords) {
    words.set(at::PLACE, 0);
}

/// The process ends as it should: the next one needn't be careful.
pub fn ends_well() {
    if let Some(words) = WORDS.get() {
        words.set(at::CRASHED, 0);
    }
}

/// The request that the process before this one died of, if that is known.
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

/// While there is one, this thread serves nothing but that request.
#[derive(Debug)]
pub(super) struct Alone(());

/// This thread serves nothing but this request from now on.
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
    // SAFETY: a handler that calls nothing that isn't safe in one. Should the signal come before
    // `previous` is set, it does what it does by default.
    let result = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    if result == 0 {
        let _ = previous.set(before);
    } else {
        let error = std::io::Error::last_os_error();
        tracing::warn!(signal, %error, "a crash by this signal will not be noticed");
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
    // A return to a fault raises it again. What was sent must be sent again.
    if info.si_code <= 0 {
        // SAFETY: no memory is involved. It comes when this handler has returned.
        unsafe { libc::raise(signal) };
    }
}

/// Whether this thread is at fault: the kernel says so, or the thread itself (`abort`).
fn is_own(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent by a thread names its process.
    let sender = || unsafe { info.si_pid() };
    // SAFETY: no memory is involved.
    let own = || unsafe { libc::getpid() };
    info.si_code > 0 || info.si_code == libc::SI_TKILL && sender() == own()
}

/// The first one that dies counts.
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
