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
use crate::client::{Client, path};
use crate::image::{Labels, Opening, Written};
use crate::model::frames::{Decoder, FRAMES_TYPE};
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
            most_bytes: Some(disk.size_bytes),
            pipe_command: Some(&command),
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
        let how = (format, Labels::default());
        let mut sink = Sink::open(&self.file, size_bytes, self.overwrite, how)?;
        let progress = Progress::new("export", Some(size_bytes), self.output.kind());
        let (disk, query) = (&self.target.disk, snapshot_query(&self.target, '?'));
        let path = format!("{}/data{query}", path::disk(disk));
        let mut decoder = Decoder::new(size_bytes);
        let mut written = 0;
        let got = client.stream(&path, FRAMES_TYPE, Some(IDLE), |mut bytes| {
            while let Some((at, data)) = decoder.next(&mut bytes)? {
                sink.write(at, data)?;
                written += data.len() as u64;
                progress.at(at);
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
