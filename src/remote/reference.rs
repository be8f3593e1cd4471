//! What is in which registry: `REGISTRY/REPOSITORY[:TAG|@DIGEST][#DISK]`.

use std::fmt;

use super::error::Error;
use crate::image::Digest;

const USUAL_TAG: &str = "latest";

/// What is in which registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host, and its port if that isn't the usual one.
    pub(super) registry: String,
    /// The repository.
    pub(super) repository: String,
    /// Which of its manifests.
    pub(super) version: Version,
    /// Which of its disks, where there are several.
    pub(super) disk: Option<String>,
}

/// Which manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tag(String),
    Digest(Digest),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl Reference {
    /// Read what follows `oci://`.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            let form = "write oci://REGISTRY/REPOSITORY:TAG or oci://REGISTRY/REPOSITORY@DIGEST";
            Error::place(&format!("oci://{text}"), &format!("{what}; {form}"))
        };
        let (rest, disk) = match text.split_once('#') {
            Some((rest, disk)) => (rest, Some(disk.to_owned())),
            None => (text, None),
        };
        let (registry, rest) = rest
            .split_once('/')
            .ok_or_else(|| wrong("has no repository"))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let in_host = |it: char| it.is_ascii_alphanumeric() || ".-:[]_".contains(it);
        if registry.is_empty() || !registry.chars().all(in_host) {
            return Err(wrong("has no registry"));
        }
        let in_repository =
            |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || "._-".contains(it);
        let is_part = |part: &str| {
            let ends = |it: Option<char>| it.is_some_and(|it| it.is_ascii_alphanumeric());
            ends(part.chars().next())
                && ends(part.chars().next_back())
                && part.chars().all(in_repository)
        };
        if repository.len() > 255 || !repository.split('/').all(is_part) {
            return Err(wrong(
                "has a repository that can't be (a-z, 0-9, . _ - and /)",
            ));
        }
        let in_tag = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
        let tag = tag.unwrap_or(USUAL_TAG);
        if tag.is_empty()
            || tag.len() > 128
            || !tag.chars().all(in_tag)
            || tag.starts_with(['.', '-'])
        {
            return Err(wrong("has a tag that can't be"));
        }
        let version = match digest {
            Some(digest) => {
                let digest = digest.parse();
                Version::Digest(digest.map_err(|_| wrong("has a digest that isn't sha256:HEX"))?)
            }
            None => Version::Tag(tag.to_owned()),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            version,
            disk,
        })
    }
}

impl Reference {
    /// The last part of the repository's name.
    pub(super) fn last_part(&self) -> &str {
        let last = self.repository.rsplit('/').next();
        last.unwrap_or(&self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}")?,
            Version::Digest(digest) => write!(f, "@{digest}")?,
        }
        self.disk
            .as_ref()
            .map_or(Ok(()), |disk| write!(f, "#{disk}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, wanted) in [
            ("host/a/b", "host/a/b:latest".to_owned()),
            ("host:5000/a:v1", "host:5000/a:v1".to_owned()),
            ("[::1]:5000/a:v1#disk", "[::1]:5000/a:v1#disk".to_owned()),
            (&format!("host/a@{digest}"), format!("host/a@{digest}")),
            (&format!("host/a:v1@{digest}"), format!("host/a@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), wanted);
        }
        for text in [
            "",
            "host",
            "host/",
            "/a",
            "host/A",
            "host/a//b",
            "host/../b",
            "host/a:",
            "host/a:b c",
            "host/a@sha256:1",
            "host/a@md5:00",
            "user@host/a",
            "host/a?b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
