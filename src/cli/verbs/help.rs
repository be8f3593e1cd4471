//! `completions`, `man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::error::Error;
use crate::cli::print::output::out;

#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    /// The shell. Its manual says where to put its completions.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut program: Command) -> Result<(), Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut program, "ramblk", &mut text);
        out(&String::from_utf8_lossy(&text))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// Directory for the pages of all verbs. By default ramblk's own page is printed.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, program: Command) -> Result<(), Error> {
        match self.folder {
            Some(folder) => {
                let failed = |source| Error::File {
                    what: "write manual pages to",
                    path: folder.clone(),
                    source,
                };
                std::fs::create_dir_all(&folder).map_err(failed)?;
                clap_mangen::generate_to(program, &folder).map_err(failed)
            }
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(program)
                    .render(&mut text)
                    .map_err(Error::Output)?;
                out(&String::from_utf8_lossy(&text))
            }
        }
    }
}
