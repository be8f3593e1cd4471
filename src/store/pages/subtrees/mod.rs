//! What lies below an entry: counting it, cutting it off, and freeing it.
//!
//! | file | what it holds |
//! |---|---|
//! | `mapped` | counting the mapped sectors of a tree |
//! | `subtree` | counting and freeing what lies below an entry |
//! | `charge` | which account pays for a tree that takes another one's place |
//! | `detached` | parts of a tree that wait to be counted and freed |
//!
//! Each imports only from those above it.

pub(in crate::store) mod charge;
pub(in crate::store) mod detached;
pub(in crate::store) mod mapped;
pub(in crate::store) mod subtree;
