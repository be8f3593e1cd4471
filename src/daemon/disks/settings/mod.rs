//! The settings of a disk: checked, and what the daemon keeps of them beside the store's
//! record.
//!
//! | file | what it holds |
//! |---|---|
//! | `problems` | what the rooms below say, as the API's problems |
//! | `names` | names of disks, snapshots and groups, and their keys in the store |
//! | `origin` | which image a disk's content was made from, and whether it is whole |
//! | `metadata` | what is kept of a disk beside the store's own record of it |
//! | `valid` | settings that fit together, and what is made of them |
//! | `differences` | what differs between two settings, and what must change |

pub(crate) mod differences;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod problems;
pub(crate) mod valid;
