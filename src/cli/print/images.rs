//! Golden images as text for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::tables::{forks, pairs, table};
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
        let digest = image.digest.to_string();
        vec![
            image.name.clone().unwrap_or_else(|| "-".into()),
            digest[..DIGITS].to_owned(),
            human(image.size_bytes),
            human(image.mapped_bytes),
            human(image.charged_bytes),
            image.forks.len().to_string(),
            state(image).to_owned(),
            ago(image.pulled_ns),
            ago(image.used_ns),
            image.source.clone(),
        ]
    });
    let head = [
        "NAME", "DIGEST", "SIZE", "MAPPED", "MEMORY", "FORKS", "STATE", "PULLED", "USED", "SOURCE",
    ];
    table(&head, &[2, 3, 4, 5], rows.collect())
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

/// How long ago a time is, in its largest unit.
fn ago(ns: u64) -> String {
    if ns == 0 {
        return "-".into();
    }
    let then = UNIX_EPOCH + Duration::from_nanos(ns);
    let passed = SystemTime::now().duration_since(then).unwrap_or_default();
    let seconds = passed.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let unit = units.iter().find(|(length, _)| seconds >= *length);
    let (length, name) = unit.unwrap_or(&(1, "s"));
    format!("{} {name} ago", seconds / length)
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
