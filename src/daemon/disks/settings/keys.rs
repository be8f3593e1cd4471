//! Keys of the store: the daemon's own begin with `@`.

use crate::device::history::PointName;
use crate::model::Missing;

/// The prefix of the keys of groups.
pub(crate) const GROUP_PREFIX: &str = "@group.";
/// The prefix of the keys of the snapshots that readers hold.
pub(crate) const READER_PREFIX: &str = "@read.";
/// The prefix of the keys of content that is being uploaded.
pub(crate) const IMPORT_PREFIX: &str = "@import.";
/// The prefix of the keys of saved device states.
pub(crate) const STATE_PREFIX: &str = "@state.";
/// The prefix of the keys of recordings' logs.
pub(crate) const RECORD_PREFIX: &str = "@record.";
/// The key of the record of a power cut.
pub(crate) const CUT_KEY: &str = "@cut";
/// The prefix of the keys of golden images.
pub(crate) const IMAGE_PREFIX: &str = "@image.";
/// What this key of the store is the key of.
pub(super) fn kind_of(key: &str) -> Missing {
    let is_of = |prefix| key.starts_with(prefix);
    match key.split_once('@') {
        _ if is_of(GROUP_PREFIX) => Missing::Group,
        _ if is_of(IMAGE_PREFIX) => Missing::Image,
        _ if is_of(STATE_PREFIX) => Missing::SavedState,
        _ if is_of(RECORD_PREFIX) => Missing::Recording,
        Some((disk, point)) if !disk.is_empty() => match PointName::parse(point) {
            Some(_) => Missing::Point,
            None => Missing::Snapshot,
        },
        _ => Missing::Disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_store_says_what_it_is_of() {
        for (key, what) in [
            ("vm1", Missing::Disk),
            ("vm1@clean", Missing::Snapshot),
            ("vm1@flush:7", Missing::Point),
            ("@group.tenants", Missing::Group),
            ("@image.0123", Missing::Image),
            ("@state.7.1", Missing::SavedState),
            ("@record.7", Missing::Recording),
            ("@import.7.1", Missing::Disk),
        ] {
            assert_eq!(kind_of(key), what, "{key}");
        }
    }
}
