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
//! | `recipes` | how to attach a disk to a VMM |
//! | `usage` | what is wrong with a command line |
//! | `error` | messages and exit codes |

mod args;
mod bench;
mod error;
mod file;
mod helpers;
mod log;
mod print;
mod recipes;
mod serve;
mod transfer;
mod usage;
mod values;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser};

use self::error::{EXIT_ERROR, EXIT_USAGE};
use self::log::log_to_stderr;
use self::print::output::{self, Output, end, say};
use crate::daemon::{self, Ending, RunConfig, RunOptions};

/// The capabilities of a block back end, by QEMU's conventions.
const CAPABILITIES: &str = r#"{ "type": "block", "features": [ "read-only", "blk-file" ] }"#;

/// The program `ramblk`.
pub fn ramblk() -> ExitCode {
    prepare();
    if let Some(code) = helpers::run() {
        return code;
    }
    let mut found = match args::Ramblk::command().try_get_matches() {
        Ok(found) => found,
        Err(error) => return refuse(&error, &args::Ramblk::command()),
    };
    let output = Output::of(&found);
    let words = match args::Ramblk::from_arg_matches_mut(&mut found) {
        Ok(words) => words,
        Err(error) => {
            let mut program = args::Ramblk::command();
            return refuse(&error.format(&mut program), &program);
        }
    };
    match words.verb {
        args::Verb::Run(run) => serve("ramblk", run.options()),
        args::Verb::Bench(bench) => end(bench.run(), output),
        args::Verb::Serve(serve) => serve.run(),
        args::Verb::Api(verb) => end(verb.run(words.api_socket, args::Ramblk::command()), output),
    }
}

/// The first thing that each program does.
fn prepare() {
    // If this is refused, a limit on file sizes still ends the process.
    let _ = daemon::survive_file_size_limits();
}

/// The program `vhost-user-ramblk`: one disk, for a management layer that knows only QEMU's
/// conventions for vhost-user back-end programs.
pub fn vhost_user_ramblk() -> ExitCode {
    prepare();
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
        Err(error) => return end(Err(error), Output::Human),
    };
    // The command uses the terminal, so only warnings are logged there.
    let level = match options.command.is_empty() {
        true => "info",
        false => "warn",
    };
    if let Err(error) = log_to_stderr(level) {
        return end(Err(error), Output::Human);
    }
    match RunConfig::new(name, options).and_then(daemon::run) {
        Ok(Ending::Asked) => ExitCode::SUCCESS,
        Ok(Ending::Command(code)) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(if error.is_usage() {
                EXIT_USAGE
            } else {
                EXIT_ERROR
            })
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
            say(&format!(
                "error: {}",
                usage::sentence(error, program, &words)
            ));
        }
    }
    ExitCode::from(EXIT_USAGE)
}
