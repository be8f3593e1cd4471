//! Guests that mean harm: what they write into their rings and memory.
//!
//! | file | what is attacked |
//! |---|---|
//! | `requests` | requests |
//! | `rings` | rings: chains, indexes, heads |
//! | `giants` | time and memory, by large requests or many |
//! | `stalled` | a disk with faults, by a thousand requests that wait |
//! | `running` | what changes while it is used, with the help of a front end |

mod giants;
mod requests;
mod rings;
mod running;
mod stalled;
