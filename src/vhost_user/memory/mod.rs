//! Guest memory: what front ends share with us, mapped.
//!
//! | file | what it holds |
//! |---|---|
//! | `guard` | what happens when such a file is truncated under us (SIGBUS) |
//! | `mapping` | a front end's file, mapped |
//! | `map` | regions of guest memory |
//! | `unshared` | guest memory that is not shared with us, and how it shows |

pub(super) mod guard;
pub(super) mod map;
pub(super) mod mapping;
pub(super) mod unshared;
