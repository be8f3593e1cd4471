//! Where a daemon's disks lie, and what happens to them: restarts, second daemons, wrong places,
//! damage, layouts, and what a service manager keeps.

pub(crate) mod arena;
mod check;
mod damage;
mod deltas;
mod golden;
mod home;
mod imports;
mod layouts;
mod manager;
mod places;
mod reload;
mod removed;
mod unit;
