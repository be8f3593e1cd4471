//! Paths of the API.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that need no escape in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Escape a segment of a path, or a value of a query, whatever characters it has.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The path of a disk.
pub fn disk(name: &str) -> String {
    format!("/v1/disks/{}", encode(name))
}

/// The path of a disk over NBD.
pub fn nbd(disk_name: &str) -> String {
    format!("{}/nbd", disk(disk_name))
}

/// The path of a snapshot of a disk.
pub fn snapshot(disk_name: &str, name: &str) -> String {
    format!("{}/snapshots/{}", disk(disk_name), encode(name))
}

/// The path of a disk's faults.
pub fn faults(disk_name: &str) -> String {
    format!("{}/faults", disk(disk_name))
}

/// The path of a fault of a disk.
pub fn fault(disk_name: &str, id: &str) -> String {
    format!("{}/{}", faults(disk_name), encode(id))
}

/// The path of the recording of a disk.
pub fn recording(disk_name: &str) -> String {
    format!("{}/recording", disk(disk_name))
}

/// The path of a golden image, by its digest or name.
pub fn image(image: &str) -> String {
    format!("/v1/images/{}", encode(image))
}

/// The path of a group.
pub fn group(name: &str) -> String {
    format!("/v1/groups/{}", encode(name))
}
