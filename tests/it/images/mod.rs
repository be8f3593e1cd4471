//! Images beside `qemu-img` and the compressors: what they write is read, and what is written they
//! read.
//!
//! | file | what it is about |
//! |---|---|
//! | `rig` | files, the programs beside which images are read, and content |
//! | `qcow2` | qcow2 in all its variants, and chains |
//! | `imago` | qcow2 beside a reader and writer that has nothing in common with QEMU |
//! | `packed` | images that are compressed as a whole |
//! | `written` | images that are written |
//! | `cli` | the command line with images that aren't raw |
//! | `damage` | qcow2 images that are damaged, or made to do harm |
//! | `pages` | what the commands of docs/guide/images.md leave |

mod cli;
mod damage;
mod imago;
mod packed;
pub(crate) mod pages;
mod qcow2;
mod rig;
mod written;
