//! How a golden image of the host is named: by its name, by its digest, or by the beginning of the
//! digest. Where a path or an address may stand too, `image://` comes before it.

use std::path::Path;

use crate::cli::error::Error;
use crate::client::{Client, path};
use crate::model::GoldenImage;

/// What comes before the name of an image where a path may stand.
const SCHEME: &str = "image://";
/// How many digits of a digest name an image at least.
const LEAST_DIGITS: usize = 8;
/// What comes before the digits of a digest, and how many these are.
const PREFIX: &str = "sha256:";
const DIGITS: usize = 64;

/// The image of the host that `source` names, if it names one and is no path.
pub(in crate::cli::verbs) fn on_host(source: &Path) -> Option<&str> {
    source.to_str()?.strip_prefix(SCHEME)
}

/// The image that `text` names.
///
/// # Errors
/// There is none, or there are several.
pub(in crate::cli::verbs) fn find(client: &Client, text: &str) -> Result<GoldenImage, Error> {
    let digits = text.strip_prefix(PREFIX);
    let Some(digits) = digits.filter(|digits| (LEAST_DIGITS..DIGITS).contains(&digits.len()))
    else {
        return Ok(client.get(&path::image(text))?);
    };
    let beginning = format!("{PREFIX}{}", digits.to_ascii_lowercase());
    let images: Vec<GoldenImage> = client.get("/v1/images")?;
    let is_meant = |image: &GoldenImage| image.digest.to_string().starts_with(&beginning);
    let mut meant = images.into_iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => Err(Error::Usage(format!(
            "the digests of several images begin with {text}: give more digits"
        ))),
        // The daemon says so, in its words.
        (None, _) => Ok(client.get(&path::image(text))?),
    }
}
