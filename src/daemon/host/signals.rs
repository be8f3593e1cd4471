//! What the process makes of signals that end others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
