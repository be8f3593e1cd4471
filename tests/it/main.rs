//! Everything that needs no virtual machine, as one program. Names of tests are sentences.

mod cli;
mod device;
mod image;
mod store;
mod tidy;
