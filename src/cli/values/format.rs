//! The format of an image.

use clap::{Args, ValueEnum};

/// The format of an image.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct FormatArg {
    /// Format of the image. By default an image that begins or ends like a compressed file, an
    /// archive or another disk format is refused. Use raw if a guest wrote such bytes to its disk.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ImageFormat>,
}

/// Formats of images that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ImageFormat {
    // A doc comment here would add a paragraph to the help.
    Raw,
}

impl FormatArg {
    /// Whether to take the bytes as they are.
    pub(in crate::cli) fn is_raw(self) -> bool {
        self.format == Some(ImageFormat::Raw)
    }
}
