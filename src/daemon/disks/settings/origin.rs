//! The origin of a disk's content: which image it was made from, and whether it is complete.
//!
//! The store keeps it with the settings, in the record that also has the root of the disk's tree.
//! So content and origin change at one instant.

use serde::{Deserialize, Serialize};

use super::problems::{conflict, invalid};
use crate::model::{self, Image, Problem};
use crate::store::Bytes;

/// The longest name or id of an image, in bytes. Both are kept with the settings.
const MOST_IMAGE_BYTES: usize = 255;

/// The origin of a disk's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    /// Whether the first content is incomplete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    importing: bool,
}

impl Origin {
    /// The origin of a disk whose first content will be this image's.
    pub(crate) fn to_come(image: Image) -> Self {
        Self {
            image: Some(image),
            importing: true,
        }
    }

    /// The origin of a disk with the complete content of this image, or of an unnamed one.
    fn whole(image: Option<Image>) -> Self {
        Self {
            image,
            importing: false,
        }
    }

    /// Whether it is empty, and need not be stored.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the first content is incomplete.
    pub(crate) fn is_importing(&self) -> bool {
        self.importing
    }

    /// The image, if one was named.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// The image of the first content, if that is incomplete.
    pub(crate) fn importing_image(&self) -> Option<&Image> {
        self.image.as_ref().filter(|_| self.importing)
    }

    /// The origin after content of `image` was committed.
    pub(crate) fn after(&self, image: Option<&Image>, content_bytes: u64) -> Self {
        let known = image.or(self.importing_image());
        Self::whole(known.map(|image| Image {
            size_bytes: Some(content_bytes),
            ..image.clone()
        }))
    }

    /// The refusal of `what` for disk `name`, whose first content is incomplete, with its
    /// `progress`.
    pub(crate) fn incomplete(&self, name: &str, progress: &model::Import, what: &str) -> Problem {
        let total = progress.total_bytes.map_or_else(
            || "an unknown length".into(),
            |bytes| Bytes(bytes).to_string(),
        );
        conflict(format!(
            "disk {name:?} is importing ({} of {total} have arrived) from {}: you can't {what}; \
             wait until it is whole, or destroy it",
            Bytes(progress.done_bytes),
            self.image().map_or_else(|| "an image".into(), words)
        ))
    }

    /// Check that disk `name`, which has this origin, was made or is being made from `image`.
    pub(crate) fn check_made_from(&self, name: &str, image: &Image) -> Result<(), Problem> {
        let wanted = words(image);
        let Some(had) = self.image() else {
            return Err(conflict(format!(
                "disk {name:?} exists and was not made from an image that is known, and you ask \
                 for {wanted}: replace its content with ramblk import, or destroy it first"
            )));
        };
        if image.is(had) {
            return Ok(());
        }
        if self.is_importing() {
            // A stream without an id is sent again: what had arrived of it is gone.
            if image.id.is_none() && had.id.is_none() && image.name == had.name {
                return Ok(());
            }
            return Err(conflict(format!(
                "disk {name:?} is importing {}, and you ask for {wanted}: wait for it, or destroy \
                 the disk first",
                words(had)
            )));
        }
        let why = match (&image.id, &had.id) {
            (Some(_), Some(_)) => "",
            _ => " (streams can't be compared; name this one with an id)",
        };
        Err(conflict(format!(
            "disk {name:?} exists and was made from {}, and you ask for {wanted}{why}: \
             replace its content with ramblk import, or destroy it first",
            words(had)
        )))
    }
}

/// Check the name and id of an image.
pub(crate) fn check_image(image: &Image) -> Result<(), Problem> {
    let fits = |text: &str| {
        !text.is_empty() && text.len() <= MOST_IMAGE_BYTES && !text.contains(char::is_control)
    };
    let wrong = |field: &str, text: &str| {
        let detail = format!(
            "{text:?} can't name an image: use 1 to {MOST_IMAGE_BYTES} bytes without control \
             characters"
        );
        Err(invalid(field, detail))
    };
    if !fits(&image.name) {
        return wrong("image", &image.name);
    }
    match &image.id {
        Some(id) if !fits(id) => wrong("image_id", id),
        _ if image.size_bytes == Some(0) => Err(nothing("image_bytes")),
        _ => Ok(()),
    }
}

/// The refusal of empty content, which is most often a mistake and would empty the disk.
pub(crate) fn nothing(field: &str) -> Problem {
    let detail = "the image has no bytes: the disk stays as it is; give one that has some, or \
                  destroy the disk and create an empty one";
    invalid(field, detail.into())
}

/// An image in words, with its id.
fn words(image: &Image) -> String {
    let size = image.size_bytes.map(|bytes| Bytes(bytes).to_string());
    let id = image.id.as_ref().map(|id| format!("id {id}"));
    let more: Vec<_> = size.into_iter().chain(id).collect();
    match more.is_empty() {
        true => format!("{:?}", image.name),
        false => format!("{:?} ({})", image.name, more.join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn image(name: &str, id: Option<&str>) -> Image {
        Image {
            name: name.into(),
            id: id.map(str::to_owned),
            size_bytes: None,
        }
    }

    #[test]
    fn a_disk_that_became_whole_keeps_the_name_of_its_image_and_learns_its_length() {
        let first = Origin::to_come(image("a", Some("1")));
        let whole = first.after(None, 4096);
        assert!(!whole.is_importing());
        assert_eq!(whole.image().unwrap().size_bytes, Some(4096));
        assert_eq!(whole.image().unwrap().name, "a");
        // Other content without a name doesn't belong to that image.
        assert_eq!(whole.after(None, 512), Origin::default());
        let other = whole.after(Some(&image("b", None)), 512);
        assert_eq!(other.image().unwrap().name, "b");
    }

    #[test]
    fn names_of_images_have_an_end_and_no_control_characters() {
        for (name, id) in [
            ("", None),
            ("a\nb", None),
            ("a", Some("")),
            (&*"x".repeat(256), None),
        ] {
            assert!(check_image(&image(name, id)).is_err(), "{name:?} {id:?}");
        }
        assert!(check_image(&image(&"x".repeat(255), Some("7"))).is_ok());
        let mut empty = image("a", None);
        empty.size_bytes = Some(0);
        assert!(check_image(&empty).is_err());
    }
}
