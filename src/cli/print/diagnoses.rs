//! What was found on a host, a line each.

use serde::Serialize;

use crate::cli::error::{EXIT_PROBLEM, Error};
use crate::cli::print::layout::{columns, folded};
use crate::cli::print::output::OutputArgs;
use crate::daemon::{Diagnosis, Severity};

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct Found<'a> {
    /// How bad the worst of it is.
    worst: Severity,
    diagnoses: &'a [Diagnosis],
}

/// Print what was found.
///
/// # Errors
/// [`Error::Told`] with code 9 if any of it is a problem.
pub(in crate::cli) fn report(found: &[Diagnosis], output: OutputArgs) -> Result<(), Error> {
    let worst = found.iter().map(|it| it.severity).max();
    let worst = worst.unwrap_or(Severity::Ok);
    let whole = Found {
        worst,
        diagnoses: found,
    };
    let columns = columns();
    output.print(&whole, |whole| {
        let lines = whole.diagnoses.iter().map(|it| it.to_string());
        lines
            .map(|line| folded(&line, INDENT, columns) + "\n")
            .collect()
    })?;
    match worst {
        Severity::Problem => Err(Error::Told {
            exit_code: EXIT_PROBLEM,
        }),
        _ => Ok(()),
    }
}

/// Where the text of a line begins, behind how bad it is and what was looked at.
const INDENT: usize = 24;
