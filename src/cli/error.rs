//! Why a verb failed: messages and exit codes.

use std::io;
use std::path::PathBuf;

use crate::model::{Missing, Problem, ProblemKind, frames};
use crate::{client, daemon, image, load, remote};

/// The reader of stdout has exited: the code that a shell shows after SIGPIPE.
const EXIT_PIPE: u8 = 128 + 13;
/// Any other error.
pub(super) const EXIT_ERROR: u8 = 1;
/// A usage error: an unknown option, an impossible value.
pub(super) const EXIT_USAGE: u8 = 2;
/// There is no such disk, snapshot or group.
const EXIT_NOT_FOUND: u8 = 3;
/// It exists with other settings, is in use, or holds data.
const EXIT_CONFLICT: u8 = 4;
/// There is not enough memory, quota or descriptors.
const EXIT_OVER_BUDGET: u8 = 5;
/// No daemon answers at the API's socket.
const EXIT_NO_DAEMON: u8 = 6;

/// What was waited for has not come in time.
const EXIT_TIME_UP: u8 = 7;

/// Two disks differ.
pub(super) const EXIT_DIFFERENT: u8 = 1;
/// A dry run found changes.
pub(super) const EXIT_WOULD_CHANGE: u8 = 8;
/// A look at the host found a problem.
pub(super) const EXIT_PROBLEM: u8 = 9;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The daemon can't be asked, or does not answer as it should.
    #[error("{0}{hint}", hint = advice(.0))]
    Client(client::Error),
    /// A file can't be used.
    #[error("can't {what} {path:?}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Stdout can't be written.
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
    /// Everything was reported already: failures by name, or what would change.
    #[error("not all was done")]
    Told {
        /// The first failure's.
        exit_code: u8,
    },
    /// A verb failed for which 1 is an answer.
    #[error("{0}")]
    NoAnswer(Box<Error>),
    /// The time was up.
    #[error("{0}")]
    TimeUp(String),
    /// A command can't be run.
    #[error("{detail}")]
    NoCommand {
        /// Why.
        detail: String,
        /// What a shell returns for that: 126 or 127.
        exit_code: u8,
    },
    /// Any other message.
    #[error("{0}")]
    Other(String),
    /// From the daemon's part of the library.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    /// From an image.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// From another host.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// From the load generator.
    #[error(transparent)]
    Load(#[from] load::Error),
}

impl Error {
    /// The program's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Client(client::Error::NoDaemon { .. }) => EXIT_NO_DAEMON,
            Self::Problem(problem) => problem_code(problem),
            Self::Daemon(error) if error.is_usage() => EXIT_USAGE,
            Self::Daemon(error) if error.is_busy() => EXIT_CONFLICT,
            Self::Daemon(error) if error.is_over_budget() => EXIT_OVER_BUDGET,
            Self::Remote(error) if error.is_usage() => EXIT_USAGE,
            Self::Load(error) if error.is_usage() => EXIT_USAGE,
            Self::TimeUp(_) => EXIT_TIME_UP,
            Self::Told { exit_code } | Self::NoCommand { exit_code, .. } => *exit_code,
            Self::NoAnswer(error) => error.exit_code().max(EXIT_USAGE),
            Self::Output(_) if self.is_closed_pipe() => EXIT_PIPE,
            _ => EXIT_ERROR,
        }
    }

    /// Whether it is a problem of this kind.
    pub(super) fn is(&self, kind: ProblemKind) -> bool {
        match self {
            Self::Problem(problem) => problem.is(kind),
            Self::NoAnswer(error) => error.is(kind),
            _ => false,
        }
    }

    /// Whether everything was reported already, or the reader of stdout is gone.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Told { .. }) || self.is_closed_pipe()
    }

    /// Whether the reader of stdout is gone, as `head` is after its lines.
    pub(super) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::NoAnswer(error) => error.is_closed_pipe(),
            _ => false,
        }
    }

    /// The same error with advice, if it is a problem of this kind. It replaces the daemon's own,
    /// which names parameters of the API.
    pub(super) fn advise(self, kind: ProblemKind, advice: impl FnOnce(&Problem) -> String) -> Self {
        match self {
            Self::Problem(mut problem) if problem.is(kind) => {
                let whole = problem.detail.as_str();
                let before = whole.split_once(ADVICE);
                let what = before.map_or(whole, |(what, _)| what);
                problem.detail = format!("{what}; {}", advice(&problem));
                Self::Problem(problem)
            }
            error => error,
        }
    }

    /// The same error with what to do, if a disk exists with other settings that can be changed.
    pub(super) fn advise_maker(self) -> Self {
        const WITH: &str = "'ramblk resize' changes the size, 'ramblk limit' limits, and 'ramblk \
                            set' most others";
        match &self {
            // With another conflict no field is named.
            Self::Problem(problem) if problem.field.is_some() => {
                self.advise(ProblemKind::Conflict, |_| WITH.to_owned())
            }
            _ => self,
        }
    }

    /// The same error with what to do, if something is not destroyed for a reason that an option or
    /// another verb takes away.
    pub(super) fn advise_destroyer(self) -> Self {
        let advice = match &self {
            Self::Problem(problem) => match problem.field.as_deref() {
                Some("protected") => "'ramblk unprotect' does that",
                Some("snapshots" | "force") => return self.in_words(),
                _ => "see 'ramblk destroy --help'",
            },
            _ => return self,
        };
        self.advise(ProblemKind::Conflict, |_| advice.to_owned())
    }

    /// The same error with options in place of names of the API.
    fn in_words(self) -> Self {
        match self {
            Self::Problem(mut problem) => {
                for (name, option) in OPTIONS {
                    problem.detail = problem.detail.replace(name, option);
                }
                Self::Problem(problem)
            }
            error => error,
        }
    }
}

/// Where the daemon's advice begins, if a verb has its own.
const ADVICE: &str = "; detach it first, or ";

/// Names of the API in the daemon's advice, and the options that they are here.
const OPTIONS: [(&str, &str); 5] = [
    ("or set force", "or use --force"),
    (
        "or all of them with it",
        "or all of them with it: --snapshots",
    ),
    (
        "create it with write_cache volatile, or detach it and set that",
        "create it with --write-cache volatile, or detach it and use 'ramblk set' with that",
    ),
    (
        "needs on_detach reset or destroy",
        "needs --on-detach reset or destroy",
    ),
    ("rename it with force", "rename it with --force"),
];

/// The daemon's refusal of what options have asked for, in words of the command line.
pub(super) fn in_options(error: client::Error) -> Error {
    Error::from(error).in_words()
}

/// What shows the things of the kind that the daemon doesn't have, unless it says that itself.
fn where_to_look(missing: Missing, detail: &str) -> Option<String> {
    let disk = disk_of(detail).unwrap_or("NAME");
    let list = match missing {
        Missing::Disk => "list",
        Missing::Group => "group list",
        Missing::Image => "image list",
        Missing::Snapshot => &format!("snapshots {disk}"),
        Missing::Point => &format!("history list {disk}"),
        Missing::Fault => "fault list NAME",
        Missing::Recording => return Some("'ramblk record start NAME' does".into()),
        Missing::Path => {
            return Some("the daemon may be of another version than this program".into());
        }
        Missing::SavedState | Missing::Parent => return None,
    };
    Some(format!("'ramblk {list}' shows those that exist"))
}

/// The disk of the snapshot or point that the daemon's text names, as in `"golden@v9"`.
fn disk_of(detail: &str) -> Option<&str> {
    let (disk, _) = detail.split('"').nth(1)?.split_once('@')?;
    Some(disk)
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let missing = error.missing();
        match error {
            client::Error::Problem(problem) => {
                let list = missing.and_then(|it| where_to_look(it, &problem.detail));
                let error = Self::Problem(problem);
                match list {
                    Some(list) => error.advise(ProblemKind::NotFound, |_| list),
                    None => error,
                }
            }
            error => Self::Client(error),
        }
    }
}

/// What to do about an error.
fn advice(error: &client::Error) -> &'static str {
    match error {
        client::Error::NoDaemon { .. } => {
            "; start one with 'ramblk serve', or name its socket with --api-socket or RAMBLK_API"
        }
        client::Error::NotAllowed { .. } => {
            "; become a member of its group, or name another one with --api-socket or RAMBLK_API"
        }
        _ => "",
    }
}

impl From<frames::Error> for Error {
    fn from(error: frames::Error) -> Self {
        Self::Other(match error {
            frames::Error::Beyond { .. } => {
                "the disk's size changed during the export; export a snapshot of it".into()
            }
            frames::Error::CutOff { .. } => {
                "the daemon ended the transfer before the end of the disk".into()
            }
            error => format!("the daemon sent invalid content: {error}"),
        })
    }
}

fn problem_code(problem: &Problem) -> u8 {
    let kinds = [
        (ProblemKind::Invalid, EXIT_USAGE),
        (ProblemKind::NotFound, EXIT_NOT_FOUND),
        (ProblemKind::Conflict, EXIT_CONFLICT),
        (ProblemKind::Changed, EXIT_CONFLICT),
        (ProblemKind::Attached, EXIT_CONFLICT),
        (ProblemKind::WouldLoseData, EXIT_CONFLICT),
        (ProblemKind::OverBudget, EXIT_OVER_BUDGET),
    ];
    let found = kinds.iter().find(|(kind, _)| problem.is(*kind));
    found.map_or(EXIT_ERROR, |(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_1_is_an_answer_no_failure_ends_with_it() {
        let failed = |error| Error::NoAnswer(Box::new(error)).exit_code();
        assert_eq!(failed(Error::Other("so it is".into())), 2);
        let gone = Problem::new(ProblemKind::NotFound, "so it is");
        assert_eq!(failed(Error::Problem(Box::new(gone))), 3);
    }

    #[test]
    fn what_is_missing_is_looked_for_by_its_kind_and_not_by_its_text() {
        let told = |problem| Error::from(client::Error::Problem(Box::new(problem))).to_string();
        let image = told(Problem::missing(Missing::Image, "gone"));
        assert_eq!(image, "gone; 'ramblk image list' shows those that exist");
        let parent = told(Problem::missing(Missing::Parent, "gone"));
        assert_eq!(parent, "gone");
        // As a daemon of another version may say it.
        let text = "there is no disk named \"a\"";
        assert_eq!(told(Problem::new(ProblemKind::NotFound, text)), text);
    }

    #[test]
    fn each_kind_of_problem_has_its_exit_code() {
        for (kind, code) in [
            (ProblemKind::Invalid, 2),
            (ProblemKind::NotFound, 3),
            (ProblemKind::Conflict, 4),
            (ProblemKind::Attached, 4),
            (ProblemKind::WouldLoseData, 4),
            (ProblemKind::OverBudget, 5),
            (ProblemKind::Internal, 1),
            (ProblemKind::Busy, 1),
        ] {
            let error = Error::Problem(Box::new(Problem::new(kind, "so it is")));
            assert_eq!(error.exit_code(), code, "{kind:?}");
            assert_eq!(error.to_string(), "so it is");
        }
    }
}
