//! `resize`, `set`, `limit`, `repair`: changing disks while their guests run.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use super::create::OnFull;
use super::life::LifeArgs;
use super::limits::LimitArgs;
use crate::cli::error::{Error, in_options};
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::label::{Label, changes, parse_label_change};
use crate::cli::values::or_none::{OrNone, parse_name_or_none, parse_size_or_none};
use crate::cli::values::power::WriteCache;
use crate::cli::values::sanitize::Sanitize;
use crate::cli::values::size::{NewSize, exact, human_and_exact, parse_new_size};
use crate::cli::verbs::each::each;
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Method, path};
use crate::model::{Disk, DiskPatch, Limits, Patched, ProblemKind};

#[derive(Debug, Args)]
#[command(override_usage = "ramblk resize [OPTIONS] <NAME> <SIZE>\n       \
                            ramblk resize [OPTIONS] -l <KEY=VALUE> <SIZE>")]
pub(in crate::cli) struct Resize {
    /// The disk's name. With -l there is only the size.
    #[arg(value_name = "NAME", value_parser = no_option, allow_hyphen_values = true)]
    name: String,

    /// The new size, as in 20G, or the change, as in +5G or -5G.
    #[arg(value_name = "SIZE", value_parser = parse_new_size, allow_hyphen_values = true)]
    size: Option<NewSize>,

    #[command(flatten)]
    selector: Selector,

    /// Allow a smaller size, which loses the data beyond it.
    #[arg(long)]
    shrink: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Resize {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let (names, size) = match (self.selector.is_given(), self.size) {
            (_, Some(size)) => (vec![self.name.clone()], size),
            (true, None) => {
                let size = parse_new_size(&self.name);
                let wrong = |why| Error::Usage(format!("SIZE can't be '{}': {why}", self.name));
                (Vec::new(), size.map_err(wrong)?)
            }
            (false, None) => {
                let text = "give a disk and its new size, as in 'ramblk resize vm1 20G'";
                return Err(Error::Usage(text.into()));
            }
        };
        let names = self.selector.names_or(client, &names)?;
        each(&names, self.output, |name| self.one(client, name, size))
    }

    fn one(&self, client: &Client, name: &str, size: NewSize) -> Result<(), Error> {
        let path = path::disk(name);
        let size_bytes = match size {
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
                            format!("{name} has only {now}: give a smaller number")
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
                let size = exact(size_bytes);
                format!("use 'ramblk resize {name} {size} --shrink' to do it")
            })
        })?;
        self.output
            .print(&patched, |patched| match &patched.resized {
                Some(resized) => tables::resized(&patched.disk.name, resized),
                None => format!("{} has this size already\n", patched.disk.name),
            })
    }
}

/// A name or a size, which no option is.
fn no_option(text: &str) -> Result<String, String> {
    match text {
        "" => Err("give a name".into()),
        text if text.starts_with("--") => Err("there is no such option".into()),
        text => Ok(text.to_owned()),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    /// Names of disks.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    /// The most memory that the disk may take, or none for no bound.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    quota: Option<OrNone<u64>>,

    /// What happens to a write that finds no memory.
    #[arg(long, value_enum)]
    on_full: Option<OnFull>,

    /// What to do about reads of sectors that were never written or were discarded since, and about
    /// 256 MiB of writes without a flush.
    #[arg(long, value_enum)]
    sanitize: Option<Sanitize>,

    /// When writes are stable: as soon as they complete, or when a flush covers them. A power-cut
    /// may lose volatile ones. No front end may be connected.
    #[arg(long, value_enum)]
    write_cache: Option<WriteCache>,

    /// The most memory for the log of volatile writes; none for a quarter of the pool.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    log_limit: Option<OrNone<u64>>,

    /// Set a label, or remove one with KEY- ; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label_change)]
    labels: Vec<Label>,

    /// Group whose limits the disk shares, or none to leave its group.
    #[arg(long, value_name = "GROUP", value_parser = parse_name_or_none)]
    group: Option<OrNone<String>>,

    /// User and group that own the disk's socket: USER, USER:GROUP or :GROUP, by names or numbers;
    /// none for the daemon's own. Front ends that are connected stay.
    #[arg(long, value_name = "OWNER", value_parser = parse_name_or_none)]
    socket_owner: Option<OrNone<String>>,

    /// Allow a quota below the memory that the disk already takes. Its guest can then overwrite
    /// data, but not write anything new.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    life: LifeArgs,
}

impl Set {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if self.force && self.quota.is_none() {
            return Err(Error::Usage("--force needs --quota".into()));
        }
        let labels = changes(&self.labels)?;
        let patch = DiskPatch {
            force: self.force,
            quota_bytes: self.quota.map(OrNone::option),
            on_full: self.on_full.map(Into::into),
            sanitize: self.sanitize.map(Into::into),
            write_cache: self.write_cache.map(Into::into),
            log_limit_bytes: self.log_limit.map(OrNone::option),
            group: self.group.map(OrNone::option),
            socket_owner: self.socket_owner.map(OrNone::option),
            labels,
            life: self.life.patch(),
            ..DiskPatch::default()
        };
        if patch == DiskPatch::default() {
            return Err(Error::Usage(
                "give at least one of --quota, --on-full, --sanitize, --write-cache, --log-limit, \
                 --label, --group, --socket-owner, --ttl, --on-detach and --grace; use 'ramblk \
                 limit' for limits and 'ramblk resize' for the size"
                    .into(),
            ));
        }
        let names = self.selector.names_or(client, &self.names)?;
        each(&names, self.output, |name| {
            let answer = client.send(Method::PATCH, &path::disk(name), &patch);
            let (_, patched): (_, Patched) = answer.map_err(in_options)?;
            self.output
                .print(&patched.disk, |disk| format!("{} is changed\n", disk.name))
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Limit {
    /// Names of disks.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    limits: LimitArgs,
}

/// The limits of one of several disks.
#[derive(Debug, Serialize)]
struct Limited<'n> {
    disk: &'n str,
    limits: Limits,
}

impl Limit {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let names = self.selector.names_or(client, &self.names)?;
        let are_several = self.selector.is_given() || names.len() > 1;
        each(&names, self.output, |name| {
            let path = format!("{}/limits", path::disk(name));
            let mut limits: Limits = client.get(&path)?;
            if !self.limits.is_empty() {
                let wanted = self.limits.change(limits);
                (_, limits) = client.send(Method::PUT, &path, &wanted)?;
            }
            let text = |limits: &_| format!("{name}: {}\n", tables::limits(limits));
            if !are_several {
                return self.output.print(&limits, text);
            }
            let limited = Limited { disk: name, limits };
            self.output.print(&limited, |it| text(&it.limits))
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Repair {
    /// Names of disks.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Repair {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let patch = DiskPatch {
            failed: Some(false),
            ..DiskPatch::default()
        };
        let names = self.selector.names_or(client, &self.names)?;
        each(&names, self.output, |name| {
            let (_, patched): (_, Patched) =
                client.send(Method::PATCH, &path::disk(name), &patch)?;
            self.output
                .print(&patched.disk, |disk| format!("{} is served\n", disk.name))
        })
    }
}
