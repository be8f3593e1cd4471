//! What a driver and a back end share: memory, rings in it, and eventfds.
//!
//! | file | what it holds |
//! |---|---|
//! | `memory` | the memory that both sides see |
//! | `eventfd` | eventfds |
//! | `ring` | the driver's side of a virtqueue |
//! | `slots` | requests in flight and their descriptors |

pub(super) mod eventfd;
pub(super) mod memory;
pub(super) mod ring;
pub(super) mod slots;
