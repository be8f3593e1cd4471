//! Blocks of 4 KiB: the file that they lie in, which are free, and which account pays for them.
//!
//! | file | what it holds |
//! |---|---|
//! | `mapping` | a file mapped so that huge pages are possible |
//! | `arena` | the memory file: blocks as words or as payload, backing, punching |
//! | `pressure` | the signal that memory is short, or available again |
//! | `account` | the budget: the pool's limit, quotas, charges |
//! | `free` | which blocks are free, and which of them have memory |
//! | `pool` | blocks in use, and their counts |
//! | `huge` | how many huge pages are made, and when |
//! | `spare` | whether the machine has processor time to spare |
//! | `reclaimer` | the thread that returns memory and makes huge pages |

pub(super) mod account;
pub(super) mod arena;
pub(super) mod free;
mod huge;
pub(super) mod mapping;
pub(super) mod pool;
pub(super) mod pressure;
pub(super) mod reclaimer;
mod spare;
