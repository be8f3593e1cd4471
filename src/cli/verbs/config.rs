//! `apply`, `export-config`.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::file::{read_file, write_config};
use crate::cli::output::{OutputArgs, out};
use crate::cli::tables;
use crate::daemon::model::{Applied, Config};

#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// The file (TOML), or - for stdin.
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,

    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Apply {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let file = read_file(&self.file)?;
        let path = format!("/v1/config?dry_run={}", self.dry_run);
        let (_, applied): (_, Applied) = client.send(Method::PUT, &path, &file.config)?;
        self.output
            .print(&applied, |applied| tables::applied(applied, self.dry_run))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportConfig {
    #[command(flatten)]
    output: OutputArgs,
}

impl ExportConfig {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let config: Config = client.get("/v1/config")?;
        if self.output.is_json() {
            return self.output.print(&config, |_| String::new());
        }
        out(&write_config(&config).map_err(Error::Other)?)
    }
}
