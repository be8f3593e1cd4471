//! A verb over several names: it goes on, says of each what became of it, and ends with the first
//! failure's exit code.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;

/// Do `one` to each name, in order. One that fails is said, and does not hold up the rest.
pub(super) fn each<N: Display>(
    names: &[N],
    output: OutputArgs,
    mut one: impl FnMut(&N) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut first = None;
    for name in names {
        match one(name) {
            Ok(()) => {}
            // Nobody reads what would become of the others.
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

/// What is no more.
#[derive(Debug, Serialize)]
struct Destroyed {
    name: String,
    destroyed: bool,
}

/// Say that it is no more.
pub(super) fn destroyed(output: OutputArgs, name: &impl Display) -> Result<(), Error> {
    let gone = Destroyed {
        name: name.to_string(),
        destroyed: true,
    };
    output.print(&gone, |gone| format!("{} is destroyed\n", gone.name))
}
