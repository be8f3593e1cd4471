//! What goes over the wire: the caller, media types and JSON, problem documents.
//!
//! | file | what it holds |
//! |---|---|
//! | `peer` | the client of a connection |
//! | `failure` | problem documents as answers |
//! | `accept` | which form of content is wanted |
//! | `contract` | parameters and headers, held against the document |
//! | `strict` | JSON as its schemas mean it |
//! | `frames` | uploaded content, taken apart |

pub(crate) mod accept;
pub(crate) mod contract;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod peer;
pub(crate) mod strict;
