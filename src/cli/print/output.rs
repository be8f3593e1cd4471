//! What is printed, for people or for programs: what was done on stdout, what was not on stderr.

use std::io::Write;

use clap::{ArgMatches, Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::error::Error;
use crate::cli::say;

/// Whom to print for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    Human,
    Json,
}

impl Output {
    /// What the words of a verb ask for; a verb without the option prints for people.
    pub(in crate::cli) fn of(words: &ArgMatches) -> Self {
        match words.subcommand() {
            Some((_, words)) => Self::of(words),
            None => {
                let asked = words.try_get_one::<Self>("output").ok().flatten();
                asked.copied().unwrap_or(Self::Human)
            }
        }
    }

    /// Say on stderr why something was not done, to `name` if there are several.
    pub(in crate::cli) fn tell(self, error: &Error, name: Option<&str>) {
        match (self, name) {
            _ if error.is_silent() => {}
            (Self::Json, _) => say(&Value::from(failure(error, name)).to_string()),
            (Self::Human, Some(name)) => say(&format!("error: {name}: {error}")),
            (Self::Human, None) => say(&format!("error: {error}")),
        }
    }
}

/// A failure for programs: the daemon's problem document if there is one, else a `detail`, and in
/// both cases the exit code.
fn failure(error: &Error, name: Option<&str>) -> Map<String, Value> {
    let problem = match error {
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
    /// How to print: for people, or the API's own JSON with whole numbers.
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
