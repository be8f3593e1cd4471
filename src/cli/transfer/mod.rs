//! Transfers of a disk's content between the API and a file, sparse on both sides.
//!
//! | file | what it holds |
//! |---|---|
//! | `source` | a raw image as frames: holes and pages of zeros are left out |
//! | `sink` | frames as a raw image: what no frame names is a hole |
//! | `progress` | a bar on stderr, if somebody looks |

mod progress;
mod sink;
mod source;

pub(super) use progress::Progress;
pub(super) use sink::Sink;
pub(super) use source::Source;
