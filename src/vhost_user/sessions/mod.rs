//! Servers, their connections, and what each front end negotiated.
//!
//! | file | what it holds |
//! |---|---|
//! | `session` | one front end: what it negotiated, and its rings |
//! | `conversation` | a connection, message by message |
//! | `handler` | what each of its messages does |
//! | `transfer` | the device's state, saved to and loaded from a pipe |
//! | `vring` | one ring as a front end sets it up; when it starts and stops |
//! | `manner` | how a session's rings are served, for whoever asks |
//! | `server` | one disk: the sessions it has, who may use it |
//! | `hub` | what all disks share: workers, and the thread that takes connections |
//! | `events` | front ends that come and go, told to whoever wants to know |

pub(super) mod conversation;
pub(super) mod events;
mod handler;
pub(super) mod hub;
mod manner;
pub(super) mod server;
pub(super) mod session;
mod transfer;
mod vring;
