//! The store's promises.

mod absorb;
mod arena;
mod batch;
mod batch_waits;
mod budget;
mod contract;
mod exchange;
mod forks;
mod inspect;
mod kit;
mod leftover;
mod made;
mod map;
mod model;
mod moments;
mod transactions;
