//! What is seen of disks and daemon from outside.

mod doctor;
mod log;
mod readers;
mod scrapes;
mod watch;
