//! `image inspect`: what an image says about itself, without a daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::transfer::FormatArg;
use crate::cli::values::size::human;
use crate::image::{About, Extents, open_medium};

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The image: a file, a block device, - for stdin, or a URL.
    image: PathBuf,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    output: OutputArgs,
}

/// What is known of an image.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    format: &'static str,
    /// How long its content is.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// How long the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<u64>,
    /// How much of the content is data.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<u64>,
    /// Runs of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    extents: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<Backing>,
    properties: BTreeMap<String, String>,
}

/// What an image is a change of.
#[derive(Debug, Serialize)]
struct Backing {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
}

impl Inspect {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        let mut how = self.format.opening()?;
        // A change is described by itself, unless its bases are named.
        how.without_base = !self.format.has_backing();
        let medium = self.format.medium(&self.image, &mut how)?;
        let file_bytes = medium.size_bytes();
        let mut image = open_medium(medium, &how)?;
        let extents = image.extents()?;
        let found = inspected(image.about(), file_bytes, extents);
        if self.format.has_digest() {
            while image.next()?.is_some() {}
            image.end_bytes()?;
        }
        self.output.print(&found, text)
    }
}

fn inspected(about: &About, file_bytes: Option<u64>, extents: Option<Extents>) -> Inspected {
    let backing = about.labels.base.as_ref().map(|base| Backing {
        name: base.name.clone(),
        format: base.format.clone(),
        content_id: base.content_id.clone(),
    });
    let properties = about.properties.iter();
    Inspected {
        name: about.name.clone(),
        format: about.format.name(),
        size_bytes: about.size_bytes,
        file_bytes,
        data_bytes: extents.map(|extents| extents.data_bytes),
        extents: extents.map(|extents| extents.count),
        identity: about.identity.clone(),
        content_id: about.labels.content_id.clone(),
        backing,
        properties: properties
            .map(|(name, value)| (name.replace(' ', "_"), value.clone()))
            .collect(),
    }
}

/// A line for each thing that is known. What a file says of itself has no control characters left.
fn text(found: &Inspected) -> String {
    let size = |bytes: u64| format!("{} ({bytes} bytes)", human(bytes));
    let mut rows = vec![
        ("image".to_owned(), found.name.clone()),
        ("format".to_owned(), found.format.to_owned()),
    ];
    let mut add = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("size", found.size_bytes.map(size));
    add("file", found.file_bytes.map(size));
    add("data", found.data_bytes.map(size));
    add("extents", found.extents.map(|count| count.to_string()));
    add("content", found.content_id.clone());
    if let Some(backing) = &found.backing {
        add("backing", backing.name.clone());
        add("backing format", backing.format.clone());
        add("backing content", backing.content_id.clone());
    }
    for (name, value) in &found.properties {
        add(&name.replace('_', " "), Some(value.clone()));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(String, String)| {
        let value = value.replace(char::is_control, "?");
        format!("{name:<width$}  {value}\n")
    };
    rows.iter().map(line).collect()
}
