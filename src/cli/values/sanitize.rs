//! What a sanitizer does, as in `count`.

use clap::ValueEnum;

use crate::model;

/// What a disk does about requests that a correct guest wouldn't make.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Sanitize {
    /// Nothing
    Off,
    /// Count them
    Count,
    /// Count them, and keep the last ones for 'ramblk findings'
    Log,
    /// The same, and fail what is found, but for a missing flush
    Fail,
}

impl From<Sanitize> for model::Sanitize {
    fn from(sanitize: Sanitize) -> Self {
        match sanitize {
            Sanitize::Off => Self::Off,
            Sanitize::Count => Self::Count,
            Sanitize::Log => Self::Log,
            Sanitize::Fail => Self::Fail,
        }
    }
}
