//! `export`: a disk's content into a file, a pipe, or an object on another host.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use super::{IDLE, salvage, size_bytes, snapshot_query};
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::transfer::{Destination, Progress, Sink, WriteFormatArg};
use crate::cli::values::size::human;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::each::each;
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Download, path};
use crate::image::{Base, Creating, Labels, Outline, Written};
use crate::model::Target;
use crate::model::frames::{BASE_ID, CONTENT_ID, DELTA_TYPE, Decoder, FRAMES_TYPE, List, Piece};

#[derive(Debug, Args)]
#[command(
    override_usage = "ramblk export [OPTIONS] <NAME[@SNAPSHOT]>... <FILE>\n       \
                            ramblk export [OPTIONS] -l <KEY=VALUE> <FILE>"
)]
pub(in crate::cli) struct Export {
    /// Disks, or snapshots of them. Then where to write the image: a file, a block device, - for
    /// stdout, or s3://BUCKET/KEY or oci://REGISTRY/REPOSITORY:TAG. {name} in it stands for the
    /// disk's name, and must be there if there are several disks.
    #[arg(required = true, value_names = ["NAME[@SNAPSHOT]", "FILE"], num_args = 1..)]
    words: Vec<OsString>,

    #[command(flatten)]
    selector: Selector,

    /// Write only what differs from this snapshot of the disk, or of another one. 'import --base'
    /// applies it; qemu-img takes a qcow2 with what it is a change of as its backing file.
    #[arg(long, value_name = "[NAME@]SNAPSHOT", conflicts_with = "state_dir")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    since: Option<String>,

    /// Name of the image of --since, in the same folder, for the qcow2 to name as its backing
    /// file. {name} in it stands for the disk's name. The default is SNAPSHOT.qcow2.
    #[arg(long, value_name = "NAME", requires = "since")]
    backing_name: Option<String>,

    #[command(flatten)]
    format: WriteFormatArg,

    /// Replace an existing file, once the new one is complete.
    #[arg(long)]
    overwrite: bool,

    /// Read the disk from the state directory of a daemon that is not running, damaged or not.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Export a damaged disk too: unreadable parts become zeros, and stderr lists them.
    #[arg(long, requires = "state_dir")]
    partial: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What stands for the disk's name in a file's.
const NAME: &str = "{name}";

/// What to write where.
#[derive(Debug)]
struct Job {
    target: Target,
    file: PathBuf,
}

impl Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

/// The file for a disk.
fn with_name(file: &Path, disk: &str) -> PathBuf {
    match file.to_str() {
        Some(text) => text.replace(NAME, disk).into(),
        // It has no text in it that could be replaced.
        None => file.to_owned(),
    }
}

/// The disk or snapshot that a word is.
fn target(word: &OsStr) -> Result<Target, Error> {
    let text = word.to_string_lossy();
    let wrong = |why| Error::Usage(format!("NAME[@SNAPSHOT] can't be '{text}': {why}"));
    parse_target(&text).map_err(wrong)
}

/// The result of an export.
#[derive(Debug, Serialize)]
struct Exported {
    /// The disk or snapshot.
    name: String,
    /// The image.
    file: PathBuf,
    /// How long it is.
    size_bytes: u64,
    /// Bytes in it that aren't a hole.
    data_bytes: u64,
}

impl Export {
    pub(in crate::cli) fn run_with(
        self,
        ask: impl FnOnce() -> Result<Client, Error>,
    ) -> Result<(), Error> {
        let (file, named) = match self.words.split_last() {
            Some((file, named)) if !named.is_empty() || self.selector.is_given() => {
                (Path::new(file), named)
            }
            _ => {
                let text = "give a disk and a file, as in 'ramblk export vm1 vm1.qcow2'";
                return Err(Error::Usage(text.into()));
            }
        };
        if file == Path::new("-") && self.output.is_json() {
            let text = "the image goes to stdout: leave out '-o json', or name a file";
            return Err(Error::Usage(text.into()));
        }
        let named = named.iter().map(|word| target(word));
        let named: Vec<Target> = named.collect::<Result<_, _>>()?;
        let (client, targets) = match &self.state_dir {
            Some(_) if self.selector.is_given() => {
                let text = "labels are a daemon's: with --state-dir name the disks";
                return Err(Error::Usage(text.into()));
            }
            Some(_) => (None, named),
            None => {
                let client = ask()?;
                let targets = self.selector.targets_or(&client, &named)?;
                (Some(client), targets)
            }
        };
        let jobs = self.jobs(targets, file)?;
        each(&jobs, self.output, |job| self.one(client.as_ref(), job))
    }

    /// What to write where.
    fn jobs(&self, targets: Vec<Target>, file: &Path) -> Result<Vec<Job>, Error> {
        let is_one = targets.len() == 1 && !self.selector.is_given();
        let jobs = targets.into_iter().map(|target| {
            let file = with_name(file, &target.disk);
            Job { target, file }
        });
        let jobs: Vec<Job> = jobs.collect();
        let files: HashSet<&Path> = jobs.iter().map(|job| job.file.as_path()).collect();
        let has_name = with_name(file, "") != file;
        if is_one || (has_name && files.len() == jobs.len()) {
            return Ok(jobs);
        }
        Err(Error::Usage(match has_name {
            false => "several disks are exported: give a file with {name} in it, as in \
                  'backup/{name}.qcow2'"
                .into(),
            true => {
                "two snapshots of a disk would have the same file: export them one by one".into()
            }
        }))
    }

    fn one(&self, client: Option<&Client>, job: &Job) -> Result<(), Error> {
        let Job { target, file } = job;
        let format = self.format.written(file)?;
        let (size_bytes, data_bytes) = match (&self.state_dir, client) {
            (Some(state_dir), _) => {
                let how = (self.overwrite, self.partial, format);
                salvage::export(state_dir, target, file, how)?
            }
            (None, Some(client)) => self.run(client, job, format)?,
            (None, None) => return Ok(()),
        };
        if file == Path::new("-") {
            return Ok(());
        }
        let exported = Exported {
            name: target.to_string(),
            file: file.clone(),
            size_bytes,
            data_bytes,
        };
        self.output.print(&exported, |exported| {
            let (data, file) = (human(exported.data_bytes), exported.file.display());
            format!("{} is in {file}: {data} of data\n", exported.name)
        })
    }

    /// Write the image. Returns its length and how much of it is data, in bytes.
    fn run(&self, client: &Client, job: &Job, format: Written) -> Result<(u64, u64), Error> {
        let size_bytes = size_bytes(client, &job.target)?;
        let destination = Destination::open(&job.file, size_bytes, self.overwrite, format)?;
        let lists = destination.wants_outline();
        let path = format!(
            "{}/data?{}",
            path::disk(&job.target.disk),
            self.query(&job.target, format, lists)
        );
        let is_change = self.since.is_some();
        let kind = if is_change { DELTA_TYPE } else { FRAMES_TYPE };
        let download = client.download(&path, kind, Some(IDLE))?;
        let labels = self.labels(&download, &job.target.disk);
        let mut writing = match lists {
            true => Writing::Listed(Box::new(Listed {
                list: List::new(size_bytes, is_change),
                outline: Outline::new(size_bytes),
                begin: Some((destination, labels)),
            })),
            false => Writing::Frames(destination.begin(labels, None)?),
        };
        let progress = Progress::new("export", Some(size_bytes), self.output.kind());
        let mut frames = Frames::new(size_bytes, is_change);
        let got = download.each(|mut bytes| {
            if let Some(sink) = writing.sink(&mut bytes)? {
                frames.write(bytes, sink)?;
                progress.at(frames.decoder.at_bytes());
            }
            Ok::<(), Error>(())
        });
        progress.end();
        got?;
        let end_bytes = frames.decoder.end()?;
        let (Writing::Frames(sink), true) = (writing, end_bytes == size_bytes) else {
            let text = "the disk's size changed during the export; export a snapshot of it";
            return Err(Error::Other(text.into()));
        };
        sink.finish(size_bytes)?;
        Ok((size_bytes, frames.written_bytes))
    }

    /// What to ask the daemon for, and whether with a list first.
    fn query(&self, target: &Target, format: Written, lists: bool) -> String {
        let list = if lists { "&list=true" } else { "" };
        let snapshot = snapshot_query(target, '&');
        let since = self.since.as_ref().map_or_else(String::new, |since| {
            let unit_bytes = Creating::whole(format).granule_bytes();
            format!("&base={}&unit_bytes={unit_bytes}", path::encode(since))
        });
        let query = snapshot + &since + list;
        query.trim_start_matches('&').to_owned()
    }

    /// What the image says about its content.
    fn labels(&self, download: &Download<'_>, disk: &str) -> Labels {
        let id = |name| download.header(name).map(str::to_owned);
        let base = self.since.as_ref().map(|since| {
            let snapshot = since.rsplit('@').next().unwrap_or(since);
            let usual = || format!("{snapshot}.qcow2");
            let given = self.backing_name.as_ref();
            let given = given.map(|name| name.replace(NAME, disk));
            let name = given.unwrap_or_else(usual);
            let is_qcow2 = Path::new(&name).extension().is_some_and(|it| it == "qcow2");
            let format = if is_qcow2 { "qcow2" } else { "raw" };
            Base {
                content_id: id(BASE_ID),
                format: Some(format.to_owned()),
                name: Some(name),
            }
        });
        Labels {
            content_id: id(CONTENT_ID),
            base,
        }
    }
}

/// An image that is written, or will be once the list before its content is complete.
enum Writing {
    Listed(Box<Listed>),
    Frames(Sink),
}

/// An image whose list is read.
struct Listed {
    list: List,
    outline: Outline,
    /// What it is written to, until it is.
    begin: Option<(Destination, Labels)>,
}

impl Writing {
    /// Take the list from the beginning of `bytes`. Returns the image if frames follow.
    fn sink(&mut self, bytes: &mut &[u8]) -> Result<Option<&mut Sink>, Error> {
        if let Self::Listed(listed) = self
            && let Some(sink) = listed.take(bytes)?
        {
            *self = Self::Frames(sink);
        }
        Ok(match self {
            Self::Listed(_) => None,
            Self::Frames(sink) => Some(sink),
        })
    }
}

impl Listed {
    /// Take the list from the beginning of `bytes`. Returns the image at the list's end.
    fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Sink>, Error> {
        while let Some(extent) = self.list.next(bytes)? {
            let range = extent.start_bytes..extent.start_bytes + extent.length_bytes;
            match extent.is_zeros {
                true => self.outline.zero(range),
                false => self.outline.data(range),
            }
        }
        let has_ended = self.list.has_ended();
        let Some((destination, labels)) = self.begin.take_if(|_| has_ended) else {
            return Ok(None);
        };
        let outline = std::mem::take(&mut self.outline);
        Ok(Some(destination.begin(labels, Some(outline))?))
    }
}

/// The frames of a download, which are written.
struct Frames {
    decoder: Decoder,
    is_change: bool,
    /// The beginning of a frame of a change.
    frame: Vec<u8>,
    written_bytes: u64,
}

impl Frames {
    fn new(size_bytes: u64, is_change: bool) -> Self {
        Self {
            decoder: match is_change {
                true => Decoder::delta(size_bytes),
                false => Decoder::new(size_bytes),
            },
            is_change,
            frame: Vec::new(),
            written_bytes: 0,
        }
    }

    fn write(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Error> {
        while let Some(piece) = self.decoder.next(&mut bytes)? {
            match piece {
                Piece::Zeros(at, length) => sink.zero(at..at + length)?,
                Piece::Data(at, data) if self.is_change => {
                    // Parts of a change are written as they begin and end there.
                    self.frame.extend_from_slice(data);
                    if self.decoder.is_between_frames() {
                        let length = self.frame.len() as u64;
                        sink.write(at + data.len() as u64 - length, &self.frame)?;
                        self.written_bytes += length;
                        self.frame.clear();
                    }
                }
                Piece::Data(at, data) => {
                    sink.write(at, data)?;
                    self.written_bytes += data.len() as u64;
                }
            }
        }
        Ok(())
    }
}
