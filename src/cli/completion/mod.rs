//! Completions of command lines: scripts for shells, and what they call with the words so far.
//!
//! | file | what it holds |
//! |---|---|
//! | `names` | names of disks, snapshots, groups, images, faults and labels, from the daemon |
//! | `words` | the fixed words of options that clap doesn't know |
//! | `mod` | which argument has which names, and the scripts |

mod names;
mod words;

use std::ffi::OsString;

use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, complete};

use self::names::{Kind, Names};
use crate::cli::error::Error;
use crate::cli::print::output::out;

/// The name of the verb that scripts call.
const VERB: &str = "__complete";

/// Shells with a script of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    /// The shell. Its manual says where to put its completions.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Print the script. Those of bash, zsh and fish know names from the daemon.
    pub(in crate::cli) fn run(self, mut program: Command) -> Result<(), Error> {
        let other = match self.shell {
            Shell::Bash => return out(include_str!("ramblk.bash")),
            Shell::Zsh => return out(include_str!("ramblk.zsh")),
            Shell::Fish => return out(include_str!("ramblk.fish")),
            Shell::Elvish => clap_complete::Shell::Elvish,
            Shell::Powershell => clap_complete::Shell::PowerShell,
        };
        let mut text = Vec::new();
        clap_complete::generate(other, &mut program, "ramblk", &mut text);
        out(&String::from_utf8_lossy(&text))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompleteWords {
    /// The words of the command line up to the cursor, the program's first. The last one is being
    /// written.
    #[arg(last = true)]
    words: Vec<OsString>,
}

impl CompleteWords {
    /// Print what the last word may become, a line each, with a tab before what it means. Whatever
    /// goes wrong, nothing is printed.
    pub(in crate::cli) fn run(self, program: Command) -> Result<(), Error> {
        let Some(last) = self.words.len().checked_sub(1).filter(|last| *last > 0) else {
            return Ok(());
        };
        let names = Names::new(&self.words);
        let mut program = with_names(program, "", &names);
        let here = std::env::current_dir().ok();
        let found = complete(&mut program, self.words, last, here.as_deref());
        let mut text = String::new();
        for candidate in found.unwrap_or_default() {
            let value = candidate.get_value().to_string_lossy();
            if value == VERB {
                continue;
            }
            text += &value;
            let help = candidate.get_help().map(ToString::to_string);
            if let Some(help) = help.as_deref().and_then(|help| help.lines().next()) {
                text = text + "\t" + help;
            }
            text.push('\n');
        }
        out(&text)
    }
}

/// The command line with the names that its arguments may have.
fn with_names(mut command: Command, verb: &str, names: &Names) -> Command {
    let below = command.get_subcommands().map(|it| it.get_name().to_owned());
    for name in below.collect::<Vec<_>>() {
        let verb = format!("{verb} {name}").trim_start().to_owned();
        command = command.mut_subcommand(name, |below| with_names(below, &verb, names));
    }
    command.mut_args(|argument| match kind(verb, &argument) {
        Some(kind) => {
            let names = names.clone();
            argument.add(ArgValueCompleter::new(move |start: &std::ffi::OsStr| {
                names.of(kind, &start.to_string_lossy())
            }))
        }
        None => match words::of(verb, &argument) {
            Some(words) => argument.add(ArgValueCompleter::new(move |start: &std::ffi::OsStr| {
                words::fitting(&words, &start.to_string_lossy())
            })),
            None => argument,
        },
    })
}

/// Which names an argument of a verb has.
fn kind(verb: &str, argument: &Arg) -> Option<Kind> {
    let id = argument.get_id().as_str();
    if let Some(long) = argument.get_long() {
        return match long {
            "selector" | "label" => Some(Kind::Label),
            "group" => Some(Kind::Group),
            "to" => Some(Kind::Snapshot),
            "since" if verb == "export" => Some(Kind::Snapshot),
            "disk" => Some(Kind::Disk),
            "image" if verb == "create" => Some(Kind::ContentImage),
            _ => None,
        };
    }
    let value = argument.get_value_names().and_then(|names| names.first());
    let value = value.map_or("", |name| name.as_str());
    match (verb, id) {
        ("create" | "group create", _) => None,
        ("group set" | "group show" | "group destroy", "name" | "names") => Some(Kind::Group),
        ("image show" | "image rm", _) => Some(Kind::Image),
        ("fault rm", "ids") | ("fault release", "id") => Some(Kind::Fault),
        ("fork", "words") | ("protect" | "unprotect" | "children", _) => Some(Kind::Any),
        ("show" | "destroy", _) => Some(Kind::Content),
        // Disks, and one word more.
        ("snapshot" | "fault add", "words") => Some(Kind::Disk),
        _ if value.contains("@SNAPSHOT") => Some(Kind::Content),
        (_, "name" | "names" | "disk") => Some(Kind::Disk),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Ramblk;

    fn collect(command: &Command, path: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let path = format!("{path} {}", verb.get_name()).trim().to_owned();
            for argument in verb.get_arguments() {
                if let Some(kind) = kind(&path, argument) {
                    found.push(format!("{path} {}: {kind:?}", argument.get_id()));
                }
            }
            collect(verb, &path, found);
        }
    }

    #[test]
    fn arguments_have_the_names_that_they_can_take() {
        let mut found = Vec::new();
        collect(&Ramblk::command(), "", &mut found);
        for wanted in [
            "resize name: Disk",
            "set names: Disk",
            "set group: Group",
            "export words: Content",
            "diff from: Content",
            "diff to: Content",
            "fork words: Any",
            "group show name: Group",
            "image rm images: Image",
            "list labels: Label",
            "set selected: Label",
            "reset to: Snapshot",
            "fault add words: Disk",
            "fault rm name: Disk",
            "fault rm ids: Fault",
            "fault release id: Fault",
            "create image: ContentImage",
            "record start name: Disk",
        ] {
            let is_there = found.iter().any(|it| it == wanted);
            assert!(is_there, "{wanted} is missing: {found:#?}");
        }
        for verb in ["create name", "group create name"] {
            assert!(
                !found.iter().any(|it| it.starts_with(verb)),
                "{verb} is new"
            );
        }
    }
}
