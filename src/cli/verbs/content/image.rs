//! Sending an image to a disk, as a whole or not at all.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::output::Output;
use crate::cli::transfer::ImageUpload;
use crate::cli::values::size::parse_size;
use crate::client::{Client, path};
use crate::daemon::Bytes;
use crate::model::{ContentId, Disk, ProblemKind};

/// Options that describe an image.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ImageArgs {
    /// Identifier of the image, for example its digest: equal identifiers mean equal content. By
    /// default a file counts as the same image until it changes, and stdin never does.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    image_id: Option<String>,

    /// Length of the image. An image of another length is refused; without this option, nothing
    /// detects that stdin was cut off.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    image_size: Option<u64>,
}

impl ImageArgs {
    /// Whether no option is given.
    pub(in crate::cli::verbs) fn is_empty(&self) -> bool {
        self.image_id.is_none() && self.image_size.is_none()
    }

    /// The image with this description.
    ///
    /// # Errors
    /// The image has another length.
    pub(in crate::cli::verbs) fn describe(&self, image: ImageUpload) -> Result<ImageUpload, Error> {
        image.expect(self.image_size, self.image_id.as_deref())
    }
}

/// The description of an image, as a query of the API.
pub(in crate::cli::verbs) fn image_query(image: &ImageUpload) -> String {
    let mut query = format!("image={}", path::encode(&image.name()));
    if let Some(id) = image.id() {
        query += &format!("&image_id={}", path::encode(id));
    }
    if let Some(bytes) = image.size_bytes() {
        query += &format!("&image_bytes={bytes}");
    }
    query
}

/// When to replace a disk's content.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli::verbs) struct Loading {
    /// Even if a front end is connected.
    pub(in crate::cli::verbs) force: bool,
    /// Only if the disk's first content is incomplete.
    pub(in crate::cli::verbs) importing: bool,
    /// Whether a program is told how far it is, and not people.
    pub(in crate::cli::verbs) json: bool,
}

/// Replace a disk's content with an image, as a whole; zeros follow it up to the end of the disk.
pub(in crate::cli::verbs) fn load(
    client: &Client,
    disk: &Disk,
    mut image: ImageUpload,
    when: Loading,
) -> Result<(), Error> {
    let is_change = image.is_change();
    let ids = ids(&image)?;
    let image_bytes = image.size_bytes().filter(|_| !is_change);
    if let Some(image_bytes) = image_bytes.filter(|&bytes| bytes > disk.size_bytes) {
        return Err(Error::Other(format!(
            "the image has {} and does not fit into {}, which has {}; first use 'ramblk resize {} \
             {}'",
            Bytes(image_bytes),
            disk.name,
            Bytes(disk.size_bytes),
            disk.name,
            image_bytes.next_multiple_of(disk.block_size.max(1))
        )));
    }
    let Loading {
        force,
        importing,
        json,
    } = when;
    let output = if json { Output::Json } else { Output::Human };
    let progress = image.progress(output)?;
    let (path, query) = (path::disk(&disk.name), image_query(&image));
    let path = format!("{path}/data?force={force}&importing={importing}&{query}{ids}");
    // A change may make the disk larger.
    let most_bytes = image.size_bytes().filter(|_| is_change);
    let most_bytes = most_bytes.unwrap_or(disk.size_bytes);
    let (frames, trouble) = image.frames(most_bytes, progress.clone());
    let sent = match is_change {
        true => client.upload_change(&path, frames),
        false => client.upload(&path, frames),
    };
    progress.end();
    // A fault of the image explains why the upload broke off.
    if let Some(error) = trouble.take() {
        return Err(error);
    }
    sent.map_err(|error| {
        Error::from(error).advise(ProblemKind::Attached, |_| {
            "stop its guest, or use --force: the guest would see the content change at once".into()
        })
    })
}

/// The identifiers of the content of an image, and of what it is a change of, as part of a query.
fn ids(image: &ImageUpload) -> Result<String, Error> {
    let labels = image.labels();
    // Others may have written other labels there.
    let known = |id: &Option<String>| id.as_ref()?.parse::<ContentId>().ok();
    let mut query = String::new();
    if let Some(id) = known(&labels.content_id) {
        query += &format!("&content_id={id}");
    }
    if image.is_change() {
        let base = labels
            .base
            .as_ref()
            .and_then(|base| known(&base.content_id));
        let base = base.ok_or_else(|| {
            Error::Other(format!(
                "{} doesn't say which content it is a change of; import it without --base, with \
                 the images that it needs as --backing",
                image.name()
            ))
        })?;
        query += &format!("&base={base}");
    }
    Ok(query)
}
