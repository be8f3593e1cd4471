//! Verbs that watch disks: `stats`, `findings`, `pool`, `events`, `wait`, `top`.
//!
//! | file | verbs |
//! |---|---|
//! | `mod` | `findings`, `pool` |
//! | `stats` | `stats` |
//! | `events` | `events` |
//! | `wait` | `wait` |
//! | `top` | `top` |

pub(super) mod events;
pub(super) mod stats;
#[cfg(feature = "top")]
pub(super) mod top;
pub(super) mod wait;

use clap::Args;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::{findings, pool};
use crate::cli::verbs::each::{Headings, each};
use crate::cli::verbs::select::Disks;
use crate::client::{Client, path};
use crate::model::{By, Findings, Pool, Usage};

#[derive(Debug, Args)]
pub(in crate::cli) struct FindingsVerb {
    #[command(flatten)]
    disks: Disks,

    #[command(flatten)]
    output: OutputArgs,
}

impl FindingsVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let names = self.disks.names(client)?;
        let mut headings = Headings::of(names.len());
        each(&names, self.output, |name| {
            let path = format!("{}/findings", path::disk(name));
            let found: Findings = client.get(&path)?;
            self.output
                .print(&found, |it| headings.next(name) + &findings::findings(it))
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PoolVerb {
    /// Add up what disks take and do: by group, or by a label as in label=tenant.
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,

    #[command(flatten)]
    output: OutputArgs,
}

impl PoolVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if let Some(by) = &self.by {
            let path = format!("/v1/usage?by={}", path::encode(&by.to_string()));
            let usage: Vec<Usage> = client.get(&path)?;
            return self.output.print(&usage, |usage| pool::usage(by, usage));
        }
        let pool: Pool = client.get("/v1/pool")?;
        self.output.print(&pool, pool::pool)
    }
}
