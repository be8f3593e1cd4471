//! `apply` and `export-config`: disks and groups from a file, and back into one.

use std::path::PathBuf;

use clap::Args;

use crate::cli::error::{EXIT_WOULD_CHANGE, Error};
use crate::cli::file::{read_file, write_config};
use crate::cli::print::diff;
use crate::cli::print::output::{OutputArgs, out};
use crate::client::{Client, Method};
use crate::model::{Applied, Config, ProblemKind};

#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// The file (TOML), or - for stdin.
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,

    /// Only print what would change, field by field, and exit with 8 if anything would.
    #[arg(long)]
    dry_run: bool,

    /// Remove what the file doesn't name: disks and groups, and the labels, limits, quota, group,
    /// faults, history, on_full, sanitize, write_cache, log_limit and socket_owner of disks, but
    /// not ttl, on_detach, grace and protected. If a disk to destroy is in use or protected, or has
    /// snapshots, the whole file is refused.
    #[arg(long)]
    prune: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Apply {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let file = read_file(&self.file)?;
        let path = format!("/v1/config?dry_run={}&prune={}", self.dry_run, self.prune);
        let sent = client.send(Method::PUT, &path, &file.declaration);
        let (_, applied): (_, Applied) = sent.map_err(|error| {
            Error::from(error).advise(ProblemKind::WouldLoseData, |_| {
                "'ramblk resize NAME SIZE --shrink' makes a disk smaller".into()
            })
        })?;
        self.output
            .print(&applied, |applied| diff::applied(applied, self.dry_run))?;
        if self.dry_run && !applied.changes.is_empty() {
            let exit_code = EXIT_WOULD_CHANGE;
            return Err(Error::Told { exit_code });
        }
        Ok(())
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
