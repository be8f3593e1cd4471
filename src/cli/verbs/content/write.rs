//! `write`: the bytes of stdin, into a disk.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::transfer::check_stdin;
use crate::cli::values::size::{human_and_exact, parse_size};
use crate::client::{Bytes, Client, path};
use crate::model::ProblemKind;

/// How much to read at a time.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Write {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Where the bytes go: bytes from the disk's beginning, or a number with K, M, G or T. The disk
    /// has all of stdin after that at one instant, or stays as it was.
    #[arg(value_parser = parse_size)]
    offset: u64,

    /// Write even if a front end uses the disk. Whole blocks are then written as they come: its
    /// guest may see some of them, and they stay if the rest fails.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    disk: String,
    start_bytes: u64,
    length_bytes: u64,
}

impl Write {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        check_stdin()?;
        let (disk, start, force) = (path::disk(&self.name), self.offset, self.force);
        let path = format!("{disk}/data?start_bytes={start}&force={force}");
        let length = Arc::new(AtomicU64::new(0));
        let sent = client.write(&path, Chunks(Arc::clone(&length)));
        sent.map_err(|error| {
            Error::from(error).advise(ProblemKind::Attached, |_| {
                "stop its guest, or use --force: the guest would see the bytes change".into()
            })
        })?;
        let written = Written {
            disk: self.name,
            start_bytes: start,
            length_bytes: length.load(Ordering::Relaxed),
        };
        self.output.print(&written, |written| {
            let (length, start) = (human_and_exact(written.length_bytes), written.start_bytes);
            format!("{} has {length} from stdin at {start}\n", written.disk)
        })
    }
}

/// The bytes of stdin, in chunks, which are counted.
struct Chunks(Arc<AtomicU64>);

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let most = CHUNK_BYTES as u64;
        match io::stdin().lock().take(most).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(length) => {
                self.0.fetch_add(length as u64, Ordering::Relaxed);
                Some(Ok(chunk.into()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
