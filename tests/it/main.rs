//! Everything that needs no virtual machine, as one program. Names of tests are sentences.

mod cli;
mod device;
mod driver;
mod framing;
mod harness;
mod image;
mod regions;
mod requests;
mod rings;
mod store;
mod third_party;
mod tidy;
mod zeroes;
