//! What a crash may leave of a disk: recordings, and states made from them.
//!
//! | file | what it tests |
//! |---|---|
//! | `record` | recordings, and logs that others recorded |

mod record;
