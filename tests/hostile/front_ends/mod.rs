//! Front ends that mean harm: what they say, and what they pass.
//!
//! | file | what is attacked |
//! |---|---|
//! | `messages` | the conversation |
//! | `mapping` | memory tables and ring addresses |
//! | `truncated` | memory whose file becomes shorter |
//! | `inflight` | the region for requests in flight |
//! | `transfers` | transfers of the device's state |
//! | `descriptors` | threads, by descriptors that hang |
//! | `nuisance` | patience: replies unread, wrong descriptors |
//! | `crowds` | bounds, by thousands of connections |
//! | `fuse` | nothing by itself: a file system that never answers |

mod crowds;
mod descriptors;
mod fuse;
mod inflight;
mod mapping;
mod messages;
mod nuisance;
mod transfers;
mod truncated;
