//! `read`, `digest`, `diff`: looking at a disk's content beside its guest.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde::Serialize;

use super::{IDLE, snapshot_query};
use crate::cli::error::{EXIT_DIFFERENT, Error};
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::range::{Range, parse_range};
use crate::cli::values::size::parse_size;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::each::each;
use crate::cli::verbs::select::Targets;
use crate::client::{Client, path};
use crate::daemon::Bytes;
use crate::model::{Compared, ComparisonLine, ContentDigest, Difference, Target};

/// The longest line of a comparison.
const MOST_LINE_BYTES: usize = 1 << 16;

#[derive(Debug, Args)]
pub(in crate::cli) struct Read {
    /// The disk, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    /// Where the bytes begin: bytes, or a number with K, M, G or T.
    #[arg(value_parser = parse_size)]
    offset: u64,

    /// How many bytes.
    #[arg(value_parser = parse_size)]
    length: u64,
}

impl Read {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if io::stdout().is_terminal() {
            let text = "stdout is a terminal: send it to a file or a pipe, such as '| xxd'";
            return Err(Error::Usage(text.into()));
        }
        let size_bytes = super::size_bytes(client, &self.target)?;
        let end = self.offset.checked_add(self.length);
        if end.is_none_or(|end| end > size_bytes) {
            return Err(Error::Usage(format!(
                "{}+{} is not inside {}, which has {}",
                self.offset,
                self.length,
                self.target,
                Bytes(size_bytes)
            )));
        }
        if self.length == 0 {
            return Ok(());
        }
        let query = snapshot_query(&self.target, '?');
        let path = format!("{}/data{query}", path::disk(&self.target.disk));
        let mut stdout = io::stdout().lock();
        let mut got = 0;
        let range = (self.offset, self.length);
        client.stream_range(&path, range, Some(IDLE), |bytes| {
            got += bytes.len() as u64;
            stdout.write_all(bytes).map_err(Error::Output)
        })?;
        stdout.flush().map_err(Error::Output)?;
        if got == self.length {
            return Ok(());
        }
        let text = "the disk became smaller meanwhile; read a snapshot of it";
        Err(Error::Other(text.into()))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DigestVerb {
    #[command(flatten)]
    targets: Targets,

    /// Only the LENGTH bytes from OFFSET on, as in 1G+512.
    #[arg(long, value_name = "OFFSET+LENGTH", value_parser = parse_range)]
    range: Option<Range>,

    #[command(flatten)]
    output: OutputArgs,
}

/// The digest of a disk or snapshot.
#[derive(Debug, Serialize)]
struct Digested {
    name: String,
    #[serde(flatten)]
    digest: ContentDigest,
}

impl DigestVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let range = self.range.map_or_else(String::new, |range| {
            let Range { start, length } = range;
            format!("&start_bytes={start}&length_bytes={length}")
        });
        each(&self.targets.find(client)?, self.output, |target| {
            let query = snapshot_query(target, '&') + &range;
            let query = query.trim_start_matches('&');
            let path = format!("{}/digest?{query}", path::disk(&target.disk));
            let digest = Digested {
                name: target.to_string(),
                digest: client.get_slowly(&path)?,
            };
            self.output
                .print(&digest, |it| format!("{}  {}\n", it.digest.blake3, it.name))
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// A disk, or a snapshot of it.
    #[arg(value_name = "FROM[@SNAPSHOT]", value_parser = parse_target)]
    from: Target,

    /// Another one; the list says how it differs from the first.
    #[arg(value_name = "TO[@SNAPSHOT]", value_parser = parse_target)]
    to: Target,

    #[command(flatten)]
    output: OutputArgs,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct Differences {
    #[serde(flatten)]
    end: Compared,
    extents: Vec<Difference>,
}

impl Diff {
    /// Exits with 0 if both are the same, with 1 if they differ, and with more if that isn't known.
    pub(in crate::cli) fn run_with(
        self,
        ask: impl FnOnce() -> Result<Client, Error>,
    ) -> Result<(), Error> {
        let failed = |error| Error::NoAnswer(Box::new(error));
        let differences = ask().and_then(|client| self.compare(&client));
        let differences = differences.map_err(failed)?;
        let print = |found: &Differences| tables::differences(&found.extents, &found.end);
        self.output.print(&differences, print).map_err(failed)?;
        if differences.end.same {
            return Ok(());
        }
        let exit_code = EXIT_DIFFERENT;
        Err(Error::Told { exit_code })
    }

    fn compare(&self, client: &Client) -> Result<Differences, Error> {
        let snapshot = snapshot_query(&self.from, '&');
        let with = path::encode(&self.to.to_string());
        let path = format!("{}/diff?with={with}{snapshot}", path::disk(&self.from.disk));
        let (mut line, mut extents, mut end) = (Vec::new(), Vec::new(), None);
        // Nothing comes while nothing differs.
        client.stream(&path, "application/x-ndjson", None, |bytes| {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > MOST_LINE_BYTES {
                    return Err(Error::Other("the daemon sent an endless line".into()));
                }
                if line.ends_with(b"\n") {
                    match serde_json::from_slice(&line).map_err(|error| odd(&error))? {
                        ComparisonLine::Extent(extent) => extents.push(extent),
                        ComparisonLine::End(compared) => end = Some(compared),
                    }
                    line.clear();
                }
            }
            Ok::<(), Error>(())
        })?;
        let cut_off = || Error::Other("the daemon ended the comparison too early".into());
        let end = end.ok_or_else(cut_off)?;
        Ok(Differences { end, extents })
    }
}

fn odd(error: &serde_json::Error) -> Error {
    Error::Other(format!(
        "the daemon sent a line that can't be read: {error}"
    ))
}
