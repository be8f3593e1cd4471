//! Pages of `docs/guide`, parts of which are parts of the manual too.

use std::sync::LazyLock;

use crate::kept;

/// A page's text, unpacked when it is first read.
type Text = LazyLock<String>;

/// The handbook of the command line.
pub(super) static CLI: Text =
    LazyLock::new(|| kept::text(include_bytes!(concat!(env!("OUT_DIR"), "/cli.md.z"))));
/// The handbook of the API.
pub(super) static API: Text =
    LazyLock::new(|| kept::text(include_bytes!(concat!(env!("OUT_DIR"), "/api.md.z"))));
/// What a test rig wants of a disk.
pub(super) static TEST_RIG: Text =
    LazyLock::new(|| kept::text(include_bytes!(concat!(env!("OUT_DIR"), "/test-rig.md.z"))));
