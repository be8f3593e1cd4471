//! `ping` and `openapi`: whether a daemon answers, and what its API is.

use clap::Args;

use crate::cli::error::Error;
use crate::cli::print::output::{OutputArgs, line};
use crate::client::Client;
use crate::model::Version;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ping {
    #[command(flatten)]
    output: OutputArgs,
}

impl Ping {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        let version: Version = client.get("/v1/version")?;
        self.output.print(&version, |version| {
            format!(
                "ramblk {} answers at {} (API {})\n",
                version.version,
                client.socket().display(),
                version.api
            )
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Openapi {
    // The answer is always JSON.
    #[command(flatten)]
    _output: OutputArgs,
}

impl Openapi {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        line(client.text("/openapi.json")?.trim_end())
    }
}
