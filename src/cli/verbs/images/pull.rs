//! `image pull`: an image becomes a golden one of the host.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::obtain::{check_alone, known_digest, obtain, source_name};
use crate::cli::error::Error;
use crate::cli::print::images;
use crate::cli::print::output::{Output, OutputArgs};
use crate::cli::transfer::{FormatArg, ImageUpload, Progress, again_if_changed};
use crate::client::Client;
use crate::daemon::disks::check_name;
use crate::image::{self, Medium, ReadAt};
use crate::model::{Digest, GoldenRequest};

#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// The image. Without --digest, one from a pipe or from another host is kept in a temporary
    /// file until its digest is known.
    #[arg(value_name = "SRC")]
    source: PathBuf,

    /// Name, by which disks can be created from it as image://NAME.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,

    /// Keep the image when memory is wanted, even if no disk is forked from it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep: Option<bool>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    output: OutputArgs,
}

impl Pull {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        // The daemon is asked only once all of the image was read.
        let name = self.name.as_deref();
        name.map_or(Ok(()), check_name)
            .map_err(|problem| Error::Usage(problem.detail))?;
        again_if_changed(Some(&self.source), || self.pull(client))
    }

    fn pull(&self, client: &Client) -> Result<(), Error> {
        check_alone(&self.format)?;
        let mut how = self.format.opening()?;
        let mut opened = None;
        let digest = match self.format.digest() {
            Some(digest) => digest,
            None => {
                let source = self.format.medium(&self.source, &mut how)?;
                let (digest, source) = match known_digest(&source) {
                    Some(digest) => (digest, source),
                    None => self.digest_of(source)?,
                };
                opened = Some(source);
                digest
            }
        };
        let request = GoldenRequest {
            source: source_name(&self.source)?,
            name: self.name.clone(),
            format: self.format.name(),
            keep: self.keep,
        };
        let open = || {
            let source = opened.map_or_else(|| self.format.medium(&self.source, &mut how), Ok)?;
            ImageUpload::open(source, &how)
        };
        let image = obtain(client, &digest, &request, self.output.kind(), open)?;
        self.output.print(&image, images::pulled)
    }

    /// The digest of an image, and the image.
    fn digest_of(&self, source: Medium) -> Result<(Digest, Medium), Error> {
        let output = self.output.kind();
        match source {
            Medium::Seekable(source) if self.source.exists() => {
                Ok((hash(&*source, output)?, Medium::Seekable(source)))
            }
            // It can't be read twice, or would be fetched twice.
            source => {
                let progress = Progress::new("digest", source.size_bytes(), output);
                let told = progress.clone();
                let kept = image::keep(source, move |bytes| told.at(bytes));
                progress.end();
                let (source, digest) = kept?;
                Ok((digest, source))
            }
        }
    }
}

fn hash(source: &dyn ReadAt, output: Output) -> Result<Digest, Error> {
    let progress = Progress::new("digest", Some(source.size_bytes()), output);
    let hashed = image::hash(source, |bytes| {
        progress.at(bytes);
        Ok(())
    });
    let digest = hashed.map_err(|error| Error::File {
        what: "read",
        path: source.name().into(),
        source: error,
    })?;
    progress.end();
    Ok(digest)
}
