//! Values of options and of the configuration file, and how they are written.
//!
//! | file | what it holds |
//! |---|---|
//! | `size` | sizes, as in 10G |
//! | `span` | lengths of time, as in 10m |
//! | `range` | ranges of a disk, as in 1G+512 |
//! | `cpus` | lists of processors, as in 2,4-7 |
//! | `mode` | permissions, as in 0660 |
//! | `format` | the formats of images |
//! | `label` | labels, as in vm=web-1 |
//! | `names` | names in numbers, as in vm-{001..200} |
//! | `share` | front ends that may use a disk at the same time, as in ro |
//! | `sanitize` | what a sanitizer does, as in count |
//! | `sandbox` | how far a process confines itself, as in strict |
//! | `every` | when points of a history are taken, as in 500ms |
//! | `time` | times in milliseconds, and how they are written |
//! | `power` | when writes are stable, and which of the others a power cut keeps |
//! | `target` | disks and snapshots, as in scratch@clean |
//! | `or_none` | values that `none` removes |

pub(super) mod cpus;
pub(super) mod every;
pub(super) mod format;
pub(super) mod label;
pub(super) mod mode;
pub(super) mod names;
pub(super) mod or_none;
pub(super) mod power;
pub(super) mod range;
pub(super) mod sandbox;
pub(super) mod sanitize;
pub(super) mod share;
pub(super) mod size;
pub(super) mod span;
pub(super) mod target;
pub(super) mod time;
