//! Words and exit codes: the two programs' command lines. Knows the daemon's types and the
//! load generator's, and nothing below.

mod args;
mod bench;
mod cpus;
mod serve;
mod size;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::daemon::{self, Ending, RunConfig, RunOptions};

/// Bad words: an unknown option, a value that can't be.
const EXIT_USAGE: u8 = 2;
const EXIT_ERROR: u8 = 1;

/// What QEMU's back-end conventions want to hear of a block back end.
const CAPABILITIES: &str = r#"{ "type": "block", "features": [ "read-only", "blk-file" ] }"#;

/// The program `ramblk`.
pub fn ramblk() -> ExitCode {
    match args::Ramblk::try_parse() {
        Ok(args::Ramblk {
            verb: args::Verb::Run(run),
        }) => serve("ramblk", run.into()),
        Ok(args::Ramblk {
            verb: args::Verb::Bench(bench),
        }) => bench.run(),
        Ok(args::Ramblk {
            verb: args::Verb::Serve(serve),
        }) => serve.run(),
        Err(error) => refuse(&error),
    }
}

/// The program `vhost-user-ramblk`: one disk, started by a management layer that knows nothing of
/// ramblk but QEMU's conventions for vhost-user back-end programs.
pub fn vhost_user_ramblk() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // The convention: it prints, and everything else on the line is ignored.
    if words
        .iter()
        .skip(1)
        .any(|word| word == "--print-capabilities")
    {
        return match writeln!(std::io::stdout(), "{CAPABILITIES}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EXIT_ERROR),
        };
    }
    match args::VhostUserRamblk::try_parse_from(words) {
        Ok(args) => serve("ramblk", args.into()),
        Err(error) => refuse(&error),
    }
}

fn serve(name: &str, options: RunOptions) -> ExitCode {
    // A command owns the terminal; only what is wrong is said beside it.
    log_to_stderr(if options.command.is_empty() {
        "info"
    } else {
        "warn"
    });
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
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match write!(std::io::stdout(), "{error}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EXIT_ERROR),
        };
    }
    let text = error.to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        say(&text);
        return ExitCode::from(EXIT_USAGE);
    }
    let reason: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    say(&format!("{}; try --help", reason.join(" ")));
    ExitCode::from(EXIT_USAGE)
}

fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env("RAMBLK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

/// A closed stderr is nobody's problem.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
