//! The options for the end of a disk's life, which `create`, `fork` and `set` share.

use clap::{Args, ValueEnum};

use crate::cli::values::or_none::OrNone;
use crate::cli::values::time::parse_time_or_none;
use crate::model::{self, LifePatch};

/// What happens to a disk whose last front end has left.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnDetach {
    /// Nothing
    Keep,
    /// It is reset to what it was forked from
    Reset,
    /// It is destroyed
    Destroy,
}

impl From<OnDetach> for model::OnDetach {
    fn from(on_detach: OnDetach) -> Self {
        match on_detach {
            OnDetach::Keep => Self::Keep,
            OnDetach::Reset => Self::Reset,
            OnDetach::Destroy => Self::Destroy,
        }
    }
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "End of life")]
pub(in crate::cli) struct LifeArgs {
    /// Destroy the disk this long from now, as in 30min, 1h or 2d, even if a guest uses it; none
    /// for no such end.
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_none)]
    ttl: Option<OrNone<u64>>,

    /// What happens when the last front end has left and stays away.
    #[arg(long, value_enum)]
    on_detach: Option<OnDetach>,

    /// How long to wait for a front end to come back; none for 30s. After a restart of the daemon
    /// it is a minute at least.
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_none)]
    grace: Option<OrNone<u64>>,
}

impl LifeArgs {
    /// The given options.
    pub(in crate::cli) fn patch(&self) -> LifePatch {
        LifePatch {
            ttl_ms: self.ttl.clone().map(OrNone::option),
            on_detach: self.on_detach.map(Into::into),
            grace_ms: self.grace.clone().map(OrNone::option),
        }
    }
}
