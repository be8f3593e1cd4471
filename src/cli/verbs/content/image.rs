//! An image on its way into a disk: what it is called, what tells it from others, and that all of
//! it goes or nothing.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::transfer::{Progress, Source};
use crate::cli::values::size::parse_size;
use crate::client::{Client, path};
use crate::daemon::Bytes;
use crate::model::{Disk, ProblemKind};

/// What else may be said of an image.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ImageArgs {
    /// What tells the image from others, its digest for example; the same image must have the same.
    /// Without it a file is the same as long as it was not changed, and stdin never is.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    image_id: Option<String>,

    /// How long the image is: one that ends before or after that is refused, which of stdin can't
    /// be noticed otherwise.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    image_size: Option<u64>,
}

impl ImageArgs {
    /// Have the image be as it is said to be.
    ///
    /// # Errors
    /// If it has another length.
    pub(in crate::cli::verbs) fn describe(&self, image: Source) -> Result<Source, Error> {
        image.expect(self.image_size, self.image_id.as_deref())
    }
}

/// What the API is told of an image.
pub(in crate::cli::verbs) fn image_query(image: &Source) -> String {
    let mut query = format!("image={}", path::encode(&image.name()));
    if let Some(id) = image.id() {
        query += &format!("&image_id={}", path::encode(id));
    }
    if let Some(bytes) = image.size_bytes() {
        query += &format!("&image_bytes={bytes}");
    }
    query
}

/// When a disk's content may be replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli::verbs) struct Loading {
    /// Also while a front end is connected.
    pub(in crate::cli::verbs) force: bool,
    /// Only as long as the disk's first content is not whole.
    pub(in crate::cli::verbs) importing: bool,
}

/// Replace what a disk holds by an image, all at once; zeros follow it up to the end of the disk.
pub(in crate::cli::verbs) fn load(
    client: &Client,
    disk: &Disk,
    image: Source,
    when: Loading,
) -> Result<(), Error> {
    let image_bytes = image.size_bytes();
    if let Some(image_bytes) = image_bytes.filter(|&bytes| bytes > disk.size_bytes) {
        return Err(Error::Other(format!(
            "the image has {} and does not fit into {}, which has {}; first say 'ramblk resize {} \
             {}'",
            Bytes(image_bytes),
            disk.name,
            Bytes(disk.size_bytes),
            disk.name,
            image_bytes.next_multiple_of(disk.block_size.max(1))
        )));
    }
    let progress = Progress::new("import", image_bytes);
    let (path, query) = (path::disk(&disk.name), image_query(&image));
    let Loading { force, importing } = when;
    let path = format!("{path}/data?force={force}&importing={importing}&{query}");
    let (frames, trouble) = image.frames(disk.size_bytes, progress.clone());
    let sent = client.upload(&path, frames);
    progress.end();
    // What is wrong with the image is why the daemon heard no more of it.
    if let Some(error) = trouble.take() {
        return Err(error);
    }
    sent.map_err(|error| {
        Error::from(error).advise(ProblemKind::Attached, |_| {
            "stop its guest, or say --force: it would see other bytes all at once".into()
        })
    })
}
