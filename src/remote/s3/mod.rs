//! Buckets that speak S3. Each request is signed by itself, as a URL that is valid for a while, so
//! that reading an object is the same as reading any other one.
//!
//! | file | what it holds |
//! |---|---|
//! | `bucket` | where a bucket is, and the credentials for it |
//! | `sign` | signed URLs (AWS Signature Version 4) |
//! | `parts` | an upload in parts: its requests |
//! | `keeper` | what ends an upload whose process was killed |
//! | `upload` | an object that is written front to back |

mod bucket;
mod keeper;
mod parts;
mod sign;
mod upload;

pub(super) use bucket::{Bucket, Object};
pub use keeper::keep;
pub(super) use upload::Upload;
