//! The house itself: its rooms, its words, and the pages that describe it.
//!
//! | file | what it checks |
//! |---|---|
//! | `imports` | nothing by itself: which file names which other one |
//! | `tidy` | rooms and their one direction, `unsafe`, module docs, sizes |
//! | `threads` | threads start in one place |
//! | `prose` | phrases that authors avoid |
//! | `conformance` | tables of the pages, compared with the code |

mod conformance;
mod imports;
mod prose;
mod threads;
pub(crate) mod tidy;
