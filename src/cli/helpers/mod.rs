//! Processes that ramblk starts of itself, for what must be apart from the process that a user
//! started. Their words begin with `--helper`, and no help text has them.
//!
//! | file | what it holds |
//! |---|---|
//! | `fetch` | an image on another host, read in a process that serves nothing |
//! | `fetched` | such an image in the process that serves it, and has no network |
//! | `keep` | an upload that is ended when its process is gone |

mod fetch;
mod fetched;
mod keep;

pub(super) use fetched::{Fetching, fetched};

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::error::{EXIT_USAGE, Error};
use super::print::output::say;
use super::transfer::{FormatArg, HELPER};
use crate::daemon;

/// The words of a helper.
#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write an image to stdout, as frames.
    Fetch {
        /// Where it is.
        source: PathBuf,
        /// The most bytes that it may have.
        #[arg(long)]
        most_bytes: Option<u64>,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Answer the process at the other end of stdin.
    Broker,
    /// Begin an upload, and end it when stdin ends.
    Keep {
        /// Where it goes.
        place: PathBuf,
    },
}

/// Be a helper, if this process was started as one.
pub(super) fn run() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    if words.next()? != HELPER {
        return None;
    }
    let words: Vec<OsString> = std::iter::once(name).chain(words).collect();
    let done = match Words::try_parse_from(words) {
        Ok(Words { what }) => run_as(what),
        Err(error) => Err(Error::Usage(format!("bug: a helper got {error}"))),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(match error.exit_code() {
                EXIT_USAGE => EXIT_USAGE,
                _ => super::error::EXIT_ERROR,
            })
        }
    })
}

fn run_as(what: What) -> Result<(), Error> {
    // The process that started this one has warned of what the system lacks, if it serves disks.
    let _ = match what {
        What::Broker => daemon::confine_broker(),
        _ => daemon::confine_client(crate::remote::files()),
    };
    match what {
        What::Broker => daemon::serve_as_broker().map_err(|error| Error::Other(error.to_string())),
        What::Fetch {
            source,
            most_bytes,
            format,
        } => fetch::run(&source, most_bytes, &format),
        What::Keep { place } => keep::run(&place),
    }
}
