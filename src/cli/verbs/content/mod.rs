//! Verbs about the content of disks: `map`, `import`, `export`, `read`, `write`, `digest`, `diff`,
//! `fsck`.
//!
//! | file | what it holds |
//! |---|---|
//! | `image` | sending an image to a disk |
//! | `export` | `export` |
//! | `look` | `read`, `digest`, `diff` |
//! | `write` | `write` |
//! | `salvage` | `fsck`, and `export` without a daemon |

pub(super) mod export;
pub(super) mod image;
pub(super) mod look;
pub(super) mod salvage;
pub(super) mod write;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use self::image::{ImageArgs, Loading, load};
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::transfer::{FormatArg, ImageUpload, again_if_changed, without_secrets};
use crate::cli::values::size::human;
use crate::cli::verbs::each::{Headings, each};
use crate::cli::verbs::select::Targets;
use crate::client::{Client, path};
use crate::image::Opening;
use crate::model::{Disk, Map, MapExtent, Snapshot, Target};

/// How long the daemon may take between two parts of a disk's content.
const IDLE: Duration = Duration::from_secs(60);
/// Extents to ask for at once.
const EXTENTS: usize = 10_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct MapVerb {
    #[command(flatten)]
    targets: Targets,

    #[command(flatten)]
    output: OutputArgs,
}

impl MapVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let targets = self.targets.find(client)?;
        let mut headings = Headings::of(targets.len());
        each(&targets, self.output, |target| {
            let extents = extents(client, target)?;
            let mut text = |it: &[_]| headings.next(target) + &tables::map(it);
            if !self.targets.are_several() {
                return self.output.print(&extents, |it| text(it));
            }
            let name = target.to_string();
            let mapped = Mapped { name, extents };
            self.output.print(&mapped, |it| text(&it.extents))
        })
    }
}

/// The extents of one of several disks.
#[derive(Debug, Serialize)]
struct Mapped {
    name: String,
    extents: Vec<MapExtent>,
}

/// All extents of a disk or snapshot.
fn extents(client: &Client, target: &Target) -> Result<Vec<MapExtent>, Error> {
    let mut extents = Vec::new();
    let mut next = Some(0);
    while let Some(start) = next {
        let path = format!(
            "{}/map?start_bytes={start}&limit={EXTENTS}{}",
            path::disk(&target.disk),
            snapshot_query(target, '&')
        );
        let map: Map = client.get(&path)?;
        map.extents
            .into_iter()
            .for_each(|it| join(&mut extents, it));
        // A part that isn't followed by another one would be requested for ever.
        next = map.next_bytes.filter(|&next| next > start);
    }
    Ok(extents)
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
