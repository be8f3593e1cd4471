//! Images on other hosts: over HTTP, in buckets (S3), in registries (OCI).
//!
//! [`Place`] is what a user names. [`open()`] makes a [`Medium`](crate::image::Medium) of it, which
//! every format reads as it reads a file. [`create()`] makes an [`Output`](crate::image::Output).
//! Only the command line uses this room: what serves disks has no network.
//!
//! Requests are tried again, at the byte that they had reached, as long as the object is the same
//! version. What can't be mended is one error that says what to do. No user, password or signature
//! is in any text of this room.
//!
//! | file | what it holds |
//! |---|---|
//! | `place` | where an image is, as it is named |
//! | `reference` | what is in which registry, as it is named |
//! | `open` | opening an image, and making one |
//! | `options` | how |
//! | `http` | objects over HTTP: requests, ranges, streams |
//! | `s3` | buckets: signed requests, uploads in parts |
//! | `oci` | registries: tokens, manifests, layers |
//! | `digest` | SHA-256 |
//! | `error` | what goes wrong |

mod digest;
mod error;
mod http;
mod oci;
mod open;
mod options;
mod place;
mod reference;
mod s3;

pub use error::{Error, Fault};
pub use http::patience::Patience;
pub use open::{create, files, open};
pub use options::{Opened, Opening, Writing};
pub use place::Place;
pub use reference::Reference;
pub use s3::keep;
