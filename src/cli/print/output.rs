//! Printing text for people or JSON for programs: results to stdout, failures to stderr.

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::error::Error;
use crate::cli::print::layout::{columns_of, folded};

/// The form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    Human,
    Json,
}

impl Output {
    /// The form that a command line requests. A verb without the option prints for people.
    pub(in crate::cli) fn of(words: &ArgMatches) -> Self {
        match words.subcommand() {
            Some((_, words)) => Self::of(words),
            None => {
                let asked = words.try_get_one::<Self>("output").ok().flatten();
                asked.copied().unwrap_or(Self::Human)
            }
        }
    }

    /// Print a failure to stderr, with the `name` if there are several.
    pub(in crate::cli) fn tell(self, error: &Error, name: Option<&str>) {
        match (self, name) {
            _ if error.is_silent() => {}
            (Self::Json, _) => say(&Value::from(failure(error, name)).to_string()),
            (Self::Human, Some(name)) => complain(&format!("{name}: {error}")),
            (Self::Human, None) => complain(&error.to_string()),
        }
    }
}

/// A failure for programs: the daemon's problem document, or else a `detail`, with the exit code.
fn failure(error: &Error, name: Option<&str>) -> Map<String, Value> {
    let cause = match error {
        Error::NoAnswer(cause) => cause,
        error => error,
    };
    let problem = match cause {
        Error::Problem(problem) => serde_json::to_value(problem).ok(),
        _ => None,
    };
    let mut failure = match problem {
        Some(Value::Object(members)) => members,
        _ => Map::from_iter([("detail".to_owned(), error.to_string().into())]),
    };
    failure.insert("exit_code".into(), error.exit_code().into());
    if let Some(name) = name {
        failure.insert("name".into(), name.into());
    }
    failure
}

/// The option of each verb that prints something.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct OutputArgs {
    /// Text for people, or JSON as in the API, with exact numbers.
    #[arg(long, short, value_enum, default_value_t = Output::Human)]
    output: Output,
}

impl OutputArgs {
    pub(in crate::cli) fn kind(self) -> Output {
        self.output
    }

    pub(in crate::cli) fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Print a value as JSON, or as what `human` makes of it.
    pub(in crate::cli) fn print<T: Serialize>(
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
pub(in crate::cli) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Other(format!("can't write the result as JSON: {error}")))
}

/// Print to stdout, at once.
pub(in crate::cli) fn out(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// One line on stdout.
pub(in crate::cli) fn line(text: &str) -> Result<(), Error> {
    out(&format!("{text}\n"))
}

/// Print a line to stderr, which may be closed.
pub(in crate::cli) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Print an error to stderr, folded where a terminal shows it.
pub(in crate::cli) fn complain(error: &str) {
    const PREFIX: &str = "error: ";
    let columns = columns_of(&std::io::stderr());
    say(&folded(&format!("{PREFIX}{error}"), PREFIX.len(), columns));
}

/// The exit code of a verb, after at most one more line on stderr.
pub(in crate::cli) fn end(result: Result<(), Error>, output: Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.tell(&error, None);
            ExitCode::from(error.exit_code())
        }
    }
}
