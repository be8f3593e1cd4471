//! Front ends: what they negotiate, say and share, and those that others wrote.
//!
//! | file | what it is about |
//! |---|---|
//! | `session` | the offer, the configuration space, messages in any pieces |
//! | `negotiation` | what may be accepted, and what a reset leaves of it |
//! | `hotplug` | guest memory that changes while rings run |
//! | `unshared` | VMMs that don't share their guest's memory |
//! | `sharing` | two front ends on one disk |
//! | `attached` | what a server reports about its front ends |
//! | `channel` | the back-end request channel |
//! | `device_state` | a device's state on its way to another machine |
//! | `frontends` | the message orders of real front ends |
//! | `third_party` | drivers by others |

mod attached;
mod channel;
mod device_state;
mod frontends;
mod hotplug;
mod negotiation;
mod session;
mod sharing;
mod third_party;
mod unshared;
