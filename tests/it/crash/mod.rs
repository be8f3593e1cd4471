//! What a crash may leave of a disk: recordings, and states made from them.
//!
//! | file | what it tests |
//! |---|---|
//! | `explore` | checks of the states that a crash may leave |
//! | `record` | recordings, and logs that others recorded |

mod explore;
mod record;
