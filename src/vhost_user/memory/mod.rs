//! Guest memory: the files that front ends share, mapped.
//!
//! | file | what it holds |
//! |---|---|
//! | `guard` | a SIGBUS handler, for files that are truncated while they are mapped |
//! | `mapping` | a mapped file of a front end |
//! | `map` | regions of guest memory |
//! | `unshared` | how to detect guest memory that is not shared |

pub(super) mod guard;
pub(super) mod map;
pub(super) mod mapping;
pub(super) mod unshared;
