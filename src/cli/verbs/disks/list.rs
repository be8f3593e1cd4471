//! `list`: which disks there are.

use clap::{Args, ValueEnum};

use crate::cli::error::Error;
use crate::cli::print::columns::{self, Column, parse_column};
use crate::cli::print::output::{json, out};
use crate::cli::values::label::parse_label;
use crate::cli::verbs::select::labelled;
use crate::client::Client;
use crate::model::Disk;

/// How disks are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListOutput {
    /// A table.
    Human,
    /// A table with more columns.
    Wide,
    /// Names, one per line.
    Name,
    /// JSON as in the API, with exact numbers.
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only disks with this label; may be given more than once.
    #[arg(long = "label", short = 'l', visible_alias = "selector")]
    #[arg(value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// The columns, as in name,memory,age: also ends, group, parent, pid, id, generation,
    /// protected, serial, queues, socket, image.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_column)]
    columns: Vec<&'static Column>,

    /// Sort by a column; COLUMN:desc begins with the largest. The default is the name.
    #[arg(long, value_name = "COLUMN", value_parser = parse_sort)]
    sort: Option<Sort>,

    /// Leave out the headings.
    #[arg(long)]
    no_headers: bool,

    /// A table for people (wide has more columns), names, or JSON as in the API, with exact
    /// numbers.
    #[arg(long, short, value_enum, default_value_t = ListOutput::Human)]
    output: ListOutput,
}

#[derive(Clone, Copy, Debug)]
struct Sort {
    by: &'static Column,
    descending: bool,
}

fn parse_sort(text: &str) -> Result<Sort, String> {
    let (name, descending) = match text.split_once(':') {
        None | Some((_, "asc")) => (text.split(':').next().unwrap_or(text), false),
        Some((name, "desc")) => (name, true),
        Some((_, order)) => return Err(format!("{order:?} is not an order: use asc or desc")),
    };
    Ok(Sort {
        by: parse_column(name)?,
        descending,
    })
}

impl List {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut disks: Vec<Disk> = client.get(&labelled("/v1/disks", &self.labels))?;
        if let Some(sort) = &self.sort {
            columns::sort(&mut disks, sort.by, sort.descending);
        }
        let table = |wide| {
            let columns = match self.columns.is_empty() {
                true => columns::usual(wide, &disks),
                false => self.columns.clone(),
            };
            columns::disks(&disks, &columns, !self.no_headers)
        };
        match self.output {
            ListOutput::Human => out(&table(false)),
            ListOutput::Wide => out(&table(true)),
            ListOutput::Name => {
                let names = disks.iter().map(|disk| disk.name.clone() + "\n");
                out(&names.collect::<String>())
            }
            ListOutput::Json => out(&(json(&disks)? + "\n")),
        }
    }
}
