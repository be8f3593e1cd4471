//! Golden images as text for people.

use super::age::{age, age_seconds};
use super::layout::{pairs, table};
use super::tables::forks;
use crate::cli::values::size::{human, human_and_exact};
use crate::model::{GoldenImage, GoldenState};

/// How many digits of a digest a list shows.
const DIGITS: usize = "sha256:".len() + 12;

/// `ramblk image pull`.
pub(in crate::cli) fn pulled(image: &GoldenImage) -> String {
    let name = image.name.clone();
    let name = name.unwrap_or_else(|| image.digest.to_string());
    let mapped = human(image.mapped_bytes);
    format!("image://{name} is on this host: {mapped} mapped\n")
}

/// `ramblk image list`.
pub(in crate::cli) fn list(images: &[GoldenImage]) -> String {
    let rows = images.iter().map(|image| {
        vec![
            image.name.clone().unwrap_or_else(|| "-".into()),
            human(image.size_bytes),
            human(image.mapped_bytes),
            human(image.charged_bytes),
            image.forks.len().to_string(),
            state(image).to_owned(),
            ago(image.pulled_ns),
            ago(image.used_ns),
            image.digest.to_string()[..DIGITS].to_owned(),
            image.source.clone(),
        ]
    });
    let head = [
        "NAME", "SIZE", "MAPPED", "MEMORY", "FORKS", "STATE", "PULLED", "USED", "DIGEST", "SOURCE",
    ];
    table(&head, &[1, 2, 3, 4], rows.collect())
}

/// `ramblk image show`.
pub(in crate::cli) fn image(image: &GoldenImage) -> String {
    pairs(&[
        ("digest", image.digest.to_string()),
        ("name", image.name.clone().unwrap_or_else(|| "-".into())),
        ("source", image.source.clone()),
        ("state", state(image).to_owned()),
        ("size", human_and_exact(image.size_bytes)),
        ("mapped", human_and_exact(image.mapped_bytes)),
        ("memory", human_and_exact(image.charged_bytes)),
        ("pulled", ago(image.pulled_ns)),
        ("used", ago(image.used_ns)),
        ("forks", forks(&image.forks)),
    ])
}

fn state(image: &GoldenImage) -> &'static str {
    match (image.state, image.keep) {
        (GoldenState::Fetching, _) => "fetching",
        (GoldenState::Present, true) => "kept",
        (GoldenState::Present, false) => "present",
    }
}

/// How long ago a time is.
fn ago(ns: u64) -> String {
    match ns {
        0 => "-".into(),
        ns => format!("{} ago", age(age_seconds(ns))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::samples::{self, compare};

    #[test]
    fn images_are_listed_and_shown() {
        compare("image-list", &list(&samples::images()));
        compare("image-show", &image(&samples::images()[0]));
    }
}
