//! Transfers of a disk's content between the API and a file, sparse on both sides.
//!
//! | file | what it holds |
//! |---|---|
//! | `helper` | how this program starts itself as a helper |
//! | `source` | where an image is read from |
//! | `upload` | an image as frames: holes and pages of zeros are left out |
//! | `pool` | memory of parts, used again for later ones |
//! | `output` | where an image is written to |
//! | `sink` | frames as an image: what no frame names is a hole |
//! | `progress` | how far a transfer is: a bar for people, lines for programs |

mod helper;
mod output;
mod pool;
mod progress;
mod sink;
mod source;
mod upload;

pub(super) use helper::{BROKER, FETCH, HELPER, PROGRAM};
pub(super) use progress::Progress;
pub(super) use sink::{Destination, Sink, WriteFormatArg};
pub(super) use source::{FormatArg, again_if_changed, check_stdin, without_secrets};
pub(super) use upload::{ImageUpload, image_name};
