//! `image`: looking at images, and golden images, of which a host has one read-only copy each.
//!
//! | file | what it holds |
//! |---|---|
//! | `inspect` | `image inspect` |
//! | `address` | how a golden image of the host is named |
//! | `obtain` | getting an image onto the host, by one client at a time |
//! | `pull` | `image pull` |
//! | `manage` | `image list`, `image show`, `image rm` |

pub(super) mod address;
mod inspect;
mod manage;
pub(super) mod obtain;
mod pull;

use clap::Subcommand;

use crate::cli::error::Error;
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageVerb {
    /// Print what an image says about itself; needs no daemon.
    Inspect(inspect::Inspect),
    /// Get an image onto this host, from which disks can then be forked.
    Pull(pull::Pull),
    /// List the golden images of this host.
    List(manage::List),
    /// Show the details of golden images.
    Show(manage::Show),
    /// Remove golden images from this host.
    Rm(manage::Remove),
}

impl ImageVerb {
    pub(in crate::cli) fn run_with(
        self,
        ask: impl FnOnce() -> Result<Client, Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Inspect(verb) => verb.run(),
            Self::Pull(verb) => verb.run(&ask()?),
            Self::List(verb) => verb.run(&ask()?),
            Self::Show(verb) => verb.run(&ask()?),
            Self::Rm(verb) => verb.run(&ask()?),
        }
    }
}
