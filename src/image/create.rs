//! Writing an image, whatever its format.

use super::Error;
#[cfg(feature = "formats")]
use super::packed::FrameWriter;
#[cfg(feature = "formats")]
use super::qcow2::{FrontWriter, Outline, Qcow2Writer};
use super::raw::RawWriter;
use super::writer::{ImageWriter, Labels, Output};

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The disk's bytes.
    Raw,
    /// qcow2 of version 3, with clusters of 64 KiB.
    #[cfg(feature = "formats")]
    Qcow2 {
        /// Whether clusters are compressed with zstd.
        compressed: bool,
    },
    /// zstd in frames of at most 1 MiB of data, of which each can be found and has its digest.
    /// `zstd -d` makes a raw image of it.
    #[cfg(feature = "formats")]
    Zstd,
}

impl Written {
    /// Whether an outline saves an image for this output from being kept in a temporary file: its
    /// tables come first, or its first bytes are known last. It can't be helped where clusters are
    /// compressed.
    pub fn wants_outline(self, output: &dyn Output) -> bool {
        match self {
            #[cfg(feature = "formats")]
            Self::Qcow2 { compressed: false } => {
                output.head_bytes() < super::qcow2::WRITTEN_CLUSTER_BYTES as u64
            }
            _ => {
                let _ = output;
                false
            }
        }
    }
}

/// How to write an image.
#[derive(Clone, Debug)]
pub struct Creating {
    /// Its format.
    pub format: Written,
    /// What it says about its content. With a base, what no call names is as in the base.
    pub labels: Labels,
    /// Where it will have data, if [`Written::wants_outline`] says that this is of use.
    #[cfg(feature = "formats")]
    pub outline: Option<Outline>,
}

/// Begin to write an image. With a base, ranges begin and end at multiples of
/// [`Creating::granule_bytes`], or at the content's end.
///
/// # Errors
/// A raw image has no place for a base; the system has no threads or temporary files left.
pub fn create(output: Box<dyn Output>, how: Creating) -> Result<Box<dyn ImageWriter>, Error> {
    match how.format {
        Written::Raw if how.labels.base.is_some() => Err(Error::Unsupported {
            name: output.name().to_owned(),
            what: "is raw, which can't be a change of another image: write qcow2 or zst".into(),
        }),
        Written::Raw => Ok(Box::new(RawWriter::new(output))),
        #[cfg(feature = "formats")]
        Written::Qcow2 { compressed } => match how.outline {
            Some(outline) if how.format.wants_outline(&*output) => {
                Ok(Box::new(FrontWriter::new(output, &how.labels, outline)?))
            }
            _ => Ok(Box::new(Qcow2Writer::new(output, how.labels, compressed)?)),
        },
        #[cfg(feature = "formats")]
        Written::Zstd => Ok(Box::new(FrameWriter::new(output, how.labels)?)),
    }
}

impl Creating {
    /// An image with all of its content.
    pub fn whole(format: Written) -> Self {
        Self {
            format,
            labels: Labels::default(),
            #[cfg(feature = "formats")]
            outline: None,
        }
    }

    /// What ranges are made of in an image with a base.
    pub fn granule_bytes(&self) -> u64 {
        match self.format {
            Written::Raw => 512,
            #[cfg(feature = "formats")]
            Written::Qcow2 { .. } => super::qcow2::WRITTEN_CLUSTER_BYTES as u64,
            #[cfg(feature = "formats")]
            Written::Zstd => 512,
        }
    }
}
