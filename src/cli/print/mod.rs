//! What is printed.
//!
//! | file | what it holds |
//! |---|---|
//! | `output` | for people or for programs |
//! | `tables`, `pool` | answers for people |
//! | `states` | states of disks, in words |
//! | `rates` | rates and latencies out of counters |
//! | `diff` | what a configuration changes |
//! | `samples` | answers for tests |

pub(super) mod diff;
pub(super) mod output;
pub(super) mod pool;
pub(super) mod rates;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod states;
pub(super) mod tables;
