//! The command lines of both programs: options, output and exit codes. Verbs use the API's client.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the options of both programs |
//! | `bench` | `ramblk bench` |
//! | `serve` | `ramblk serve` |
//! | `helpers` | processes that ramblk starts of itself |
//! | `verbs` | the verbs that use a daemon's API |
//! | `values` | values of options, and how they are written |
//! | `file` | the configuration file |
//! | `transfer` | a disk's content from and to sparse files |
//! | `print` | printing results and failures |
//! | `log` | the log, and its filter |
//! | `completion` | completions of command lines, with names from the daemon |
//! | `manual` | examples in each help, and the manual pages |
//! | `recipes` | how to attach a disk to a VMM |
//! | `usage` | what is wrong with a command line |
//! | `error` | messages and exit codes |

mod args;
mod bench;
mod completion;
mod error;
mod file;
mod helpers;
mod log;
mod manual;
mod print;
mod recipes;
mod serve;
mod transfer;
mod usage;
mod values;
mod verbs;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser};

use self::error::{EXIT_ERROR, EXIT_USAGE};
use self::log::{ended, start_log, tell_end};
use self::print::output::{self, Output, end, say};
use self::transfer::{BROKER, HELPER, PROGRAM};
use crate::daemon::{self, Ending, RunConfig, RunOptions};

/// The capabilities of a block back end, by QEMU's conventions.
const CAPABILITIES: &str = r#"{ "type": "block", "features": [ "read-only", "blk-file" ] }"#;

/// The program `ramblk`.
pub fn ramblk() -> ExitCode {
    // Packages have one program, and a link to it with the other one's name.
    let words = std::env::args_os().next();
    let name = words.as_ref().and_then(|path| Path::new(path).file_name());
    if name == Some("vhost-user-ramblk".as_ref()) {
        return vhost_user_ramblk();
    }
    prepare();
    if let Some(code) = helpers::run() {
        return code;
    }
    let mut found = match program().try_get_matches() {
        Ok(found) => found,
        Err(error) => return refuse(&error, &program()),
    };
    let output = Output::of(&found);
    let words = match args::Ramblk::from_arg_matches_mut(&mut found) {
        Ok(words) => words,
        Err(error) => {
            let mut words = program();
            return refuse(&error.format(&mut words), &words);
        }
    };
    match words.verb {
        args::Verb::Run(run) => serve("ramblk", run.options()),
        args::Verb::Bench(bench) => end(bench.run(), output),
        args::Verb::Serve(serve) => serve.run(),
        args::Verb::Api(verb) => end(verb.run(words.api_socket, program()), output),
    }
}

/// The command line of `ramblk`, with examples.
fn program() -> Command {
    manual::with_examples(args::Ramblk::command())
}

/// The first thing that each program does.
fn prepare() {
    // If this is refused, a limit on file sizes still ends the process.
    let _ = daemon::survive_file_size_limits();
    daemon::broker_is(&[PROGRAM, HELPER, BROKER]);
}

/// The program `vhost-user-ramblk`: one disk, for a management layer that knows only QEMU's
/// conventions for vhost-user back-end programs.
pub fn vhost_user_ramblk() -> ExitCode {
    prepare();
    if let Some(code) = helpers::run() {
        return code;
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    // By the convention, everything else on the line is ignored.
    if words
        .iter()
        .skip(1)
        .any(|word| word == "--print-capabilities")
    {
        return end(output::line(CAPABILITIES), Output::Human);
    }
    match args::VhostUserRamblk::try_parse_from(words) {
        Ok(args) => serve("ramblk", args.options()),
        Err(error) => refuse(&error, &args::VhostUserRamblk::command()),
    }
}

fn serve(name: &str, options: Result<RunOptions, error::Error>) -> ExitCode {
    let options = match options {
        Ok(options) => options,
        Err(error) => return ended(Err(error)),
    };
    // The command uses the terminal, so only warnings are logged there.
    let level = match options.command.is_empty() {
        true => "info",
        false => "warn",
    };
    if let Err(error) = start_log(level) {
        return ended(Err(error));
    }
    match RunConfig::new(name, options).and_then(daemon::run) {
        Ok(Ending::Asked) => ExitCode::SUCCESS,
        Ok(Ending::Command(code)) => ExitCode::from(code),
        Err(error) => {
            let code = if error.is_usage() {
                EXIT_USAGE
            } else {
                EXIT_ERROR
            };
            tell_end(&error.to_string(), code);
            ExitCode::from(code)
        }
    }
}

/// Print help and version to stdout, and an error as one line to stderr.
fn refuse(error: &clap::Error, program: &Command) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return end(output::out(&error.to_string()), Output::Human);
    }
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => say(&error.to_string()),
        _ => {
            let words: Vec<OsString> = std::env::args_os().collect();
            let sentence = usage::sentence(error, program, &words);
            match usage::serves(program, &words) {
                true => tell_end(&sentence, EXIT_USAGE),
                false => output::complain(&sentence),
            }
        }
    }
    ExitCode::from(EXIT_USAGE)
}
