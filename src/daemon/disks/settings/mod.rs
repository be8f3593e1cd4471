//! The settings of a disk: checking them, and storing them in the store's record.
//!
//! | file | what it holds |
//! |---|---|
//! | `problems` | errors of the rooms below, as the API's problems |
//! | `keys` | the prefixes of keys in the store, and what a key is of |
//! | `names` | names of disks, snapshots and groups, and their keys in the store |
//! | `origin` | which image a disk's content was made from, and whether it is complete |
//! | `golden` | what is kept of a golden image beside its content |
//! | `identity` | which disk it is, and how often it was changed |
//! | `lineage` | which content a disk was made from, and whether it still has it |
//! | `state` | which saved state of a VM: its name, and what a clone knows of it |
//! | `faults` | faults on command: from texts to rules |
//! | `life` | how the life of a disk ends |
//! | `metadata` | the settings that the store's record has no fields for |
//! | `valid` | settings that were checked together |
//! | `differences` | the differences between two settings |

pub(crate) mod differences;
pub(crate) mod faults;
pub(crate) mod golden;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod life;
pub(crate) mod lineage;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod problems;
pub(crate) mod state;
pub(crate) mod valid;
