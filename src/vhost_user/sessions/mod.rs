//! Servers, their connections, and what each front end negotiated.
//!
//! Files import from those above them in this table only.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | events of a server: front ends that connect and disconnect |
//! | `hub` | what all disks share: workers, and the thread that accepts connections |
//! | `claims` | the right to use a disk, for one front end at a time or for several |
//! | `regions` | in-flight regions, and those whose requests are owed to no front end |
//! | `backend` | the disk that the sessions of one server share |
//! | `connection` | a connection, as its session and its server share it |
//! | `vring` | one ring as a front end sets it up; when it starts and stops |
//! | `transfer` | the device's state, saved to and loaded from a pipe |
//! | `session` | one front end: what it negotiated, and its rings |
//! | `handler` | the handlers of its messages |
//! | `conversation` | a connection, message by message |
//! | `visitor` | users of a disk that come through another front door |
//! | `server` | one disk, and the front ends that are connected to it |

pub(super) mod backend;
pub(super) mod claims;
pub(super) mod connection;
pub(super) mod conversation;
pub(super) mod events;
mod handler;
pub(super) mod hub;
mod regions;
pub(super) mod server;
pub(super) mod session;
mod transfer;
pub(super) mod visitor;
mod vring;
