//! Blocks of 4 KiB: the file that they lie in, which are free, and who pays for them.
//!
//! | file | what it holds |
//! |---|---|
//! | `mapping` | a file mapped so that huge pages are possible |
//! | `arena` | the memory file: blocks as words or as payload, backing, punching |
//! | `pressure` | the signal that memory gets short, or is there again |
//! | `account` | the budget: pool limit, quotas, who is charged |
//! | `free` | which blocks are free, and which have memory behind them |
//! | `pool` | blocks in use, their counts, and the thread that returns memory or makes it huge |

pub(super) mod account;
pub(super) mod arena;
pub(super) mod free;
pub(super) mod mapping;
pub(super) mod pool;
pub(super) mod pressure;
