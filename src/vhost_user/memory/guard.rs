//! A SIGBUS handler for front ends that truncate the files of their memory.
//!
//! Guest memory is a file that the front end can truncate at any time. A thread that touches a page
//! beyond its new end gets SIGBUS, which would end the process and with it all disks. So a table
//! has every mapping of a front end's file. If a mapping loses its file, the handler maps zeros in
//! its place and marks it as lost in the table. The access continues, and the session ends when one
//! of its threads next checks the mark. Any other SIGBUS goes to the handler that was installed
//! before.
//!
//! The table is a fixed array of atomics, so that a signal handler can read it. It also bounds the
//! mappings of all front ends together: the kernel allows a process 65530, and all disks share
//! them.
//!
//! The handler runs on the alternate stack that every Rust thread has.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use parking_lot::Mutex;

/// Mappings of all front ends together.
const MOST_MAPPINGS: usize = 40 << 10;

/// Part of these is reserved for front ends with few mappings, so that those with hundreds of
/// regions each can't keep an honest one from starting.
const KEPT_FOR_FEW: usize = 16 << 10;

/// One slot of the table. `len_bytes` is 0 if the slot is free; it is written last and cleared
/// first.
struct GuardedMapping {
    start: AtomicUsize,
    len_bytes: AtomicUsize,
    lost: AtomicBool,
}

static TABLE: [GuardedMapping; MOST_MAPPINGS] = [const {
    GuardedMapping {
        start: AtomicUsize::new(0),
        len_bytes: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; MOST_MAPPINGS];

/// Only slots below this one have ever been used, so the handler searches no further.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Slots below [`USED`] that are free.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// How many mappings were lost so far. If the number hasn't changed, none was lost since.
static LOSSES: AtomicUsize = AtomicUsize::new(0);

/// The previous action of SIGBUS.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// An entry of the table for a mapping. Drop it before you unmap that.
#[derive(Debug)]
pub(super) struct Guard {
    slot: usize,
}

impl Guard {
    /// Guard a mapping.
    ///
    /// # Safety
    /// `start` must be the page-aligned start of a mapping of `len_bytes`, a multiple of the page
    /// size of its file. Only the caller may use the mapping, and it must stay mapped as long as
    /// the guard exists. Its pages may turn into private pages of zeros at any time.
    ///
    /// # Errors
    /// All front ends together have too many mappings. `many` says whether this one has many
    /// already.
    pub(super) unsafe fn new(start: usize, len_bytes: usize, many: bool) -> io::Result<Self> {
        debug_assert!(len_bytes > 0 && start.is_multiple_of(4096), "no mapping");
        install();
        let mut free = FREE.lock();
        let taken = USED.load(Ordering::Relaxed) - free.len();
        if many && taken >= MOST_MAPPINGS - KEPT_FOR_FEW {
            return Err(io::Error::other(format!(
                "all front ends together have {taken} memory regions, so one with many is refused; \
                 disconnect another one that has many"
            )));
        }
        let slot = match free.pop() {
            Some(slot) => slot,
            None => {
                let slot = USED.load(Ordering::Relaxed);
                if slot == MOST_MAPPINGS {
                    return Err(io::Error::other(format!(
                        "all front ends together have {MOST_MAPPINGS} mappings, the most possible; \
                         disconnect one that has many memory regions"
                    )));
                }
                USED.store(slot + 1, Ordering::Release);
                slot
            }
        };
        let entry = &TABLE[slot];
        debug_assert_eq!(
            entry.len_bytes.load(Ordering::Relaxed),
            0,
            "slot {slot} is taken"
        );
        entry.lost.store(false, Ordering::Relaxed);
        entry.start.store(start, Ordering::Release);
        entry.len_bytes.store(len_bytes, Ordering::Release);
        Ok(Self { slot })
    }

    /// Whether the mapping has lost its file.
    pub(super) fn is_lost(&self) -> bool {
        TABLE[self.slot].lost.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TABLE[self.slot].len_bytes.store(0, Ordering::Release);
        FREE.lock().push(self.slot);
    }
}

/// A number that changes when any front end's mapping is lost.
pub(crate) fn losses() -> usize {
    LOSSES.load(Ordering::Acquire)
}

/// The slot whose mapping holds `address`. Safe to call from a signal handler.
fn find(address: usize) -> Option<&'static GuardedMapping> {
    let used = USED.load(Ordering::Acquire).min(MOST_MAPPINGS);
    TABLE[..used].iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let len_bytes = slot.len_bytes.load(Ordering::Acquire);
        // If the slot is reused meanwhile, it has another start before its length becomes visible.
        address.wrapping_sub(start) < len_bytes && slot.start.load(Ordering::Acquire) == start
    })
}

/// Install the handler, once for the process.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all zeros is a valid `sigaction`: no handler, no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: as above.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the handler calls only what is async-signal-safe. The kernel fills `previous`,
        // a local variable; a SIGBUS before `set` gets the default action.
        let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) };
        if result == 0 {
            let _ = PREVIOUS.set(previous);
        } else {
            tracing::error!(
                error = %io::Error::last_os_error(),
                "can't watch for SIGBUS: a front end that truncates its memory ends the process"
            );
        }
    });
}

/// The handler. Atomics, `mmap`, `sigaction`: all are safe to use here.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    let info_ref = unsafe { &*info };
    // SAFETY: SIGBUS fills in the address.
    let address = unsafe { info_ref.si_addr() }.addr();
    if let Some(slot) = find(address) {
        // SAFETY: the slot's owner promised that this range is a mapping of its own, whose pages
        // may turn into zeros; it can't be unmapped while a thread accesses it, as this one does.
        // `mmap` replaces it as a whole, at multiples of its page size, huge or not, and at once
        // for all threads. If two threads fault in it at the same time, the second one replaces
        // zeros by zeros. What a third has written there in between is lost, which doesn't matter:
        // the mapping counts as lost, and the guest can't see these pages.
        let replaced = unsafe {
            libc::mmap(
                std::ptr::with_exposed_provenance_mut(slot.start.load(Ordering::Relaxed)),
                slot.len_bytes.load(Ordering::Relaxed),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if replaced != libc::MAP_FAILED {
            slot.lost.store(true, Ordering::Relaxed);
            LOSSES.fetch_add(1, Ordering::Release);
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Do what the previous handler would have done.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type Handler = extern "C" fn(libc::c_int);
    type InfoHandler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // Return to the fault, which now ends the process with the right signal.
        // SAFETY: all zeros is a valid `sigaction`, and means the default.
        let action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a valid action, no old one asked for.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        return;
    }
    if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) {
        // SAFETY: `sigaction` returned it as a handler of this type.
        let handler = unsafe { std::mem::transmute::<usize, InfoHandler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        handler(signal);
    }
}
