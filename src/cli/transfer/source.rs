//! Where an image is read from, as it is named on the command line.

use std::io;
use std::path::Path;

use crate::cli::error::Error;
use crate::image::Medium;

/// Open a file, a block device, a pipe, or stdin if it is `-`.
///
/// # Errors
/// It can't be read.
pub(in crate::cli) fn medium(source: &Path) -> Result<Medium, Error> {
    if source == Path::new("-") {
        return Ok(Medium::stream("stdin", Box::new(io::stdin())));
    }
    Ok(Medium::open(source)?)
}
