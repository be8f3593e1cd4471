//! Objects of other hosts over HTTP: requests that are tried again, ranges that are read ahead.
//!
//! | file | what it holds |
//! |---|---|
//! | `names` | addresses of hosts |
//! | `net` | the event loop and the client |
//! | `patience` | how long to wait, and how often to try again |
//! | `request` | one request: redirects, and what a refusal says |
//! | `source` | where an object's bytes come from, and which version of it |
//! | `blocks` | an object with ranges: a window of blocks, read ahead |
//! | `medium` | the bytes of an object, as every format reads them |
//! | `whole` | an object without ranges: a stream |

pub(super) mod blocks;
pub(super) mod medium;
mod names;
pub(super) mod net;
pub(super) mod patience;
pub(super) mod request;
pub(super) mod source;
pub(super) mod whole;
