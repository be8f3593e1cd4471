//! An upload that is ended when its process is gone: killed, out of memory, stopped by a signal.

use std::io;
use std::path::Path;

use crate::cli::error::Error;
use crate::remote::{self, Place};

/// Be the helper.
pub(super) fn run(place: &Path) -> Result<(), Error> {
    let place = Place::parse(place)?;
    Ok(remote::keep(&place, &mut io::stdin(), &mut io::stdout())?)
}
