//! When the writes of a disk are stable, as in `volatile`.

use clap::ValueEnum;

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
