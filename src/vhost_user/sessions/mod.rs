//! Servers, their connections, and what each front end negotiated.
//!
//! Files import from those above them in this table only.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | what a server tells of front ends that come and go |
//! | `hub` | what all disks share: workers, and the thread that accepts connections |
//! | `claims` | who may use a disk, one at a time or together |
//! | `backend` | the disk that the sessions of one server share |
//! | `connection` | handles for a session, for its thread and its server |
//! | `vring` | one ring as a front end sets it up; when it starts and stops |
//! | `transfer` | the device's state, saved to and loaded from a pipe |
//! | `session` | one front end: what it negotiated, and its rings |
//! | `handler` | what each of its messages does |
//! | `conversation` | a connection, message by message |
//! | `server` | one disk, and the front ends that are connected to it |

pub(super) mod backend;
pub(super) mod claims;
pub(super) mod connection;
pub(super) mod conversation;
pub(super) mod events;
mod handler;
pub(super) mod hub;
pub(super) mod server;
pub(super) mod session;
mod transfer;
mod vring;
