//! What a manifest says, and which of its layers is a disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::error::Fault;
use crate::image::Digest;

/// The longest manifest, as other programs have it.
pub(super) const MOST_BYTES: usize = 4 << 20;
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// All kinds of manifests that are understood.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// A zstd stream of a raw disk, as KubeVirt exports it.
pub(super) const DISK_TYPE: &str = "application/vnd.kubevirt.disk.raw+zstd";
pub(super) const DISK_NAME: &str = "io.kubevirt.disk.name";
pub(super) const DISK_SIZE: &str = "io.kubevirt.disk.size";
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// Says that a file is an archive of a folder.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// What a blob is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_none"
    )]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
}

/// A list of annotations may be `null`.
fn or_none<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Descriptor {
    pub(super) fn digest(&self) -> Result<Digest, Fault> {
        self.digest.parse().map_err(|_| {
            Fault::Content(format!(
                "its manifest names {:?}, which is no SHA-256 digest; push it again",
                self.digest
            ))
        })
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// What a user may call it.
    fn name(&self) -> Option<&str> {
        self.annotation(DISK_NAME)
            .or_else(|| self.annotation(TITLE))
    }

    fn is_called(&self, name: &str) -> bool {
        [DISK_NAME, TITLE]
            .iter()
            .any(|it| self.annotation(it) == Some(name))
    }
}

/// For which machines something is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

impl Platform {
    /// Read `ARCHITECTURE` or `OS/ARCHITECTURE`; without one it is this host's.
    pub(super) fn new(named: Option<&str>) -> Self {
        let (os, architecture) = match named {
            Some(named) => named.split_once('/').unwrap_or(("linux", named)),
            None => ("linux", this_architecture()),
        };
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
        }
    }
}

/// This host's architecture as registries name it.
pub(super) fn this_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An index or a manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Manifest {
    /// Those for several machines, if it is an index.
    manifests: Vec<Descriptor>,
    layers: Vec<Descriptor>,
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text).map_err(|error| {
            Fault::Content(format!(
                "its manifest can't be read ({error}); push it again"
            ))
        })
    }

    pub(super) fn is_index(&self) -> bool {
        !self.manifests.is_empty()
    }

    /// The manifest of an index that is for this platform.
    pub(super) fn choose(self, platform: &Platform) -> Result<Descriptor, Fault> {
        let all = self.manifests;
        let found = all.iter().find(|it| it.platform.as_ref() == Some(platform));
        // One that doesn't say for which it is, is for all.
        let only = || {
            all.first()
                .filter(|it| all.len() == 1 && it.platform.is_none())
        };
        found.or_else(only).cloned().ok_or_else(|| {
            let platforms = all.iter().filter_map(|it| it.platform.as_ref());
            let platforms: Vec<_> = platforms
                .filter(|it| it.os != "unknown")
                .map(|it| format!("{}/{}", it.os, it.architecture))
                .take(20)
                .collect();
            Fault::Content(format!(
                "it has no image for {}/{}, only for {}; choose one with --platform",
                platform.os,
                platform.architecture,
                platforms.join(", ")
            ))
        })
    }

    /// Which of the layers is the disk with this name, or the only one.
    pub(super) fn layout(self, name: Option<&str>) -> Result<Layout, Fault> {
        let mut files: Vec<_> = self.layers.iter().filter(|it| is_file(it)).collect();
        let disks = self.layers.iter().filter(|it| it.media_type == DISK_TYPE);
        if disks.clone().next().is_some() {
            files = disks.collect();
        } else if files.is_empty()
            && self.layers.len() == 1
            && tar_packing(&self.layers[0]).is_none()
        {
            files = self.layers.iter().collect();
        }
        if files.is_empty() {
            let is_container = self.layers.iter().any(|layer| tar_packing(layer).is_some());
            return match is_container {
                true => Ok(Layout::Container(self.layers)),
                false => Err(Fault::Content(
                    "it has neither a disk, nor one file, nor a folder /disk in its layers; name \
                     an image that has a disk"
                        .into(),
                )),
            };
        }
        let found = match name {
            Some(name) => files.iter().find(|it| it.is_called(name)),
            None => files.first().filter(|_| files.len() == 1),
        };
        let Some(&&found) = found.as_ref() else {
            let names: Vec<_> = files.iter().filter_map(|it| it.name()).take(20).collect();
            return Err(Fault::Content(format!(
                "it has {} disks ({}); name one, as in oci://REGISTRY/REPOSITORY:TAG#DISK",
                files.len(),
                names.join(", ")
            )));
        };
        let is_raw_zstd = found.media_type == DISK_TYPE;
        Ok(Layout::File(found.clone(), is_raw_zstd))
    }
}

/// A layer that is a file with a name.
fn is_file(layer: &Descriptor) -> bool {
    layer.annotation(TITLE).is_some() && layer.annotation(UNPACK) != Some("true")
}

/// Where the disk is.
#[derive(Debug)]
pub(super) enum Layout {
    /// It is this blob, and whether that is known to be a zstd stream of a raw disk.
    File(Descriptor, bool),
    /// It is a file in the folder `/disk` of these layers.
    Container(Vec<Descriptor>),
}

/// How a layer is compressed, if it is a tar archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TarPacking {
    Plain,
    Gzip,
    Zstd,
}

pub(super) fn tar_packing(layer: &Descriptor) -> Option<TarPacking> {
    let kind = &layer.media_type;
    if !kind.contains("layer") && !kind.contains("rootfs") || !kind.contains("tar") {
        return None;
    }
    Some(match kind.rsplit(['.', '+']).next() {
        Some("gzip") => TarPacking::Gzip,
        Some("zstd") => TarPacking::Zstd,
        _ => TarPacking::Plain,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn layer(kind: &str, annotations: &[(&str, &str)]) -> Descriptor {
        let annotations = annotations.iter();
        let annotations = annotations.map(|&(name, value)| (name.into(), value.into()));
        Descriptor {
            media_type: kind.into(),
            annotations: annotations.collect(),
            ..Descriptor::default()
        }
    }

    fn layout(layers: Vec<Descriptor>, name: Option<&str>) -> Result<Layout, Fault> {
        let manifests = Vec::new();
        Manifest { manifests, layers }.layout(name)
    }

    #[test]
    fn the_layer_with_the_disk_is_found() {
        let disk = |name| layer(DISK_TYPE, &[(DISK_NAME, name)]);
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let found = |layers, name| match layout(layers, name) {
            Ok(Layout::File(layer, raw)) => format!("{:?} {raw}", layer.name()),
            Ok(Layout::Container(layers)) => format!("{} layers", layers.len()),
            Err(fault) => fault.to_string(),
        };
        assert_eq!(found(vec![disk("a")], None), "Some(\"a\") true");
        assert_eq!(
            found(vec![disk("a"), disk("b")], Some("b")),
            "Some(\"b\") true"
        );
        let two = found(vec![disk("a"), disk("b")], None);
        assert!(two.contains("2 disks (a, b)"), "{two}");
        assert_eq!(
            found(vec![layer(tar, &[]), layer(tar, &[])], None),
            "2 layers"
        );
        // Older versions of oras call every file a layer.
        assert_eq!(
            found(vec![layer(tar, &[(TITLE, "f")])], None),
            "Some(\"f\") false"
        );
        let folder = vec![layer(tar, &[(TITLE, "f"), (UNPACK, "true")])];
        assert_eq!(found(folder, None), "1 layers");
        assert_eq!(found(vec![layer("a/b", &[])], None), "None false");
        assert!(found(vec![layer("a/b", &[]), layer("a/c", &[])], None).contains("neither"));
        assert!(found(vec![], None).contains("neither"));
    }

    #[test]
    fn an_index_has_one_for_each_platform() {
        let text = r#"{"manifests":[
            {"digest":"a","platform":{"architecture":"amd64","os":"linux"},"annotations":null},
            {"digest":"b","platform":{"architecture":"arm64","os":"linux","variant":"v8"}},
            {"digest":"c","platform":{"architecture":"unknown","os":"unknown"}}]}"#;
        let choose = |named| {
            let index = Manifest::parse(text).unwrap();
            assert!(index.is_index());
            index
                .choose(&Platform::new(Some(named)))
                .map(|it| it.digest)
        };
        assert_eq!(choose("amd64").unwrap(), "a");
        assert_eq!(choose("linux/arm64").unwrap(), "b");
        let error = choose("s390x").unwrap_err().to_string();
        assert!(
            error.contains("only for linux/amd64, linux/arm64;"),
            "{error}"
        );
    }
}
