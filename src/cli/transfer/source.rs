//! Where an image is read from, and how, as the command line names both.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::error::Error;
use crate::cli::print::output::say;
use crate::cli::values::format::Format;
use crate::image::{Digest, Medium, Opening, ReadAt};
use crate::remote::{self, Place};

/// Where an image is read from: a path, `-` for stdin, or a URL.
///
/// # Errors
/// It can't be read.
fn medium(source: &Path, how: &mut Opening) -> Result<Medium, Error> {
    medium_for(source, how, None)
}

/// As [`medium`], for this platform.
fn medium_for(source: &Path, how: &mut Opening, platform: Option<&str>) -> Result<Medium, Error> {
    let place = Place::parse(source)?;
    if let Place::Local(path) = &place {
        if path == Path::new("-") {
            check_stdin()?;
            return Ok(Medium::stream("stdin", Box::new(io::stdin())));
        }
        return Ok(Medium::open(path)?);
    }
    let opening = remote::Opening {
        digest: how.digest.filter(|_| place.is_object()),
        platform: platform.map(str::to_owned),
        ..remote::Opening::default()
    };
    let opened = remote::open(&place, &opening)?;
    how.format = how.format.or(opened.format);
    if place.is_object() && matches!(opened.medium, Medium::Seekable(_)) {
        // It is checked on the way there. To read all of it once more would be slow.
        how.digest = None;
    }
    Ok(opened.medium)
}

/// Check that stdin has bytes for an image, or for a part of a disk.
///
/// # Errors
/// It is a terminal.
pub(in crate::cli) fn check_stdin() -> Result<(), Error> {
    match io::stdin().is_terminal() {
        false => Ok(()),
        true => Err(Error::Usage(
            "stdin is a terminal: send the bytes from a file or a pipe".into(),
        )),
    }
}

/// What to call a place in messages: a URL may have a password or a signature in it.
pub(in crate::cli) fn without_secrets(source: &Path) -> String {
    Place::parse(source).map_or_else(|_| "the image".into(), |place| place.to_string())
}

/// Do something with an image, and once more from the beginning if the image became another one
/// while it was read. Nothing of the first one was kept.
pub(in crate::cli) fn again_if_changed<T>(
    source: Option<&Path>,
    mut act: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let done = act();
    let is_remote = || source.is_some_and(|it| Place::parse(it).is_ok_and(|it| it.is_remote()));
    match &done {
        Err(Error::Image(error)) if remote::Error::is_change(error) && is_remote() => {
            say("the image was changed while it was read: starting over");
            act()
        }
        _ => done,
    }
}

/// The format of an image, and what it is a change of.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct FormatArg {
    /// Format of the image. By default qcow2, gzip, xz and zstd are recognised, and what begins or
    /// ends like another format is refused. With this option nothing is guessed: use raw if a
    /// guest wrote such bytes to its disk.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,

    /// Image that a qcow2 image is a change of. For a longer chain give this several times, in
    /// order.
    #[arg(long, value_name = "FILE")]
    backing: Vec<PathBuf>,

    /// Look for further images of a chain in the folder of the image, by the names in them.
    #[arg(long)]
    follow_backing: bool,

    /// Digest that the file must have as it was published. An image with another one is refused,
    /// and the disk stays as it was.
    #[arg(long, value_name = "sha256:HEX")]
    digest: Option<Digest>,

    /// Platform of an image in a registry that has several, as in arm64 or linux/arm64. The default
    /// is that of this host.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

impl FormatArg {
    /// Whether any of these options is given.
    pub(in crate::cli) fn is_given(&self) -> bool {
        let is_for_a_place = self.digest.is_some() || self.platform.is_some();
        self.format.is_some() || self.has_backing() || is_for_a_place
    }

    /// Whether bases are named, or looked for.
    pub(in crate::cli) fn has_backing(&self) -> bool {
        !self.backing.is_empty() || self.follow_backing
    }

    /// Whether a digest is given.
    pub(in crate::cli) fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// The name of the format, if one is given.
    pub(in crate::cli) fn name(&self) -> Option<String> {
        self.format.map(|Format(format)| format.name().to_owned())
    }

    /// The digest that the image must have, if one is given.
    pub(in crate::cli) fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// As [`medium`], with these options.
    ///
    /// # Errors
    /// It can't be read.
    pub(in crate::cli) fn medium(&self, source: &Path, how: &mut Opening) -> Result<Medium, Error> {
        medium_for(source, how, self.platform.as_deref())
    }

    /// Whether the image or a base is on another host.
    pub(in crate::cli) fn is_remote(&self, source: &Path) -> bool {
        let bases = self.backing.iter().map(PathBuf::as_path);
        let mut all = std::iter::once(source).chain(bases);
        // What can't be is refused by the one that opens it.
        all.any(|it| Place::parse(it).is_ok_and(|place| place.is_remote()))
    }

    /// These options as words.
    pub(in crate::cli) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: OsString| words.extend([name.into(), value]);
        if let Some(Format(format)) = self.format {
            add("--format", format.name().into());
        }
        for backing in &self.backing {
            add("--backing", backing.into());
        }
        if let Some(digest) = self.digest {
            add("--digest", digest.to_string().into());
        }
        if let Some(platform) = &self.platform {
            add("--platform", platform.into());
        }
        if self.follow_backing {
            words.push("--follow-backing".into());
        }
        words
    }

    /// How to open the image.
    ///
    /// # Errors
    /// A base can't be opened.
    pub(in crate::cli) fn opening(&self) -> Result<Opening<'static>, Error> {
        let backing =
            self.backing
                .iter()
                .map(|path| match medium(path, &mut Opening::default())? {
                    Medium::Seekable(medium) => Ok(medium),
                    Medium::Stream(stream) => Err(Error::Usage(format!(
                        "--backing {} can be read only once: save it to a file first",
                        stream.name
                    ))),
                });
        Ok(Opening {
            format: self.format.map(|Format(format)| format),
            backing: backing.collect::<Result<Vec<Arc<dyn ReadAt>>, Error>>()?,
            follow_backing: self.follow_backing,
            digest: self.digest,
            ..Opening::default()
        })
    }
}
