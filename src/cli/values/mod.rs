//! Values of options and of the configuration file, and how they are written.
//!
//! | file | what it holds |
//! |---|---|
//! | `size` | sizes, as in 10G |
//! | `cpus` | lists of processors, as in 2,4-7 |
//! | `mode` | permissions, as in 0660 |
//! | `words` | names, labels, bounds, and states in words |

pub(super) mod cpus;
pub(super) mod mode;
pub(super) mod size;
pub(super) mod words;
