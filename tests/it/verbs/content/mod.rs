//! What is in a disk: put in, taken out, looked at, and kept as images.

mod deltas;
pub(crate) mod golden;
mod imports;
mod look;
mod transfer;
