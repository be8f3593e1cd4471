//! `image list`, `image show`, `image rm`: the golden images of a host.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::address::find;
use crate::cli::error::Error;
use crate::cli::print::images;
use crate::cli::print::output::OutputArgs;
use crate::cli::verbs::each::{destroyed, each};
use crate::client::{Client, path};
use crate::model::GoldenImage;

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let images: Vec<GoldenImage> = client.get("/v1/images")?;
        self.output.print(&images, |images| images::list(images))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Names or digests of images; the first 8 digits of a digest are enough.
    #[arg(required = true, value_name = "NAME|DIGEST")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut between = "";
        each(&self.images, self.output, |name| {
            let image = find(client, name)?;
            let text = |image: &_| between.to_owned() + &images::image(image);
            self.output.print(&image, text)?;
            between = "\n";
            Ok(())
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// Names or digests of images; the first 8 digits of a digest are enough.
    #[arg(required = true, value_name = "NAME|DIGEST")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    /// Remove even images that disks were forked from. The disks keep their content, and can't be
    /// reset to it any more.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Remove {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        each(&self.images, self.output, |name| {
            let digest = find(client, name)?.digest.to_string();
            let path = format!("{}?force={}", path::image(&digest), self.force);
            let removed = client.delete(&path);
            removed.map_err(|error| Error::from(error).advise_destroyer())?;
            destroyed(self.output, name)
        })
    }
}
