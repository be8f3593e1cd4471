//! Words that options take which clap doesn't know, because a parser of ours reads them.

use clap::Arg;
use clap_complete::engine::CompletionCandidate;

use crate::cli::print::columns;
use crate::daemon::SandboxMode;

/// The words of an option of a verb, if it has any.
pub(super) fn of(verb: &str, option: &Arg) -> Option<Vec<&'static str>> {
    let words = match (verb, option.get_long()?) {
        (_, "sandbox") => SandboxMode::WORDS.map(|(word, _)| word).into(),
        ("list", "sort" | "columns") => columns::names().collect(),
        ("fault add", "op") => vec!["read", "write", "flush", "discard", "write-zeroes"],
        // Not FIGURE>=NUMBER: a shell would take > for a redirection.
        ("wait", "for") => vec!["attached", "detached", "imported", "quiet="],
        ("pool", "by") => vec!["group", "label="],
        // That of bench is the size of a request.
        ("run" | "create" | "fork", "block-size") => vec!["512", "4096"],
        _ => return None,
    };
    Some(words)
}

/// Those that begin with `start`.
pub(super) fn fitting(words: &[&str], start: &str) -> Vec<CompletionCandidate> {
    let fits = words.iter().filter(|word| word.starts_with(start));
    fits.map(CompletionCandidate::new).collect()
}
