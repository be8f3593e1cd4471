//! `apply`, `export-config`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::Method;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::file::{parse_file, write_config};
use crate::cli::output::{OutputArgs, out};
use crate::cli::tables;
use crate::daemon::model::{Applied, Config};

/// No configuration is longer.
const MOST_BYTES: u64 = 64 << 20;

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
        let text = read(&self.file)?;
        let file = parse_file(&text, &self.file).map_err(Error::Usage)?;
        let path = format!("/v1/config?dry_run={}", self.dry_run);
        let (_, applied): (_, Applied) = client.send(Method::PUT, &path, &file.config)?;
        self.output
            .print(&applied, |applied| tables::applied(applied, self.dry_run))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let mut from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut text = String::new();
    from.by_ref()
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
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
