//! The format of an image.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::cli::error::Error;
use crate::image::{self, Opening};

/// The format of an image, and what it is a change of.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct FormatArg {
    /// Format of the image. By default an image that begins or ends like a compressed file, an
    /// archive or another disk format is refused. Use raw if a guest wrote such bytes to its disk.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ImageFormat>,
}

/// Formats of images that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageFormat(image::ImageFormat);

/// In the order of help texts.
static FORMATS: [ImageFormat; 1] = [ImageFormat(image::ImageFormat::Raw)];

impl ValueEnum for ImageFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &FORMATS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

impl FormatArg {
    /// Whether any of these options is given.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.format.is_some()
    }

    /// How to open the image.
    ///
    /// # Errors
    /// A base can't be opened.
    pub(in crate::cli) fn opening(&self) -> Result<Opening<'static>, Error> {
        Ok(Opening {
            format: self.format.map(|ImageFormat(format)| format),
            ..Opening::default()
        })
    }
}
