//! Images on other hosts: over HTTP, in buckets, in registries. All of them are on this host.
//!
//! | file | what it holds |
//! |---|---|
//! | `oci` | registries, one of which others wrote |
//! | `site` | a server that answers as a test says, also wrongly |
//! | `http` | objects over HTTP, from servers that misbehave |
//! | `s3` | buckets, of a server that others wrote |
//! | `pulls` | golden images that are pulled from both without a digest |
//! | `tls` | certificates and proxies |
//! | `run` | `ramblk run` with a URL |
//! | `verbs` | the command line with URLs |

mod http;
mod oci;
mod pulls;
mod run;
pub(crate) mod s3;
mod site;
mod tls;
mod verbs;
