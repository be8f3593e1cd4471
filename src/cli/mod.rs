//! Words and exit codes: the two programs' command lines. Knows the daemon's types and the
//! load generator's, and nothing below. What is asked of a daemon goes over its API.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the words of both programs |
//! | `bench` | `ramblk bench` |
//! | `serve` | `ramblk serve` |
//! | `verbs` | the verbs that speak to a daemon |
//! | `values` | values of options, and how they are written |
//! | `file` | the configuration file |
//! | `transfer` | a disk's content from and to files, sparse |
//! | `print` | answers for people or for programs |
//! | `recipes` | what to type into a VMM |
//! | `usage` | what is wrong with the words |
//! | `error` | why not, and the exit code |

mod args;
mod bench;
mod error;
mod file;
mod print;
mod recipes;
mod serve;
mod transfer;
mod usage;
mod values;
mod verbs;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::error::{EXIT_ERROR, EXIT_USAGE, Error};
use self::print::output::{self, Output};
use crate::daemon::{self, Ending, RunConfig, RunOptions};

/// The variable that says what is logged.
const LOG: &str = "RAMBLK_LOG";
/// What QEMU's back-end conventions want to hear of a block back end.
const CAPABILITIES: &str = r#"{ "type": "block", "features": [ "read-only", "blk-file" ] }"#;

/// The program `ramblk`.
pub fn ramblk() -> ExitCode {
    prepare();
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
        args::Verb::Run(run) => serve("ramblk", run.into()),
        args::Verb::Bench(bench) => end(bench.run(), output),
        args::Verb::Serve(serve) => serve.run(),
        args::Verb::Api(verb) => end(verb.run(words.api_socket), output),
    }
}

/// What every program does before anything else.
fn prepare() {
    // Where that is refused, the limit ends the process as it ends others.
    let _ = daemon::survive_file_size_limits();
}

/// What became of a verb, as an exit code and at most one more line on stderr.
fn end(result: Result<(), Error>, output: Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.tell(&error, None);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The program `vhost-user-ramblk`: one disk, started by a management layer that knows nothing of
/// ramblk but QEMU's conventions for vhost-user back-end programs.
pub fn vhost_user_ramblk() -> ExitCode {
    prepare();
    let words: Vec<OsString> = std::env::args_os().collect();
    // The convention: it prints, and everything else on the line is ignored.
    if words
        .iter()
        .skip(1)
        .any(|word| word == "--print-capabilities")
    {
        return end(output::line(CAPABILITIES), Output::Human);
    }
    match args::VhostUserRamblk::try_parse_from(words) {
        Ok(args) => serve("ramblk", args.into()),
        Err(error) => refuse(&error, &args::VhostUserRamblk::command()),
    }
}

fn serve(name: &str, options: RunOptions) -> ExitCode {
    // A command owns the terminal; only what is wrong is said beside it.
    let level = match options.command.is_empty() {
        true => "info",
        false => "warn",
    };
    if let Err(error) = log_to_stderr(level) {
        return end(Err(error), Output::Human);
    }
    match RunConfig::new(name, options).and_then(|config| daemon::run(&config)) {
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

/// Help and version go to stdout; a mistake is one line on stderr.
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

/// Log what `RAMBLK_LOG` asks for, or from this level on.
///
/// # Errors
/// [`Error::Usage`] if the variable has anything else than levels, or targets with levels.
fn log_to_stderr(default: &str) -> Result<(), Error> {
    let filter = match std::env::var_os(LOG) {
        Some(wanted) if !wanted.is_empty() => log_filter(&wanted.to_string_lossy())?,
        _ => EnvFilter::new(default),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would be said on stderr, which is just what can't be written: that is a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
    Ok(())
}

/// A word that is no level would be taken for the name of something that never logs.
fn log_filter(wanted: &str) -> Result<EnvFilter, Error> {
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
        None => EnvFilter::try_new(wanted).map_err(|_| refused(wanted)),
    }
}

/// A closed stderr is nobody's problem.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
