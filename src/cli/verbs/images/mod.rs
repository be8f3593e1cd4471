//! `image`: images, before a disk begins with one.
//!
//! | file | what it holds |
//! |---|---|
//! | `inspect` | `image inspect` |

mod inspect;

use clap::Subcommand;

use crate::cli::error::Error;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageVerb {
    /// Print what an image says about itself; needs no daemon.
    Inspect(inspect::Inspect),
}

impl ImageVerb {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        match self {
            Self::Inspect(verb) => verb.run(),
        }
    }
}
