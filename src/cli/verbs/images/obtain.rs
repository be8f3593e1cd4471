//! Getting an image onto the host. If another client is fetching the same one, this waits for that.

use std::path::Path;
use std::time::Duration;

use crate::cli::error::Error;
use crate::cli::print::output::Output;
use crate::cli::transfer::{FormatArg, ImageUpload, Progress, image_name};
use crate::client::{self, Client, Method, path};
use crate::image::Medium;
use crate::model::{
    ContentId, Digest, GoldenImage, GoldenOffer, GoldenRequest, GoldenState, ProblemKind,
};
use crate::remote::Place;

/// How long the daemon waits for another client before it answers.
const WAIT_SECONDS: u64 = 8;
/// How long to wait before asking a daemon again that is busy.
const BUSY: Duration = Duration::from_millis(250);

/// Check that an image consists of one file, whose digest says everything about it.
///
/// # Errors
/// Options name a base.
pub(in crate::cli::verbs) fn check_alone(format: &FormatArg) -> Result<(), Error> {
    match format.has_backing() {
        false => Ok(()),
        true => Err(Error::Usage(
            "a digest doesn't cover a base: leave out --backing and --follow-backing, or make one \
             file of the chain with 'qemu-img convert'"
                .into(),
        )),
    }
}

/// What the daemon calls the place where an image comes from. A URL may have secrets in it, which
/// are left out.
///
/// # Errors
/// It is a URL that can't be.
pub(in crate::cli::verbs) fn source_name(source: &Path) -> Result<String, Error> {
    if source == Path::new("-") {
        return Ok("stdin".to_owned());
    }
    let place = Place::parse(source)?;
    Ok(match place.is_remote() {
        true => image_name(Path::new(&place.to_string())),
        false => image_name(source),
    })
}

/// The digest of an image, if the place where it is vouches for it.
pub(in crate::cli::verbs) fn known_digest(source: &Medium) -> Option<Digest> {
    source.identity()?.parse().ok()
}

/// Get the image with this digest, unless it is there. `open` is called only if this client is to
/// fetch it; its content must have the digest.
///
/// # Errors
/// The image can't be read, or the daemon refuses it. There is no such image then.
pub(in crate::cli::verbs) fn obtain(
    client: &Client,
    digest: &Digest,
    request: &GoldenRequest,
    output: Output,
    open: impl FnOnce() -> Result<ImageUpload, Error>,
) -> Result<GoldenImage, Error> {
    let path = path::image(&digest.to_string());
    let mut wait_seconds = 0;
    let waiting = Progress::new("waiting", None, output);
    loop {
        let ask = format!("{path}?wait_seconds={wait_seconds}");
        let offer: GoldenOffer = match client.send(Method::PUT, &ask, request) {
            Ok((_, offer)) => offer,
            // Many clients may wait.
            Err(error) if error.is(ProblemKind::Busy) => {
                std::thread::sleep(BUSY);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(fetch) = offer.fetch {
            waiting.end();
            send(client, &path, fetch, output, open)?;
            return Ok(client.get(&path)?);
        }
        if offer.image.state == GoldenState::Present {
            waiting.end();
            return Ok(offer.image);
        }
        waiting.at(offer.image.import.map_or(0, |import| import.done_bytes));
        wait_seconds = WAIT_SECONDS;
    }
}

/// Send the content, as the client that is to fetch it.
fn send(
    client: &Client,
    path: &str,
    fetch: u64,
    output: Output,
    open: impl FnOnce() -> Result<ImageUpload, Error>,
) -> Result<(), Error> {
    let path = format!("{path}/data?fetch={fetch}");
    let image = match open() {
        Ok(image) => image,
        Err(error) => {
            // The next client need not wait until this one is overdue.
            let _: Result<(), client::Error> = client.upload(&path, std::iter::empty());
            return Err(error);
        }
    };
    let image_bytes = image.size_bytes();
    let progress = Progress::new("pull", image_bytes, output);
    let mut query = image_bytes.map_or_else(String::new, |bytes| format!("&image_bytes={bytes}"));
    let content_id = image.labels().content_id.as_deref();
    // Another program may write anything there.
    if let Some(Ok(id)) = content_id.map(str::parse::<ContentId>) {
        query += &format!("&content_id={id}");
    }
    let (frames, trouble) = image.frames(u64::MAX, progress.clone());
    // Frames that end too early are refused at once. A connection that breaks before it has sent
    // anything isn't noticed.
    let frames = frames.map_while(Result::ok).map(Ok);
    let sent = client.upload(&format!("{path}{query}"), frames);
    progress.end();
    // A fault of the image explains why the upload broke off.
    match trouble.take() {
        Some(error) => Err(error),
        None => Ok(sent?),
    }
}
