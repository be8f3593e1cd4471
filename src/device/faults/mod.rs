//! Faults on command: which requests of a disk fail, wait or go wrong, by rules.
//!
//! A [`Rule`] is plain data with one text form, in which options, files and the API have it. The
//! [`Faults`] of a disk decide about each request once, when it has passed its limits. Whether a
//! rule fires is a function of its seed, its id, the operation, the first sector, and how often
//! that sector was asked for: never of time, threads or queues. Nothing here knows how a request
//! is carried out: [`super::block`] does what was decided.
//!
//! | file | what it holds |
//! |---|---|
//! | `rule` | a rule: which requests it means, and what becomes of them |
//! | `kinds`, `text` | a rule as text: parsing its kind and the rest, and writing them |
//! | `units` | ranges, times and probabilities as text |
//! | `target` | a request that is decided about |
//! | `dice` | numbers that depend on nothing but what they are for |
//! | `rot` | bits that go wrong at rest |
//! | `fate` | what was decided about one request |
//! | `personality`, `latency` | kinds of devices, and how long requests take on one |
//! | `active` | a rule in force: what it has counted |
//! | `log` | which rules fired for which requests, the last ones |
//! | `set` | the rules of a disk: deciding, releasing, listing |

mod active;
mod dice;
mod fate;
mod kinds;
mod latency;
mod log;
mod personality;
mod rot;
mod rule;
mod set;
mod target;
mod text;
mod units;

pub use dice::Flips;
pub use fate::{Fate, Hold, Holder, Verdict};
pub use log::{Firing, LOG_FIRINGS, Log};
pub use personality::Personality;
pub use rot::{Rot, Rotten};
pub use rule::{
    After, Delay, Kind, MOST_BITS, MOST_RANGES, MOST_RULES, Operations, Pick, Probability, Rule,
    RuleError, Span, TargetOperation,
};
pub use set::{Faults, MOST_PLACES, Report, RuleStatus};
pub use target::Target;
