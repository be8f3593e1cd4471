//! An image on another host, read in a process that serves nothing: what that host sends reaches
//! the process that serves as frames only.
//!
//! A line of JSON says what is known of the image ([`Head`]), and frames follow it. An image that
//! can't be read to its end has no last frame, and stderr says why.

use std::io::{self, Write};
use std::path::Path;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::cli::error::Error;
use crate::cli::transfer::FormatArg;
use crate::image::{Opening, Part, data_runs, open_medium};
use crate::model::frames::{MOST_BYTES, header};

/// The longest line.
pub(super) const MOST_HEAD_BYTES: u64 = 64 << 10;

/// What is known of an image before its content is read.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) size_bytes: Option<u64>,
    pub(super) identity: Option<String>,
}

/// Be the helper.
pub(super) fn run(source: &Path, most_bytes: Option<u64>, format: &FormatArg) -> Result<(), Error> {
    // A process that waits for another host doesn't notice that its reader is gone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut how = Opening {
        most_bytes,
        ..format.opening()?
    };
    let medium = format.medium(source, &mut how)?;
    let mut image = open_medium(medium, &how)?;
    let about = image.about();
    let head = Head {
        name: about.name.clone(),
        size_bytes: about.size_bytes,
        identity: about.identity.clone(),
    };
    let mut out = io::stdout().lock();
    let line = serde_json::to_string(&head).map_err(|error| Error::Other(error.to_string()))?;
    writeln!(out, "{line}").map_err(Error::Output)?;
    out.flush().map_err(Error::Output)?;
    while let Some(part) = image.next()? {
        // A disk that is new has zeros everywhere.
        let Part::Data { start_bytes, bytes } = part else {
            continue;
        };
        for (at, run) in data_runs(start_bytes, bytes) {
            for (nth, piece) in (0..).zip(run.chunks(MOST_BYTES)) {
                let at = at + nth * MOST_BYTES as u64;
                let head = header(at, piece.len() as u64);
                out.write_all(&head).map_err(Error::Output)?;
                out.write_all(piece).map_err(Error::Output)?;
            }
        }
    }
    let end_bytes = image.end_bytes()?;
    out.write_all(&header(end_bytes, 0))
        .map_err(Error::Output)?;
    out.flush().map_err(Error::Output)
}
