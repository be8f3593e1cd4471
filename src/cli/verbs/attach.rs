//! `attach`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::disk_path;
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::cli::recipes::{Vmm, recipe};
use crate::daemon::model::Disk;

#[derive(Debug, Args)]
pub(in crate::cli) struct Attach {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// For whom to print what to type.
    #[arg(long, value_enum, value_name = "VMM")]
    print: Vmm,
}

impl Attach {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let disk: Disk = client.get(&disk_path(&self.name))?;
        out(&recipe(self.print, &disk))
    }
}
