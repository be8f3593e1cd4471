//! The front ends that may use a disk at the same time, as in `ro`.

use clap::ValueEnum;

use crate::model;

/// The front ends that may use a disk at the same time.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Share {
    None,
    Ro,
    Rw,
}

impl From<Share> for model::Share {
    fn from(share: Share) -> Self {
        match share {
            Share::None => Self::None,
            Share::Ro => Self::Ro,
            Share::Rw => Self::Rw,
        }
    }
}
