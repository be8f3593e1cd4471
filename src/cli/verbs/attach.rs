//! `attach`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use super::disk_path;
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::OutputArgs;
use crate::cli::recipes::{Vmm, recipe};
use crate::daemon::model::Disk;

#[derive(Debug, Args)]
pub(in crate::cli) struct Attach {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// For whom to print what to type.
    #[arg(long, value_enum, value_name = "VMM")]
    print: Vmm,

    #[command(flatten)]
    output: OutputArgs,
}

/// What to type, for programs.
#[derive(Debug, Serialize)]
struct Attaching {
    disk: String,
    socket: String,
    text: String,
}

impl Attach {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let disk: Disk = client.get(&disk_path(&self.name))?;
        let attaching = Attaching {
            text: recipe(self.print, &disk),
            disk: disk.name,
            socket: disk.socket,
        };
        self.output.print(&attaching, |it| it.text.clone())
    }
}
