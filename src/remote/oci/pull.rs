//! Opening a disk that a registry stores.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use reqwest::{Method, Response};

use super::super::digest;
use super::super::error::{Error, Fault};
use super::super::http::medium::{failed, medium};
use super::super::http::request::Ask;
use super::super::http::source::{Authorized, Origin, Source};
use super::super::options::{Opened, Opening};
use super::super::reference::{Reference, Version};
use super::manifest::{
    ACCEPTED, Descriptor, Layout, MOST_BYTES, Manifest, Platform, TarPacking, tar_packing,
};
use super::registry::Registry;
use super::tar::{DiskFile, Tar};
use crate::image::{self, Content, Digest, ImageFormat, Medium, Packing, ReadAt, Stream};

/// Open the disk that `reference` names.
pub(in crate::remote) fn open(reference: &Reference, how: &Opening) -> Result<Opened, Error> {
    let name = format!("oci://{reference}");
    let registry = Arc::new(Registry::new(reference, false, how.patience)?);
    let (asking, wanted) = (registry.clone(), reference.clone());
    let platform = Platform::new(how.platform.as_deref());
    let layout = registry
        .net
        .wait(async move { layout(&asking, &wanted, &platform).await })
        .map_err(|fault| failed(&name, fault))?;
    let blob = |layer: &Descriptor| {
        let digest = layer.digest().map_err(|fault| failed(&name, fault))?;
        let blob = Blob {
            registry: registry.clone(),
            digest,
        };
        let source = Source::new(name.clone(), Box::new(blob), registry.net, how.patience);
        medium(Arc::new(source), None, Some(digest))
    };
    match layout {
        Layout::File(layer, is_raw_zstd) => Ok(Opened {
            medium: blob(&layer)?,
            // What a guest wrote to it must not be taken for another format.
            format: is_raw_zstd.then_some(ImageFormat::Packed(Packing::Zstd, Content::Raw)),
        }),
        Layout::Container(layers) => {
            // A later layer's files are before those of an earlier one.
            for layer in layers.iter().rev() {
                let Some(packing) = tar_packing(layer) else {
                    continue;
                };
                let found = in_layer(blob(layer)?, packing, reference.disk.as_deref());
                if let Some(medium) = found.map_err(|fault| failed(&name, fault))? {
                    return Ok(Opened {
                        medium,
                        format: None,
                    });
                }
            }
            let text = "it has no file in the folder /disk; name an image that has a disk";
            Err(failed(&name, Fault::Content(text.into())))
        }
    }
}

/// A blob, to be read.
#[derive(Debug)]
struct Blob {
    registry: Arc<Registry>,
    digest: Digest,
}

impl Origin for Blob {
    fn ask(&self) -> Result<Ask, Fault> {
        let path = format!("blobs/{}", self.digest);
        Ok(self.registry.ask(Method::GET, &path))
    }

    fn has_digest(&self) -> bool {
        true
    }

    fn authorize<'a>(&'a self, answer: &'a Response) -> Authorized<'a> {
        Box::pin(async { self.registry.authorize(answer).await.map(|()| true) })
    }
}

/// Which layer of what `reference` names is the disk.
async fn layout(
    registry: &Registry,
    reference: &Reference,
    platform: &Platform,
) -> Result<Layout, Fault> {
    let digest = match &reference.version {
        Version::Digest(digest) => Some(*digest),
        Version::Tag(_) => None,
    };
    let first = manifest(registry, &reference.version.to_string(), digest).await?;
    let manifest = match first.is_index() {
        true => {
            let chosen = first.choose(platform)?;
            let digest = chosen.digest()?;
            manifest(registry, &digest.to_string(), Some(digest)).await?
        }
        false => first,
    };
    if manifest.is_index() {
        let text = "its index names another index; name the manifest by its digest";
        return Err(Fault::Content(text.into()));
    }
    manifest.layout(reference.disk.as_deref())
}

async fn manifest(
    registry: &Registry,
    version: &str,
    digest: Option<Digest>,
) -> Result<Manifest, Fault> {
    let path = format!("manifests/{version}");
    let text = registry.text(&path, ACCEPTED, MOST_BYTES).await?;
    let found = digest::of(text.as_bytes());
    if let Some(wanted) = digest.filter(|&wanted| wanted != found) {
        return Err(Fault::Digest {
            wanted: wanted.to_string(),
            found: found.to_string(),
        });
    }
    Manifest::parse(&text)
}

/// The file in the folder `/disk` of a layer.
fn in_layer(
    layer: Medium,
    packing: TarPacking,
    name: Option<&str>,
) -> Result<Option<Medium>, Fault> {
    let fits = |file: &DiskFile| name.is_none_or(|name| name == file.name);
    if let (Medium::Seekable(blob), TarPacking::Plain) = (&layer, packing) {
        return window(blob, fits);
    }
    let identity = layer.identity().map(str::to_owned);
    let layer_name = layer.name().to_owned();
    let bytes: Box<dyn Read + Send> = match layer {
        Medium::Seekable(blob) => Box::new(Reader { blob, at_bytes: 0 }),
        Medium::Stream(stream) => stream.bytes,
    };
    let bytes = BufReader::with_capacity(1 << 18, bytes);
    let bytes: Box<dyn Read + Send> = match packing {
        TarPacking::Plain => Box::new(bytes),
        TarPacking::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        TarPacking::Zstd => {
            let decoder = zstd::Decoder::with_buffer(bytes);
            Box::new(decoder.map_err(|error| Fault::Content(error.to_string()))?)
        }
    };
    let mut tar = Tar::new(bytes);
    while let Some(file) = tar.next_disk(|_, _| false)? {
        if fits(&file) {
            return Ok(Some(Medium::Stream(Stream {
                identity: identity.map(|layer| format!("{layer} disk/{}", file.name)),
                name: layer_name,
                size_bytes: Some(file.size_bytes),
                bytes: Box::new(Entry {
                    tar,
                    only: name.is_none(),
                    rest_bytes: file.size_bytes,
                    ended: false,
                }),
            })));
        }
        tar.skip(file.size_bytes, &mut |_: &mut _, _| false)?;
    }
    // The digest of a layer without a disk isn't checked: nothing of it is used.
    Ok(None)
}

fn ambiguous() -> Fault {
    Fault::Content(
        "it has several files in the folder /disk; name one, as in \
         oci://REGISTRY/REPOSITORY:TAG#FILE"
            .into(),
    )
}

/// The file in an archive that isn't compressed.
fn window(
    blob: &Arc<dyn ReadAt>,
    fits: impl Fn(&DiskFile) -> bool,
) -> Result<Option<Medium>, Fault> {
    let mut tar = Tar::new(Reader {
        blob: blob.clone(),
        at_bytes: 0,
    });
    let mut seek = |reader: &mut Reader, to: u64| {
        reader.at_bytes = to;
        true
    };
    let mut found: Option<DiskFile> = None;
    while let Some(file) = tar.next_disk(&mut seek)? {
        tar.skip(file.size_bytes, &mut seek)?;
        if !fits(&file) {
            continue;
        }
        if found.is_some() {
            return Err(ambiguous());
        }
        found = Some(file);
    }
    let Some(file) = found else {
        return Ok(None);
    };
    let end = file.start_bytes.checked_add(file.size_bytes);
    if end.is_none_or(|end| end > blob.size_bytes()) {
        let text = "a layer of it is damaged: it ends within a file; push it again";
        return Err(Fault::Content(text.into()));
    }
    let identity = blob
        .identity()
        .map(|layer| format!("{layer} disk/{}", file.name));
    Ok(Some(Medium::Seekable(Arc::new(Window {
        blob: blob.clone(),
        file,
        identity,
    }))))
}

/// A blob, read front to back.
struct Reader {
    blob: Arc<dyn ReadAt>,
    at_bytes: u64,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.blob.size_bytes().saturating_sub(self.at_bytes);
        let count = usize::try_from(rest).map_or(into.len(), |rest| rest.min(into.len()));
        self.blob.read_at(self.at_bytes, &mut into[..count])?;
        self.at_bytes += count as u64;
        if count == 0 {
            // All of it was read in order, so this reads nothing once more.
            self.blob.verify().map_err(|error| match error {
                image::Error::Digest { wanted, found, .. } => {
                    Fault::Digest { wanted, found }.into_io()
                }
                error => io::Error::other(error.to_string()),
            })?;
        }
        Ok(count)
    }
}

/// A file of an archive, whose bytes are those of a blob.
#[derive(Debug)]
struct Window {
    blob: Arc<dyn ReadAt>,
    file: DiskFile,
    identity: Option<String>,
}

impl ReadAt for Window {
    fn name(&self) -> &str {
        self.blob.name()
    }

    fn size_bytes(&self) -> u64 {
        self.file.size_bytes
    }

    fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at_bytes.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.file.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.blob.read_at(self.file.start_bytes + at_bytes, into)
    }

    fn verify(&self) -> Result<(), image::Error> {
        self.blob.verify()
    }
}

/// A file of an archive that is read front to back. Its end comes only when all of the layer was
/// read, and has the right digest.
struct Entry {
    tar: Tar<Box<dyn Read + Send>>,
    /// Whether there must be no other file in the folder.
    only: bool,
    rest_bytes: u64,
    ended: bool,
}

impl Entry {
    fn end(&mut self) -> Result<(), Fault> {
        self.tar.align()?;
        while let Some(file) = self.tar.next_disk(|_, _| false)? {
            if self.only {
                return Err(ambiguous());
            }
            self.tar.skip(file.size_bytes, &mut |_: &mut _, _| false)?;
        }
        Ok(())
    }
}

impl Read for Entry {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest_bytes > 0 {
            let most = usize::try_from(self.rest_bytes).map_or(into.len(), |it| it.min(into.len()));
            let count = self.tar.bytes().read(&mut into[..most])?;
            if count == 0 && most > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tar.was_read(count as u64);
            self.rest_bytes -= count as u64;
            return Ok(count);
        }
        if !self.ended {
            self.ended = true;
            self.end().map_err(Fault::into_io)?;
            // What follows the archive, up to the end of the layer.
            let mut rest = self.tar.bytes().take(64 << 20);
            if io::copy(&mut rest, &mut io::sink())? == 64 << 20 {
                let text = "a layer of it has more than 64 MiB behind its files; push it again";
                return Err(Fault::Content(text.into()).into_io());
            }
        }
        Ok(0)
    }
}
