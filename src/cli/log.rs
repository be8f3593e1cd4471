//! The log of `run` and `serve`, which goes to stderr.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::error::Error;

/// The variable that sets the log's filter.
const LOG: &str = "RAMBLK_LOG";

/// Log to stderr as `RAMBLK_LOG` says, or from this level on.
///
/// # Errors
/// [`Error::Usage`] if the variable has anything but levels and targets with levels.
pub(super) fn log_to_stderr(default: &str) -> Result<(), Error> {
    let filter = match std::env::var_os(LOG) {
        Some(wanted) if !wanted.is_empty() => log_filter(&wanted.to_string_lossy())?,
        _ => log_filter(default)?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        // An error of stderr can't be written to stderr: that would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
    Ok(())
}

/// Parse a filter. A misspelt level would be taken for a target that never logs.
fn log_filter(wanted: &str) -> Result<Targets, Error> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let stray = wanted
        .split(',')
        .map(str::trim)
        .find(|word| !word.contains(['=', '[']) && !is_level(word));
    let refused = |word: &str| {
        Error::Usage(format!(
            "{LOG} has {word:?}: use error, warn, info, debug, trace or off, or TARGET=LEVEL as in \
             ramblk::store=debug, with commas between"
        ))
    };
    match stray {
        Some(word) => Err(refused(word)),
        None => wanted.parse().map_err(|_| refused(wanted)),
    }
}
