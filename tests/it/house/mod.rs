//! The house itself: its rooms, its words, and the pages that describe it.
//!
//! | file | what it checks |
//! |---|---|
//! | `imports` | nothing by itself: which file names which other one |
//! | `tidy` | rooms and their one direction, `unsafe`, module docs, sizes |
//! | `threads` | threads start in one place |
//! | `prose` | phrases that authors avoid |
//! | `links` | what pages refer to is there: files, and headings by their anchors |
//! | `sandbox` | the page of the sandbox, compared with its lists |
//! | `conformance` | tables of the pages, compared with the code |

mod conformance;
mod imports;
mod links;
pub(crate) mod prose;
mod sandbox;
mod threads;
pub(crate) mod tidy;
