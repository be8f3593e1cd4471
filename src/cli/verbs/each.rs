//! How a verb treats several names: it goes on after a failure, reports each, and ends with the
//! exit code of the first failure.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;

/// Call `one` with each name in order. A failure is reported, and does not stop the others.
pub(super) fn each<N: Display>(
    names: &[N],
    output: OutputArgs,
    mut one: impl FnMut(&N) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut first = None;
    for name in names {
        match one(name) {
            Ok(()) => {}
            // Nothing would read the results of the others.
            Err(error) if error.is_closed_pipe() => return Err(error),
            Err(error) => {
                let said = name.to_string();
                output
                    .kind()
                    .tell(&error, (names.len() > 1).then_some(&said));
                first.get_or_insert(error.exit_code());
            }
        }
    }
    first.map_or(Ok(()), |exit_code| Err(Error::Told { exit_code }))
}

/// A disk, snapshot or group that was destroyed.
#[derive(Debug, Serialize)]
struct Destroyed {
    name: String,
    destroyed: bool,
}

/// Print that it was destroyed.
pub(super) fn destroyed(output: OutputArgs, name: &impl Display) -> Result<(), Error> {
    let gone = Destroyed {
        name: name.to_string(),
        destroyed: true,
    };
    output.print(&gone, |gone| format!("{} is destroyed\n", gone.name))
}

/// Text about several names for people: each below its name, with an empty line between.
#[derive(Debug)]
pub(super) struct Headings {
    are_wanted: bool,
    between: &'static str,
}

impl Headings {
    /// Headings for this number of names; one needs none.
    pub(super) fn of(count: usize) -> Self {
        Self {
            are_wanted: count > 1,
            between: "",
        }
    }

    /// What to print above the text about the next name.
    pub(super) fn next(&mut self, name: &impl Display) -> String {
        match self.are_wanted {
            true => format!("{}{name}:\n", std::mem::replace(&mut self.between, "\n")),
            false => String::new(),
        }
    }
}
