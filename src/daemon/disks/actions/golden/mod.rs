//! Golden images: one read-only copy for each digest, from which disks are forked.
//!
//! An image is a hidden disk of the store (`@image.DIGITS`), whose settings have its digest. It is
//! charged to the pool, and has no socket. While it is fetched it is a hidden disk of another name
//! (`@import.image.N`), which gets its settings and then, with one store, its key. So a process
//! that is killed leaves a whole image or none.
//!
//! The client that fetches an image computes its digest: what arrives here is content, and no file.
//!
//! | file | what it holds |
//! |---|---|
//! | `describe` | describing images |
//! | `fetch` | fetching an image, by one client at a time |
//! | `remove` | removing an image, and dropping images when memory is wanted |
//! | `create` | creating a disk from an image |
//!
//! Each imports only from those above it.

pub mod create;
pub mod describe;
pub mod fetch;
pub mod remove;
