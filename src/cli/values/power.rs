//! What a power cut may lose: when writes are stable, and which of the others are kept.

use clap::ValueEnum;

use super::size::parse_size;
use crate::crash::{self, TearUnit};
use crate::model;

/// When the writes of a disk are stable.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum WriteCache {
    /// As soon as they complete
    Stable,
    /// When a flush covers them; a power-cut may lose the others
    Volatile,
}

impl From<WriteCache> for model::WriteCache {
    fn from(write_cache: WriteCache) -> Self {
        match write_cache {
            WriteCache::Stable => Self::Stable,
            WriteCache::Volatile => Self::Volatile,
        }
    }
}

/// Which volatile writes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Keep {
    /// None
    None,
    /// All
    All,
    /// All up to one
    Prefix,
    /// Any, in their order
    Subset,
    /// Any, and of overlapping ones any may be the last
    Reorder,
}

impl From<Keep> for model::Keep {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::None => Self::None,
            Keep::All => Self::All,
            Keep::Prefix => Self::Prefix,
            Keep::Subset => Self::Subset,
            Keep::Reorder => Self::Reorder,
        }
    }
}

impl From<Keep> for crash::Keep {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::None => Self::None,
            Keep::All => Self::All,
            Keep::Prefix => Self::Prefix,
            Keep::Subset => Self::Subset,
            Keep::Reorder => Self::Reorder,
        }
    }
}

/// Parse a tear unit: 512 to 64K.
///
/// # Errors
/// It is none.
pub(in crate::cli) fn parse_tear_unit(text: &str) -> Result<TearUnit, String> {
    let bytes = parse_size(text)?;
    TearUnit::new(bytes).map_err(|error| error.to_string())
}
