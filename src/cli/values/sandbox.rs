//! How far a process that serves disks confines itself, as in `strict`.

use crate::daemon::SandboxMode;

/// Parse a mode.
///
/// # Errors
/// It is none of the known words.
pub(in crate::cli) fn parse_sandbox(text: &str) -> Result<SandboxMode, String> {
    SandboxMode::parse(text).ok_or_else(|| {
        let words = SandboxMode::WORDS.map(|(word, _)| word);
        format!("{text:?} is none of {}", words.join(", "))
    })
}
