//! `man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};

use crate::cli::error::Error;
use crate::cli::manual;
use crate::cli::print::output::{json, out};

#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// Directory for all pages: of each verb, and ramblk.toml(5), ramblk-api(7) and
    /// ramblk-faults(7). Of a verb its page is printed, unless there is such a directory. By
    /// default ramblk's own page is printed.
    #[arg(value_name = "DIR|VERB")]
    folder: Option<PathBuf>,

    /// Print all examples instead, a line of JSON each, with why the tests run it not.
    #[arg(long, hide = true, conflicts_with = "folder")]
    examples: bool,
}

impl Man {
    pub(super) fn run(self, program: &Command) -> Result<(), Error> {
        if self.examples {
            let lines = manual::examples()
                .iter()
                .map(json)
                .collect::<Result<Vec<_>, _>>();
            return out(&(lines?.join("\n") + "\n"));
        }
        match self.folder {
            Some(folder) => match page_of(&folder, program) {
                Some(page) => out(&String::from_utf8_lossy(&page)),
                None => write_pages(&folder, program),
            },
            None => out(&String::from_utf8_lossy(&manual::first_page(program))),
        }
    }
}

/// The page of the verb that a word is, unless there is a directory of that name.
fn page_of(word: &Path, program: &Command) -> Option<Vec<u8>> {
    let verb = program.find_subcommand(word)?;
    match word.exists() {
        true => None,
        false => manual::page(program, &format!("ramblk-{}.1", verb.get_name())),
    }
}

fn write_pages(folder: &Path, program: &Command) -> Result<(), Error> {
    let failed = |source| Error::File {
        what: "write manual pages to",
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let pages = manual::pages(program);
    pages
        .iter()
        .try_for_each(|(name, page)| std::fs::write(folder.join(name), page))
        .map_err(failed)?;
    out(&format!(
        "{} pages are in {}\n",
        pages.len(),
        folder.display()
    ))
}
