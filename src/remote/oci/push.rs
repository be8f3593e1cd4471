//! An artifact that is written front to back: one blob, and then the manifest that names it.
//!
//! A zstd stream of a raw disk becomes what KubeVirt exports and imports: an index, a manifest for
//! this architecture, a virtual machine with one disk. Any other format becomes an artifact with
//! one file, as `oras push` makes it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::digest;
use super::super::error::{Error, Fault};
use super::super::http::request::succeeded;
use super::super::options::Writing;
use super::super::reference::{Reference, Version};
use super::blob::{self, Session};
use super::manifest::{
    DISK_NAME, DISK_SIZE, DISK_TYPE, Descriptor, INDEX_TYPE, MANIFEST_TYPE, Platform, TITLE,
};
use super::registry::Registry;
use crate::image::{self, Digest, Output, Written};

/// How much is sent at once.
const PIECE_BYTES: usize = 8 << 20;
const VM_TYPE: &str = "application/vnd.kubevirt.virtualmachine.v1";
const VM_CONFIG_TYPE: &str = "application/vnd.kubevirt.virtualmachine.config.v1+json";
const FILE_TYPE: &str = "application/octet-stream";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const IMAGE_TYPE: &str = "application/vnd.ramblk.disk.v1";

/// An artifact that is written front to back. Nothing has its name before it is whole.
#[derive(Debug)]
pub(in crate::remote) struct Push {
    name: String,
    registry: Arc<Registry>,
    tag: String,
    /// What the disk is called: the repository's last part.
    disk: String,
    how: Writing,
    hasher: Sha256,
    size_bytes: u64,
    filling: Vec<u8>,
    /// The session while nothing is on its way.
    session: Option<Session>,
    sending: Option<Receiver<Result<Session, Fault>>>,
}

impl Push {
    pub(in crate::remote) fn new(reference: &Reference, how: &Writing) -> Result<Self, Error> {
        let name = format!("oci://{reference}");
        let failed = |fault| Error::Failed {
            verb: "write",
            name: name.clone(),
            fault,
        };
        let (Version::Tag(tag), None) = (&reference.version, &reference.disk) else {
            return Err(Error::place(
                &name,
                "is named by what it will contain; write oci://REGISTRY/REPOSITORY:TAG",
            ));
        };
        let registry = Arc::new(Registry::new(reference, true, how.patience)?);
        let (begun, path, overwrite) =
            (registry.clone(), format!("manifests/{tag}"), how.overwrite);
        let session = registry.net.wait(async move {
            if !overwrite {
                let ask = begun.ask(Method::HEAD, &path);
                let ask = ask.with(reqwest::header::ACCEPT, super::manifest::ACCEPTED);
                let answer = begun.send(ask).await?;
                match answer.status().as_u16() {
                    404 => {}
                    _ => {
                        succeeded(answer, &begun.patience).await?;
                        return Err(Fault::Exists);
                    }
                }
            }
            Session::begin(begun).await
        });
        Ok(Self {
            session: Some(session.map_err(failed)?),
            name,
            registry,
            tag: tag.clone(),
            disk: reference.last_part().to_owned(),
            how: how.clone(),
            hasher: Sha256::new(),
            size_bytes: 0,
            filling: Vec::new(),
            sending: None,
        })
    }

    /// Send what was written since the last piece, once that has arrived.
    fn send(&mut self) -> Result<(), Fault> {
        self.receive()?;
        let piece = Bytes::from(std::mem::take(&mut self.filling));
        if piece.is_empty() {
            return Ok(());
        }
        let Some(mut session) = self.session.take() else {
            return Err(Fault::Answer("it has ended the upload".into()));
        };
        let (done, result) = sync_channel(1);
        let (registry, url) = (self.registry.clone(), session.url());
        self.registry.net.spawn(async move {
            let sent = session.send(piece).await;
            if sent.is_err() {
                let _ = blob::end(&registry, url).await;
            }
            let _ = done.send(sent.map(|()| session));
        });
        self.sending = Some(result);
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Fault> {
        if let Some(sending) = self.sending.take() {
            let lost = || Fault::Answer("bug: the work on it panicked".into());
            self.session = Some(sending.recv().map_err(|_| lost())??);
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        self.send()?;
        self.receive()?;
        let Some(session) = self.session.take() else {
            return Err(Fault::Answer("it has ended the upload".into()));
        };
        let digest: [u8; 32] = self.hasher.finalize_reset().into();
        let layer = self.layer(&Digest::from(digest));
        let (registry, tag, how) = (self.registry.clone(), self.tag.clone(), self.how.clone());
        let disk = self.disk.clone();
        self.registry.net.wait(async move {
            session.finish(Digest::from(digest)).await?;
            match how.is_raw_zstd() {
                true => virtual_machine(&registry, &tag, layer, (&how, &disk)).await,
                false => file(&registry, &tag, layer).await,
            }
        })
    }

    fn layer(&self, digest: &Digest) -> Descriptor {
        let (disk, how) = (&self.disk, &self.how);
        let text = |name: &str, value: String| (name.to_owned(), value);
        let (media_type, annotations) = match how.is_raw_zstd() {
            true => (
                DISK_TYPE,
                vec![
                    text(DISK_NAME, disk.clone()),
                    text(DISK_SIZE, quantity(how.disk_bytes)),
                    text(TITLE, format!("{disk}.raw.zst")),
                ],
            ),
            false => (
                FILE_TYPE,
                vec![text(TITLE, format!("{disk}.{}", how.suffix()))],
            ),
        };
        Descriptor {
            media_type: media_type.into(),
            digest: digest.to_string(),
            size: self.size_bytes,
            annotations: annotations.into_iter().collect(),
            ..Descriptor::default()
        }
    }
}

impl Writing {
    fn suffix(&self) -> &'static str {
        match self.format {
            Written::Raw => "raw",
            Written::Qcow2 { .. } => "qcow2",
            Written::Zstd => "raw.zst",
        }
    }

    fn is_raw_zstd(&self) -> bool {
        self.format == Written::Zstd
    }
}

/// A size as Kubernetes writes it.
fn quantity(bytes: u64) -> String {
    match bytes % (1 << 30) {
        0 if bytes > 0 => format!("{}Gi", bytes >> 30),
        _ => bytes.to_string(),
    }
}

/// Push an index of one virtual machine with one disk.
async fn virtual_machine(
    registry: &Arc<Registry>,
    tag: &str,
    layer: Descriptor,
    (how, disk): (&Writing, &str),
) -> Result<(), Fault> {
    let platform = Platform::new(how.platform.as_deref());
    let machine = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": { "name": disk },
        "spec": { "runStrategy": "Halted", "template": { "spec": {
            "architecture": platform.architecture,
            "domain": { "devices": {
                "disks": [{ "name": disk, "disk": { "bus": "virtio" } }],
            } },
            "volumes": [{ "name": disk, "dataVolume": { "name": disk } }],
        } } },
    });
    let config = Bytes::from(machine.to_string());
    let config_bytes = config.len() as u64;
    let config = blob::put(registry, config).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": VM_TYPE,
        "config": {
            "mediaType": VM_CONFIG_TYPE, "digest": config.to_string(), "size": config_bytes,
        },
        "layers": [layer],
        "annotations": { TITLE: disk },
    });
    let manifest = manifest.to_string();
    let digest = digest::of(manifest.as_bytes());
    let manifest_bytes = manifest.len() as u64;
    put_manifest(registry, &digest.to_string(), MANIFEST_TYPE, manifest).await?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "artifactType": VM_TYPE,
        "manifests": [Descriptor {
            media_type: MANIFEST_TYPE.into(),
            digest: digest.to_string(),
            size: manifest_bytes,
            annotations: BTreeMap::new(),
            artifact_type: Some(VM_TYPE.into()),
            platform: Some(platform),
        }],
        "annotations": { TITLE: disk },
    });
    put_manifest(registry, tag, INDEX_TYPE, index.to_string()).await
}

/// Push an artifact of one file.
async fn file(registry: &Arc<Registry>, tag: &str, layer: Descriptor) -> Result<(), Fault> {
    let empty = Bytes::from_static(b"{}");
    let config = blob::put(registry, empty).await?;
    let manifest: Value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": IMAGE_TYPE,
        "config": { "mediaType": EMPTY_TYPE, "digest": config.to_string(), "size": 2 },
        "layers": [layer],
    });
    put_manifest(registry, tag, MANIFEST_TYPE, manifest.to_string()).await
}

async fn put_manifest(
    registry: &Registry,
    version: &str,
    kind: &str,
    text: String,
) -> Result<(), Fault> {
    let ask = registry.ask(Method::PUT, &format!("manifests/{version}"));
    let ask = ask.with(CONTENT_TYPE, kind).body(text.into());
    succeeded(registry.send(ask).await?, &registry.patience)
        .await
        .map(|_| ())
}

impl Write for Push {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.filling.len());
        self.filling.extend_from_slice(&bytes[..count]);
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        if self.filling.len() == PIECE_BYTES {
            self.send().map_err(Fault::into_io)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Push {
    fn name(&self) -> &str {
        &self.name
    }

    fn finish(mut self: Box<Self>) -> Result<(), image::Error> {
        self.complete().map_err(|fault| image::Error::Write {
            name: self.name.clone(),
            source: fault.into_io(),
        })
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let _ = self.receive();
        if let Some(session) = self.session.take() {
            let registry = self.registry.clone();
            let ended =
                (self.registry.net).wait(async move { blob::end(&registry, session.url()).await });
            if let Err(fault) = ended {
                tracing::debug!(%fault, "the registry ends the upload by itself, later");
            }
        }
    }
}
