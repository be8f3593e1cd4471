//! The promises of the store.

mod contract;
mod kit;
mod map;
mod model;
