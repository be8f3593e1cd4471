//! The REST API, over a real socket and with real disks.
//!
//! | file | what it holds |
//! |---|---|
//! | `kit` | a server in this process, and a client that writes HTTP by hand |
//! | `disks`, `snapshots`, `groups` | every route, and its answers |
//! | `content` | uploads and downloads |
//! | `deltas` | identifiers of content, and changes from one to another |
//! | `golden` | golden images |
//! | `look` | digests, differences, writes of a part |
//! | `problems` | everything that can be wrong with a request |
//! | `strict` | headers and parameters that aren't honoured, foreign content |
//! | `bounds` | too many, too long, too slow |
//! | `events` | server-sent events |
//! | `nbd` | connections that become NBD's |
//! | `stalls` | every operation beside disks that block a caller |
//! | `metrics` | Prometheus' checker, and the dashboard |
//! | `document` | the OpenAPI document |

mod bounds;
mod content;
mod deltas;
mod disks;
mod document;
mod events;
mod golden;
mod groups;
mod kit;
mod look;
mod metrics;
mod nbd;
mod problems;
mod snapshots;
mod stalls;
mod strict;
