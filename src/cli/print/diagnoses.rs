//! What was found on a host, a line each.

use serde::Serialize;

use crate::cli::error::{EXIT_PROBLEM, Error};
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
        lines.map(|line| folded(&line, columns) + "\n").collect()
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

/// Columns of the terminal that reads the output; `None` if none does, and a program may.
fn columns() -> Option<usize> {
    #[cfg(feature = "top")]
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        let size = ratatui::crossterm::terminal::size();
        return size.ok().map(|(columns, _)| usize::from(columns));
    }
    None
}

/// A line in as many as `columns` demand, each of which goes on below the text of the first one.
fn folded(line: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns.filter(|&columns| columns >= 2 * INDENT) else {
        return line.to_owned();
    };
    let mut text = String::new();
    let mut used = 0;
    // The spaces before the text are no places to break.
    for (at, word) in line.split(' ').enumerate() {
        let width = word.chars().count();
        if used >= INDENT && used + 1 + width > columns {
            text += "\n";
            text += &" ".repeat(INDENT);
            used = INDENT;
        } else if at > 0 {
            text.push(' ');
            used += 1;
        }
        text += word;
        used += width;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_its_text_on_a_terminal_and_only_there() {
        let told = Diagnosis::note("landlock", "the kernel shows nothing", "mount securityfs");
        let line = told.to_string();
        assert_eq!(folded(&line, None), line);
        assert_eq!(folded(&line, Some(line.len())), line);
        let indent = " ".repeat(INDENT);
        assert_eq!(
            folded(&line, Some(50)),
            format!("note     landlock       the kernel shows nothing;\n{indent}mount securityfs")
        );
        // No column is for text: as it is.
        assert_eq!(folded(&line, Some(INDENT)), line);
        // What is longer than a line isn't broken.
        let path = format!("ok       state          {}", "x".repeat(80));
        assert_eq!(folded(&path, Some(60)).lines().count(), 1);
    }
}
