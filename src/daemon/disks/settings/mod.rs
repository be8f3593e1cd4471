//! What a disk is to be: settings, checked, and what the daemon keeps of them beside the store's
//! record.
//!
//! | file | what it holds |
//! |---|---|
//! | `problems` | what the rooms below say, as the API's problems |
//! | `valid` | what was asked for, made into what can't be wrong |
//! | `origin` | which image a disk's content was made from, and whether it is whole |
//! | `metadata` | what is kept of a disk beside the store's own record of it |

pub(crate) mod metadata;
pub(crate) mod origin;
pub(crate) mod problems;
pub(crate) mod valid;
