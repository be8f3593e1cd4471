//! What the process makes of signals that end others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libc::c_int;
use signal_hook::consts::SIGXFSZ;

/// Have a write beyond the limit on file sizes (`ulimit -f`) fail with `EFBIG`, as any other error
/// that is told and cleaned up after, where the signal would end the process without a word.
///
/// It is handled rather than ignored: a program that this process runs begins without handlers,
/// but would go on ignoring.
///
/// # Errors
/// What the system says.
pub fn survive_file_size_limits() -> io::Result<()> {
    // Nobody looks at the flag: the write itself says what happened.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Those of `signals` that this process was not started to ignore. The others are to be left
/// alone: `nohup` means that a hangup ends nothing, and a shell's background job that Ctrl-C is not
/// meant for it. Programs that this process runs inherit what is ignored.
///
/// Ask before any of them has a handler.
pub(crate) fn not_ignored(signals: &[c_int]) -> Vec<c_int> {
    let ignored = ignored();
    let is_heard = |signal: &c_int| ignored >> (signal - 1) & 1 == 0;
    signals.iter().copied().filter(is_heard).collect()
}

/// A bit for each signal that is ignored, the first one lowest. None where `/proc` is missing.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}
