//! What a crash may leave of a disk: recordings, and states made from them.
//!
//! | file | what it tests |
//! |---|---|
//! | `choices` | which states are made |
//! | `explore` | checks of the states that a crash may leave |
//! | `killed` | explorers that are killed or interrupted |
//! | `record` | recordings, and logs that others recorded |

mod choices;
mod explore;
mod killed;
mod record;
