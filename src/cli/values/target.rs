//! Disks and snapshots, as in `scratch@clean`.

use crate::model::Target;

/// `NAME` or `NAME@SNAPSHOT`.
pub(in crate::cli) fn parse_target(text: &str) -> Result<Target, String> {
    if let Some(image) = text.strip_prefix("image://") {
        return Err(format!(
            "it is a golden image: use 'ramblk image show {image}' or 'ramblk image rm {image}'"
        ));
    }
    let (disk, snapshot) = match text.split_once('@') {
        Some((disk, snapshot)) => (disk, Some(snapshot)),
        None => (text, None),
    };
    if disk.is_empty() || snapshot.is_some_and(|name| name.is_empty() || name.contains('@')) {
        return Err("give the name of a disk, or NAME@SNAPSHOT".into());
    }
    Ok(Target {
        disk: disk.to_owned(),
        snapshot: snapshot.map(str::to_owned),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_disk_or_its_snapshot() {
        assert_eq!(parse_target("a").unwrap().snapshot, None);
        assert_eq!(parse_target("a@b").unwrap().snapshot, Some("b".into()));
        for text in ["", "@b", "a@", "a@b@c", "image://a"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }
}
