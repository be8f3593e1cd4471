//! `create`: a new disk, empty or with an image.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use super::life::LifeArgs;
use super::limits::LimitArgs;
use crate::cli::error::{Error, in_options};
use crate::cli::print::output::OutputArgs;
use crate::cli::transfer::{FormatArg, ImageUpload, again_if_changed};
use crate::cli::values::label::{parse_label, unique};
use crate::cli::values::or_none::{OrNone, parse_name_or_none, parse_size_or_none};
use crate::cli::values::power::WriteCache;
use crate::cli::values::sanitize::Sanitize;
use crate::cli::values::share::Share;
use crate::cli::values::size::parse_size;
use crate::cli::verbs::content::image::{ImageArgs, Loading, image_query, load};
use crate::cli::verbs::images::address::{find, on_host};
use crate::cli::verbs::images::obtain::{check_alone, obtain, source_name};
use crate::client::{Client, Method, StatusCode, path};
use crate::daemon::Bytes;
use crate::image::Opening;
use crate::model::{
    self, Digest, Disk, DiskSettings, DiskState, GoldenImage, GoldenRequest, GoldenState, Missing,
    ProblemKind, USUAL_QUEUES,
};

/// How often to pull an image that is dropped before the disk can be forked from it.
const MOST_TRIES: u32 = 3;

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Name: at most 64 letters, digits and . _ - , beginning with a letter or digit.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Size: bytes, or a number with K, M, G or T (powers of 1024). The default is that of --image.
    #[arg(long, value_parser = parse_size, required_unless_present = "image")]
    size: Option<u64>,

    /// Image with the disk's first content: a file, - for stdin, or a URL (http, https, s3, oci).
    /// A pipe, and a compressed raw image that ramblk did not write, need --size. image://NAME and
    /// image://sha256:HEX are golden images of this host (see 'ramblk image'), and so is any image
    /// with --digest.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    about_image: ImageArgs,

    /// The most memory that the disk may take.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    quota: Option<OrNone<u64>>,

    /// What happens to a write that finds no memory.
    #[arg(long, value_enum, default_value_t = OnFull::Error)]
    on_full: OnFull,

    /// Logical block size in bytes: 512 or 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    block_size: u64,

    /// The most request queues that a front end may use.
    #[arg(long, default_value_t = USUAL_QUEUES)]
    queues: u16,

    /// Make the disk read-only.
    #[arg(long)]
    read_only: bool,

    /// Serial that guests see, at most 20 bytes. The default is the name.
    #[arg(long)]
    serial: Option<String>,

    /// Front ends that may use the disk at the same time: one (none), any number, read-only (ro),
    /// or any number, all writing at their own risk (rw).
    #[arg(long, value_enum, default_value_t = Share::None)]
    share: Share,

    /// Complete requests in the order in which they were made.
    #[arg(long)]
    in_order: bool,

    /// Take no memory for zeros that a guest writes.
    #[arg(long)]
    detect_zeroes: bool,

    /// What to do about reads of sectors that were never written or were discarded since, and about
    /// 256 MiB of writes without a flush.
    #[arg(long, value_enum, default_value_t = Sanitize::Off)]
    sanitize: Sanitize,

    /// When writes are stable: as soon as they complete, or when a flush covers them. A power-cut
    /// may lose volatile ones.
    #[arg(long, value_enum, default_value_t = WriteCache::Stable)]
    write_cache: WriteCache,

    /// The most memory for the log of volatile writes; none for a quarter of the pool.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    log_limit: Option<OrNone<u64>>,

    /// Label, by which list finds the disk; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// Group whose limits the disk shares.
    #[arg(long)]
    group: Option<String>,

    /// Fault on command, as in 'error,op=write,range=1M+4K'; may be given more than once. See
    /// 'ramblk fault add'.
    #[arg(long = "fault", value_name = "RULE")]
    faults: Vec<String>,

    /// User and group that own the disk's socket: USER, USER:GROUP or :GROUP, by names or numbers.
    /// The default is the daemon's own. Forks don't inherit it.
    #[arg(long, value_name = "OWNER", value_parser = parse_name_or_none)]
    socket_owner: Option<OrNone<String>>,

    /// Leave a disk alone that exists, whatever its settings and content are.
    #[arg(long)]
    if_not_exists: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    life: LifeArgs,
}

/// What happens to a write that finds no memory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum OnFull {
    /// It fails in the guest
    Error,
    /// It waits for memory
    Stall,
}

impl From<OnFull> for model::OnFull {
    fn from(on_full: OnFull) -> Self {
        match on_full {
            OnFull::Error => Self::Error,
            OnFull::Stall => Self::Stall,
        }
    }
}

impl Create {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if self.if_not_exists {
            match client.get::<Disk>(&path::disk(&self.name)) {
                Ok(disk) => return self.output.print(&disk, exists),
                Err(error) if error.is(ProblemKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        again_if_changed(self.image.as_deref(), || self.make(client)).map_err(Error::advise_maker)
    }

    fn make(&self, client: &Client) -> Result<(), Error> {
        if let Some(source) = self.golden()? {
            return self.fork(client, &source);
        }
        let image = self.open_image()?;
        let image = image.map(|image| self.about_image.describe(image));
        let image = image.transpose()?;
        let image_bytes = image.as_ref().and_then(ImageUpload::size_bytes);
        let settings = self.settings(image_bytes)?;
        let path = path::disk(&self.name);
        let query = image.as_ref().map(image_query);
        let wanted = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let (status, disk): (_, Disk) = client
            .send(Method::PUT, &wanted, &settings)
            .map_err(in_options)?;
        let to_load = image.filter(|_| disk.state == DiskState::Importing);
        let Some(image) = to_load else {
            return self.output.print(&disk, |disk| match status {
                StatusCode::CREATED => made(disk),
                _ => format!("{} exists already, as asked\n", disk.name),
            });
        };
        // Another client may have sent the content first, and a guest may have written since.
        let when = Loading {
            importing: true,
            json: self.output.is_json(),
            ..Loading::default()
        };
        if let Err(error) = load(client, &disk, image, when) {
            if status == StatusCode::CREATED && !error.is(ProblemKind::Conflict) {
                // The daemon would destroy it later. It stays if another client sends its content.
                let _ = client.delete(&format!("{path}?importing=true"));
            }
            return Err(error);
        }
        let disk: Disk = client.get(&path)?;
        self.output.print(&disk, made)
    }

    fn open_image(&self) -> Result<Option<ImageUpload>, Error> {
        let Some(image) = &self.image else {
            return match self.format.is_given() {
                true => Err(Error::Usage(
                    "--format and other options of an image are given: give --image, or leave \
                     them out"
                        .into(),
                )),
                false => Ok(None),
            };
        };
        let size = self
            .size
            .map_or_else(|| "SIZE".to_owned(), |size| size.to_string());
        let command = format!("ramblk create {} --size {size} --image -", self.name);
        let mut how = Opening {
            most_bytes: self.size,
            pipe_command: Some(&command),
            ..self.format.opening()?
        };
        let medium = self.format.medium(image, &mut how);
        let medium = medium.map_err(|error| match is_bare(image) && !image.exists() {
            // Perhaps it is the name of a golden image.
            true => Error::Other(format!(
                "{error}; golden images are image://NAME ('ramblk image list')"
            )),
            false => error,
        })?;
        ImageUpload::open(medium, &how).map(Some)
    }

    /// The golden image that the disk must be forked from, if it must.
    fn golden(&self) -> Result<Option<Golden<'_>>, Error> {
        let Some(source) = &self.image else {
            return Ok(None);
        };
        let Some(name) = on_host(source) else {
            return match self.format.digest() {
                None => Ok(None),
                Some(_) if !self.about_image.is_empty() => Err(Error::Usage(
                    "the digest says which image it is: leave out --image-id and --image-size"
                        .into(),
                )),
                Some(digest) => {
                    check_alone(&self.format)?;
                    Ok(Some(Golden::Published(source, digest)))
                }
            };
        };
        if self.format.is_given() || !self.about_image.is_empty() {
            return Err(Error::Usage(format!(
                "{source:?} is an image of this host: leave out --image-id, --image-size and what \
                 says how to read it"
            )));
        }
        Ok(Some(Golden::OnHost(name)))
    }

    /// Create the disk as a fork of a golden image.
    fn fork(&self, client: &Client, golden: &Golden<'_>) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let image = self.golden_image(client, golden)?;
            let settings = self.settings(Some(image.size_bytes))?;
            let digest = image.digest.to_string();
            let disk = path::disk(&self.name);
            let wanted = format!("{disk}?from_image={}", path::encode(&digest));
            match client.send(Method::PUT, &wanted, &settings) {
                Ok((status, disk)) => {
                    return self.output.print(&disk, |disk: &Disk| match status {
                        StatusCode::CREATED => made(disk),
                        _ => format!("{} exists already, as asked\n", disk.name),
                    });
                }
                // It was dropped in between, because memory is wanted.
                Err(error) if error.missing() == Some(Missing::Image) && tries < MOST_TRIES => {}
                Err(error) => return Err(in_options(error)),
            }
        }
    }

    fn golden_image(&self, client: &Client, golden: &Golden<'_>) -> Result<GoldenImage, Error> {
        let (source, digest) = match golden {
            Golden::OnHost(name) => {
                let image = find(client, name)?;
                return match image.state {
                    GoldenState::Present => Ok(image),
                    GoldenState::Fetching => Err(Error::Other(format!(
                        "image {name} is not whole yet: wait for 'ramblk image pull'"
                    ))),
                };
            }
            Golden::Published(source, digest) => (source, digest),
        };
        let format = self.format.name();
        match client.get::<GoldenImage>(&path::image(&digest.to_string())) {
            Ok(image) if image.state == GoldenState::Present && image.format == format => {
                return Ok(image);
            }
            Ok(_) => {}
            Err(error) if error.is(ProblemKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let open = || {
            let opened = self.open_image()?;
            opened.ok_or_else(|| Error::Usage("a digest needs an image: give --image".into()))
        };
        let request = GoldenRequest {
            source: source_name(source)?,
            name: None,
            format,
            keep: None,
        };
        obtain(client, digest, &request, self.output.kind(), open)
    }

    fn settings(&self, image_bytes: Option<u64>) -> Result<DiskSettings, Error> {
        // The daemon refuses an impossible block size.
        let whole = |bytes: u64| bytes.next_multiple_of(self.block_size.max(1));
        let size_bytes = self
            .size
            .or_else(|| image_bytes.map(whole))
            .ok_or_else(|| {
                Error::Usage(
                    "the size of this image is known only when all of it was read: give --size"
                        .into(),
                )
            })?;
        if let Some(image_bytes) = image_bytes.filter(|&bytes| bytes > size_bytes) {
            return Err(Error::Usage(format!(
                "the image has {} and does not fit into {}: use --size {image_bytes} or more, or \
                 leave it out",
                Bytes(image_bytes),
                Bytes(size_bytes)
            )));
        }
        Ok(DiskSettings {
            block_size: self.block_size,
            queues: self.queues,
            read_only: self.read_only,
            serial: self.serial.clone(),
            share: self.share.into(),
            in_order: self.in_order,
            detect_zeroes: self.detect_zeroes,
            sanitize: self.sanitize.into(),
            write_cache: self.write_cache.into(),
            log_limit_bytes: self.log_limit.clone().and_then(OrNone::option),
            on_full: self.on_full.into(),
            quota_bytes: self.quota.clone().and_then(OrNone::option),
            limits: self.limits.change(model::Limits::default()),
            group: self.group.clone(),
            life: self.life.patch().over(model::Life::default()),
            labels: unique(&self.labels)?,
            socket_owner: self.socket_owner.clone().and_then(OrNone::option),
            faults: self.faults.clone(),
            ..DiskSettings::new(size_bytes)
        })
    }
}

/// A golden image that a disk is forked from.
#[derive(Clone, Copy, Debug)]
enum Golden<'a> {
    /// One that is on the host, by name or digest.
    OnHost(&'a str),
    /// One that is pulled first, unless it is there.
    Published(&'a Path, Digest),
}

/// Whether a path is a name, and nothing else.
fn is_bare(path: &Path) -> bool {
    path != Path::new("-") && path.file_name() == Some(path.as_os_str())
}

fn exists(disk: &Disk) -> String {
    format!("{} exists already\n", disk.name)
}

fn made(disk: &Disk) -> String {
    format!("{} is at {}\n", disk.name, disk.socket)
}
