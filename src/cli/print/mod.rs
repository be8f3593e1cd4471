//! Printing results and failures.
//!
//! | file | what it holds |
//! |---|---|
//! | `output` | text for people or JSON for programs |
//! | `layout` | tables, pairs and long lines, as wide as the terminal |
//! | `age` | how long ago something was |
//! | `columns` | the columns of lists of disks |
//! | `tables`, `pool` | answers of the API, as text |
//! | `events` | events, as lines |
//! | `figures` | figures of many disks, in tables |
//! | `findings` | what a sanitizer has found, as text |
//! | `faults` | faults on command, and what they did, as text |
//! | `history` | the history of a disk, as text |
//! | `power` | power cuts, as text |
//! | `images` | golden images, as text |
//! | `diagnoses` | what was found on a host, a line each |
//! | `states` | states of disks, in words |
//! | `rates` | rates and latencies from counters |
//! | `diff` | what a configuration changes |
//! | `samples` | answers of the API, for tests |

pub(super) mod age;
pub(super) mod columns;
pub(super) mod diagnoses;
pub(super) mod diff;
pub(super) mod events;
pub(super) mod faults;
pub(super) mod figures;
pub(super) mod findings;
pub(super) mod history;
pub(super) mod images;
pub(super) mod layout;
pub(super) mod output;
pub(super) mod pool;
pub(super) mod power;
pub(super) mod rates;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod states;
pub(super) mod tables;

/// A number of things: `1 state`, `2 states`.
pub(super) fn counted(number: impl Into<u64>, thing: &str) -> String {
    match number.into() {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}
