//! `group`: limits that several disks share.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::limits::LimitArgs;
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::verbs::each::{destroyed, each};
use crate::client::{Client, Method, StatusCode, path};
use crate::model::{Group, Limits, ProblemKind};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GroupVerb {
    /// Create a group, unless it exists with the same limits.
    Create(WithLimits),
    /// Change some of a group's limits at once.
    Set(WithLimits),
    /// List groups.
    List(List),
    /// Show a group.
    Show(Show),
    /// Destroy groups that have no disks.
    Destroy(Destroy),
}

/// Options of `create` and `set`.
#[derive(Debug, Args)]
pub(in crate::cli) struct WithLimits {
    /// The group's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The group's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Destroy {
    /// Names of groups.
    #[arg(required = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl GroupVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match self {
            Self::Create(verb) => {
                let limits = verb.limits.change(Limits::default());
                let path = path::group(&verb.name);
                let (status, group): (_, Group) = client.send(Method::PUT, &path, &limits)?;
                let what = match status {
                    StatusCode::CREATED => "is created",
                    _ => "exists already, as asked",
                };
                verb.output.print(&group, |group| {
                    let with = match group.limits == Limits::default() {
                        true => ", without limits".to_owned(),
                        false => format!(": {}", tables::limits(&group.limits)),
                    };
                    format!("group {} {what}{with}\n", group.name)
                })
            }
            Self::Set(verb) => {
                if verb.limits.is_empty() {
                    let text = "give the limits to change, as in --iops 1000 or --bps none";
                    return Err(Error::Usage(text.into()));
                }
                let path = path::group(&verb.name);
                let patch = verb.limits.patch();
                let (_, group): (_, Group) = client.send(Method::PATCH, &path, &patch)?;
                verb.output.print(&group, |group| {
                    format!("group {}: {}\n", group.name, tables::limits(&group.limits))
                })
            }
            Self::List(verb) => {
                let groups: Vec<Group> = client.get("/v1/groups")?;
                verb.output.print(&groups, |groups| tables::groups(groups))
            }
            Self::Show(verb) => {
                let group: Group = client.get(&path::group(&verb.name))?;
                verb.output.print(&group, tables::group)
            }
            Self::Destroy(verb) => each(&verb.names, verb.output, |name| {
                client.delete(&path::group(name)).map_err(|error| {
                    Error::from(error).advise(ProblemKind::Conflict, |_| {
                        "'ramblk set NAME --group none' takes a disk out of its group".into()
                    })
                })?;
                destroyed(verb.output, name)
            }),
        }
    }
}
