//! What the words of an arena mean.
//!
//! | blocks | hold |
//! |---|---|
//! | 0 | superblock: magic, layout version, id of the arena, size, table length, owner words |
//! | 1 to 128 | disk table: 65536 words, each the number of a record's block, or 0 |
//! | 512 and up | records, settings, nodes, pages |
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | words of a block as values, and how texts and sums lie in them |
//! | `superblock` | what the arena says of itself |
//! | `slots` | the words of the disk table |
//! | `levels` | what the levels of a tree cover |
//! | `entry` | the 8 bytes of which trees are made |
//! | `spec` | what a disk is made with, and what it is |
//! | `record` | disk records |

pub(super) mod entry;
pub(super) mod levels;
pub(super) mod record;
pub(super) mod slots;
pub(super) mod spec;
pub(super) mod superblock;
pub(super) mod words;
