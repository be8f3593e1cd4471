//! The handler of refused system calls (SIGSYS).
//!
//! The kernel runs it on the thread that made the call. It keeps the call for the next process,
//! writes a line to stderr, and aborts, so that the end counts as a crash: disks are kept, and a
//! request that does it twice is no longer served. With `--sandbox log` it reports the call to a
//! thread that logs it, and makes the call.
#![allow(
    unsafe_code,
    reason = "no crate has handlers with a siginfo_t and registers"
)]

use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::kind::Kind;
use super::refusal::Refusal;
use crate::store::OwnerWords;

static WORDS: OnceLock<OwnerWords> = OnceLock::new();
/// Where calls are reported that would be refused, if they are made all the same.
static REPORTS: OnceLock<OwnedFd> = OnceLock::new();
static IS_LOGGING: AtomicBool = AtomicBool::new(false);
/// Calls with numbers below this are reported once for each kind of thread, others each time.
const MOST_SEEN: usize = 512;
const SEEN_WORDS: usize = MOST_SEEN / 64;
static SEEN: [[AtomicU64; SEEN_WORDS]; Kind::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; SEEN_WORDS] }; Kind::ALL.len()];

/// `si_code` of a call that a filter refused.
const SYS_SECCOMP: i32 = 1;

thread_local! {
    /// The kind of this thread. A constant without a destructor, so that a handler can read it.
    static KIND: AtomicU8 = const { AtomicU8::new(u8::MAX) };
}

/// `siginfo_t` of a refused call.
#[repr(C)]
struct About {
    signal: i32,
    error: i32,
    code: i32,
    at: *const libc::c_void,
    call: i32,
    architecture: u32,
}

/// `AUDIT_ARCH_*` of this program.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// Install the handler. With `reports` calls are reported there, and made.
///
/// # Errors
/// The kernel's.
pub(super) fn install(reports: Option<OwnedFd>) -> io::Result<()> {
    if let Some(reports) = reports {
        let _ = REPORTS.set(reports);
        IS_LOGGING.store(true, Ordering::Release);
    }
    // SAFETY: all zeros is a valid `sigaction`: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_refusal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler calls only what is async-signal-safe.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keep a refusal in these words, for the next process.
pub(super) fn keep_in(words: OwnerWords) {
    let _ = WORDS.set(words);
}

/// The calling thread is of this kind.
pub(super) fn i_am(kind: Kind) {
    let number = u8::try_from(kind.number()).unwrap_or(u8::MAX);
    KIND.with(|own| own.store(number, Ordering::Relaxed));
}

extern "C" fn on_refusal(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t`, which is larger than this part of it.
    let about = unsafe { &*info.cast::<About>() };
    let kind = KIND.try_with(|own| own.load(Ordering::Relaxed));
    let number = about.call.unsigned_abs();
    let is_foreign = ARCHITECTURE != 0 && about.architecture != ARCHITECTURE;
    let refusal = Refusal::new(kind.unwrap_or(u8::MAX), number, is_foreign);
    let is_refused = about.code == SYS_SECCOMP;
    if is_refused && !is_foreign && IS_LOGGING.load(Ordering::Acquire) {
        if is_new(kind.unwrap_or(u8::MAX), number) {
            report(refusal);
        }
        // SAFETY: the kernel passes the registers of the thread as they were at the call.
        unsafe { pass::make_the_call(number, context) };
        return;
    }
    if is_refused {
        if let Some(words) = WORDS.get() {
            refusal.keep(words);
        }
        say(refusal);
    }
    std::process::abort();
}

/// Whether this call of this kind of thread is reported for the first time.
fn is_new(kind: u8, number: u32) -> bool {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let seen = SEEN.get(usize::from(kind));
    let Some(word) = seen.and_then(|seen| seen.get(number / 64)) else {
        return true;
    };
    let bit = 1 << (number % 64);
    word.fetch_or(bit, Ordering::Relaxed) & bit == 0
}

fn report(refusal: Refusal) {
    if let Some(reports) = REPORTS.get() {
        // A full pipe has reports enough. The call is one that each thread may make.
        let _ = rustix::io::write(reports, &refusal.bits().to_ne_bytes());
    }
}

/// Write a line to stderr, without allocating memory.
fn say(refusal: Refusal) {
    let mut line = arrayvec::ArrayString::<256>::new();
    let _ = writeln!(
        line,
        "error: the sandbox refused the system call {} ({}) of a thread of the kind {:?}, and \
         ends the process; disks in a state directory are kept",
        refusal.call(),
        refusal.number(),
        refusal.thread(),
    );
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Where filters let all calls through that the handler makes; `None` if it can make none.
pub(super) fn passage() -> Option<u64> {
    pass::passage()
}

#[cfg(target_arch = "x86_64")]
mod pass {
    //! Making a call from the handler.

    std::arch::global_asm!(
        // (number, six arguments), as C passes them, to the kernel as it takes them.
        ".globl ramblk_make_call",
        ".hidden ramblk_make_call",
        ".hidden ramblk_call_made",
        "ramblk_make_call:",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        ".globl ramblk_call_made",
        "ramblk_call_made:",
        "ret",
    );

    // SAFETY: both are defined above.
    unsafe extern "C" {
        fn ramblk_make_call(call: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64;
        fn ramblk_call_made();
    }

    /// The kernel names a call by the instruction behind it.
    pub(super) fn passage() -> Option<u64> {
        u64::try_from(ramblk_call_made as *const () as usize).ok()
    }

    /// Make the call that was refused, and let the thread find its result.
    ///
    /// # Safety
    /// `context` is what the kernel passed to the handler of the refusal.
    pub(super) unsafe fn make_the_call(number: u32, context: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid context.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let registers = &mut context.uc_mcontext.gregs;
        let [a, b, c, d, e, f] = [
            libc::REG_RDI,
            libc::REG_RSI,
            libc::REG_RDX,
            libc::REG_R10,
            libc::REG_R8,
            libc::REG_R9,
        ]
        .map(|register| registers[register.unsigned_abs() as usize]);
        // SAFETY: the thread makes this call itself, with these arguments, at this moment.
        let result = unsafe { ramblk_make_call(number.into(), a, b, c, d, e, f) };
        registers[libc::REG_RAX.unsigned_abs() as usize] = result;
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod pass {
    //! Elsewhere the kernel's own log has what would be refused.

    pub(super) fn passage() -> Option<u64> {
        None
    }

    /// Nothing.
    ///
    /// # Safety
    /// None.
    pub(super) unsafe fn make_the_call(_number: u32, _context: *mut libc::c_void) {}
}
