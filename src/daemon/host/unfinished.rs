//! Files that are not whole when a signal ends the process.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::signals;
use crate::store::Temporary;
use crate::threads::{self, Role};

/// Have a signal that ends the process take a temporary name away first. One that is ignored, as
/// `nohup` has it, stays so.
///
/// # Errors
/// If the system takes no handler, or has no thread.
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
