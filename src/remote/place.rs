//! Where an image is, as it is named on the command line: a path, or a URL of another host.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::Error;
use super::reference::Reference;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path, or `-` for stdin or stdout.
    Local(PathBuf),
    /// `http://` or `https://`.
    Http(Url),
    /// `s3://BUCKET/KEY`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key in it.
        key: String,
    },
    /// `oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]`.
    Oci(Reference),
}

impl Place {
    /// Read a place as it was given. What has no known scheme is a path.
    ///
    /// # Errors
    /// A URL that can't be.
    pub fn parse(given: &Path) -> Result<Self, Error> {
        let text = given.to_str().unwrap_or_default();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Local(given.to_owned()));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => http(text),
            "s3" => s3(rest),
            "oci" => Ok(Self::Oci(Reference::parse(rest)?)),
            "image" if !given.exists() => Err(Error::place(
                text,
                &format!("is a golden image: see 'ramblk image show {rest}', or fork it"),
            )),
            // A path with such a name would be reached by ./NAME.
            word if word.chars().all(|it| it.is_ascii_alphanumeric()) && !given.exists() => {
                Err(Error::place(
                    &format!("{word}://"),
                    "isn't a scheme for images; use a path, http://, https://, s3://BUCKET/KEY or \
                     oci://REGISTRY/REPOSITORY:TAG",
                ))
            }
            _ => Ok(Self::Local(given.to_owned())),
        }
    }

    /// Whether it is on another host.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Local(_))
    }

    /// Whether it is an object by itself, and not one of several in a repository.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Http(_) | Self::S3 { .. })
    }

    /// The place with this name in the same folder.
    pub(super) fn beside(&self, name: &str) -> Option<Self> {
        match self {
            Self::Http(url) => {
                let mut url = url.clone();
                // What is signed is signed for one object.
                url.set_query(None);
                url.path_segments_mut().ok()?.pop().push(name);
                Some(Self::Http(url))
            }
            Self::S3 { bucket, key } => {
                let folder = key.rsplit_once('/').map(|(folder, _)| folder);
                Some(Self::S3 {
                    bucket: bucket.clone(),
                    key: folder.map_or(name.to_owned(), |folder| format!("{folder}/{name}")),
                })
            }
            Self::Local(_) | Self::Oci(_) => None,
        }
    }
}

impl fmt::Display for Place {
    /// The place without what is secret in it: a user, a password, a query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(&without_secrets(url)),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

/// A URL without its user, password, query and fragment.
pub(super) fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn http(text: &str) -> Result<Place, Error> {
    // A message must not repeat what can't be told apart from a password.
    let url = Url::parse(text).map_err(|error| {
        Error::place(
            "the URL",
            &format!("can't be read ({error}); check how it is written"),
        )
    })?;
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(Place::Http(url)),
        _ => Err(Error::place("the URL", "names no host")),
    }
}

fn s3(rest: &str) -> Result<Place, Error> {
    let place = format!("s3://{rest}");
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(fits) {
        return Err(Error::place(
            &place,
            "has no bucket's name; write s3://BUCKET/KEY",
        ));
    }
    let folders = ["", ".", ".."];
    if key.len() > 1024 || key.split('/').any(|part| folders.contains(&part)) {
        return Err(Error::place(
            &place,
            "needs a key of at most 1024 bytes, without empty parts, . and ..; write \
             s3://BUCKET/KEY",
        ));
    }
    Ok(Place::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place, Error> {
        Place::parse(Path::new(text))
    }

    #[test]
    fn what_has_no_scheme_is_a_path() {
        for path in ["-", "disk.raw", "/a/b:c", "./http:", "a//b", "./x://y"] {
            assert_eq!(parse(path).unwrap(), Place::Local(path.into()));
        }
    }

    #[test]
    fn a_name_has_no_secrets() {
        let place = parse("https://user:secret@host:8080/a%20b/c.qcow2?X-Sig=abc#frag").unwrap();
        assert_eq!(place.to_string(), "https://host:8080/a%20b/c.qcow2");
        let beside = place.beside("base.qcow2").unwrap();
        assert_eq!(beside.to_string(), "https://host:8080/a%20b/base.qcow2");
        let place = parse("s3://bucket/folder/key").unwrap();
        assert_eq!(place.to_string(), "s3://bucket/folder/key");
        assert_eq!(
            place.beside("x").unwrap().to_string(),
            "s3://bucket/folder/x"
        );
    }

    #[test]
    fn a_url_that_cannot_be_is_refused_without_repeating_it() {
        for (text, wanted) in [
            ("http://user:secret@:99999/", "the URL"),
            ("https://", "the URL"),
            ("s3://", "BUCKET/KEY"),
            ("s3://bucket", "BUCKET/KEY"),
            ("s3://bucket/", "BUCKET/KEY"),
            ("s3://bucket/a//b", "BUCKET/KEY"),
            ("s3://bucket/../b", "BUCKET/KEY"),
            ("ftp://host/file", "ftp://"),
            ("oci://", "REGISTRY/REPOSITORY"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
