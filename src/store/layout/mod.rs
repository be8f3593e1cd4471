//! The layout of an arena: what its words mean.
//!
//! | blocks | hold |
//! |---|---|
//! | 0 | superblock: magic, layout version, id of the arena, size, table length, owner words |
//! | 1 to 128 | disk table: 65536 words, each the number of a record's block, or 0 |
//! | 512 and up | records, settings, nodes, pages |
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | words of a block as values, with texts and sums in them |
//! | `superblock` | the first block, which describes the arena |
//! | `slots` | the words of the disk table |
//! | `intent` | changes of several words of the disk table at one instant |
//! | `levels` | the levels of a tree, and what they cover |
//! | `entry` | the 8 bytes of which trees are made |
//! | `spec` | the settings of a new disk, and what a disk reports |
//! | `record` | disk records |

pub(super) mod entry;
pub(super) mod intent;
pub(super) mod levels;
pub(super) mod record;
pub(super) mod slots;
pub(super) mod spec;
pub(super) mod superblock;
pub(super) mod words;
