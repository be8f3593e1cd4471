//! The formats of images that `--format` can name, and which of them are read.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::image::ImageFormat;

/// A format of images that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Format(pub(in crate::cli) ImageFormat);

/// In the order of help texts.
static ALL: [Format; ImageFormat::ALL.len()] = {
    let mut all = [Format(ImageFormat::Raw); ImageFormat::ALL.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = Format(ImageFormat::ALL[at]);
        at += 1;
    }
    all
};

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}
