//! What is printed: for people or for programs.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::error::Error;

/// Whom to print for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Human,
    Json,
}

/// The option that every reading verb has.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// How to print: tables, or the API's own JSON with whole numbers.
    #[arg(long, short, value_enum, default_value_t = Output::Human)]
    output: Output,
}

impl OutputArgs {
    pub(super) fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Print a value as JSON, or as what `human` makes of it.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        match self.output {
            Output::Human => out(&human(value)),
            Output::Json => out(&(json(value)? + "\n")),
        }
    }
}

/// A value as one line of JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Other(format!("can't write the result as JSON: {error}")))
}

/// Print to stdout, at once.
pub(super) fn out(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// One line on stdout.
pub(super) fn line(text: &str) -> Result<(), Error> {
    out(&format!("{text}\n"))
}
