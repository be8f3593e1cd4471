//! Known formats, also those that are not read: how they are recognised, and converted.
//!
//! | file | what it holds |
//! |---|---|
//! | `format` | known formats, and how to recognise them |
//! | `marks` | signatures that take more than a few bytes to recognise |
//! | `hint` | how to convert a file that isn't read |

mod format;
mod hint;
mod marks;

pub use format::{
    Content, Format, HEAD_BYTES, ImageFormat, KNOWN, Kind, Known, Packing, Probe, TAIL_BYTES, Way,
    probe,
};
pub use hint::Origin;
