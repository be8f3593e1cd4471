//! Which disks a verb is about: those that are named, or those that a selector selects.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::values::label::parse_label;
use crate::cli::values::target::parse_target;
use crate::client::{Client, path};
use crate::model::{Disk, Missing, Problem, Target};

/// The options by which a verb selects disks instead of naming them.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Selector {
    /// Disks with this label instead of names; if given more than once, those with all of them.
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE", value_parser = parse_label)]
    selected: Vec<(String, String)>,

    /// All disks. A selector that happens to select all of them needs it too.
    #[arg(long)]
    all: bool,
}

/// `path` of the disks that have all of these labels.
pub(in crate::cli::verbs) fn labelled(path: &str, labels: &[(String, String)]) -> String {
    let mut path = path.to_owned();
    for (at, (key, value)) in labels.iter().enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path.push_str("label=");
        path.push_str(&path::encode(&format!("{key}={value}")));
    }
    path
}

impl Selector {
    /// Whether it selects disks.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.all || !self.selected.is_empty()
    }

    fn text(&self) -> String {
        let labels = self.selected.iter();
        let labels = labels.map(|(key, value)| format!("{key}={value}"));
        labels.collect::<Vec<_>>().join(",")
    }

    /// The disks that it selects, of which there is at least one.
    ///
    /// # Errors
    /// No disk has the labels (exit 3); every disk has them, and `--all` is not given.
    pub(in crate::cli) fn disks(&self, client: &Client) -> Result<Vec<Disk>, Error> {
        let selected: Vec<Disk> = client.get(&labelled("/v1/disks", &self.selected))?;
        if selected.is_empty() {
            let which = match self.selected.is_empty() {
                true => "there is no disk".to_owned(),
                false => format!(
                    "no disk has label {}; 'ramblk list' shows the labels of all disks",
                    self.text()
                ),
            };
            let problem = Problem::missing(Missing::Disk, which);
            return Err(Error::Problem(Box::new(problem)));
        }
        if !self.all {
            let there: Vec<Disk> = client.get("/v1/disks")?;
            if there.len() == selected.len() {
                return Err(Error::Usage(format!(
                    "every disk has label {}, {} in all: add --all if you mean that",
                    self.text(),
                    there.len()
                )));
            }
        }
        Ok(selected)
    }

    /// The names that are given, or those of the disks that it selects.
    ///
    /// # Errors
    /// As [`Selector::disks`]; names and a selector are given, or neither.
    pub(in crate::cli) fn names_or(
        &self,
        client: &Client,
        names: &[String],
    ) -> Result<Vec<String>, Error> {
        match (self.is_given(), names.is_empty()) {
            (true, true) => {
                let disks = self.disks(client)?.into_iter();
                Ok(disks.map(|disk| disk.name).collect())
            }
            (false, false) => Ok(names.to_vec()),
            (true, false) => Err(Error::Usage(
                "names and a selector are given: give one of them".into(),
            )),
            (false, true) => Err(Error::Usage(
                "no disk is named: give names, labels with -l KEY=VALUE, or --all".into(),
            )),
        }
    }

    /// The disks and snapshots that are named, or the disks that it selects.
    ///
    /// # Errors
    /// As [`Selector::names_or`].
    pub(in crate::cli) fn targets_or(
        &self,
        client: &Client,
        named: &[Target],
    ) -> Result<Vec<Target>, Error> {
        let names: Vec<String> = named.iter().map(Target::to_string).collect();
        let names = self.names_or(client, &names)?;
        if !self.is_given() {
            return Ok(named.to_vec());
        }
        let target = |disk| Target {
            disk,
            snapshot: None,
        };
        Ok(names.into_iter().map(target).collect())
    }
}

/// Disks by name, or those that a selector selects.
#[derive(Debug, Args)]
pub(in crate::cli) struct Disks {
    /// Names of disks.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,
}

impl Disks {
    /// Their names.
    ///
    /// # Errors
    /// As [`Selector::names_or`].
    pub(in crate::cli) fn names(&self, client: &Client) -> Result<Vec<String>, Error> {
        self.selector.names_or(client, &self.names)
    }

    /// Whether there may be several of them.
    pub(in crate::cli) fn are_several(&self) -> bool {
        self.selector.is_given() || self.names.len() > 1
    }
}

/// Disks and snapshots by name, or the disks that a selector selects.
#[derive(Debug, Args)]
pub(in crate::cli) struct Targets {
    /// Disks, or snapshots as NAME@SNAPSHOT.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    named: Vec<Target>,

    #[command(flatten)]
    selector: Selector,
}

impl Targets {
    /// What is named or selected.
    ///
    /// # Errors
    /// As [`Selector::names_or`].
    pub(in crate::cli) fn find(&self, client: &Client) -> Result<Vec<Target>, Error> {
        self.selector.targets_or(client, &self.named)
    }

    /// Whether there may be several of them.
    pub(in crate::cli) fn are_several(&self) -> bool {
        self.selector.is_given() || self.named.len() > 1
    }
}
