//! Registries that speak OCI's distribution protocol: tokens, manifests, layers.
//!
//! | file | what it holds |
//! |---|---|
//! | `login` | the credentials that other programs have stored |
//! | `registry` | requests to a repository, with a token |
//! | `manifest` | what a manifest says, and which of its layers is a disk |
//! | `tar` | the files of a layer |
//! | `pull` | opening a disk |
//! | `blob` | sending a blob |
//! | `push` | an artifact that is written front to back |

mod blob;
mod login;
mod manifest;
pub(super) mod pull;
pub(super) mod push;
mod registry;
mod tar;

pub(super) use login::files as login_files;
