//! `man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};

use crate::cli::error::Error;
use crate::cli::manual;
use crate::cli::print::output::{json, out};

#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// Directory for all pages: of each verb, and ramblk.toml(5), ramblk-api(7) and
    /// ramblk-faults(7). By default ramblk's own page is printed.
    #[arg(value_name = "DIR")]
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
            Some(folder) => write_pages(&folder, program),
            None => out(&String::from_utf8_lossy(&manual::first_page(program))),
        }
    }
}

fn write_pages(folder: &Path, program: &Command) -> Result<(), Error> {
    let failed = |source| Error::File {
        what: "write manual pages to",
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    manual::pages(program)
        .iter()
        .try_for_each(|(name, page)| std::fs::write(folder.join(name), page))
        .map_err(failed)
}
