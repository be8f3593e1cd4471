//! Images on other hosts: over HTTP, in buckets, in registries. All of them are on this host.
//!
//! | file | what it holds |
//! |---|---|
//! | `site` | a server that answers as a test says, also wrongly |
//! | `http` | objects over HTTP, from servers that misbehave |
//! | `verbs` | the command line with URLs |

mod http;
mod site;
mod verbs;
