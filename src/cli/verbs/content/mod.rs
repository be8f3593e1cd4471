//! Verbs about the content of disks: `map`, `import`, `export`, `read`, `write`, `digest`, `diff`,
//! `fsck`.
//!
//! | file | what it holds |
//! |---|---|
//! | `image` | sending an image to a disk |
//! | `look` | `read`, `digest`, `diff` |
//! | `write` | `write` |
//! | `salvage` | `fsck`, and `export` without a daemon |

pub(super) mod image;
pub(super) mod look;
pub(super) mod salvage;
pub(super) mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use self::image::{ImageArgs, Loading, load};
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::transfer::{
    FormatArg, ImageUpload, Progress, Sink, WriteFormatArg, again_if_changed, without_secrets,
};
use crate::cli::values::size::human;
use crate::cli::values::target::parse_target;
use crate::client::{Client, Download, path};
use crate::image::{Base, Creating, Labels, Opening, Written};
use crate::model::frames::{BASE_ID, CONTENT_ID, DELTA_TYPE, Decoder, FRAMES_TYPE, Piece};
use crate::model::{Disk, Map, MapExtent, Snapshot, Target};

/// How long the daemon may take between two parts of a disk's content.
const IDLE: Duration = Duration::from_secs(60);
/// Extents to ask for at once.
const EXTENTS: usize = 10_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct MapVerb {
    /// The disk, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    #[command(flatten)]
    output: OutputArgs,
}

impl MapVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut extents: Vec<MapExtent> = Vec::new();
        let mut next = Some(0);
        while let Some(start) = next {
            let path = format!(
                "{}/map?start_bytes={start}&limit={EXTENTS}{}",
                path::disk(&self.target.disk),
                snapshot_query(&self.target, '&')
            );
            let map: Map = client.get(&path)?;
            map.extents
                .into_iter()
                .for_each(|it| join(&mut extents, it));
            // A part that isn't followed by another one would be requested for ever.
            next = map.next_bytes.filter(|&next| next > start);
        }
        self.output.print(&extents, |extents| tables::map(extents))
    }
}

/// Add an extent, joined with the last one if the daemon cut it there.
fn join(extents: &mut Vec<MapExtent>, next: MapExtent) {
    match extents.last_mut() {
        Some(last)
            if last.mapped == next.mapped
                && last.start_bytes + last.length_bytes == next.start_bytes =>
        {
            last.length_bytes += next.length_bytes;
        }
        _ => extents.push(next),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Image: a file, a block device, - for stdin, or a URL (http, https, s3, oci).
    file: PathBuf,

    /// Replace the content even if a front end uses the disk; its guest sees it change at once.
    #[arg(long)]
    force: bool,

    /// FILE is a change that 'export --since' has written: apply it to the disk, which must have
    /// the content that it was made from, and no front end. The disk gets its size too.
    #[arg(long, conflicts_with_all = ["force", "backing", "follow_backing"])]
    base: bool,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl Import {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        again_if_changed(Some(&self.file), || self.replace(client))
    }

    fn replace(&self, client: &Client) -> Result<(), Error> {
        let path = path::disk(&self.name);
        let disk: Disk = client.get(&path)?;
        let command = format!("ramblk import {} -", self.name);
        let mut how = Opening {
            most_bytes: Some(disk.size_bytes).filter(|_| !self.base),
            pipe_command: Some(&command),
            without_base: self.base,
            ..self.format.opening()?
        };
        let medium = self.format.medium(&self.file, &mut how)?;
        let image = ImageUpload::open(medium, &how)?;
        let image = self.image.describe(image)?;
        let when = Loading {
            force: self.force,
            json: self.output.is_json(),
            ..Loading::default()
        };
        load(client, &disk, image, when)?;
        let disk: Disk = client.get(&path)?;
        self.output.print(&disk, |disk| {
            let (mapped, from) = (human(disk.mapped_bytes), without_secrets(&self.file));
            format!("{} has the content of {from}: {mapped} mapped\n", disk.name)
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The disk, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    /// Where to write the image: a file, a block device, - for stdout, or s3://BUCKET/KEY or
    /// oci://REGISTRY/REPOSITORY:TAG.
    file: PathBuf,

    /// Write only what differs from this snapshot of the disk, or of another one. 'import --base'
    /// applies it; qemu-img takes a qcow2 with what it is a change of as its backing file.
    #[arg(long, value_name = "[NAME@]SNAPSHOT", conflicts_with = "state_dir")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    since: Option<String>,

    /// Name of the image of --since, in the same folder, for the qcow2 to name as its backing
    /// file. The default is SNAPSHOT.qcow2.
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
        let to_stdout = self.file == Path::new("-");
        if to_stdout && self.output.is_json() {
            let text = "the image goes to stdout: leave out '-o json', or name a file";
            return Err(Error::Usage(text.into()));
        }
        let format = self.format.written(&self.file)?;
        let (size_bytes, data_bytes) = match &self.state_dir {
            Some(state_dir) => {
                let how = (self.overwrite, self.partial, format);
                salvage::export(state_dir, &self.target, &self.file, how)?
            }
            None => self.run(&ask()?, format)?,
        };
        if to_stdout {
            return Ok(());
        }
        let exported = Exported {
            name: self.target.to_string(),
            file: self.file,
            size_bytes,
            data_bytes,
        };
        self.output.print(&exported, |exported| {
            let (data, file) = (human(exported.data_bytes), exported.file.display());
            format!("{} is in {file}: {data} of data\n", exported.name)
        })
    }

    /// Write the image. Returns its length and how much of it is data, in bytes.
    fn run(&self, client: &Client, format: Written) -> Result<(u64, u64), Error> {
        let size_bytes = size_bytes(client, &self.target)?;
        let path = format!(
            "{}/data?{}",
            path::disk(&self.target.disk),
            self.query(format)
        );
        let is_change = self.since.is_some();
        let kind = if is_change { DELTA_TYPE } else { FRAMES_TYPE };
        let download = client.download(&path, kind, Some(IDLE))?;
        let how = (format, self.labels(&download));
        let mut sink = Sink::open(&self.file, size_bytes, self.overwrite, how)?;
        let progress = Progress::new("export", Some(size_bytes), self.output.kind());
        let mut decoder = match is_change {
            true => Decoder::delta(size_bytes),
            false => Decoder::new(size_bytes),
        };
        let (mut written, mut frame) = (0, Vec::new());
        let got = download.each(|mut bytes| {
            while let Some(piece) = decoder.next(&mut bytes)? {
                match piece {
                    Piece::Zeros(at, length) => sink.zero(at..at + length)?,
                    Piece::Data(at, data) if is_change => {
                        // Parts of a change are written as they begin and end there.
                        frame.extend_from_slice(data);
                        if decoder.is_between_frames() {
                            let length = frame.len() as u64;
                            sink.write(at + data.len() as u64 - length, &frame)?;
                            written += length;
                            frame.clear();
                        }
                    }
                    Piece::Data(at, data) => {
                        sink.write(at, data)?;
                        written += data.len() as u64;
                    }
                }
                progress.at(decoder.at_bytes());
            }
            Ok::<(), Error>(())
        });
        progress.end();
        got?;
        if decoder.end()? != size_bytes {
            let text = "the disk's size changed during the export; export a snapshot of it";
            return Err(Error::Other(text.into()));
        }
        sink.finish(size_bytes)?;
        Ok((size_bytes, written))
    }

    /// What to ask the daemon for.
    fn query(&self, format: Written) -> String {
        let snapshot = snapshot_query(&self.target, '&');
        let since = self.since.as_ref().map_or_else(String::new, |since| {
            let unit_bytes = Creating::whole(format).granule_bytes();
            format!("&base={}&unit_bytes={unit_bytes}", path::encode(since))
        });
        (snapshot + &since).trim_start_matches('&').to_owned()
    }

    /// What the image says about its content.
    fn labels(&self, download: &Download<'_>) -> Labels {
        let id = |name| download.header(name).map(str::to_owned);
        let base = self.since.as_ref().map(|since| {
            let snapshot = since.rsplit('@').next().unwrap_or(since);
            let usual = || format!("{snapshot}.qcow2");
            let name = self.backing_name.clone().unwrap_or_else(usual);
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

/// The size of a disk or snapshot.
fn size_bytes(client: &Client, target: &Target) -> Result<u64, Error> {
    let disk = &target.disk;
    Ok(match &target.snapshot {
        None => client.get::<Disk>(&path::disk(disk))?.size_bytes,
        Some(snapshot) => {
            let path = path::snapshot(disk, snapshot);
            client.get::<Snapshot>(&path)?.size_bytes
        }
    })
}

/// The target's snapshot as part of a query, after `mark` (`?` or `&`), or nothing.
fn snapshot_query(target: &Target, mark: char) -> String {
    let snapshot = target.snapshot.as_deref().map(path::encode);
    snapshot.map_or_else(String::new, |name| format!("{mark}snapshot={name}"))
}
