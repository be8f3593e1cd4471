//! Values of options and of the configuration file, and how they are written.
//!
//! | file | what it holds |
//! |---|---|
//! | `size` | sizes, as in 10G |
//! | `range` | ranges of a disk, as in 1G+512 |
//! | `cpus` | lists of processors, as in 2,4-7 |
//! | `mode` | permissions, as in 0660 |
//! | `format` | the formats of images |
//! | `label` | labels, as in vm=web-1 |
//! | `share` | front ends that may use a disk at the same time, as in ro |
//! | `sanitize` | what a sanitizer does, as in count |
//! | `every` | when points of a history are taken, as in 500ms |
//! | `write_cache` | when writes are stable, as in volatile |
//! | `target` | disks and snapshots, as in scratch@clean |
//! | `or_none` | values that `none` removes |

pub(super) mod cpus;
pub(super) mod every;
pub(super) mod format;
pub(super) mod label;
pub(super) mod mode;
pub(super) mod or_none;
pub(super) mod range;
pub(super) mod sanitize;
pub(super) mod share;
pub(super) mod size;
pub(super) mod target;
pub(super) mod write_cache;
