//! Signals that would end the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libc::c_int;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag::{register, register_conditional_shutdown};

/// Handle SIGXFSZ, so that a write beyond the limit on file sizes (`ulimit -f`) fails with `EFBIG`.
/// Such an error is reported and cleaned up after; the signal would end the process silently.
///
/// The signal is handled, not ignored: a program that this process runs starts without handlers,
/// but would inherit an ignored signal.
///
/// # Errors
/// The system's.
pub fn survive_file_size_limits() -> io::Result<()> {
    // The flag is not used: the write itself fails.
    register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Those of `signals` that were not ignored when this process started. The others must stay
/// ignored: with `nohup` a hangup must end nothing, and Ctrl-C isn't meant for a shell's background
/// job. Programs that this process runs inherit ignored signals.
///
/// Call this before any of them has a handler.
pub(crate) fn not_ignored(signals: &[c_int]) -> Vec<c_int> {
    let ignored = ignored();
    let is_heard = |signal: &c_int| ignored >> (signal - 1) & 1 == 0;
    signals.iter().copied().filter(is_heard).collect()
}

/// The signals that end a process that serves disks: SIGTERM, and those of a terminal unless they
/// are ignored.
pub(crate) fn ending() -> Vec<c_int> {
    let mut ending = not_ignored(&[SIGINT, SIGHUP]);
    ending.push(SIGTERM);
    ending
}

/// A flag that SIGTERM sets, and the signals of a terminal unless they are
/// ignored. The second signal ends the process.
///
/// # Errors
/// The system's.
pub fn interruption() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in ending() {
        register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
        register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A bit for each ignored signal, the lowest for the first one. No bit if `/proc` is missing.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}
