//! Removes an incomplete file when a signal ends the process.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::signals;
use crate::store::Temporary;
use crate::threads::{self, Role};

/// Remove a temporary file before a signal ends the process. Signals that are ignored, as with
/// `nohup`, stay ignored.
///
/// # Errors
/// The system refuses a handler, or has no thread left.
pub fn remove_at_signal(temporary: Temporary) -> io::Result<()> {
    let ending = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    let mut signals = Signals::new(signals::not_ignored(&ending))?;
    threads::spawn(Role::Signals, move || {
        for signal in signals.forever() {
            temporary.remove();
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}
