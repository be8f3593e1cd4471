//! The promises of the store.

mod arena;
mod budget;
mod contract;
mod forks;
mod kit;
mod map;
mod model;
