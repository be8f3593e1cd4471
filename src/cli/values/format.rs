//! The format of an image.

use clap::{Args, ValueEnum};

/// The format of an image.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct FormatArg {
    /// Format of the image. Without it, an image is refused that begins or ends like a compressed
    /// file, an archive or another format. A guest may have written such bytes: then use raw.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ImageFormat>,
}

/// Formats of images that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ImageFormat {
    // A doc comment here would make the help longer by a paragraph.
    Raw,
}

impl FormatArg {
    /// Whether to take the bytes as they are.
    pub(in crate::cli) fn is_raw(self) -> bool {
        self.format == Some(ImageFormat::Raw)
    }
}
