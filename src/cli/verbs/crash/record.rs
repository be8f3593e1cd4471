//! `record`: a log of everything that changes a disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use crate::cli::error::Error;
use crate::cli::print::layout::pairs;
use crate::cli::print::output::OutputArgs;
use crate::cli::values::size::{human_and_exact, parse_size};
use crate::client::{Bytes, Client, Method, path};
use crate::daemon::{NewFile, is_zero};
use crate::model::{MarkRequest, ProblemKind, RecordRequest, Recording, RecordingState};

/// The longest time between two parts of a log.
const IDLE: std::time::Duration = std::time::Duration::from_secs(60);
/// How much of a log is sent at a time.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RecordVerb {
    /// Begin to log everything that changes a disk.
    Start(Start),
    /// End a recording. What was recorded is kept.
    Stop(Named),
    /// Show a recording.
    Show(Named),
    /// Add a mark to a recording, at this moment.
    Mark(Mark),
    /// Write the log to a file, in the format of dm-log-writes.
    Export(Export),
    /// Take a log that was recorded elsewhere as the disk's recording.
    Import(Import),
    /// Remove a recording: its log, and the snapshot of the content before.
    Rm(Remove),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Start {
    /// The disk's name. Its content at this moment is kept as the snapshot NAME@recording.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The most memory that the log may take. A full log ends the recording. The default is a
    /// quarter of the pool.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit: Option<u64>,

    /// The sector of 512 bytes for marks of the guest: a write that begins there, and with the
    /// bytes ramblk-mark:, is a mark, and doesn't reach the disk. The default is 8 sectors before
    /// the disk's end.
    #[arg(long, value_name = "SECTOR")]
    mark_sector: Option<u64>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Named {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Mark {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The mark: a line of at most 432 bytes.
    text: String,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The file, which is replaced if it exists.
    file: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The disk's name. It must have the content that the log begins with.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The log: of dm-log-writes, of QEMU's blklogwrites, or an export.
    file: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Remove it even if disks were forked from NAME@recording.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl RecordVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match self {
            Self::Start(verb) => verb.run(client),
            Self::Stop(verb) => {
                let path = format!("{}/stop", path::recording(&verb.name));
                let (_, recording): (_, Recording) = client.post(&path)?;
                verb.output.print(&recording, shown)
            }
            Self::Show(verb) => {
                let recording: Recording = client.get(&path::recording(&verb.name))?;
                verb.output.print(&recording, shown)
            }
            Self::Mark(verb) => verb.run(client),
            Self::Export(verb) => verb.run(client),
            Self::Import(verb) => verb.run(client),
            Self::Rm(verb) => verb.run(client),
        }
    }
}

impl Start {
    fn run(self, client: &Client) -> Result<(), Error> {
        let request = RecordRequest {
            limit_bytes: self.limit,
            mark_sector: self.mark_sector,
        };
        let path = path::recording(&self.name);
        let (_, recording): (_, Recording) = client.send(Method::PUT, &path, &request)?;
        self.output.print(&recording, |recording| {
            let (disk, base) = (&recording.disk, &recording.base);
            format!("{disk} is being recorded; {base} is what it had before\n")
        })
    }
}

impl Mark {
    fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/marks", path::recording(&self.name));
        let request = MarkRequest { text: self.text };
        let (_, recording): (_, Recording) = client.send(Method::POST, &path, &request)?;
        self.output.print(&recording, |recording| {
            let (disk, entries) = (&recording.disk, recording.entries);
            format!("{disk} has the mark behind entry {entries} of its log\n")
        })
    }
}

impl Export {
    fn run(self, client: &Client) -> Result<(), Error> {
        let recording: Recording = client.get(&path::recording(&self.name))?;
        let folder = self.file.parent().filter(|it| !it.as_os_str().is_empty());
        let new = NewFile::new_in(folder.unwrap_or(Path::new(".")), 0o666);
        let new = new.map_err(|source| self.failed("create", source))?;
        let from = format!("{}/log", path::recording(&self.name));
        fetch(client, &from, new.file(), &self.file)?;
        let kept = new.persist(&self.file);
        kept.map_err(|source| self.failed("create", source))?;
        self.output.print(&recording, |recording| {
            let (disk, file) = (&recording.disk, self.file.display());
            format!("the log of {disk} is in {file}\n")
        })
    }

    fn failed(&self, what: &'static str, source: io::Error) -> Error {
        failed(what, &self.file, source)
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File { what, path, source }
}

/// Write plain bytes from the daemon into an empty file, with holes for their zeros.
pub(super) fn fetch(
    client: &Client,
    path: &str,
    mut file: &File,
    called: &Path,
) -> Result<(), Error> {
    let mut length = 0;
    client.stream(path, "application/octet-stream", Some(IDLE), |bytes| {
        for part in bytes.chunks(64 << 10) {
            length += part.len() as u64;
            let written = match is_zero(part) {
                true => file.seek(SeekFrom::Start(length)).map(drop),
                false => file.write_all(part),
            };
            written.map_err(|source| failed("write", called, source))?;
        }
        Ok::<_, Error>(())
    })?;
    let whole = file.set_len(length);
    whole.map_err(|source| failed("write", called, source))
}

impl Import {
    fn run(self, client: &Client) -> Result<(), Error> {
        let file = File::open(&self.file);
        let file = file.map_err(|source| failed("open", &self.file, source))?;
        let path = format!("{}/log", path::recording(&self.name));
        let sent = client.upload_plain(&path, Chunks(file));
        let recording: Recording = sent.map_err(|error| {
            Error::from(error).advise(ProblemKind::TooLarge, |_| "it is no log of a disk".into())
        })?;
        self.output.print(&recording, shown)
    }
}

/// The bytes of a file, in chunks.
struct Chunks(File);

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match (&self.0).take(CHUNK_BYTES as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk.into())),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Remove {
    fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}?force={}", path::recording(&self.name), self.force);
        client.delete(&path).map_err(|error| {
            Error::from(error).advise(ProblemKind::Conflict, |_| {
                "destroy these disks, or use --force".into()
            })
        })?;
        let removed = serde_json::json!({ "removed": self.name });
        self.output.print(&removed, |_| {
            format!("the recording of {} is gone\n", self.name)
        })
    }
}

/// A recording for people.
fn shown(recording: &Recording) -> String {
    let state = match (recording.state, &recording.reason) {
        (RecordingState::Recording, _) => "recording".to_owned(),
        (RecordingState::Ended, Some(reason)) => format!("ended: {reason}"),
        (RecordingState::Ended, None) => "ended".to_owned(),
    };
    let limit = match recording.limit_bytes {
        0 => "that of the pool".to_owned(),
        limit_bytes => human_and_exact(limit_bytes),
    };
    pairs(&[
        ("disk", recording.disk.clone()),
        ("state", state),
        ("base", recording.base.clone()),
        ("entries", recording.entries.to_string()),
        ("writes", recording.writes.to_string()),
        ("flushes", recording.flushes.to_string()),
        ("marks", recording.marks.to_string()),
        ("mark sector", recording.mark_sector.to_string()),
        ("log", human_and_exact(recording.length_bytes)),
        ("memory", human_and_exact(recording.charged_bytes)),
        ("limit", limit),
    ])
}
