//! Files that are not whole when a signal ends the process.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::store::Temporary;
use crate::threads::{self, Role};

/// Have a signal that ends the process take a temporary name away first. One that is ignored, as
/// `nohup` has it, stays so.
///
/// # Errors
/// If the system takes no handler, or has no thread.
pub fn remove_at_signal(temporary: Temporary) -> io::Result<()> {
    let ignored = ignored_signals();
    let heard = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    let heard = heard.iter().filter(|&&it| ignored >> (it - 1) & 1 == 0);
    let mut signals = Signals::new(heard)?;
    threads::spawn(Role::Signals, move || {
        for signal in signals.forever() {
            temporary.remove();
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// A bit for each signal that the process was started to ignore, the first one lowest.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}
