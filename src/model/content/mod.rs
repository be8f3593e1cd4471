//! Content: where it comes from, how it is told apart, and how it is sent.
//!
//! | file | what it holds |
//! |---|---|
//! | `image` | the image that a disk's content comes from |
//! | `content_id` | identifiers of content |
//! | `digest` | the digest of an image |
//! | `golden` | golden images: read-only copies that disks are forked from |
//! | `saved_state` | saved states of VMs |
//! | `frames` | a disk's content as a stream |

mod content_id;
mod digest;
pub mod frames;
mod golden;
mod image;
mod saved_state;

pub use content_id::ContentId;
pub use digest::{Digest, NoDigest};
pub use golden::{GoldenImage, GoldenOffer, GoldenPatch, GoldenRequest, GoldenState};
pub use image::{Image, Import};
pub use saved_state::{ClonedState, StateChoice};
