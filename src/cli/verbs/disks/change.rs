//! `resize`, `set`, `limit`, `repair`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::limits::LimitArgs;
use super::manage::OnFull;
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::size::{NewSize, exact, human_and_exact, parse_new_size};
use crate::cli::values::words::{
    Label, OrNone, changes, parse_label_change, parse_name_or_none, parse_size_or_none,
};
use crate::client::{Client, Method, path};
use crate::model::{Disk, DiskPatch, Limits, Patched, ProblemKind};

#[derive(Debug, Args)]
pub(in crate::cli) struct Resize {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The new size, as in 20G, or how much it changes, as in +5G or -5G.
    #[arg(value_parser = parse_new_size, allow_hyphen_values = true)]
    size: NewSize,

    /// Lose what lies beyond a smaller size.
    #[arg(long)]
    shrink: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Resize {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = path::disk(&self.name);
        let size_bytes = match self.size {
            NewSize::To(bytes) => bytes,
            NewSize::Plus(more) => {
                let now = client.get::<Disk>(&path)?.size_bytes;
                now.checked_add(more)
                    .ok_or_else(|| Error::Usage("no disk can be that large".into()))?
            }
            NewSize::Minus(less) => {
                let now = client.get::<Disk>(&path)?.size_bytes;
                now.checked_sub(less)
                    .filter(|&left| left > 0)
                    .ok_or_else(|| {
                        Error::Usage({
                            let now = human_and_exact(now);
                            format!("{} has only {now}: give less", self.name)
                        })
                    })?
            }
        };
        let patch = DiskPatch {
            size_bytes: Some(size_bytes),
            shrink: self.shrink,
            ..DiskPatch::default()
        };
        let answer = client.send(Method::PATCH, &path, &patch);
        let (_, patched): (_, Patched) = answer.map_err(|error| {
            Error::from(error).advise(ProblemKind::WouldLoseData, |_| {
                let (name, size) = (&self.name, exact(size_bytes));
                format!("say 'ramblk resize {name} {size} --shrink' to do it")
            })
        })?;
        self.output
            .print(&patched, |patched| match &patched.resized {
                Some(resized) => tables::resized(&patched.disk.name, resized),
                None => format!("{} has this size already\n", patched.disk.name),
            })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Memory that the disk may take, at most, or none.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    quota: Option<OrNone<u64>>,

    /// What a write does when there is no memory for it.
    #[arg(long, value_enum)]
    on_full: Option<OnFull>,

    /// Set a label, or take one away with KEY- ; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label_change)]
    labels: Vec<Label>,

    /// Group whose limits hold for its disks together, or none.
    #[arg(long, value_name = "GROUP", value_parser = parse_name_or_none)]
    group: Option<OrNone<String>>,

    /// Also a quota that is less than what the disk takes already: its guest can write nothing new.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Set {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if self.force && self.quota.is_none() {
            return Err(Error::Usage("--force needs a --quota with it".into()));
        }
        let labels = changes(&self.labels)?;
        let patch = DiskPatch {
            force: self.force,
            quota_bytes: self.quota.map(OrNone::option),
            on_full: self.on_full.map(Into::into),
            group: self.group.map(OrNone::option),
            labels,
            ..DiskPatch::default()
        };
        if patch == DiskPatch::default() {
            return Err(Error::Usage(
                "say what to set: --quota, --on-full, --label or --group; 'ramblk limit' sets \
                 limits and 'ramblk resize' the size"
                    .into(),
            ));
        }
        let path = path::disk(&self.name);
        let answer = client.send(Method::PATCH, &path, &patch);
        let (_, patched): (_, Patched) = answer.map_err(|error| {
            Error::from(error).advise(ProblemKind::Conflict, |_| {
                format!(
                    "'ramblk set {} --quota SIZE --force' does it all the same",
                    self.name
                )
            })
        })?;
        self.output
            .print(&patched.disk, |disk| format!("{} is changed\n", disk.name))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Limit {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl Limit {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/limits", path::disk(&self.name));
        let mut limits: Limits = client.get(&path)?;
        if !self.limits.is_empty() {
            let wanted = self.limits.change(limits);
            (_, limits) = client.send(Method::PUT, &path, &wanted)?;
        }
        self.output.print(&limits, |limits| {
            format!("{}: {}\n", self.name, tables::limits(limits))
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Repair {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl Repair {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = path::disk(&self.name);
        let patch = DiskPatch {
            failed: Some(false),
            ..DiskPatch::default()
        };
        let (_, patched): (_, Patched) = client.send(Method::PATCH, &path, &patch)?;
        self.output
            .print(&patched.disk, |disk| format!("{} is served\n", disk.name))
    }
}
